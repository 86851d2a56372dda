"""Placement: the plan of rings, and the choice of one for each new segment.

Carries out ``coordinator/policy/placement.py`` on what ``membership.py`` knows.

Source: docs/placement.md, "Choosing a ring".
"""

from __future__ import annotations

import trio

from common import limits
from common.ports import Chance
from coordinator.membership import Heard, Membership
from coordinator.policy.health import WRITABLE, CellState
from coordinator.policy.placement import CellView, Chooser, Redundancy, RingPlan, plan_rings
from coordinator.policy.refresh import RefreshPace
from coordinator.store.cells import Cell
from coordinator.store.rings import Ring


def view_of(cell: Cell, state: CellState) -> CellView:
    """Return a cell as placement sees it. One that was not heard since the coordinator's start
    counts as it last was."""
    facts = cell.facts
    was_writable = not facts.read_only and facts.free_bytes >= limits.CELL_LEAST_FREE_BYTES
    is_hoped_for = state is CellState.UNHEARD and was_writable
    return CellView(
        cell.cell,
        cell.site,
        cell.owner,
        facts.capacity_bytes,
        facts.free_bytes,
        state in WRITABLE or is_hoped_for,
        unheard=is_hoped_for,
    )


class Placement:
    """Plans rings and chooses among them, for the cells as last looked at.

    Args:
        membership: the cells and rings.
        redundancy: of new segments.
    """

    def __init__(self, membership: Membership, redundancy: Redundancy) -> None:
        self.redundancy = redundancy
        self.changed = trio.Event()
        """Set once a cell's state has changed since it was last looked at."""
        self.is_plan_due = True
        """True if other cells can be written to than when the last plan was made."""
        self._membership = membership
        self._pace = RefreshPace()
        self._views: dict[int, CellView] = {}
        self._writable: set[int] = set()
        self._rings: dict[int, Ring] = {}
        """Those that the chooser knows."""
        self._chooser = Chooser((), {}, limits.CELL_LEAST_FREE_BYTES)

    def note_heard(self, heard: Heard, now: float) -> None:
        """Take in what a heartbeat changed."""
        if heard.has_new_facts:
            self._pace.free_space_changed()
            if self._pace.may_weigh(now, len(self._membership.rings)):
                self.changed.set()
        if heard.has_new_state:
            self.changed.set()

    def note_disconnected(self, now: float) -> None:
        """Take in that a cell's connection broke: it is not written to from now on.

        Where many break at once and a look at all cells takes its time, one look does for many.
        """
        if self._pace.may_look(now, len(self._membership.cells)):
            self.refresh(now)
        else:
            self.changed.set()

    def refresh(self, now: float) -> None:
        """Look at all cells, and make the chooser again where something has changed."""
        self.changed = trio.Event()
        self._pace.looked(now)
        members = self._membership
        states = members.conclude(now)
        views = {number: view_of(cell, states[number]) for number, cell in members.cells.items()}
        has_other_rings = members.rings is not self._rings
        if views == self._views and not has_other_rings:
            self._pace.unchanged()
            return
        writable = {number for number, view in views.items() if view.writable}
        if writable != self._writable:
            self._writable = writable
            self.is_plan_due = True
            self.changed.set()
        elif not has_other_rings and not self._pace.may_weigh(now, len(members.rings)):
            self._pace.free_space_changed()
            return
        self._views = views
        self._rings = members.rings
        self._pace.weighed(now)
        self._chooser = Chooser(
            [ring.view() for ring in self._own_rings()], views, limits.CELL_LEAST_FREE_BYTES
        )

    def next_refresh(self) -> float:
        """Return when to look again unless something changes before: a cell may be in another
        state then, or the chooser has to follow the free space."""
        members = self._membership
        return self._pace.next_look(members.changes_at(), len(members.rings))

    def _own_rings(self) -> list[Ring]:
        """The rings of the class of new segments."""
        rings = self._membership.rings.values()
        return [ring for ring in rings if ring.redundancy == self.redundancy]

    def plan(self, chance: Chance) -> RingPlan:
        """Return which rings to add, reopen and close for the cells as last looked at."""
        return plan_rings(
            [view for view in self._views.values() if view.writable],
            [ring.view() for ring in self._own_rings()],
            self.redundancy,
            chance,
        )

    def choose(self, chance: Chance) -> Ring:
        """Return a ring for a new segment. Raises Unavailable ``no_ring``."""
        return self._rings[self._chooser.choose(chance.random, self.redundancy.n)]

    @property
    def can_be_written(self) -> bool:
        """Return whether there is a ring for new segments, as last looked at."""
        return len(self._chooser) > 0
