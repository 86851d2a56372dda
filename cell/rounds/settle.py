"""Settling: a cell compares shards that nobody claimed yet with what the coordinator owns.

Source: docs/protocol.md, "Cells and coordinators".
"""

from __future__ import annotations

from typing import Final

import trio

from cell.positions import Positions
from cell.storage.shard_store import ShardStore
from common import limits
from common.errors import Refused
from common.ports import Log, WallClock
from common.reasons import Refusal
from common.rpc.coordinators import Coordinators
from common.wire.messages.membership import COMMITTED, GARBAGE, HeldShard, Settle, SettleReply

SETTLE_EVERY_S: Final = 15.0


class SettleRound:
    """Settles shards.

    Args:
        settle_after_s: age at which an unclaimed shard is asked about.
    """

    def __init__(
        self,
        store: ShardStore,
        coordinators: Coordinators,
        positions: Positions,
        *,
        settle_after_s: int,
        clock: WallClock,
        log: Log,
    ) -> None:
        self._store = store
        self._coordinators = coordinators
        self._positions = positions
        self._settle_after_s = settle_after_s
        self._clock = clock
        self._log = log

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
        index = self._store.index
        after: tuple[int, bytes, int] = (first, b"", -1)
        while True:
            page = await index.unsettled(
                added_before=last, after=after, limit=limits.MAX_SETTLE_BATCH
            )
            if not page:
                return
            held = tuple(
                HeldShard(*key, root, shard_bytes) for key, _, root, shard_bytes, _ in page
            )
            reply = await self._coordinators.call(Settle(held))
            assert isinstance(reply, SettleReply)
            if len(reply.verdicts) != len(page):
                raise Refused(Refusal.BAD_SETTLE_REPLY, asked=len(page), told=len(reply.verdicts))
            garbage = []
            is_trusted = self._positions.trusts(reply.run_id)
            for (key, sequence, *_), verdict in zip(page, reply.verdicts, strict=True):
                if verdict == COMMITTED:
                    index.settle(key, sequence)
                elif verdict == GARBAGE and is_trusted:
                    garbage.append(key)
            if garbage:
                gone = await self._store.delete(garbage)
                self._log.info("garbage_deleted", shards=len(gone), of=len(garbage))
            last_key, *_, added = page[-1]
            after = (added, *last_key)
