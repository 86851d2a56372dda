"""Operators of conditions as a table: what fits, what does not, and what is missing."""

from __future__ import annotations

import pytest

from gateway.access.conditions import OPERATORS, BadCondition, parse_condition


class Fact:
    """Circumstances with one fact at most."""

    def __init__(self, *values: str) -> None:
        self._values = values

    def values(self, key: str) -> tuple[str, ...] | None:
        if key == "aws:username":
            return ("ann",)
        return (self._values or None) if key == "k" else None


FITTING = [
    ("StringEquals", ["a", "b"], "b", "c"),
    ("StringEquals", ["*"], "*", "a"),
    ("StringEquals", ["${aws:username}"], "ann", "bob"),
    ("StringEqualsIgnoreCase", ["Ab"], "aB", "b"),
    ("StringEqualsIgnoreCase", ["${aws:username}"], "ANN", "bob"),
    ("StringEqualsIgnoreCase", ["${aws:none, 'Ab'}"], "aB", "b"),
    ("StringLike", ["a*"], "ab", "ba"),
    ("BinaryEquals", ["QQ=="], "QQ==", "Qg=="),
    ("ArnEquals", ["arn:aws:iam::1:user/*"], "arn:aws:iam::1:user/a", "arn:aws:iam::2:user/a"),
    ("ArnLike", ["arn:aws:*::1:x"], "arn:aws:s3::1:x", "arn:aws:s3:eu:1:x"),
    ("NumericEquals", ["10"], "10.0", "11"),
    ("NumericEquals", ["1"], "1", "one"),
    ("NumericLessThan", ["10"], "9", "10"),
    ("NumericLessThanEquals", ["10"], "10", "11"),
    ("NumericGreaterThan", ["10"], "11", "10"),
    ("NumericGreaterThanEquals", ["10"], "10", "9"),
    ("DateEquals", ["2026-01-01T00:00:00Z"], "1767225600", "1767225601"),
    ("DateEquals", ["2026-01-01"], "2026-01-01T01:00:00+01:00", "2026-01-02"),
    ("DateLessThan", ["2026-01-01T00:00:00Z"], "2025-12-31T23:59:59Z", "2026-01-01T00:00:00Z"),
    ("DateLessThanEquals", ["1767225600"], "2026-01-01T00:00:00Z", "2026-01-01T00:00:01Z"),
    ("DateGreaterThan", ["2026-01-01"], "2026-01-01T00:00:01Z", "2026-01-01T00:00:00Z"),
    ("DateGreaterThanEquals", ["2026-01-01"], "2026-01-01T00:00:00Z", "2025-01-01T00:00:00Z"),
    ("Bool", ["true"], "True", "false"),
    ("IpAddress", ["10.1.2.3/8"], "10.255.0.1", "11.0.0.1"),
    ("IpAddress", ["10.1.2.3"], "::ffff:10.1.2.3", "10.1.2.4"),
    ("IpAddress", ["2001:db8::/32"], "2001:db8::1", "2001:db9::1"),
    ("IpAddress", ["0.0.0.0/0"], "1.2.3.4", "::1"),
    ("IpAddress", ["10.0.0.0/8"], "10.0.0.1", "no address"),
]
OPPOSITES = {
    "StringEquals": "StringNotEquals",
    "StringEqualsIgnoreCase": "StringNotEqualsIgnoreCase",
    "StringLike": "StringNotLike",
    "ArnEquals": "ArnNotEquals",
    "ArnLike": "ArnNotLike",
    "NumericEquals": "NumericNotEquals",
    "DateEquals": "DateNotEquals",
    "IpAddress": "NotIpAddress",
}


def holds(operator: str, operands: list[str], *values: str) -> bool:
    return parse_condition(operator, "k", operands, variables=True).holds(Fact(*values))


def test_every_operator_is_in_the_table() -> None:
    assert {row[0] for row in FITTING} | set(OPPOSITES.values()) == set(OPERATORS)


@pytest.mark.parametrize(("operator", "operands", "fitting", "other"), FITTING)
def test_an_operator_compares(operator: str, operands: list[str], fitting: str, other: str) -> None:
    assert holds(operator, operands, fitting)
    assert not holds(operator, operands, other)
    assert not holds(operator, operands)
    assert holds(operator + "IfExists", operands, fitting)
    assert not holds(operator + "IfExists", operands, other)
    assert holds(operator + "IfExists", operands)
    if operator in OPPOSITES:
        opposite = OPPOSITES[operator]
        assert not holds(opposite, operands, fitting)
        assert holds(opposite, operands, other)
        assert holds(opposite, operands)
        assert holds(opposite + "IfExists", operands)


@pytest.mark.parametrize(
    ("operator", "values", "expected"),
    [
        ("ForAnyValue:StringEquals", ["a", "x"], True),
        ("ForAnyValue:StringEquals", ["x", "y"], False),
        ("ForAnyValue:StringEquals", [], False),
        ("ForAllValues:StringEquals", ["a", "b"], True),
        ("ForAllValues:StringEquals", ["a", "x"], False),
        ("ForAllValues:StringEquals", [], True),
        ("ForAnyValue:StringNotEquals", ["a", "x"], True),
        ("ForAnyValue:StringNotEquals", ["a", "b"], False),
        ("ForAnyValue:StringNotEquals", [], False),
        ("ForAllValues:StringNotEquals", ["x", "y"], True),
        ("ForAllValues:StringNotEquals", ["a", "y"], False),
        ("ForAllValues:StringNotEquals", [], True),
        ("StringEquals", ["x", "a"], True),
        ("StringNotEquals", ["x", "a"], False),
    ],
)
def test_quantifiers_say_how_many_values_must_fit(
    operator: str, values: list[str], expected: bool
) -> None:
    assert holds(operator, ["a", "b"], *values) is expected


def test_null_asks_whether_there_is_a_value() -> None:
    assert holds("Null", ["true"])
    assert not holds("Null", ["true"], "x")
    assert holds("Null", ["false"], "x")
    assert not holds("Null", ["false"])


@pytest.mark.parametrize(
    ("operator", "operand"),
    [
        ("stringequals", "a"),
        ("StringMatches", "a"),
        ("ForSomeValues:StringEquals", "a"),
        ("NullIfExists", "true"),
        ("ForAnyValue:Null", "true"),
        ("Null", "perhaps"),
        ("Bool", "yes"),
        ("NumericEquals", "one"),
        ("NumericEquals", "NaN"),
        ("NumericEquals", "1e999999"),
        ("NumericEquals", "1" * 41),
        ("DateEquals", "yesterday"),
        ("DateEquals", "2026-13-01"),
        ("IpAddress", "10.0.0.0/33"),
        ("IpAddress", "*"),
        ("BinaryEquals", "Q"),
        ("ArnLike", "arn:aws:s3"),
    ],
)
def test_what_is_no_condition_is_refused(operator: str, operand: str) -> None:
    with pytest.raises(BadCondition):
        parse_condition(operator, "k", [operand], variables=True)
