"""The cells that follow the journal: each gets every record, in order, and a snapshot when due.

One task for each cell sends what it lacks. A cell that was away goes on where it stopped, or gets a
snapshot, whichever the coordinator still has.

Source: docs/journal.md, "Order of a commit" and "Snapshots".
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

import trio

from common import limits
from common.errors import AlvearyError, Refused
from common.format.journal import ChainEnd, end_in
from common.ports import Address, Log
from common.reasons import Refusal
from common.wire.messages.journal import JournalState
from coordinator.journal.cells import CALL_S, JournalCell
from coordinator.journal.commits import SealedRecord
from coordinator.journal.lease import LEASE_S, RENEW_S
from coordinator.journal.settling import later_epoch

RETRY_S: Final = 0.5
LONGEST_RETRY_S: Final = 5.0
CONFIRM_WITHIN_S: Final = LEASE_S / 2
SMOOTHING: Final = 0.1
SendSnapshot: TypeAlias = "Callable[[Member], Awaitable[JournalState]]"


class Recent:
    """The latest records of the journal.

    ``start``: the point before the first of them; ``end``: after the last.
    """

    def __init__(self, end: ChainEnd) -> None:
        self.start = self.end = end
        self.bytes_appended = 0
        """Since the beginning of this object."""
        self._records: deque[SealedRecord] = deque()
        self._bytes = 0

    def add(self, record: SealedRecord) -> None:
        """Take in the next record; forget the oldest ones where they are too many."""
        self._records.append(record)
        self._bytes += len(record.record)
        self.bytes_appended += len(record.record)
        self.end = record.end
        while self._bytes > limits.MOST_RECENT_JOURNAL_BYTES and len(self._records) > 1:
            oldest = self._records.popleft()
            self._bytes -= len(oldest.record)
            self.start = oldest.end

    def has(self, point: ChainEnd) -> bool:
        """Return whether records go on from that point."""
        index = point.sequence - self.start.sequence
        if index == 0:
            return point.digest == self.start.digest
        return (
            0 < index <= len(self._records) and self._records[index - 1].end.digest == point.digest
        )

    def after(self, point: ChainEnd) -> tuple[bytes, ChainEnd]:
        """Return as many records after a point as one append takes, and the point after them."""
        parts: list[bytes] = []
        size, end = 0, point
        for index in range(point.sequence - self.start.sequence, len(self._records)):
            record = self._records[index]
            if parts and size + len(record.record) > limits.MAX_JOURNAL_APPEND_BYTES:
                break
            parts.append(record.record)
            size += len(record.record)
            end = record.end
        return b"".join(parts), end


class Member:
    """A cell that follows the journal.

    Args:
        place: where this coordinator takes calls.
        send_snapshot: gives a cell a snapshot, and returns its journal then; it sends records in
            between with :meth:`append`.
        wants_snapshot: whether its snapshot is so old that its records are too many.
        on_progress: called when it has made more durable.
        on_confirmed: called, with the time at which its request was sent, when it has confirmed the
            epoch: at least every RENEW_S, while it answers.
        on_fenced: called, with that epoch, when it has promised a later one to another coordinator.
    """

    def __init__(
        self,
        cell: JournalCell,
        recent: Recent,
        epoch: int,
        run_id: bytes,
        place: Address,
        log: Log,
        *,
        send_snapshot: SendSnapshot,
        wants_snapshot: Callable[[Member], bool],
        on_progress: Callable[[], None],
        on_confirmed: Callable[[bytes, float], None],
        on_fenced: Callable[[bytes, int], None],
    ) -> None:
        self.cell = cell
        self.acked: ChainEnd | None = None
        """The point up to which it has made everything durable; None: not known."""
        self.base_sequence = 0
        """The number at which its snapshot was made."""
        self._at: ChainEnd | None = None
        """The point from which on it is sent records; None: it gets a snapshot first."""
        self.error = ""
        """The failure of the last call; empty while all is well."""
        self.scope = trio.CancelScope()
        self._recent = recent
        self._epoch = epoch
        self._run_id = run_id
        self._place = place
        self._log = log
        self._send_snapshot = send_snapshot
        self._wants_snapshot = wants_snapshot
        self._on_progress = on_progress
        self._on_confirmed = on_confirmed
        self._on_fenced = on_fenced
        self._confirmed_at = -math.inf
        self._began_at = trio.current_time()
        self.answer_s = 0.0
        """Seconds that it takes to make records durable, smoothed."""
        self._wake = trio.Event()

    def wake(self) -> None:
        """Say that there is something to send."""
        self._wake.set()

    async def run(self) -> None:
        """Follow the journal until cancelled, through its ``scope``."""
        with self.scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._keep_confirmed)
                await self._keep_following()

    async def _keep_following(self) -> None:
        pause_s = RETRY_S
        while True:
            try:
                await self._follow()
            except AlvearyError as error:
                if self.error:
                    pause_s = min(2 * pause_s, LONGEST_RETRY_S)
                else:
                    pause_s = RETRY_S
                    self._log.warning("journal_cell_lags", cell=self.cell.cell_id, error=str(error))
                self.error = str(error)
                self._look_fenced(error)
            await trio.sleep(pause_s)

    async def _keep_confirmed(self) -> None:
        """Have the cell confirm the epoch whenever it has not done so for a while."""
        while True:
            await trio.sleep_until(self._confirmed_at + RENEW_S)
            sent_at = trio.current_time()
            if sent_at < self._confirmed_at + RENEW_S:
                continue
            try:
                await self._begin(CONFIRM_WITHIN_S)
            except AlvearyError as error:
                self._look_fenced(error)
                await trio.sleep(RETRY_S)
            else:
                self._confirm(sent_at)

    def _confirm(self, sent_at: float) -> None:
        self._confirmed_at = max(self._confirmed_at, sent_at)
        self._on_confirmed(self.cell.cell_id, sent_at)

    async def _begin(self, timeout_s: float) -> JournalState:
        """Have the cell promise this epoch, or confirm it. It is settled, so that no coordinator of
        an earlier one is waited for."""
        return await self.cell.begin(
            self._epoch,
            self._run_id,
            succeeds=self._epoch - 1,
            at=self._place,
            timeout_s=timeout_s,
        )

    def _look_fenced(self, error: AlvearyError) -> None:
        current = later_epoch(error) if isinstance(error, Refused) else None
        if current is not None:
            self._on_fenced(self.cell.cell_id, current)

    async def _follow(self) -> None:
        """Send what the cell lacks, as long as it answers."""
        sent_at = trio.current_time()
        self._note(await self._begin(CALL_S))
        self._confirm(sent_at)
        while True:
            self._wake = trio.Event()
            if self._at is None or self._at.sequence < self._recent.start.sequence:
                self._note(await self._send_snapshot(self))
            elif self.acked is None or self._at.sequence < self._recent.end.sequence:
                await self.append()
            elif self._wants_snapshot(self):
                self._note(await self._send_snapshot(self))
            else:
                self._well()
                await self._wake.wait()

    @property
    def well_at(self) -> float:
        """Monotonic time at which it last followed, or began to."""
        return max(self._began_at, self._confirmed_at)

    def has(self, sequence: int) -> bool:
        """Return whether it answers and has made everything durable up to a record."""
        return not self.error and self.acked is not None and self.acked.sequence >= sequence

    def _well(self) -> None:
        if self.error:
            self.error = ""
            self._log.info("journal_cell_follows", cell=self.cell.cell_id)

    def _note(self, state: JournalState) -> None:
        """Find the place of the cell's journal in this one. Where it is unknown, the oldest record
        is tried: what the cell has beyond that is dropped, if it is of another coordinator."""
        self.base_sequence = state.base.sequence
        end = end_in(state.end)
        is_usable = state.is_whole and bool(state.snapshot_id)
        if not is_usable or end.sequence < self._recent.start.sequence:
            self.acked = self._at = None
        elif self._recent.has(end):
            self._advance(end)
        else:
            self.acked, self._at = None, self._recent.start

    async def append(self) -> None:
        """Send the next records; none, to see whether the cell has the point before them."""
        at = self._at
        if at is None or not self._recent.has(at):
            self._at = None
            return
        records, end = self._recent.after(at)
        sent_at = trio.current_time()
        try:
            await self.cell.append(self._epoch, at, records)
        except Refused as error:
            if error.reason == Refusal.JOURNAL_GAP:
                self.acked = self._at = None
                return
            raise
        self._confirm(sent_at)
        self.answer_s += SMOOTHING * (trio.current_time() - sent_at - self.answer_s)
        self._advance(end)

    def _advance(self, end: ChainEnd) -> None:
        self.acked = self._at = end
        self._on_progress()
