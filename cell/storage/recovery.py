"""The start of a cell: bring volumes and index together, whatever the last end was like.

Only what may have changed since the index was last written is read: of each volume the stretch
above its watermark. Without an index everything is read (headers; the data only of records that
may not have been durable).

1. Look at the tail of a volume: unfinished and torn records are made void, what is behind the last
   record is cut off.
2. Write it again and sync it: what is found whole may only be in the kernel's memory yet.
3. Take the records into the tables.

Nothing is cut or made void in a volume that cannot be read through; it is read again next time.

Source: docs/shard-format.md, "Start".
"""

from __future__ import annotations

from dataclasses import field
from functools import partial
from typing import Final

from cell.storage import index_tables
from cell.storage.index import Index
from cell.storage.known_segments import READ_AT_START, KnownSegments
from cell.storage.recovery_read_only import recover_to_read
from cell.storage.scan import is_whole, read_steadily, records
from cell.storage.shards import ShardKey, VolumeFacts
from cell.storage.volumes import DIRECTORY, Growing, Volumes, volume_number, volume_path
from common.data_classes import dataclass
from common.errors import Corrupt, Unavailable
from common.format.volume import (
    VOLUME_HEAD_BYTES,
    RecordHeader,
    RecordKind,
    pack_record,
    unpack_head,
)
from common.limits import MIB
from common.ports import Disk, Entropy, File, Log, Sql, Stores, SyncedStore, WallClock

INDEX_NAME: Final = "index.sqlite"
REWRITE_BYTES: Final = 1 * MIB
TAKE_IN_RECORDS: Final = 1000
"""Records taken in by one transaction."""


@dataclass(slots=True)
class Recovered:
    """A cell's storage, ready. ``read_only_reason``: why the medium could not be written."""

    store: SyncedStore
    index: Index
    volumes: Volumes
    active: Growing | None
    read_only_reason: str = ""


async def open_tables(stores: Stores, log: Log) -> SyncedStore:
    """Open the index, or begin an empty one if there is none or it is damaged."""
    try:
        store = await stores.open(INDEX_NAME, durable=False)
        await store.transact(index_tables.prepare)
    except Corrupt as error:
        log.error("index_rebuilt", error=str(error))
        await stores.discard(INDEX_NAME)
        store = await stores.open(INDEX_NAME, durable=False)
        await store.transact(index_tables.prepare)
    return store


async def recover(
    disk: Disk,
    stores: Stores,
    clock: WallClock,
    entropy: Entropy,
    log: Log,
    volume_bytes: int,
) -> Recovered:
    """Open a cell's storage; where its medium cannot be written, to be read.

    Args:
        volume_bytes: a volume of this size is not continued.

    Raises:
        Unavailable: the disk cannot be written at all, and it has no index to read by.
        Corrupt: the directory cannot be read.
    """
    store: SyncedStore | None = None
    try:
        await disk.make_directory(DIRECTORY)
        await disk.sync_directory(".")
        store = await open_tables(stores, log)
        return await _Recovery(disk, store, clock, log).run(entropy, volume_bytes)
    except Unavailable as error:
        log.error("cannot_write_at_start", error=str(error))
        if store is None:
            store = await stores.open(INDEX_NAME, durable=False)
        try:
            if not await store.read(index_tables.is_prepared):
                raise  # a first start, or one without its index: there is nothing to read by
            index, volumes = await recover_to_read(disk, store, clock, entropy, log)
        except BaseException:
            await store.close()
            raise
        return Recovered(store, index, volumes, None, error.reason)


@dataclass(slots=True)
class _Tail:
    """The stretch of a volume above its watermark.

    ``sure_below``: what begins below was durable before the end. ``end``: of the last record that
    is needed. ``void``: unfinished and torn records before that. ``torn``: their shards.
    """

    sure_below: int
    end: int
    void: list[RecordHeader] = field(default_factory=list)
    torn: list[ShardKey] = field(default_factory=list)
    is_empty: bool = True


class _Recovery:
    def __init__(self, disk: Disk, store: SyncedStore, clock: WallClock, log: Log) -> None:
        self._disk = disk
        self._store = store
        self._clock = clock
        self._log = log
        self._facts: dict[int, VolumeFacts] = {}
        self._sequence = 1
        self._present: set[int] = set()

    async def run(self, entropy: Entropy, volume_bytes: int) -> Recovered:
        self._facts = await self._load()
        is_fresh = not self._facts
        self._sequence = await self._store.read(index_tables.load_sequence)
        names = await self._disk.names(DIRECTORY)
        numbers = sorted(each for each in map(volume_number, names) if each is not None)
        highest = max(numbers, default=0)
        highest_known = max([highest, *self._facts])
        self._present = set(numbers)
        last_key: bytes | None = None
        for number in numbers:
            facts = self._facts.get(number)
            if facts is None or not facts.is_closed:
                last_key = await self._take_in(number, is_last=number == highest)
        for number in set(self._facts) - self._present:
            await self._forget(number)
        if is_fresh:
            await self._store.transact(index_tables.drop_needless_tombstones)
        sequence = self._sequence
        await self._store.transact(lambda sql: index_tables.put_sequence(sql, sequence))
        facts_now = await self._load()
        newest = await self._store.read(partial(index_tables.newest_segments, limit=READ_AT_START))
        known = KnownSegments(newest, is_all=len(newest) < READ_AT_START)
        index = Index(self._store, self._clock, self._log, facts_now, sequence, known)
        volumes = Volumes(self._disk, entropy, self._log, facts_now, highest_known)
        last = facts_now.get(highest)
        active = None
        if last is not None and not last.is_closed and last_key is not None:
            active = volumes.growing[highest] = Growing(last, last_key)
            if last.end_bytes >= volume_bytes:
                self._log.info("volume_full", volume=highest)
        return Recovered(self._store, index, volumes, active)

    async def _load(self) -> dict[int, VolumeFacts]:
        known = await self._store.read(index_tables.load_volumes)
        return {each.number: each for each in known}

    async def _forget(self, number: int) -> None:
        """A volume that the index knows and that is not there: compaction removed it, or it is
        truly gone."""
        lost = await self._store.transact(partial(index_tables.lose_shards, volume=number))
        if lost:
            self._log.error("volume_missing", volume=number, shards=lost)
        await self._store.transact(partial(index_tables.forget_volume, volume=number))

    async def _take_in(self, number: int, *, is_last: bool) -> bytes | None:
        """Bring the index up to a volume.

        Returns:
            Its key if records may be added to it.
        """
        path = volume_path(number)
        file = await self._disk.open(path)
        try:
            size = await file.size()
            try:
                key = unpack_head(await read_steadily(file, 0, VOLUME_HEAD_BYTES), volume=number)
            except Corrupt as error:
                if number not in self._facts and size <= VOLUME_HEAD_BYTES:
                    # It was being made when the power went: nothing in it was acknowledged.
                    await self._disk.unlink(path)
                    self._present.discard(number)
                else:
                    self._log.error("volume_unreadable", volume=number, error=str(error))
                return None
            await self._store.transact(partial(index_tables.know_volume, number=number))
            facts = self._facts.setdefault(number, VolumeFacts(number))
            try:
                tail = await _look(file, key, facts)
                await self._mend(file, key, number, size, tail)
            except Corrupt as error:
                self._log.error("volume_not_readable_through", volume=number, error=str(error))
                await self._take_in_readable(file, key, facts, size)
                return None
            await self._take_in_tail(file, key, facts, tail, is_closed=not is_last)
            return key
        finally:
            await file.close()

    async def _mend(self, file: File, key: bytes, number: int, size: int, tail: _Tail) -> None:
        """Make a tail consist of whole records only, and durable."""
        for header in tail.void:
            void = RecordHeader(
                RecordKind.VOID, number, header.offset, 0, header.record_bytes, tail.sure_below
            )
            await file.write(header.offset, [pack_record(key, void)])
        if tail.end < size:
            await file.truncate(tail.end)
        if tail.void or tail.end < size or not tail.is_empty:
            await _rewrite(file, tail.sure_below, tail.end)
            await file.sync()

    async def _take_in_tail(
        self, file: File, key: bytes, facts: VolumeFacts, tail: _Tail, *, is_closed: bool
    ) -> None:
        """Put the records of a mended tail into the tables, and then the new watermark."""
        found: list[RecordHeader] = []
        async for header in records(file, key, facts.number, facts.watermark):
            found.append(header)
            if len(found) >= TAKE_IN_RECORDS:
                await self._take_in_found(found)
                found = []
        await self._take_in_found(found)

        def mark(sql: Sql) -> None:
            index_tables.put_marks(
                sql, facts.number, watermark=tail.end, end_bytes=tail.end, is_closed=is_closed
            )
            index_tables.put_sequence(sql, self._sequence)
            index_tables.lose(sql, tail.torn)

        await self._store.transact(mark)

    async def _take_in_found(self, found: list[RecordHeader]) -> None:
        self._sequence = max([self._sequence, *(each.sequence + 1 for each in found)])
        kept = [each for each in found if each.kind in {RecordKind.SHARD, RecordKind.TOMBSTONE}]
        await self._store.transact(
            partial(
                index_tables.take_in,
                found=kept,
                present=self._present,
                added=int(self._clock.now()),
            )
        )

    async def _take_in_readable(
        self, file: File, key: bytes, facts: VolumeFacts, size: int
    ) -> None:
        """Take what is whole from a volume that the medium cannot read through. Its watermark
        stays, so that the next start tries again; nothing is added to it."""
        torn: list[ShardKey] = []
        async for header in records(file, key, facts.number, facts.watermark, skip_unreadable=True):
            if header.kind is RecordKind.SHARD and not await _is_whole_and_readable(file, header):
                torn.append((header.segment_id, header.slot))
            else:
                await self._take_in_found([header])

        def mark(sql: Sql) -> None:
            index_tables.put_marks(
                sql,
                facts.number,
                watermark=facts.watermark,
                end_bytes=max(facts.end_bytes, size),
                is_closed=False,
            )
            index_tables.lose(sql, torn)

        await self._store.transact(mark)


async def _rewrite(file: File, start: int, end: int) -> None:
    """Write a stretch again as it is. A sync in an earlier life may have failed: the kernel then
    takes pages for clean that the medium does not have, and syncs them only when written again.

    Raises:
        Corrupt: ``read_error``.
        Unavailable: ``no_space``, ``write_error``.
    """
    for offset in range(start, end, REWRITE_BYTES):
        data = await read_steadily(file, offset, min(REWRITE_BYTES, end - offset))
        await file.write(offset, [data])


async def _look(file: File, key: bytes, facts: VolumeFacts) -> _Tail:
    """Find out what a tail consists of.

    Raises:
        Corrupt: ``read_error``.
    """
    sure_below = facts.watermark
    is_empty = True
    async for header in records(file, key, facts.number, facts.watermark):
        is_empty = False
        sure_below = max(sure_below, header.durable_below)
    tail = _Tail(sure_below, sure_below, is_empty=is_empty)
    doubtful: list[RecordHeader] = []
    async for header in records(file, key, facts.number, sure_below):
        if header.kind is RecordKind.TOMBSTONE or (
            header.kind is RecordKind.SHARD and await is_whole(file, header)
        ):
            tail.void += doubtful
            doubtful = []
            tail.end = header.offset + header.record_bytes
            continue
        if header.kind is RecordKind.SHARD:
            tail.torn.append((header.segment_id, header.slot))
        if header.kind is not RecordKind.VOID:
            doubtful.append(header)
    return tail


async def _is_whole_and_readable(file: File, header: RecordHeader) -> bool:
    try:
        return await is_whole(file, header)
    except Corrupt:
        return False
