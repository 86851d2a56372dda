"""``alveary tenant`` and ``alveary key``.

Keys are made here, at the operator's: the coordinator gets a public key of the tenant's proofs and
records that only the tenant's key opens.

Source: docs/threat-model.md.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
import trio

from cli.credentials import (
    make_access_key,
    make_tenant,
    read_tenant,
    seal_key,
    tenant_body,
    write_tenant,
)
from cli.operators import DEFAULT_DATA, OperatorApi, access_options, ask, connect
from cli.report import print_error, print_result, table
from common.errors import AlvearyError, NotFound, OutcomeUnknown
from common.reasons import Absence

C = TypeVar("C", bound=Callable[..., Any])


def tenants_option(command: C) -> C:
    """The flag that says where tenant key files are."""
    return click.option(
        "--tenants",
        type=click.Path(path_type=Path, file_okay=False),
        help="Directory of the gateway's tenant key files (DATA/gateway/tenants).",
    )(command)


def tenant_directory(tenants: Path | None, data: Path | None) -> Path:
    """The directory of tenant key files: what was named, else the usual place."""
    return tenants or (data or DEFAULT_DATA) / "gateway" / "tenants"


@click.group()
def tenant() -> None:
    """Create, list and remove tenants, the owners of buckets and access keys."""


@tenant.command("create")
@click.argument("name")
@tenants_option
@access_options
def create_tenant(
    name: str, tenants: Path | None, operator: Path | None, data: Path | None, as_json: bool
) -> None:
    """Make the tenant NAME and write its key file. Gateways that serve it need that file;
    keep a copy of it: without it the tenant's objects cannot be read."""
    directory = tenant_directory(tenants, data)
    made = make_tenant()
    # The key is on disk before the coordinator knows the tenant, and stays where it may know it: at
    # worst a key file is left that owns nothing, never a tenant that nobody can open.
    path = write_tenant(directory, name, made)
    try:
        ask(operator, data, "POST", "/v1/tenants", tenant_body(name, made))
    except OutcomeUnknown:
        print_error(
            f"The key of tenant {name} stays in {path}. If `alveary tenant list` does not show"
            f" {made.tenant_id.hex()}, remove that file and create the tenant again."
        )
        raise
    except AlvearyError:
        path.unlink()
        raise
    print_result(
        {"name": name, "tenant_id": made.tenant_id.hex(), "file": str(path)},
        as_json=as_json,
        text=f"tenant {name}: its key is in {path}; keep a copy in a safe place",
    )


@tenant.command("list")
@access_options
def list_tenants(operator: Path | None, data: Path | None, as_json: bool) -> None:
    """List the tenants."""
    tenants = ask(operator, data, "GET", "/v1/tenants")["tenants"]
    rows = [[each["name"], each["tenant_id"]] for each in tenants]
    print_result(tenants, as_json=as_json, text=table(["NAME", "TENANT ID"], rows))


@tenant.command("remove")
@click.argument("name")
@access_options
def remove_tenant(name: str, operator: Path | None, data: Path | None, as_json: bool) -> None:
    """Remove the tenant NAME, which owns no bucket any more: its key is good for nothing then.

    Its key file stays where it is.
    """
    ask(operator, data, "DELETE", f"/v1/tenants/{name}")
    print_result({"removed": name}, as_json=as_json, text=f"removed: tenant {name}")


@click.group()
def key() -> None:
    """Make, list and revoke S3 access keys."""


@key.command("create")
@click.option("--tenant", "name", required=True, help="Owner of the key.")
@click.option(
    "--signature-v2",
    is_flag=True,
    help="For old tools: it may sign headers with Signature Version 2.",
)
@tenants_option
@access_options
def create_key(
    name: str,
    signature_v2: bool,
    tenants: Path | None,
    operator: Path | None,
    data: Path | None,
    as_json: bool,
) -> None:
    """Make an access key of the tenant's own and print it: the secret is shown only once.

    It may do all that the tenant may; `alveary user key add` makes one that may do less.
    """
    owner = read_tenant(tenant_directory(tenants, data) / f"{name}.json")
    access_key, secret_key = make_access_key()
    created_ms = int(time.time() * 1000)
    body = seal_key(
        owner,
        access_key,
        secret_key,
        created_ms=created_ms,
        old_signatures=signature_v2,
    )
    ask(operator, data, "POST", f"/v1/tenants/{name}/keys", body)
    print_result(
        {"tenant": name, "access_key": access_key, "secret_key": secret_key},
        as_json=as_json,
        text=f"access_key  {access_key}\nsecret_key  {secret_key}",
    )


async def _keys_of(api: OperatorApi, name: str | None) -> list[dict[str, str]]:
    if name is None:
        names = [str(each["name"]) for each in (await api.call("GET", "/v1/tenants"))["tenants"]]
    else:
        names = [name]
    found = []
    for each in names:
        answer = await api.call("GET", f"/v1/tenants/{each}/keys")
        found += [{"tenant": each, "access_key": row["access_key_id"]} for row in answer["keys"]]
    return found


@key.command("list")
@click.option("--tenant", "name", help="Only this tenant's keys.")
@access_options
def list_keys(name: str | None, operator: Path | None, data: Path | None, as_json: bool) -> None:
    """List the access keys (never the secrets)."""

    async def find() -> list[dict[str, str]]:
        async with connect(operator, data) as api:
            return await _keys_of(api, name)

    keys = trio.run(find)
    rows = [[each["tenant"], each["access_key"]] for each in keys]
    print_result(keys, as_json=as_json, text=table(["TENANT", "ACCESS KEY"], rows))


@key.command("revoke")
@click.argument("access_key")
@click.option("--tenant", "name", help="Whose key it is; found if not given.")
@access_options
def revoke_key(
    access_key: str, name: str | None, operator: Path | None, data: Path | None, as_json: bool
) -> None:
    """Revoke ACCESS_KEY: gateways refuse it within a minute, and temporary keys of it.

    A user's key is better removed with `alveary user key remove`: then gateways that know of it
    refuse it whatever a coordinator says.
    """

    async def revoke() -> str:
        async with connect(operator, data) as api:
            owners = [
                each["tenant"]
                for each in await _keys_of(api, name)
                if each["access_key"] == access_key
            ]
            if not owners:
                raise NotFound(Absence.NO_SUCH_KEY, message=f"no access key {access_key}")
            await api.call("DELETE", f"/v1/tenants/{owners[0]}/keys/{access_key}")
            return owners[0]

    owner = trio.run(revoke)
    print_result(
        {"tenant": owner, "access_key": access_key, "revoked": True},
        as_json=as_json,
        text=f"revoked {access_key} of tenant {owner}",
    )
