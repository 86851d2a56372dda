"""What is concluded of cells: states, the slots of rings and segments, verdicts."""

from __future__ import annotations

import re
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.policy.health import (
    SURE,
    TRANSITIONS,
    WRITABLE,
    CellEvent,
    CellState,
    RingVerdict,
    after,
    classify,
    count_needing,
    heartbeat_event,
    judge_ring,
    state_now,
)
from coordinator.policy.placement import CellView, Chooser, RingView

NEW, UNHEARD, ALIVE = CellState.NEW, CellState.UNHEARD, CellState.ALIVE
READ_ONLY, FULL, SILENT, REMOVED = (
    CellState.READ_ONLY,
    CellState.FULL,
    CellState.SILENT,
    CellState.REMOVED,
)
K, N, QUORUM = 4, 6, 5
STATES = st.lists(st.sampled_from(CellState), min_size=N, max_size=N)
PLACEMENT = Path(__file__).parents[2] / "docs" / "placement.md"


# --- cells --------------------------------------------------------------------------------------


def test_every_state_has_its_transitions_and_each_state_can_be_reached() -> None:
    assert set(TRANSITIONS) == set(CellState)
    reached = {state for table in TRANSITIONS.values() for state in table.values()}
    assert reached | {NEW, UNHEARD} == set(CellState), "those two are states of a start"


@pytest.mark.parametrize("state", set(CellState) - {REMOVED})
def test_a_heartbeat_says_what_a_cell_is_whatever_it_was(state: CellState) -> None:
    assert after(state, heartbeat_event(read_only=False, full=False)) is ALIVE
    assert after(state, heartbeat_event(read_only=False, full=True)) is FULL
    assert after(state, heartbeat_event(read_only=True, full=False)) is READ_ONLY
    assert after(state, heartbeat_event(read_only=True, full=True)) is READ_ONLY


@pytest.mark.parametrize("event", CellEvent)
def test_a_removed_cell_stays_removed(event: CellEvent) -> None:
    assert after(REMOVED, event) is REMOVED


@pytest.mark.parametrize("event", [CellEvent.CONNECTION_BROKE, CellEvent.TIMED_OUT])
def test_a_cell_that_was_never_heard_cannot_fall_silent(event: CellEvent) -> None:
    assert after(NEW, event) is NEW
    assert all(after(state, event) is SILENT for state in (ALIVE, FULL, READ_ONLY, UNHEARD, SILENT))


def test_silence_counts_once_it_is_longer_than_the_timeout() -> None:
    assert state_now(ALIVE, 15.0, 15.0) is ALIVE
    assert state_now(ALIVE, 15.1, 15.0) is SILENT
    assert state_now(UNHEARD, 15.1, 15.0) is SILENT
    assert state_now(NEW, 1e9, 15.0) is NEW
    assert state_now(REMOVED, 1e9, 15.0) is REMOVED


def test_the_page_has_a_row_for_each_state_and_says_which_are_written() -> None:
    page = PLACEMENT.read_text()
    table = page[page.index("| state | when | read | written |") :].split("\n\n")[0]
    rows = [re.split(r" *\| *", line.strip("| ")) for line in table.splitlines()[2:]]
    assert {row[0] for row in rows} == {state.value for state in CellState}
    assert {row[0] for row in rows if row[3] == "yes"} == {state.value for state in WRITABLE}
    assert {row[0] for row in rows if row[2] == "yes"} == {
        state.value for state in SURE | {UNHEARD}
    }


# --- slots --------------------------------------------------------------------------------------


@given(STATES, st.sets(st.integers(0, N - 1)), st.sets(st.integers(0, N - 1)))
def test_each_slot_is_in_the_set_of_its_cells_state_and_in_no_other(
    states: list[CellState], missing: set[int], suspect: set[int]
) -> None:
    slots = classify(states, missing=missing, suspect=suspect)
    for slot, state in product(range(N), CellState):
        assert (slot in getattr(slots, state.value)) is (states[slot] is state)
    assert slots.writable == {slot for slot in range(N) if states[slot] in WRITABLE}
    sure = {slot for slot in range(N) if states[slot] in SURE}
    assert slots.healthy == sure - missing - suspect
    assert slots.healthy <= slots.readable
    assert slots.lost == missing | slots.removed
    assert not slots.lost & slots.readable


def test_a_missing_shard_is_lost_and_a_suspect_one_is_still_read() -> None:
    slots = classify([ALIVE] * N, missing=[1], suspect=[2])
    assert slots.healthy == {0, 3, 4, 5}
    assert slots.readable == {0, 2, 3, 4, 5}
    assert slots.lost == {1}
    assert slots.writable == set(range(N)), "its cell takes shards all the same"


def test_slots_beyond_what_a_site_should_have_are_crowded() -> None:
    states = [ALIVE] * N
    sites = ["a", "b", "a", "a", "b", "c"]
    assert classify(states, sites=sites, site_limit=2).crowded == {3}
    assert classify(states, sites=sites, site_limit=1).crowded == {2, 3, 4}
    assert not classify(states, sites=sites, site_limit=3).crowded
    assert not classify(states).crowded


@pytest.mark.parametrize(
    ("states", "verdict"),
    [
        ([ALIVE] * 6, RingVerdict.WHOLE),
        ([ALIVE] * 5 + [FULL], RingVerdict.DEGRADED),
        ([ALIVE] * 5 + [REMOVED], RingVerdict.DEGRADED),
        ([ALIVE] * 4 + [FULL, READ_ONLY], RingVerdict.READABLE),
        ([ALIVE] * 4 + [SILENT] * 2, RingVerdict.READABLE),
        ([UNHEARD] * 6, RingVerdict.READABLE),
        ([ALIVE] * 3 + [SILENT] * 3, RingVerdict.LOST),
        ([ALIVE] * 3 + [REMOVED, NEW, SILENT], RingVerdict.LOST),
    ],
)
def test_the_verdict_on_a_ring(states: list[CellState], verdict: RingVerdict) -> None:
    assert judge_ring(classify(states), k=K, quorum=QUORUM) is verdict


@given(STATES)
def test_status_and_placement_agree_on_which_rings_are_written(states: list[CellState]) -> None:
    verdict = judge_ring(classify(states), k=K, quorum=QUORUM)
    views = {
        slot: CellView(slot, "", "", 1, 1, state in WRITABLE) for slot, state in enumerate(states)
    }
    chooser = Chooser([RingView(1, tuple(range(N)), QUORUM, True)], views, 1)
    assert bool(len(chooser)) is (verdict in {RingVerdict.WHOLE, RingVerdict.DEGRADED})
    assert (len(chooser) and chooser.complete) == (verdict is RingVerdict.WHOLE)


def test_a_cell_is_needed_by_rings_that_would_have_fewer_than_k_without_it() -> None:
    rings = [(range(6), 4), (range(6), 5), ((1, 2, 3, 4, 5, 6), 5)]
    alive = dict.fromkeys(range(7), ALIVE)
    assert count_needing(0, rings, alive) == 0
    assert count_needing(0, rings, alive | {1: SILENT}) == 1
    assert count_needing(0, rings, alive | {1: SILENT, 2: UNHEARD}) == 2
    assert count_needing(0, rings, alive | {1: FULL, 2: READ_ONLY}) == 0, "both can be read"
    assert count_needing(0, rings, alive | {1: SILENT, 0: FULL}) == 1
    assert count_needing(0, rings, alive | {1: SILENT, 0: SILENT}) == 0, "it is no help"
