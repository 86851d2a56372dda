"""Digests of shards that are being read unit by unit, checked against their root once."""

from __future__ import annotations

from typing import Final

from cell.storage.shards import Entry, ShardKey
from common.crypto.digest import ShardDigests

CACHED_SHARDS: Final = 1024
"""At most 4 KiB each."""


class LeafCache:
    """Checked digests, the latest used ones."""

    def __init__(self) -> None:
        self._known: dict[ShardKey, tuple[bytes, ShardDigests]] = {}

    def get(self, key: ShardKey, entry: Entry) -> ShardDigests | None:
        """Return the digests of a shard, if they are those of this entry's root."""
        known = self._known.get(key)
        return known[1] if known is not None and known[0] == entry.root else None

    def remember(self, key: ShardKey, entry: Entry, digests: ShardDigests) -> None:
        """Keep digests that were checked against the root."""
        self._known.pop(key, None)
        self._known[key] = (entry.root, digests)
        if len(self._known) > CACHED_SHARDS:
            del self._known[next(iter(self._known))]

    def forget(self, key: ShardKey) -> None:
        """Forget the leaves of a deleted shard."""
        self._known.pop(key, None)
