from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest

from common.errors import PeerViolation
from common.limits import (
    FIRST_STAGING_BYTES,
    FRAME_STAGING_BYTES,
    MAX_FRAME_HEADER_BYTES,
    MAX_FRAME_PAYLOAD_BYTES,
)
from common.wire.frame import LIMITS, MAGIC, Frame, FrameKind, FrameReader, encode_frame

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "frames.json").read_text())

SIMPLE_CASES: list[tuple[int, int, bytes, bytes]] = [
    (FrameKind.HELLO, 0, b"hello", b""),
    (FrameKind.CANCEL, 7, b"", b""),
    (FrameKind.REQUEST, 1, b"h", b""),
    (FrameKind.REQUEST, 2, b"header", b"p"),
    (FrameKind.REPLY, 3, b"", b"payload alone"),
    (FrameKind.REPLY, (1 << 32) - 1, b"h" * 300, b"p" * 70_000),
    (FrameKind.REQUEST, 5, b"h" * (FRAME_STAGING_BYTES + 1), b""),
    (FrameKind.REQUEST, 6, b"h" * FRAME_STAGING_BYTES, b"q" * (FRAME_STAGING_BYTES + 1)),
    (FrameKind.REQUEST, 8, b"h" * 100_000, b"q" * 3),
]


def joined(case: tuple[int, int, bytes, bytes]) -> bytes:
    kind, call_id, header, payload = case
    return b"".join(encode_frame(kind, call_id, header, [payload] if payload else []))


def feed(reader: FrameReader, data: bytes, chunk: int) -> list[Frame]:
    frames = []
    left = memoryview(data)
    while left:
        buffer = reader.get_buffer()
        assert buffer, "a buffer to receive into is never empty"
        count = min(len(buffer), chunk, len(left))
        buffer[:count] = left[:count]
        reader.bytes_received(count)
        left = left[count:]
        while (frame := reader.next_frame()) is not None:
            frames.append(frame)
    return frames


def as_case(frame: Frame) -> tuple[int, int, bytes, bytes]:
    return frame.kind, frame.call_id, bytes(frame.header), bytes(frame.payload)


@pytest.mark.parametrize("chunk", [1, 2, 15, 16, 17, 1000, FRAME_STAGING_BYTES, 1 << 20])
def test_frames_survive_any_cutting_of_the_stream(chunk: int) -> None:
    cases = SIMPLE_CASES if chunk > 2 else SIMPLE_CASES[:5]
    data = b"".join(map(joined, cases))
    reader = FrameReader()
    assert [as_case(frame) for frame in feed(reader, data, chunk)] == cases
    assert reader.at_boundary


@pytest.mark.parametrize(
    "case", SIMPLE_CASES, ids=lambda case: f"{FrameKind(case[0]).name}-{case[1]}"
)
def test_a_cut_frame_is_no_frame(case: tuple[int, int, bytes, bytes]) -> None:
    data = joined(case)
    for length in {1, 15, 16, 17, len(data) // 2, len(data) - 1}:
        if length < len(data):
            reader = FrameReader()
            assert feed(reader, data[:length], 4096) == []
            assert not reader.at_boundary


def test_a_payload_may_be_sent_in_parts() -> None:
    parts = encode_frame(
        FrameKind.REQUEST, 9, b"h", [b"one", bytearray(b"two"), memoryview(b"three")]
    )
    assert len(parts) == 4
    assert as_case(feed(FrameReader(), b"".join(parts), 10)[0])[3] == b"onetwothree"


def test_frames_own_their_memory() -> None:
    reader = FrameReader()
    (first,) = feed(reader, joined((FrameKind.REQUEST, 1, b"first", b"payload")), 100)
    feed(reader, joined((FrameKind.REQUEST, 2, b"other", b"PAYLOAD")), 100)
    assert as_case(first) == (FrameKind.REQUEST, 1, b"first", b"payload")


def test_a_long_payload_is_received_into_its_own_memory() -> None:
    reader = FrameReader()
    data = joined((FrameKind.REQUEST, 1, b"h", b"x" * MAX_FRAME_PAYLOAD_BYTES))
    buffer = reader.get_buffer()
    buffer[:100] = data[:100]
    reader.bytes_received(100)
    assert reader.next_frame() is None
    assert reader.wanted_bytes == 1 + MAX_FRAME_PAYLOAD_BYTES
    assert len(reader.get_buffer()) == len(data) - 100


def prefix(
    payload: int = 0,
    header: int = 0,
    call: int = 1,
    kind: int = 4,
    flags: int = 0,
    magic: int = MAGIC,
) -> bytes:
    return struct.pack(">IIIBBH", payload, header, call, kind, flags, magic)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (prefix(magic=0xA17F), "bad_magic"),
        (prefix(flags=1), "bad_flags"),
        (prefix(kind=0), "unexpected_frame"),
        (prefix(kind=9), "unexpected_frame"),
        (prefix(kind=255), "unexpected_frame"),
        (prefix(header=MAX_FRAME_HEADER_BYTES + 1), "header_too_long"),
        (prefix(payload=MAX_FRAME_PAYLOAD_BYTES + 1), "payload_too_long"),
        (prefix(payload=0xFFFF_FFFF, header=0xFFFF_FFFF), "header_too_long"),
        (prefix(payload=0xFFFF_FFFF), "payload_too_long"),
        (prefix(kind=FrameKind.HELLO, payload=1), "payload_too_long"),
        (prefix(kind=FrameKind.CANCEL, header=1), "header_too_long"),
        (b"GET / HTTP/1.1\r\n", "bad_magic"),
    ],
)
def test_a_bad_prefix_is_refused_before_anything_is_allocated(data: bytes, reason: str) -> None:
    with pytest.raises(PeerViolation) as caught:
        feed(FrameReader(), data, 16)
    assert caught.value.reason == reason


def test_only_expected_kinds_are_let_in() -> None:
    reader = FrameReader({FrameKind.HELLO: LIMITS[FrameKind.HELLO]})
    with pytest.raises(PeerViolation, match="unexpected_frame"):
        feed(reader, prefix(payload=MAX_FRAME_PAYLOAD_BYTES), 16)


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_frozen_frames_read_and_write_as_they_always_did(vector: dict[str, str | int]) -> None:
    data = bytes.fromhex(str(vector["frame"]))
    header, payload = (bytes.fromhex(str(vector[name])) for name in ("header", "payload"))
    kind, call_id = FrameKind[str(vector["kind"])], int(vector["call_id"])
    assert joined((kind, call_id, header, payload)) == data
    assert [as_case(frame) for frame in feed(FrameReader(), data, 7)] == [
        (kind, call_id, header, payload)
    ]


def test_a_reader_receives_little_at_a_time_until_much_comes() -> None:
    reader = FrameReader()
    small = joined((FrameKind.REQUEST, 1, b"h" * 300, b""))
    for _ in range(100):
        assert len(reader.get_buffer()) == FIRST_STAGING_BYTES
        assert len(feed(reader, small, 1 << 20)) == 1
    frames = 2 * FIRST_STAGING_BYTES // len(small)
    assert len(feed(reader, small * frames, 1 << 20)) == frames
    assert len(reader.get_buffer()) == FRAME_STAGING_BYTES


def test_a_header_that_fits_the_widest_buffer_needs_no_memory_of_its_own() -> None:
    reader = FrameReader()
    long = joined((FrameKind.REQUEST, 1, b"h" * FRAME_STAGING_BYTES, b""))
    (frame,) = feed(reader, long, FIRST_STAGING_BYTES)
    assert type(frame.header) is bytes
    assert len(frame.header) == FRAME_STAGING_BYTES
