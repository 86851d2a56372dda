"""Placement: the plan of rings, and the choice of one for each new segment.

Carries out ``coordinator/policy/placement.py`` on what ``membership.py`` knows.

Source: docs/placement.md, "Choosing a ring".
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import replace

import trio

from common import limits
from common.ports import Chance
from coordinator.membership import Heard, Membership
from coordinator.policy.fallback import Spread, WrittenClass, best_class
from coordinator.policy.hazard import Hazard
from coordinator.policy.health import WRITABLE, CellState
from coordinator.policy.placement import (
    CellView,
    Chooser,
    Redundancy,
    RingPlan,
    domains_of,
    plan_rings,
)
from coordinator.policy.refresh import RefreshPace
from coordinator.store.cells import Cell
from coordinator.store.rings import Ring


def view_of(cell: Cell, state: CellState, hazard: Hazard | None = None) -> CellView:
    """Return a cell as placement sees it. One that was not heard since the coordinator's start
    counts as it last was; one whose disk has signs of failing offers less of its free space."""
    facts = cell.facts
    free_bytes = facts.free_bytes
    if hazard is not None:
        free_bytes = hazard.offered_bytes(free_bytes, limits.CELL_LEAST_FREE_BYTES)
    was_writable = not facts.read_only and facts.free_bytes >= limits.CELL_LEAST_FREE_BYTES
    is_hoped_for = state is CellState.UNHEARD and was_writable
    return CellView(
        cell.cell,
        cell.site,
        cell.owner,
        facts.capacity_bytes,
        free_bytes,
        state in WRITABLE or is_hoped_for,
        unheard=is_hoped_for,
    )


class Placement:
    """Plans rings and chooses among them, for the cells as last looked at.

    Args:
        membership: the cells and rings.
        redundancy: the class of new segments, as long as there are enough cells for it.
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
        self._written = WrittenClass(
            redundancy, {ring.redundancy for ring in membership.rings.values() if ring.open}
        )
        self._chooser = Chooser((), {}, limits.CELL_LEAST_FREE_BYTES)

    @property
    def written(self) -> Redundancy:
        """The class of new segments now, as last looked at."""
        return self._written.now

    @property
    def has_fallen_back(self) -> bool:
        """Return whether too few cells are left for the configured class."""
        return self._written.has_fallen

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
        self.changed.set()  # who waits has other times to look at
        self.changed = trio.Event()
        self._pace.looked(now)
        members = self._membership
        states = members.conclude(now)
        views = {
            number: view_of(cell, states[number], members.hazards.get(number))
            for number, cell in members.cells.items()
        }
        has_other_rings = members.rings is not self._rings
        is_due = now >= self._written.decides_at
        if views == self._views and not has_other_rings and not is_due:
            self._pace.unchanged()
            return
        has_other_class = self._decide_class(views, now)
        if has_other_class:
            self.is_plan_due = True
            self.changed.set()
        writable = {number for number, view in views.items() if view.writable}
        if writable != self._writable:
            self._writable = writable
            self.is_plan_due = True
            self.changed.set()
        elif not (
            has_other_rings or has_other_class or self._pace.may_weigh(now, len(members.rings))
        ):
            self._pace.free_space_changed()
            return
        self._views = views
        self._rings = members.rings
        self._pace.weighed(now)
        self._chooser = self._choose_from(views)

    def next_refresh(self) -> float:
        """Return when to look again unless something changes before: a cell may be in another
        state then, or the chooser has to follow the free space."""
        members = self._membership
        next_look = self._pace.next_look(members.changes_at(), len(members.rings))
        return min(next_look, self._written.decides_at)

    def _rings_of(self, redundancy: Redundancy) -> list[Ring]:
        """The rings of a class."""
        rings = self._membership.rings.values()
        return [ring for ring in rings if ring.redundancy == redundancy]

    def _decide_class(self, views: Mapping[int, CellView], now: float) -> bool:
        """Decide what class new segments are written in. Return whether it is another now."""
        hoped = [view for view in views.values() if view.writable]
        heard = [view for view in hoped if not view.unheard]
        if self._written.has_fallen or len(hoped) < self.redundancy.n:
            return self._written.decide(self._best_class(heard), self._best_class(hoped), now)
        return self._written.decide(None, self.redundancy, now)

    def _best_class(self, cells: Collection[CellView]) -> Redundancy | None:
        """The best class that can be written on these cells. A swarm that never had enough cells
        for its class waits for them."""
        if len(cells) >= self.redundancy.n:
            return self.redundancy
        here = {view.cell for view in cells}
        rings: dict[Redundancy, list[Ring]] = defaultdict(list)
        for ring in self._membership.rings.values():
            rings[ring.redundancy].append(ring)
        if rings.keys().isdisjoint(self._written.classes):
            return None

        def is_quorate(redundancy: Redundancy) -> bool:
            return any(
                ring.open and sum(cell in here for cell in ring.cells) >= redundancy.quorum
                for ring in rings[redundancy]
            )

        members = self._membership.cells.values()
        known = [view_of(cell, CellState.ALIVE) for cell in members if not cell.is_removed]
        return best_class(
            self.redundancy,
            Spread.of(domains_of(view) for view in cells),
            Spread.of(domains_of(view) for view in known),
            is_quorate,
        )

    def _choose_from(self, views: Mapping[int, CellView]) -> Chooser:
        """Choose among the rings of the class that is written; where that has none yet, among those
        of the next best."""
        classes, now = self._written.classes, self._written.classes.index(self._written.now)
        chooser = Chooser((), views, limits.CELL_LEAST_FREE_BYTES)
        for redundancy in (*classes[now:], *reversed(classes[:now])):
            rings = [ring.view() for ring in self._rings_of(redundancy)]
            chooser = Chooser(rings, views, limits.CELL_LEAST_FREE_BYTES)
            if len(chooser):
                break
        return chooser

    def plan(self, chance: Chance) -> RingPlan:
        """Return which rings of the class that is written to add, reopen and close for the cells as
        last looked at.

        Those of other fallbacks are closed, and found again the next time. Of a fallback there are
        as many rings as cells; where flapping has made very many, only one where there is none.
        """
        written = self._written.now
        cells = [view for view in self._views.values() if view.writable]
        rings = [ring.view() for ring in self._rings_of(written)]
        target = 0
        if self.has_fallen_back:
            target = len(cells) if len(rings) < limits.MANY_FALLBACK_RINGS else 1
        plan = plan_rings(cells, rings, written, chance, target=target)
        idle = [
            ring.ring
            for redundancy in self._written.classes[1:]
            if redundancy != written
            for ring in self._rings_of(redundancy)
            if ring.open
        ]
        return replace(plan, close=(*plan.close, *idle))

    def choose(self, chance: Chance) -> Ring:
        """Return a ring for a new segment. Raises Unavailable ``no_ring``."""
        return self._rings[self._chooser.choose(chance.random, self.written.n)]

    @property
    def can_be_written(self) -> bool:
        """Return whether there is a ring for new segments, as last looked at."""
        return len(self._chooser) > 0
