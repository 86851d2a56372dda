"""Buckets whose storage class was changed are looked through: what lies in another class is noted
for gateways.

Source: docs/placement.md, "Data follows its class".
"""

from __future__ import annotations

from typing import Final

import trio

from common import limits
from common.ports import Store
from coordinator.hints import LOOK_AGAIN_S, Queue
from coordinator.policy.history import Standing
from coordinator.store import misplaced
from coordinator.store.history import StoreHistory
from coordinator.store.leadership import Leadership

CLASSES_S: Final = 1.0


class ClassesRound:
    """Notes the objects of buckets whose class was changed, a bounded transaction at a time.

    Args:
        changed: notified when the class of a bucket was changed.
    """

    def __init__(
        self, store: Store, leadership: Leadership, history: StoreHistory, changed: Queue
    ) -> None:
        self._store = store
        self._leadership = leadership
        self._history = history
        self._changed = changed

    async def run(self) -> None:
        """Wait until a class was changed, and look through the bucket."""
        await self._leadership.wait()
        await self._changed.wait(trio.current_time() + LOOK_AGAIN_S)
        if self._history.standing is Standing.BEHIND:
            return
        _, scans = await self._store.read(misplaced.count)
        while scans and await self._leadership.transact(
            lambda sql: misplaced.scan(sql, limits.MAX_CLASS_SCANNED)
        ):
            await trio.lowlevel.checkpoint()
