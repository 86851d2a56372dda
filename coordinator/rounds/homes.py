"""Segments that were written in a fallback go back to their home class.

Source: docs/placement.md, "Return to the home class".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import trio

from common import limits
from common.ids import SegmentId
from common.ports import Sql, World
from coordinator.parts import CoordinatorParts
from coordinator.policy.health import WRITABLE
from coordinator.policy.history import Standing
from coordinator.policy.homes import HomeClass, choose_ring, rotated, seen_since, whole_rings
from coordinator.policy.placement import RingPlan
from coordinator.store import homes, rings
from coordinator.store.homes import Homing
from coordinator.store.rings import Ring

HOMES_S: Final = 5.0
LOOK_AGAIN_S: Final = 600.0
"""Time after which it is looked for segments that other processes on the store took in."""
GIVEN_UP_AFTER_S: Final = 600.0
"""A segment that is not at home after so long is tried again after the others."""


class HomesRound:
    """Chooses rings for segments that can go home, a bounded number at a time, and notifies the
    queue of what is missing when cells have shards to make."""

    def __init__(self, parts: CoordinatorParts, world: World) -> None:
        self._store = parts.store
        self._leadership = parts.leadership
        self._membership = parts.membership
        self._placement = parts.placement
        self._history = parts.history
        self._queues = parts.queues
        self._clock = world.clock
        self._chance = world.chance
        self._log = world.log
        self._since: dict[tuple[SegmentId, int], float] = {}
        """The time at which each segment that is on its way to a ring was first seen on it."""

    async def run(self) -> None:
        """Give up ways that lead nowhere, and choose rings for others."""
        await self._leadership.wait()
        await self._queues.homes.wait(trio.current_time() + LOOK_AGAIN_S)
        if self._history.standing is not Standing.CURRENT:
            self._queues.homes.tell()
            return
        most = limits.MAX_SEGMENTS_GOING_HOME
        fallen = {
            each.storage_class.number for each in self._placement.classes if each.has_fallen_back
        }
        if fallen:
            self._queues.homes.tell()  # looked at again when their cells may be back
        going, waiting = await self._store.read(
            lambda sql: (
                homes.of_ring(sql, chosen=True, limit=most, without=fallen),
                homes.of_ring(sql, chosen=False, limit=most, without=fallen),
            )
        )
        now = trio.current_time()
        self._since = seen_since(self._since, ((each.segment_id, each.ring) for each in going), now)
        if not (going or waiting):
            return
        self._queues.homes.tell()
        whole = self._whole_rings()
        await self._take_in([each for each in going if self._is_made(each)])
        await self._give_up([each for each in going if self._is_lost(each, whole)])
        await self._choose(waiting[: most - len(going)], whole)

    def _whole_rings(self) -> dict[HomeClass, dict[int, tuple[int, ...]]]:
        """The rings whose cells can all be written to, by class."""
        states = self._membership.states(trio.current_time())
        writable = {cell for cell, state in states.items() if state in WRITABLE}
        return whole_rings((ring.home() for ring in self._membership.rings.values()), writable)

    def _home_of(self, homing: Homing) -> HomeClass | None:
        """The class that a segment goes to; None where its ring is not known yet."""
        former = self._membership.rings.get(homing.former)
        return None if former is None else HomeClass(former.storage_class, homing.k, homing.n)

    def _is_made(self, homing: Homing) -> bool:
        ring = self._membership.rings.get(homing.ring)
        return ring is not None and all(
            cell in homing.made.get(slot, ()) for slot, cell in enumerate(ring.cells)
        )

    async def _take_in(self, made: list[Homing]) -> None:
        """Bring home what was made whole without anybody's notice: by two cells at the same time,
        or before its ring was chosen."""
        if not made:
            return

        def take_in(sql: Sql) -> int:
            return sum(homes.arrive(sql, each.segment_id) for each in made)

        if await self._leadership.transact(take_in):
            self._queues.deletes.tell()

    def _is_lost(
        self, homing: Homing, whole: Mapping[HomeClass, Mapping[int, tuple[int, ...]]]
    ) -> bool:
        since = self._since[homing.segment_id, homing.ring]
        ring, home = self._membership.rings.get(homing.ring), self._home_of(homing)
        return (
            ring is None
            or home is None
            or homing.ring not in whole.get(home, ())
            or ring.revision != homing.revision
            or trio.current_time() - since > GIVEN_UP_AFTER_S
        )

    async def _give_up(self, lost: list[Homing]) -> None:
        if not lost:
            return

        def give_up(sql: Sql) -> None:
            for each in lost:
                homes.give_up(sql, each.segment_id)

        await self._leadership.transact(give_up)

    async def _choose(
        self, waiting: list[Homing], whole: dict[HomeClass, dict[int, tuple[int, ...]]]
    ) -> None:
        chosen: list[tuple[SegmentId, int]] = []
        for each in waiting:
            home = self._home_of(each)
            fitting = None if home is None else whole.get(home)
            former = self._membership.rings.get(each.former)
            if not fitting or former is None:
                continue
            ring = choose_ring(former.cells, each.made, fitting, self._chance)
            if ring is None:
                cells = rotated(former.cells, next(iter(fitting.values())))
                ring = await self._add_ring(cells, self._membership.rings[next(iter(fitting))])
                fitting[ring] = cells
            chosen.append((each.segment_id, ring))
        if not chosen:
            return

        def choose(sql: Sql) -> int:
            return sum(
                homes.choose(sql, segment_id, ring) and not homes.arrive(sql, segment_id)
                for segment_id, ring in chosen
            )

        if await self._leadership.transact(choose):
            self._queues.missing.tell()
        self._queues.deletes.tell()

    async def _add_ring(self, cells: tuple[int, ...], like: Ring) -> int:
        """Make a ring of the cells of another in another order."""
        now_ms = int(self._clock.now() * 1000)
        plan = RingPlan((cells,), (), ())
        (added,) = await self._leadership.transact(
            lambda sql: rings.apply(sql, plan, like.redundancy, now_ms, like.storage_class)
        )
        self._membership.change_rings([added])
        self._log.info("rings_changed", new=1, reopened=0, closed=0)
        return added.ring
