"""The seam between a simulated fleet and the coordinator's policies.

``plan_rings`` makes the rings, ``Chooser`` puts segments on them, ``plan_moves`` says where slots
go, ``plan_returns`` which come back, and ``plan_even`` which leave a crowded site. A planner gets
what concerns its question, not the whole fleet: the rings of the cells that are gone, and of the
others some that could take slots, with the number of slots that each holds and fills.

Source: docs/durability.md, "Simulated fleets"; docs/placement.md, "Moves".
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from typing import Final

from coordinator.policy.evening import even_limit, plan_even
from coordinator.policy.moves import (
    Filled,
    FormerHolder,
    HeldRing,
    MoveReason,
    PlaceView,
    RingSlot,
    plan_moves,
    plan_returns,
)
from coordinator.policy.placement import CellView, Chooser, Redundancy, RingView, plan_rings
from sim.fleets.shards import Shards

CANDIDATES: Final = 24
"""Cells, of those that could take slots, that a plan for few slots looks at."""
DRAWN: Final = 4
"""The same of a plan by :func:`draw_targets`."""
TRIES: Final = 64
CAPACITY: Final = 1 << 40
"""Bytes of a cell as planners see it: cells are equal, and half full at their mean load."""
PARTS: Final = 1000
"""Segments of a slot as ``plan_returns`` sees it."""


def first_rings(sites: Sequence[int], redundancy: Redundancy, seed: int) -> list[tuple[int, ...]]:
    """Return the rings that the coordinator makes of a new fleet.

    Args:
        sites: of each cell.
        redundancy: the class of all rings.
        seed: of the choice.
    """
    views = [CellView(cell, str(site), "", 1, 1, writable=True) for cell, site in enumerate(sites)]
    return list(plan_rings(views, (), redundancy, random.Random(seed)).new)


def place_segments(
    rings: Sequence[tuple[int, ...]], redundancy: Redundancy, segments: int, seed: int
) -> list[int]:
    """Return how many segments the chooser puts on each ring of an empty fleet.

    Args:
        rings: the cells of each.
        redundancy: their class.
        segments: how many; 0: one on each ring.
        seed: of the choice.
    """
    if not segments:
        return [1] * len(rings)
    cells = {cell for ring in rings for cell in ring}
    views = {cell: CellView(cell, "", "", 1, 1, writable=True) for cell in cells}
    chooser = Chooser(
        [RingView(number, ring, redundancy.quorum, True) for number, ring in enumerate(rings)],
        views,
        least_free_bytes=0,
    )
    chance = random.Random(seed).random
    counts = [0] * len(rings)
    for _ in range(segments):
        counts[chooser.choose(chance, redundancy.n)] += 1
    return counts


class Planner:
    """Asks the policies where slots go.

    Args:
        shards: of the fleet.
        sites: of each cell; grows with the fleet.
        declared: by cell: it counts as lost; grows likewise.
        chance: of candidates and ties.
    """

    def __init__(
        self, shards: Shards, sites: Sequence[int], declared: bytearray, chance: random.Random
    ) -> None:
        self._shards = shards
        self._sites = sites
        self._declared = declared
        self._chance = chance
        self.cells: list[int] = []
        """Cells that can take slots now."""
        self.added = 0
        """Cells that were added, one that comes up again among them."""
        self._position: dict[int, int] = {}
        self._known: defaultdict[int, dict[tuple[int, int, bool], PlaceView]] = defaultdict(dict)
        """Cells that are not candidates, and have no room for that reason, by number and state."""

    def add(self, cell: int) -> None:
        """Take in that a cell can take slots."""
        if cell not in self._position:
            self.added += 1
            self._position[cell] = len(self.cells)
            self.cells.append(cell)

    def remove(self, cell: int) -> None:
        """Take in that a cell can take none."""
        position = self._position.pop(cell, None)
        if position is not None:
            last = self.cells.pop()
            if last != cell:
                self.cells[position] = last
                self._position[last] = position

    def forget(self, cell: int) -> None:
        """Forget a cell that is gone: years of them would fill the memory."""
        self._known.pop(cell, None)

    def moves(self, slots: Collection[int], *, is_lost: bool = False) -> list[tuple[int, int]]:
        """Return slots of lost cells, each with the cell that it goes to; those that have nowhere
        to go are left out.

        Args:
            slots: of cells that are declared lost.
            is_lost: their rings begin again: nothing of them is to be read.
        """
        n = self._shards.n
        needed = 0 if is_lost else self._shards.k
        rings = [self._ring(ring, needed) for ring in sorted({slot // n for slot in slots})]
        candidates = self._candidates(2 * len(slots))
        cells = self._views(rings, candidates)
        # What candidates hold in other rings counts, too: as one ring of each.
        here = Counter(cell for ring in rings for cell in ring.cells)
        others = [self._other_slots(cell, here[cell]) for cell in sorted(candidates)]
        plan = plan_moves([*rings, *others], cells, self._chance, limit=len(slots))
        return [(move.ring * n + move.slot, move.target) for move in plan.moves]

    def spread(self) -> list[tuple[int, int]]:
        """Return slots of rings that have more on a site than they have to, each with the cell that
        it goes to. Looks at the whole fleet."""
        shards = self._shards
        rings = [self._ring(ring, shards.k) for ring in range(len(shards.there_of))]
        cells = self._views(rings, set(self.cells))
        # Rings without bytes: use is even in the long run, since slots go where room is.
        plan = plan_even(rings, cells, {}, self._chance, limit=even_limit(len(self.cells)))
        return [(move.ring * shards.n + move.slot, move.target) for move in plan.moves]

    def _candidates(self, wanted: int) -> set[int]:
        cells, wanted = self.cells, max(CANDIDATES, wanted)
        if len(cells) <= wanted:
            return set(cells)
        return set(self._chance.sample(cells, wanted))

    def _ring(self, ring: int, needed: int) -> HeldRing:
        shards = self._shards
        first = ring * shards.n
        sources = {}
        for slot in range(shards.n):
            if not shards.has[first + slot]:
                source = shards.source[first + slot]
                # A source that died is known by its number no more; the slot is one to fill.
                cell = source if source >= 0 else shards.holder[first + slot]
                sources[slot] = FormerHolder(cell, MoveReason.LOST)
        cells = tuple(shards.holder[first : first + shards.n])
        return HeldRing(ring, needed, cells, sources)

    def _other_slots(self, cell: int, here: int) -> HeldRing:
        shards = self._shards
        count = max(0, shards.load[cell] - here)
        unfilled = min(count, shards.unfilled[cell])
        source = FormerHolder(cell, MoveReason.LOST)
        return HeldRing(-1, 0, (cell,) * count, dict.fromkeys(range(unfilled), source))

    def _views(self, rings: Sequence[HeldRing], candidates: Iterable[int]) -> dict[int, PlaceView]:
        holders = {cell for ring in rings for cell in ring.cells}
        views = {cell: self._known_view(cell, takes=False) for cell in holders}
        for ring in rings:
            for source in ring.sources.values():
                views[source.cell] = self._known_view(source.cell, takes=True)
        mean = max(1.0, len(self._shards.holder) / max(1, len(self.cells)))
        for cell in sorted(candidates):
            free = max(0.0, 1 - self._shards.load[cell] / (2 * mean))
            views[cell] = self._view(cell, int(CAPACITY * free), takes=True)
        return views

    def _known_view(self, cell: int, *, takes: bool) -> PlaceView:
        known = self._known[cell]
        key = self._shards.up[cell], self._declared[cell], takes
        view = known.get(key)
        if view is None:
            view = known[key] = self._view(cell, 0, takes=takes)
        return view

    def _view(self, cell: int, free_bytes: int, *, takes: bool) -> PlaceView:
        lost = bool(self._declared[cell])
        is_there = bool(self._shards.up[cell]) and not lost
        return PlaceView(
            cell,
            str(self._sites[cell]),
            "",
            CAPACITY,
            free_bytes,
            writable=is_there and takes,
            readable=is_there,
            leaves=MoveReason.LOST if lost else None,
        )

    def returns(self, slots: Iterable[tuple[int, float]]) -> list[int]:
        """Return the slots that go back to the cell that was lost and is up again.

        Args:
            slots: that it is the source of, each with the share that the holder has filled.
        """
        n = self._shards.n
        filled = {
            RingSlot(slot // n, slot % n): Filled(round(PARTS * (1 - share)), PARTS)
            for slot, share in slots
        }
        rings = [self._ring(each.ring, self._shards.k) for each in filled]
        cells = self._views(rings, ())
        return [move.ring * n + move.slot for move in plan_returns(rings, cells, filled).back]


class DrawnTargets(Planner):
    """The same by chance alone, without a thought for sites or free space: for comparison with
    formulas that know neither, where a million plans are made."""

    def moves(self, slots: Collection[int], *, is_lost: bool = False) -> list[tuple[int, int]]:
        """Return slots of lost cells, each with a cell that holds no other slot of its ring."""
        shards, cells, chance = self._shards, self.cells, self._chance.random
        count = len(cells)
        taken: dict[int, set[int]] = {}
        found = []
        for slot in sorted(slots):
            ring = slot // shards.n
            if ring not in taken:
                taken[ring] = set(shards.cells_of(slot))
            fitting = []
            for _ in range(TRIES):
                cell = cells[int(chance() * count)] if count else -1
                if cell >= 0 and cell not in taken[ring]:
                    fitting.append(cell)
                    if len(fitting) == DRAWN:
                        break
            if fitting:
                target = min(fitting, key=shards.load.__getitem__)
                taken[ring].add(target)
                found.append((slot, target))
        return found
