"""Conditions of policies: a fact of the request compared with values.

Source: AWS IAM User Guide, "IAM JSON policy elements: Condition operators", "Multivalued context
keys".
"""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from enum import Enum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, Final, TypeAlias

from common import limits
from common.data_classes import dataclass
from gateway.access.patterns import Circumstances, Pattern, parse_pattern

Network: TypeAlias = IPv4Network | IPv6Network
_DATE: Final = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)(?:T(\d\d):(\d\d)(?::(\d\d)(?:\.\d{1,9})?)?)?(Z|[+-]\d\d:?\d\d)?"
)
_IF_EXISTS: Final = "IfExists"


class Quantifier(Enum):
    """The values of the request that must fit, of several."""

    NONE = ""
    ANY = "ForAnyValue:"
    ALL = "ForAllValues:"


class BadCondition(Exception):
    """An operator that does not exist, or a value that it cannot compare with."""


@dataclass(frozen=True, slots=True)
class Operator:
    """A comparison. ``read``: a value as the policy has it, to what ``fits`` compares with; raises
    ValueError. ``fits``: an operand and a value of the request; ``negated``: and none may."""

    name: str
    read: Callable[[str, bool], Any]
    fits: Callable[[Any, str, Circumstances], bool]
    negated: bool = False


@dataclass(frozen=True, slots=True)
class PolicyCondition:
    """A comparison of one fact of the request. ``operator``: None: whether there is the fact at all
    (``Null``). ``operands``: of which one must fit; of a negated operator none."""

    operator: Operator | None
    key: str
    operands: tuple[Any, ...]
    if_exists: bool = False
    quantifier: Quantifier = Quantifier.NONE

    def holds(self, circumstances: Circumstances) -> bool:
        """Return whether the request fits."""
        values = circumstances.values(self.key)
        operator = self.operator
        if operator is None:
            return (not values) in self.operands
        if not values:
            if self.if_exists or self.quantifier is Quantifier.ALL:
                return True
            return operator.negated and self.quantifier is Quantifier.NONE
        fitting = [
            any(operator.fits(operand, value, circumstances) for operand in self.operands)
            is not operator.negated
            for value in values
        ]
        if self.quantifier is Quantifier.NONE:
            return all(fitting) if operator.negated else any(fitting)
        return all(fitting) if self.quantifier is Quantifier.ALL else any(fitting)


def parse_condition(
    operator: str, key: str, values: list[str], *, variables: bool
) -> PolicyCondition:
    """Read a condition.

    Args:
        operator: as written, with ``ForAnyValue:`` and ``IfExists``.
        key: as :func:`gateway.access.patterns.condition_key` has it.
        variables: as of :func:`gateway.access.patterns.parse_pattern`.

    Raises:
        BadCondition: no such operator, or no value for it.
    """
    name, quantifier = operator, Quantifier.NONE
    for each in (Quantifier.ANY, Quantifier.ALL):
        if operator.startswith(each.value):
            name, quantifier = operator.removeprefix(each.value), each
    if_exists = name.endswith(_IF_EXISTS)
    name = name.removesuffix(_IF_EXISTS)
    try:
        if name == "Null":
            if if_exists or quantifier is not Quantifier.NONE:
                raise BadCondition(operator)
            return PolicyCondition(None, key, tuple([_flag(value, variables) for value in values]))
        found = OPERATORS.get(name)
        if found is None:
            raise BadCondition(operator)
        operands = tuple([found.read(value, variables) for value in values])
    except ValueError:
        raise BadCondition(operator) from None
    return PolicyCondition(found, key, operands, if_exists, quantifier)


# --- texts ---------------------------------------------------------------------------------------
def _literal(text: str, variables: bool) -> Pattern:
    return parse_pattern(text, wildcards=False, variables=variables)


def _bytes(text: str, _variables: bool) -> Pattern:
    """Base64, which facts that are bytes are given in, too."""
    b64decode(text, validate=True)
    return _literal(text, variables=False)


def _glob(text: str, variables: bool) -> Pattern:
    return parse_pattern(text, variables=variables)


def _fits(pattern: Pattern, value: str, circumstances: Circumstances) -> bool:
    return pattern.matches(value, circumstances)


def _folded(text: str, variables: bool) -> Pattern:
    return _literal(text, variables).fold()


def _fits_folded(pattern: Pattern, value: str, circumstances: Circumstances) -> bool:
    return pattern.matches(value.lower(), _Folded(circumstances))


@dataclass(frozen=True, slots=True)
class _Folded:
    """Circumstances whose values are in lower case."""

    circumstances: Circumstances

    def values(self, key: str) -> tuple[str, ...] | None:
        found = self.circumstances.values(key)
        return None if found is None else tuple([each.lower() for each in found])


# --- names of resources: each of the six parts by itself, so that no wildcard crosses a colon -----
def _arn(text: str, variables: bool) -> tuple[Pattern, ...]:
    parts = re.split(r":(?![^{}]*\})", text, maxsplit=5)
    if len(parts) != 6:
        raise ValueError
    return tuple([parse_pattern(part, variables=variables) for part in parts])


def _fits_arn(patterns: tuple[Pattern, ...], value: str, circumstances: Circumstances) -> bool:
    parts = value.split(":", 5)
    return len(parts) == len(patterns) and all(
        pattern.matches(part, circumstances) for pattern, part in zip(patterns, parts, strict=True)
    )


# --- numbers, moments, flags, addresses -----------------------------------------------------------
def _number(text: str, _variables: bool = False) -> Decimal:
    if len(text) > limits.MAX_POLICY_NUMBER_CHARACTERS:
        raise ValueError
    try:
        number = Decimal(text)
    except InvalidOperation:
        raise ValueError from None
    if not number.is_finite() or abs(number.adjusted()) > limits.MAX_POLICY_NUMBER_CHARACTERS:
        raise ValueError
    return number


def _moment(text: str, _variables: bool = False) -> Decimal:
    """Seconds since 1970 of a date of ISO 8601, or written as their number."""
    match = _DATE.fullmatch(text)
    if match is None:
        return _number(text)
    year, month, day, hour, minute, second = (int(each or 0) for each in match.groups()[:6])
    zone = match[7] or "Z"
    offset_s = 0
    if zone != "Z":
        digits = zone[1:].replace(":", "")
        offset_s = (int(digits[:2]) * 60 + int(digits[2:])) * (-60 if zone[0] == "-" else 60)
    moment = datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    return Decimal(int(moment.timestamp()) - offset_s)


def _flag(text: str, _variables: bool = False) -> bool:
    lowered = text.lower()
    if lowered not in {"true", "false"}:
        raise ValueError
    return lowered == "true"


def _network(text: str, _variables: bool = False) -> Network:
    return ip_network(text, strict=False)


def _address(text: str) -> IPv4Address | IPv6Address:
    address = ip_address(text)
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def _comparing(
    read: Callable[[str], Any], compare: Callable[[Any, Any], bool]
) -> Callable[[Any, str, Circumstances], bool]:
    """Compare with a value of the request that is read in the same way; what cannot be read never
    fits."""

    def fits(operand: Any, value: str, _circumstances: Circumstances) -> bool:
        try:
            return compare(read(value), operand)
        except ValueError:
            return False

    return fits


def _equal(value: Any, operand: Any) -> bool:
    return bool(value == operand)


def _within(address: Any, network: Any) -> bool:
    return bool(address in network)


def _ordered(prefix: str, read: Callable[[str, bool], Any]) -> list[Operator]:
    compares: Mapping[str, Callable[[Any, Any], bool]] = {
        "LessThan": lambda value, operand: bool(value < operand),
        "LessThanEquals": lambda value, operand: bool(value <= operand),
        "GreaterThan": lambda value, operand: bool(value > operand),
        "GreaterThanEquals": lambda value, operand: bool(value >= operand),
    }

    def read_value(text: str) -> Any:
        return read(text, False)

    equals = _comparing(read_value, _equal)
    return [
        Operator(prefix + "Equals", read, equals),
        Operator(prefix + "NotEquals", read, equals, negated=True),
        *(
            Operator(prefix + name, read, _comparing(read_value, compare))
            for name, compare in compares.items()
        ),
    ]


_ALL: Final = (
    Operator("StringEquals", _literal, _fits),
    Operator("StringNotEquals", _literal, _fits, negated=True),
    Operator("StringEqualsIgnoreCase", _folded, _fits_folded),
    Operator("StringNotEqualsIgnoreCase", _folded, _fits_folded, negated=True),
    Operator("StringLike", _glob, _fits),
    Operator("StringNotLike", _glob, _fits, negated=True),
    Operator("BinaryEquals", _bytes, _fits),
    Operator("ArnEquals", _arn, _fits_arn),
    Operator("ArnNotEquals", _arn, _fits_arn, negated=True),
    Operator("ArnLike", _arn, _fits_arn),
    Operator("ArnNotLike", _arn, _fits_arn, negated=True),
    *_ordered("Numeric", _number),
    *_ordered("Date", _moment),
    Operator("Bool", _flag, _comparing(_flag, _equal)),
    Operator("IpAddress", _network, _comparing(_address, _within)),
    Operator("NotIpAddress", _network, _comparing(_address, _within), negated=True),
)
OPERATORS: Final[Mapping[str, Operator]] = {each.name: each for each in _ALL}
"""All but ``Null``, which compares nothing."""
