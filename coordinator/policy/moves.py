"""Moves of slots: which slot of a ring goes from which cell to which.

Pure: snapshots go in, moves come out. Moves that even out use are in ``evening.py``; the choice of
a cell is in ``targets.py``.

Source: docs/placement.md, "Moves"; docs/decisions/0031-repair.md.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import field
from enum import StrEnum
from itertools import chain
from typing import Final, NamedTuple

from common import limits
from common.data_classes import dataclass
from common.ports import Chance
from coordinator.policy.fence import EVERYWHERE, Fence, admits
from coordinator.policy.targets import Surroundings, TargetCell, Targets

BARRED_SHARE: Final = 1 / 8
"""Share of the cells that may be suspended while slots leave them."""
COUNTED_AT_ONCE: Final = 1000
"""Rings whose slots are counted in one call."""


class MoveReason(StrEnum):
    """The cause of a move, by which it is decided what becomes of it when the source returns."""

    LOST = "lost"
    """The source is lost or was removed: a source that returns is taken back where that is less."""
    DRAIN = "drain"
    """The source is leaving, or is not trusted with the shards that the slot lacks."""
    EVEN = "even"
    """The source is fuller than others, or its ring is crowded on one site."""


@dataclass(frozen=True, slots=True)
class Move:
    """One slot to be moved: ``target`` becomes its holder, ``source`` was."""

    ring: int
    slot: int
    source: int
    target: int
    reason: MoveReason


@dataclass(frozen=True, slots=True)
class FormerHolder:
    """The former holder of a slot, which may have the shards that the holder still misses."""

    cell: int
    reason: MoveReason


@dataclass(frozen=True, slots=True)
class HeldRing:
    """A ring as moves see it: the holder of each slot, and by slot the source of a move that is
    not finished. ``fence``: the sites that its slots are kept on."""

    ring: int
    k: int
    cells: tuple[int, ...]
    sources: Mapping[int, FormerHolder] = field(default_factory=dict)
    fence: Fence = EVERYWHERE


@dataclass(frozen=True, slots=True)
class PlaceView:
    """A cell as moves see it.

    ``owner``: empty if the cell is its own owner. ``free_bytes``: less what it has yet to fill.
    ``writable``: takes new shards. ``readable``: may be expected to answer. ``leaves``: LOST if it
    is lost or was removed, DRAIN if it is draining, else None. A cell that is only silent keeps its
    slots: it is neither writable nor readable, and does not leave. ``barred``: suspended: it keeps
    what it has, and gets nothing.
    """

    cell: int
    site: str
    owner: str
    capacity_bytes: int
    free_bytes: int
    writable: bool
    readable: bool
    leaves: MoveReason | None = None
    barred: bool = False


class RingSlot(NamedTuple):
    """A slot of a ring."""

    ring: int
    slot: int


@dataclass(frozen=True, slots=True)
class MovePlan:
    """``moves``: what is to be moved now, most urgent first. ``nowhere``: slots that should move
    and have no cell to go to."""

    moves: tuple[Move, ...] = ()
    nowhere: tuple[RingSlot, ...] = ()


@dataclass(frozen=True, slots=True)
class ReturnPlan:
    """``back``: slots that go back to their former holders, as moves. ``stay``: those whose former
    holders stay sources."""

    back: tuple[Move, ...] = ()
    stay: tuple[RingSlot, ...] = ()


@dataclass(frozen=True, slots=True)
class Filled:
    """The state of a slot that is being filled: ``missing`` of the ring's ``total`` segments lack
    their shard at the holder."""

    missing: int
    total: int


Cells = Mapping[int, PlaceView]
"""Every cell that a ring names, and those that slots may go to, by number."""


def spare_of(ring: HeldRing, cells: Cells) -> int:
    """Return the number of slots, beyond k, whose shards can all be read; negative if some segment
    may be unreadable. A slot that is being filled counts only where its source can be read, too."""
    readable = 0
    for slot, cell in enumerate(ring.cells):
        source = ring.sources.get(slot)
        readable += cells[cell].readable and (source is None or cells[source.cell].readable)
    return readable - ring.k


def can_be_filled(ring: HeldRing, cells: Cells) -> bool:
    """Return whether shards of a ring can be rebuilt now: at least k slots have a holder, or a
    source, that can be read."""
    readable = 0
    for slot, cell in enumerate(ring.cells):
        source = ring.sources.get(slot)
        readable += cells[cell].readable or (source is not None and cells[source.cell].readable)
    return readable >= ring.k


def may_return(ring: HeldRing, slot: int, cells: Cells) -> bool:
    """Return whether the former holder of a slot could hold it again: it takes shards within the
    ring's fence, does not leave, and either it was lost or leaving when the slot was moved, or the
    holder leaves now."""
    source = ring.sources.get(slot)
    if source is None:
        return False
    former = cells[source.cell]
    if former.leaves is not None or not (former.readable and former.writable):
        return False
    if not admits(ring.fence, former.site):
        return False
    return source.reason is not MoveReason.EVEN or cells[ring.cells[slot]].leaves is not None


def due_to_move(
    ring: HeldRing, slot: int, cells: Cells, *, lacks: bool = False
) -> MoveReason | None:
    """Return why a slot has to leave its holder now, or None if it does not.

    A lost holder is left at once, unless ``plan_returns`` gives the slot back, or nothing could be
    rebuilt before other cells of the ring come back: a coordinator that is cut off from most of a
    swarm must not move everything. A draining holder is left when nothing is missing in the slot,
    and while its shards can be copied. A barred one would never fill what the slot lacks, so it is
    left for that.

    Args:
        lacks: the holder lacks the shard of some segment of the slot.
    """
    holder = cells[ring.cells[slot]]
    if holder.leaves is None and holder.barred and lacks:
        return MoveReason.DRAIN if can_be_filled(ring, cells) else None
    if holder.leaves is None or may_return(ring, slot, cells):
        return None
    if holder.leaves is MoveReason.LOST:
        return MoveReason.LOST if can_be_filled(ring, cells) else None
    return None if slot in ring.sources or not holder.readable else holder.leaves


def still_holds(move: Move, planned_from: HeldRing, ring: HeldRing | None, cells: Cells) -> bool:
    """Return whether a move may be carried out though time has passed since it was planned: its
    ring is what it was, its reason still holds, and its target still takes shards and stays.

    Args:
        planned_from: the ring when the move was planned.
        ring: the ring now; None: there is none any more.
        cells: the cells of the ring, its sources and the target, as they are now.
    """
    if ring is None or ring != planned_from:
        return False
    target = cells[move.target]
    if not target.writable or target.leaves is not None:
        return False
    if move.reason is MoveReason.EVEN:
        return cells[move.source].leaves is None
    # What lacked shards then may have been found since; it is moved all the same.
    return due_to_move(ring, move.slot, cells, lacks=True) is move.reason


def may_leave_barred(barred: int, cells: int) -> bool:
    """Return whether slots may leave suspended cells for what they lack there: not while many are
    suspended. That is more likely a fault of the audits than of so many cells.

    Args:
        barred: the number of suspended cells.
        cells: the number of all cells that were not removed.
    """
    return barred <= max(1, int(cells * BARRED_SHARE))


def kept_source(ring: HeldRing, move: Move, cells: Cells) -> FormerHolder:
    """Return the source to remember when a move is carried out: the holder that is left, or the
    source that the slot has already, if that one can be read and the holder cannot."""
    source = ring.sources.get(move.slot)
    if source is None or source.cell == move.target:
        return FormerHolder(move.source, move.reason)
    has_better = cells[source.cell].readable and not cells[move.source].readable
    return source if has_better else FormerHolder(move.source, move.reason)


def plan_moves(
    rings: Iterable[HeldRing],
    cells: Cells,
    chance: Chance,
    *,
    limit: int,
    slot_bytes: Mapping[int, int] | None = None,
    lacking: Mapping[int, Collection[int]] | None = None,
) -> MovePlan:
    """Return the moves of slots whose holders are lost or draining, or are barred and lack shards.

    Rings with the least spare go first; of one ring, slots of lost holders before those of draining
    ones. Two slots of a ring are never on one cell, nor is a slot moved to an unfinished source of
    its ring. At most n - k slots of a ring get onto one site, and to one owner, where any cell for
    the slot allows that. No slot leaves the fence of its ring. A swarm in which no cell is lost or
    draining gets no moves.

    Args:
        rings: all rings that have segments or take them; read once.
        cells: see ``Cells``.
        chance: breaks ties.
        limit: moves to plan at most.
        slot_bytes: size of one slot's shards by ring, where known: room that a cell needs.
        lacking: slots that lack shards, by ring; those of barred holders count.
    """
    lacking = lacking or {}
    leaving = {number for number, cell in cells.items() if cell.leaves is not None}
    if not (leaving or lacking) or limit <= 0:
        return MovePlan()
    rings = list(rings)
    due: list[tuple[int, bool, float, HeldRing]] = []
    for ring in rings:
        lacks = lacking.get(ring.ring, ())
        if lacks or not leaving.isdisjoint(ring.cells):
            reasons = {
                due_to_move(ring, slot, cells, lacks=slot in lacks)
                for slot in range(len(ring.cells))
            }
            if reasons != {None}:
                is_drain = MoveReason.LOST not in reasons
                due.append((spare_of(ring, cells), is_drain, chance.random(), ring))
    if not due:
        return MovePlan()
    due.sort(key=lambda entry: entry[:3])
    targets = targets_of(cells, rings, chance)
    moves: list[Move] = []
    nowhere: list[RingSlot] = []
    for *_, ring in due:
        ring_bytes = slot_bytes.get(ring.ring, 0) if slot_bytes is not None else 0
        lacks = lacking.get(ring.ring, ())
        _plan_ring(ring, cells, targets, ring_bytes, lacks, moves, nowhere)
        if len(moves) >= limit:
            break
    return MovePlan(tuple(moves[:limit]), tuple(nowhere))


def targets_of(cells: Cells, rings: Iterable[HeldRing], chance: Chance) -> Targets:
    """Return the cells that slots may go to.

    Args:
        cells: see ``Cells``.
        rings: all of them, for what the cells hold.
        chance: draws, and breaks ties.
    """
    rings = list(rings)
    held: Counter[int] = Counter()
    # In pieces: one call that counts a million slots would hold the interpreter for so long.
    for first in range(0, len(rings), COUNTED_AT_ONCE):
        page = rings[first : first + COUNTED_AT_ONCE]
        held.update(chain.from_iterable(ring.cells for ring in page))
    filling = Counter(ring.cells[slot] for ring in rings for slot in ring.sources)
    return Targets(
        (
            TargetCell(
                number,
                cell.site,
                cell.owner,
                cell.capacity_bytes,
                cell.free_bytes,
                held[number],
                filling[number],
            )
            for number, cell in cells.items()
            if cell.writable and cell.leaves is None
        ),
        held.total(),
        chance,
        limits.CELL_LEAST_FREE_BYTES,
    )


def _plan_ring(
    ring: HeldRing,
    cells: Cells,
    targets: Targets,
    ring_bytes: int,
    lacks: Collection[int],
    moves: list[Move],
    nowhere: list[RingSlot],
) -> None:
    slots = range(len(ring.cells))
    due = [
        (slot, reason)
        for slot in slots
        if (reason := due_to_move(ring, slot, cells, lacks=slot in lacks)) is not None
    ]
    due.sort(key=lambda entry: entry[1] is not MoveReason.LOST)
    taken = {*ring.cells, *(source.cell for source in ring.sources.values())}
    places = []
    for slot, cell in enumerate(ring.cells):
        place = cells[cell]
        if place.leaves is not None and may_return(ring, slot, cells):
            place = cells[ring.sources[slot].cell]
        if place.leaves is None:
            places.append((place.site, place.owner))
    spread = len(ring.cells) - ring.k
    for slot, reason in due:
        around = Surroundings(places, taken, spread, spread, ring.fence)
        target = targets.choose(around, ring_bytes)
        if target is None:
            nowhere.append(RingSlot(ring.ring, slot))
            continue
        targets.take(target, ring_bytes)
        moves.append(Move(ring.ring, slot, ring.cells[slot], target, reason))
        taken.add(target)
        places.append((cells[target].site, cells[target].owner))


def plan_returns(
    rings: Iterable[HeldRing], cells: Cells, filled: Mapping[RingSlot, Filled]
) -> ReturnPlan:
    """Return which slots their former holders get back.

    A slot goes back where more of it is missing at its holder than there, or where the holder is
    itself lost or draining. Where both lack as much it stays, so that it cannot go to and fro. It
    also stays where its return would put more slots of the ring on one site than there are now and
    than should be.

    Args:
        rings: those with sources; others are passed over. One may be there several times.
        cells: see ``Cells``.
        filled: by slot, for each slot that ``may_return`` holds for; others are passed over.
    """
    back: list[Move] = []
    stay: list[RingSlot] = []
    for ring in {ring.ring: ring for ring in rings}.values():
        holders = list(ring.cells)
        for slot, source in sorted(ring.sources.items()):
            state = filled.get(RingSlot(ring.ring, slot))
            if state is None or not may_return(ring, slot, cells):
                continue
            holder = cells[holders[slot]]
            is_cheaper = state.missing > state.total - state.missing
            if holder.leaves is not None or (
                is_cheaper and not _crowds(ring, holders, slot, source.cell, cells)
            ):
                reason = holder.leaves or MoveReason.EVEN
                back.append(Move(ring.ring, slot, holder.cell, source.cell, reason))
                holders[slot] = source.cell
            else:
                stay.append(RingSlot(ring.ring, slot))
    return ReturnPlan(tuple(back), tuple(stay))


def _crowds(ring: HeldRing, holders: list[int], slot: int, target: int, cells: Cells) -> bool:
    """Return whether a site would have more slots than it should, and than another has now."""
    site = cells[target].site
    if cells[holders[slot]].site == site:
        return False
    sites = Counter(cells[cell].site for cell in holders)
    limit = max(1, len(ring.cells) - ring.k)
    return sites[site] + 1 > max(limit, sites[cells[holders[slot]].site])
