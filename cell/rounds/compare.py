"""Comparison of what a cell holds with what it should hold, both ways.

First the cell looks for shards that it should hold and does not; then it asks about every shard
that it holds. So neither a write that it forgot, nor a delete that it missed, lasts longer than
until the next comparison.

Source: docs/repair.md, "Comparison".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import Enum, auto
from typing import Final

import trio

from cell.metrics import CellMetrics
from cell.rounds.heartbeat import HeartbeatRound
from cell.rounds.settling import Settling
from cell.storage.shard_store import ShardStore
from cell.storage.shards import ShardKey
from common import limits
from common.errors import PeerViolation
from common.format.volume import NO_SEGMENT
from common.ids import SegmentId
from common.ports import Chance, Log
from common.reasons import Violation
from common.rpc.coordinators import Coordinators
from common.wire.messages.membership import HeldShard
from common.wire.messages.repair import ExpectedGet, ExpectedShards

COMPARE_RETRY_S: Final = 15.0
SOON_INTERVALS: Final = (1.0, 6.0)
"""Heartbeat intervals that pass after a start, and after a long silence: all cells of a swarm may
have begun to wait at the same time, and the interval grows with their number."""
PAGES_PER_INTERVAL: Final = 25
PAUSE_FACTOR: Final = 10.0
"""Between two pages a cell waits a share of the interval, and so many times longer than the answer
took: comparisons take a small part of a coordinator's time, however many run."""
SPARED_AGAIN_S: Final = 600.0
"""Time until the next comparison when garbage was spared for an older store."""
NO_SHARD: Final[ShardKey] = (SegmentId(b""), -1)


class _Step(Enum):
    WAIT = auto()
    EXPECTED = auto()
    """Look for shards that are lacking."""
    HELD = auto()
    """Ask about those that are here."""


class CompareRound:
    """Compares, a page at a time; what was interrupted is continued where it was.

    Args:
        every_s: the usual time between two comparisons.
        chance: so that cells do not compare in step.
    """

    def __init__(
        self,
        store: ShardStore,
        coordinators: Coordinators,
        heartbeat: HeartbeatRound,
        settling: Settling,
        metrics: CellMetrics,
        *,
        every_s: int,
        chance: Chance,
        log: Log,
    ) -> None:
        self._store = store
        self._coordinators = coordinators
        self._heartbeat = heartbeat
        self._settling = settling
        self._metrics = metrics
        self._every_s = every_s
        self._chance = chance
        self._log = log
        self._due_at = math.inf
        self._returns = 0
        self._step = _Step.WAIT
        self._ring_place = (0, NO_SEGMENT)
        self._after = NO_SHARD
        self._counts = {"expected": 0, "lost": 0, "held": 0, "garbage": 0, "spared": 0}

    async def run(self) -> bool:
        """Wait until a comparison is due, and carry it out.

        Raises:
            AlvearyError: no coordinator can be reached; the next call goes on.
        """
        if self._step is _Step.WAIT:
            await self._wait_due()
            self._returns = self._heartbeat.returns
            self._ring_place, self._after = (0, NO_SEGMENT), NO_SHARD
            self._counts = dict.fromkeys(self._counts, 0)
            self._step = _Step.EXPECTED
        while self._step is not _Step.WAIT:
            begun = trio.current_time()
            if self._step is _Step.EXPECTED:
                await self._look_for_lost()
            else:
                await self._ask_about_held()
            await self._pause(trio.current_time() - begun)
        self._log.info("compared", **self._counts)
        pause_s = self._every_s * self._chance.uniform(0.9, 1.1)
        if self._counts["spared"]:
            pause_s = min(pause_s, SPARED_AGAIN_S)
        self._due_at = trio.current_time() + pause_s
        return True

    def _soon_s(self) -> float:
        return self._heartbeat.interval_s * self._chance.uniform(*SOON_INTERVALS)

    async def _wait_due(self) -> None:
        while (left_s := self._due_at - trio.current_time()) > 0:
            if self._heartbeat.returns != self._returns:
                self._returns = self._heartbeat.returns
                self._due_at = min(self._due_at, trio.current_time() + self._soon_s())
                continue
            with trio.move_on_after(left_s):
                await self._heartbeat.wait_return()

    async def _pause(self, took_s: float) -> None:
        pause_s = max(self._heartbeat.interval_s / PAGES_PER_INTERVAL, PAUSE_FACTOR * took_s)
        await trio.sleep(pause_s * self._chance.uniform(0.5, 1.5))

    async def _look_for_lost(self) -> None:
        """Compare a page of what this cell should hold with its index."""
        reply = await self._coordinators.call(ExpectedGet(*self._ring_place))
        assert isinstance(reply, ExpectedShards)
        lost = await self._lacking(reply.shards)
        self._metrics.compared_page(lost=len(lost))
        self._counts["expected"] += len(reply.shards)
        self._counts["lost"] += len(lost)
        if lost:
            self._log.warning("shards_lacking", shards=len(lost), of=len(reply.shards))
            self._store.index.miss(lost)
            await self._store.index.flush()
        if not reply.next_ring:
            self._step = _Step.HELD
            return
        following = (reply.next_ring, reply.next_segment)
        if following <= self._ring_place:
            raise PeerViolation(Violation.WRONG_ANSWER)
        self._ring_place = following

    async def _lacking(self, shards: Sequence[HeldShard]) -> list[ShardKey]:
        """Return the shards that are not here, or bad. One that is here with another root is asked
        about later, as every shard is: the coordinator sees that it is not what was committed."""
        keys = [(each.segment_id, each.slot) for each in shards]
        await self._store.index.flush()
        entries = await self._store.index.find_many(keys)
        return [key for key, entry in zip(keys, entries, strict=True) if entry is None or entry.bad]

    async def _ask_about_held(self) -> None:
        """Ask about a page of the shards that are here."""
        index = self._store.index
        if self._after == NO_SHARD:
            await index.flush()
        page = await index.held(after=self._after, limit=limits.MAX_SETTLE_BATCH)
        if not page:
            self._step = _Step.WAIT
            return
        settled = await self._settling.ask(page)
        self._metrics.compared_page(garbage=settled.deleted)
        self._counts["held"] += len(page)
        self._counts["garbage"] += settled.deleted
        self._counts["spared"] += settled.spared
        self._after = page[-1].key
