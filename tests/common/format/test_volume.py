"""The volume codec: one case table drives reader and writer; frozen vectors hold the bytes."""

import json
import struct
from dataclasses import replace
from pathlib import Path

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from common.errors import Corrupt
from common.format.volume import (
    HEAD_COPY_BYTES,
    HEADER_BYTES,
    VOLUME_HEAD_BYTES,
    RecordHeader,
    RecordKind,
    data_offset,
    find_records,
    pack_head,
    pack_record,
    padding_bytes,
    record_bytes_of,
    shape_is_valid,
    unit_count,
    unpack_head,
    unpack_record,
)
from common.ids import SegmentId

KEY = bytes(range(32))
SEGMENT = SegmentId(bytes(range(16)))
VECTORS = Path(__file__).parents[2] / "vectors" / "volume.json"


def shard(unit_bytes, shard_bytes, **changes):
    header = RecordHeader(
        RecordKind.SHARD,
        volume=7,
        offset=VOLUME_HEAD_BYTES + 1024,
        sequence=99,
        record_bytes=record_bytes_of(unit_bytes, shard_bytes),
        durable_below=VOLUME_HEAD_BYTES,
        segment_id=SEGMENT,
        slot=5,
        unit_bytes=unit_bytes,
        shard_bytes=shard_bytes,
        root=b"r" * 32,
        leaf=b"l" * 32,
    )
    return replace(header, **changes)


CASES = {
    "shard of one unit": shard(700, 700),
    "shard of many units": shard(1000, 127_500, leaf=bytes(32)),
    "largest shard": shard(1 << 20, 128 << 20, slot=63, sequence=(1 << 64) - 1, leaf=bytes(32)),
    "reserved": shard(
        1000, 5000, kind=RecordKind.RESERVED, root=bytes(32), leaf=bytes(32), sequence=0
    ),
    "tombstone": RecordHeader(
        RecordKind.TOMBSTONE, 7, VOLUME_HEAD_BYTES, 100, HEADER_BYTES, VOLUME_HEAD_BYTES, SEGMENT, 5
    ),
    "void": RecordHeader(
        RecordKind.VOID, 7, VOLUME_HEAD_BYTES + 512, 0, 1 << 20, VOLUME_HEAD_BYTES
    ),
}


def read(sector, header):
    return unpack_record(KEY, sector, volume=header.volume, offset=header.offset)


@pytest.mark.parametrize("name", CASES)
def test_a_header_reads_back_as_it_was_written(name):
    header = CASES[name]
    sector = pack_record(KEY, header)
    assert len(sector) == HEADER_BYTES
    assert read(sector, header) == header
    assert read(memoryview(sector), header) == header


@pytest.mark.parametrize("name", CASES)
def test_headers_are_the_frozen_bytes(name):
    frozen = json.loads(VECTORS.read_text())
    assert pack_record(KEY, CASES[name]).hex() == frozen["records"][name]


def test_the_volume_head_is_the_frozen_bytes():
    frozen = json.loads(VECTORS.read_text())
    head = pack_head(7, KEY)
    assert len(head) == VOLUME_HEAD_BYTES
    assert head[:HEADER_BYTES].hex() == frozen["head"]
    assert head[:HEAD_COPY_BYTES] == head[HEAD_COPY_BYTES:]


@pytest.mark.parametrize("name", CASES)
def test_a_cut_long_or_misplaced_header_is_refused(name):
    header = CASES[name]
    sector = pack_record(KEY, header)
    for bad in (b"", sector[:4], sector[:-1], sector + b"\0"):
        with pytest.raises(Corrupt, match="bad_record_header"):
            read(bad, header)
    for volume, offset in ((8, header.offset), (7, header.offset + 512)):
        with pytest.raises(Corrupt, match="bad_record_header"):
            unpack_record(KEY, sector, volume=volume, offset=offset)
    with pytest.raises(Corrupt, match="bad_record_header"):
        unpack_record(b"x" * 32, sector, volume=7, offset=header.offset)


@pytest.mark.parametrize("name", CASES)
def test_a_flip_of_any_byte_is_noticed(name):
    header = CASES[name]
    sector = bytearray(pack_record(KEY, header))
    for at in range(HEADER_BYTES):
        sector[at] ^= 1
        with pytest.raises(Corrupt, match="bad_record_header"):
            read(sector, header)
        sector[at] ^= 1


@pytest.mark.parametrize(
    ("at", "form", "value"),
    [
        (4, ">H", 2),  # version
        (6, ">B", 0),  # kind
        (6, ">B", 9),
        (6, ">B", RecordKind.TOMBSTONE),
        (16, ">Q", VOLUME_HEAD_BYTES + 1024 + 512),  # offset
        (32, ">Q", 1024),  # record_bytes
        (32, ">Q", 0),
        (40, ">Q", 1 << 40),  # durable_below
        (64, ">H", 64),  # slot
        (68, ">I", 0),  # unit_bytes
        (68, ">I", (1 << 20) + 1),
        (72, ">Q", 0),  # shard_bytes
        (72, ">Q", 1 << 63),
    ],
)
def test_a_well_checked_header_that_makes_no_sense_is_refused(at, form, value):
    header = CASES["shard of one unit"]
    sector = bytearray(pack_record(KEY, header))
    struct.pack_into(form, sector, at, value)
    sector[480:] = blake3(bytes(sector[:480]), key=KEY).digest()
    with pytest.raises(Corrupt, match="bad_record_header"):
        read(sector, header)


def test_either_copy_of_the_head_is_enough():
    head = bytearray(pack_head(7, KEY))
    head[100] ^= 1
    assert unpack_head(head, volume=7) == KEY
    assert unpack_head(pack_head(7, KEY)[:HEADER_BYTES], volume=7) == KEY
    head[HEAD_COPY_BYTES] ^= 1
    with pytest.raises(Corrupt, match="bad_volume_head"):
        unpack_head(head, volume=7)
    for data, volume in ((b"", 7), (pack_head(7, KEY)[:511], 7), (pack_head(7, KEY), 8)):
        with pytest.raises(Corrupt, match="bad_volume_head"):
            unpack_head(data, volume=volume)


def test_a_search_finds_headers_on_sector_boundaries_only():
    header = CASES["shard of one unit"]
    start = header.offset - 3 * 512
    sector = pack_record(KEY, header)
    stretch = b"\xff" * (3 * 512) + sector + bytes(2000)
    assert list(find_records(KEY, stretch, volume=7, offset=start)) == [header]
    shifted = b"\xff" * (3 * 512 - 8) + sector + bytes(2000)
    assert list(find_records(KEY, shifted, volume=7, offset=start)) == []
    assert list(find_records(b"y" * 32, stretch, volume=7, offset=start)) == []


def test_a_search_through_nothing_but_magics_is_quick():
    stretch = b"AVR\x1a" * (1 << 18)
    assert list(find_records(KEY, stretch, volume=7, offset=VOLUME_HEAD_BYTES)) == []


@given(st.binary(max_size=600))
def test_any_bytes_are_a_header_or_corrupt(data):
    with pytest.raises(Corrupt):
        unpack_record(KEY, data, volume=7, offset=VOLUME_HEAD_BYTES)
    with pytest.raises(Corrupt):
        unpack_head(data, volume=7)


@given(st.integers(1, 1 << 20), st.integers(1, 128 << 20))
def test_the_sizes_of_a_record_fit_each_other(unit_bytes, shard_bytes):
    units = unit_count(unit_bytes, shard_bytes)
    assert (units - 1) * unit_bytes < shard_bytes <= units * unit_bytes
    assert shape_is_valid(unit_bytes, shard_bytes) == (units <= 128)
    size = record_bytes_of(unit_bytes, shard_bytes)
    assert size % 512 == 0
    assert 0 <= size - data_offset(unit_bytes, shard_bytes) - shard_bytes < 512
    assert (shard_bytes + padding_bytes(shard_bytes)) % 512 == 0
