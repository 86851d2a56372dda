"""Asking a coordinator about shards, and doing what it answers.

Source: docs/protocol.md, "Cells and coordinators".
"""

from __future__ import annotations

from collections.abc import Sequence

from cell.positions import Positions
from cell.storage.index_tables import HeldRow
from cell.storage.shard_store import ShardStore
from common import limits
from common.data_classes import dataclass
from common.errors import Refused
from common.ports import Log
from common.reasons import Refusal
from common.rpc.coordinators import Coordinators
from common.wire.messages.membership import COMMITTED, GARBAGE, HeldShard, Settle, SettleReply


@dataclass(frozen=True, slots=True)
class SettleOutcome:
    """The outcome of a question: PENDING, COMMITTED or GARBAGE for each shard, as a byte.
    ``deleted``: shards that were garbage and are gone. ``spared``: those that were called garbage
    by a coordinator whose store may be older than the shards. ``retained``: those that stay until
    their retention ends."""

    verdicts: bytes
    deleted: int
    spared: int
    retained: int = 0


class Settling:
    """Settles shards, for every round that asks about some."""

    def __init__(
        self, store: ShardStore, coordinators: Coordinators, positions: Positions, log: Log
    ) -> None:
        self._store = store
        self._coordinators = coordinators
        self._positions = positions
        self._log = log

    async def ask(self, rows: Sequence[HeldRow]) -> SettleOutcome:
        """Ask about shards, at most MAX_SETTLE_BATCH. Those that are owned are settled; those that
        are garbage are deleted, if the coordinator has shown that it knows all that this cell
        knows.

        Raises:
            AlvearyError: no coordinator can be reached.
        """
        marked_bad = self._store.index.marked_bad
        held = tuple(HeldShard(*row.key, row.root, row.shard_bytes) for row in rows)
        reply = await self._coordinators.call(Settle(held))
        assert isinstance(reply, SettleReply)
        if len(reply.verdicts) != len(rows) or len(reply.retain) not in {0, len(rows)}:
            raise Refused(Refusal.BAD_SETTLE_REPLY, asked=len(rows), told=len(reply.verdicts))
        if self._store.index.marked_bad != marked_bad:
            await self._miss_bad(rows)
        await self._retain(rows, reply)
        garbage = {}
        for row, verdict in zip(rows, reply.verdicts, strict=True):
            if verdict == COMMITTED and not row.is_settled:
                self._store.index.settle(row.key, row.sequence)
            elif verdict == GARBAGE:
                garbage[row.key] = row.sequence
        if not garbage or not self._positions.trusts(reply.run_id):
            return SettleOutcome(reply.verdicts, 0, len(garbage))
        kept = await self._store.retained(list(garbage))
        gone = await self._store.delete(list(garbage), sequences=garbage)
        self._log.info("garbage_deleted", shards=len(gone), of=len(garbage), retained=len(kept))
        return SettleOutcome(reply.verdicts, len(gone), 0, len(kept))

    async def _retain(self, rows: Sequence[HeldRow], reply: SettleReply) -> None:
        """Keep in mind, durably, until when shards are to be kept, before they are settled.

        Raises:
            Unavailable: it cannot be made durable: the shards are asked about again.
        """
        told = {}
        for row, verdict, until in zip(rows, reply.verdicts, reply.retain, strict=False):
            if verdict == COMMITTED and until:
                told[row.key] = min(until, limits.MAX_DATE_MS // 1000)
        if not told:
            return
        known = await self._store.index.retained_until(list(told))
        new = {key: until for key, until in told.items() if until > known.get(key, 0)}
        for key, until in new.items():
            self._store.index.retain(key, until)
        if new:
            await self._store.index.sync()
            self._log.info("shards_retained", shards=len(new))

    async def _miss_bad(self, rows: Sequence[HeldRow]) -> None:
        """Report those again that were found bad while they were asked about: the answer may have
        come after the report, and taken it back."""
        keys = [row.key for row in rows]
        entries = await self._store.index.find_many(keys)
        bad = [
            key for key, each in zip(keys, entries, strict=True) if each is not None and each.bad
        ]
        if bad:
            self._store.index.miss(bad)
