"""Copying a record from one volume to the active one, checked on the way.

Source: docs/shard-format.md, "Compaction".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from cell.storage.parts import StorageParts
from cell.storage.reservation import Reservation
from cell.storage.shards import ShardKey
from cell.storage.volumes import Growing
from cell.storage.writer import WriteJob
from common import limits
from common.crypto.digest import ShardDigests
from common.errors import AlvearyError, Corrupt
from common.format.volume import (
    HEADER_BYTES,
    RecordHeader,
    RecordKind,
    data_offset,
    leaves_bytes,
    pack_record,
    padding_bytes,
)
from common.ids import DIGEST_BYTES
from common.limits import KIB
from common.ports import Buffer, File
from common.reasons import Damage

WHOLE_BYTES: Final = 256 * KIB
"""Records up to this are copied in one piece."""


class Copy:
    """A copy on its way to be durable: wait for its job. It names its shard to the writer, so a
    copy that fails is remembered as dead."""

    def __init__(self, storage: StorageParts, header: RecordHeader, body: Sequence[Buffer]) -> None:
        self.header = header
        self.volume = 0
        self._body = body
        self._storage = storage
        self.job: WriteJob

    def append(self) -> None:
        """Write header and body at the end of the active volume."""
        self.job = WriteJob(self.header.record_bytes, self._build, self._after, key=self._key)
        self._storage.writer.submit(self.job)

    def put_at(self, place: tuple[Growing, int]) -> None:
        """Write header and body to room that was reserved and already has the units."""
        self.job = WriteJob(0, self._build, self._after, place=place, key=self._key)
        self._storage.writer.submit(self.job)

    @property
    def _key(self) -> ShardKey | None:
        if self.header.kind is RecordKind.TOMBSTONE:
            return None
        return self.header.segment_id, self.header.slot

    def _build(self, volume: Growing, offset: int) -> Sequence[Buffer]:
        header = self.header.moved_to(volume.number, offset, volume.durable_below)
        return [pack_record(volume.key, header), *self._body]

    def _after(self, volume: Growing | None, offset: int, error: AlvearyError | None) -> None:
        if error is not None or volume is None:
            return
        self.job.offset = offset
        self.volume = volume.number
        if self._key is not None:
            # Until the index takes the copy for the shard, nobody else knows of it.
            self._storage.index.bury_unknown(self._key, volume.number)


def copy_tombstone(storage: StorageParts, header: RecordHeader) -> Copy:
    """Copy a tombstone."""
    copy = Copy(storage, header, [])
    copy.append()
    return copy


async def copy_shard(storage: StorageParts, file: File, header: RecordHeader) -> Copy:
    """Copy a shard.

    Args:
        file: the volume it lies in.

    Raises:
        Corrupt: ``leaf_mismatch``, ``read_error``: it is bad.
        Unavailable: the copy cannot be written.
    """
    digests = await _read_digests(file, header)
    if header.record_bytes > WHOLE_BYTES:
        return await _copy_by_units(storage, file, header, digests)
    start = header.offset + data_offset(header.unit_bytes, header.shard_bytes)
    data = await file.read(start, header.shard_bytes)
    if not digests.hold(0, digests.units, data):
        raise Corrupt(Damage.LEAF_MISMATCH)
    written = data_offset(header.unit_bytes, header.shard_bytes) + len(data)
    padding = bytes(padding_bytes(written))
    copy = Copy(storage, header, [*_stored_leaves(digests), data, padding])
    copy.append()
    return copy


async def _read_digests(file: File, header: RecordHeader) -> ShardDigests:
    leaves = header.leaf
    size = leaves_bytes(header.unit_bytes, header.shard_bytes)
    if size:
        leaves = await file.read(header.offset + HEADER_BYTES, size)
    digests = ShardDigests(header.unit_bytes, header.shard_bytes, leaves)
    if not digests.belong_to(header.root):
        raise Corrupt(Damage.LEAF_MISMATCH)
    return digests


def _stored_leaves(digests: ShardDigests) -> list[Buffer]:
    """The leaves that stand behind a header: that of a single unit stands in it."""
    return [digests.leaves] if len(digests.leaves) > DIGEST_BYTES else []


async def _copy_by_units(
    storage: StorageParts, file: File, header: RecordHeader, digests: ShardDigests
) -> Copy:
    volume, offset = place = await Reservation(storage.writer, header).make()
    try:
        first_byte = data_offset(header.unit_bytes, header.shard_bytes)
        units_at_once = max(1, limits.MAX_UNITS_PER_READ_BYTES // header.unit_bytes)
        step = units_at_once * header.unit_bytes
        async with storage.volumes.opened(volume.number) as target:
            for at in range(0, header.shard_bytes, step):
                length = min(step, header.shard_bytes - at)
                data = await file.read(header.offset + first_byte + at, length)
                if not digests.hold(at // header.unit_bytes, units_at_once, data):
                    raise Corrupt(Damage.LEAF_MISMATCH)
                parts: list[Buffer] = [data]
                if at + length == header.shard_bytes:
                    parts.append(bytes(padding_bytes(first_byte + header.shard_bytes)))
                await target.write(offset + first_byte + at, parts)
    except AlvearyError:
        storage.writer.give_up(volume, offset)
        raise
    copy = Copy(storage, header, _stored_leaves(digests))
    copy.put_at(place)
    return copy
