"""Purge: garbage collection of dropped versions and parts.

Source: docs/placement.md, "Rounds".
"""

from __future__ import annotations

from typing import Final

import trio

from common.ports import Store
from coordinator.hints import LOOK_AGAIN_S, Queues
from coordinator.readers import Readers
from coordinator.store import purge
from coordinator.store.history import StoreHistory
from coordinator.store.leadership import Leadership
from coordinator.store.purge import Grace, Purged

PURGE_S: Final = 2.0
ABANDONED_LIFE_S: Final = 3600.0
"""Time for which a late commit of an abandoned segment is still known and refused by name. A
gateway's commit times out after minutes; when its lease ends, the lease refuses it anyway."""


class PurgeRound:
    """Purges.

    Args:
        queues: notified when there is something to purge or to delete.
        delete_grace_s: how long dropped versions can be read on.
    """

    def __init__(
        self,
        store: Store,
        leadership: Leadership,
        history: StoreHistory,
        readers: Readers,
        queues: Queues,
        *,
        delete_grace_s: float,
    ) -> None:
        self._store = store
        self._leadership = leadership
        self._history = history
        self._readers = readers
        self._queues = queues
        self._dropped = Grace(delete_grace_s)
        self._abandoned = Grace(ABANDONED_LIFE_S)

    async def run(self) -> None:
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
