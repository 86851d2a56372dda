"""Wake-up hints for the store's work queues, so that idle workers do not poll.

A hint in memory only. It may come too early: a transaction whose caller was cancelled is carried
out all the same. So a worker of a queue looks again after a while even without a hint.

Source: docs/placement.md, "Rounds".
"""

from __future__ import annotations

from dataclasses import field
from typing import Final

import trio

from common.data_classes import dataclass

LOOK_AGAIN_S: Final = 60.0
"""Time after which a worker looks without a hint, in case one came too early."""


class Queue:
    """The hint of one queue."""

    def __init__(self) -> None:
        self.told = 0
        """The number of times that something may have been put in."""
        self._grown = trio.Event()
        self._grown.set()  # an earlier life may have left something

    def tell(self) -> None:
        """Note that something may have been put in."""
        self.told += 1
        self._grown.set()

    async def wait(self, until: float) -> None:
        """Wait until something may have been put in since this was last waited for.

        Args:
            until: trio's time at which the waiting ends anyway.
        """
        with trio.move_on_at(until):
            await self._grown.wait()
        self._grown = trio.Event()


@dataclass(frozen=True, slots=True)
class Queues:
    """``dropped``: versions and parts to be purged; ``deletes``: shards for cells to delete;
    ``missing``: shards that cells should hold and lack, or may lack; ``homes``: segments that are
    not in their home class; ``classes``: buckets whose storage class was changed."""

    dropped: Queue = field(default_factory=Queue)
    deletes: Queue = field(default_factory=Queue)
    missing: Queue = field(default_factory=Queue)
    homes: Queue = field(default_factory=Queue)
    classes: Queue = field(default_factory=Queue)
