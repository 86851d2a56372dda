"""Locks of shards: the task that changes the index's entry of a shard holds its lock."""

from __future__ import annotations

from collections.abc import Iterable

import trio

from cell.storage.shards import ShardKey


class ShardLocks:
    """Shards that are being written, deleted or moved right now."""

    def __init__(self) -> None:
        self._held: dict[ShardKey, trio.Event | None] = {}

    async def take(self, keys: Iterable[ShardKey]) -> None:
        """Wait until none of the shards is held, and hold them all.

        The holder gives each back with :meth:`give_back`, which may be called from anywhere: a
        write that was begun keeps its shard until it is durable, even if nobody waits for it.
        """
        wanted = list(keys)
        while busy := next((key for key in wanted if key in self._held), None):
            event = self._held[busy]
            if event is None:
                event = self._held[busy] = trio.Event()
            await event.wait()
        for key in wanted:
            self._held[key] = None

    def give_back(self, key: ShardKey) -> None:
        """Let the next one have the shard."""
        event = self._held.pop(key)
        if event is not None:
            event.set()
