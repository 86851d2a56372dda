"""Leaves of shards that are being read unit by unit, checked against their root once."""

from __future__ import annotations

from typing import Final

from cell.storage.shards import Entry, ShardKey

CACHED_SHARDS: Final = 1024
"""At most 4 KiB each."""


class LeafCache:
    """Checked leaves, the latest used ones."""

    def __init__(self) -> None:
        self._leaves: dict[ShardKey, tuple[bytes, bytes]] = {}

    def get(self, key: ShardKey, entry: Entry) -> bytes | None:
        """The leaves of a shard, if they are those of this entry's root."""
        known = self._leaves.get(key)
        return known[1] if known is not None and known[0] == entry.root else None

    def remember(self, key: ShardKey, entry: Entry, leaves: bytes) -> None:
        """Keep leaves that were checked against the root."""
        self._leaves.pop(key, None)
        self._leaves[key] = (entry.root, leaves)
        if len(self._leaves) > CACHED_SHARDS:
            del self._leaves[next(iter(self._leaves))]

    def forget(self, key: ShardKey) -> None:
        """The shard is deleted."""
        self._leaves.pop(key, None)
