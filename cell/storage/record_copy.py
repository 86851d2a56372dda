"""Copying a record from one volume to the active one, checked on the way.

Source: docs/shard-format.md, "Compaction".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from cell.storage.parts import Storage
from cell.storage.reservation import Reservation
from cell.storage.shards import ShardKey
from cell.storage.volumes import Growing
from cell.storage.writer import Job
from common.crypto.digest import leaf, shard_root
from common.errors import AlvearyError, Corrupt
from common.format.volume import (
    HEADER_BYTES,
    Kind,
    RecordHeader,
    data_offset,
    leaves_bytes,
    pack_record,
    padding_bytes,
    unit_count,
)
from common.ids import DIGEST_BYTES
from common.limits import KIB, MAX_UNITS_PER_READ_BYTES
from common.ports import Buffer, File

WHOLE_BYTES: Final = 256 * KIB
"""Records up to this are copied in one piece."""


class Copy:
    """A copy on its way to be durable: wait for its job. It names its shard to the writer, so a
    copy that fails is remembered as dead."""

    def __init__(self, storage: Storage, header: RecordHeader, body: Sequence[Buffer]) -> None:
        self.header = header
        self.volume = 0
        self._body = body
        self._storage = storage
        self.job: Job

    def append(self) -> None:
        """Write header and body at the end of the active volume."""
        self.job = Job(self.header.record_bytes, self._build, self._after, key=self._key)
        self._storage.writer.submit(self.job)

    def put_at(self, place: tuple[Growing, int]) -> None:
        """Write header and body to room that was reserved and already has the units."""
        self.job = Job(0, self._build, self._after, place=place, key=self._key)
        self._storage.writer.submit(self.job)

    @property
    def _key(self) -> ShardKey | None:
        if self.header.kind is Kind.TOMBSTONE:
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


def copy_tombstone(storage: Storage, header: RecordHeader) -> Copy:
    """Copy a tombstone."""
    copy = Copy(storage, header, [])
    copy.append()
    return copy


async def copy_shard(storage: Storage, file: File, header: RecordHeader) -> Copy:
    """Copy a shard.

    Args:
        file: the volume it lies in.

    Raises:
        Corrupt: ``leaf_mismatch``, ``read_error``: it is bad.
        Unavailable: the copy cannot be written.
    """
    leaves = await _read_leaves(file, header)
    if header.record_bytes > WHOLE_BYTES:
        return await _copy_by_units(storage, file, header, leaves)
    start = header.offset + data_offset(header.unit_bytes, header.shard_bytes)
    data = await file.read(start, header.shard_bytes)
    _check(data, header, leaves, 0)
    written = data_offset(header.unit_bytes, header.shard_bytes) + len(data)
    front = [leaves] if len(leaves) > DIGEST_BYTES else []
    copy = Copy(storage, header, [*front, data, bytes(padding_bytes(written))])
    copy.append()
    return copy


async def _read_leaves(file: File, header: RecordHeader) -> bytes:
    leaves = header.leaf
    size = leaves_bytes(header.unit_bytes, header.shard_bytes)
    if size:
        leaves = await file.read(header.offset + HEADER_BYTES, size)
    if (
        len(leaves) != unit_count(header.unit_bytes, header.shard_bytes) * DIGEST_BYTES
        or shard_root(header.unit_bytes, header.shard_bytes, leaves) != header.root
    ):
        raise Corrupt("leaf_mismatch")
    return leaves


def _check(data: bytes, header: RecordHeader, leaves: bytes, first: int) -> None:
    """Units from number ``first`` on must have their leaves."""
    wanted = min(len(data), header.shard_bytes - first * header.unit_bytes)
    if not data or len(data) != wanted:
        raise Corrupt("leaf_mismatch")
    view = memoryview(data)
    for start in range(0, len(data), header.unit_bytes):
        at = (first + start // header.unit_bytes) * DIGEST_BYTES
        if leaf(view[start : start + header.unit_bytes]) != leaves[at : at + DIGEST_BYTES]:
            raise Corrupt("leaf_mismatch")


async def _copy_by_units(storage: Storage, file: File, header: RecordHeader, leaves: bytes) -> Copy:
    volume, offset = place = await Reservation(storage.writer, header).make()
    try:
        first_byte = data_offset(header.unit_bytes, header.shard_bytes)
        units_at_once = max(1, MAX_UNITS_PER_READ_BYTES // header.unit_bytes)
        step = units_at_once * header.unit_bytes
        async with storage.volumes.opened(volume.number) as target:
            for at in range(0, header.shard_bytes, step):
                length = min(step, header.shard_bytes - at)
                data = await file.read(header.offset + first_byte + at, length)
                _check(data, header, leaves, at // header.unit_bytes)
                parts: list[Buffer] = [data]
                if at + length == header.shard_bytes:
                    parts.append(bytes(padding_bytes(first_byte + header.shard_bytes)))
                await target.write(offset + first_byte + at, parts)
    except AlvearyError:
        storage.writer.give_up(volume, offset)
        raise
    copy = Copy(storage, header, [leaves] if len(leaves) > DIGEST_BYTES else [])
    copy.put_at(place)
    return copy
