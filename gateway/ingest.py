"""The way of a body into the swarm: received, checked and hashed while earlier bytes are already
being sealed and sent.

Small bodies are hashed at once, on the spot. For large ones every slow digest has a lane of its
own: chunks queue there and are hashed in worker threads, several to a hop, so that MD5 and
SHA-256 run beside each other and beside sealing, encoding and sending. Lanes are bounded, each
and all together; a full lane stops the receiving.

The last bytes of a body are only handed on when every digest is done and every check held: a
write never ends well with wrong bytes, and what is wrong is aborted before it can be committed.

Source: docs/data-path.md, "Writing".
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final, Protocol, TypeAlias, TypeVar

import trio

from common import limits
from common.errors import Refused
from common.ports import Buffer, Workers
from common.reasons import Refusal
from common.tasks import background

T = TypeVar("T")
Receive: TypeAlias = Callable[[], Awaitable[Buffer]]

INLINE_BYTES: Final = 64 * limits.KIB
"""Up to here hashing on the spot is cheaper than a hop to a thread and back."""
BATCH_BYTES: Final = 256 * limits.KIB
"""A lane waits for so many bytes before it spends a hop on them."""


class Hash(Protocol):
    """A running digest."""

    def update(self, data: Buffer, /) -> object:
        """Take in the next bytes; releases the GIL where it is slow."""


class HashBacklog:
    """Counts what waits in all lanes of a process, so that many streams stay within bounds."""

    def __init__(self) -> None:
        self.waiting_bytes = 0
        self.held_bytes = 0
        """Bytes of signed chunks whose signatures are not known to hold yet."""

    def lane_bytes(self) -> int:
        """The bytes that one lane may hold now."""
        return (
            limits.MAX_CROWDED_HASH_LANE_BYTES
            if self.waiting_bytes > limits.HASH_CROWD_BYTES
            else limits.MAX_HASH_LANE_BYTES
        )


class _Lane:
    """Chunks on their way into one digest, in order."""

    def __init__(self, hash_: Hash, workers: Workers, backlog: HashBacklog) -> None:
        self._hash = hash_
        self._workers = workers
        self._backlog = backlog
        self._chunks: list[Buffer] = []
        self._queued_bytes = 0
        self._waiting_bytes = 0
        self._ended = False
        self._work = trio.lowlevel.ParkingLot()
        self._room = trio.lowlevel.ParkingLot()

    async def put(self, chunk: Buffer) -> None:
        """Queue a chunk; waits while the lane is full."""
        while self._waiting_bytes and self._waiting_bytes + len(chunk) > self._backlog.lane_bytes():
            self._work.unpark_all()
            await self._room.park()
        self._chunks.append(chunk)
        self._queued_bytes += len(chunk)
        self._waiting_bytes += len(chunk)
        self._backlog.waiting_bytes += len(chunk)
        if self._queued_bytes >= BATCH_BYTES:
            self._work.unpark_all()

    async def drain(self) -> None:
        """Say that nothing follows, and wait until all is hashed."""
        self._ended = True
        self._work.unpark_all()
        while self._waiting_bytes:
            await self._room.park()

    async def run(self) -> None:
        """Hash what comes, until cancelled or drained."""
        try:
            while True:
                while not self._chunks:
                    if self._ended:
                        return
                    await self._work.park()
                chunks, self._chunks = self._chunks, []
                taken, self._queued_bytes = self._queued_bytes, 0
                await self._workers.run(partial(self._hash_all, chunks))
                del chunks  # what is no longer counted must not live on while this waits
                self._waiting_bytes -= taken
                self._backlog.waiting_bytes -= taken
                self._room.unpark_all()
        finally:
            self._backlog.waiting_bytes -= self._waiting_bytes
            self._waiting_bytes = 0

    def _hash_all(self, chunks: list[Buffer]) -> None:
        update = self._hash.update
        for chunk in chunks:
            update(chunk)


class Ingest:
    """One body on its way in.

    Args:
        receive: gives the body's plain bytes, ``b""`` at the end.
        size: how many there must be.
        slow: digests worth a thread (MD5, SHA-1, SHA-256).
        fast: digests that run at memory speed (CRCs).
        check: called once, after the last byte is in every digest; raises what is wrong.
        close: called once, however the body ends.
    """

    def __init__(
        self,
        *,
        receive: Receive,
        size: int,
        slow: Sequence[Hash],
        fast: Sequence[Hash],
        check: Callable[[], None],
        workers: Workers,
        backlog: HashBacklog,
        close: Callable[[], None] | None = None,
    ) -> None:
        self._close = close
        self._source = receive
        self._left = size
        self._inline = [hash_.update for hash_ in fast]
        self._lanes: list[_Lane] = []
        if size <= INLINE_BYTES:
            self._inline += [hash_.update for hash_ in slow]
        else:
            self._lanes = [_Lane(hash_, workers, backlog) for hash_ in slow]
        self._check = check
        self._ended = False

    async def receive(self) -> Buffer:
        """The next bytes of the body; ``b""`` at the end. The last bytes are only given once the
        body has ended where it should and every check held.

        Raises:
            Refused: ``body_too_short``, ``body_too_long``; and what the source or ``check``
                raise.
        """
        if self._ended:
            return b""
        chunk = await self._source()
        length = len(chunk)
        if length:
            self._left -= length
            if self._left < 0:
                raise Refused(Refusal.BODY_TOO_LONG)
            for update in self._inline:
                update(chunk)
            for lane in self._lanes:
                await lane.put(chunk)
            if self._left:
                return chunk
            if len(await self._source()):
                raise Refused(Refusal.BODY_TOO_LONG)
        elif self._left:
            raise Refused(Refusal.BODY_TOO_SHORT)
        for lane in self._lanes:
            await lane.drain()
        self._check()
        self._ended = True
        return chunk

    async def through(self, write: Callable[[Receive], Awaitable[T]]) -> T:
        """Run ``write`` with :meth:`receive`, hashing beside it.

        Returns:
            What ``write`` returns. The whole body was taken and every check held.

        Raises:
            What ``write``, the source or ``check`` raise.
        """
        try:
            return await self._run(write)
        finally:
            if self._close is not None:
                self._close()

    async def _run(self, write: Callable[[Receive], Awaitable[T]]) -> T:
        if not self._left:
            await self.receive()
        if not self._lanes:
            written = await write(self.receive)
            assert self._ended, "the writer left bytes behind"
            return written
        async with background() as nursery:
            for lane in self._lanes:
                nursery.start_soon(lane.run)
            written = await write(self.receive)
        assert self._ended, "the writer left bytes behind"
        return written
