"""The figures of disks, kept by day of watched time, and what is made of them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import fields

import pytest

from common.disk_facts import UNKNOWN, DiskFacts
from coordinator.policy.availability import DAY_S, DAYS
from coordinator.policy.hazard import Advice, estimate_hazard
from coordinator.store import availability, disk_days
from coordinator.store.availability import AwayTime
from coordinator.store.disk_days import DiskFigures
from coordinator.store.schema import migrate


@pytest.fixture
def sql() -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    migrate(connection)
    yield connection
    connection.close()


def day_passes(sql: sqlite3.Connection, *, silent_s: int = 0) -> None:
    availability.count(sql, DAY_S, [AwayTime(1, silent_s, 0)] if silent_s else [])


def figures(cell: int = 1, **known: int) -> DiskFigures:
    return DiskFigures(cell, DiskFacts(**known).pack(), 0)


def test_a_day_has_the_last_figures_of_it(sql: sqlite3.Connection) -> None:
    disk_days.note(sql, [figures(reallocated=2), figures(2, media_errors=0)])
    disk_days.note(sql, [figures(reallocated=3)])
    day_passes(sql)
    day_passes(sql)
    disk_days.note(sql, [figures(reallocated=31)])
    found = disk_days.days_of(sql, [1, 2, 3])
    assert [(each.day, each.disk.reallocated) for each in found[1]] == [(0, 3), (1, 31)]
    assert [each.disk for each in found[2]] == [DiskFacts(media_errors=0)]
    assert found[3] == ()


def test_no_more_days_are_kept_than_count(sql: sqlite3.Connection) -> None:
    for _ in range(DAYS + 10):
        day_passes(sql)
        disk_days.note(sql, [figures(pending=1)])
    assert sql.execute("SELECT count(*) FROM disk_days").fetchone() == (DAYS,)
    assert len(disk_days.days_of(sql, [1])[1]) == DAYS


def test_silence_of_a_day_is_seen_once_the_day_is_over(sql: sqlite3.Connection) -> None:
    disk_days.note(sql, [figures(pending=0)])
    day_passes(sql, silent_s=DAY_S // 4)
    assert disk_days.days_of(sql, [1])[1][0].up_percent == UNKNOWN
    day_passes(sql)
    assert disk_days.days_of(sql, [1])[1][0].up_percent == 75.0


def test_a_cell_without_figures_of_its_disk_that_lost_volumes_is_kept(
    sql: sqlite3.Connection,
) -> None:
    disk_days.note(sql, [DiskFigures(1, (), 0)])
    day_passes(sql)
    day_passes(sql)
    disk_days.note(sql, [DiskFigures(1, (), 9)])
    hazard = estimate_hazard(disk_days.days_of(sql, [1])[1])
    assert hazard.advice is Advice.DRAIN
    assert hazard.reasons == ("9 shards were lost in a day",)


def test_figures_of_a_newer_cell_are_read_as_far_as_they_are_known(sql: sqlite3.Connection) -> None:
    disk_days.note(sql, [DiskFigures(1, tuple(range(1, 30)), 0)])
    assert disk_days.days_of(sql, [1])[1][0].disk == DiskFacts(*range(len(fields(DiskFacts))))
