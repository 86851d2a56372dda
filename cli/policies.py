"""``alveary policy``: named policies of a tenant, which say what its users may do.

Source: docs/operations.md, "Users and policies".
"""

from __future__ import annotations

import json
import time
from typing import Any, BinaryIO

import click

from cli.report import print_result, table
from cli.roster_changes import (
    attach,
    check_policy_name,
    detach,
    find_policy,
    put_policy,
    remove_policy,
)
from cli.rosters import WHEN, RosterAccess, roster_options
from common import limits
from common.errors import Refused
from common.format.roster import Roster, RosterPolicy
from gateway.access.policy_document import parse_user_policy
from gateway_s3.request.condition_keys import check_condition


def _shown(roster: Roster, policy: RosterPolicy) -> dict[str, Any]:
    return {
        "name": policy.name,
        "role": policy.is_role,
        "changed_ms": policy.changed_ms,
        "users": [each.name for each in roster.users if policy.name in each.policies],
    }


@click.group()
def policy() -> None:
    """Named policies of a tenant, in the language of IAM, attached to users.

    They are sealed with the tenant's key: no coordinator reads or changes them.
    """


@policy.command("put")
@click.argument("name")
@click.argument("file", type=click.File("rb"))
@click.option(
    "--role/--no-role",
    "is_role",
    default=None,
    help="Users whose policies allow sts:AssumeRole on it may take it as a role, or no more.",
)
@roster_options
def put(
    name: str, file: BinaryIO, is_role: bool | None, access: RosterAccess, as_json: bool
) -> None:
    """Make the policy NAME of the JSON document in FILE (-: standard input), or change it in its
    place for all users who have it."""
    check_policy_name(name)
    text = file.read(limits.MAX_NAMED_POLICY_BYTES + 1)
    try:
        parse_user_policy(text, check_condition)
    except Refused as error:
        raise click.UsageError(f"policy {name}: {error.fields['detail']}") from error
    if is_role and len(name) > limits.MAX_USER_NAME_CHARACTERS:
        raise click.UsageError(
            f"a role's name: at most {limits.MAX_USER_NAME_CHARACTERS} characters"
        )
    now_ms = int(time.time() * 1000)
    changed = access.change(lambda roster: put_policy(roster, name, text, is_role, now_ms))
    print_result(
        _shown(changed, find_policy(changed, name)),
        as_json=as_json,
        text=f"policy {name}: in force {WHEN}",
    )


@policy.command("list")
@roster_options
def list_policies(access: RosterAccess, as_json: bool) -> None:
    """List the policies of a tenant."""
    roster = access.read()
    found = [_shown(roster, each) for each in roster.policies]
    rows = [
        [each["name"], "role" if each["role"] else "", ", ".join(each["users"])] for each in found
    ]
    print_result(found, as_json=as_json, text=table(["POLICY", "ROLE", "USERS"], rows))


@policy.command("show")
@click.argument("name")
@roster_options
def show(name: str, access: RosterAccess, as_json: bool) -> None:
    """Show the document of the policy NAME."""
    roster = access.read()
    found = find_policy(roster, name)
    text = found.text.decode("utf-8")
    shown = {**_shown(roster, found), "document": json.loads(text)}
    print_result(shown, as_json=as_json, text=text.rstrip("\n"))


@policy.command("remove")
@click.argument("name")
@roster_options
def remove(name: str, access: RosterAccess, as_json: bool) -> None:
    """Remove the policy NAME, which no user has any more; sessions of it as a role end."""
    access.change(lambda roster: remove_policy(roster, name))
    print_result({"removed": name}, as_json=as_json, text=f"removed: policy {name}")


@policy.command("attach")
@click.argument("name")
@click.argument("user")
@roster_options
def attach_policy(name: str, user: str, access: RosterAccess, as_json: bool) -> None:
    """Attach the policy NAME to USER, who may then do what it allows beside what others allow."""
    access.change(lambda roster: attach(roster, name, user))
    print_result(
        {"policy": name, "user": user, "attached": True},
        as_json=as_json,
        text=f"attached: policy {name} to user {user}; in force {WHEN}",
    )


@policy.command("detach")
@click.argument("name")
@click.argument("user")
@roster_options
def detach_policy(name: str, user: str, access: RosterAccess, as_json: bool) -> None:
    """Take the policy NAME from USER."""
    access.change(lambda roster: detach(roster, name, user))
    print_result(
        {"policy": name, "user": user, "attached": False},
        as_json=as_json,
        text=f"detached: policy {name} from user {user}; in force {WHEN}",
    )
