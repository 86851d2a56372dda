"""Made-up disks follow the statistics that they are made from, and predictions are worth it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from common.disk_facts import DiskFacts
from sim.fleets.disks import (
    BACKBLAZE,
    DAYS,
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


def test_a_disk_that_slows_down_before_it_fails_is_found_by_its_times_alone() -> None:
    steps = {day: 1.2 ** (day - 60) for day in range(60, 120)}
    trace = DiskTrace(120, (), steps)
    found = first_alarm(trace, RULES["hazard"])
    assert found is not None
    assert 60 < found < 100
    for rule in ("nothing", "any count", "hazard, counts alone"):
        assert first_alarm(trace, RULES[rule]) is None


def test_a_disk_that_is_slow_by_load_or_for_a_day_is_not_drained() -> None:
    laden = DiskTrace(None, (), dict.fromkeys(range(60, 90), 5.0))
    assert first_alarm(laden, by_hazard) is None
    for_a_day = DiskTrace(None, (), {60: 100.0, 61: 100.0})
    assert first_alarm(for_a_day, by_hazard) is None


def test_traces_have_as_many_slow_disks_as_is_said() -> None:
    traces = list(disk_traces(GOOGLE, DISKS, 4))
    failed = [trace for trace in traces if trace.fails_on is not None]
    slow = sum(bool(trace.slow) for trace in failed) / len(failed)
    assert slow == pytest.approx(GOOGLE.slows, abs=0.05)
    others = [trace for trace in traces if trace.fails_on is None]
    slow = sum(bool(trace.slow) for trace in others) / len(others)
    assert slow == pytest.approx(GOOGLE.laden + GOOGLE.fail_slow, abs=0.01)
    for trace in traces:
        last = DAYS if trace.fails_on is None else trace.fails_on
        assert all(0 <= day < last for day in trace.slow)


def test_the_hazard_saves_most_of_what_can_be_saved_and_drains_few_disks_needlessly() -> None:
    often = replace(BACKBLAZE, fails=0.1)
    traces = list(disk_traces(often, 700, 3))
    found = {name: worth(rule, traces) for name, rule in RULES.items()}
    hazard, threshold = found["hazard"], found["any count"]
    assert found["nothing"].saved == 0
    assert hazard.saved > 0.5
    assert hazard.recall > 0.75 * threshold.recall
    assert hazard.needless < 0.4 * threshold.needless
    assert hazard.recall >= found["hazard, counts alone"].recall
    assert hazard.precision > 1.3 * threshold.precision
    assert first_alarm(DiskTrace(None, ()), by_hazard) is None
