"""Cells that fall silent: what is concluded of them, in monotonic time alone."""

from __future__ import annotations

import pytest
from coordinator_rig import facts

from common.ids import PeerId
from coordinator.membership import Membership
from coordinator.policy.health import CellState, Departure, Liveness
from coordinator.policy.placement import Redundancy
from coordinator.store.cells import NO_FACTS, Cell, Decisions
from coordinator.store.rings import Ring

INTERVAL_S, TIMEOUT_S, LOST_AFTER_S = 5, 15.0, 900.0
CLASS = Redundancy(2, 3, 2)
ALIVE, OFFLINE, LOST = CellState.ALIVE, CellState.OFFLINE, CellState.LOST


class Swarm:
    """Cells that were heard at 0, and heard again or not."""

    def __init__(self, cells: int = 6, liveness: Liveness = Liveness.NEW) -> None:
        self.members = Membership(
            [
                Cell(number, PeerId(bytes([number]) * 32), "", "", "", 0, NO_FACTS, 0.0, liveness)
                for number in range(cells)
            ],
            (),
            INTERVAL_S,
            TIMEOUT_S,
            LOST_AFTER_S,
        )
        self.now = 0.0
        if liveness is Liveness.NEW:
            self.hear(*range(cells))

    def hear(self, *numbers: int) -> None:
        for number in numbers:
            self.members.heard(self.members.cells[number], "cell", 1, facts(), self.now)

    def announce(self, number: int, window_s: int) -> None:
        cell = self.members.cells[number]
        decisions = Decisions(maintenance_s=window_s, maintenance_ms=int(self.now))
        self.members.decide(cell, decisions, self.now)

    def pass_time(self, seconds: float, *heard: int) -> list[CellState]:
        """Let time pass in which only these are heard, looking whenever it was said to be due."""
        until = self.now + seconds
        while True:
            due = min(self.members.changes_at(), self.now + INTERVAL_S, until)
            self.now = max(due, min(self.now + 1.0, until))
            self.hear(*heard)
            states = list(self.members.conclude(self.now).values())
            if self.now >= until:
                return states


def test_the_slots_of_cells_follow_the_rings_that_change() -> None:
    members = Swarm(8).members
    rings = [Ring(1, CLASS, (0, 1, 2), True), Ring(2, CLASS, (1, 2, 3), True)]
    members.set_rings(rings)
    taken = members.slots_of(1)
    assert taken == ((1, 1), (2, 0))
    snapshot = members.rings
    changed = [Ring(1, CLASS, (0, 7, 2), True), Ring(3, CLASS, (7, 0, 1), True)]
    members.change_rings(changed)
    assert {ring: each.cells for ring, each in members.rings.items()} == {
        1: (0, 7, 2),
        2: (1, 2, 3),
        3: (7, 0, 1),
    }
    followed = {cell: sorted(members.slots_of(cell)) for cell in range(8)}
    members.set_rings(members.rings.values())
    assert followed == {cell: sorted(members.slots_of(cell)) for cell in range(8)}
    assert followed[1] == [(2, 0), (3, 2)]
    assert (taken, len(snapshot)) == (((1, 1), (2, 0)), 2), "whoever has the old ones keeps them"


def test_a_silent_cell_is_suspect_then_offline_then_lost_and_alive_when_it_is_heard() -> None:
    swarm = Swarm()
    others = range(1, 6)
    assert swarm.pass_time(12, *others)[0] is ALIVE
    assert swarm.pass_time(2, *others)[0] is CellState.SUSPECT
    assert swarm.pass_time(2, *others)[0] is OFFLINE
    assert swarm.pass_time(LOST_AFTER_S - 17, *others)[0] is OFFLINE
    assert not swarm.members.departures
    assert swarm.pass_time(2, *others)[0] is LOST
    assert swarm.members.departures == {0: Departure.LOST}
    assert [cell.cell for cell in swarm.members.take_newly_lost()] == [0]
    assert swarm.pass_time(10 * LOST_AFTER_S, *others)[0] is LOST
    assert not swarm.members.take_newly_lost(), "once is enough"
    assert swarm.pass_time(1, *range(6)) == [ALIVE] * 6
    assert not swarm.members.departures


def test_it_is_said_when_to_look_so_that_nobody_is_lost_late() -> None:
    swarm = Swarm()
    swarm.pass_time(20, *range(1, 6))
    while swarm.members.cells[0].liveness is not Liveness.LOST:
        swarm.now = min(swarm.members.changes_at(), swarm.now + INTERVAL_S)
        swarm.hear(*range(1, 6))
        swarm.members.conclude(swarm.now)
    assert swarm.now == LOST_AFTER_S


def test_a_cell_that_comes_and_goes_is_never_lost() -> None:
    swarm = Swarm()
    for _ in range(20):
        assert swarm.pass_time(LOST_AFTER_S - 1, *range(1, 6))[0] is OFFLINE
        swarm.pass_time(0.5, *range(6))
    assert not swarm.members.take_newly_lost()


def test_a_cell_that_was_never_heard_is_not_lost() -> None:
    swarm = Swarm(liveness=Liveness.NEW)
    swarm.members.add_cell(
        Cell(9, PeerId(b"9" * 32), "", "", "", 0, NO_FACTS, 0.0, Liveness.NEW),
    )
    assert swarm.pass_time(10 * LOST_AFTER_S, *range(6))[-1] is CellState.NEW


def test_after_a_restart_each_cell_has_its_whole_time_again() -> None:
    swarm = Swarm(liveness=Liveness.UNHEARD)
    others = range(1, 6)
    assert swarm.pass_time(15, *others)[0] is CellState.UNHEARD
    assert swarm.pass_time(1, *others)[0] is OFFLINE
    assert swarm.pass_time(LOST_AFTER_S - 17, *others)[0] is OFFLINE
    assert swarm.pass_time(2, *others)[0] is LOST


@pytest.mark.parametrize(("silent", "state"), [(3, LOST), (4, OFFLINE), (6, OFFLINE)])
def test_nobody_is_lost_while_most_cells_are_offline(silent: int, state: CellState) -> None:
    swarm = Swarm()
    states = swarm.pass_time(10 * LOST_AFTER_S, *range(silent, 6))
    assert states == [state] * silent + [ALIVE] * (6 - silent)
    assert swarm.members.is_cut_off is (state is OFFLINE)


def test_what_was_lost_before_the_coordinator_was_cut_off_stays_lost() -> None:
    swarm = Swarm()
    assert swarm.pass_time(LOST_AFTER_S + 1, *range(1, 6))[0] is LOST
    assert swarm.pass_time(10 * LOST_AFTER_S, 5) == [LOST] + [OFFLINE] * 4 + [ALIVE]
    assert swarm.members.departures == {0: Departure.LOST}


def test_cells_that_return_after_it_was_cut_off_have_their_whole_time_again() -> None:
    """They do not come back all at once, and have been silent for longer than that."""
    swarm = Swarm()
    swarm.pass_time(10 * LOST_AFTER_S)
    assert swarm.pass_time(1, 0, 1, 2) == [ALIVE] * 3 + [OFFLINE] * 3
    assert swarm.pass_time(LOST_AFTER_S - 10, 0, 1, 2) == [ALIVE] * 3 + [OFFLINE] * 3
    assert swarm.pass_time(1, *range(5)) == [ALIVE] * 5 + [OFFLINE]
    assert swarm.pass_time(20, *range(5)) == [ALIVE] * 5 + [LOST]


def test_a_coordinator_that_stood_still_takes_nobody_for_lost() -> None:
    """Its first look comes before the heartbeats that waited for it."""
    swarm = Swarm()
    swarm.pass_time(20, *range(6))
    swarm.now += 10 * LOST_AFTER_S
    assert set(swarm.members.conclude(swarm.now).values()) == {OFFLINE}
    assert swarm.pass_time(1, *range(6)) == [ALIVE] * 6


def test_removing_some_of_many_cells_that_are_gone_says_that_they_are() -> None:
    swarm = Swarm()
    assert swarm.pass_time(2 * LOST_AFTER_S, 4, 5)[0] is OFFLINE
    for number in (0, 1):
        swarm.members.removed(swarm.members.cells[number])
    removed = [CellState.REMOVED] * 2
    assert swarm.pass_time(10, 4, 5) == [*removed, OFFLINE, OFFLINE, ALIVE, ALIVE]
    assert swarm.pass_time(LOST_AFTER_S, 4, 5) == [*removed, LOST, LOST, ALIVE, ALIVE]
    assert swarm.members.departures == dict.fromkeys(range(4), Departure.LOST)


# --- announced maintenance ----------------------------------------------------------------------


def test_a_cell_is_not_lost_within_its_window_and_has_its_whole_time_after_it() -> None:
    swarm = Swarm()
    others = range(1, 6)
    swarm.announce(0, 7200)
    assert swarm.pass_time(10, *range(6))[0] is ALIVE, "until it goes"
    assert swarm.pass_time(7189, *others)[0] is CellState.MAINTENANCE
    assert swarm.pass_time(2, *others)[0] is OFFLINE
    assert swarm.pass_time(LOST_AFTER_S - 3, *others)[0] is OFFLINE
    assert swarm.pass_time(3, *others)[0] is LOST


def test_a_window_that_was_cancelled_is_over() -> None:
    swarm = Swarm()
    others = range(1, 6)
    swarm.announce(0, 7200)
    swarm.pass_time(1000, *others)
    swarm.announce(0, 0)
    assert swarm.pass_time(LOST_AFTER_S - 1, *others)[0] is OFFLINE
    assert swarm.pass_time(2, *others)[0] is LOST


def test_a_lost_cell_that_is_expected_back_is_not_lost_any_more() -> None:
    swarm = Swarm()
    others = range(1, 6)
    swarm.pass_time(LOST_AFTER_S + 1, *others)
    swarm.announce(0, 600)
    assert swarm.pass_time(1, *others)[0] is CellState.MAINTENANCE
    assert not swarm.members.departures
    assert swarm.pass_time(601, *others)[0] is OFFLINE
    assert swarm.pass_time(LOST_AFTER_S, *others)[0] is LOST


def test_a_draining_cell_leaves_while_it_is_heard_or_lost_and_not_in_between() -> None:
    swarm = Swarm()
    swarm.members.decide(swarm.members.cells[0], Decisions(draining_ms=1), 0.0)
    others = range(1, 6)
    assert swarm.pass_time(1, *range(6))[0] is CellState.DRAINING
    assert swarm.members.departures == {0: Departure.DRAIN}
    assert swarm.pass_time(30, *others)[0] is OFFLINE
    assert not swarm.members.departures
    assert swarm.pass_time(LOST_AFTER_S, *others)[0] is LOST
    assert swarm.members.departures == {0: Departure.LOST}
