"""The frames that one connection still has to send: bounded, in order, many frames in one send.

Source: docs/protocol.md, "Sending".
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

import trio

from common import limits
from common.ports import Buffer, Stream

SEND_NOW_BYTES: Final = 16 * 1024
"""A longer frame is left to the task that sends."""

_Entry: TypeAlias = tuple[Sequence[Buffer], int, Callable[[int], None] | None, int]
"""A frame's parts, their bytes, the callback when they are sent, and its payload bytes."""


class Turnstile:
    """Lets tasks through one at a time, first come, first served, while a condition holds.

    Args:
        is_open: looked at whenever a task arrives and at every :meth:`nudge`.
    """

    def __init__(self, is_open: Callable[[], bool]) -> None:
        self._is_open = is_open
        self._line = trio.lowlevel.ParkingLot()
        self._called = 0

    async def enter(self) -> None:
        """Wait for the turn. Do what the turn is for without a checkpoint, then :meth:`nudge`."""
        if not self.enter_nowait():
            await self._line.park()
            self._called -= 1

    def enter_nowait(self) -> bool:
        """Take the turn if nobody waits before us and the condition holds."""
        return not self._called and not self._line and self._is_open()

    def nudge(self) -> None:
        """Call the next in line, if any: the condition may hold now."""
        if self._line and not self._called and self._is_open():
            self._called = 1
            self._line.unpark()


class Outbox:
    """Frames on their way out of one connection. The only one who sends on its stream.

    On a quiet connection the caller sends a short frame itself: waking the sender task would cost
    more than the send. On a busy one frames gather for that task, so that many leave in one
    piece: sending, and waking the receiver, costs most of all.

    Args:
        stream: where to.
        on_room: called when a batch was sent.
        is_quiet: whether no other call is under way than the one that puts a frame. A caller
            leaves it out: calls begin together more often than not, and sent one by one they
            are answered one by one from then on.
    """

    def __init__(
        self,
        stream: Stream,
        on_room: Callable[[], None],
        is_quiet: Callable[[], bool] = lambda: False,
    ) -> None:
        self._stream = stream
        self._on_room = on_room
        self._is_quiet = is_quiet
        self._queue: deque[_Entry] = deque()
        self._unsent_bytes = 0
        self._put = 0
        self._taken = 0
        self._writer: trio.lowlevel.Task | None = None
        self._idle: trio.Event | None = None
        self._sending_since: float | None = None

    @property
    def stuck_at(self) -> float:
        """Return when the peer will not have taken a batch for SEND_TIMEOUT_S: it does not read."""
        since = self._sending_since
        return math.inf if since is None else since + limits.SEND_TIMEOUT_S

    @property
    def has_room(self) -> bool:
        """True while less than OUTBOX_BYTES wait or are being sent."""
        return self._unsent_bytes < limits.OUTBOX_BYTES

    @property
    def unsent_bytes(self) -> int:
        """Bytes that wait or are being sent."""
        return self._unsent_bytes

    def put(self, parts: list[Buffer], on_sent: Callable[[int], None] | None = None) -> int:
        """Queue a frame; look at :attr:`has_room` first.

        Args:
            parts: as :func:`common.wire.frame.encode_frame` gives them; they must not change.
            on_sent: called with the frame's payload bytes once it is sent (or dropped).

        Returns:
            A number to ask :meth:`was_taken` with.
        """
        size = len(parts[0]) if len(parts) == 1 else sum(map(len, parts))
        payload_bytes = size - len(parts[0])
        self._put += 1
        left: Sequence[Buffer] = parts
        writer = self._writer
        if writer is not None:  # then nothing is queued or being sent
            if size <= SEND_NOW_BYTES and self._is_quiet():
                self._taken = self._put
                sent = self._stream.send_nowait(parts)
                if sent == size:
                    if on_sent is not None:
                        on_sent(payload_bytes)
                    return self._put
                size -= sent
                left = [memoryview(b"".join(parts))[sent:]]
            self._writer = None
            trio.lowlevel.reschedule(writer)
        self._queue.append((left, size, on_sent, payload_bytes))
        self._unsent_bytes += size
        return self._put

    def was_taken(self, number: int) -> bool:
        """False when surely nothing of that frame has left."""
        return number <= self._taken

    async def run(self) -> None:
        """Send until cancelled.

        Raises:
            Unavailable: ``connection_lost``.
        """
        while True:
            if not self._queue:
                if self._idle is not None:
                    self._idle.set()
                    self._idle = None
                self._writer = trio.lowlevel.current_task()
                await trio.lowlevel.wait_task_rescheduled(self._abort)
            await self._send_batch()

    async def wait_idle(self) -> None:
        """Wait until everything queued so far, and what is put meanwhile, is sent."""
        if self._unsent_bytes:
            if self._idle is None:
                self._idle = trio.Event()
            await self._idle.wait()

    def give_up(self) -> None:
        """Notify the owners of the frames that were not sent: the connection is gone."""
        self._settle(list(self._queue))
        self._queue.clear()

    def _abort(self, _: object) -> trio.lowlevel.Abort:
        self._writer = None
        return trio.lowlevel.Abort.SUCCEEDED

    async def _send_batch(self) -> None:
        parts, batch, size = self._next_batch()
        self._sending_since = trio.current_time()
        try:
            await self._stream.send(parts)
        finally:
            self._sending_since = None
            self._unsent_bytes -= size
            self._settle(batch)
        self._on_room()

    def _next_batch(self) -> tuple[list[Buffer], list[_Entry], int]:
        queue = self._queue
        batch = []
        parts: list[Buffer] = []
        size = 0
        while queue and size < limits.SEND_BATCH_BYTES:
            entry = queue.popleft()
            batch.append(entry)
            parts += entry[0]
            size += entry[1]
        self._taken = self._put - len(queue)
        return parts, batch, size

    @staticmethod
    def _settle(batch: list[_Entry]) -> None:
        for _, _, on_sent, payload_bytes in batch:
            if on_sent is not None:
                on_sent(payload_bytes)
