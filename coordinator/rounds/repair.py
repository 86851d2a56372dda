"""Moves of slots: away from cells that are lost or leave, back to those that return, and from
fuller cells to emptier ones.

Nothing of it is remembered here: each look begins with the states of cells and the rings as they
are. Plans are made by a worker, from a snapshot that nothing changes, while heartbeats and
grants go on; of a plan only what still holds then is carried out, and the rest is planned again.

Source: docs/repair.md, "What moves where"; docs/decisions/0031-repair.md.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from functools import partial
from typing import Final

import trio

from common import limits
from common.ports import Chance, Sql, World
from coordinator.parts import CoordinatorParts
from coordinator.policy.evening import even_limit, plan_even
from coordinator.policy.history import Standing
from coordinator.policy.moves import (
    Cells,
    Filled,
    HeldRing,
    Move,
    MovePlan,
    RingSlot,
    kept_source,
    may_leave_barred,
    may_return,
    plan_moves,
    plan_returns,
    still_holds,
)
from coordinator.store import missing, moves, rings
from coordinator.store.rings import Ring
from coordinator.views import Views, place_view_of

REPAIR_S: Final = 2.0
EVEN_EVERY_S: Final = 600.0
"""Pause between looks at how evenly cells are used, which read all segments."""


LOOKED_AT_AT_ONCE: Final = 2_000
"""Cells that are looked at in one step of the event loop, about a millisecond."""


class RepairRound:
    """Plans moves of slots and carries them out, a bounded number in a transaction."""

    def __init__(self, parts: CoordinatorParts, world: World) -> None:
        self.nowhere: tuple[RingSlot, ...] = ()
        """Slots that should move and have no cell to go to, as last planned."""
        self._store = parts.store
        self._leadership = parts.leadership
        self._membership = parts.membership
        self._placement = parts.placement
        self._history = parts.history
        self._queues = parts.queues
        self._workers = world.workers
        self._clock = world.clock
        self._chance = world.chance
        self._log = world.log
        self._seen = Views(place_view_of)
        self._even_at = -math.inf
        self._settled: object = None
        """The rings, departures and cells with room of the last plan, where that moved nothing."""

    async def run(self) -> bool:
        """Look once. Returns whether there is more to move at once."""
        await self._leadership.wait()
        if self._history.standing is Standing.BEHIND:
            return False  # it knows neither all rings nor all segments
        members = self._membership
        has_sources = any(ring.sources for ring in members.rings.values())
        now = trio.current_time()
        has_due = members.departures or members.barred
        if not (has_due or has_sources or now >= self._even_at):
            self.nowhere = ()
            return False
        if has_sources:
            await self._finish()
        cells = await self._look()
        await self._give_back(cells)
        has_more = await self._leave(cells)
        if not has_more:
            await self._even(cells)
        return has_more

    async def _look(self) -> Cells:
        """Return all cells as they are now, in a snapshot that stays as it is."""
        members = self._membership
        states = members.conclude(trio.current_time())
        cells = {}
        for number, cell in list(members.cells.items()):
            state = states.get(number)
            if state is not None:  # else it joined meanwhile
                cells[number] = self._seen.of(cell, state, members.hazards.get(number))
            if not len(cells) % LOOKED_AT_AT_ONCE:
                await trio.lowlevel.checkpoint()
        return cells

    def _now(self, numbers: Iterable[int]) -> Cells:
        """Return some cells as they are now."""
        members = self._membership
        now = trio.current_time()
        found = {}
        for number in numbers:
            cell = members.cells[number]
            # Of lost and silent cells, what all of them together show is what was concluded.
            found[number] = place_view_of(
                cell, members.state(cell, now), members.hazards.get(number)
            )
        return found

    async def _finish(self) -> None:
        """Forget the sources of slots that are filled."""
        finished = await self._leadership.transact(moves.finish)
        if finished:
            await self._changed(finished)
            self._log.info("moves_finished", rings=len(finished))

    async def _give_back(self, cells: Cells) -> None:
        """Give slots back to cells that have returned, where that is less to fill."""
        returned = [
            (ring, slot)
            for ring in (each.held for each in self._membership.rings.values() if each.sources)
            for slot in ring.sources
            if all(cell in cells for cell in ring.cells) and may_return(ring, slot, cells)
        ]
        if not returned:
            return

        def count(sql: Sql) -> dict[RingSlot, Filled]:
            return {
                RingSlot(ring.ring, slot): Filled(
                    missing.count_of_slot(sql, ring.ring, slot), rings.segments_of(sql, ring.ring)
                )
                for ring, slot in returned
            }

        filled = await self._store.read(count)
        plan = plan_returns([ring for ring, _ in returned], cells, filled)
        if not plan.back:
            return
        now_ms = self._now_ms()

        def carry_out(sql: Sql) -> None:
            for move in plan.back:
                moves.give_back(sql, move.ring, move.slot, now_ms)

        await self._leadership.transact(carry_out)
        await self._changed({move.ring for move in plan.back})
        self._log.info("slots_given_back", slots=len(plan.back))

    async def _leave(self, cells: Cells) -> bool:
        """Move slots away from cells that are lost or leave, and from suspended ones that lack
        shards of them. Returns whether there is more."""
        members = self._membership
        if not (members.departures or members.barred):
            self.nowhere = ()
            return False
        rings_then, departures = members.rings, members.departures
        concerned = departures.keys() | members.barred
        held, due, places = await self._workers.run(partial(_due, rings_then, concerned, cells))
        lacking = await self._lacking(rings_then, members.barred)
        seen = (rings_then, departures, places, lacking)
        if self._settled == seen:
            return False  # what had no place has none now
        limit = limits.MAX_MOVES_PER_ROUND
        slot_bytes = await self._store.read(partial(rings.slot_bytes_of, numbers=due))
        plan = await self._workers.run(
            partial(
                plan_moves,
                held,
                cells,
                self._chance,
                limit=limit,
                slot_bytes=slot_bytes,
                lacking=lacking,
            )
        )
        self._settled = None if plan.moves else seen
        if len(plan.nowhere) != len(self.nowhere) and plan.nowhere:
            self._log.warning("slots_nowhere", slots=len(plan.nowhere))
        self.nowhere = plan.nowhere
        is_whole = await self._carry_out(plan.moves, rings_then)
        return len(plan.moves) == limit or not is_whole

    async def _lacking(
        self, found: Mapping[int, Ring], barred: Collection[int]
    ) -> dict[int, tuple[int, ...]]:
        """The slots of suspended cells that lack shards, by ring."""
        members = self._membership
        numbers = [number for cell in barred for number, _ in members.slots_of(cell)]
        present = sum(not cell.is_removed for cell in members.cells.values())
        if not numbers or not may_leave_barred(len(barred), present):
            return {}
        lacking = await self._store.read(partial(missing.slots_lacking, rings=sorted(set(numbers))))
        by_ring = {
            number: tuple(slot for slot in slots if found[number].cells[slot] in barred)
            for number, slots in lacking.items()
            if number in found
        }
        return {number: slots for number, slots in by_ring.items() if slots}

    async def _even(self, cells: Cells) -> None:
        """Move slots from fuller cells to emptier ones, a few at a time."""
        now = trio.current_time()
        if now < self._even_at:
            return
        self._even_at = now + EVEN_EVERY_S
        slot_bytes = await self._store.read(rings.slot_bytes)
        rings_then = self._membership.rings
        limit = min(even_limit(len(cells)), limits.MAX_MOVES_PER_ROUND)
        plan = await self._workers.run(
            partial(_plan_even, rings_then, cells, slot_bytes, self._chance, limit)
        )
        if not await self._carry_out(plan.moves, rings_then):
            self._even_at = -math.inf

    async def _carry_out(self, planned: Iterable[Move], rings_then: Mapping[int, Ring]) -> bool:
        """Carry out moves that still hold, one after another.

        Args:
            rings_then: all rings, when the moves were planned.

        Returns:
            Whether all of them did: else it is to be planned again.
        """
        members = self._membership
        expected: dict[int, HeldRing] = {}
        is_whole = True
        for move in planned:
            planned_from = expected.get(move.ring) or rings_then[move.ring].held
            known = members.rings.get(move.ring)
            ring = None if known is None else known.held
            former = {source.cell for source in planned_from.sources.values()}
            cells = self._now({*planned_from.cells, *former, move.target})
            if ring is None or not still_holds(move, planned_from, ring, cells):
                is_whole = False
                continue
            kept = kept_source(ring, move, cells)
            is_source_gone = members.cells[move.source].is_removed
            begin = partial(
                moves.begin,
                move=move,
                now_ms=self._now_ms(),
                is_source_gone=is_source_gone,
                keeps_source=kept.cell != move.source,
            )
            # One at a time: it makes a row for each segment of the ring, and commits wait for it.
            has_begun = await self._leadership.transact(begin)
            # If not, the store has another ring than the one that is known here.
            await self._changed([move.ring])
            if not has_begun:
                is_whole = False
                continue
            expected[move.ring] = members.rings[move.ring].held
            self._log.info(
                "slot_moved",
                ring=move.ring,
                slot=move.slot,
                reason=move.reason,
                source=self._name(move.source),
                target=self._name(move.target),
            )
        return is_whole

    async def _changed(self, numbers: Iterable[int]) -> None:
        """Take in that rings have changed in the store, and wake the holders of what is missing."""
        changed = await self._store.read(partial(rings.load_some, numbers=sorted(numbers)))
        self._membership.change_rings(changed)
        self._placement.refresh(trio.current_time())
        self._queues.missing.tell()

    def _name(self, cell: int) -> str:
        return self._membership.cells[cell].cell_id.hex()[:12]

    def _now_ms(self) -> int:
        return int(self._clock.now() * 1000)


def _due(
    found: Mapping[int, Ring], leaving: Collection[int], cells: Cells
) -> tuple[list[HeldRing], list[int], frozenset[int]]:
    """All rings as moves see them, the numbers of those with cells that leave, and the cells that
    have room for slots."""
    held = _held(found, cells)
    gone = set(leaving)
    due = [ring.ring for ring in held if not gone.isdisjoint(ring.cells)]
    places = frozenset(
        number
        for number, cell in cells.items()
        if cell.writable and cell.free_bytes >= limits.CELL_LEAST_FREE_BYTES
    )
    return held, due, places


def _plan_even(
    found: Mapping[int, Ring],
    cells: Cells,
    slot_bytes: Mapping[int, int],
    chance: Chance,
    limit: int,
) -> MovePlan:
    return plan_even(_held(found, cells), cells, slot_bytes, chance, limit=limit)


def _held(found: Mapping[int, Ring], cells: Cells) -> list[HeldRing]:
    """The rings as moves see them, but those of cells that joined after the snapshot was taken."""
    return [ring.held for ring in found.values() if all(cell in cells for cell in ring.cells)]
