"""Frames: a 16-byte prefix, a msgpack header, a raw payload.

The reader gives out the buffer to receive into (as asyncio's BufferedProtocol does), so that a
large payload lands in memory of its own, once, and many small frames share one receive. What a
prefix announces is checked before anything is allocated for it.

Source: docs/protocol.md, "Frames".
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import Final

from common import limits
from common.data_classes import dataclass
from common.errors import PeerViolation
from common.ports import Buffer
from common.reasons import Violation

MAGIC: Final = 0xA17E
_PREFIX: Final = struct.Struct(">IIIBBH")
assert _PREFIX.size == limits.FRAME_PREFIX_BYTES
_NO_PAYLOAD: Final = memoryview(b"")


class FrameKind(IntEnum):
    """The kind of a frame. Numbers are permanent."""

    HELLO = 1
    PROOF = 2
    READY = 3
    REQUEST = 4
    REPLY = 5
    FAILURE = 6
    CANCEL = 7
    GOAWAY = 8


@dataclass(frozen=True, slots=True)
class FrameLimits:
    """The most bytes a frame of one kind may announce."""

    header_bytes: int
    payload_bytes: int


LIMITS: Final[Mapping[int, FrameLimits]] = {
    FrameKind.HELLO: FrameLimits(limits.MAX_CONTROL_HEADER_BYTES, 0),
    FrameKind.PROOF: FrameLimits(limits.MAX_CONTROL_HEADER_BYTES, 0),
    FrameKind.READY: FrameLimits(limits.MAX_CONTROL_HEADER_BYTES, 0),
    FrameKind.REQUEST: FrameLimits(limits.MAX_FRAME_HEADER_BYTES, limits.MAX_FRAME_PAYLOAD_BYTES),
    FrameKind.REPLY: FrameLimits(limits.MAX_FRAME_HEADER_BYTES, limits.MAX_FRAME_PAYLOAD_BYTES),
    FrameKind.FAILURE: FrameLimits(limits.MAX_CONTROL_HEADER_BYTES, 0),
    FrameKind.CANCEL: FrameLimits(0, 0),
    FrameKind.GOAWAY: FrameLimits(limits.MAX_CONTROL_HEADER_BYTES, 0),
}


@dataclass(slots=True)
class Frame:
    """One whole frame. ``header`` and ``payload`` are its own memory, nobody else's."""

    kind: int
    call_id: int
    header: Buffer
    payload: memoryview


def encode_frame(
    kind: int, call_id: int, header: bytes = b"", payload: Sequence[Buffer] = ()
) -> list[Buffer]:
    """The parts of a frame, in the order to send them; payloads are not copied.

    Args:
        kind: a :class:`FrameKind`.
        call_id: 0 for kinds that belong to no call, else 1..MAX_CALL_ID.
        header: packed header.
        payload: flat byte buffers, sent one after another. They must not change until sent.
    """
    bounds = LIMITS[kind]
    assert len(header) <= bounds.header_bytes, "header too long to send"
    if not payload:
        return [_PREFIX.pack(0, len(header), call_id, kind, 0, MAGIC) + header]
    payload_bytes = sum(map(len, payload))
    assert payload_bytes <= bounds.payload_bytes, "payload too long to send"
    return [_PREFIX.pack(payload_bytes, len(header), call_id, kind, 0, MAGIC) + header, *payload]


class FrameReader:
    """Cuts a byte stream into frames.

    Use: ``receive into get_buffer()``, :meth:`bytes_received`, then :meth:`next_frame` until it
    returns None. After a PeerViolation the reader is of no more use.

    Args:
        expected: the kinds that may come now, with their limits; see :meth:`expect`.
    """

    __slots__ = (
        "_begun",
        "_body",
        "_call_id",
        "_direct",
        "_end",
        "_expected",
        "_filled",
        "_header",
        "_header_bytes",
        "_kind",
        "_payload_bytes",
        "_start",
        "_view",
    )

    def __init__(self, expected: Mapping[int, FrameLimits] = LIMITS) -> None:
        self._view = memoryview(bytearray(limits.FIRST_STAGING_BYTES))
        self._start = self._end = 0
        self._expected = expected
        self._begun = False
        self._kind = self._call_id = self._header_bytes = self._payload_bytes = 0
        self._header: Buffer | None = None
        self._body: bytearray | None = None
        self._direct: memoryview | None = None
        self._filled = 0

    def expect(self, expected: Mapping[int, FrameLimits]) -> None:
        """From the next prefix on, take only these kinds, within these limits."""
        self._expected = expected

    @property
    def wanted_bytes(self) -> int:
        """Header and payload bytes of the frame whose prefix was read but which is not whole yet;
        0 between frames. A reader with a memory budget takes them from it before it calls
        :meth:`get_buffer`, which is where they are allocated."""
        return self._header_bytes + self._payload_bytes if self._begun else 0

    @property
    def unfinished(self) -> tuple[int, int]:
        """Header and payload bytes of the frame whose prefix was read but which is not whole yet;
        zeros between frames."""
        return (self._header_bytes, self._payload_bytes) if self._begun else (0, 0)

    @property
    def unfinished_header(self) -> Buffer | None:
        """The header of a frame that lacks some of its payload; None while the header is not whole
        either. What it says can be judged before memory is given for the payload."""
        return self._header if self._begun else None

    @property
    def at_boundary(self) -> bool:
        """True when the stream may end here without cutting a frame."""
        return not self._begun and self._start == self._end

    def get_buffer(self) -> memoryview:
        """Return the buffer to receive into; never empty. Valid until :meth:`bytes_received`."""
        if self._direct is None and self._begun:
            self._direct = self._open_direct()
        if self._direct is not None:
            return self._direct[self._filled :]
        if self._end == len(self._view) or (self._begun and self._header_bytes > len(self._view)):
            self._widen()
        if self._start == self._end:
            self._start = self._end = 0
        elif self._start:
            rest = self._end - self._start
            self._view[:rest] = self._view[self._start : self._end]
            self._start, self._end = 0, rest
        return self._view[self._end :]

    def _widen(self) -> None:
        """Receive more at a time from now on: what came filled the buffer, or did not fit it."""
        if len(self._view) < limits.FRAME_STAGING_BYTES:
            wider = memoryview(bytearray(limits.FRAME_STAGING_BYTES))
            wider[self._start : self._end] = self._view[self._start : self._end]
            self._view = wider

    def _open_direct(self) -> memoryview | None:
        """Memory of its own for the part of a frame that is being waited for, if it needs any."""
        if self._header is None:
            if self._header_bytes <= limits.FRAME_STAGING_BYTES:
                return None
            length = self._header_bytes
        else:
            length = self._payload_bytes
        self._body = bytearray(length)
        target = memoryview(self._body)
        self._filled = self._end - self._start
        target[: self._filled] = self._view[self._start : self._end]
        self._start = self._end = 0
        return target

    def bytes_received(self, count: int) -> None:
        """Take in ``count`` bytes, written to the start of the buffer that get_buffer gave."""
        if self._direct is not None:
            self._filled += count
            assert self._filled <= len(self._direct)
        else:
            self._end += count
            assert self._end <= len(self._view)

    def next_frame(self) -> Frame | None:
        """The next whole frame, or None when more bytes are needed.

        Raises:
            PeerViolation: ``bad_magic``, ``bad_flags``, ``unexpected_frame``,
                ``header_too_long``, ``payload_too_long``. Close the connection.
        """
        if not self._begun:
            if self._end - self._start < limits.FRAME_PREFIX_BYTES:
                return None
            self._read_prefix()
        if self._header is None and not self._take_header():
            return None
        payload = self._take_payload()
        if payload is None:
            return None
        header = self._header
        assert header is not None
        self._begun = False
        self._header = None
        return Frame(self._kind, self._call_id, header, payload)

    def _read_prefix(self) -> None:
        payload_bytes, header_bytes, call_id, kind, flags, magic = _PREFIX.unpack_from(
            self._view, self._start
        )
        if magic != MAGIC:
            raise PeerViolation(Violation.BAD_MAGIC)
        if flags:
            raise PeerViolation(Violation.BAD_FLAGS, flags=flags)
        bounds = self._expected.get(kind)
        if bounds is None:
            raise PeerViolation(Violation.UNEXPECTED_FRAME, kind=kind)
        if header_bytes > bounds.header_bytes:
            raise PeerViolation(Violation.HEADER_TOO_LONG, kind=kind, header_bytes=header_bytes)
        if payload_bytes > bounds.payload_bytes:
            raise PeerViolation(Violation.PAYLOAD_TOO_LONG, kind=kind, payload_bytes=payload_bytes)
        self._kind, self._call_id = kind, call_id
        self._header_bytes, self._payload_bytes = header_bytes, payload_bytes
        self._begun = True
        self._start += limits.FRAME_PREFIX_BYTES

    def _take_header(self) -> bool:
        if self._direct is not None:
            if self._filled < self._header_bytes:
                return False
            assert self._body is not None
            self._header, self._body, self._direct = self._body, None, None
            return True
        stop = self._start + self._header_bytes
        if stop > self._end:
            return False
        self._header = bytes(self._view[self._start : stop])
        self._start = stop
        return True

    def _take_payload(self) -> memoryview | None:
        if not self._payload_bytes:
            return _NO_PAYLOAD
        if self._direct is not None:
            if self._filled < self._payload_bytes:
                return None
            payload, self._body, self._direct = self._direct, None, None
            return payload
        stop = self._start + self._payload_bytes
        if stop > self._end:
            return None
        payload = memoryview(bytearray(self._view[self._start : stop]))
        self._start = stop
        return payload
