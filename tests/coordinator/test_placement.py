"""Where to write next: what makes a coordinator look, weigh and plan again, and how often."""

from __future__ import annotations

import random

import pytest

from common.errors import Unavailable
from common.limits import CELL_LEAST_FREE_BYTES
from common.wire.messages.base import CellFacts
from coordinator.membership import Membership
from coordinator.placement import Placement
from coordinator.policy.hazard import Hazard
from coordinator.policy.health import Liveness
from coordinator.policy.placement import Redundancy
from coordinator.policy.refresh import CELLS_LOOKED_AT_PER_S, RINGS_WEIGHED_PER_S, RefreshPace
from coordinator.store.cells import NO_FACTS, Cell
from coordinator.store.rings import Ring

CLASS = Redundancy(2, 3, 3)
FREE = 100 * CELL_LEAST_FREE_BYTES
MANY = 1_000_000


def facts(free: int = FREE, *, read_only: bool = False) -> CellFacts:
    return CellFacts(FREE, 0, free, 0, 0, read_only)


class Coordinator:
    """Membership and placement of some cells that were heard at 0, on as many rings as asked."""

    def __init__(self, cells: int = 4, rings: int = 1) -> None:
        self.members = Membership(
            [self._cell(number) for number in range(cells)],
            [Ring(number, CLASS, (0, 1, 2), True) for number in range(rings)],
            5,
            15.0,
            900.0,
        )
        self.placement = Placement(self.members, CLASS)
        for number in range(cells):
            self.beat(number, 0.0)
        self.placement.refresh(0.0)
        assert self.wakes, "to make a plan"
        self.placement.is_plan_due = False
        self.placement.refresh(0.0)

    @staticmethod
    def _cell(number: int) -> Cell:
        liveness = Liveness.NEW
        return Cell(number, bytes([number]) * 32, "", "", "", 0, NO_FACTS, 0.0, liveness)

    def beat(self, number: int, now: float, what: CellFacts | None = None) -> None:
        cell = self.members.cells[number]
        heard = self.members.heard(cell, "host", 1, facts() if what is None else what, now)
        self.placement.note_heard(heard, now)

    @property
    def wakes(self) -> bool:
        return self.placement.changed.is_set()


# --- the pace -----------------------------------------------------------------------------------


def test_few_cells_are_looked_at_whenever_one_is_lost_and_many_not_twice_in_their_time():
    pace = RefreshPace()
    pace.looked(10.0)
    assert pace.may_look(10.0, 100)
    assert not pace.may_look(10.5, CELLS_LOOKED_AT_PER_S)
    assert pace.may_look(11.0, CELLS_LOOKED_AT_PER_S)


def test_what_was_never_looked_at_or_weighed_is_due():
    assert RefreshPace().may_look(0.0, MANY)
    assert RefreshPace().may_weigh(0.0, MANY)


def test_rings_are_weighed_again_only_after_a_time_that_grows_with_their_number():
    pace = RefreshPace()
    pace.weighed(10.0)
    assert pace.may_weigh(10.1, RINGS_WEIGHED_PER_S // 10)
    assert not pace.may_weigh(11.9, 2 * RINGS_WEIGHED_PER_S)
    assert pace.may_weigh(12.0, 2 * RINGS_WEIGHED_PER_S)


def test_the_next_look_is_when_a_cell_may_be_silent_or_stale_weights_may_be_renewed():
    pace = RefreshPace()
    pace.weighed(10.0)
    assert pace.next_look(25.0, RINGS_WEIGHED_PER_S) == 25.0
    pace.free_space_changed()
    assert pace.next_look(25.0, RINGS_WEIGHED_PER_S) == 11.0
    assert pace.next_look(10.5, RINGS_WEIGHED_PER_S) == 10.5
    pace.unchanged()
    assert pace.next_look(25.0, RINGS_WEIGHED_PER_S) == 25.0
    pace.free_space_changed()
    pace.weighed(11.0)
    assert pace.next_look(25.0, RINGS_WEIGHED_PER_S) == 25.0


# --- placement ----------------------------------------------------------------------------------


def test_a_heartbeat_that_says_nothing_new_wakes_nobody():
    it = Coordinator()
    it.beat(0, 5.0)
    assert not it.wakes
    it.placement.refresh(5.0)
    assert not it.placement.is_plan_due
    assert it.placement.next_refresh() == 12.5, "cell 1 may be overdue then"


def test_a_change_of_who_can_be_written_to_makes_a_plan_due_at_once():
    it = Coordinator(rings=RINGS_WEIGHED_PER_S)
    it.beat(3, 0.1, facts(read_only=True))
    assert it.wakes
    it.placement.refresh(0.1)
    assert it.placement.is_plan_due
    assert it.placement.can_be_written


def test_free_space_alone_waits_its_turn_and_makes_no_plan_due():
    it = Coordinator(rings=RINGS_WEIGHED_PER_S)
    it.beat(0, 0.5, facts(FREE // 2))
    assert not it.wakes
    it.placement.refresh(0.5)
    assert it.placement.next_refresh() == 1.0
    it.beat(1, 1.0, facts(FREE // 2))
    assert it.wakes
    it.placement.refresh(1.0)
    assert not it.placement.is_plan_due
    assert it.placement.next_refresh() == 12.5


def test_a_cell_whose_connection_broke_is_written_to_no_more():
    it = Coordinator()
    it.members.disconnected(it.members.cells[0])
    it.placement.note_disconnected(1.0)
    assert it.placement.is_plan_due
    assert not it.placement.can_be_written, "a write needs all three"
    with pytest.raises(Unavailable, match="no_ring"):
        it.placement.choose(random.Random(1))


def test_other_rings_are_chosen_from_whatever_the_pace():
    it = Coordinator(rings=RINGS_WEIGHED_PER_S)
    it.members.set_rings([Ring(7, CLASS, (1, 2, 3), True)])
    it.placement.refresh(0.1)
    assert it.placement.choose(random.Random(1)).ring == 7
    assert not it.placement.is_plan_due


def test_a_silent_cell_is_noticed_when_it_was_said_to_be_looked_for():
    it = Coordinator()
    for number in (1, 2, 3):
        it.beat(number, 10.0)
    at = it.placement.next_refresh()
    it.placement.refresh(at)
    assert not it.placement.is_plan_due
    it.placement.refresh(at + 0.1)
    assert it.placement.is_plan_due


def test_a_ring_with_a_disk_that_is_likely_to_fail_is_chosen_only_where_there_is_no_other() -> None:
    coordinator = Coordinator(cells=4)
    members, placement = coordinator.members, coordinator.placement
    members.set_rings([Ring(0, CLASS, (0, 1, 2), True), Ring(1, CLASS, (1, 2, 3), True)])
    members.hazards = {0: Hazard(0.5, ("a reason",))}

    def look(now: float) -> None:
        for number in range(4):
            coordinator.beat(number, now)
        placement.refresh(now)

    look(100.0)
    chance = random.Random(1)
    chosen = [placement.choose(chance).ring for _ in range(1000)]
    assert 150 < chosen.count(0) < 250, "a quarter of the weight of the other"
    members.hazards = {0: Hazard(4.0, ("a reason",))}
    look(200.0)
    assert [placement.choose(chance).ring for _ in range(1000)].count(0) < 30
    members.set_rings([Ring(0, CLASS, (0, 1, 2), True)])
    look(300.0)
    assert placement.choose(chance).ring == 0
