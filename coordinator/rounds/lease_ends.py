"""Ends of the leases of gateways that are gone.

Source: docs/placement.md, "Rounds".
"""

from __future__ import annotations

from typing import Final

import trio

from common.ports import Log, Store
from coordinator.store import leases
from coordinator.store.history import StoreHistory
from coordinator.store.leadership import Leadership
from coordinator.store.leases import LeaseBook

LEASE_ENDS_S: Final = 5.0


class LeaseEndsRound:
    """Ends leases."""

    def __init__(
        self,
        store: Store,
        leadership: Leadership,
        lease_book: LeaseBook,
        history: StoreHistory,
        log: Log,
    ) -> None:
        self._store = store
        self._leadership = leadership
        self._leases = lease_book
        self._history = history
        self._log = log

    async def run(self) -> None:
        """Wait until leases of gateways that are gone may end, and end them durably."""
        await self._leadership.wait()
        await self._history.wait_may_destroy()
        until = self._leases.next_end(trio.current_time())
        if self._leadership.is_shared:
            until = min(until, await self._observe())
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

    async def _observe(self) -> float:
        """Take in what other processes did to leases; returns when to look again."""
        known = self._leases.numbers()
        living = await self._store.read(leases.alive)
        now = trio.current_time()
        self._leases.observe(living, known, now)
        return now + self._leases.ttl_s * leases.SAVED_EVERY

    async def end_all(self) -> None:
        """End every lease durably; gateways that live open others."""
        ending = self._leases.take_all()
        await self._store.transact(leases.end_all)
        self._leases.ended(ending)
