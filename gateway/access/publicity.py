"""The publicity of a policy: it is public if it allows anything to callers that it does not fix.
Pure.

Source: Amazon S3 User Guide, "Blocking public access to your Amazon S3 storage", "The meaning of
public".
"""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network
from typing import Final

from gateway.access.conditions import PolicyCondition, Quantifier
from gateway.access.patterns import NOTHING_KNOWN, Pattern
from gateway.access.policy import NOBODYS_ID, USER_ID, Effect, Policy, Statement

_WIDEST_IPV4: Final = 8
_WIDEST_IPV6: Final = 32
"""Prefixes of networks; shorter ones are the public."""
_FIXING: Final = frozenset(
    {
        "aws:principalaccount",
        "aws:principalarn",
        "aws:principalorgid",
        "aws:sourceaccount",
        "aws:sourcearn",
        "aws:sourceip",
        "aws:sourceowner",
        "aws:sourcevpc",
        "aws:sourcevpce",
        USER_ID,
        "aws:username",
        "s3:dataaccesspointaccount",
        "s3:dataaccesspointarn",
    }
)
"""Facts that fix the caller."""
_OPERATORS: Final = frozenset(
    {
        "StringEquals",
        "StringEqualsIgnoreCase",
        "StringLike",
        "ArnEquals",
        "ArnLike",
        "IpAddress",
    }
)


def is_public(policy: Policy) -> bool:
    """Return whether a policy allows something to the public."""
    return any(
        statement.effect is Effect.ALLOW and _is_public(statement)
        for statement in policy.statements
    )


def _is_public(statement: Statement) -> bool:
    if not statement.principals.everyone and not statement.but_principals:
        return False
    return not any(_fixes(condition) for condition in statement.conditions)


def _fixes(condition: PolicyCondition) -> bool:
    operator = condition.operator
    if operator is None or operator.name not in _OPERATORS or condition.key not in _FIXING:
        return False
    if condition.if_exists or condition.quantifier is Quantifier.ALL:
        return False  # It holds where the fact is missing.
    if condition.key == USER_ID and any(
        operator.fits(operand, NOBODYS_ID, NOTHING_KNOWN) for operand in condition.operands
    ):
        return False
    return all(_is_fixed(operand) for operand in condition.operands)


def _is_fixed(operand: object) -> bool:
    if isinstance(operand, IPv4Network):
        return operand.prefixlen >= _WIDEST_IPV4 or operand.is_private
    if isinstance(operand, IPv6Network):
        return operand.prefixlen >= _WIDEST_IPV6 or operand.is_private
    if isinstance(operand, Pattern):
        return operand.is_fixed
    return isinstance(operand, tuple) and all(
        isinstance(each, Pattern) and each.is_fixed for each in operand
    )
