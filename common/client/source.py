"""The plaintext of a write, cut as its stripes want it.

Source: docs/data-path.md, "Writing".
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from common.errors import Refused
from common.ports import Buffer

Receive = Callable[[], Awaitable[Buffer]]


class Source:
    """Takes exact lengths from a stream of chunks, without copying where one chunk holds all.

    Args:
        receive: gives the next chunk, empty at the end. Chunks are given away: they must not be
            changed later.
    """

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._rest = memoryview(b"")

    async def take(self, length: int) -> Buffer:
        """The next ``length`` bytes.

        Raises:
            Refused: ``body_too_short``: the stream ended before.
        """
        if not self._rest and length:
            await self._more()
        if len(self._rest) >= length:
            taken = self._rest[:length]
            self._rest = self._rest[length:]
            return taken
        gathered = bytearray(length)
        done = 0
        while True:
            count = min(length - done, len(self._rest))
            gathered[done : done + count] = self._rest[:count]
            self._rest = self._rest[count:]
            done += count
            if done == length:
                return gathered
            await self._more()

    async def _more(self) -> None:
        # An empty view of the last chunk would hold all of it for as long as this waits.
        self._rest = memoryview(b"")
        chunk = await self._receive()
        if not chunk:
            raise Refused("body_too_short")
        self._rest = memoryview(chunk)
