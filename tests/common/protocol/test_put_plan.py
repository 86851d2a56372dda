"""The write policies: quorum, stragglers, slow slots, choice of a grant."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from common.limits import SEGMENT_BYTES, WRITE_WINDOW_STRIPES
from common.protocol.put_plan import (
    MAX_STRAGGLER_S,
    MIN_STRAGGLER_S,
    STALL_S,
    PutQuorum,
    SlotLag,
    Verdict,
    best_grant,
    segment_sizes,
    slots_to_cut,
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
        put.slot_is_durable(slot, 10.5)
    assert put.verdict(10.5) == (Verdict.WAIT, 11.0)
    assert put.verdict(11.0) == (Verdict.DONE, None)
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
    assert MIN_STRAGGLER_S <= straggler_allowance_s(took) <= MAX_STRAGGLER_S


def test_a_slot_that_stalls_the_stream_is_cut_when_the_quorum_keeps_up() -> None:
    lags = {slot: SlotLag(0, 0.0) for slot in range(5)}
    lags[5] = SlotLag(WRITE_WINDOW_STRIPES, STALL_S * 1.3)
    assert slots_to_cut(lags, 5, elapsed_s=0.1) == [5]
    assert slots_to_cut(lags, 5, elapsed_s=10.0) == []
    lags[0] = SlotLag(2, 0.0)
    assert slots_to_cut(lags, 5, elapsed_s=0.1) == []


@given(
    lags=st.dictionaries(
        st.integers(0, 15),
        st.builds(SlotLag, st.integers(0, WRITE_WINDOW_STRIPES), st.floats(0, 10)),
    ),
    quorum=st.integers(1, 16),
    elapsed=st.floats(0, 100),
)
def test_cutting_slow_slots_never_breaks_the_quorum(
    lags: dict[int, SlotLag], quorum: int, elapsed: float
) -> None:
    cut = slots_to_cut(lags, quorum, elapsed)
    assert not cut or len(lags) - len(cut) >= quorum


@given(st.integers(0, 10 * SEGMENT_BYTES))
def test_segments_add_up_and_only_the_last_is_short(size: int) -> None:
    sizes = segment_sizes(size)
    assert sum(sizes) == size
    assert all(each == SEGMENT_BYTES for each in sizes[:-1])
    assert all(0 < each <= SEGMENT_BYTES for each in sizes)


def test_a_grant_without_suspect_cells_is_preferred() -> None:
    assert best_grant([[2, 0, 0], [0, 1, 0]], [2, 2]) == 1
    assert best_grant([[2, 0, 0], [2, 2, 0]], [2, 2]) == 0
    assert best_grant([[2, 2, 0], [2, 0, 2]], [2, 2]) is None
    assert best_grant([], []) is None
