"""``alveary user``: users of a tenant and their access keys.

Source: docs/operations.md, "Users and policies".
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any

import click

from cli.credentials import make_access_key, seal_key
from cli.report import print_result, table
from cli.roster_changes import (
    add_key,
    add_user,
    check_user_name,
    find_user,
    owner_of,
    remove_key,
    remove_user,
    set_active,
)
from cli.rosters import WHEN, RosterAccess, roster_options
from common.errors import NotFound, Refused
from common.format.roster import RosterKey, RosterUser


def _now_ms() -> int:
    return int(time.time() * 1000)


def _shown_key(user: str, key: RosterKey) -> dict[str, Any]:
    return {
        "user": user,
        "access_key": key.access_key_id,
        "active": key.is_active,
        "created_ms": key.created_ms,
    }


def _shown_user(user: RosterUser) -> dict[str, Any]:
    return {
        "name": user.name,
        "created_ms": user.created_ms,
        "policies": list(user.policies),
        "keys": [_shown_key(user.name, each) for each in user.keys],
    }


@click.group()
def user() -> None:
    """Users of a tenant: each may do what its policies allow.

    They are sealed with the tenant's key: no coordinator reads or changes them.
    """


@user.command("create")
@click.argument("name")
@click.option("--policy", "policies", multiple=True, help="Attach this policy; may be repeated.")
@roster_options
def create_user(name: str, policies: tuple[str, ...], access: RosterAccess, as_json: bool) -> None:
    """Make the user NAME. Without policies it may do nothing; without keys, it cannot ask."""
    check_user_name(name)
    now_ms = _now_ms()
    changed = access.change(lambda roster: add_user(roster, name, policies, now_ms))
    print_result(
        _shown_user(find_user(changed, name)),
        as_json=as_json,
        text=f"user {name}: `alveary user key add {name}` makes an access key",
    )


@user.command("list")
@roster_options
def list_users(access: RosterAccess, as_json: bool) -> None:
    """List the users of a tenant."""
    users = access.read().users
    rows = [[each.name, len(each.keys), ", ".join(each.policies)] for each in users]
    print_result(
        [_shown_user(each) for each in users],
        as_json=as_json,
        text=table(["USER", "KEYS", "POLICIES"], rows),
    )


@user.command("show")
@click.argument("name")
@roster_options
def show_user(name: str, access: RosterAccess, as_json: bool) -> None:
    """Show the policies and access keys of the user NAME."""
    found = find_user(access.read(), name)
    lines = [f"user {name}", f"policies  {', '.join(found.policies) or 'none'}"]
    lines += [_line(each) for each in found.keys] or ["keys      none"]
    print_result(_shown_user(found), as_json=as_json, text="\n".join(lines))


def _line(key: RosterKey) -> str:
    return f"key       {key.access_key_id}" + ("" if key.is_active else "  disabled")


@user.command("remove")
@click.argument("name")
@roster_options
def remove(name: str, access: RosterAccess, as_json: bool) -> None:
    """Remove the user NAME and its access keys; temporary keys given to them end, too."""
    keys = [each.access_key_id for each in find_user(access.read(), name).keys]
    access.change(lambda roster: remove_user(roster, name))
    _forget(access, keys)
    print_result(
        {"removed": name, "keys": keys},
        as_json=as_json,
        text=f"removed: user {name} and {len(keys)} access keys; refused {WHEN}",
    )


def _forget(access: RosterAccess, keys: list[str]) -> None:
    """Remove the secrets of keys that are nobody's any more."""
    for each in keys:
        with suppress(NotFound):
            access.call("DELETE", f"keys/{each}")


@user.group("key")
def user_key() -> None:
    """Access keys of users."""


@user_key.command("add")
@click.argument("name", metavar="USER")
@click.option(
    "--signature-v2",
    is_flag=True,
    help="For old tools: it may sign headers with Signature Version 2.",
)
@roster_options
def add(name: str, signature_v2: bool, access: RosterAccess, as_json: bool) -> None:
    """Make an access key of USER and print it: the secret is shown only once."""
    access_key, secret_key = make_access_key()
    now_ms = _now_ms()
    add_key(access.read(), name, access_key, now_ms)  # Refused before anything is stored.
    body = seal_key(
        access.tenant(),
        access_key,
        secret_key,
        created_ms=now_ms,
        old_signatures=signature_v2,
        of_user=True,
    )
    # Until the roster says whose it is, it is nobody's.
    access.call("POST", "keys", dict(body))
    try:
        access.change(lambda roster: add_key(roster, name, access_key, now_ms))
    except (NotFound, Refused):
        _forget(access, [access_key])
        raise
    print_result(
        {"tenant": access.name, "user": name, "access_key": access_key, "secret_key": secret_key},
        as_json=as_json,
        text=f"access_key  {access_key}\nsecret_key  {secret_key}",
    )


@user_key.command("list")
@click.argument("name", metavar="[USER]", required=False)
@roster_options
def list_keys(name: str | None, access: RosterAccess, as_json: bool) -> None:
    """List the access keys of all users, or of USER (never the secrets)."""
    roster = access.read()
    users = roster.users if name is None else (find_user(roster, name),)
    keys = [_shown_key(each.name, key) for each in users for key in each.keys]
    rows = [
        [each["user"], each["access_key"], "active" if each["active"] else "disabled"]
        for each in keys
    ]
    print_result(keys, as_json=as_json, text=table(["USER", "ACCESS KEY", "STATE"], rows))


@user_key.command("remove")
@click.argument("access_key")
@roster_options
def remove_users_key(access_key: str, access: RosterAccess, as_json: bool) -> None:
    """Remove ACCESS_KEY from its user; temporary keys given to it end, too."""
    name = owner_of(access.read(), access_key).name
    access.change(lambda roster: remove_key(roster, access_key))
    _forget(access, [access_key])
    print_result(
        {"user": name, "access_key": access_key, "removed": True},
        as_json=as_json,
        text=f"removed: {access_key} of user {name}; refused {WHEN}",
    )


@user_key.command("disable")
@click.argument("access_key")
@roster_options
def disable(access_key: str, access: RosterAccess, as_json: bool) -> None:
    """Refuse ACCESS_KEY, and temporary keys given to it, until it is enabled again."""
    _set_active(access, access_key, as_json, is_active=False)


@user_key.command("enable")
@click.argument("access_key")
@roster_options
def enable(access_key: str, access: RosterAccess, as_json: bool) -> None:
    """Accept ACCESS_KEY again, and the temporary keys given to it that did not expire."""
    _set_active(access, access_key, as_json, is_active=True)


def _set_active(access: RosterAccess, access_key: str, as_json: bool, *, is_active: bool) -> None:
    changed = access.change(lambda roster: set_active(roster, access_key, is_active))
    name = owner_of(changed, access_key).name
    print_result(
        {"user": name, "access_key": access_key, "active": is_active},
        as_json=as_json,
        text=f"{'enabled' if is_active else 'disabled'}: {access_key} of user {name}, {WHEN}",
    )
