"""The volume codec: how a cell's shards lie in its volume files. No I/O.

A volume is a head with the volume's number and key (twice, for bit rot), and then records, each on
a sector boundary: one header sector, the leaves of a shard of several units, the units. Header
checks are keyed with the volume's random key, which never leaves the cell: a client that uploads
data cannot make bytes that a scan would mistake for a record, so a scan may search damaged
stretches.

Source: docs/shard-format.md.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from enum import IntEnum
from typing import Final

from blake3 import blake3

from common import limits
from common.data_classes import dataclass
from common.errors import Corrupt
from common.ids import DIGEST_BYTES, SEGMENT_ID_BYTES, SegmentId
from common.ports import Buffer
from common.reasons import Damage

VOLUME_VERSION: Final = 1
RECORD_VERSION: Final = 1
VOLUME_MAGIC: Final = b"ALVYVOL\n"
RECORD_MAGIC: Final = b"AVR\x1a"
VOLUME_KEY_BYTES: Final = 32
HEADER_BYTES: Final = limits.RECORD_ALIGNMENT_BYTES
HEAD_COPY_BYTES: Final = 4096
"""Distance of the two copies of a volume's head: one block of the medium each."""
VOLUME_HEAD_BYTES: Final = 2 * HEAD_COPY_BYTES

_HEAD: Final = struct.Struct(">8sHxxxxxxQ32s")
_RECORD: Final = struct.Struct(">4sHBxQQQQQ16sHxxIQ32s32s")
_CHECK_BYTES: Final = 32
_CHECKED_BYTES: Final = HEADER_BYTES - _CHECK_BYTES
_RECORD_FILL: Final = bytes(_CHECKED_BYTES - _RECORD.size)
_HEAD_FILL: Final = bytes(_CHECKED_BYTES - _HEAD.size)
_HEAD_CONTEXT: Final = "alveary volume head v1"
NO_DIGEST: Final = bytes(DIGEST_BYTES)
NO_SEGMENT: Final = SegmentId(bytes(SEGMENT_ID_BYTES))


class RecordKind(IntEnum):
    """The kind of a record."""

    SHARD = 1
    """A whole shard."""
    RESERVED = 2
    """Room of an upload that is not finished."""
    TOMBSTONE = 3
    """The shard of this name with a lower sequence number is deleted."""
    VOID = 4
    """Room of an upload or write that came to nothing."""


_KINDS: Final = {kind.value: kind for kind in RecordKind}


@dataclass(frozen=True, slots=True)
class RecordHeader:
    """The contents of a record's header sector.

    ``volume`` and ``offset``: where it was written, so a misplaced sector is not believed.
    ``sequence``: for records of one shard name, the highest counts. ``record_bytes``: header and
    all, a multiple of 512. ``durable_below``: every record that begins below this offset of the
    same volume was finished and durable when the header was made. ``leaf``: of a shard of one
    unit; zeros otherwise.
    """

    kind: RecordKind
    volume: int
    offset: int
    sequence: int
    record_bytes: int
    durable_below: int
    segment_id: SegmentId = NO_SEGMENT
    slot: int = 0
    unit_bytes: int = 0
    shard_bytes: int = 0
    root: bytes = NO_DIGEST
    leaf: bytes = NO_DIGEST

    def moved_to(self, volume: int, offset: int, durable_below: int) -> RecordHeader:
        """The same record in another place."""
        return replace(self, volume=volume, offset=offset, durable_below=durable_below)


def unit_count(unit_bytes: int, shard_bytes: int) -> int:
    """Units of a shard; the last may be shorter than ``unit_bytes``."""
    return -(-shard_bytes // unit_bytes)


def shape_is_valid(unit_bytes: int, shard_bytes: int) -> bool:
    """Return whether a shard of these sizes can be stored."""
    return (
        1 <= unit_bytes <= limits.MAX_UNITS_PER_READ_BYTES
        and shard_bytes >= 1
        and unit_count(unit_bytes, shard_bytes) <= limits.MAX_STRIPES_PER_SEGMENT
    )


def leaves_bytes(unit_bytes: int, shard_bytes: int) -> int:
    """Bytes of leaves behind the header: none for a shard of one unit."""
    units = unit_count(unit_bytes, shard_bytes)
    return units * DIGEST_BYTES if units > 1 else 0


def data_offset(unit_bytes: int, shard_bytes: int) -> int:
    """Offset of the first unit from the beginning of its record."""
    return HEADER_BYTES + leaves_bytes(unit_bytes, shard_bytes)


def record_bytes_of(unit_bytes: int, shard_bytes: int) -> int:
    """Bytes of a shard's record with its padding."""
    plain = data_offset(unit_bytes, shard_bytes) + shard_bytes
    return plain + padding_bytes(plain)


def padding_bytes(length: int) -> int:
    """Zeros that bring ``length`` to a sector boundary."""
    return -length % limits.RECORD_ALIGNMENT_BYTES


# --- the head of a volume --------------------------------------------------------------------


def pack_head(volume: int, key: bytes) -> bytes:
    """The VOLUME_HEAD_BYTES that begin a volume.

    Args:
        volume: its number, as in its file name.
        key: 32 random bytes, for this volume only.
    """
    assert len(key) == VOLUME_KEY_BYTES
    body = _HEAD.pack(VOLUME_MAGIC, VOLUME_VERSION, volume, key) + _HEAD_FILL
    sector = body + blake3(body, derive_key_context=_HEAD_CONTEXT).digest()
    copy = sector + bytes(HEAD_COPY_BYTES - len(sector))
    return copy + copy


def unpack_head(data: Buffer, *, volume: int) -> bytes:
    """The key of a volume, from either copy of its head.

    Args:
        data: the first VOLUME_HEAD_BYTES of the file, or what there is of them.
        volume: the number its name says.

    Raises:
        Corrupt: ``bad_volume_head``: neither copy is whole, or it is another volume's.
    """
    view = memoryview(data)
    for start in (0, HEAD_COPY_BYTES):
        sector = view[start : start + HEADER_BYTES]
        if len(sector) < HEADER_BYTES:
            continue
        body, check = sector[:_CHECKED_BYTES], sector[_CHECKED_BYTES:]
        if blake3(body, derive_key_context=_HEAD_CONTEXT).digest() != check:
            continue
        magic, version, number, key = _HEAD.unpack_from(body)
        if magic == VOLUME_MAGIC and version == VOLUME_VERSION and number == volume:
            return bytes(key)
    raise Corrupt(Damage.BAD_VOLUME_HEAD, volume=volume)


# --- records ---------------------------------------------------------------------------------


def pack_record(key: bytes, header: RecordHeader) -> bytes:
    """A header as its HEADER_BYTES.

    Args:
        key: of the volume it will lie in.
        header: what it says; its fields must agree with each other.
    """
    assert _agrees(header), header
    body = (
        _RECORD.pack(
            RECORD_MAGIC,
            RECORD_VERSION,
            header.kind,
            header.volume,
            header.offset,
            header.sequence,
            header.record_bytes,
            header.durable_below,
            header.segment_id,
            header.slot,
            header.unit_bytes,
            header.shard_bytes,
            header.root,
            header.leaf,
        )
        + _RECORD_FILL
    )
    return body + blake3(body, key=key).digest()


def unpack_record(key: bytes, sector: Buffer, *, volume: int, offset: int) -> RecordHeader:
    """The header in a sector.

    Args:
        key: of the volume.
        sector: HEADER_BYTES.
        volume: the volume it was read from.
        offset: where in it.

    Raises:
        Corrupt: ``bad_record_header``: no header, a damaged one, or one of another place.
    """
    whole = bytes(sector)
    if (
        len(whole) != HEADER_BYTES
        or not whole.startswith(RECORD_MAGIC)
        or blake3(whole[:_CHECKED_BYTES], key=key).digest() != whole[_CHECKED_BYTES:]
    ):
        raise Corrupt(Damage.BAD_RECORD_HEADER, volume=volume, offset=offset)
    _, version, code, number, at, *rest = _RECORD.unpack_from(whole)
    kind = _KINDS.get(code)
    if version != RECORD_VERSION or kind is None:
        raise Corrupt(Damage.BAD_RECORD_HEADER, volume=volume, offset=offset)
    header = RecordHeader(kind, number, at, *rest)
    if number != volume or at != offset or not _agrees(header):
        raise Corrupt(Damage.BAD_RECORD_HEADER, volume=volume, offset=offset)
    return header


def _agrees(header: RecordHeader) -> bool:
    """Return whether the fields of a header fit each other and the limits."""
    if (
        header.offset < VOLUME_HEAD_BYTES
        or header.offset % limits.RECORD_ALIGNMENT_BYTES
        or not HEADER_BYTES <= header.record_bytes <= limits.MAX_VOLUME_RECORD_BYTES
        or header.record_bytes % limits.RECORD_ALIGNMENT_BYTES
        or header.durable_below > header.offset
        or header.slot >= limits.MAX_SLOTS
    ):
        return False
    if header.kind is RecordKind.VOID:
        return True
    if header.kind is RecordKind.TOMBSTONE:
        return header.record_bytes == HEADER_BYTES
    return shape_is_valid(
        header.unit_bytes, header.shard_bytes
    ) and header.record_bytes == record_bytes_of(header.unit_bytes, header.shard_bytes)


def find_records(
    key: bytes, stretch: Buffer, *, volume: int, offset: int
) -> Iterator[RecordHeader]:
    """Search a damaged or unwritten stretch, sector by sector, for record headers.

    Args:
        key: of the volume.
        stretch: bytes read from ``offset`` on.
        offset: on a sector boundary.

    Returns:
        Every header found, in order.
    """
    data = bytes(stretch)
    at = data.find(RECORD_MAGIC)
    while at >= 0:
        sector, inside = divmod(at, limits.RECORD_ALIGNMENT_BYTES)
        if inside == 0:
            # What looks like a header and is none is part of somebody's data.
            with suppress(Corrupt):
                yield unpack_record(
                    key, data[at : at + HEADER_BYTES], volume=volume, offset=offset + at
                )
        at = data.find(RECORD_MAGIC, (sector + 1) * limits.RECORD_ALIGNMENT_BYTES)
