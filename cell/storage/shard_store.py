"""The storage of a cell: put, read and delete shards. Knows nothing of orders or callers.

Source: docs/shard-format.md.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial

import trio

from cell.storage.compaction import Compaction
from cell.storage.incoming import IncomingShard
from cell.storage.index import Index
from cell.storage.leaf_cache import LeafCache
from cell.storage.locks import ShardLocks
from cell.storage.parts import FinishedShard, StorageParts, read_twice
from cell.storage.recovery import Recovered, recover
from cell.storage.shards import Entry, ShardKey
from cell.storage.space import SpaceKeeper
from cell.storage.volumes import Growing, Volumes
from cell.storage.whole_check import check_whole
from cell.storage.writer import WriteJob, Writer
from common import limits
from common.crypto.digest import ShardDigests
from common.errors import AlvearyError, Corrupt, Refused
from common.format.volume import (
    HEADER_BYTES,
    RecordHeader,
    RecordKind,
    leaves_bytes,
    pack_record,
    record_bytes_of,
    shape_is_valid,
)
from common.ports import Buffer, Log, World
from common.reasons import Damage, Refusal
from common.tasks import go_on
from common.wire.messages.base import CellFacts


class ShardStore:
    """Shards in volumes. Made by :meth:`open`; works while :meth:`run` runs."""

    def __init__(
        self,
        recovered: Recovered,
        world: World,
        *,
        capacity_bytes: int | None,
        reserve_bytes: int,
        volume_bytes: int,
    ) -> None:
        self.index: Index = recovered.index
        self.volumes: Volumes = recovered.volumes
        self.holds = ShardLocks()
        self.writer = Writer(recovered.volumes, recovered.index, world.log, volume_bytes)
        self.writer.active = recovered.active
        if recovered.read_only_reason:
            self.writer.begin_read_only(recovered.read_only_reason)
        self.space = SpaceKeeper(
            world.disk, recovered.index, recovered.volumes, capacity_bytes, reserve_bytes
        )
        self.parts = StorageParts(
            self.index, self.volumes, self.writer, self.holds, self.space, world.log
        )
        self.compaction = Compaction(self.parts)
        self.lost_shards = 0
        """Of volumes that were gone at a start, index and all."""
        self._log: Log = world.log
        self._clock = world.clock
        self._store = recovered.store
        self._leaves = LeafCache()

    @classmethod
    async def open(
        cls,
        world: World,
        *,
        capacity_bytes: int | None,
        reserve_bytes: int,
        volume_bytes: int,
    ) -> ShardStore:
        """Bring volumes and index together.

        Raises:
            Unavailable: the disk cannot be written at all, and it has no index to read by.
            Corrupt: the data directory cannot be read.
        """
        recovered = await recover(
            world.disk, world.stores, world.clock, world.entropy, world.log, volume_bytes
        )
        store = cls(
            recovered,
            world,
            capacity_bytes=capacity_bytes,
            reserve_bytes=reserve_bytes,
            volume_bytes=volume_bytes,
        )
        await store.space.refresh()
        return store

    async def run(self) -> None:
        """Write, index and compact until cancelled. An unexpected exception of the writer or the
        index ends the daemon: what they hold in memory may not be what is on disk any more, and a
        start recovers it from the volumes."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.writer.run)
                nursery.start_soon(self.index.run)
                nursery.start_soon(go_on, "compaction", self.compaction.run, self._log)
        finally:
            await self._store.close()

    # --- writing -------------------------------------------------------------------------------

    async def put(self, key: ShardKey, unit_bytes: int, root: bytes, data: memoryview) -> None:
        """Store a whole shard; durable on return.

        Args:
            data: its units, joined.
            root: what they must hash to.

        Raises:
            Refused: ``bad_shape``; ``shard_exists`` with another root.
            Corrupt: ``root_mismatch``.
            Unavailable: ``no_space``, ``read_only``, ``write_error``, ``sync_failed``.
        """
        shard_bytes = len(data)
        if not shape_is_valid(unit_bytes, shard_bytes):
            raise Refused(Refusal.BAD_SHAPE, unit_bytes=unit_bytes, shard_bytes=shard_bytes)
        digests = ShardDigests.of(unit_bytes, shard_bytes, data)
        if not digests.belong_to(root):
            raise Corrupt(Damage.ROOT_MISMATCH)
        await self.index.wait_room()
        await self.holds.take([key])
        is_queued = False
        try:
            known = await self.parts.find_to_write(key, root)
            if known is not None and not known.bad:
                return
            length = record_bytes_of(unit_bytes, shard_bytes)
            await self.space.take(length)
            record = FinishedShard(self.parts, key, digests, root, known)
            job = WriteJob(length, partial(record.build, data=data), record.after, key=key)
            self.writer.submit(job)
            is_queued = True
        finally:
            if not is_queued:
                self.holds.give_back(key)
        await job.wait()

    async def begin_upload(self, key: ShardKey, unit_bytes: int, shard_bytes: int) -> IncomingShard:
        """Reserve room for a shard that comes unit by unit.

        Raises:
            Refused: ``bad_shape``; ``shard_exists`` with another size.
            Unavailable: ``no_space``, ``read_only``, ``write_error``.
        """
        if not shape_is_valid(unit_bytes, shard_bytes):
            raise Refused(Refusal.BAD_SHAPE, unit_bytes=unit_bytes, shard_bytes=shard_bytes)
        entry = await self.index.find(key)
        if (
            entry is not None
            and not entry.bad
            and (entry.unit_bytes, entry.shard_bytes) != (unit_bytes, shard_bytes)
        ):
            raise Refused(Refusal.SHARD_EXISTS)
        await self.index.wait_room()
        await self.space.take(record_bytes_of(unit_bytes, shard_bytes))
        return await IncomingShard.begin(self.parts, key, unit_bytes, shard_bytes)

    async def delete(
        self, keys: Sequence[ShardKey], *, sequences: Mapping[ShardKey, int] | None = None
    ) -> list[ShardKey]:
        """Delete shards; those that are not here count as deleted. Those that are retained stay.

        Args:
            sequences: the only record of each shard that is meant: a later one stays.

        Returns:
            Those that are durably gone.

        Raises:
            Unavailable: ``store_failed``: none was tried.
        """
        keys = list(dict.fromkeys(keys))
        await self.holds.take(keys)
        jobs: list[tuple[ShardKey, WriteJob]] = []
        gone = []
        left = set(keys)
        try:
            entries = await self.index.find_all(keys)
            retained = await self.retained(keys)
            for key, entry in zip(keys, entries, strict=True):
                if entry is None:
                    gone.append(key)
                    continue
                if key in retained:
                    continue
                if sequences is not None and entry.sequence != sequences[key]:
                    continue
                jobs.append((key, self._bury(key, entry)))
                left.discard(key)
        finally:
            for key in left:
                self.holds.give_back(key)
        for key, job in jobs:
            await job.done.wait()
            if job.error is None:
                gone.append(key)
        if jobs:
            self.compaction.look_soon()
        return gone

    async def retained(self, keys: Sequence[ShardKey]) -> set[ShardKey]:
        """Return those of the shards that nobody may have deleted now, by this cell's own clock.

        Raises:
            Unavailable: ``store_failed``.
        """
        now = self._clock.now()
        until = await self.index.retained_until(keys)
        return {key for key, end in until.items() if now < end}

    def _bury(self, key: ShardKey, entry: Entry) -> WriteJob:
        sequence = self.index.take_sequence()

        def build(volume: Growing, offset: int) -> Sequence[Buffer]:
            header = RecordHeader(
                RecordKind.TOMBSTONE,
                volume.number,
                offset,
                sequence,
                HEADER_BYTES,
                volume.durable_below,
                *key,
            )
            return [pack_record(volume.key, header)]

        def after(volume: Growing | None, offset: int, error: AlvearyError | None) -> None:
            if error is None:
                assert volume is not None
                self.index.remove(key, entry, sequence, volume.number)
                self._leaves.forget(key)
            self.holds.give_back(key)

        return self.writer.submit(WriteJob(HEADER_BYTES, build, after))

    # --- reading -------------------------------------------------------------------------------

    async def read(
        self, key: ShardKey, first: int, count: int, *, want_leaves: bool
    ) -> tuple[Entry, bytes, bytes]:
        """Read units and check them.

        Args:
            first: number of the first unit.
            count: how many; fewer come at the end of the shard.
            want_leaves: also all leaves of the shard.

        Returns:
            What the shard is; the units, joined; all leaves, or nothing.

        Raises:
            NotFound: ``no_such_shard``.
            Refused: ``bad_range``: no unit there, or more than fit one reply.
            Corrupt: ``leaf_mismatch``, ``read_error``: the shard is not served any more.
        """

        async def read(entry: Entry) -> tuple[Entry, bytes, bytes]:
            data, leaves = await read_twice(
                partial(self._read_checked, key, entry, first, count, want_leaves)
            )
            return entry, data, leaves

        return await self.parts.read_where_it_lies(key, read)

    async def _read_checked(
        self, key: ShardKey, entry: Entry, first: int, count: int, want_leaves: bool
    ) -> tuple[bytes, bytes]:
        unit_bytes, shard_bytes = entry.unit_bytes, entry.shard_bytes
        start = first * unit_bytes
        end = min(start + count * unit_bytes, shard_bytes)
        if not 0 < end - start <= limits.MAX_UNITS_PER_READ_BYTES:
            raise Refused(Refusal.BAD_RANGE, first=first, count=count)
        async with self.volumes.opened(entry.volume) as file:
            digests = self._leaves.get(key, entry)
            if digests is None and (size := leaves_bytes(unit_bytes, shard_bytes)):
                leaves = await file.read(entry.leaves_offset, size)
                digests = ShardDigests(unit_bytes, shard_bytes, leaves)
                self._check_root(key, entry, digests)
            data = await file.read(entry.data_offset + start, end - start)
        if digests is None:
            digests = ShardDigests.of(unit_bytes, shard_bytes, data)
            self._check_root(key, entry, digests)
        elif not digests.hold(first, count, data):
            raise Corrupt(Damage.LEAF_MISMATCH)
        return data, digests.leaves if want_leaves else b""

    def _check_root(self, key: ShardKey, entry: Entry, digests: ShardDigests) -> None:
        if not digests.belong_to(entry.root):
            raise Corrupt(Damage.LEAF_MISMATCH)
        if digests.units > 1:
            self._leaves.remember(key, entry, digests)

    async def check(self, key: ShardKey, wait: Callable[[int], Awaitable[None]]) -> None:
        """See :func:`cell.storage.whole_check.check_whole`."""
        await check_whole(self.parts, key, wait)

    # --- facts ---------------------------------------------------------------------------------

    async def facts(self) -> CellFacts:
        """Return the cell's facts."""
        await self.space.refresh()
        volumes = self.index.volumes.values()
        reason = self.writer.read_only_reason or ("index_failed" if self.index.is_refusing else "")
        return CellFacts(
            capacity_bytes=self.space.capacity_bytes,
            used_bytes=self.space.used_bytes,
            free_bytes=0 if reason else self.space.free_bytes,
            shards=sum(each.shards for each in volumes),
            live_bytes=sum(each.shard_bytes for each in volumes),
            read_only=bool(reason),
            read_only_reason=reason,
            medium=self.space.medium,
            medium_total_bytes=self.space.medium_total_bytes,
            medium_free_bytes=self.space.medium_free_bytes,
            lost_shards=self.lost_shards,
        )
