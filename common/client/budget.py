"""One budget of bytes for all streams of a process.

Source: docs/data-path.md, "Memory".
"""

from __future__ import annotations

from collections import deque

import trio


class ByteBudget:
    """Bytes that all streams together may hold; served first come, first served.

    There is no deadlock as long as a holder never waits for more while it holds: everything that
    one step needs (a stripe's plaintext, sealed and parity bytes) is taken at once, and what is
    held is given back without taking anything first. ``put.py`` and ``get.py`` keep to that.

    Args:
        total_bytes: at least as much as the largest single taking.
    """

    def __init__(self, total_bytes: int) -> None:
        self._total_bytes = total_bytes
        self._free_bytes = total_bytes
        self._waiting: deque[tuple[int, trio.Event]] = deque()

    @property
    def total_bytes(self) -> int:
        """What there is in all."""
        return self._total_bytes

    @property
    def free_bytes(self) -> int:
        """What could be taken now if nobody waited."""
        return self._free_bytes

    @property
    def is_scarce(self) -> bool:
        """Whether streams should make do with little."""
        return self._free_bytes < self._total_bytes // 2 or bool(self._waiting)

    @property
    def waiting(self) -> int:
        """How many streams wait for room."""
        return len(self._waiting)

    def take_nowait(self, amount: int) -> bool:
        """Take ``amount`` bytes if they are free and nobody waits before us."""
        assert 0 <= amount <= self._total_bytes, f"{amount} of a budget of {self._total_bytes}"
        if self._waiting or amount > self._free_bytes:
            return False
        self._free_bytes -= amount
        return True

    async def take(self, amount: int) -> None:
        """Take ``amount`` bytes; wait in line until they are free. Cancellable."""
        if self.take_nowait(amount):
            return
        turn = trio.Event()
        entry = (amount, turn)
        self._waiting.append(entry)
        try:
            await turn.wait()
        except BaseException:
            if turn.is_set():
                self.give(amount)
            else:
                self._waiting.remove(entry)
                self._serve()
            raise

    def give(self, amount: int) -> None:
        """Give bytes back and wake who was waiting for them."""
        assert amount >= 0
        self._free_bytes += amount
        assert self._free_bytes <= self._total_bytes, "gave back more than was taken"
        self._serve()

    def _serve(self) -> None:
        while self._waiting and self._waiting[0][0] <= self._free_bytes:
            amount, turn = self._waiting.popleft()
            self._free_bytes -= amount
            turn.set()
