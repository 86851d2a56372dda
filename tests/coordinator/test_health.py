"""What is concluded of cells: states, the slots of rings and segments, verdicts."""

from __future__ import annotations

import re
from collections import Counter
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.policy.health import (
    ADMIN_TRANSITIONS,
    LIVENESS_TRANSITIONS,
    READABLE,
    SILENT,
    SURE,
    WRITABLE,
    AdminEvent,
    AdminState,
    CellState,
    Departure,
    Liveness,
    LivenessEvent,
    RingVerdict,
    SilenceTimes,
    after,
    cell_state,
    classify,
    count_needing,
    count_without_place,
    decided,
    heartbeat_event,
    is_cut_off,
    judge_ring,
    leaves,
    liveness_now,
    silence_times,
)
from coordinator.policy.placement import CellView, Chooser, RingView

NEW, UNHEARD, ALIVE = CellState.NEW, CellState.UNHEARD, CellState.ALIVE
READ_ONLY, FULL = CellState.READ_ONLY, CellState.FULL
SUSPECT, OFFLINE, LOST = CellState.SUSPECT, CellState.OFFLINE, CellState.LOST
DRAINING, MAINTENANCE = CellState.DRAINING, CellState.MAINTENANCE
SUSPENDED, REMOVED = CellState.SUSPENDED, CellState.REMOVED
K, N, QUORUM = 4, 6, 5
STATES = st.lists(st.sampled_from(CellState), min_size=N, max_size=N)
PLACEMENT = Path(__file__).parents[2] / "docs" / "placement.md"


# --- liveness -----------------------------------------------------------------------------------

BROKE, OVERDUE = LivenessEvent.CONNECTION_BROKE, LivenessEvent.OVERDUE
TIMED_OUT, LONG_SILENT = LivenessEvent.TIMED_OUT, LivenessEvent.LONG_SILENT
EXPECTED_BACK = LivenessEvent.EXPECTED_BACK
SILENCE = {
    # liveness: after each of BROKE, OVERDUE, TIMED_OUT, LONG_SILENT, EXPECTED_BACK
    Liveness.NEW: (NEW, NEW, NEW, NEW, NEW),
    Liveness.UNHEARD: (SUSPECT, UNHEARD, OFFLINE, UNHEARD, UNHEARD),
    Liveness.ALIVE: (SUSPECT, SUSPECT, OFFLINE, ALIVE, ALIVE),
    Liveness.READ_ONLY: (SUSPECT, SUSPECT, OFFLINE, READ_ONLY, READ_ONLY),
    Liveness.FULL: (SUSPECT, SUSPECT, OFFLINE, FULL, FULL),
    Liveness.SUSPECT: (SUSPECT, SUSPECT, OFFLINE, SUSPECT, SUSPECT),
    Liveness.OFFLINE: (OFFLINE, OFFLINE, OFFLINE, LOST, OFFLINE),
    Liveness.LOST: (LOST, LOST, LOST, LOST, OFFLINE),
}


def test_every_liveness_has_its_transitions_and_each_can_be_reached() -> None:
    assert set(LIVENESS_TRANSITIONS) == set(SILENCE) == set(Liveness)
    reached = {each for table in LIVENESS_TRANSITIONS.values() for each in table.values()}
    assert reached | {Liveness.NEW, Liveness.UNHEARD} == set(Liveness), "two are of a start"


@pytest.mark.parametrize("liveness", Liveness)
def test_a_heartbeat_says_what_a_cell_is_whatever_it_was(liveness: Liveness) -> None:
    assert after(liveness, heartbeat_event(read_only=False, full=False)) is Liveness.ALIVE
    assert after(liveness, heartbeat_event(read_only=False, full=True)) is Liveness.FULL
    assert after(liveness, heartbeat_event(read_only=True, full=False)) is Liveness.READ_ONLY
    assert after(liveness, heartbeat_event(read_only=True, full=True)) is Liveness.READ_ONLY


@pytest.mark.parametrize("liveness", Liveness)
def test_silence_makes_suspect_then_offline_then_lost_and_no_step_is_left_out(
    liveness: Liveness,
) -> None:
    events = (BROKE, OVERDUE, TIMED_OUT, LONG_SILENT, EXPECTED_BACK)
    assert tuple(after(liveness, each).value for each in events) == tuple(
        each.value for each in SILENCE[liveness]
    )


TIMES = SilenceTimes(overdue_s=12.5, timeout_s=15.0, lost_after_s=900.0)


def test_silence_counts_once_it_is_longer_than_its_time() -> None:
    assert liveness_now(Liveness.ALIVE, 12.5, TIMES) is Liveness.ALIVE
    assert liveness_now(Liveness.ALIVE, 12.6, TIMES) is Liveness.SUSPECT
    assert liveness_now(Liveness.UNHEARD, 15.0, TIMES) is Liveness.UNHEARD
    for liveness in (Liveness.ALIVE, Liveness.SUSPECT, Liveness.UNHEARD):
        assert liveness_now(liveness, 15.1, TIMES) is Liveness.OFFLINE
        assert liveness_now(liveness, 1e9, TIMES) is Liveness.OFFLINE, "lost takes a look at all"
    assert liveness_now(Liveness.NEW, 1e9, TIMES) is Liveness.NEW
    assert liveness_now(Liveness.LOST, 1e9, TIMES) is Liveness.LOST


def test_times_of_silence_never_come_in_another_order() -> None:
    assert silence_times(5, 15.0, 900) == TIMES
    assert silence_times(60, 120.0, 30) == SilenceTimes(120.0, 120.0, 120.0)


# --- decisions ----------------------------------------------------------------------------------

ADMIN_STATES = [*map(AdminState, range(AdminState.REMOVED.value)), AdminState.REMOVED]


@pytest.mark.parametrize("state", ADMIN_STATES)
@pytest.mark.parametrize(
    ("begin", "end", "what"),
    [
        (AdminEvent.DRAIN, AdminEvent.DRAIN_CANCELLED, AdminState.DRAINING),
        (
            AdminEvent.MAINTENANCE_ANNOUNCED,
            AdminEvent.MAINTENANCE_OVER,
            AdminState.MAINTENANCE,
        ),
        (AdminEvent.SUSPEND, AdminEvent.RESUME, AdminState.SUSPENDED),
    ],
)
def test_each_decision_can_be_taken_back_and_touches_no_other(
    state: AdminState, begin: AdminEvent, end: AdminEvent, what: AdminState
) -> None:
    if state is AdminState.REMOVED:
        assert decided(state, begin) is decided(state, end) is state
        return
    others = state & ~what
    assert decided(state, begin) == others | what == decided(decided(state, begin), begin)
    assert decided(state, end) == others == decided(decided(state, end), end)


@pytest.mark.parametrize("event", AdminEvent)
def test_every_decision_has_its_transition_and_a_removed_cell_stays_removed(
    event: AdminEvent,
) -> None:
    assert set(ADMIN_TRANSITIONS) == set(AdminEvent)
    assert decided(AdminState.REMOVED, event) is AdminState.REMOVED
    assert all(decided(each, AdminEvent.REMOVE) is AdminState.REMOVED for each in ADMIN_STATES)


# --- both together ------------------------------------------------------------------------------

WITH = (AdminState.DRAINING, AdminState.MAINTENANCE, AdminState.SUSPENDED, AdminState.REMOVED)
COMBINED = {
    # liveness: alone, and with each of WITH
    Liveness.NEW: (NEW, NEW, NEW, NEW, REMOVED),
    Liveness.UNHEARD: (UNHEARD, SUSPECT, MAINTENANCE, SUSPECT, REMOVED),
    Liveness.ALIVE: (ALIVE, DRAINING, ALIVE, SUSPENDED, REMOVED),
    Liveness.READ_ONLY: (READ_ONLY, DRAINING, READ_ONLY, SUSPENDED, REMOVED),
    Liveness.FULL: (FULL, DRAINING, FULL, SUSPENDED, REMOVED),
    Liveness.SUSPECT: (SUSPECT, SUSPECT, MAINTENANCE, SUSPECT, REMOVED),
    Liveness.OFFLINE: (OFFLINE, OFFLINE, MAINTENANCE, OFFLINE, REMOVED),
    Liveness.LOST: (LOST, LOST, MAINTENANCE, LOST, REMOVED),
}


@pytest.mark.parametrize("liveness", Liveness)
def test_presence_and_decisions_make_one_state(liveness: Liveness) -> None:
    alone, *combined = COMBINED[liveness]
    assert cell_state(liveness, AdminState.MEMBER) is alone
    assert [cell_state(liveness, each) for each in WITH] == combined


@pytest.mark.parametrize("liveness", Liveness)
@pytest.mark.parametrize("admin", ADMIN_STATES)
def test_a_cell_is_written_only_where_it_was_heard_and_nothing_was_decided_against_it(
    liveness: Liveness, admin: AdminState
) -> None:
    state = cell_state(liveness, admin)
    is_barred = bool(admin & ~AdminState.MAINTENANCE)
    assert (state in WRITABLE) is (liveness is Liveness.ALIVE and not is_barred)
    assert not (state is UNHEARD and is_barred), "it might be written to as a last resort"
    assert (state is MAINTENANCE) <= (AdminState.MAINTENANCE in admin)
    assert (leaves(state) is Departure.LOST) <= (AdminState.MAINTENANCE not in admin)


def test_slots_leave_what_is_lost_removed_or_draining_and_nothing_else() -> None:
    assert {each: leaves(each) for each in CellState if leaves(each)} == {
        LOST: Departure.LOST,
        REMOVED: Departure.LOST,
        DRAINING: Departure.DRAIN,
    }


def test_the_sets_of_states_do_not_contradict_each_other() -> None:
    assert WRITABLE < SURE < READABLE
    assert not SILENT & SURE
    assert set(CellState) - READABLE - SILENT == {NEW, REMOVED}


@pytest.mark.parametrize(
    ("states", "cut_off"),
    [
        ([OFFLINE] * 3 + [ALIVE] * 3, False),
        ([OFFLINE] * 4 + [ALIVE] * 2, True),
        ([OFFLINE] * 2 + [ALIVE], True),
        ([OFFLINE, ALIVE], False),
        ([OFFLINE], True),
        ([ALIVE], False),
        ([], False),
        ([OFFLINE] * 4 + [READ_ONLY, FULL, DRAINING, SUSPENDED], False),
        ([OFFLINE] * 4 + [UNHEARD, SUSPECT, ALIVE], True),
        # What is no sign of anything: known to be lost, announced, removed, never heard.
        ([OFFLINE] * 2 + [ALIVE] + [LOST, MAINTENANCE, REMOVED, NEW] * 3, True),
        ([OFFLINE] * 2 + [ALIVE] * 2 + [LOST, MAINTENANCE, REMOVED, NEW] * 3, False),
    ],
)
def test_where_most_cells_are_offline_the_coordinator_takes_itself_to_be_cut_off(
    states: list[CellState], cut_off: bool
) -> None:
    assert is_cut_off(Counter(states)) is cut_off


def test_the_page_has_a_row_for_each_state_and_says_which_are_written() -> None:
    page = PLACEMENT.read_text()
    table = page[page.index("| state | when | read | written |") :].split("\n\n")[0]
    rows = [re.split(r" *\| *", line.strip("| ")) for line in table.splitlines()[2:]]
    assert {row[0] for row in rows} == {state.value for state in CellState}
    assert {row[0] for row in rows if row[3] == "yes"} == {state.value for state in WRITABLE}
    assert {row[0] for row in rows if row[2] == "yes"} == {state.value for state in READABLE}


# --- slots --------------------------------------------------------------------------------------


@given(STATES, st.sets(st.integers(0, N - 1)), st.sets(st.integers(0, N - 1)))
def test_each_slot_is_in_the_set_of_its_cells_state_and_in_no_other(
    states: list[CellState], missing: set[int], doubted: set[int]
) -> None:
    slots = classify(states, missing=missing, doubted=doubted)
    for slot, state in product(range(N), CellState):
        assert (slot in getattr(slots, state.value)) is (states[slot] is state)
    assert slots.writable == {slot for slot in range(N) if states[slot] in WRITABLE}
    sure = {slot for slot in range(N) if states[slot] in SURE}
    assert slots.healthy == sure - missing - doubted
    assert slots.sure == sure
    readable = {slot for slot in range(N) if states[slot] in READABLE}
    assert slots.readable == readable - missing
    assert slots.healthy <= slots.readable
    assert slots.gone == missing | slots.removed | slots.lost
    assert not slots.gone & slots.readable


def test_a_missing_shard_is_gone_and_a_doubted_one_is_still_read() -> None:
    slots = classify([ALIVE] * N, missing=[1], doubted=[2])
    assert slots.healthy == {0, 3, 4, 5}
    assert slots.readable == {0, 2, 3, 4, 5}
    assert slots.gone == {1}
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
        ([ALIVE] * 4 + [OFFLINE] * 2, RingVerdict.READABLE),
        ([ALIVE] * 4 + [DRAINING, SUSPENDED], RingVerdict.READABLE),
        ([ALIVE] * 2 + [SUSPECT] * 2 + [OFFLINE] * 2, RingVerdict.READABLE),
        ([UNHEARD] * 6, RingVerdict.READABLE),
        ([ALIVE] * 3 + [OFFLINE, LOST, MAINTENANCE], RingVerdict.LOST),
        ([ALIVE] * 3 + [REMOVED, NEW, OFFLINE], RingVerdict.LOST),
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


def test_a_slot_has_no_place_where_every_cell_that_stays_is_in_its_ring() -> None:
    states = dict.fromkeys(range(6), ALIVE) | {0: DRAINING}
    assert count_without_place(0, [range(6), range(1, 7)], states) == 1
    assert count_without_place(0, [range(6)], states | {6: OFFLINE}) == 0, "it may come back"
    for state in (LOST, REMOVED, DRAINING, NEW):
        assert count_without_place(0, [range(6)], states | {6: state}) == 1


def test_a_cell_is_needed_by_rings_that_would_have_fewer_than_k_without_it() -> None:
    rings = [(range(6), 4), (range(6), 5), ((1, 2, 3, 4, 5, 6), 5)]
    alive = dict.fromkeys(range(7), ALIVE)
    assert count_needing(0, rings, alive) == 0
    assert count_needing(0, rings, alive | {1: OFFLINE}) == 1
    assert count_needing(0, rings, alive | {1: OFFLINE, 2: UNHEARD}) == 2
    assert count_needing(0, rings, alive | {1: FULL, 2: READ_ONLY}) == 0, "both can be read"
    assert count_needing(0, rings, alive | {1: OFFLINE, 0: FULL}) == 1
    assert count_needing(0, rings, alive | {1: OFFLINE, 0: SUSPECT}) == 0, "it is no help"
