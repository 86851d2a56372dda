"""``alveary encryption-key``: the named keys of a tenant, which protect objects (SSE-KMS).

They are made and changed here, at the operator's: the coordinator gets the whole key ring sealed
under the tenant key, and gives it to the tenant's gateways.

Source: docs/operations.md, "Named keys".
"""

from __future__ import annotations

import base64
import binascii
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

import click
import trio

from cli.credentials import read_tenant
from cli.operators import OperatorApi, access_options, connect
from cli.report import print_result, table
from cli.tenants import tenant_directory, tenants_option
from common import limits
from common.crypto.keys import TenantKey
from common.errors import Corrupt, Refused
from common.format import key_ring
from common.format.key_ring import STATES, KeyRing, open_key_ring, seal_key_ring
from common.reasons import Damage, Refusal
from common.system.clock import system_entropy

C = TypeVar("C", bound=Callable[..., Any])
_WHOSE: Final = click.option("--tenant", "owner", required=True, help="Owner of the keys.")


def _options(command: C) -> C:
    return _WHOSE(tenants_option(access_options(command)))


async def read_ring(api: OperatorApi, owner: str, key: TenantKey) -> tuple[int, KeyRing]:
    """Return the key ring of a tenant, with its revision.

    Args:
        owner: the tenant's name.

    Raises:
        Corrupt: it is not sealed under this tenant's key.
        AlvearyError: as of :meth:`cli.operators.OperatorApi.call`.
    """
    answer = await api.call("GET", f"/v1/tenants/{owner}/key-ring")
    revision = int(answer["revision"])
    try:
        sealed = base64.b64decode(answer["sealed"], validate=True)
    except binascii.Error as error:
        raise Corrupt(Damage.RECORD_NOT_AUTHENTIC, purpose="key-ring") from error
    return revision, open_key_ring(key, revision, sealed)


async def change_ring(
    api: OperatorApi, owner: str, key: TenantKey, change: Callable[[KeyRing], KeyRing]
) -> KeyRing:
    """Change the key ring of a tenant; again when somebody else changed it meanwhile.

    Raises:
        Refused: ``key_ring_changed``: at every try.
        AlvearyError: what ``change`` raises, and as :func:`read_ring`.
    """
    for _ in range(limits.MAX_COMMIT_TRIES):
        revision, before = await read_ring(api, owner, key)
        ring = change(before)
        sealed = seal_key_ring(key, revision + 1, ring, system_entropy)
        body = {"revision": revision + 1, "sealed": base64.b64encode(sealed).decode("ascii")}
        try:
            await api.call("PUT", f"/v1/tenants/{owner}/key-ring", body)
        except Refused as error:
            if error.reason != Refusal.KEY_RING_CHANGED:
                raise
        else:
            return ring
    raise Refused(Refusal.KEY_RING_CHANGED)


def _change(
    owner: str,
    tenants: Path | None,
    operator: Path | None,
    data: Path | None,
    change: Callable[[KeyRing], KeyRing],
) -> KeyRing:
    key = read_tenant(tenant_directory(tenants, data) / f"{owner}.json")

    async def run() -> KeyRing:
        async with connect(operator, data) as api:
            return await change_ring(api, owner, key, change)

    return trio.run(run)


def _now_ms() -> int:
    return int(time.time() * 1000)


@click.group("encryption-key")
def encryption_key() -> None:
    """Keys that a tenant has names for, and that protect objects (SSE-KMS)."""


def _command(
    word: str, help_: str, done: str, change: Callable[[KeyRing, str], KeyRing]
) -> click.Command:
    """A command that changes one key.

    Args:
        done: the sentence that says that it was done.
    """

    @_options
    def run(
        name: str,
        owner: str,
        tenants: Path | None,
        operator: Path | None,
        data: Path | None,
        as_json: bool,
    ) -> None:
        ring = _change(owner, tenants, operator, data, lambda ring: change(ring, name))
        key = ring.find(name)
        print_result(
            {
                "tenant": owner,
                "name": name,
                "state": STATES[key.state],
                "version": key.versions[-1].number,
                "default": ring.default == name,
            },
            as_json=as_json,
            text=done.format(name=name),
        )

    command = click.command(word, help=help_)(run)
    command.params.insert(0, click.Argument(["name"]))
    return command


encryption_key.add_command(
    _command(
        "create",
        "Make the key NAME; the first one of a tenant is its default.",
        "made: encryption key {name}",
        lambda ring, name: key_ring.create(ring, name, _now_ms(), system_entropy),
    )
)
encryption_key.add_command(
    _command(
        "rotate",
        "Give the key NAME a new version for new objects; the older ones open what they closed.",
        "rotated: encryption key {name}",
        lambda ring, name: key_ring.rotate(ring, name, _now_ms(), system_entropy),
    )
)
encryption_key.add_command(
    _command(
        "disable",
        "Let the key NAME be used for nothing, until it is enabled: gateways obey within a second.",
        "disabled: encryption key {name}; gateways obey within a second",
        lambda ring, name: key_ring.set_enabled(ring, name, _now_ms(), enabled=False),
    )
)
encryption_key.add_command(
    _command(
        "enable",
        "Let the key NAME be used again.",
        "enabled: encryption key {name}",
        lambda ring, name: key_ring.set_enabled(ring, name, _now_ms(), enabled=True),
    )
)
encryption_key.add_command(
    _command(
        "default",
        "Make the key NAME that of requests and buckets which ask for a named key and name none.",
        "the default encryption key is {name}",
        key_ring.set_default,
    )
)


@encryption_key.command("destroy")
@click.argument("name")
@click.option("--confirm", help="The key's name once more.")
@_options
def destroy_key(
    name: str,
    confirm: str | None,
    owner: str,
    tenants: Path | None,
    operator: Path | None,
    data: Path | None,
    as_json: bool,
) -> None:
    """Delete the key NAME permanently: what it protects is never read again.

    Gateways obey within a second. Backups of the coordinator that were made before still have the
    key, sealed under the tenant key: docs/operations.md, "Named keys".
    """
    if confirm != name:
        raise click.UsageError(
            f"all objects that {name} protects will be lost: repeat with --confirm {name}"
        )
    change = partial(key_ring.destroy, name=name, now_ms=_now_ms())
    _change(owner, tenants, operator, data, change)
    print_result(
        {"tenant": owner, "name": name, "state": STATES[key_ring.DESTROYED]},
        as_json=as_json,
        text=f"destroyed: encryption key {name}; what it protects is not read again",
    )


@encryption_key.command("list")
@_options
def list_encryption_keys(
    owner: str, tenants: Path | None, operator: Path | None, data: Path | None, as_json: bool
) -> None:
    """List the keys of a tenant, destroyed ones too."""
    key = read_tenant(tenant_directory(tenants, data) / f"{owner}.json")

    async def find() -> KeyRing:
        async with connect(operator, data) as api:
            _, ring = await read_ring(api, owner, key)
            return ring

    ring = trio.run(find)
    found: list[dict[str, Any]] = [
        {
            "name": each.name,
            "state": STATES.get(each.state, "unknown"),
            "versions": len(each.versions),
            "created_ms": each.created_ms,
            "changed_ms": each.changed_ms,
            "default": each.name == ring.default,
        }
        for each in ring.keys
    ]
    rows = [
        [
            f"{each['name']}{' (default)' if each['default'] else ''}",
            str(each["state"]),
            str(each["versions"]),
            _day(each["created_ms"]),
        ]
        for each in found
    ]
    text = table(["KEY", "STATE", "VERSIONS", "CREATED"], rows)
    print_result(found, as_json=as_json, text=text)


def _day(unix_ms: int) -> str:
    return datetime.fromtimestamp(unix_ms / 1000, UTC).strftime("%Y-%m-%d")
