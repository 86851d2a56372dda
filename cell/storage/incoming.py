"""Shards that come unit by unit."""

from __future__ import annotations

import trio

from cell.storage.parts import FinishedShard, StorageParts
from cell.storage.reservation import Reservation
from cell.storage.shards import ShardKey
from cell.storage.volumes import Growing
from cell.storage.writer import WriteJob
from common.crypto.digest import ShardDigests, leaf
from common.errors import Corrupt, Refused, Unavailable
from common.format.volume import (
    RecordHeader,
    RecordKind,
    data_offset,
    padding_bytes,
    record_bytes_of,
)
from common.ports import Buffer
from common.reasons import Damage, Outage, Refusal


class IncomingShard:
    """A shard in the making, in room reserved for it. Its calls must not overlap; when one raises,
    or nobody wants it any more, :meth:`abort` gives the room back."""

    def __init__(
        self,
        storage: StorageParts,
        key: ShardKey,
        unit_bytes: int,
        shard_bytes: int,
        place: tuple[Growing, int],
    ) -> None:
        self.key = key
        self._storage = storage
        self._unit_bytes = unit_bytes
        self._shard_bytes = shard_bytes
        self._volume, self._offset = place
        self._leaves: list[bytes] = []
        self._received = 0
        self._begun = 0
        """Bytes with which the medium was let begin."""
        self._is_over = False
        self.last_used = trio.current_time()
        self.is_busy = False
        """A call of it is under way."""

    @property
    def unfilled_bytes(self) -> int:
        """Bytes of its room whose units have not come."""
        return 0 if self._is_over else self._shard_bytes - self._received

    @classmethod
    async def begin(
        cls, storage: StorageParts, key: ShardKey, unit_bytes: int, shard_bytes: int
    ) -> IncomingShard:
        """Reserve the room.

        Raises:
            Unavailable: ``no_space``, ``read_only``, ``write_error``.
        """
        header = RecordHeader(
            RecordKind.RESERVED,
            volume=0,
            offset=0,
            sequence=0,
            record_bytes=record_bytes_of(unit_bytes, shard_bytes),
            durable_below=0,
            segment_id=key[0],
            slot=key[1],
            unit_bytes=unit_bytes,
            shard_bytes=shard_bytes,
        )
        place = await Reservation(storage.writer, header).make()
        return cls(storage, key, unit_bytes, shard_bytes, place)

    async def append(self, unit: int, data: memoryview) -> None:
        """Write the next unit.

        Raises:
            Refused: ``unit_out_of_order``, ``bad_unit_length``, ``upload_over``.
            Unavailable: ``no_space``, ``write_error``, ``sync_failed``.
        """
        if self._is_over:
            raise Refused(Refusal.UPLOAD_OVER)
        if unit != len(self._leaves):
            raise Refused(Refusal.UNIT_OUT_OF_ORDER, unit=unit, expected=len(self._leaves))
        wanted = min(self._unit_bytes, self._shard_bytes - self._received)
        if len(data) != wanted or not wanted:
            raise Refused(Refusal.BAD_UNIT_LENGTH, unit=unit, length=len(data), expected=wanted)
        if self._volume.has_failed:
            raise Unavailable(Outage.SYNC_FAILED)
        self.last_used = trio.current_time()
        self._leaves.append(leaf(data))
        start = data_offset(self._unit_bytes, self._shard_bytes) + self._received
        self._received += wanted
        parts: list[Buffer] = [data]
        if self._received == self._shard_bytes:
            plain = data_offset(self._unit_bytes, self._shard_bytes) + self._shard_bytes
            parts.append(bytes(padding_bytes(plain)))
        self.is_busy = True
        try:
            async with self._storage.volumes.opened(self._volume.number) as file:
                await file.write(self._offset + start, parts)
        finally:
            self.is_busy = False
            self.last_used = trio.current_time()

    async def begin_writeback(self) -> None:
        """Let the medium begin with the units that came since the last time.

        Records of a volume share its syncs: without this the sync of a writer's small object would
        wait for all that came of a shard that is rebuilt.
        """
        first, self._begun = self._begun, self._received
        start = self._offset + data_offset(self._unit_bytes, self._shard_bytes)
        async with self._storage.volumes.opened(self._volume.number) as file:
            await file.begin_writeback(start + first, self._received - first)

    async def finish(self, root: bytes) -> None:
        """Finish the shard, of which all units are there; durable on return.

        Raises:
            Refused: ``upload_incomplete``, ``upload_over``, ``shard_exists`` with another root.
            Corrupt: ``root_mismatch``.
            Unavailable: ``write_error``, ``sync_failed``, ``store_failed``.
        """
        storage = self._storage
        if self._is_over:
            raise Refused(Refusal.UPLOAD_OVER)
        if self._received != self._shard_bytes:
            raise Refused(
                Refusal.UPLOAD_INCOMPLETE, received=self._received, size=self._shard_bytes
            )
        digests = ShardDigests(self._unit_bytes, self._shard_bytes, b"".join(self._leaves))
        if not digests.belong_to(root):
            raise Corrupt(Damage.ROOT_MISMATCH)
        self.is_busy = True
        await storage.holds.take([self.key])
        is_queued = False
        try:
            known = await storage.find_to_write(self.key, root)
            if known is not None and not known.bad:
                self.abort()
                return
            record = FinishedShard(storage, self.key, digests, root, known)
            job = WriteJob(
                0,
                record.build,
                record.after,
                place=(self._volume, self._offset),
                key=self.key,
            )
            storage.writer.submit(job)
            is_queued = self._is_over = True
        finally:
            if not is_queued:
                storage.holds.give_back(self.key)
        await job.wait()

    def abort(self) -> None:
        """Give the room back; may be called again, and after the end."""
        if not self._is_over:
            self._is_over = True
            self._storage.writer.give_up(self._volume, self._offset)
