"""The order of the transitions of a lifecycle rule, and the days that S3 demands between them.

Source: Amazon S3 User Guide, "Transitioning objects using Amazon S3 Lifecycle", "Constraints and
considerations for transitions"; API Reference, Transition.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Final, NoReturn

from common import limits
from common.format.configurations import LifecycleRule, LifecycleTransition
from gateway.class_names import may_follow
from gateway_s3 import errors
from gateway_s3.errors import S3Error

INFREQUENT: Final = frozenset({"ONEZONE_IA", "STANDARD_IA"})
"""Classes for infrequent access: objects stay outside of them, and in them, for some time."""
_DAY_MS: Final = 86_400_000


def check_transitions(rule: LifecycleRule) -> None:
    """Check that the classes of a rule follow each other, late enough, and before the object
    expires.

    Raises:
        S3Error: InvalidRequest: a class twice, or days beside dates; InvalidArgument: too early.
    """
    where = _described(rule)
    _check_order(rule.transitions, "Transition", where)
    _check_order(rule.noncurrent_transitions, "NoncurrentVersionTransition", where)
    for each in rule.transitions:
        if rule.expire_days or rule.expire_ms is not None:
            _check_expiration(rule, each, where)
    for each in rule.noncurrent_transitions:
        if rule.noncurrent_days and rule.noncurrent_days <= (each.days or 0):
            _late(
                f"'NoncurrentDays' in the NoncurrentVersionExpiration action for {where} must be "
                "greater than 'NoncurrentDays' in the NoncurrentVersionTransition action",
                "NoncurrentDays",
                str(rule.noncurrent_days),
            )


def _late(message: str, name: str, value: str) -> NoReturn:
    raise S3Error(errors.INVALID_ARGUMENT, message, ArgumentName=name, ArgumentValue=value)


def _described(rule: LifecycleRule) -> str:
    """A rule by what it is for, as S3 says it."""
    if not rule.is_filter:
        return f"prefix '{rule.prefix or ''}'"
    parts = [] if rule.prefix is None else [f"prefix={rule.prefix}"]
    parts += [f"tag: key={tag.key}, value={tag.value}" for tag in rule.tags]
    sizes = (
        ("objectsizegreaterthan", rule.larger_than),
        ("objectsizelessthan", rule.smaller_than),
    )
    parts += [f"{name}={size}" for name, size in sizes if size is not None]
    return f"filter '({' and '.join(parts)})'"


def _check_order(transitions: Sequence[LifecycleTransition], action: str, where: str) -> None:
    for one, other in combinations(transitions, 2):
        if one.class_name == other.class_name:
            raise S3Error(
                errors.INVALID_REQUEST,
                f"'StorageClass' must be different for '{action}' actions in same 'Rule' with "
                f"{where}",
            )
        if (one.days is None) is not (other.days is None):
            raise S3Error(
                errors.INVALID_REQUEST,
                f"Found mixed 'Date' and 'Days' based Transition actions in lifecycle rule for "
                f"{where}",
            )
        is_first = may_follow(one.class_name, other.class_name)
        _check_distance(*((one, other) if is_first else (other, one)), action, where)


def _check_distance(
    first: LifecycleTransition, then: LifecycleTransition, action: str, where: str
) -> None:
    """Check that a class comes late enough behind the one that it may follow."""
    name = "Date" if then.days is None else "Days"
    if action != "Transition":
        name = "NoncurrentDays"
    apart = _days(then) - _days(first)
    least = limits.LEAST_INFREQUENT_DAYS if first.class_name in INFREQUENT else 1
    is_possible = may_follow(first.class_name, then.class_name)
    if is_possible and apart >= least:
        return
    how = f"{least} days more" if is_possible and apart > 0 else "greater"
    _late(
        f"'{name}' in the '{action}' action with StorageClass '{then.class_name}' for {where} must "
        f"be {how} than '{name}' in the '{action}' action with StorageClass '{first.class_name}'",
        name,
        str(_days(then)),
    )


def _days(transition: LifecycleTransition) -> int:
    """The days of a transition, or up to its date, to be compared with others of their kind."""
    if transition.days is not None:
        return transition.days
    return (transition.at_ms or 0) // _DAY_MS


def _check_expiration(rule: LifecycleRule, each: LifecycleTransition, where: str) -> None:
    if (each.days is None) is bool(rule.expire_days):
        raise S3Error(
            errors.INVALID_REQUEST,
            "Found mixed 'Date' and 'Days' based Expiration and Transition actions in lifecycle "
            f"rule for {where}",
        )
    if each.days is not None and rule.expire_days <= each.days:
        _late(
            f"'Days' in the Expiration action for {where} must be greater than 'Days' in the "
            "Transition action",
            "Days",
            str(rule.expire_days),
        )
    if each.at_ms is not None and (rule.expire_ms or 0) <= each.at_ms:
        _late(
            f"'Date' in the Expiration action for {where} must be later than 'Date' in the "
            "Transition action",
            "Date",
            str(rule.expire_ms),
        )
