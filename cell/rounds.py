"""The periodic work of a cell: heartbeats, settling, reports of lost shards.

Source: docs/protocol.md, "Cells and coordinators".
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import trio

from cell.positions import Positions
from cell.storage.held import Held
from cell.storage.shard_store import ShardStore
from cell.storage.shards import ShardKey
from common import limits
from common.errors import AlvearyError, OutcomeUnknown, Refused, Unavailable
from common.ports import Address, Chance, Log, WallClock
from common.reasons import Refusal
from common.rpc.coordinators import Coordinators
from common.tasks import repeat
from common.wire.messages.base import ShardName
from common.wire.messages.membership import (
    COMMITTED,
    GARBAGE,
    Heartbeat,
    HeartbeatReply,
    HeldShard,
    Settle,
    SettleReply,
    ShardsLost,
)

FIRST_INTERVAL_S: Final = 1.0
TRIES_PER_INTERVAL: Final = 5
"""While no coordinator answers; a large swarm with its longer interval comes back more slowly."""
SETTLE_EVERY_S: Final = 15.0
REPORT_EVERY_S: Final = 5.0


class CellRounds:
    """The cell's talk with its coordinators.

    Args:
        address: under which callers reach the cell.
        settle_after_s: age at which an unclaimed shard is asked about.
    """

    def __init__(
        self,
        store: ShardStore,
        coordinators: Coordinators,
        positions: Positions,
        held: Held,
        *,
        address: Address,
        settle_after_s: int,
        clock: WallClock,
        chance: Chance,
        log: Log,
    ) -> None:
        self.order_key: bytes | None = None
        """The key that orders are checked under; None until a coordinator has sent it."""
        self.last_heartbeat: float | None = None
        """The time of a coordinator's last answer, by trio's clock."""
        self.clock_ahead_s = 0.0
        """Seconds by which this machine's clock was ahead of the coordinator's at the last
        answer."""
        self._order_time_s = 0
        self._order_time_at = 0.0
        self._store = store
        self._coordinators = coordinators
        self._positions = positions
        self._held = held
        self._address = address
        self._settle_after_s = settle_after_s
        self._clock = clock
        self._chance = chance
        self._log = log
        self._interval_s = FIRST_INTERVAL_S
        self._deleted: set[ShardKey] = set()
        self._hurries = False
        self._is_cut_off = False
        """No coordinator answered the last heartbeat."""

    async def run(self) -> None:
        """Everything, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._repeat, "heartbeat", self.heartbeat, self._pause_s)
            nursery.start_soon(self._repeat, "settle", self.settle, lambda: SETTLE_EVERY_S)
            nursery.start_soon(self._repeat, "report_lost", self.report, lambda: REPORT_EVERY_S)

    async def _repeat(
        self, name: str, work: Callable[[], Awaitable[bool]], pause_s: Callable[[], float]
    ) -> None:
        """Repeat a round, never in step with other cells."""
        await repeat(
            name,
            work,
            lambda: pause_s() * self._chance.uniform(0.9, 1.1),
            log=self._log,
            log_failure=self._log_failure,
        )

    def _log_failure(self, name: str, error: AlvearyError) -> None:
        self._log.warning(f"{name}_failed", error=str(error))

    def _pause_s(self) -> float:
        """Shorter while no coordinator answers, so that the cell is soon written to again."""
        if self._is_cut_off:
            return max(FIRST_INTERVAL_S, self._interval_s / TRIES_PER_INTERVAL)
        return self._interval_s

    def order_time(self) -> float:
        """Return now in the time by which orders expire: the last time that a coordinator sent,
        plus the time since then by the monotonic clock. No wall clock has a part in it."""
        return self._order_time_s + trio.current_time() - self._order_time_at

    def _compare_clocks(self, clock_ms: int, asked_at: float, now: float) -> None:
        """Note how far the clocks differ, and log when that begins or ends to be much."""
        was_off = abs(self.clock_ahead_s) > limits.CLOCK_OFF_S
        # The coordinator read its clock about halfway between question and answer.
        self.clock_ahead_s = self._clock.now() - clock_ms / 1000 - (now - asked_at) / 2
        is_off = abs(self.clock_ahead_s) > limits.CLOCK_OFF_S
        if is_off and not was_off:
            self._log.warning("clock_off", ahead_of_coordinator_s=round(self.clock_ahead_s))
        elif was_off and not is_off:
            self._log.info("clock_right")

    async def heartbeat(self) -> bool:
        """Report that the cell is alive and which shards are gone, and delete what the reply names.

        Returns:
            Whether there is more to report or to ask for at once.

        Raises:
            AlvearyError: no coordinator can be reached, or it turned the cell away.
        """
        await self._held.update(self._store)
        confirmed = sorted(self._deleted)[: limits.MAX_DELETE_BATCH]
        seen = self._positions.packed()
        facts = await self._store.facts()
        request = Heartbeat(
            self._address.host,
            self._address.port,
            facts,
            tuple(ShardName(*each) for each in confirmed),
            seen,
            int(self._clock.now() * 1000),
        )
        asked_at = trio.current_time()
        try:
            reply = await self._coordinators.call(request)
        except (Unavailable, OutcomeUnknown):
            self._is_cut_off = True
            raise
        assert isinstance(reply, HeartbeatReply)
        now = trio.current_time()
        self._is_cut_off = False
        self._order_time_s, self._order_time_at = reply.order_time, now
        self._compare_clocks(reply.clock_ms, asked_at, now)
        self._deleted.difference_update(confirmed)
        if self.order_key is None:
            self._log.info("heartbeat_answered", interval_s=reply.interval_s)
        self.order_key = reply.order_key
        self.last_heartbeat = now
        self._interval_s = min(
            max(reply.interval_s, FIRST_INTERVAL_S), limits.MAX_HEARTBEAT_INTERVAL_S
        )
        is_trusted = await self._positions.heard(seen, reply, trio.current_time())
        if not reply.deletes or not is_trusted:
            self._hurries = False
            return False
        wanted = [(each.segment_id, each.slot) for each in reply.deletes]
        gone = await self._store.delete(wanted)
        self._deleted.update(gone)
        # Confirmed at once, but not repeatedly to a coordinator that repeats itself.
        self._hurries = bool(gone) and (len(wanted) == limits.MAX_DELETE_BATCH or not self._hurries)
        return self._hurries

    async def settle(self) -> bool:
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

    async def report(self) -> bool:
        """Wait until a shard is lost, and report it.

        Returns:
            Whether there is more.

        Raises:
            AlvearyError: no coordinator can be reached.
        """
        await self._store.index.wait_lost()
        lost = await self._store.index.lost(limits.MAX_DELETE_BATCH)
        if not lost:
            return False
        await self._coordinators.call(ShardsLost(tuple(ShardName(*each) for each in lost)))
        self._store.index.reported(lost)
        self._log.warning("lost_shards_reported", shards=len(lost))
        await self._store.index.flush()
        return len(lost) == limits.MAX_DELETE_BATCH
