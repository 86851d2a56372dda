"""Heartbeats: the cell reports that it is alive, and deletes what the reply names.

Source: docs/protocol.md, "Cells and coordinators".
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import trio

from cell.disk_watch import DiskWatch
from cell.order_epoch import SeenEpoch
from cell.owner_rules import OwnerRules
from cell.positions import Positions
from cell.storage.held import Held
from cell.storage.shard_store import ShardStore
from cell.storage.shards import ShardKey
from common import limits
from common.charter_book import CharterBook
from common.errors import OutcomeUnknown, Unavailable
from common.known_coordinators import KnownCoordinators
from common.ports import Address, Log, WallClock
from common.rpc.coordinators import Coordinators
from common.wire.messages.base import ShardName
from common.wire.messages.membership import Heartbeat, HeartbeatReply

FIRST_INTERVAL_S: Final = 1.0
TRIES_PER_INTERVAL: Final = 5
"""While no coordinator answers; a large swarm with its longer interval comes back more slowly."""

LONG_SILENCE_S: Final = 300.0
"""Time without an answer in which much may have been decided about this cell."""


class HeartbeatRound:
    """The heartbeats of a cell, and what their answers say: orders' key and time.

    Args:
        address: under which callers reach the cell.
    """

    def __init__(
        self,
        store: ShardStore,
        coordinators: Coordinators,
        positions: Positions,
        seen_epoch: SeenEpoch,
        held: Held,
        disk_watch: DiskWatch,
        owner_rules: OwnerRules,
        known: KnownCoordinators,
        charters: CharterBook,
        *,
        address: Address,
        clock: WallClock,
        log: Log,
    ) -> None:
        self.order_key: bytes | None = None
        """The key that orders are checked under; None until a coordinator has sent it."""
        self.last_heartbeat: float | None = None
        """The time of a coordinator's last answer, by trio's clock."""
        self.clock_ahead_s = 0.0
        """Seconds by which this machine's clock was ahead of the coordinator's at the last
        answer."""
        self.returns = 0
        """The number of times that a coordinator answered after none had for long, the first answer
        among them."""
        self._returned = trio.Event()
        self._missing = trio.Event()
        self._audit_due = trio.Event()
        self.trust = ""
        """By a coordinator's last answer: good, warned or suspended; empty: none has answered."""
        self.trust_reason = ""
        """In words, for the owner of the cell."""
        self._order_time_s = 0
        self._order_time_at = 0.0
        self._store = store
        self._coordinators = coordinators
        self._positions = positions
        self._seen_epoch = seen_epoch
        self._held = held
        self._disk_watch = disk_watch
        self._owner_rules = owner_rules
        self._known = known
        self._charters = charters
        self._address = address
        self._clock = clock
        self._log = log
        self._interval_s = FIRST_INTERVAL_S
        self._deleted: set[ShardKey] = set()
        self._hurries = False
        self._is_cut_off = False
        """No coordinator answered the last heartbeat."""

    def pause_s(self) -> float:
        """Return the seconds until the next heartbeat: fewer while no coordinator answers, so that
        the cell is soon written to again."""
        if self._is_cut_off:
            return max(FIRST_INTERVAL_S, self._interval_s / TRIES_PER_INTERVAL)
        return self._interval_s

    @property
    def interval_s(self) -> float:
        """The seconds between two heartbeats, as a coordinator last said; they grow with the
        swarm."""
        return self._interval_s

    async def wait_missing(self) -> None:
        """Wait until a coordinator says that shards of this cell are missing, or suspected."""
        await self._missing.wait()

    async def wait_audit_due(self) -> None:
        """Wait until a coordinator says that an audit is due."""
        await self._audit_due.wait()
        self._audit_due = trio.Event()  # one question for each answer that says so

    async def wait_return(self) -> None:
        """Wait until :attr:`returns` grows."""
        await self._returned.wait()

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

    def _note_work(self, reply: HeartbeatReply, now: float) -> None:
        """Wake those who wait for work that an answer brings."""
        if self.last_heartbeat is None or now - self.last_heartbeat > LONG_SILENCE_S:
            self.returns += 1
            self._returned.set()
            self._returned = trio.Event()
        self.last_heartbeat = now
        if reply.trust and reply.trust != self.trust and (self.trust or reply.trust_reason):
            log = self._log.info if reply.trust == "good" else self._log.warning
            log("trust_changed", trust=reply.trust, reason=reply.trust_reason)
        self.trust, self.trust_reason = reply.trust, reply.trust_reason
        if reply.is_audit_due:
            self._audit_due.set()
        if reply.has_missing:
            self._missing.set()
        elif self._missing.is_set():
            self._missing = trio.Event()

    async def run(self) -> bool:
        """Report that the cell is alive and which shards are gone, and delete what the reply names.

        Returns:
            Whether there is more to report or to ask for at once.

        Raises:
            AlvearyError: no coordinator can be reached, or it turned the cell away.
        """
        await self._held.update(self._store)
        confirmed = sorted(self._deleted)[: limits.MAX_DELETE_BATCH]
        seen = self._positions.packed()
        facts = replace(await self._store.facts(), disk=self._disk_watch.figures)
        facts = self._owner_rules.tell(facts)
        request = Heartbeat(
            self._address.host,
            self._address.port,
            facts,
            tuple(ShardName(*each) for each in confirmed),
            seen,
            int(self._clock.now() * 1000),
            self._seen_epoch.mark,
            self._charters.revision,
        )
        asked_at = trio.current_time()
        try:
            reply = await self._coordinators.call(request)
        except (Unavailable, OutcomeUnknown):
            self._is_cut_off = True
            raise
        assert isinstance(reply, HeartbeatReply)
        await self._charters.take(reply.charter)
        now = trio.current_time()
        self._is_cut_off = False
        self._order_time_s, self._order_time_at = reply.order_time, now
        self._compare_clocks(reply.clock_ms, asked_at, now)
        self._deleted.difference_update(confirmed)
        if self.order_key is None:
            self._log.info("heartbeat_answered", interval_s=reply.interval_s)
        self.order_key = reply.order_key
        self._interval_s = min(
            max(reply.interval_s, FIRST_INTERVAL_S), limits.MAX_HEARTBEAT_INTERVAL_S
        )
        self._note_work(reply, now)
        await self._known.note(reply.coordinators)
        is_trusted = await self._positions.heard(seen, reply, trio.current_time())
        if not reply.deletes or not is_trusted:
            self._hurries = False
            return False
        wanted = [(each.segment_id, each.slot) for each in reply.deletes]
        kept = await self._store.retained(wanted)
        if kept:
            self._log.warning("deletes_refused", shards=len(kept))
        gone = {*await self._store.delete(wanted), *kept}
        self._deleted.update(gone)
        # Confirmed at once, but not repeatedly to a coordinator that repeats itself.
        self._hurries = bool(gone) and (len(wanted) == limits.MAX_DELETE_BATCH or not self._hurries)
        return self._hurries
