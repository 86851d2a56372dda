"""The start of a cell whose medium cannot be written: what lies there stays readable.

Nothing is mended and no table is changed. What the volumes have above their watermarks is taken
into the index's memory, where it goes before the tables, as what is written while a cell runs; so
is the loss of shards whose volumes are gone. It reaches the tables once they can be written; the
watermarks stay, so the next start looks again.

Source: docs/shard-format.md, "Start".
"""

from __future__ import annotations

from functools import partial

from cell.storage import index_tables
from cell.storage.index import Index
from cell.storage.known_segments import READ_AT_START, KnownSegments
from cell.storage.scan import is_whole, read_steadily, records
from cell.storage.shards import Entry, ShardKey, VolumeFacts
from cell.storage.volumes import DIRECTORY, Volumes, volume_number, volume_path
from common.errors import Corrupt
from common.format.volume import VOLUME_HEAD_BYTES, RecordHeader, RecordKind, unpack_head
from common.ports import Disk, Entropy, File, Log, SyncedStore, WallClock


async def recover_to_read(
    disk: Disk, store: SyncedStore, clock: WallClock, entropy: Entropy, log: Log
) -> tuple[Index, Volumes]:
    """Bring volumes and index together without writing.

    Args:
        store: the index, with its tables.

    Raises:
        Corrupt: the directory cannot be read.
    """
    facts = {each.number: each for each in await store.read(index_tables.load_volumes)}
    names = await disk.names(DIRECTORY)
    numbers = sorted(each for each in map(volume_number, names) if each is not None)
    sequence = await store.read(index_tables.load_sequence)
    newest = await store.read(partial(index_tables.newest_segments, limit=READ_AT_START))
    known = KnownSegments(newest, is_all=len(newest) < READ_AT_START)
    index = Index(store, clock, log, facts, sequence, known)
    reader = _Reader(disk, store, index, log)
    for number in numbers:
        if number not in facts or not facts[number].is_closed:
            await reader.take_in(number)
    highest = max([0, *numbers, *facts])
    for number in sorted(set(facts) - set(numbers)):
        lost = await index.lose_volume(number)
        if lost:
            log.error("volume_missing", volume=number, shards=lost)
    return index, Volumes(disk, entropy, log, facts, highest)


class _Reader:
    def __init__(self, disk: Disk, store: SyncedStore, index: Index, log: Log) -> None:
        self._disk = disk
        self._store = store
        self._index = index
        self._log = log
        self._buried: dict[ShardKey, int] = {}

    async def take_in(self, number: int) -> None:
        """Take in what is whole of a volume's tail."""
        file = await self._disk.open(volume_path(number))
        try:
            try:
                key = unpack_head(await read_steadily(file, 0, VOLUME_HEAD_BYTES), volume=number)
            except Corrupt as error:
                self._log.error("volume_unreadable", volume=number, error=str(error))
                return
            facts = self._index.volumes.setdefault(number, VolumeFacts(number))
            sure_below = start = facts.watermark
            facts.end_bytes = max(facts.end_bytes, await file.size())
            found: list[RecordHeader] = []
            async for header in records(file, key, number, start, skip_unreadable=True):
                sure_below = max(sure_below, header.durable_below)
                found.append(header)
            for header in found:
                self._index.skip_sequence(header.sequence)
                await self._take_in(file, header, is_sure=header.offset < sure_below)
        finally:
            await file.close()

    async def _take_in(self, file: File, header: RecordHeader, *, is_sure: bool) -> None:
        """As :func:`cell.storage.index_tables.take_in`: of one shard's records the highest sequence
        counts, and of two copies the one in the newer volume."""
        key = (header.segment_id, header.slot)
        if header.kind is RecordKind.TOMBSTONE:
            known = await self._index.find(key)
            self._buried[key] = max(header.sequence, self._buried.get(key, 0))
            if known is not None and known.sequence < header.sequence:
                self._index.remove(key, known, header.sequence, header.volume)
        elif header.kind is RecordKind.SHARD and (is_sure or await _can_be_read(file, header)):
            await self._take_in_shard(key, header)

    async def _take_in_shard(self, key: ShardKey, header: RecordHeader) -> None:
        entry = Entry(
            header.volume,
            header.offset,
            header.sequence,
            header.unit_bytes,
            header.shard_bytes,
            header.root,
        )
        stones = await self._store.read(partial(index_tables.tombstones_of, keys=[key]))
        stone = max(self._buried.get(key, 0), stones.get(key, (0, 0))[0])
        known = await self._index.find(key)
        if stone > entry.sequence:
            return
        if known is None:
            self._index.add(key, entry, None)
        elif known.sequence < entry.sequence:
            self._index.add(key, entry, known)
        elif known.sequence == entry.sequence and known.volume < entry.volume:
            self._index.move(key, known, entry)


async def _can_be_read(file: File, header: RecordHeader) -> bool:
    try:
        return await is_whole(file, header)
    except Corrupt:
        return False
