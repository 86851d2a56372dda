"""Made-up disks follow the statistics that they are made from, and predictions are worth it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from common.disk_facts import DiskFacts
from sim.fleets.disks import (
    BACKBLAZE,
    FIELDS,
    GOOGLE,
    RULES,
    DiskPopulation,
    DiskTrace,
    any_count,
    by_hazard,
    disk_traces,
    first_alarm,
    never,
    worth,
)

DISKS = 20_000


@pytest.mark.parametrize("population", [BACKBLAZE, GOOGLE], ids=["Backblaze", "Google"])
def test_traces_have_the_published_margins(population: DiskPopulation) -> None:
    traces = list(disk_traces(population, DISKS, 1))
    failed = [trace for trace in traces if trace.fails_on is not None]
    lived = [trace for trace in traces if trace.fails_on is None]
    assert len(failed) / DISKS == pytest.approx(population.fails, rel=0.15)
    shown = sum(bool(trace.changes) for trace in failed) / len(failed)
    assert shown == pytest.approx(population.shows, rel=0.1)
    marked = sum(bool(trace.changes) for trace in lived) / len(lived)
    assert marked == pytest.approx(population.marked, rel=0.2)


def test_counts_of_a_trace_never_fall_and_end_before_the_disk() -> None:
    for trace in disk_traces(GOOGLE, 2000, 2):
        days = [day for day, _ in trace.changes]
        assert days == sorted(set(days))
        assert trace.fails_on is None or all(day < trace.fails_on for day in days)
        for name in FIELDS:
            values = [getattr(disk, name) for _, disk in trace.changes]
            assert values == sorted(values)


def test_worth_is_what_counting_by_hand_gives() -> None:
    bad = DiskFacts(passed=1, pending=50)
    traces = [
        DiskTrace(100, ((40, bad),)),
        DiskTrace(100, ((98, bad),)),
        DiskTrace(100, ()),
        DiskTrace(300, ((10, bad),)),
        DiskTrace(None, ((5, bad),)),
        *[DiskTrace(None, ())] * 5,
    ]
    assert [first_alarm(trace, any_count) for trace in traces[:5]] == [40, 98, None, 10, 5]
    found = worth(any_count, traces, drain_days=4)
    assert (found.drained, found.failed) == (4, 4)
    assert found.precision == 2 / 4
    assert found.recall == 3 / 4
    assert found.saved == (1 + 0.5 + 1) / 4
    assert found.needless == 10.0
    nothing = worth(never, traces)
    assert (nothing.drained, nothing.recall, nothing.saved) == (0, 0, 0)


def test_the_hazard_saves_most_of_what_can_be_saved_and_drains_few_disks_needlessly() -> None:
    often = replace(BACKBLAZE, fails=0.1)
    traces = list(disk_traces(often, 700, 3))
    found = {name: worth(rule, traces) for name, rule in RULES.items()}
    hazard, threshold = found["hazard"], found["any count"]
    assert found["nothing"].saved == 0
    assert hazard.saved > 0.5
    assert hazard.recall > 0.75 * threshold.recall
    assert hazard.needless < 0.3 * threshold.needless
    assert hazard.precision > 1.3 * threshold.precision
    assert first_alarm(DiskTrace(None, ()), by_hazard) is None
