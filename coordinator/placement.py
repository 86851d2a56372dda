"""Placement: the plan of rings, and the choice of one for each new segment.

Carries out ``coordinator/policy/placement.py`` on what ``membership.py`` knows, for each storage
class (``class_placement.py``).

Source: docs/placement.md, "Choosing a ring".
"""

from __future__ import annotations

from collections.abc import Iterable

import trio

from common import limits
from common.errors import Unavailable
from common.ports import Chance
from common.reasons import Outage
from common.wire.messages.base import STANDARD_CLASS
from coordinator.class_placement import ClassPlacement, PlannedRings
from coordinator.membership import Heard, Membership
from coordinator.policy.hazard import Hazard
from coordinator.policy.health import WRITABLE, CellState
from coordinator.policy.placement import CellView, Redundancy
from coordinator.policy.refresh import RefreshPace
from coordinator.policy.storage_classes import STANDARD, StorageClass, standard
from coordinator.store.cells import Cell
from coordinator.store.rings import Ring
from coordinator.views import Views


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
        redundancy: of the configured class, as long as there are enough cells for it.
        classes: the other storage classes.
    """

    def __init__(
        self,
        membership: Membership,
        redundancy: Redundancy,
        classes: Iterable[StorageClass] = (),
    ) -> None:
        self.redundancy = redundancy
        self.changed = trio.Event()
        """Set once a cell's state has changed since it was last looked at."""
        self.is_plan_due = True
        """True if other cells can be written to than when the last plan was made."""
        self._membership = membership
        self._pace = RefreshPace()
        self._views: dict[int, CellView] = {}
        self._seen = Views(view_of)
        self._writable: set[int] = set()
        self._rings: dict[int, Ring] = {}
        """Those that the choosers know."""
        self._standard = ClassPlacement(standard(redundancy), membership)
        self._classes = {STANDARD: self._standard}
        self._numbers = {STANDARD_CLASS: STANDARD}
        self._has_other_classes = False
        self.set_classes(classes)

    def set_classes(self, classes: Iterable[StorageClass]) -> None:
        """Take in that there are these storage classes beside the configured one."""
        wanted = {each.number: each for each in classes}
        if wanted.keys() == self._classes.keys() - {STANDARD}:
            return
        members = self._membership
        self._classes = {STANDARD: self._standard} | {
            number: self._classes.get(number) or ClassPlacement(each, members)
            for number, each in wanted.items()
        }
        self._numbers = {each.storage_class.name: n for n, each in self._classes.items()}
        self._has_other_classes = True
        self.changed.set()

    @property
    def classes(self) -> tuple[ClassPlacement, ...]:
        """The placement of each storage class, that of the configured one first."""
        return tuple(self._classes.values())

    def of_class(self, number: int) -> ClassPlacement | None:
        """Return the placement of a storage class; None where it is not known (any more)."""
        return self._classes.get(number)

    @property
    def written(self) -> Redundancy:
        """The redundancy of new segments of the configured class now, as last looked at."""
        return self._standard.written

    @property
    def has_fallen_back(self) -> bool:
        """Return whether too few cells are left for the configured class."""
        return self._standard.has_fallen_back

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
            number: self._seen.of(cell, states[number], members.hazards.get(number))
            for number, cell in members.cells.items()
        }
        has_other_rings = members.rings is not self._rings
        is_due = any(now >= each.decides_at for each in self._classes.values())
        has_other_rings |= self._has_other_classes
        if views == self._views and not has_other_rings and not is_due:
            self._pace.unchanged()
            return
        decided = [each.decide(views, now) for each in self._classes.values()]
        has_other_class = any(decided)
        if has_other_class or self._has_other_classes:
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
        self._has_other_classes = False
        for each in self._classes.values():
            each.weigh(views)

    def next_refresh(self) -> float:
        """Return when to look again unless something changes before: a cell may be in another
        state then, or the chooser has to follow the free space."""
        members = self._membership
        next_look = self._pace.next_look(members.changes_at(), len(members.rings))
        return min([next_look, *(each.decides_at for each in self._classes.values())])

    def plan(self, chance: Chance) -> list[PlannedRings]:
        """Return which rings of each class to add, reopen and close for the cells as last looked
        at."""
        return [each.plan(self._views, chance) for each in self._classes.values()]

    def choose(self, chance: Chance, storage_class: str = STANDARD_CLASS) -> Ring:
        """Return a ring for a new segment.

        Raises:
            Unavailable: ``no_ring``: the class has too few cells, or is not known (yet).
        """
        number = self._numbers.get(storage_class)
        if number is None:
            raise Unavailable(Outage.NO_RING, storage_class=storage_class)
        return self._rings[self._classes[number].choose(chance)]

    @property
    def can_be_written(self) -> bool:
        """Return whether there is a ring for new segments of the configured class, as last looked
        at."""
        return self._standard.can_be_written
