"""Conditions of writes and of copies, in no protocol's words."""

from __future__ import annotations

import pytest

from common.errors import Refused
from gateway.conditions import Decision, ReadConditions, WriteCondition


@pytest.mark.parametrize(
    ("condition", "is_set", "admits"),
    [
        (WriteCondition(), False, True),
        (WriteCondition(etag="*"), True, True),
        (WriteCondition(etag="a"), True, True),
        (WriteCondition(etag="b"), True, False),
        (WriteCondition(absent=True), True, False),
        (WriteCondition(size=5, modified_s=7), True, True),
        (WriteCondition(etag="a", size=4), True, False),
        (WriteCondition(size=5, modified_s=8), True, False),
    ],
)
def test_a_write_condition_admits_the_object_that_is_there_or_not(
    condition: WriteCondition, is_set: bool, admits: bool
) -> None:
    assert bool(condition) is is_set
    assert condition.admits("a", 5, 7) is admits


def test_a_copy_knows_no_not_modified() -> None:
    conditions = ReadConditions(if_none_match=("a",))
    assert conditions.decide("a", 0) is Decision.NOT_MODIFIED
    with pytest.raises(Refused, match="source_condition_failed"):
        conditions.check_source("a", 0)
    conditions.check_source("b", 0)
