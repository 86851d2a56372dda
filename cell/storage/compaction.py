"""Compaction: give the room of deleted shards back.

What is needed of a volume is copied to the active one (each unit checked on the way), and the
volume is removed. A copy keeps its sequence number, so at every moment a scan takes either the old
record or the copy, and a tombstone still beats both.

Source: docs/shard-format.md, "Compaction".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import trio

from cell.storage.compaction_policy import VolumeView, plan
from cell.storage.parts import StorageParts
from cell.storage.record_copy import Copy, copy_shard, copy_tombstone
from cell.storage.scan import records
from cell.storage.shards import Entry, ShardKey
from common.errors import AlvearyError, Corrupt
from common.format.volume import VOLUME_HEAD_BYTES, RecordHeader, RecordKind
from common.limits import MIB
from common.ports import File
from common.tasks import log_fault

LOOK_EVERY_S: Final = 120.0
"""Deletes are looked at at once; this is for what becomes worth it because the disk fills up."""
RETRY_AFTER_S: Final = 600.0
"""A volume that could not be compacted is left alone for so long."""
BATCH_RECORDS: Final = 128
BATCH_BYTES: Final = 2 * MIB


class BadShardMet(Exception):
    """A shard failed its check while being copied: nothing may be removed before it is known."""


class Compaction:
    """Copies and removes volumes, one at a time."""

    def __init__(self, storage: StorageParts) -> None:
        self._storage = storage
        self._look = trio.Event()
        self._one_at_a_time = trio.Lock()
        self._excluded: dict[int, float] = {}
        self.removed = 0
        """Volumes removed in this life."""

    def look_soon(self) -> None:
        """Look for work soon: shards were deleted."""
        self._look.set()

    async def run(self) -> None:
        """Compact what is worth it, until cancelled."""
        while True:
            with trio.move_on_after(LOOK_EVERY_S):
                await self._look.wait()
            self._look = trio.Event()
            while await self.step():
                pass

    async def step(self) -> bool:
        """Carry out one plan; whether there was one. Waits while another is carried out."""
        async with self._one_at_a_time:
            return await self._step()

    async def _step(self) -> bool:
        storage = self._storage
        now = trio.current_time()
        self._excluded = {each: until for each, until in self._excluded.items() if until > now}
        active = storage.writer.active
        chosen = plan(
            [
                VolumeView(
                    facts.number,
                    facts.end_bytes - VOLUME_HEAD_BYTES,
                    facts.live_bytes,
                    facts.is_closed,
                    active is not None and active.number == facts.number,
                    facts.number in self._excluded,
                )
                for facts in storage.index.volumes.values()
            ],
            capacity_bytes=storage.space.capacity_bytes,
            free_bytes=storage.space.free_bytes,
            medium_free_bytes=storage.space.medium_free_bytes,
        )
        if chosen.retire:
            storage.writer.retire_active()
            return True
        if chosen.volume is None:
            return False
        try:
            await self.compact(chosen.volume)
        except AlvearyError as error:
            storage.log.warning("not_compacted", volume=chosen.volume, error=str(error))
            self._excluded[chosen.volume] = now + RETRY_AFTER_S
        except BadShardMet:
            self._excluded[chosen.volume] = now + RETRY_AFTER_S
        except Exception as error:
            # A volume is removed only when all that is needed of it lies elsewhere and counts, so
            # the old one still holds whatever this met. The cell reads and writes on without it.
            log_fault(storage.log, "compaction_broke", error, volume=chosen.volume)
            self._excluded[chosen.volume] = now + RETRY_AFTER_S
        return True

    async def compact(self, number: int) -> None:
        """Copy what is needed of a closed volume and remove it.

        Raises:
            AlvearyError: it stays.
            BadShardMet: it stays until the coordinator knows of the bad shard.
        """
        storage = self._storage
        await storage.index.flush()
        key = await storage.volumes.key_of(number)
        async with storage.volumes.opened(number) as file:
            batch: list[RecordHeader] = []
            size = 0
            async for header in records(file, key, number, VOLUME_HEAD_BYTES):
                if header.kind not in {RecordKind.SHARD, RecordKind.TOMBSTONE}:
                    continue
                batch.append(header)
                size += header.record_bytes
                if len(batch) >= BATCH_RECORDS or size >= BATCH_BYTES:
                    await self._copy_batch(number, file, batch)
                    batch, size = [], 0
            await self._copy_batch(number, file, batch)
        await storage.index.flush()
        if storage.index.volumes[number].shards:
            await self._drop_unfound(number)
        if number == storage.volumes.highest:
            # A number is never used again: the index may come back from a power cut with rows of
            # a volume that was removed, and must not take another one for it.
            await storage.writer.begin_anew().wait()
        # Between a copy and its move the tables may have a watermark above the copy, and the shard
        # in the old volume. They must not come back so from a power cut when that is gone.
        await storage.index.sync()
        before = storage.index.volumes[number]
        await storage.volumes.remove(number)
        storage.log.info("volume_compacted", volume=number, freed_bytes=before.dead_bytes)
        await storage.index.forget_volume(number)
        await storage.space.refresh()
        self.removed += 1

    async def _copy_batch(self, number: int, file: File, batch: Sequence[RecordHeader]) -> None:
        """Copy those records of a batch that are needed; they are durable and counted on return.

        Raises:
            AlvearyError: not all could be copied; those that were count all the same.
            BadShardMet: one failed its check.
        """
        index = self._storage.index
        names = [(each.segment_id, each.slot) for each in batch]
        stones = [
            name
            for name, each in zip(names, batch, strict=True)
            if each.kind is RecordKind.TOMBSTONE
        ]
        needed = await index.needed_tombstones(stones, number)
        entries = await index.find_many(names)
        copies: list[tuple[ShardKey, Entry | None, Copy]] = []
        failure: AlvearyError | BadShardMet | None = None
        for name, header, entry in zip(names, batch, entries, strict=True):
            if header.kind is RecordKind.TOMBSTONE:
                if needed.get(name) == header.sequence:
                    copies.append((name, None, copy_tombstone(self._storage, header)))
                continue
            if entry is None or (entry.volume, entry.offset) != (number, header.offset):
                continue
            try:
                if entry.bad:
                    await self._drop_bad(name, entry)
                else:
                    copies.append((name, entry, await copy_shard(self._storage, file, header)))
            except Corrupt:
                await self._storage.quarantine(name, entry, "leaf_mismatch")
                failure = BadShardMet()
            except (AlvearyError, BadShardMet) as error:
                failure = error
        for name, entry, copy in copies:
            try:
                await copy.job.wait()
            except AlvearyError as error:
                failure = error
                continue
            if entry is None:
                index.move_tombstone(name, copy.header.sequence, number, copy.volume)
            else:
                await self._moved(name, entry, copy)
        if failure is not None:
            raise failure

    async def _moved(self, name: ShardKey, entry: Entry, copy: Copy) -> None:
        """The copy counts from now on, unless the shard was deleted meanwhile."""
        index, holds = self._storage.index, self._storage.holds
        await holds.take([name])
        try:
            if await index.find(name) == entry:
                new = replace(entry, volume=copy.volume, offset=copy.job.offset)
                index.move(name, entry, new)
        finally:
            holds.give_back(name)

    async def _drop_bad(self, name: ShardKey, entry: Entry) -> None:
        """Drop a bad shard instead of copying it; but first the coordinator must know.

        Raises:
            BadShardMet: it does not.
        """
        index, holds = self._storage.index, self._storage.holds
        if await index.is_unreported(name):
            raise BadShardMet
        await holds.take([name])
        try:
            if await index.find(name) == entry:
                index.drop_bad(name, entry)
        finally:
            holds.give_back(name)

    async def _drop_unfound(self, number: int) -> None:
        """Drop the shards that the index has in a volume and a scan did not find: their headers are
        damaged.

        Raises:
            BadShardMet: the coordinator does not know yet.
        """
        are_all_known = True
        for name, entry in await self._storage.index.shards_in(number):
            if entry.bad:
                await self._drop_bad(name, entry)
            else:
                await self._storage.quarantine(name, entry, "leaf_mismatch")
                are_all_known = False
        if not are_all_known:
            raise BadShardMet
