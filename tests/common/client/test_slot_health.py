"""Hints about cells: suspicion that ends, latency that adapts, memory that is bounded."""

from __future__ import annotations

from common.client.policy.slot_health import (
    HEDGE_CEILING_S,
    HEDGE_FLOOR_S,
    LONGEST_SUSPECT_S,
    SUSPECT_S,
    SlotHealth,
)
from common.ids import PeerId
from common.limits import MAX_CELLS_REMEMBERED

A = PeerId(b"a" * 32)
B = PeerId(b"b" * 32)


def test_a_failed_cell_is_suspect_for_a_while_and_longer_when_it_fails_again() -> None:
    health = SlotHealth()
    assert not health.is_suspect(A, 0.0)
    health.failed(A, 0.0)
    health.failed(A, 0.1)
    assert health.is_suspect(A, SUSPECT_S - 0.01)
    assert not health.is_suspect(A, SUSPECT_S)
    health.failed(A, 10.0)
    assert health.is_suspect(A, 10.0 + 1.9 * SUSPECT_S)
    now = 100.0
    for _ in range(20):
        health.failed(A, now)
        assert not health.is_suspect(A, now + LONGEST_SUSPECT_S)
        now += LONGEST_SUSPECT_S


def test_suspects_are_found_among_cells() -> None:
    health = SlotHealth()
    assert health.suspects([A, B], 0.0) == frozenset()
    health.failed(B, 0.0)
    assert not health.suspects_none(SUSPECT_S / 2)
    assert health.suspects([A, B], SUSPECT_S / 2) == {1}
    assert health.suspects_none(SUSPECT_S)


def test_one_good_answer_clears_a_cell() -> None:
    health = SlotHealth()
    health.failed(A, 0.0)
    health.succeeded(A, 0.01)
    assert health.penalty(A, 0.0) == 0


def test_a_slow_cell_is_tried_late_and_does_not_buy_patience() -> None:
    health = SlotHealth()
    for _ in range(50):
        for _ in range(9):
            health.succeeded(B, 0.01)
        health.succeeded(A, 0.5)
    assert health.is_slow(A, 100.0)
    assert not health.is_slow(B, 100.0)
    assert health.penalty(A, 0.0) == 1
    assert health.hedge_after_s(A) < 1.0
    assert health.hedge_after_s(B) == HEDGE_FLOOR_S


def test_an_unanswered_wait_makes_a_cell_slower_but_not_suspect() -> None:
    health = SlotHealth()
    for _ in range(20):
        health.succeeded(A, 0.01)
        health.succeeded(B, 0.01)
    for _ in range(20):
        health.was_late(A, 1.0, 0.0)
    assert health.is_slow(A, 100.0)
    assert not health.is_suspect(A, 0.0)


def test_a_fast_cell_that_stops_answering_is_tried_late_at_once_and_longer_each_time() -> None:
    health = SlotHealth()
    for _ in range(20):
        health.succeeded(A, 0.005)
    health.was_late(A, 0.05, 0.0)
    assert health.penalty(A, 0.9) == 1
    assert health.penalty(A, 1.1) == 0
    health.was_late(A, 0.05, 1.1)
    assert health.penalty(A, 3.0) == 1
    health.succeeded(A, 0.005)
    assert health.penalty(A, 3.0) == 0


def test_the_hedge_delay_is_bounded() -> None:
    health = SlotHealth()
    assert health.hedge_after_s(A) >= HEDGE_FLOOR_S
    health.succeeded(A, 1000.0)
    assert health.hedge_after_s(A) == HEDGE_CEILING_S


def test_only_so_many_cells_are_remembered() -> None:
    health = SlotHealth()
    health.failed(A, 0.0)
    for index in range(MAX_CELLS_REMEMBERED):
        health.failed(PeerId(index.to_bytes(32, "big")), 0.0)
    assert not health.is_suspect(A, 0.1)
