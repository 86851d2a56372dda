"""``alveary coordinator list``, ``add``, ``replace``, ``revoke`` and ``take-swarm-key``: who the
coordinators of a swarm are.

What they change is the charter, which only the swarm's private key can sign: it is read here, and
no coordinator needs it to run.

Source: docs/operations.md, "Coordinators and their keys".
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import click
import trio

from cli.files import write_private
from cli.operators import OperatorApi, access_options, ask, find_operator_file, read_operator_file
from cli.report import print_result, table
from common.crypto.charter import (
    Charter,
    CharteredCoordinator,
    read_charter,
    sign_charter,
    with_added,
    with_replaced,
    with_revoked,
)
from common.crypto.identity import KeyPair
from common.errors import BadConfig, PeerViolation
from common.ids import PeerId
from common.reasons import ConfigFault
from common.system.clock import system_entropy
from common.system.sqlite_backup import sync_directory
from common.wire.messages.journal import JournalMembers
from coordinator.journal.recovery_file import (
    NO_JOURNAL,
    RECOVERY_NAME,
    Recovery,
    pack_recovery,
    unpack_recovery,
)
from coordinator.secrets import SECRET_NAME, SWARM_KEY_NAME

swarm_key_option: Final = click.option(
    "--swarm-key",
    "key_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help=f"The swarm's private key ({SWARM_KEY_NAME} in the coordinator's directory).",
)
_FINGERPRINT_DIGITS: Final = 12


def read_key(path: Path) -> bytes:
    """Return the secret in a file of hex digits.

    Raises:
        BadConfig: ``bad_secret_file``, ``cannot_read``.
    """
    try:
        return bytes.fromhex(path.read_text().strip())
    except OSError as error:
        raise BadConfig(ConfigFault.CANNOT_READ, file=str(path), error=error.strerror) from error
    except ValueError as error:
        raise BadConfig(ConfigFault.BAD_SECRET_FILE, file=str(path)) from error


def find_swarm_key(named: Path | None, *directories: Path) -> KeyPair:
    """Return the swarm's private key, from the file that is named or from directories.

    Raises:
        BadConfig: ``no_swarm_key``; ``bad_secret_file``, ``bad_identity_key``.
    """
    places = [each / SWARM_KEY_NAME for each in directories] if named is None else [named]
    path = next((each for each in places if each.exists()), None)
    if path is None:
        raise BadConfig(
            ConfigFault.NO_SWARM_KEY,
            message=f"the swarm's private key is not in {places[0]}: say where with --swarm-key",
        )
    return KeyPair.from_private(read_key(path))


def charter_of(answer: dict[str, Any], swarm_key: KeyPair) -> Charter:
    """Return the charter that a coordinator shows.

    Raises:
        BadConfig: ``no_swarm_key``: the key at hand is not that of this swarm.
    """
    if answer["coordinator_id"] != swarm_key.peer_id.hex():
        raise BadConfig(
            ConfigFault.NO_SWARM_KEY, message="this private key is not the one of this swarm"
        )
    try:
        return read_charter(bytes.fromhex(answer["charter"]), PeerId(swarm_key.peer_id))
    except PeerViolation as error:
        raise BadConfig(ConfigFault.WRONG_COORDINATOR, message="it shows no charter") from error


async def publish(
    api: OperatorApi,
    swarm_key: KeyPair,
    change: Callable[[Charter], list[CharteredCoordinator]],
    prepare: Callable[[Charter], None] = lambda _: None,
) -> dict[str, Any]:
    """Sign a later charter and have the coordinators take it.

    Args:
        change: returns the coordinators of the new charter.
        prepare: called with it before anybody else has it.

    Raises:
        BadConfig: of ``change``.
        Refused: ``charter_changed``: somebody else was first; nothing was changed.
    """
    present = charter_of(await api.call("GET", "/v1/coordinators"), swarm_key)
    charter = sign_charter(swarm_key, present.revision + 1, change(present))
    prepare(charter)
    return await api.call("POST", "/v1/coordinators", {"charter": charter.data.hex()})


async def enrol(
    api: OperatorApi,
    swarm_key: KeyPair,
    home: Path,
    name: str,
    file: Path,
    *,
    replaces: bool = False,
) -> dict[str, Any]:
    """Name one more coordinator in the charter, and write the file with its key.

    Args:
        home: the directory of a coordinator: the swarm's secret is in it.
        file: for the new one; written first, so that no key is named that nobody has.
        replaces: whether the key that has this name is revoked.
    """
    identity = KeyPair.generate(system_entropy)
    secret = read_key(home / SECRET_NAME)
    change = with_replaced if replaces else with_added

    def write(charter: Charter) -> None:
        made = Recovery(identity, secret, charter, _members(home), is_enrolment=True)
        write_private(file, pack_recovery(made).decode())

    return await publish(
        api, swarm_key, lambda present: change(present, name, identity.public_key), write
    )


def _members(home: Path) -> JournalMembers:
    """Return the cells that keep the journal, as far as a coordinator's directory says."""
    try:
        return unpack_recovery((home / RECOVERY_NAME).read_bytes()).members
    except OSError:
        return NO_JOURNAL


def _asked(
    operator: Path | None,
    data: Path | None,
    work: Callable[[OperatorApi, Path], Awaitable[dict[str, Any]]],
) -> dict[str, Any]:
    """Return what comes of work with the active coordinator's API and directory."""
    path = find_operator_file(operator, data)

    async def run() -> dict[str, Any]:
        async with OperatorApi(*read_operator_file(path)) as api:
            return await work(api, path.parent)

    return trio.run(run)


def _text(answer: dict[str, Any]) -> str:
    rows = [
        [
            each["name"],
            each["key_id"][:_FINGERPRINT_DIGITS],
            each["state"],
            "this" if each["is_this"] else "",
        ]
        for each in answer["coordinators"]
    ]
    shown = table(["COORDINATOR", "KEY", "STATE", ""], rows)
    return f"charter  revision {answer['revision']}\n{shown}"


@click.command("list")
@access_options
def list_coordinators(operator: Path | None, data: Path | None, as_json: bool) -> None:
    """List the coordinators that the swarm's charter names, and the keys that were revoked."""
    answer = ask(operator, data, "GET", "/v1/coordinators")
    print_result(answer, as_json=as_json, text=_text(answer))


@click.command("add")
@click.argument("name")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@swarm_key_option
@access_options
def add_coordinator(
    name: str,
    file: Path,
    key_file: Path | None,
    operator: Path | None,
    data: Path | None,
    as_json: bool,
) -> None:
    """Add the coordinator NAME, with a key of its own, and write FILE for it.

    FILE is secret. Put it as recovery.json into the new coordinator's directory before its first
    start (a standby with --standby; one that shares a PostgreSQL without).
    """
    _enrol(name, file, key_file, operator, data, as_json=as_json, replaces=False)


@click.command("replace")
@click.argument("name")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@swarm_key_option
@access_options
def replace_coordinator(
    name: str,
    file: Path,
    key_file: Path | None,
    operator: Path | None,
    data: Path | None,
    as_json: bool,
) -> None:
    """Revoke the key of the coordinator NAME, give it another one, and write FILE for it.

    As `add`: FILE goes into an empty directory. A coordinator with the old key is refused.
    """
    _enrol(name, file, key_file, operator, data, as_json=as_json, replaces=True)


def _enrol(
    name: str,
    file: Path,
    key_file: Path | None,
    operator: Path | None,
    data: Path | None,
    *,
    as_json: bool,
    replaces: bool,
) -> None:
    if file.exists():
        raise BadConfig(ConfigFault.CANNOT_WRITE, message=f"{file} is there already")

    target = file.absolute()

    async def work(api: OperatorApi, home: Path) -> dict[str, Any]:
        key = find_swarm_key(key_file, *_homes(home))
        return await enrol(api, key, home, name, target, replaces=replaces)

    answer = _asked(operator, data, work)
    text = f"{_text(answer)}\n{file} makes {name}: put it as {RECOVERY_NAME} into its directory"
    print_result({**answer, "file": str(file)}, as_json=as_json, text=text)


def _homes(home: Path) -> tuple[Path, Path]:
    """Return where the swarm's key may lie: the active coordinator's directory, and under `alveary
    up` that of the first."""
    return home, home.parent / "coordinator"


@click.command("revoke")
@click.argument("name")
@swarm_key_option
@click.option("--yes", is_flag=True, help="Do not ask.")
@access_options
def revoke_coordinator(
    name: str,
    key_file: Path | None,
    yes: bool,
    operator: Path | None,
    data: Path | None,
    as_json: bool,
) -> None:
    """Revoke the key of the coordinator NAME: cells and gateways obey it no more.

    There is no way back: a coordinator with a new key can be added under the same name.
    """
    if not yes:
        click.confirm(f"Shut the coordinator {name} out for good?", abort=True)

    async def work(api: OperatorApi, home: Path) -> dict[str, Any]:
        key = find_swarm_key(key_file, *_homes(home))
        return await publish(api, key, lambda present: with_revoked(present, name))

    answer = _asked(operator, data, work)
    print_result(answer, as_json=as_json, text=_text(answer))


@click.command("take-swarm-key")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@access_options
def take_swarm_key(file: Path, operator: Path | None, data: Path | None, as_json: bool) -> None:
    """Move the swarm's private key from the coordinator's directory to FILE.

    Keep FILE, and a copy of it, away from the machines of the swarm: with it alone coordinators are
    added, replaced and revoked. Copies of recovery.json that were made before hold the key too.
    """
    if file.exists():
        raise BadConfig(ConfigFault.CANNOT_WRITE, message=f"{file} is there already")
    home = find_operator_file(operator, data).parent
    found = next((each for each in _homes(home) if (each / SWARM_KEY_NAME).exists()), None)
    key = find_swarm_key(None, home if found is None else found)
    assert found is not None
    write_private(file.absolute(), key.private_key.hex() + "\n")
    (found / SWARM_KEY_NAME).unlink()
    sync_directory(found)
    recovery = found / RECOVERY_NAME
    if recovery.exists():
        kept = unpack_recovery(recovery.read_bytes())
        write_private(recovery, pack_recovery(replace(kept, swarm_key=None)).decode())
    print_result({"file": str(file)}, as_json=as_json, text=f"the swarm's key is in {file}")
