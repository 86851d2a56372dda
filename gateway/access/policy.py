"""A policy: statements that allow or deny, and the judgement of a request by them. Pure.

Source: AWS IAM User Guide, "Policy evaluation logic"; docs/s3-compatibility.md, "Who may do what".
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import Final

from common.data_classes import dataclass
from gateway.access.conditions import PolicyCondition
from gateway.access.patterns import Circumstances, Pattern

EXISTING_TAG: Final = "s3:existingobjecttag/"
REQUEST_TAG: Final = "s3:requestobjecttag/"
REQUEST_TAG_KEYS: Final = "s3:requestobjecttagkeys"
"""Condition keys about the tags that an object has, and those that a request gives it."""
LOCK: Final = "s3:object-lock-"
"""The beginning of condition keys about the lock that a request gives a version."""
USER_ID: Final = "aws:userid"
"""The condition key that everybody has a value of."""
NOBODYS_ID: Final = "anonymous"
"""Its value for a caller who proved nothing."""


class Effect(Enum):
    """The effect of a statement on the requests that it is about."""

    ALLOW = "Allow"
    DENY = "Deny"


@dataclass(frozen=True, slots=True)
class PolicyCaller:
    """A caller in the words of policies. ``account``: the id of a tenant; None: nobody was
    proven. ``user``: of the account. ``role``: of the account, which somebody assumed for a session
    called ``session``. Neither user nor role: the account itself."""

    account: str | None
    user: str | None = None
    role: str | None = None
    session: str = ""

    @property
    def is_account(self) -> bool:
        """Return whether it is an account itself, and no user or role of it."""
        return self.account is not None and self.user is None and self.role is None


@dataclass(frozen=True, slots=True)
class Principals:
    """The callers that a statement names. ``accounts``: whole ones. ``users``, ``roles``: each with
    its account before its name.
    Services, which a policy may name too, never call a gateway."""

    everyone: bool = False
    accounts: frozenset[str] = frozenset()
    users: frozenset[tuple[str, str]] = frozenset()
    roles: frozenset[tuple[str, str]] = frozenset()

    def include(self, caller: PolicyCaller, *, accounts: bool = True) -> bool:
        """Return whether the caller is named.

        Args:
            accounts: a whole account stands for its users and roles, too.
        """
        if self.everyone:
            return True
        if caller.account is None:
            return False
        if caller.account in self.accounts and (accounts or caller.is_account):
            return True
        if caller.role is not None:
            return (caller.account, caller.role) in self.roles
        return caller.user is not None and (caller.account, caller.user) in self.users


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement. ``but_principals``, ``but_permissions``, ``but_resources``: it is about all but
    those that it names. ``permissions``: patterns in lower case."""

    effect: Effect
    principals: Principals
    permissions: tuple[Pattern, ...]
    resources: tuple[Pattern, ...]
    conditions: tuple[PolicyCondition, ...] = ()
    but_principals: bool = False
    but_permissions: bool = False
    but_resources: bool = False

    def is_about(
        self,
        caller: PolicyCaller,
        permission: str,
        resource: str,
        circumstances: Circumstances,
        owned: bool,
    ) -> bool:
        """Return whether the statement decides about a request. ``owned``: the resource belongs to
        the caller's account."""
        # An account decides itself what its users may: a statement that allows something to all of
        # it counts for a user only together with the user's own policy.
        accounts = self.but_principals or not (owned and self.effect is Effect.ALLOW)
        if self.principals.include(caller, accounts=accounts) is self.but_principals:
            return False
        name = permission.lower()
        if _any(self.permissions, name, circumstances) is self.but_permissions:
            return False
        if _any(self.resources, resource, circumstances) is self.but_resources:
            return False
        return all(condition.holds(circumstances) for condition in self.conditions)


def _any(patterns: tuple[Pattern, ...], subject: str, circumstances: Circumstances) -> bool:
    return any(pattern.matches(subject, circumstances) for pattern in patterns)


@dataclass(frozen=True, slots=True)
class Policy:
    """The policy of a bucket, a user, a role or a session. ``asks_existing_tags``,
    ``asks_given_tags``: a condition looks at the tags that an object has, or that a request gives
    it. ``asks_given_lock``: one looks at the lock that a request gives it."""

    statements: tuple[Statement, ...]
    asks_existing_tags: bool = False
    asks_given_tags: bool = False
    asks_given_lock: bool = False

    def judge(
        self,
        caller: PolicyCaller,
        permission: str,
        resource: str,
        circumstances: Circumstances,
        *,
        owned: bool = False,
    ) -> Effect | None:
        """Return what the statements say about a request; None: nothing. One that denies outweighs
        all that allow.

        Args:
            owned: the resource belongs to the caller's account.
        """
        effect: Effect | None = None
        for statement in self.statements:
            if effect is Effect.ALLOW and statement.effect is Effect.ALLOW:
                continue
            if statement.is_about(caller, permission, resource, circumstances, owned):
                if statement.effect is Effect.DENY:
                    return Effect.DENY
                effect = Effect.ALLOW
        return effect


def combined(policies: Iterable[Policy]) -> Policy:
    """Return one policy of the statements of several: each allows what it allows, and none what
    another denies."""
    all_of_them = tuple(policies)
    return Policy(
        tuple([statement for each in all_of_them for statement in each.statements]),
        any(each.asks_existing_tags for each in all_of_them),
        any(each.asks_given_tags for each in all_of_them),
        any(each.asks_given_lock for each in all_of_them),
    )
