"""Moves of slots: away from cells that are lost or leave, back to those that return, and from
fuller cells to emptier ones.

Nothing of it is remembered here: each look begins with the states of cells and the rings as they
are.

Source: docs/repair.md, "What moves where"; docs/decisions/0031-repair.md.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Final

import trio

from common import limits
from common.ports import Sql, World
from coordinator.parts import CoordinatorParts
from coordinator.policy.evening import even_limit, plan_even
from coordinator.policy.hazard import Hazard
from coordinator.policy.health import READABLE, WRITABLE, CellState, leaves
from coordinator.policy.history import Standing
from coordinator.policy.moves import (
    Filled,
    HeldRing,
    Move,
    MoveReason,
    PlaceView,
    RingSlot,
    kept_source,
    may_return,
    plan_moves,
    plan_returns,
)
from coordinator.store import missing, moves, rings
from coordinator.store.cells import Cell

REPAIR_S: Final = 2.0
EVEN_EVERY_S: Final = 600.0
"""Pause between looks at how evenly cells are used, which read all segments."""


SHARE_OF_FAILING_DISKS: Final = 1 / 16
"""Of the free space of a cell that should be drained: its disk is better than no place."""


def view_of(cell: Cell, state: CellState, hazard: Hazard | None) -> PlaceView:
    """Return a cell as moves see it. One whose disk has signs of failing offers less of its free
    space."""
    departure = leaves(state)
    share = 1.0 if hazard is None else max(hazard.weight, SHARE_OF_FAILING_DISKS)
    return PlaceView(
        cell.cell,
        cell.site,
        cell.owner,
        cell.facts.capacity_bytes,
        int(share * cell.facts.free_bytes),
        writable=state in WRITABLE,
        readable=state in READABLE,
        leaves=None if departure is None else MoveReason(departure.value),
    )


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
        self._clock = world.clock
        self._chance = world.chance
        self._log = world.log
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
        if not (members.departures or has_sources or now >= self._even_at):
            self.nowhere = ()
            return False
        if has_sources:
            await self._finish()
        states = members.conclude(now)
        cells = {
            number: view_of(cell, states[number], members.hazards.get(number))
            for number, cell in members.cells.items()
        }
        await self._give_back(cells)
        has_more = await self._leave(cells, states)
        if not has_more:
            await self._even(cells, states)
        return has_more

    def _held(self) -> list[HeldRing]:
        return [ring.held() for ring in self._membership.rings.values()]

    async def _finish(self) -> None:
        """Forget the sources of slots that are filled."""
        finished = await self._leadership.transact(moves.finish)
        if finished:
            await self._changed(finished)
            self._log.info("moves_finished", rings=len(finished))

    async def _give_back(self, cells: Mapping[int, PlaceView]) -> None:
        """Give slots back to cells that have returned, where that is less to fill."""
        returned = [
            (ring, slot)
            for ring in self._held()
            for slot in ring.sources
            if may_return(ring, slot, cells)
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

    async def _leave(self, cells: Mapping[int, PlaceView], states: Mapping[int, CellState]) -> bool:
        """Move slots away from cells that are lost or leave. Returns whether there is more."""
        members = self._membership
        if not members.departures:
            self.nowhere = ()
            return False
        places = frozenset(
            number
            for number, cell in cells.items()
            if cell.writable and cell.free_bytes >= limits.CELL_LEAST_FREE_BYTES
        )
        seen = (members.rings, members.departures, places)
        if self._settled == seen:
            return False  # what had no place has none now
        limit = limits.MAX_MOVES_PER_ROUND
        held = self._held()
        leaving = members.departures.keys()
        due = [ring.ring for ring in held if not leaving.isdisjoint(ring.cells)]
        slot_bytes = await self._store.read(partial(rings.slot_bytes_of, numbers=due))
        plan = plan_moves(held, cells, self._chance, limit=limit, slot_bytes=slot_bytes)
        self._settled = None if plan.moves else seen
        if len(plan.nowhere) != len(self.nowhere) and plan.nowhere:
            self._log.warning("slots_nowhere", slots=len(plan.nowhere))
        self.nowhere = plan.nowhere
        await self._carry_out(plan.moves, cells, states)
        return len(plan.moves) == limit

    async def _even(self, cells: Mapping[int, PlaceView], states: Mapping[int, CellState]) -> None:
        """Move slots from fuller cells to emptier ones, a few at a time."""
        now = trio.current_time()
        if now < self._even_at:
            return
        self._even_at = now + EVEN_EVERY_S
        slot_bytes = await self._store.read(rings.slot_bytes)
        limit = min(even_limit(len(cells)), limits.MAX_MOVES_PER_ROUND)
        plan = plan_even(self._held(), cells, slot_bytes, self._chance, limit=limit)
        await self._carry_out(plan.moves, cells, states)

    async def _carry_out(
        self,
        planned: Iterable[Move],
        cells: Mapping[int, PlaceView],
        states: Mapping[int, CellState],
    ) -> None:
        for move in planned:
            ring = self._membership.rings[move.ring]
            kept = kept_source(ring.held(), move, cells)
            begin = partial(
                moves.begin,
                move=move,
                now_ms=self._now_ms(),
                is_source_gone=states[move.source] is CellState.REMOVED,
                keeps_source=kept.cell != move.source,
            )
            # One at a time: it makes a row for each segment of the ring, and commits wait for it.
            if await self._leadership.transact(begin):
                await self._changed([move.ring])
                self._log.info(
                    "slot_moved",
                    ring=move.ring,
                    slot=move.slot,
                    reason=move.reason,
                    source=self._name(move.source),
                    target=self._name(move.target),
                )

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
