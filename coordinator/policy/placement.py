"""Placement of data: rings built from a snapshot of cells, and a ring chosen for each segment.

Pure: snapshots and chance go in, plans come out. ``coordinator/store/rings.py`` carries them out.

Source: docs/placement.md; Cidon et al., "Copysets" (USENIX ATC 2013).
"""

from __future__ import annotations

import heapq
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import accumulate
from typing import Final

from common.data_classes import dataclass
from common.errors import Unavailable
from common.ports import Chance
from common.reasons import Outage
from coordinator.policy.fence import EVERYWHERE, Fence, admits, within

RINGS_PER_CELL: Final = 2
"""Open rings per cell: few sets of cells whose joint loss destroys data, yet enough peers of each
cell (2 * (n - 1) and more) that a lost one is rebuilt from many."""
CAPACITY_RATIO: Final = 4.0
"""A cell counts as at most so many times, and at least one so-many-th of, the median capacity."""


@dataclass(frozen=True, slots=True)
class Redundancy:
    """A redundancy class: any ``k`` of ``n`` shards give the data back; a write needs ``quorum``
    of them durable."""

    k: int
    n: int
    quorum: int

    def __str__(self) -> str:
        return f"{self.k}/{self.n}"


def default_quorum(k: int, n: int) -> int:
    """The write quorum of a class: half of the parity, rounded up, beyond k.

    At least one slot may fail while writing (if there is more than one parity unit), and at least
    one may be lost right after without losing data.
    """
    return k + (n - k + 1) // 2


@dataclass(frozen=True, slots=True)
class CellView:
    """A cell as placement sees it. ``writable``: alive, neither read-only nor full; or so before
    the coordinator's start, and not heard since: ``unheard``."""

    cell: int
    site: str
    owner: str
    capacity_bytes: int
    free_bytes: int
    writable: bool
    unheard: bool = False


@dataclass(frozen=True, slots=True)
class RingView:
    """A ring: the cell of each slot. ``open``: it takes new segments."""

    ring: int
    cells: tuple[int, ...]
    quorum: int
    open: bool


@dataclass(frozen=True, slots=True)
class RingPlan:
    """``new``: the cells of each ring to add, slot by slot. ``reopen``: closed rings to write to
    again. ``close``: rings to write to no more (what lies on them stays)."""

    new: tuple[tuple[int, ...], ...]
    reopen: tuple[int, ...]
    close: tuple[int, ...]


def spread_limit(counts: Iterable[int], n: int, wanted: int) -> int:
    """The most slots of one ring that may share a site (or owner).

    Args:
        counts: cells on each site.
        n: slots of a ring.
        wanted: the limit that survives the loss of a site, n - k.

    Returns:
        ``wanted`` where that many sites are there, else the least limit that can be kept.
    """
    sizes = list(counts)
    limit = max(1, wanted)
    while limit < n and sum(min(size, limit) for size in sizes) < n:
        limit += 1
    return limit


def ring_target(cells: int, n: int) -> int:
    """Return the number of open rings that a swarm of so many cells has."""
    return max(n, RINGS_PER_CELL * cells)


def _weights(cells: Collection[CellView]) -> dict[int, float]:
    capacities = sorted(cell.capacity_bytes for cell in cells)
    median = max(1, capacities[len(capacities) // 2])
    low, high = 1 / CAPACITY_RATIO, CAPACITY_RATIO
    return {cell.cell: min(high, max(low, cell.capacity_bytes / median)) for cell in cells}


def domains_of(cell: CellView) -> tuple[str, str]:
    """Return the site and the owner of a cell. One that names no owner is taken to be an owner of
    its own; without a site, all are on one."""
    return cell.site, cell.owner or f"\0{cell.cell}"


class _Builder:
    """Adds rings, always starting from the cells that are in the fewest for their weight."""

    def __init__(
        self, cells: Sequence[CellView], redundancy: Redundancy, chance: Chance, target: int
    ) -> None:
        self.redundancy = redundancy
        self.views = {cell.cell: cell for cell in cells}
        self.weights = _weights(cells)
        total = sum(self.weights.values())
        self.wanted = {
            cell: min(float(target), target * redundancy.n * weight / total)
            for cell, weight in self.weights.items()
        }
        self.memberships: Counter[int] = Counter()
        self.data_slots: Counter[int] = Counter()
        domains = {cell.cell: domains_of(cell) for cell in cells}
        self.domains = domains
        n, spare = redundancy.n, redundancy.n - redundancy.k
        self.site_limit = spread_limit(
            Counter(site for site, _ in domains.values()).values(), n, spare
        )
        self.owner_limit = spread_limit(
            Counter(owner for _, owner in domains.values()).values(), n, spare
        )
        self._chance = chance
        self._heap: list[tuple[float, float, int]] = []

    def count(self, cells: Sequence[int], sign: int = 1) -> None:
        """Take a ring into account (or, with -1, out of it)."""
        for slot, cell in enumerate(cells):
            self.memberships[cell] += sign
            if slot < self.redundancy.k:
                self.data_slots[cell] += sign

    def lacks(self, cell: int, share: float = 1.0) -> bool:
        """Return whether a cell is in fewer rings than (that share of) what it should be in."""
        return self.memberships[cell] < int(self.wanted[cell] * share)

    def lacking(self, share: float) -> bool:
        """Return whether any cell lacks rings."""
        return any(self.lacks(cell, share) for cell in self.wanted)

    def fill_heap(self) -> None:
        """Begin to build, from what has been counted."""
        self._heap = [self._entry(cell) for cell in self.views]
        heapq.heapify(self._heap)

    def _entry(self, cell: int) -> tuple[float, float, int]:
        return self.memberships[cell] / self.weights[cell], self._chance.random(), cell

    def build(self) -> tuple[int, ...]:
        """One more ring."""
        members = self._pick()
        # The cells with the smallest share of data slots get the data slots; the number of the
        # ring rotates the rest, so that no cell always has the same slot.
        members.sort(key=lambda cell: self.data_slots[cell] / (self.memberships[cell] + 1))
        ring = tuple(members)
        self.count(ring)
        for cell in ring:
            heapq.heappush(self._heap, self._entry(cell))
        return ring

    def _pick(self) -> list[int]:
        n = self.redundancy.n
        site_limit, owner_limit = self.site_limit, self.owner_limit
        while True:
            members: list[int] = []
            passed: list[tuple[float, float, int]] = []
            taken: list[tuple[float, float, int]] = []
            sites: Counter[str] = Counter()
            owners: Counter[str] = Counter()
            while self._heap and len(members) < n:
                entry = heapq.heappop(self._heap)
                site, owner = self.domains[entry[2]]
                if sites[site] >= site_limit or owners[owner] >= owner_limit:
                    passed.append(entry)
                    continue
                sites[site] += 1
                owners[owner] += 1
                members.append(entry[2])
                taken.append(entry)
            for entry in passed:
                heapq.heappush(self._heap, entry)
            if len(members) == n:
                return members
            for entry in taken:
                heapq.heappush(self._heap, entry)
            # Sites and owners cannot both be spread as wished: two cells of one owner are worse
            # than two of one site only by degree, and owners are smaller.
            if owner_limit < n:
                owner_limit += 1
            else:
                site_limit += 1


def plan_rings(
    cells: Sequence[CellView],
    rings: Sequence[RingView],
    redundancy: Redundancy,
    chance: Chance,
    *,
    target: int = 0,
    fence: Fence = EVERYWHERE,
) -> RingPlan:
    """Return the rings to add, reopen and close so that these cells are all written to.

    Every cell shall be in as many open rings as its capacity says, counting only rings whose
    cells are all among ``cells``. Where that is far from so, closed rings of these cells are
    opened again, then new ones are added, starting from the cells that are in too few; and rings
    that nobody needs are closed. A swarm whose rings nearly fit is left alone, so that a cell
    that comes and goes changes little, and the second time nothing that is not there already.

    Args:
        cells: those that can be written to.
        rings: all of this class, open or not.
        redundancy: of the rings to build.
        chance: breaks ties, so that the same cells do not always meet.
        target: open rings to have; 0: what ``ring_target`` says.
        fence: sites that the rings are kept on; other cells do not count.
    """
    cells = within(fence, cells)
    if len(cells) < redundancy.n:
        return RingPlan((), (), ())
    target = target or ring_target(len(cells), redundancy.n)
    builder = _Builder(cells, redundancy, chance, target)
    whole = [ring for ring in rings if all(cell in builder.views for cell in ring.cells)]
    open_rings = [ring for ring in whole if ring.open]
    for ring in open_rings:
        builder.count(ring.cells)
    if not builder.lacking(0.5) and target // 2 < len(open_rings) <= target + target // 2:
        return RingPlan((), (), ())
    reopened: list[RingView] = []
    for ring in whole:
        if not ring.open and any(builder.lacks(cell) for cell in ring.cells):
            builder.count(ring.cells)
            reopened.append(ring)
    builder.fill_heap()
    new: list[tuple[int, ...]] = []
    count = len(open_rings) + len(reopened)
    while len(new) < target and (count + len(new) < target or builder.lacking(1.0)):
        new.append(builder.build())
    closed = _close(builder, open_rings, count + len(new) - target)
    return RingPlan(tuple(new), tuple(ring.ring for ring in reopened), closed)


def _close(builder: _Builder, open_rings: Sequence[RingView], excess: int) -> tuple[int, ...]:
    closed: list[int] = []

    def surplus(ring: RingView) -> float:
        return sum(builder.memberships[cell] - builder.wanted[cell] for cell in ring.cells)

    for ring in sorted(open_rings, key=surplus, reverse=True):
        if len(closed) >= excess:
            break
        if all(builder.memberships[cell] > int(builder.wanted[cell]) for cell in ring.cells):
            builder.count(ring.cells, -1)
            closed.append(ring.ring)
    return tuple(closed)


class Chooser:
    """Draws rings for new segments from one snapshot; make a new one when the snapshot changes.

    Rings whose cells can all be written to come first, weighted by the least free space among
    their cells; if there is none, rings that still have a write quorum. Cells that were not heard
    since the coordinator's start count only if no ring of either kind exists without them.

    Args:
        rings: to choose from; closed ones are left out.
        cells: by cell number.
        least_free_bytes: a cell with less free space counts as not writable.
        fence: sites that may hold the segments; other cells count as not writable.
    """

    def __init__(
        self,
        rings: Iterable[RingView],
        cells: Mapping[int, CellView],
        least_free_bytes: int,
        fence: Fence = EVERYWHERE,
    ) -> None:
        open_rings = [ring for ring in rings if ring.open]
        hoped_for = {
            number: cell.free_bytes
            for number, cell in cells.items()
            if cell.writable and cell.free_bytes >= least_free_bytes and admits(fence, cell.site)
        }
        heard = {number: free for number, free in hoped_for.items() if not cells[number].unheard}
        self._writable = len(hoped_for)
        chosen, self.complete = _choose_among(open_rings, heard)
        if not chosen and len(heard) < len(hoped_for):
            chosen, self.complete = _choose_among(open_rings, hoped_for)
        self._rings = [ring for ring, _ in chosen]
        self._bounds = list(accumulate(weight for _, weight in chosen))

    def __len__(self) -> int:
        return len(self._rings)

    def choose(self, chance: Callable[[], float], needed: int) -> int:
        """A ring for one segment.

        Args:
            chance: gives a float in [0, 1).
            needed: cells that a ring needs, for the error's facts.

        Raises:
            Unavailable: ``no_ring``, with ``have`` writable cells and ``need``.
        """
        if not self._rings:
            raise Unavailable(Outage.NO_RING, have=self._writable, need=needed)
        point = chance() * self._bounds[-1]
        return self._rings[min(bisect_right(self._bounds, point), len(self._rings) - 1)]


def _choose_among(
    rings: Iterable[RingView], free_bytes: Mapping[int, int]
) -> tuple[list[tuple[int, float]], bool]:
    """The best rings for these writable cells, with weights, and whether they are whole: need no
    slot to be left out."""
    whole: list[tuple[int, float]] = []
    partly: list[tuple[int, float]] = []
    for ring in rings:
        free = [free_bytes[cell] for cell in ring.cells if cell in free_bytes]
        if len(free) == len(ring.cells):
            whole.append((ring.ring, float(min(free))))
        elif len(free) >= ring.quorum:
            # The more slots can be written, the better.
            partly.append((ring.ring, min(free) * 16.0 ** (len(free) - ring.quorum)))
    return (whole, True) if whole else (partly, False)
