"""The periodic work of a coordinator: cells' states and rings, leases, garbage collection.

Source: docs/placement.md, "Rounds".
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import trio

from common import limits
from common.errors import AlvearyError
from common.ports import Chance, Log, Store, WallClock
from common.reasons import Refusal
from common.tasks import repeat
from coordinator.hints import LOOK_AGAIN_S, Queues
from coordinator.membership import Membership
from coordinator.placement import Placement
from coordinator.policy.history import Standing
from coordinator.readers import Readers
from coordinator.shared_cells import SharedCells
from coordinator.store import leases, order_time, purge, rings
from coordinator.store.history import StoreHistory
from coordinator.store.leadership import BEAT_S, Leadership
from coordinator.store.leases import LeaseBook
from coordinator.store.order_time import OrderTime
from coordinator.store.purge import Grace, Purged

REFRESH_S: Final = 1.0
LEASES_S: Final = 5.0
RENEWALS_S: Final = 1.0
PURGE_S: Final = 2.0
ABANDONED_LIFE_S: Final = 3600.0
"""Time for which a late commit of an abandoned segment is still known and refused by name. A
gateway's commit times out after minutes; when its lease ends, the lease refuses it anyway."""


class CoordinatorRounds:
    """The coordinator's own work.

    Args:
        leadership: of what one process does for all that share the store.
        queues: notified when there is something to purge or to delete.
        delete_grace_s: how long dropped versions can be read on.
    """

    def __init__(
        self,
        store: Store,
        leadership: Leadership,
        membership: Membership,
        placement: Placement,
        lease_book: LeaseBook,
        history: StoreHistory,
        readers: Readers,
        queues: Queues,
        kept_time: OrderTime,
        clock: WallClock,
        chance: Chance,
        log: Log,
        *,
        delete_grace_s: float,
    ) -> None:
        self._store = store
        self._leadership = leadership
        self._membership = membership
        self._placement = placement
        self._leases = lease_book
        self._history = history
        self._readers = readers
        self._queues = queues
        self._order_time = kept_time
        self._clock = clock
        self._chance = chance
        self._log = log
        self._dropped = Grace(delete_grace_s)
        self._abandoned = Grace(ABANDONED_LIFE_S)

    async def run(self) -> None:
        """Everything, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._repeat, "refresh", self.refresh, REFRESH_S)
            if self._leadership.is_shared:
                nursery.start_soon(self._repeat, "leadership", self._leadership.keep, BEAT_S)
                shared = SharedCells(self._store, self._membership, self._placement)
                nursery.start_soon(self._repeat, "shared_cells", shared.keep, 0.0)
            nursery.start_soon(self._repeat, "leases", self.end_leases, LEASES_S)
            nursery.start_soon(self._repeat, "renewals", self.save_renewals, RENEWALS_S)
            nursery.start_soon(self._repeat, "purge", self.purge, PURGE_S)
            nursery.start_soon(
                self._repeat, "order_time", self.keep_order_time, limits.ORDER_TIME_KEPT_EVERY_S
            )

    async def _repeat(self, name: str, work: Callable[[], Awaitable[None]], every_s: float) -> None:
        await repeat(name, work, lambda: every_s, log=self._log, log_failure=self._log_failure)

    def _log_failure(self, name: str, error: AlvearyError) -> None:
        if error.reason != Refusal.NOT_LEADER:  # another coordinator does this work
            self._log.error(f"{name}_failed", error=str(error))

    async def refresh(self) -> None:
        """Wait until a cell has changed or may be silent; look at the cells, and plan rings when
        those that can be written to have changed."""
        placement = self._placement
        if not (placement.is_plan_due and self._leadership.leads):
            with trio.move_on_at(placement.next_refresh(trio.current_time())):
                await placement.changed.wait()
        placement.refresh(trio.current_time())
        if placement.is_plan_due and self._leadership.leads:
            await self._plan()

    async def _plan(self) -> None:
        if self._history.standing is Standing.BEHIND:
            return  # rings that only an old copy of the store would know
        self._placement.is_plan_due = False
        plan = self._placement.plan(self._chance)
        if not (plan.new or plan.reopen or plan.close):
            return
        now_ms = int(self._clock.now() * 1000)
        redundancy = self._placement.redundancy
        try:
            await self._leadership.transact(lambda sql: rings.apply(sql, plan, redundancy, now_ms))
        except Exception:
            self._placement.is_plan_due = True
            raise
        self._membership.set_rings(await self._store.read(rings.load))
        self._placement.refresh(trio.current_time())
        self._log.info(
            "rings_changed", new=len(plan.new), reopened=len(plan.reopen), closed=len(plan.close)
        )

    async def end_leases(self) -> None:
        """Wait until leases of gateways that are gone may end, and end them durably."""
        await self._leadership.wait()
        await self._history.wait_may_destroy()
        until = self._leases.next_end(trio.current_time())
        if self._leadership.is_shared:
            until = min(until, await self._observe_leases())
        await trio.sleep_until(until)
        if not self._history.may_destroy(trio.current_time()):
            return
        expired = self._leases.take_expired(trio.current_time())
        if expired:
            silent = self._leases.silent(expired)
            renewed = await self._leadership.transact(lambda sql: leases.end_silent(sql, silent))
            self._leases.renewed_elsewhere(renewed, trio.current_time())
            self._leases.ended(expired)
            if len(expired) > len(renewed):
                self._log.info("leases_ended", leases=len(expired) - len(renewed))

    async def _observe_leases(self) -> float:
        """Take in what other processes did to leases; returns when to look again."""
        known = self._leases.numbers()
        living = await self._store.read(leases.alive)
        now = trio.current_time()
        self._leases.observe(living, known, now)
        return now + self._leases.ttl_s * leases.SAVED_EVERY

    async def end_all_leases(self) -> None:
        """End every lease durably; gateways that live open others."""
        ending = self._leases.take_all()
        await self._store.transact(leases.end_all)
        self._leases.ended(ending)

    async def save_renewals(self) -> None:
        """Wait until renewals of leases are to be written, and write them."""
        await self._leases.wait_unsaved()
        now = trio.current_time()
        taken = self._leases.take_unsaved(now)
        try:
            renewals = await self._store.transact(lambda sql: leases.renew(sql, taken))
        except BaseException:
            self._leases.not_saved(taken)
            raise
        self._leases.saved(taken, renewals, now)

    async def keep_order_time(self) -> None:
        """Keep order time, if orders were issued since it was last kept."""
        to_keep = self._order_time.to_keep
        if to_keep is not None:
            await self._store.transact(lambda sql: order_time.keep(sql, to_keep))
            self._order_time.kept(to_keep)

    async def purge(self) -> None:
        """Wait until something was dropped or a grace is over; purge what is due, a bounded
        transaction at a time."""
        await self._leadership.wait()
        await self._history.wait_may_destroy()
        await self._queues.dropped.wait(
            min(self._dropped.next_end, trio.current_time() + LOOK_AGAIN_S)
        )
        last_dropped, last_abandoned = await self._store.read(
            lambda sql: (purge.last_dropped(sql), purge.last_abandoned(sql))
        )
        now = trio.current_time()
        due = self._dropped.due(now, last_dropped)
        if due and last_dropped:
            while self._history.may_destroy(trio.current_time()):
                if not (await self._purge_some(due)).more:
                    break
                await trio.lowlevel.checkpoint()
        forgotten = self._abandoned.due(now, last_abandoned)
        if forgotten and last_abandoned:
            await self._leadership.transact(lambda sql: purge.forget_abandoned(sql, forgotten))

    async def _purge_some(self, due: int) -> Purged:
        held = self._readers.held()
        purged = await self._leadership.transact(lambda sql: purge.purge(sql, due, held))
        if purged.segments:
            self._queues.deletes.tell()
        return purged
