"""Settling: a cell compares shards that nobody claimed yet with what the coordinator owns.

Source: docs/protocol.md, "Cells and coordinators".
"""

from __future__ import annotations

from typing import Final

import trio

from cell.rounds.settling import Settling
from cell.storage.shard_store import ShardStore
from common import limits
from common.ports import WallClock

SETTLE_EVERY_S: Final = 15.0


class SettleRound:
    """Settles shards.

    Args:
        settle_after_s: age at which an unclaimed shard is asked about.
    """

    def __init__(
        self, store: ShardStore, settling: Settling, *, settle_after_s: int, clock: WallClock
    ) -> None:
        self._store = store
        self._settling = settling
        self._settle_after_s = settle_after_s
        self._clock = clock

    async def run(self) -> bool:
        """Wait for a shard that is old enough and that nobody claimed yet; ask about all of them.

        Raises:
            AlvearyError: no coordinator can be reached.
        """
        due = await self._store.index.oldest_unsettled() + self._settle_after_s + 1
        # Not for longer: the clock may be set back.
        await trio.sleep(min(max(0.0, due - self._clock.now()), self._settle_after_s))
        now = int(self._clock.now())
        await self._settle_those_added(0, now - self._settle_after_s)
        # The clock was set back since: nobody knows how old they are, and to ask does no harm.
        await self._settle_those_added(now + 1, limits.MAX_UINT)
        return False

    async def _settle_those_added(self, first: int, last: int) -> None:
        """Ask about the unclaimed shards that were added at ``first`` to ``last``, unix seconds."""
        after: tuple[int, bytes, int] = (first, b"", -1)
        while True:
            page = await self._store.index.unsettled(
                added_before=last, after=after, limit=limits.MAX_SETTLE_BATCH
            )
            if not page:
                return
            await self._settling.ask(page)
            after = (page[-1].added, *page[-1].key)
