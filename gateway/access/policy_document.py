"""The JSON document of a bucket's policy, read into a Policy or refused as S3 refuses it.

Source: AWS IAM User Guide, "Grammar of the IAM JSON policy language"; Amazon S3 API Reference,
PutBucketPolicy.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, NoReturn, TypeAlias

from common import limits
from common.errors import Refused
from common.ids import TENANT_ID_BYTES
from common.reasons import Refusal
from gateway.access.conditions import BadCondition, PolicyCondition, parse_condition
from gateway.access.patterns import NOTHING_KNOWN, Pattern, condition_key, parse_pattern
from gateway.access.permissions import ALL, ASSUME_ROLE, OF_BUCKETS, OF_OBJECTS
from gateway.access.policy import (
    EXISTING_TAG,
    LOCK,
    REQUEST_TAG,
    REQUEST_TAG_KEYS,
    Effect,
    Policy,
    Principals,
    Statement,
)

Json: TypeAlias = dict[str, Any]
ARN_PREFIX: Final = "arn:aws:s3:::"
_ROLE: Final = re.compile(r"arn:aws:iam::[^:]+:role/.+", re.DOTALL)
"""A role, or several by wildcards, in the policy of a user."""
_VERSIONS: Final = {"2008-10-17": False, "2012-10-17": True}
"""Versions of the language, and whether they have variables."""
_POLICY_FIELDS: Final = frozenset({"Version", "Id", "Statement"})
_STATEMENT_FIELDS: Final = frozenset(
    {
        "Sid",
        "Effect",
        "Principal",
        "NotPrincipal",
        "Action",
        "NotAction",
        "Resource",
        "NotResource",
        "Condition",
    }
)
_BY_LOWER: Final = {each.lower(): each for each in ALL}
_OF_USERS: Final = {**_BY_LOWER, ASSUME_ROLE.lower(): ASSUME_ROLE}
"""The permissions that policies of users may name."""
_ACCOUNT: Final = re.compile(rf"[0-9a-f]{{{2 * TENANT_ID_BYTES}}}")
_PRINCIPAL_ARN: Final = re.compile(
    rf"arn:aws:iam::({_ACCOUNT.pattern}):"
    r"(?:root|(user|role)/(?:[\w+=,.@/-]*/)?([\w+=,.@-]+))",
    re.ASCII,
)
_SERVICE: Final = re.compile(r"[a-z0-9.-]+\.amazonaws\.com(?:\.cn)?")


CheckCondition: TypeAlias = Callable[[str, str, frozenset[str]], None]
"""Gets the name of a condition key, the key, and the permissions of its statement."""


def accept_condition(_name: str, _key: str, _permissions: frozenset[str]) -> None:
    """Take every condition: of a policy that was checked when it was set."""


def parse_policy(
    data: bytes, bucket: str, check_condition: CheckCondition = accept_condition
) -> Policy:
    """Read the policy of a bucket.

    Args:
        check_condition: refuses conditions about what no request of the protocol has.

    Raises:
        Refused: ``malformed_policy``, with the ``detail`` that S3 gives.
    """
    return _parse(data, limits.MAX_POLICY_BYTES, bucket, check_condition)


def parse_user_policy(data: bytes, check_condition: CheckCondition = accept_condition) -> Policy:
    """Read a policy of users, of a role or a session: it names no principal, buckets of any name,
    and roles.

    Args:
        check_condition: as of :func:`parse_policy`.

    Raises:
        Refused: ``malformed_policy``.
    """
    return _parse(data, limits.MAX_NAMED_POLICY_BYTES, None, check_condition)


def _parse(
    data: bytes, most_bytes: int, bucket: str | None, check_condition: CheckCondition
) -> Policy:
    """Read a policy. ``bucket``: that it belongs to; None: it is a user's."""
    if len(data) > most_bytes:
        refuse("Policy exceeds the maximum allowed document size.")
    if not data.startswith(b"{"):
        refuse("Policies must be valid JSON and the first byte must be '{'")
    try:
        document = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_object,
            parse_int=_Number,
            parse_float=_Number,
            parse_constant=_constant,
        )
    except (ValueError, RecursionError):
        refuse("This policy contains invalid Json")
    _check_fields(document, _POLICY_FIELDS)
    version = document.get("Version", "2008-10-17")
    if not isinstance(version, str) or version not in _VERSIONS:
        refuse("The policy must contain a valid version string")
    _text(document.get("Id", ""))
    statements = document.get("Statement")
    if statements is None:
        refuse("Missing required field Statement")
    if isinstance(statements, dict):
        statements = [statements]
    if not isinstance(statements, list) or not statements:
        refuse("Could not parse the policy: Statement is empty!")
    seen: set[str] = set()
    for each in statements:
        if not isinstance(each, dict):
            refuse("Invalid policy syntax.")
        sid = _text(each.get("Sid", ""))
        if sid and sid in seen:
            refuse(f"Statement IDs (SID) in a single policy must be unique: {sid[:64]}")
        seen.add(sid)
    variables = _VERSIONS[version]
    read = tuple([_statement(each, bucket, check_condition, variables) for each in statements])
    keys = [condition.key for statement in read for condition in statement.conditions]
    return Policy(
        read,
        any(key.startswith(EXISTING_TAG) for key in keys),
        any(key.startswith(REQUEST_TAG) or key == REQUEST_TAG_KEYS for key in keys),
        any(key.startswith(LOCK) for key in keys),
    )


def refuse(detail: str) -> NoReturn:
    """Refuse a document.

    Args:
        detail: for who set it.

    Raises:
        Refused: ``malformed_policy``.
    """
    raise Refused(Refusal.MALFORMED_POLICY, detail=detail)


def _text(value: Any) -> str:
    if not isinstance(value, str) or isinstance(value, _Number):
        refuse("Invalid policy syntax.")
    return value


class _Number(str):
    """A number as it is written."""

    __slots__ = ()


def _object(pairs: list[tuple[str, Any]]) -> Json:
    """An object; a name that comes twice would be read by one reader as the first, by the next as
    the last."""
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError
    return made


def _constant(_name: str) -> NoReturn:
    raise ValueError


def _check_fields(value: Json, known: frozenset[str]) -> None:
    for name in value:
        if name not in known:
            refuse(f"Unknown field {name[:64]}")


def _statement(
    value: Json, bucket: str | None, check_condition: CheckCondition, variables: bool
) -> Statement:
    _check_fields(value, _STATEMENT_FIELDS)
    effect = value.get("Effect")
    if effect is None:
        refuse("Missing required field Effect")
    if not isinstance(effect, str) or effect not in {"Allow", "Deny"}:
        refuse(f"Invalid effect: {str(effect)[:64]}")
    if bucket is None and ("Principal" in value or "NotPrincipal" in value):
        refuse("Policy document should not specify a principal.")
    named_principals, but_principals = (
        ("*", False) if bucket is None else _either(value, "Principal")
    )
    actions, but_permissions = _either(value, "Action")
    resources, but_resources = _either(value, "Resource")
    known = _OF_USERS if bucket is None else _BY_LOWER
    permissions = _permissions(actions, known)
    named = frozenset().union(*[fitting for _, fitting in permissions])
    patterns = _resources(resources, bucket, variables)
    if bucket is not None and not but_permissions and not but_resources:
        _check_applicable(permissions, patterns, bucket)
    return Statement(
        Effect(effect),
        _principals(named_principals),
        tuple([pattern for pattern, _ in permissions]),
        patterns,
        _conditions(
            value.get("Condition"),
            frozenset(known.values()) if but_permissions else named,
            check_condition,
            variables,
        ),
        but_principals,
        but_permissions,
        but_resources,
    )


def _either(value: Json, name: str) -> tuple[Any, bool]:
    """The one of ``name`` and ``NotName`` that a statement has, and whether it is the latter."""
    opposite = "Not" + name
    if (name in value) is (opposite in value):
        if name in value:
            refuse(f"Statement cannot contain both {name} and {opposite}")
        refuse(f"Missing required field {name}")
    return (value[opposite], True) if opposite in value else (value[name], False)


def _texts(value: Any, detail: str) -> list[str]:
    """One text or several, at least one."""
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not texts:
        refuse(detail)
    for text in texts:
        if not isinstance(text, str) or isinstance(text, _Number):
            refuse(detail)
    return texts


def _principals(value: Any) -> Principals:
    detail = "Invalid principal in policy"
    if value == "*":
        return Principals(everyone=True)
    if not isinstance(value, dict) or not value:
        refuse(detail)
    everyone = False
    accounts: set[str] = set()
    named: dict[str, set[tuple[str, str]]] = {"user": set(), "role": set()}
    for kind, names in value.items():
        for name in _texts(names, detail):
            match = _PRINCIPAL_ARN.fullmatch(name)
            if kind in {"AWS", "CanonicalUser"} and _ACCOUNT.fullmatch(name):
                accounts.add(name)
            elif kind == "AWS" and name == "*":
                everyone = True
            elif kind == "AWS" and match is not None:
                if match[2] is None:
                    accounts.add(match[1])
                else:
                    named[match[2]].add((match[1], match[3]))
            elif kind != "Service" or _SERVICE.fullmatch(name) is None:
                refuse(detail)
    return Principals(
        everyone, frozenset(accounts), frozenset(named["user"]), frozenset(named["role"])
    )


def _permissions(value: Any, known: Mapping[str, str]) -> list[tuple[Pattern, frozenset[str]]]:
    """The patterns of permissions, each with all permissions that fit it.

    Args:
        known: all that there are, by their names in lower case.
    """
    patterns: list[tuple[Pattern, frozenset[str]]] = []
    for text in _texts(value, "Policy has invalid action"):
        pattern = parse_pattern(text.lower(), variables=False)
        exact = known.get(text.lower())
        if exact is not None:
            fitting = frozenset({exact})
        else:
            fitting = frozenset(
                name for lower, name in known.items() if pattern.matches(lower, NOTHING_KNOWN)
            )
        if not fitting:
            refuse("Policy has invalid action")
        patterns.append((pattern, fitting))
    return patterns


def _resources(value: Any, bucket: str | None, variables: bool) -> tuple[Pattern, ...]:
    detail = "Policy has invalid resource"
    patterns: list[Pattern] = []
    for text in _texts(value, detail):
        rest = text.removeprefix(ARN_PREFIX)
        if bucket is None and (text == "*" or _ROLE.fullmatch(text) is not None):
            patterns.append(parse_pattern(text, variables=variables))
            continue
        if rest == text:
            refuse(detail)
        name, slash, _ = rest.partition("/")
        fits = bucket is None or parse_pattern(name, variables=False).matches(bucket, NOTHING_KNOWN)
        # A wildcard may stand for the slash, too.
        if bucket is not None and not fits and not _reaches(name if slash else rest, bucket):
            refuse(detail)
        patterns.append(parse_pattern(text, variables=variables))
    return tuple(patterns)


def _reaches(name: str, bucket: str) -> bool:
    """Return whether a name with wildcards can be of an object of the bucket."""
    head, star, _ = name.partition("*")
    return bool(star) and "?" not in head and (bucket + "/").startswith(head)


def _check_applicable(
    permissions: list[tuple[Pattern, frozenset[str]]], resources: tuple[Pattern, ...], bucket: str
) -> None:
    """Refuse a permission whose kind of resource the statement does not name."""
    has_buckets = any(
        each.globs is None or each.matches(ARN_PREFIX + bucket, NOTHING_KNOWN) for each in resources
    )
    has_objects = any(
        "/" in each.text.removeprefix(ARN_PREFIX) or "*" in each.text for each in resources
    )
    for _, fitting in permissions:
        of_objects = has_objects and not fitting.isdisjoint(OF_OBJECTS)
        if not of_objects and not (has_buckets and not fitting.isdisjoint(OF_BUCKETS)):
            refuse("Action does not apply to any resource(s) in statement")


def _conditions(
    value: Any, named: frozenset[str], check_condition: CheckCondition, variables: bool
) -> tuple[PolicyCondition, ...]:
    if value is None:
        return ()
    if not isinstance(value, dict):
        refuse("Invalid policy syntax.")
    conditions: list[PolicyCondition] = []
    for operator, block in value.items():
        if not isinstance(block, dict) or not block:
            refuse("Invalid policy syntax.")
        for name, values in block.items():
            key = condition_key(name)
            check_condition(name, key, named)
            try:
                conditions.append(
                    parse_condition(operator, key, _operands(values), variables=variables)
                )
            except BadCondition:
                refuse(f"Invalid Condition type : {operator[:64]}")
    return tuple(conditions)


def _operands(value: Any) -> list[str]:
    values = value if isinstance(value, list) else [value]
    if not values:
        refuse("Invalid policy syntax.")
    operands = []
    for each in values:
        if isinstance(each, bool):
            operands.append("true" if each else "false")
        elif isinstance(each, str):
            operands.append(str(each))
        else:
            refuse("Invalid policy syntax.")
    return operands
