"""Reading a volume record by record: at the start of a cell, and for compaction.

Source: docs/shard-format.md, "Scanning".
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

from common.crypto.digest import ShardDigests
from common.errors import Corrupt
from common.format.volume import (
    HEADER_BYTES,
    RecordHeader,
    RecordKind,
    data_offset,
    find_records,
    leaves_bytes,
    unpack_record,
)
from common.limits import KIB, MIB
from common.ports import File

WINDOW_BYTES: Final = 64 * KIB
"""Read at a time: some dozens of small records; one header of large ones."""
SEARCH_BYTES: Final = 1 * MIB
READ_TRIES: Final = 3


async def read_steadily(file: File, offset: int, length: int) -> bytes:
    """Read, and try again where the medium erred.

    Raises:
        Corrupt: ``read_error``.
    """
    for _ in range(READ_TRIES - 1):
        try:
            return await file.read(offset, length)
        except Corrupt:
            continue
    return await file.read(offset, length)


async def records(
    file: File, key: bytes, number: int, start: int, *, skip_unreadable: bool = False
) -> AsyncIterator[RecordHeader]:
    """Every record header of a volume from ``start`` on. Damaged stretches are searched through,
    a sector at a time, up to the next header.

    Args:
        key: the volume's.
        number: the volume's.
        start: where a record may begin.
        skip_unreadable: go on behind what the medium cannot read.

    Raises:
        Corrupt: ``read_error``.
    """
    offset = window_start = start
    window = memoryview(b"")
    while True:
        inside = offset - window_start
        if inside + HEADER_BYTES > len(window):
            window_start, inside = offset, 0
            try:
                window = memoryview(await read_steadily(file, offset, WINDOW_BYTES))
            except Corrupt:
                if not skip_unreadable:
                    raise
                window = memoryview(b"")
            else:
                if len(window) < HEADER_BYTES:
                    return
        try:
            header = unpack_record(
                key, window[inside : inside + HEADER_BYTES], volume=number, offset=offset
            )
        except Corrupt:
            found = await _search(file, key, number, offset, skip_unreadable)
            if found is None:
                return
            header = found
        yield header
        offset = header.offset + header.record_bytes


async def _search(
    file: File, key: bytes, number: int, offset: int, skip_unreadable: bool
) -> RecordHeader | None:
    """The next record header, anywhere from ``offset`` on."""
    size = await file.size()
    step = SEARCH_BYTES
    while offset + HEADER_BYTES <= size:
        try:
            stretch = await read_steadily(file, offset, step)
        except Corrupt:
            if not skip_unreadable:
                raise
            if step > HEADER_BYTES:
                step = HEADER_BYTES
            else:
                offset += step
            continue
        for header in find_records(key, stretch, volume=number, offset=offset):
            return header
        offset += max(HEADER_BYTES, len(stretch) - len(stretch) % HEADER_BYTES)
        step = SEARCH_BYTES
    return None


async def is_whole(file: File, header: RecordHeader) -> bool:
    """Return whether a shard's leaves and units match its header.

    Raises:
        Corrupt: ``read_error``.
    """
    assert header.kind is RecordKind.SHARD
    unit_bytes, shard_bytes = header.unit_bytes, header.shard_bytes
    leaves = header.leaf
    if size := leaves_bytes(unit_bytes, shard_bytes):
        leaves = await read_steadily(file, header.offset + HEADER_BYTES, size)
    digests = ShardDigests(unit_bytes, shard_bytes, leaves)
    if not digests.belong_to(header.root):
        return False
    begin = header.offset + data_offset(unit_bytes, shard_bytes)
    for unit in range(digests.units):
        length = min(unit_bytes, shard_bytes - unit * unit_bytes)
        data = await read_steadily(file, begin + unit * unit_bytes, length)
        if not digests.hold(unit, 1, data):
            return False
    return True
