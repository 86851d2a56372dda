"""The rings of one storage class: planned, and chosen among for its new segments.

Source: docs/placement.md, "Storage classes".
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import replace

from common import limits
from common.data_classes import dataclass
from common.errors import Unavailable
from common.ports import Chance
from coordinator.membership import Membership
from coordinator.policy.fallback import Spread, WrittenClass, best_class
from coordinator.policy.fence import within
from coordinator.policy.placement import (
    CellView,
    Chooser,
    Redundancy,
    RingPlan,
    domains_of,
    plan_rings,
)
from coordinator.policy.storage_classes import STANDARD, StorageClass
from coordinator.store.rings import Ring


@dataclass(frozen=True, slots=True)
class PlannedRings:
    """A plan for the rings of a storage class; new ones are of ``redundancy``."""

    storage_class: int
    redundancy: Redundancy
    plan: RingPlan


class ClassPlacement:
    """Plans the rings of a storage class, and chooses among them.

    Args:
        storage_class: the class.
        membership: the cells and rings.
    """

    def __init__(self, storage_class: StorageClass, membership: Membership) -> None:
        self.storage_class = storage_class
        self.have = 0
        """The cells within the fence that can be written to, as last looked at."""
        self._membership = membership
        self._written = WrittenClass(
            storage_class.redundancy, {ring.redundancy for ring in self._rings() if ring.open}
        )
        self._chooser = Chooser((), {}, limits.CELL_LEAST_FREE_BYTES)

    @property
    def redundancy(self) -> Redundancy:
        """The class's own redundancy."""
        return self.storage_class.redundancy

    @property
    def written(self) -> Redundancy:
        """The redundancy of new segments now, as last looked at."""
        return self._written.now

    @property
    def has_fallen_back(self) -> bool:
        """Return whether too few cells are left for the class's own redundancy."""
        return self._written.has_fallen

    @property
    def decides_at(self) -> float:
        """The time to decide again, unless something changes before."""
        return self._written.decides_at

    @property
    def can_be_written(self) -> bool:
        """Return whether there is a ring for new segments, as last looked at."""
        return len(self._chooser) > 0

    def _rings(self) -> list[Ring]:
        number = self.storage_class.number
        rings = self._membership.rings.values()
        return [ring for ring in rings if ring.storage_class == number]

    def _by_redundancy(self) -> dict[Redundancy, list[Ring]]:
        """The rings of each redundancy that has any."""
        found: dict[Redundancy, list[Ring]] = defaultdict(list)
        for ring in self._rings():
            found[ring.redundancy].append(ring)
        return dict(found)

    def decide(self, views: Mapping[int, CellView], now: float) -> bool:
        """Decide in what redundancy new segments are written. Return whether it is another now."""
        hoped = within(self.storage_class.fence, (view for view in views.values() if view.writable))
        self.have = len(hoped)
        heard = [view for view in hoped if not view.unheard]
        if self._written.has_fallen or len(hoped) < self.redundancy.n:
            return self._written.decide(self._best_class(heard), self._best_class(hoped), now)
        return self._written.decide(None, self.redundancy, now)

    def _best_class(self, cells: Collection[CellView]) -> Redundancy | None:
        """The best redundancy that can be written on these cells. A swarm that never had enough
        cells for a class waits for them."""
        if len(cells) >= self.redundancy.n:
            return self.redundancy
        here = {view.cell for view in cells}
        rings = self._by_redundancy()
        if rings.keys().isdisjoint(self._written.classes):
            return None

        def is_quorate(redundancy: Redundancy) -> bool:
            return any(
                ring.open and sum(cell in here for cell in ring.cells) >= redundancy.quorum
                for ring in rings.get(redundancy, ())
            )

        fence = self.storage_class.fence
        members = self._membership.cells.values()
        known = [
            (cell.site, cell.owner or f"\0{cell.cell}") for cell in members if not cell.is_removed
        ]
        return best_class(
            self.redundancy,
            Spread.of((domains_of(view) for view in cells), fence),
            Spread.of(known, fence),
            is_quorate,
        )

    def weigh(self, views: Mapping[int, CellView]) -> None:
        """Choose from now on among the rings of the redundancy that is written, as the cells are;
        where that has none yet, among those of the next best."""
        classes, now = self._written.classes, self._written.classes.index(self._written.now)
        fence, rings = self.storage_class.fence, self._by_redundancy()
        order = (*classes[now:], *reversed(classes[:now]))
        for some in [rings[each] for each in order if each in rings] or [[]]:
            views_of_rings = [ring.view for ring in some]
            self._chooser = Chooser(views_of_rings, views, limits.CELL_LEAST_FREE_BYTES, fence)
            if self.can_be_written:
                break

    def plan(self, views: Mapping[int, CellView], chance: Chance) -> PlannedRings:
        """Return which rings of the redundancy that is written to add, reopen and close.

        Those of other fallbacks are closed, and found again the next time. Of a fallback there are
        as many rings as cells; where flapping has made very many, only one where there is none.
        """
        written, fence = self._written.now, self.storage_class.fence
        cells = [view for view in views.values() if view.writable]
        by_redundancy = self._by_redundancy()
        rings = [ring.view for ring in by_redundancy.get(written, ())]
        target = 0
        if self.has_fallen_back:
            target = len(within(fence, cells)) if len(rings) < limits.MANY_FALLBACK_RINGS else 1
        plan = plan_rings(cells, rings, written, chance, target=target, fence=fence)
        idle = [
            ring.ring
            for redundancy in self._written.classes[1:]
            if redundancy != written
            for ring in by_redundancy.get(redundancy, ())
            if ring.open
        ]
        plan = replace(plan, close=(*plan.close, *idle))
        return PlannedRings(self.storage_class.number, written, plan)

    def choose(self, chance: Chance) -> int:
        """Return the number of a ring for a new segment.

        Raises:
            Unavailable: ``no_ring``; with ``storage_class`` if it is not the configured one.
        """
        try:
            return self._chooser.choose(chance.random, self.written.n)
        except Unavailable as error:
            if self.storage_class.number == STANDARD:
                raise
            raise error.again(storage_class=self.storage_class.name) from error
