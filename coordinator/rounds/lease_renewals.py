"""Renewals of leases, written for many at a time.

Source: docs/placement.md, "Rounds".
"""

from __future__ import annotations

from typing import Final

import trio

from common.ports import Store
from coordinator.store import leases
from coordinator.store.leases import LeaseBook

LEASE_RENEWALS_S: Final = 1.0


class LeaseRenewalsRound:
    """Writes the renewals of leases."""

    def __init__(self, store: Store, lease_book: LeaseBook) -> None:
        self._store = store
        self._leases = lease_book

    async def run(self) -> None:
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
