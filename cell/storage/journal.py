"""The journal of a swarm's coordinator as this cell keeps it: sealed records, and one snapshot.

Three kinds of files: the state, written whole; a file of records, which only grows but for the end
that another coordinator's records replace; the snapshot. The state names the other two, so a change
of either is one write of the state. What it does not name is removed at the next start.

Source: docs/journal.md, "On a cell".
"""

from __future__ import annotations

from array import array
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Annotated, Final

import trio
from blake3 import blake3

from common import limits
from common.data_classes import dataclass
from common.errors import AlvearyError, Corrupt, NotFound, PeerViolation, Refused
from common.format.journal import (
    BEGINNING,
    RECORD_HEAD_BYTES,
    ChainEnd,
    RecordHead,
    end_of,
    follow,
    read_head,
)
from common.ports import Disk, File, Log
from common.reasons import Absence, Damage, Refusal
from common.state_files import read_whole, write_whole
from common.wire.messages.base import Label
from common.wire.messages.journal import JournalPoint, JournalState
from common.wire.records import Max, Record, Size

DIRECTORY: Final = "journal"
STATE_NAME: Final = "journal.state"
_DIGEST_BYTES: Final = 32
_STATE_BYTES: Final = limits.MAX_JOURNAL_MEMBERS_BYTES + 1024
_READ_BYTES: Final = limits.MAX_JOURNAL_APPEND_BYTES
_LONGEST_RECORD: Final = RECORD_HEAD_BYTES + limits.MAX_JOURNAL_BODY_BYTES


@dataclass(frozen=True, slots=True)
class _Kept(Record):
    """The state file."""

    epoch: int = 0
    run_id: Annotated[bytes, Max(16)] = b""
    file_number: int = 0
    base_sequence: int = 0
    base_epoch: int = 0
    base_digest: Annotated[bytes, Size(32)] = BEGINNING.digest
    snapshot_id: Annotated[bytes, Max(16)] = b""
    snapshot_bytes: int = 0
    members_version: int = 0
    members: Annotated[bytes, Max(limits.MAX_JOURNAL_MEMBERS_BYTES)] = b""
    host: Label = ""
    port: int = 0

    @property
    def base(self) -> ChainEnd:
        return ChainEnd(self.base_sequence, self.base_epoch, self.base_digest)

    @property
    def records_name(self) -> str:
        return f"{DIRECTORY}/records-{self.file_number}"


def _snapshot_name(snapshot_id: bytes) -> str:
    return f"{DIRECTORY}/snapshot-{snapshot_id.hex()}"


def _incoming_name(snapshot_id: bytes) -> str:
    return f"{DIRECTORY}/incoming-{snapshot_id.hex()}"


class CellJournal:
    """The journal that a cell keeps. Made by :meth:`load`; one call at a time is carried out."""

    def __init__(self, disk: Disk, log: Log, kept: _Kept) -> None:
        self._disk = disk
        self._log = log
        self._kept = kept
        self._end = kept.base
        self._offsets = array("Q")
        """The place of each record; the first is the one after the base."""
        self._bytes = 0
        self._is_whole = True
        self._is_durable = False
        """False: an earlier life wrote what is kept, and may have ended before it was synced, or
        since that failed."""
        self._is_broken = False
        """A write or a sync failed: the file is not written any more, but copied."""
        self._file: File | None = None
        """The file of records, once it is written: opening it costs a thread's turn, as a sync."""
        self._last_file = kept.file_number
        """The highest number that a file of records ever had: none is written again once the state
        on the disk may name it."""
        self._lock = trio.Lock()
        self._heard_at = trio.current_time()
        """The last call of the coordinator that the epoch was promised to. A start counts as one:
        it may have called just before."""

    @classmethod
    async def load(cls, disk: Disk, log: Log) -> CellJournal:
        """Take up what an earlier life kept.

        A damaged state counts as none: the coordinator fills this cell again.
        """
        kept, is_damaged = _Kept(), False
        try:
            data = await read_whole(disk, STATE_NAME, max_bytes=_STATE_BYTES)
            if data is not None:
                kept = _unpack(data)
        except (Corrupt, PeerViolation) as error:
            log.error("journal_damaged", error=str(error))
            is_damaged = True
        journal = cls(disk, log, kept)
        journal._is_whole = not is_damaged
        await journal._scan()
        await journal._remove_others()
        return journal

    async def _scan(self) -> None:
        """Find the records, up to the first that does not follow: the end of a write that was cut
        short, or the place where the medium has lost something."""
        try:
            file = await self._disk.open(self._kept.records_name)
        except NotFound:
            return
        try:
            size, rest = await file.size(), b""
            while chunk := await file.read(self._bytes + len(rest), _READ_BYTES):
                rest += chunk
                rest = rest[self._take_in(rest) :]
                if len(rest) > _LONGEST_RECORD:
                    break
            if size - self._bytes > limits.MAX_JOURNAL_APPEND_BYTES:
                self._is_whole = False
                self._log.error("journal_damaged", records_end=self._bytes, file_bytes=size)
            if size > self._bytes:
                await file.truncate(self._bytes)
        except AlvearyError as error:
            self._is_whole, self._is_broken = False, True
            self._log.error("journal_damaged", error=str(error))
        finally:
            await file.close()

    def _take_in(self, data: bytes) -> int:
        """Note the whole records at the beginning of ``data``; return their bytes."""
        taken = 0
        try:
            for _, record, end in follow(self._end, data):
                self._offsets.append(self._bytes)
                self._bytes += len(record)
                taken += len(record)
                self._end = end
        except PeerViolation:
            pass  # more is to be read, or this is the end
        return taken

    async def _remove_others(self) -> None:
        known = {self._kept.records_name, _snapshot_name(self._kept.snapshot_id)}
        try:
            for name in await self._disk.names(DIRECTORY):
                if f"{DIRECTORY}/{name}" not in known:
                    await self._disk.unlink(f"{DIRECTORY}/{name}")
        except AlvearyError as error:  # they take room, and do no other harm
            self._log.warning("journal_files_left", error=str(error))

    # --- asked --------------------------------------------------------------------------------

    def state(self) -> JournalState:
        """Return what is kept."""
        kept = self._kept
        return JournalState(
            kept.epoch,
            JournalPoint(*kept.base),
            JournalPoint(*self._end),
            self._is_whole,
            kept.snapshot_id,
            kept.snapshot_bytes,
            kept.members,
            kept.members_version,
            kept.run_id,
            kept.host,
            kept.port,
            int(1000 * (trio.current_time() - self._heard_at)),
            self._is_held,
        )

    @property
    def _is_held(self) -> bool:
        silent_s = trio.current_time() - self._heard_at
        return bool(self._kept.epoch) and silent_s < limits.JOURNAL_HELD_S

    async def read(self, after: int) -> bytes:
        """Return records after a number: at most MAX_JOURNAL_APPEND_BYTES, and one at least if
        there is one.

        Raises:
            Refused: ``journal_gap``.
            Corrupt: ``read_error``.
        """
        async with self._lock:
            first = after - self._kept.base_sequence
            if first < 0:
                raise Refused(Refusal.JOURNAL_GAP, base=self._kept.base_sequence)
            if first >= len(self._offsets):
                return b""
            begin, last = self._offsets[first], first
            while last < len(self._offsets):
                until = self._offset(last + 1)
                if until - begin > limits.MAX_JOURNAL_APPEND_BYTES:
                    break
                last += 1
            file = await self._disk.open(self._kept.records_name)
            try:
                return await file.read(begin, self._offset(last) - begin)
            finally:
                await file.close()

    async def read_snapshot(self, snapshot_id: bytes, offset: int) -> bytes:
        """Return bytes of the snapshot. Raises NotFound ``no_such_file``."""
        async with self._lock:
            if snapshot_id != self._kept.snapshot_id:
                raise NotFound(Absence.NO_SUCH_FILE)
            file = await self._disk.open(_snapshot_name(snapshot_id))
            try:
                return await file.read(offset, limits.MAX_JOURNAL_APPEND_BYTES)
            finally:
                await file.close()

    # --- changed ------------------------------------------------------------------------------

    async def begin(
        self, epoch: int, run_id: bytes, *, succeeds: int = 0, host: str = "", port: int = 0
    ) -> JournalState:
        """Promise to take nothing of an earlier epoch.

        Args:
            succeeds: the last epoch whose coordinator has ended for sure.
            host, port: where the coordinator takes calls.

        Raises:
            Refused: ``journal_epoch``, ``journal_held``.
            Unavailable: the promise, or what is kept, could not be made durable.
        """
        async with self._lock:
            await self._make_durable()
            kept = self._kept
            if epoch < kept.epoch or (epoch == kept.epoch and run_id != kept.run_id):
                raise Refused(Refusal.JOURNAL_EPOCH, current=kept.epoch)
            if run_id != kept.run_id and kept.epoch > succeeds and self._is_held:
                raise Refused(Refusal.JOURNAL_HELD, current=kept.epoch)
            if epoch > kept.epoch:
                await self._keep(replace(kept, epoch=epoch, run_id=run_id, host=host, port=port))
            self._heard_at = trio.current_time()
            return replace(self.state(), has_waited=True)

    async def _make_durable(self) -> None:
        """Sync what an earlier life wrote last, once: it counts from now on. Whatever it wrote
        before that, it had synced."""
        if self._is_durable:
            return
        if self._bytes and self._is_whole:
            begin = max(0, self._bytes - limits.MAX_JOURNAL_APPEND_BYTES)
            file = await self._disk.open(self._kept.records_name)
            try:
                # A page whose sync failed is clean for the kernel, until it is written again.
                await file.write(begin, [await file.read(begin, self._bytes - begin)])
                await file.sync()
            finally:
                await file.close()
            await self._disk.sync_directory(DIRECTORY)
        await self._disk.sync_directory(".")
        self._is_durable = True

    def _check(self, epoch: int) -> None:
        if epoch != self._kept.epoch:
            raise Refused(Refusal.JOURNAL_EPOCH, current=self._kept.epoch)
        self._heard_at = trio.current_time()

    async def append(self, epoch: int, after: ChainEnd, records: memoryview) -> None:
        """Append records after a point, durably.

        Raises:
            Refused: ``journal_epoch``, ``journal_gap``, ``too_large``.
            PeerViolation: ``bad_record``: these records do not follow that point.
            Unavailable: they could not be made durable.
        """
        async with self._lock:
            self._check(epoch)
            await self._make_durable()
            await self._check_point(after)
            given = list(follow(after, records))
            if any(head.epoch > epoch for head, _, _ in given):
                raise Refused(Refusal.JOURNAL_EPOCH, current=epoch)
            new = await self._new_ones(given)
            if not new:
                return
            if self._bytes + len(records) > limits.MAX_JOURNAL_LOG_BYTES:
                raise Refused(Refusal.TOO_LARGE, most=limits.MAX_JOURNAL_LOG_BYTES)
            if self._is_broken:
                await self._renew(self._kept)
            await self._or_break(self._write, new)

    async def _check_point(self, point: ChainEnd) -> None:
        index = point.sequence - self._kept.base_sequence
        if not 0 <= index <= len(self._offsets) or await self._digest(index) != point.digest:
            raise Refused(Refusal.JOURNAL_GAP, end=self._end.sequence)

    async def _digest(self, index: int) -> bytes:
        """The digest of the point before the record of that index, from 0."""
        if index == 0:
            return self._kept.base_digest
        if index == len(self._offsets):
            return self._end.digest
        file = await self._disk.open(self._kept.records_name)
        try:
            head = await file.read(self._offsets[index], RECORD_HEAD_BYTES)
        finally:
            await file.close()
        return read_head(head).previous

    async def _point(self, index: int) -> ChainEnd:
        """The point before the record of that index, which is there."""
        if index == 0:
            return self._kept.base
        begin = self._offsets[index - 1]
        file = await self._disk.open(self._kept.records_name)
        try:
            record = await file.read(begin, self._offsets[index] - begin)
        finally:
            await file.close()
        return end_of(read_head(record), record)

    async def _new_ones(
        self, given: Sequence[tuple[RecordHead, memoryview, ChainEnd]]
    ) -> list[tuple[memoryview, ChainEnd]]:
        """The records from the first on that is not there; what is there from its number on is
        dropped with the first write."""
        for number, (_, _, end) in enumerate(given):
            index = end.sequence - self._kept.base_sequence
            if index > len(self._offsets) or await self._digest(index) != end.digest:
                return [(record, each) for _, record, each in given[number:]]
        return []

    async def _write(self, new: list[tuple[memoryview, ChainEnd]]) -> None:
        index = new[0][1].sequence - self._kept.base_sequence - 1
        is_first = not self._offsets and not self._bytes
        if is_first:
            await self._disk.make_directory(DIRECTORY)
        if self._file is None:
            self._file = await self._disk.open(self._kept.records_name, create=True)
        file = self._file
        if index < len(self._offsets):
            self._end = await self._point(index)
            self._bytes = self._offsets[index]
            del self._offsets[index:]
            await file.truncate(self._bytes)
        await file.write(self._bytes, [record for record, _ in new])
        await file.sync()
        if is_first:
            await self._disk.sync_directory(DIRECTORY)
            await self._disk.sync_directory(".")
        for record, end in new:
            self._offsets.append(self._bytes)
            self._bytes += len(record)
            self._end = end

    async def write_snapshot(
        self, epoch: int, snapshot_id: bytes, offset: int, data: memoryview
    ) -> None:
        """Write the next bytes of a snapshot.

        Raises:
            Refused: ``journal_epoch``, ``journal_gap``, ``too_large``.
            Unavailable: they could not be written.
        """
        async with self._lock:
            self._check(epoch)
            if offset + len(data) > limits.MAX_SNAPSHOT_BYTES:
                raise Refused(Refusal.TOO_LARGE, most=limits.MAX_SNAPSHOT_BYTES)
            await self._disk.make_directory(DIRECTORY)
            name = _incoming_name(snapshot_id)
            if offset == 0:
                for each in await self._disk.names(DIRECTORY):
                    if each.startswith("incoming-"):
                        await self._disk.unlink(f"{DIRECTORY}/{each}")
            file = await self._disk.open(name, create=True)
            try:
                if await file.size() != offset:
                    raise Refused(Refusal.JOURNAL_GAP, end=await file.size())
                await file.write(offset, [data])
            finally:
                await file.close()

    async def keep(
        self, epoch: int, snapshot_id: bytes, size: int, digest: bytes, base: ChainEnd
    ) -> JournalState:
        """Keep a snapshot that was written, and only the records after it.

        Raises:
            Refused: ``journal_epoch``.
            Corrupt: ``root_mismatch``: the snapshot is not what was sent.
            Unavailable: it could not be made durable.
        """
        async with self._lock:
            self._check(epoch)
            if snapshot_id == self._kept.snapshot_id:
                return self.state()
            if base.sequence < self._kept.base_sequence:
                raise Refused(Refusal.JOURNAL_GAP, base=self._kept.base_sequence)
            await self._check_snapshot(_incoming_name(snapshot_id), size, digest)
            await self._disk.rename(_incoming_name(snapshot_id), _snapshot_name(snapshot_id))
            kept = replace(
                self._kept,
                base_sequence=base.sequence,
                base_epoch=base.epoch,
                base_digest=base.digest,
                snapshot_id=snapshot_id,
                snapshot_bytes=size,
            )
            await self._renew(kept)
            self._is_whole = True
            return self.state()

    async def _check_snapshot(self, name: str, size: int, digest: bytes) -> None:
        hasher = blake3()
        try:
            file = await self._disk.open(name)
        except NotFound:
            raise Corrupt(Damage.ROOT_MISMATCH) from None
        try:
            await file.sync()
            offset = 0
            while piece := await file.read(offset, limits.MAX_JOURNAL_APPEND_BYTES):
                hasher.update(piece)
                offset += len(piece)
        finally:
            await file.close()
        if (offset, hasher.digest()) != (size, digest):
            await self._disk.unlink(name)
            raise Corrupt(Damage.ROOT_MISMATCH, size=offset)

    async def _renew(self, kept: _Kept) -> None:
        """Go on in another file of records: those after the base of ``kept``."""
        before = self._kept
        index = kept.base_sequence - before.base_sequence
        tail = b""
        if 0 <= index <= len(self._offsets) and await self._digest(index) == kept.base_digest:
            tail = await self._read_from(index)
        self._last_file += 1
        kept = replace(kept, file_number=self._last_file)
        await self._disk.make_directory(DIRECTORY)
        file = await self._disk.open(kept.records_name, create=True)
        try:
            await file.truncate(0)
            await file.write(0, [tail])
            await file.sync()
        finally:
            await file.close()
        await self._disk.sync_directory(DIRECTORY)
        await self._keep(kept)
        self._file = None  # of the file before; closed with its last user
        self._end, self._bytes = kept.base, 0
        self._offsets = array("Q")
        self._take_in(tail)
        self._is_broken = False
        await self._remove_others()

    async def _read_from(self, index: int) -> bytes:
        begin = self._offset(index)
        if begin == self._bytes:
            return b""
        file = await self._disk.open(self._kept.records_name)
        try:
            return await file.read(begin, self._bytes - begin)
        finally:
            await file.close()

    def _offset(self, index: int) -> int:
        return self._offsets[index] if index < len(self._offsets) else self._bytes

    async def configure(self, epoch: int, version: int, members: bytes) -> None:
        """Remember who keeps the journal. Raises Refused ``journal_epoch``."""
        async with self._lock:
            self._check(epoch)
            await self._keep(replace(self._kept, members_version=version, members=members))

    async def _keep(self, kept: _Kept) -> None:
        body = kept.pack()
        # Until it is done it is not known which state is on the disk, and so which file of records.
        was_broken, self._is_broken = self._is_broken, True
        await write_whole(self._disk, STATE_NAME, body + blake3(body).digest())
        self._kept, self._is_broken = kept, was_broken

    async def _or_break(
        self,
        write: Callable[[list[tuple[memoryview, ChainEnd]]], Awaitable[None]],
        new: list[tuple[memoryview, ChainEnd]],
    ) -> None:
        """A file of which a write or a sync failed is not trusted: its records so far are copied
        before the next write."""
        is_done = False
        before = self._bytes
        try:
            await write(new)
            is_done = True
        finally:
            if not is_done:
                self._is_broken = True
                self._file = None
                assert self._bytes <= before


def _unpack(data: bytes) -> _Kept:
    body, digest = data[:-_DIGEST_BYTES], data[-_DIGEST_BYTES:]
    if blake3(body).digest() != digest:
        raise Corrupt(Damage.BAD_JOURNAL_FILE)
    return _Kept.unpack(body)
