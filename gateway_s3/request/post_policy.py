"""Policies of forms: what a form that somebody signed may hold. Pure.

Source: Amazon S3 API Reference, "Browser-based uploads using POST: POST policy".
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from common import limits
from common.data_classes import dataclass
from gateway_s3 import errors
from gateway_s3.errors import S3Error

_EXPIRATION: Final = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.\d{1,9})?Z", re.ASCII
)
_UNCOVERED: Final = frozenset(
    {"x-amz-signature", "policy", "file", "awsaccesskeyid", "signature", "bucket"}
)
"""Fields that need no condition. ``bucket`` has one in every policy, and is the request's."""
_IGNORED: Final = "x-ignore-"
_LISTS: Final = frozenset({"content-type"})
"""Fields whose values are lists, each item of which must begin as a condition says."""


@dataclass(frozen=True, slots=True)
class FieldCondition:
    """A condition on a field. ``field``: in lower case; ``shown``: as errors show it."""

    field: str
    value: str
    is_prefix: bool
    shown: str


@dataclass(frozen=True, slots=True)
class PostPolicy:
    """A policy. ``expires``: Unix seconds. ``least``, ``most``: bytes of the file."""

    expires: float
    conditions: tuple[FieldCondition, ...]
    least: int = 0
    most: int = limits.MAX_SINGLE_PUT_BYTES

    def check(self, fields: Mapping[str, str], bucket: str, now: float) -> None:
        """Refuse a form that is not one that was signed.

        Args:
            fields: by their names in lower case, ``${filename}`` put in.
            bucket: of the request, whatever a field says.

        Raises:
            S3Error: AccessDenied: it expired, a condition does not hold, or a field has none.
        """
        if now >= self.expires:
            raise _denied("Policy expired.")
        said = fields.get("bucket")
        if said is not None and said != bucket:
            raise _denied(f'Policy Condition failed: ["eq", "$bucket", "{bucket}"]')
        known = {**fields, "bucket": bucket}
        covered = set(_UNCOVERED)
        for condition in self.conditions:
            if not _holds(condition, known.get(condition.field)):
                raise _denied(f"Policy Condition failed: {condition.shown}")
            covered.add(condition.field)
        if not any(condition.field == "bucket" for condition in self.conditions):
            raise _denied("Policy names no bucket")
        extra = sorted(
            name for name in fields if name not in covered and not name.startswith(_IGNORED)
        )
        if extra:
            raise _denied(f"Extra input fields: {', '.join(extra)[:512]}")

    def check_size(self, size: int) -> None:
        """Refuse a file of another size than the policy allows.

        Raises:
            S3Error: EntityTooSmall, EntityTooLarge.
        """
        if size < self.least:
            raise S3Error(
                errors.ENTITY_TOO_SMALL,
                "Your proposed upload is smaller than the minimum allowed size",
                ProposedSize=size,
                MinSizeAllowed=self.least,
            )
        if size > self.most:
            raise S3Error(
                errors.ENTITY_TOO_LARGE,
                "Your proposed upload exceeds the maximum allowed size",
                ProposedSize=size,
                MaxSizeAllowed=self.most,
            )


def _holds(condition: FieldCondition, value: str | None) -> bool:
    if value is None:
        return False
    if not condition.is_prefix:
        return value == condition.value
    if condition.field in _LISTS:
        return all(each.strip(" ").startswith(condition.value) for each in value.split(","))
    return value.startswith(condition.value)


def _denied(message: str) -> S3Error:
    return S3Error(errors.ACCESS_DENIED, f"Invalid according to Policy: {message}")


def _invalid(message: str) -> S3Error:
    return S3Error(errors.INVALID_POLICY_DOCUMENT, f"Invalid Policy: {message}")


def parse_post_policy(encoded: bytes) -> PostPolicy:
    """Read a policy, which is the base64 of JSON.

    Raises:
        S3Error: InvalidPolicyDocument; AccessDenied: a range that is of no numbers.
    """
    try:
        text = base64.b64decode(encoded, validate=True).decode("utf-8")
        document = json.loads(
            text, object_pairs_hook=_object, parse_float=_no_number, parse_constant=_no_number
        )
    except (binascii.Error, ValueError, RecursionError):
        raise _invalid("Invalid JSON.") from None
    if not isinstance(document, dict):
        raise _invalid("Invalid JSON.")
    for name in document:
        if name not in {"expiration", "conditions"}:
            raise _invalid(f"Unexpected: '{name.lower()[:64]}'")
    if "expiration" not in document:
        raise _invalid("Policy missing expiration.")
    conditions = document.get("conditions")
    if conditions is None:
        raise _invalid("Policy missing conditions.")
    if not isinstance(conditions, list) or len(conditions) > limits.MAX_FORM_CONDITIONS:
        raise _invalid("Invalid 'conditions' value: must be a List.")
    policy = PostPolicy(_expiration(document["expiration"]), ())
    least, most = policy.least, policy.most
    found: list[FieldCondition] = []
    for each in conditions:
        if isinstance(each, list) and each and _is_range(each[0]):
            lower, upper = _range(each)
            least, most = max(least, lower), min(most, upper)
        else:
            found.append(_condition(each))
    return PostPolicy(policy.expires, tuple(found), least, most)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name comes twice")
    return found


def _no_number(text: str) -> Any:
    raise ValueError(text)


def _expiration(value: object) -> float:
    match = _EXPIRATION.fullmatch(value) if isinstance(value, str) else None
    try:
        if match is not None:
            year, month, day, hour, minute, second = map(int, match.groups())
            return datetime(year, month, day, hour, minute, second, tzinfo=UTC).timestamp()
    except ValueError:
        pass
    raise _invalid(f"Invalid 'expiration' value: '{str(value)[:64]}'")


def _condition(value: object) -> FieldCondition:
    if isinstance(value, dict):
        if len(value) != 1:
            raise _invalid(
                "Invalid Simple-Condition: Simple-Conditions must have exactly one property "
                "specified."
            )
        ((name, wanted),) = value.items()
        if not isinstance(wanted, str):
            raise _invalid("Invalid Simple-Condition: value must be a string.")
        return FieldCondition(name.lower(), wanted, False, _shown(["eq", f"${name}", wanted]))
    if not isinstance(value, list):
        raise _invalid("Invalid condition: must be a List or Object.")
    if not value:
        raise _invalid("Invalid Condition: missing operation identifier.")
    operation = value[0].lower() if isinstance(value[0], str) else ""
    if operation not in {"eq", "starts-with"}:
        raise _invalid(f"Invalid Condition: unknown operation '{str(value[0])[:64]}'.")
    if len(value) != 3:
        raise _invalid(f"Invalid {operation}: wrong number of arguments.")
    if not all(isinstance(each, str) for each in value):
        raise _invalid("Invalid JSON.")
    _, name, wanted = value
    # Without its dollar a name is of no field, so the condition holds for no form.
    field = name[1:].lower() if name.startswith("$") else ""
    return FieldCondition(field, wanted, operation == "starts-with", _shown(value))


def _shown(value: list[Any]) -> str:
    return json.dumps(value, ensure_ascii=False)[:512]


def _is_range(operation: object) -> bool:
    return isinstance(operation, str) and operation.lower() == "content-length-range"


def _range(value: list[Any]) -> tuple[int, int]:
    if len(value) != 3:
        raise _invalid("Invalid content-length-range: wrong number of arguments.")
    bounds: list[int] = []
    for each in value[1:]:
        if isinstance(each, str) and each.isascii() and each.isdigit() and len(each) < 19:
            bounds.append(int(each))
        elif isinstance(each, int) and not isinstance(each, bool):
            bounds.append(each)
        else:
            raise _denied(f"Policy Condition failed: {_shown(value)}")
    if min(bounds) < 0:
        raise _invalid("Invalid content-length-range: a bound is negative.")
    return bounds[0], bounds[1]
