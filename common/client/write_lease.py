"""The write lease of a process, and the versions that it keeps from being deleted.

Source: docs/data-path.md, "Talking to coordinators".
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any, Final

import trio

from common import limits
from common.errors import AlvearyError, OutcomeUnknown, Unavailable
from common.ids import VersionId
from common.rpc.protocol.positions import Known
from common.wire.messages.writing import Lease, LeaseRenew

RENEW_AGAIN_S: Final = 1.0
"""After a renewal that no coordinator answered."""
COME_BACK_EVERY_S: Final = 5.0
"""Interval at which a gateway whose lease ended while no coordinator answered tries to open
another."""
LEASE_MARGIN_S: Final = 5.0
"""Treat the lease as expired this long before it expires, so that nothing is written under a
lease that the coordinator has already ended."""


class WriteLease:
    """Segments granted under it may be committed while it lives.

    Args:
        call: makes a request of a live coordinator.
        known: how far the coordinators' store was seen to be.
    """

    def __init__(self, call: Callable[[LeaseRenew], Awaitable[Any]], known: Known) -> None:
        self._call = call
        self._known = known
        self._number = 0
        self._ends_at = 0.0
        self._renew_at = 0.0
        self._renewing = trio.Lock()
        self._dropped = trio.Event()
        self._is_cut = False
        """The lease was lost since no coordinator answered."""
        self._reading: dict[VersionId, list[float]] = {}
        self._reading_every_s = limits.READING_TOLD_EVERY_S
        self._reading_begun = trio.Event()

    async def number(self) -> int:
        """Return the number of a living lease; open one when there is none.

        Raises:
            Unavailable: no coordinator answered.
        """
        if self._number and trio.current_time() < self._ends_at:
            return self._number
        async with self._renewing:
            if not self._number or trio.current_time() >= self._ends_at:
                await self._renew(0)
            return self._number

    def is_current(self, lease: int) -> bool:
        """Return whether what was granted under this lease may still be committed, as far as known
        here."""
        return lease == self._number and trio.current_time() < self._ends_at

    def has_ended(self, lease: int) -> None:
        """Drop a lease that a coordinator says has ended: the next :meth:`number` opens another."""
        if lease == self._number:
            self._number = 0
            self._dropped.set()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep the lease alive, and what is being read, until cancelled. The lease is renewed at a
        third of its life; one that ended is replaced when it is next needed."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._keep)
            nursery.start_soon(self._keep_reading)
            task_status.started()

    async def _keep(self) -> None:
        while True:
            self._dropped = trio.Event()
            now = trio.current_time()
            if self._number and now >= self._renew_at:
                await self._keep_alive()
            elif self._number:
                with trio.move_on_at(self._renew_at):
                    await self._dropped.wait()
            elif self._is_cut:
                await self._come_back()
            else:
                await self._dropped.wait()

    async def _come_back(self) -> None:
        """Open a lease as soon as a coordinator answers again, needed or not: it may run on an
        older store, and nobody else may be left to say so."""
        async with self._renewing:
            try:
                if not self._number:
                    await self._renew(0)
                self._is_cut = False
            except (Unavailable, OutcomeUnknown):
                pass  # tried again below; who needs a lease meanwhile hears of it
            except AlvearyError:
                self._is_cut = False
        if self._is_cut:
            await trio.sleep(COME_BACK_EVERY_S)

    # --- what is being read ------------------------------------------------------------------

    @contextmanager
    def reading(self, version_id: VersionId) -> Iterator[None]:
        """Keep a version from being deleted, once it was read for some seconds, for as long as the
        block runs; more than MAX_VERSIONS_READ are not kept."""
        begun = self._reading.setdefault(version_id, [])
        now = trio.current_time()
        begun.append(now)
        self._reading_begun.set()
        try:
            yield
        finally:
            begun.remove(now)
            if not begun:
                del self._reading[version_id]

    async def _keep_reading(self) -> None:
        """Report at an interval the versions that long reads use. What is read for less than one
        interval ends well by the grace of deletion alone, which is longer than two."""
        while True:
            if not self._reading:
                self._reading_begun = trio.Event()
                await self._reading_begun.wait()
            every_s = self._reading_every_s
            await trio.sleep(every_s)
            oldest = min((begun[0] for begun in self._reading.values()), default=math.inf)
            if trio.current_time() - oldest < every_s:
                continue
            try:
                await self.number()
            except AlvearyError:
                continue  # the next interval tries again; who writes hears of it
            await self._keep_alive()

    async def _keep_alive(self) -> None:
        async with self._renewing:
            lease = self._number
            if not lease:
                return
            try:
                await self._renew(lease)
            except (Unavailable, OutcomeUnknown):
                self._renew_at = trio.current_time() + RENEW_AGAIN_S
                if trio.current_time() >= self._ends_at:
                    self._number = 0
                    self._is_cut = True
            except AlvearyError:
                self._number = 0

    async def _renew(self, lease: int) -> None:
        asked_at = trio.current_time()
        reply: Lease = await self._call(
            LeaseRenew(
                lease, self._known.packed(), tuple(islice(self._reading, limits.MAX_VERSIONS_READ))
            )
        )
        if reply.reading_every_s:
            self._reading_every_s = min(float(reply.reading_every_s), limits.READING_TOLD_EVERY_S)
        ttl_s = max(float(reply.ttl_s), 2 * LEASE_MARGIN_S)
        self._number = reply.lease
        self._ends_at = asked_at + ttl_s - LEASE_MARGIN_S
        self._renew_at = asked_at + ttl_s / 3
        self._dropped.set()
