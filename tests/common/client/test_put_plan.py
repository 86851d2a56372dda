"""The write policies: quorum, stragglers, slow slots, choice of a grant."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from common.client.policy.put_plan import (
    STALL_S,
    STRAGGLER_CEILING_S,
    STRAGGLER_FLOOR_S,
    SUSPECT_STRAGGLER_S,
    PutQuorum,
    Verdict,
    best_grant,
    holding_back,
    stall_allowance_s,
    straggler_allowance_s,
)


def test_a_segment_is_done_at_once_when_every_slot_is_durable() -> None:
    put = PutQuorum(6, 5)
    for slot in range(6):
        assert put.verdict(1.0) == (Verdict.WAIT, None) or slot == 5
        put.slot_is_durable(slot, 1.0)
    assert put.verdict(1.0) == (Verdict.DONE, None)
    assert put.durable_mask() == 0b111111


def test_the_last_slot_gets_as_long_again_as_the_quorum_took() -> None:
    put = PutQuorum(6, 5)
    put.all_sent(10.0)
    for slot in range(5):
        put.slot_is_durable(slot, 14.0)
    assert put.verdict(14.0) == (Verdict.WAIT, 18.0)
    assert put.verdict(18.0) == (Verdict.DONE, None)
    assert put.durable_mask() == 0b011111


def test_a_segment_is_lost_when_too_many_slots_are() -> None:
    put = PutQuorum(6, 5)
    put.slot_is_lost(0)
    assert put.verdict(0.0) == (Verdict.WAIT, None)
    put.slot_is_lost(3)
    assert put.verdict(0.0) == (Verdict.LOST, None)


def test_a_slot_that_was_cut_does_not_become_durable_later() -> None:
    put = PutQuorum(3, 2)
    put.slot_is_lost(1)
    put.slot_is_durable(1, 0.0)
    assert put.durable_mask() == 0
    put.slot_is_durable(0, 0.0)
    put.slot_is_lost(0)
    assert put.durable_mask() == 1


@given(st.floats(min_value=0, max_value=1e6))
def test_the_straggler_allowance_stays_in_its_bounds(took: float) -> None:
    assert STRAGGLER_FLOOR_S <= straggler_allowance_s(took) <= STRAGGLER_CEILING_S


def test_slots_that_were_suspect_already_get_little_patience() -> None:
    put = PutQuorum(6, 4, suspects=frozenset({5}))
    for slot in range(4):
        put.slot_is_durable(slot, 1.0)
    assert put.verdict(1.0)[1] == 1.0 + STRAGGLER_FLOOR_S
    put.slot_is_durable(4, 1.01)
    assert put.verdict(1.01) == (Verdict.WAIT, 1.0 + SUSPECT_STRAGGLER_S)


def test_a_slot_holds_back_only_while_the_quorum_is_ahead_of_it() -> None:
    assert holding_back({0: 0, 1: 1, 2: 0, 3: 0, 4: 0, 5: 4}, 5) == [5]
    assert holding_back({0: 4, 1: 1, 2: 0, 3: 0, 4: 0, 5: 4}, 5) == []
    assert holding_back({0: 4, 1: 1, 2: 0, 3: 0, 4: 0, 5: 4}, 4) == [0, 5]
    assert holding_back(dict.fromkeys(range(6), 0), 5) == []
    assert holding_back(dict.fromkeys(range(6), 4), 5) == []
    assert holding_back({}, 1) == []


@given(st.dictionaries(st.integers(0, 15), st.integers(0, 4)), st.integers(1, 16))
def test_cutting_slow_slots_never_breaks_the_quorum(backlogs: dict[int, int], quorum: int) -> None:
    behind = holding_back(backlogs, quorum)
    assert not behind or len(backlogs) - len(behind) >= quorum


def test_the_stall_allowance_grows_with_the_upload() -> None:
    assert stall_allowance_s(0.0, suspect=False) == STALL_S
    assert 20.0 < stall_allowance_s(100.0, suspect=False) < 30.0
    assert stall_allowance_s(100.0, suspect=True) == SUSPECT_STRAGGLER_S


def test_a_grant_without_suspect_cells_is_preferred() -> None:
    assert best_grant([[2, 0, 0], [0, 1, 0]], [2, 2]) == 1
    assert best_grant([[2, 0, 0], [2, 2, 0]], [2, 2]) == 0
    assert best_grant([[2, 2, 0], [2, 0, 2]], [2, 2]) is None
    assert best_grant([], []) is None
