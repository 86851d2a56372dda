"""Changes to a tenant's roster: users, their keys, named policies. Pure.

Source: docs/decisions/0053-rosters-and-sessions.md.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Final, TypeAlias

import click

from common import limits
from common.errors import NotFound, Refused
from common.format.roster import Roster, RosterKey, RosterPolicy, RosterUser
from common.reasons import Absence, Refusal

Change: TypeAlias = Callable[[Roster], Roster]
_USER_NAME: Final = re.compile(rf"[A-Za-z0-9+=,.@_-]{{1,{limits.MAX_USER_NAME_CHARACTERS}}}")
_POLICY_NAME: Final = re.compile(rf"[A-Za-z0-9+=,.@_-]{{1,{limits.MAX_POLICY_NAME_CHARACTERS}}}")


def check_user_name(name: str) -> None:
    """Refuse a name that no user can have. Raises click.UsageError."""
    if _USER_NAME.fullmatch(name) is None:
        raise click.UsageError(
            f"a user's name: 1 to {limits.MAX_USER_NAME_CHARACTERS} of a-z A-Z 0-9 +=,.@_-"
        )


def check_policy_name(name: str) -> None:
    """Refuse a name that no policy can have. Raises click.UsageError."""
    if _POLICY_NAME.fullmatch(name) is None:
        raise click.UsageError(
            f"a policy's name: 1 to {limits.MAX_POLICY_NAME_CHARACTERS} of a-z A-Z 0-9 +=,.@_-"
        )


def find_user(roster: Roster, name: str) -> RosterUser:
    """Return a user. Raises NotFound ``no_such_user``."""
    for each in roster.users:
        if each.name == name:
            return each
    raise NotFound(Absence.NO_SUCH_USER, message=f"no user {name}")


def find_policy(roster: Roster, name: str) -> RosterPolicy:
    """Return a policy. Raises NotFound ``no_such_policy``."""
    for each in roster.policies:
        if each.name == name:
            return each
    raise NotFound(Absence.NO_SUCH_POLICY, message=f"no policy {name}")


def owner_of(roster: Roster, access_key: str) -> RosterUser:
    """Return the user who has an access key. Raises NotFound ``no_such_user_key``."""
    for each in roster.users:
        if any(key.access_key_id == access_key for key in each.keys):
            return each
    raise NotFound(Absence.NO_SUCH_USER_KEY, message=f"no user has the access key {access_key}")


def _full(what: str, most: int) -> Refused:
    return Refused(Refusal.ROSTER_FULL, message=f"at most {most} {what}")


def _with_user(roster: Roster, user: RosterUser) -> Roster:
    """The roster with a user in the place of the one of that name, or as another one."""
    others = [each for each in roster.users if each.name != user.name]
    return replace(roster, users=tuple(sorted((*others, user), key=lambda each: each.name)))


def add_user(roster: Roster, name: str, policies: tuple[str, ...], now_ms: int) -> Roster:
    """Make a user.

    Raises:
        Refused: ``user_exists``, ``roster_full``.
        NotFound: ``no_such_policy``.
    """
    if any(each.name == name for each in roster.users):
        raise Refused(Refusal.USER_EXISTS, message=f"there is a user {name}")
    if len(roster.users) >= limits.MAX_ROSTER_USERS:
        raise _full("users of a tenant", limits.MAX_ROSTER_USERS)
    made = _with_user(roster, RosterUser(name, now_ms, (), ()))
    for policy in policies:
        made = attach(made, policy, name)
    return made


def remove_user(roster: Roster, name: str) -> Roster:
    """Remove a user with its keys. Raises NotFound ``no_such_user``."""
    find_user(roster, name)
    return replace(roster, users=tuple([each for each in roster.users if each.name != name]))


def add_key(roster: Roster, name: str, access_key: str, now_ms: int) -> Roster:
    """Give a user an access key.

    Raises:
        NotFound: ``no_such_user``.
        Refused: ``roster_full``.
    """
    user = find_user(roster, name)
    if len(user.keys) >= limits.MAX_KEYS_PER_USER:
        raise _full("access keys of a user", limits.MAX_KEYS_PER_USER)
    return _with_user(
        roster, replace(user, keys=(*user.keys, RosterKey(access_key, now_ms, is_active=True)))
    )


def remove_key(roster: Roster, access_key: str) -> Roster:
    """Take an access key from its user. Raises NotFound ``no_such_user_key``."""
    user = owner_of(roster, access_key)
    kept = tuple([each for each in user.keys if each.access_key_id != access_key])
    return _with_user(roster, replace(user, keys=kept))


def set_active(roster: Roster, access_key: str, is_active: bool) -> Roster:
    """Enable or disable an access key. Raises NotFound ``no_such_user_key``."""
    user = owner_of(roster, access_key)
    keys = [
        replace(each, is_active=is_active) if each.access_key_id == access_key else each
        for each in user.keys
    ]
    return _with_user(roster, replace(user, keys=tuple(keys)))


def put_policy(roster: Roster, name: str, text: bytes, is_role: bool | None, now_ms: int) -> Roster:
    """Make a policy, or change it in its place.

    Args:
        is_role: None: as it is; a new one is none.

    Raises:
        Refused: ``roster_full``.
    """
    others = [each for each in roster.policies if each.name != name]
    if is_role is None:
        is_role = any(each.is_role for each in roster.policies if each.name == name)
    if len(others) >= limits.MAX_ROSTER_POLICIES:
        raise _full("policies of a tenant", limits.MAX_ROSTER_POLICIES)
    made = RosterPolicy(name, now_ms, text, is_role)
    return replace(roster, policies=tuple(sorted((*others, made), key=lambda each: each.name)))


def remove_policy(roster: Roster, name: str) -> Roster:
    """Remove a policy.

    Raises:
        NotFound: ``no_such_policy``.
        Refused: ``policy_attached``.
    """
    find_policy(roster, name)
    users = [each.name for each in roster.users if name in each.policies]
    if users:
        shown = ", ".join(users[:5]) + (" and others" if len(users) > 5 else "")
        raise Refused(Refusal.POLICY_ATTACHED, message=f"policy {name} is attached to {shown}")
    kept = tuple([each for each in roster.policies if each.name != name])
    return replace(roster, policies=kept)


def attach(roster: Roster, policy: str, name: str) -> Roster:
    """Attach a policy to a user; once more is fine.

    Raises:
        NotFound: ``no_such_user``, ``no_such_policy``.
        Refused: ``roster_full``.
    """
    user = find_user(roster, name)
    find_policy(roster, policy)
    if policy in user.policies:
        return roster
    if len(user.policies) >= limits.MAX_POLICIES_PER_USER:
        raise _full("policies of a user", limits.MAX_POLICIES_PER_USER)
    return _with_user(roster, replace(user, policies=(*user.policies, policy)))


def detach(roster: Roster, policy: str, name: str) -> Roster:
    """Take a policy from a user. Raises NotFound ``no_such_user``, ``no_such_policy``."""
    user = find_user(roster, name)
    if policy not in user.policies:
        raise NotFound(Absence.NO_SUCH_POLICY, message=f"policy {policy} is not attached to {name}")
    kept = tuple([each for each in user.policies if each != policy])
    return _with_user(roster, replace(user, policies=kept))
