"""A filter of the segments that the index's tables may know, in little memory: most shards that are
put are new, and need not be looked for in the tables.

A Bloom filter: it has no false negatives, and a false positive costs only a needless look-up.

Source: docs/shard-format.md, "The index".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from common.ids import LEASE_ID_BYTES, SegmentId

FILTER_BITS: Final = 1 << 23
"""A MiB. With a million segments one look-up in 40 is needless, with four million one in two."""
READ_AT_START: Final = 1 << 16
"""Segments read from the tables at the start: a tenth of a second."""
_MASK: Final = FILTER_BITS - 1


class KnownSegments:
    """The segments given to :meth:`add`, and those in the tables at the start.

    Args:
        newest: the greatest segment ids in the tables at the start, in falling order.
        is_all: ``newest`` has all of them.
    """

    def __init__(self, newest: Sequence[SegmentId], *, is_all: bool) -> None:
        self._bits = bytearray(FILTER_BITS // 8)
        # Of this lease and those before it, others may not have been read.
        self._untold_lease = b"" if is_all else newest[-1][:LEASE_ID_BYTES]
        for segment in newest:
            self.add(segment)

    def add(self, segment: SegmentId) -> None:
        """Add the segment of a shard that is going to be in the tables."""
        bits = self._bits
        chance = int.from_bytes(segment[-8:], "big")  # random bytes: their own hash
        for at in (chance & _MASK, chance >> 20 & _MASK, chance >> 41):
            bits[at >> 3] |= 1 << (at & 7)

    def may_have(self, segment: SegmentId) -> bool:
        """False: surely no shard of the segment is in the tables."""
        if segment[:LEASE_ID_BYTES] <= self._untold_lease:
            return True
        bits = self._bits
        chance = int.from_bytes(segment[-8:], "big")
        for at in (chance & _MASK, chance >> 20 & _MASK, chance >> 41):
            if not bits[at >> 3] >> (at & 7) & 1:
                return False
        return True
