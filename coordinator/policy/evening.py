"""Moves that even out a swarm: rings crowded on a site, cells fuller than others, new cells.

Pure. Every move makes the crowding of rings less, or leaves it and brings two cells nearer to the
mean use; so a swarm that nothing else changes comes to rest.

Source: docs/placement.md, "Evening out".
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import field
from itertools import chain
from typing import Final

from common import limits
from common.data_classes import dataclass
from common.ports import Chance
from coordinator.policy.fence import Fence, admits
from coordinator.policy.moves import (
    Cells,
    HeldRing,
    Move,
    MovePlan,
    MoveReason,
    due_to_move,
    plan_moves,
    targets_of,
)
from coordinator.policy.placement import spread_limit
from coordinator.policy.targets import Surroundings, Targets

BAND: Final = 0.10
"""Cells whose use is within so much of the mean, as a share of their capacity, are left alone."""
OVERSHOOT: Final = BAND / 2
"""A move may bring a cell to the other side of the mean by so much. So one that has given a slot
must lose the other half of the band before it gets one for its own sake: nothing moves to and fro.
"""
REPAIRS_SHARE: Final = 0.01
"""While more slots than this share of the cells are to be rebuilt, nothing is evened out."""
PARTNERS_TRIED: Final = 32
"""Cells that one is paired with before it has to wait for another time: the most fitting, and as
many drawn by chance."""
WORK: Final = 500_000
"""Steps of one plan, some microseconds each."""
FEW: Final = 500
"""Of so many cells off the mean, those furthest off go first. Of more, chance draws the order, so
that those which cannot be helped do not use up the work of every plan."""


def even_limit(cells: int) -> int:
    """Return how many slots of a swarm of so many cells may be moved at a time to even out use."""
    return max(2, cells // 20)


def plan_even(
    rings: Collection[HeldRing],
    cells: Cells,
    slot_bytes: Mapping[int, int],
    chance: Chance,
    *,
    limit: int,
) -> MovePlan:
    """Return moves that make rings less crowded and use more even; none while there is more to
    rebuild or to drain than ``REPAIRS_SHARE``, or most cells cannot be read.

    First rings of which a site, or an owner, has more slots than the cells of today make
    necessary. Then cells whose use is off the mean by more than ``BAND``: those above give slots to
    those most below. A move brings both nearer to the mean, makes no ring more crowded, and leaves
    no fence. No cell gets more than one slot, or gives more than one, at a time; a ring is moved
    one slot at a time.

    Args:
        rings: all rings that have segments or take them.
        cells: see ``Cells``.
        slot_bytes: size of one slot's shards, by ring; none: it is empty.
        chance: breaks ties.
        limit: moves of the whole swarm that may be unfinished, for whatever reason.
    """
    room = limit - sum(len(ring.sources) for ring in rings)
    if room <= 0 or _repairs_wait(rings, cells, chance):
        return MovePlan()
    state = _Swarm(rings, cells, slot_bytes, chance)
    _spread(state, room)
    if len(state.moves) < room:
        _even_use(state, room)
    return MovePlan(tuple(state.moves))


def _repairs_wait(rings: Collection[HeldRing], cells: Cells, chance: Chance) -> bool:
    holders = set(chain.from_iterable(ring.cells for ring in rings))
    if 2 * sum(cells[cell].readable for cell in holders) < len(holders):
        return True
    allowed = int(len(cells) * REPAIRS_SHARE)
    repairs = sum(
        source.reason is not MoveReason.EVEN for ring in rings for source in ring.sources.values()
    )
    if repairs > allowed:
        return True
    leaving = {number for number, cell in cells.items() if cell.leaves is not None}
    due = [
        ring
        for ring in rings
        if not leaving.isdisjoint(ring.cells)
        and any(due_to_move(ring, slot, cells) for slot in range(len(ring.cells)))
    ]
    if not due:
        return False
    # Slots that have nowhere to go are not waited for.
    return repairs + len(plan_moves(due, cells, chance, limit=allowed + 1).moves) > allowed


@dataclass(slots=True)
class _Swarm:
    """The knowledge of a plan, and the moves that it has so far."""

    rings: Collection[HeldRing]
    cells: Cells
    slot_bytes: Mapping[int, int]
    chance: Chance
    moves: list[Move] = field(default_factory=list)
    idle: list[HeldRing] = field(init=False)
    """Rings that may be moved: nothing of them moves, and all their cells stay."""
    excess: dict[int, float] = field(init=False)
    """Bytes above the mean use, by cell; negative below it."""
    gives: set[int] = field(default_factory=set)
    gets: set[int] = field(default_factory=set)
    moved: set[int] = field(default_factory=set)
    """Rings of the moves."""
    work: int = 0
    _limits: dict[tuple[int, int, Fence], tuple[int, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        staying = {number: cell for number, cell in self.cells.items() if cell.leaves is None}
        leaving = self.cells.keys() - staying.keys()
        self.idle = []
        used = dict.fromkeys(self.cells, 0)
        for ring in self.rings:
            slot_bytes = self.slot_bytes.get(ring.ring, 0)
            if slot_bytes:
                for cell in ring.cells:
                    used[cell] += slot_bytes
            if not ring.sources and leaving.isdisjoint(ring.cells):
                self.idle.append(ring)
            for slot, source in ring.sources.items():
                self.gets.add(ring.cells[slot])
                self.gives.add(source.cell)
        capacity = sum(cell.capacity_bytes for cell in staying.values())
        mean = sum(used[number] for number in staying) / capacity if capacity else 0.0
        self.excess = {
            number: used[number] - mean * cell.capacity_bytes for number, cell in staying.items()
        }

    def limits_of(self, ring: HeldRing) -> tuple[int, int]:
        """Slots of a ring that a site, and an owner, needs to have at most."""
        key = len(ring.cells), ring.k, ring.fence
        if key not in self._limits:
            n, k, fence = key
            sites: Counter[str] = Counter()
            owners: Counter[str] = Counter()
            for number in self.excess:
                cell = self.cells[number]
                if admits(fence, cell.site):
                    sites[cell.site] += 1
                    owners[cell.owner or f"\0{number}"] += 1
            self._limits[key] = (
                spread_limit(sites.values(), n, n - k),
                spread_limit(owners.values(), n, n - k),
            )
        return self._limits[key]

    def counts_of(self, ring: HeldRing) -> tuple[Counter[str], Counter[str]]:
        """Slots of a ring by site, and by owner that is named."""
        members = [self.cells[cell] for cell in ring.cells]
        sites = Counter([cell.site for cell in members])
        return sites, Counter([cell.owner for cell in members if cell.owner])

    def crowding(self, ring: HeldRing) -> tuple[int, int]:
        """Slots of a ring beyond the limits of sites, and of owners."""
        site_limit, owner_limit = self.limits_of(ring)
        cells, n = self.cells, len(ring.cells)
        # Most rings need no count: on so many sites, no more can be on one.
        if (
            n - len({cells[cell].site for cell in ring.cells}) < site_limit
            and n - len({cells[cell].owner or cell for cell in ring.cells}) < owner_limit
        ):
            return 0, 0
        sites, owners = self.counts_of(ring)
        return (
            sum(count - site_limit for count in sites.values() if count > site_limit),
            sum(count - owner_limit for count in owners.values() if count > owner_limit),
        )

    def share(self, cell: int) -> float:
        """Use above the mean, as a share of the cell's capacity."""
        return self.excess[cell] / max(1, self.cells[cell].capacity_bytes)

    def move(self, ring: HeldRing, slot: int, target: int) -> None:
        """Plan a move."""
        source = ring.cells[slot]
        self.moves.append(Move(ring.ring, slot, source, target, MoveReason.EVEN))
        self.moved.add(ring.ring)
        self.gives.add(source)
        self.gets.add(target)
        slot_bytes = self.slot_bytes.get(ring.ring, 0)
        self.excess[source] -= slot_bytes
        self.excess[target] += slot_bytes


# --- rings ---------------------------------------------------------------------------------------


def _spread(state: _Swarm, room: int) -> None:
    """Plan moves of rings that are crowded, the most crowded first."""
    crowded = [
        (crowding, state.chance.random(), ring)
        for ring in state.idle
        if (crowding := state.crowding(ring)) != (0, 0)
    ]
    if not crowded:
        return
    crowded.sort(key=lambda entry: entry[:2], reverse=True)
    targets = targets_of(state.cells, state.rings, state.chance)
    for cell in state.gets:
        targets.withdraw(cell)
    for crowding, _, ring in crowded:
        if len(state.moves) >= room or targets.scanned >= WORK:
            return
        _spread_ring(state, ring, crowding, targets)


def _spread_ring(
    state: _Swarm, ring: HeldRing, crowding: tuple[int, int], targets: Targets
) -> None:
    sites, owners = state.counts_of(ring)
    site_limit, owner_limit = state.limits_of(ring)
    slot_bytes = state.slot_bytes.get(ring.ring, 0)

    def is_crowded(cell: int) -> bool:
        place = state.cells[cell]
        return sites[place.site] > site_limit or owners[place.owner] > owner_limit

    slots = [
        slot
        for slot, cell in enumerate(ring.cells)
        if is_crowded(cell) and state.cells[cell].readable and cell not in state.gives
    ]
    slots.sort(key=lambda slot: state.share(ring.cells[slot]), reverse=True)
    for slot in slots:
        others = ring.cells[:slot] + ring.cells[slot + 1 :]
        places = [(state.cells[cell].site, state.cells[cell].owner) for cell in others]
        around = Surroundings(places, ring.cells, site_limit, owner_limit, ring.fence)
        target = targets.choose(around, slot_bytes)
        if target is None:
            continue
        after = HeldRing(ring.ring, ring.k, (*others, target), fence=ring.fence)
        if state.crowding(after) < crowding:
            state.move(ring, slot, target)
            targets.withdraw(target)
            return


# --- use -----------------------------------------------------------------------------------------


def _even_use(state: _Swarm, room: int) -> None:
    """Plan moves from cells above the mean use to cells below it, one of both off the band."""
    cells = state.cells
    least = limits.CELL_LEAST_FREE_BYTES
    above = [
        cell
        for cell, excess in state.excess.items()
        if excess > 0 and cells[cell].readable and cell not in state.gives
    ]
    below = [
        cell
        for cell, excess in state.excess.items()
        if excess < 0
        and cells[cell].writable
        and cells[cell].free_bytes > least
        and cell not in state.gets
    ]
    far_above = [cell for cell in above if state.share(cell) > BAND]
    far_below = [cell for cell in below if state.share(cell) < -BAND]
    if not above or not below or not (far_above or far_below):
        return
    held: dict[int, list[tuple[HeldRing, int]]] = defaultdict(list)
    have_more = set(above)
    for ring in state.idle:
        if state.slot_bytes.get(ring.ring, 0) and ring.ring not in state.moved:
            for slot, cell in enumerate(ring.cells):
                if cell in have_more:
                    held[cell].append((ring, slot))
    givers = _Partners(sorted(above, key=lambda cell: (-state.share(cell), cell)), state.gives)
    takers = _Partners(sorted(below, key=lambda cell: (state.share(cell), cell)), state.gets)
    drivers = [(abs(state.share(cell)), cell) for cell in (*far_above, *far_below)]
    for cell in _ordered(drivers, state.chance):
        if len(state.moves) >= room or state.work >= WORK:
            return
        gives = cell in have_more
        if cell in (state.gives if gives else state.gets):
            continue
        for partner in (takers if gives else givers).partners(state.chance):
            giver, taker = (cell, partner) if gives else (partner, cell)
            found = _best_slot(state, giver, taker, held[giver])
            if found is not None:
                state.move(*found, taker)
                break


def _ordered(drivers: list[tuple[float, int]], chance: Chance) -> Iterator[int]:
    """Cells, those with the largest figures first; of many, by chance weighted by the figure."""
    if len(drivers) > FEW:
        drivers = [(chance.random() ** (1 / share), cell) for share, cell in drivers]
    drivers.sort(key=lambda entry: (-entry[0], entry[1]))
    return (cell for _, cell in drivers)


class _Partners:
    """Cells that give, or that get, those furthest from the mean first.

    Args:
        ordered: the cells.
        busy: those that do so already; grows.
    """

    def __init__(self, ordered: list[int], busy: set[int]) -> None:
        self._ordered = ordered
        self._busy = busy
        self._first = 0

    def partners(self, chance: Chance) -> Iterator[int]:
        """Yield the first cells that are not busy, then some drawn by chance."""
        while self._first < len(self._ordered) and self._ordered[self._first] in self._busy:
            self._first += 1
        tried = 0
        for at in range(self._first, len(self._ordered)):
            if tried == PARTNERS_TRIED:
                break
            if self._ordered[at] not in self._busy:
                tried += 1
                yield self._ordered[at]
        else:
            return
        for _ in range(PARTNERS_TRIED):
            cell = self._ordered[chance.randrange(len(self._ordered))]
            if cell not in self._busy:
                yield cell


def _best_slot(
    state: _Swarm, giver: int, taker: int, held: Iterable[tuple[HeldRing, int]]
) -> tuple[HeldRing, int] | None:
    """The slot of a cell whose move to another brings both nearest to the mean."""
    cells = state.cells
    gives, gets = cells[giver], cells[taker]
    above, below = state.excess[giver], -state.excess[taker]
    best = None
    least_off = float("inf")
    for ring, slot in held:
        state.work += 1
        slot_bytes = state.slot_bytes[ring.ring]
        # Nearer to the mean, both of them, and not far beyond it.
        if (
            ring.ring in state.moved
            or not slot_bytes < min(above + min(above, OVERSHOOT * gives.capacity_bytes),
                                    below + min(below, OVERSHOOT * gets.capacity_bytes))
            or gets.free_bytes - slot_bytes < limits.CELL_LEAST_FREE_BYTES
            or taker in ring.cells
            or not admits(ring.fence, gets.site)
        ):  # fmt: skip
            continue
        off = max(
            abs(above - slot_bytes) / max(1, gives.capacity_bytes),
            abs(below - slot_bytes) / max(1, gets.capacity_bytes),
        )
        if off < least_off and _keeps_spread(state, ring, giver, taker):
            best, least_off = (ring, slot), off
    return best


def _keeps_spread(state: _Swarm, ring: HeldRing, giver: int, taker: int) -> bool:
    """Return whether a slot's move between two cells makes its ring no more crowded."""
    gives, gets = state.cells[giver], state.cells[taker]
    sites, owners = state.counts_of(ring)
    site_limit, owner_limit = state.limits_of(ring)
    return (gives.site == gets.site or sites[gets.site] < site_limit) and (
        not gets.owner or gives.owner == gets.owner or owners[gets.owner] < owner_limit
    )
