"""Texts of policies against subjects: wildcards and variables."""

from __future__ import annotations

import fnmatch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.access.patterns import NOTHING_KNOWN, condition_key, parse_pattern


class Known:
    """Circumstances of fixed values."""

    def __init__(self, **values: str | tuple[str, ...]) -> None:
        self._values = {
            name.replace("_", ":"): (value,) if isinstance(value, str) else value
            for name, value in values.items()
        }

    def values(self, key: str) -> tuple[str, ...] | None:
        return self._values.get(key)


@pytest.mark.parametrize(
    ("pattern", "subject", "fits"),
    [
        ("", "", True),
        ("", "a", False),
        ("a", "a", True),
        ("a", "A", False),
        ("a", "aa", False),
        ("*", "", True),
        ("*", "any/thing", True),
        ("a*", "a", True),
        ("a*", "ba", False),
        ("*a", "ba", True),
        ("*a", "ab", False),
        ("a*a", "a", False),
        ("a*a", "aa", True),
        ("a**a", "a-a", True),
        ("a*b*c", "a-b-b-c", True),
        ("a*b*c", "a-c-b", False),
        ("?", "", False),
        ("?", "a", True),
        ("?", "ab", False),
        ("a?c", "a\nc", True),
        ("a?*", "a", False),
        ("a?*", "ab", True),
        ("*?b", "xab", True),
        ("*a?c*", "xxabcxx", True),
        ("*a?c*", "xxabxx", False),
        ("a.c", "abc", False),
        ("[a]", "a", False),
        ("é?", "éü", True),
    ],
)
def test_wildcards_stand_for_any_characters_or_one(pattern: str, subject: str, fits: bool) -> None:
    assert parse_pattern(pattern).matches(subject, NOTHING_KNOWN) is fits


TEXTS = st.text(alphabet="ab*?", max_size=12)


@settings(max_examples=500, deadline=None)
@given(TEXTS, st.text(alphabet="ab", max_size=14))
def test_wildcards_agree_with_those_of_the_shell(pattern: str, subject: str) -> None:
    expected = fnmatch.fnmatchcase(subject, pattern)
    assert parse_pattern(pattern).matches(subject, NOTHING_KNOWN) is expected


@pytest.mark.parametrize(
    ("pattern", "subject", "fits"),
    [
        ("home/${aws:username}/*", "home/ann/x", True),
        ("home/${AWS:UserName}/*", "home/ann/x", True),
        ("home/${aws:username}/*", "home/bob/x", False),
        ("home/${aws:userid}/*", "home//x", False),
        ("home/${aws:userid, 'none'}/*", "home/none/x", True),
        ("home/${aws:username, 'none'}/*", "home/ann/x", True),
        ("${aws:referer}", "*", True),
        ("${aws:referer}", "x", False),
        ("a${*}", "a*", True),
        ("a${*}", "ab", False),
        ("a${?}", "a?", True),
        ("a${$}{b}", "a${b}", True),
        ("a${", "a${", True),
        ("${aws:several}", "one", False),
    ],
)
def test_variables_are_facts_and_their_values_hold_no_wildcards(
    pattern: str, subject: str, fits: bool
) -> None:
    known = Known(aws_username="ann", aws_referer="*", aws_several=("one", "two"))
    assert parse_pattern(pattern).matches(subject, known) is fits


def test_older_policies_have_no_variables() -> None:
    pattern = parse_pattern("${aws:username}", variables=False)
    assert pattern.matches("${aws:username}", Known(aws_username="ann"))
    assert pattern.is_fixed
    assert not parse_pattern("${aws:username}").is_fixed


def test_no_pattern_takes_more_steps_than_its_length_times_the_subjects() -> None:
    assert not parse_pattern("*a" * 500 + "b").matches("a" * 1024, NOTHING_KNOWN)
    assert not parse_pattern("*a?" * 300 + "b").matches("a" * 1024, NOTHING_KNOWN)


def test_keys_of_conditions_are_compared_without_case_but_for_the_tags() -> None:
    assert condition_key("AWS:SourceIp") == "aws:sourceip"
    assert condition_key("s3:ExistingObjectTag/Colour") == "s3:existingobjecttag/Colour"
