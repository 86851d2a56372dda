"""Receiving: the bytes of one connection, and the body of the request at hand.

Heads come through a small buffer that an idle connection keeps; bodies are read from the stream
straight into large fresh buffers, which the handler may keep, so that a byte of a body is copied
once, by the operating system.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import trio

from common import limits
from common.errors import Refused, Unavailable
from common.http.chunks import ChunkedDecoder
from common.http.head import head_end
from common.http.pace import ClientPace
from common.http.records import HttpRequest
from common.ports import Stream
from common.reasons import Outage, Refusal

_FIRST_READ_BYTES: Final = 16 * limits.KIB
"""Buffer size of an idle connection; a head that needs more gets more."""
_CHUNKED_READ_BYTES: Final = 64 * limits.KIB
"""Chunks of one byte make many small objects of a read; this bounds how many."""
_SMALL_PART: Final = 2
"""A read that fills less than this fraction of its buffer is copied out, so that a client that
sends byte by byte cannot make us hold a large buffer for each byte."""
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


class Input:
    """The receiving side of a connection: a stream and what was received but not yet used."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self._buffer = bytearray(_FIRST_READ_BYTES)
        self._start = 0
        self._end = 0
        self._searched = 0
        self._spare: bytearray | None = None
        self._read_bytes = limits.HTTP_FIRST_READ_BYTES

    def begin_body(self) -> None:
        """A body follows: nothing is known of how fast it comes."""
        self._read_bytes = limits.HTTP_FIRST_READ_BYTES
        self._spare = None

    def __len__(self) -> int:
        return self._end - self._start

    def take_head(self) -> bytes | None:
        """The next head, if all of it is at hand.

        Raises:
            BadHead: 431: longer than the limits.
        """
        buffer = self._buffer
        if self._start == self._end:
            return None
        # An empty line or two before a request is forgiven (RFC 9112, 2.2).
        while buffer.startswith(b"\r\n", self._start, self._end):
            self._start += 2
            self._searched = 0
        length = head_end(buffer, self._start, self._end, self._searched)
        if length < 0:
            self._searched = len(self)
            return None
        self._searched = 0
        return self.take(length)

    def take(self, most: int) -> bytes:
        """Up to ``most`` bytes that are at hand; empty when there are none."""
        start = self._start
        end = min(self._end, start + most)
        self._start = end
        data = bytes(memoryview(self._buffer)[start:end])
        if self._start == self._end:
            self._start = self._end = 0
            if len(self._buffer) > _FIRST_READ_BYTES:
                self._buffer = bytearray(_FIRST_READ_BYTES)
        return data

    def put_back(self, data: memoryview) -> None:
        """Return bytes that were received beyond what they were received for."""
        assert self._start == self._end, "nothing was at hand when they were received"
        self._buffer = bytearray(max(len(data), _FIRST_READ_BYTES))
        self._buffer[: len(data)] = data
        self._start, self._end = 0, len(data)

    async def receive_more(self) -> bool:
        """Wait for more bytes of a head; False at the end of the stream."""
        if self._end == len(self._buffer):
            kept = len(self)
            larger = bytearray(max(2 * kept, _FIRST_READ_BYTES))
            larger[:kept] = memoryview(self._buffer)[self._start : self._end]
            self._buffer, self._start, self._end = larger, 0, kept
        with memoryview(self._buffer) as view, view[self._end :] as room:
            count = await self.stream.receive_into(room)
        self._end += count
        return count > 0

    async def receive(self, most: int) -> bytes | memoryview:
        """Wait for up to ``most`` bytes of a body, in a buffer of their own; empty at the end."""
        size = min(most, self._read_bytes)
        buffer = self._spare
        if buffer is None or len(buffer) < size:
            buffer = bytearray(size)
        self._spare = None
        view = memoryview(buffer)
        count = await self.stream.receive_into(view[:size])
        # A connection that waits holds this buffer: it is as large as the client is fast.
        if count == self._read_bytes:
            self._read_bytes = min(2 * count, limits.HTTP_READ_BYTES)
        elif count * 4 < size:
            self._read_bytes = max(self._read_bytes // 2, _FIRST_READ_BYTES)
        if count * _SMALL_PART < len(buffer):
            if len(buffer) <= self._read_bytes:
                self._spare = buffer
            return bytes(view[:count])
        return view[:count]

    async def discard_all(self) -> None:
        """Receive and drop until the end of the stream."""
        self._start = self._end = 0
        scratch = memoryview(bytearray(limits.HTTP_READ_BYTES))
        while await self.stream.receive_into(scratch):
            pass


class StreamBody:
    """The body of a request, as it arrives. See :class:`common.http.records.Body`."""

    def __init__(
        self,
        source: Input,
        length: int | None,
        *,
        expects_continue: bool,
        pace: ClientPace,
        on_slow: Callable[[], None],
    ) -> None:
        self._source = source
        self._length = length
        self._left = length
        self._chunks = ChunkedDecoder() if length is None else None
        self._expects_continue = expects_continue
        self._pace = pace
        self._on_slow = on_slow
        self._broken = False
        source.begin_body()

    @property
    def length(self) -> int | None:
        return self._length

    @property
    def done(self) -> bool:
        """Return whether all of it was received, and the next request may follow."""
        # botocore keeps the status line of a final answer that came instead of the 100 it waits
        # for, and takes it for that of the next answer on the connection: so even where there is
        # no body, a client that waits for 100 gets it, or the connection closes.
        if self._expects_continue:
            return False
        return self._chunks.done if self._chunks is not None else self._left == 0

    @property
    def can_drain(self) -> bool:
        """Return whether the rest of the body is small enough to be read and dropped."""
        return (
            not self._broken
            and not self._expects_continue
            and self._left is not None
            and self._left <= limits.HTTP_DRAIN_BYTES
        )

    async def receive(self) -> bytes | memoryview:
        if self._broken:
            raise Unavailable(Outage.CLIENT_GONE)
        try:
            if self._chunks is not None:
                return await self._receive_chunked(self._chunks)
            return await self._receive_plain()
        except BaseException:
            # Also when cancelled: where the next request would begin is not known any more.
            self._broken = not self.done
            raise

    async def _receive_plain(self) -> bytes | memoryview:
        assert self._left is not None
        if not self._left:
            if self._expects_continue:
                await self._say_continue()
            return b""
        data = await self._next(self._left)
        self._left -= len(data)
        return data

    async def _receive_chunked(self, chunks: ChunkedDecoder) -> bytes | memoryview:
        while not chunks.done:
            data = memoryview(await self._next(_CHUNKED_READ_BYTES))
            pieces, used = chunks.feed(data)
            if used < len(data):
                rest = bytes(data[used:]) + self._source.take(limits.MIB)
                self._source.put_back(memoryview(rest))
            if pieces:
                return pieces[0] if len(pieces) == 1 else b"".join(pieces)
        return b""

    async def _next(self, most: int) -> bytes | memoryview:
        """The next bytes from what is at hand, or else from the stream; never empty."""
        data: bytes | memoryview = self._source.take(most)
        if data:
            self._expects_continue = False
            return data
        began = trio.current_time()
        with trio.move_on_at(began + self._pace.allowance_s()) as scope:
            try:
                if self._expects_continue:
                    await self._say_continue()
                data = await self._source.receive(most)
            except Unavailable as error:
                raise Unavailable(Outage.CLIENT_GONE) from error
        if scope.cancelled_caught:
            self._on_slow()
            raise Refused(Refusal.BODY_TIMEOUT)
        if not data:
            raise Refused(Refusal.BODY_TOO_SHORT)
        self._pace.moved(len(data), trio.current_time() - began)
        return data

    async def _say_continue(self) -> None:
        self._expects_continue = False
        try:
            await self._source.stream.send((_CONTINUE,))
        except Unavailable as error:
            raise Unavailable(Outage.CLIENT_GONE) from error

    async def drain(self) -> None:
        """Receive and drop what is left. Raises like :meth:`receive`."""
        while await self.receive():
            pass


async def read_body(request: HttpRequest, most: int) -> bytes | None:
    """The whole body of a request, when it is at most ``most`` bytes; else None.

    Raises:
        Unavailable, Refused: see :meth:`common.http.records.Body.receive`.
    """
    if request.body.length is not None and request.body.length > most:
        return None
    whole = bytearray()
    while piece := await request.body.receive():
        whole += piece
        if len(whole) > most:
            return None
    return bytes(whole)
