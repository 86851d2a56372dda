"""What cannot be filled now is left alone for a while, so that others have their turn."""

from __future__ import annotations

import random

import pytest

from cell.rounds.passed_shards import FIRST_PAUSE_S, LONGEST_PAUSE_S, PassedShards
from cell.storage.shards import ShardKey
from common.ids import SegmentId
from common.limits import MAX_PASSED_SHARDS


def key(number: int) -> ShardKey:
    return SegmentId(number.to_bytes(16, "big")), 0


def pause(passed: PassedShards, now: float) -> float:
    """Seconds for which shard 1 is left alone from now on."""
    step = 0.0
    while passed.has(key(1), now + step):
        step += 0.5
    return step


def test_each_failure_doubles_the_pause_up_to_a_limit() -> None:
    passed, now, pauses = PassedShards(random.Random(1)), 100.0, []
    for _ in range(10):
        passed.add(key(1), now)
        pauses.append(pause(passed, now))
        now += pauses[-1]
    for number, each in enumerate(pauses):
        wanted = min(FIRST_PAUSE_S * 2**number, LONGEST_PAUSE_S)
        assert each == pytest.approx(wanted, rel=0.27)


def test_what_failed_together_is_not_tried_together() -> None:
    passed = PassedShards(random.Random(1))
    for number in range(50):
        passed.add(key(number), 0.0)
    due = [len(passed.names(FIRST_PAUSE_S * part)) for part in (0.7, 0.9, 1.1, 1.3)]
    assert due[0] == 50
    assert due[3] == 0
    assert 50 > due[1] > due[2] > 0


def test_a_shard_that_was_filled_begins_with_the_shortest_pause_again() -> None:
    passed = PassedShards(random.Random(1))
    for _ in range(6):
        passed.add(key(1), 0.0)
    passed.forget(key(1))
    assert not passed.has(key(1), 0.0)
    passed.add(key(1), 0.0)
    assert pause(passed, 0.0) < 2 * FIRST_PAUSE_S


def test_so_many_are_remembered_and_the_first_to_be_due_gives_way() -> None:
    passed = PassedShards(random.Random(1))
    passed.add(key(1), 0.0)
    for number in range(2, MAX_PASSED_SHARDS + 2):
        passed.add(key(number), 1000.0)
    assert len(passed) == MAX_PASSED_SHARDS
    assert len(passed.names(1000.0)) == MAX_PASSED_SHARDS
    assert key(1) not in passed.names(0.0)


def test_what_was_due_long_ago_is_forgotten() -> None:
    passed = PassedShards(random.Random(1))
    passed.add(key(1), 0.0)
    assert passed.names(LONGEST_PAUSE_S) == []
    assert len(passed) == 1
    passed.names(10 * LONGEST_PAUSE_S)
    assert len(passed) == 0
