"""The plaintext of a write, cut as its stripes want it.

Source: docs/data-path.md, "Writing".
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

from common.errors import Refused
from common.limits import KIB
from common.ports import Buffer
from common.reasons import Refusal
from common.rpc.budget import Share

Receive = Callable[[], Awaitable[Buffer]]
_SMALL_CHUNK_BYTES: Final = 16 * KIB
"""Smaller ones are joined as they come: a client that sends byte by byte must not make us hold an
object for each byte."""


class Source:
    """Takes exact lengths from a stream of chunks, without copying where one chunk holds all.

    Args:
        receive: gives the next chunk, empty at the end. Chunks are given away: they must not be
            changed later.
        gathered: counts what was received before there was room for it.
    """

    def __init__(self, receive: Receive, gathered: Share) -> None:
        self._receive = receive
        self._gathered = gathered
        self._chunks: deque[Buffer] = deque()
        self._bytes = 0
        self._counted_bytes = 0

    async def gather(self, length: int) -> None:
        """Receive the next ``length`` bytes before room is reserved for them, so that a slow client
        keeps no room from others. Returns early when too much is gathered by all together: then
        room is to be taken first.

        Raises:
            Refused: ``body_too_short``: the stream ended before.
        """
        while self._bytes < length:
            arrived = await self._more()
            if not self._gathered.take_nowait(arrived):
                return
            self._counted_bytes += arrived

    async def take(self, length: int) -> Buffer:
        """The next ``length`` bytes. Room for them must have been taken.

        Raises:
            Refused: ``body_too_short``: the stream ended before.
        """
        while self._bytes < length:
            await self._more()
        taken = self._cut(length)
        self._bytes -= length
        if self._counted_bytes > self._bytes:
            self._gathered.give(self._counted_bytes - self._bytes)
            self._counted_bytes = self._bytes
        return taken

    def close(self) -> None:
        """Drop what was received and not taken."""
        self._chunks.clear()
        self._bytes = 0
        self._gathered.give(self._counted_bytes)
        self._counted_bytes = 0

    def _cut(self, length: int) -> Buffer:
        chunks = self._chunks
        if not length:
            return b""
        first = memoryview(chunks[0])
        if len(first) == length:
            return chunks.popleft()
        if len(first) > length:
            chunks[0] = first[length:]
            return first[:length]
        parts: list[Buffer] = []
        missing = length
        while missing:
            view = memoryview(chunks.popleft())
            parts.append(view[:missing])
            if len(view) > missing:
                chunks.appendleft(view[missing:])
            missing -= len(parts[-1])
        return b"".join(parts)

    async def _more(self) -> int:
        chunk = await self._receive()
        arrived = len(chunk)
        if not arrived:
            raise Refused(Refusal.BODY_TOO_SHORT)
        self._bytes += arrived
        last = self._chunks[-1] if self._chunks else None
        if type(last) is bytearray and len(last) < _SMALL_CHUNK_BYTES:
            last += chunk
        elif arrived < _SMALL_CHUNK_BYTES and last is not None:
            self._chunks.append(bytearray(chunk))
        else:
            self._chunks.append(chunk)
        return arrived
