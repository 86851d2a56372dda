"""The figures of a disk on their way to the coordinator."""

from __future__ import annotations

from dataclasses import fields

import pytest

from common import limits
from common.disk_facts import UNKNOWN, DiskFacts


def test_figures_survive_the_way_and_zero_is_not_unknown() -> None:
    facts = DiskFacts(passed=1, reallocated=0, pending=8, temperature=36)
    assert DiskFacts.unpack(facts.pack()) == facts
    assert facts.reported == UNKNOWN


def test_a_disk_without_figures_takes_no_room() -> None:
    assert DiskFacts().pack() == ()
    assert DiskFacts.unpack(()) == DiskFacts()


@pytest.mark.parametrize(
    "packed", [(1, 2), (0,) * 40, tuple(range(1, 60)), (1 << 63,) * 11, ((1 << 64) - 1,)]
)
def test_any_numbers_that_a_peer_sends_are_figures_within_bounds(packed: tuple[int, ...]) -> None:
    facts = DiskFacts.unpack(packed)
    for each in fields(DiskFacts):
        assert UNKNOWN <= getattr(facts, each.name) <= limits.MAX_DISK_FIGURE
