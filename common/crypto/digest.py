"""Digests: the leaf of a unit, the root of a shard, the digest of a manifest page. BLAKE3.

Source: docs/crypto.md, "Digests".
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple, Self

from blake3 import blake3

from common.ids import DIGEST_BYTES
from common.ports import Buffer
from common.wire.messages.writing import Page

_ROOT_HEAD: Final = struct.Struct(">QQI")
_PAGE_HEAD: Final = struct.Struct(">I")
_EXTENT: Final = struct.Struct(">16sQQ32sQ")
_ROOT_CONTEXT: Final = "alveary shard root v1"
_PAGE_CONTEXT: Final = "alveary manifest page v1"


def leaf(unit: Buffer) -> bytes:
    """BLAKE3 of one unit, 32 bytes."""
    return blake3(unit).digest()


def shard_root(unit_bytes: int, shard_bytes: int, leaves: bytes) -> bytes:
    """The root of a shard, 32 bytes: binds its units, their order, number and size.

    Args:
        unit_bytes: bytes of every unit but the last.
        shard_bytes: bytes of all units.
        leaves: the units' leaves, in order, joined.
    """
    assert len(leaves) % DIGEST_BYTES == 0
    head = _ROOT_HEAD.pack(unit_bytes, shard_bytes, len(leaves) // DIGEST_BYTES)
    return blake3(head + leaves, derive_key_context=_ROOT_CONTEXT).digest()


class ShardDigests(NamedTuple):
    """The digests that the units of one shard must match.

    ``unit_bytes``: of every unit but the last. ``shard_bytes``: of all units. ``leaves``: one for
    each unit, in order, joined; they may be trusted where they :meth:`belong_to` the root.
    """

    unit_bytes: int
    shard_bytes: int
    leaves: bytes

    @classmethod
    def of(cls, unit_bytes: int, shard_bytes: int, units: Buffer) -> Self:
        """Hash a whole shard.

        Args:
            units: all of its units, joined. Where bytes are missing, the digests do not belong to
                the shard's root.
        """
        view = memoryview(units)
        leaves = [leaf(view[at : at + unit_bytes]) for at in range(0, len(view), unit_bytes)]
        return cls(unit_bytes, shard_bytes, b"".join(leaves))

    @property
    def units(self) -> int:
        """The number of units of the shard."""
        return -(-self.shard_bytes // self.unit_bytes)

    @property
    def root(self) -> bytes:
        """The root of the shard, 32 bytes."""
        return shard_root(self.unit_bytes, self.shard_bytes, self.leaves)

    def belong_to(self, root: bytes) -> bool:
        """Return whether these are as many leaves as the shard has units, and hash to its root."""
        return len(self.leaves) == self.units * DIGEST_BYTES and self.root == root

    def hold(self, first: int, count: int, units: Buffer) -> bool:
        """Return whether these bytes are units ``first`` to ``first + count - 1``, whole and
        unchanged.

        Args:
            first: number of the first unit.
            count: how many; fewer at the end of the shard.
            units: joined.
        """
        step, leaves = self.unit_bytes, self.leaves
        if not 0 < len(units) == min(count * step, self.shard_bytes - first * step):
            return False
        view = memoryview(units)
        at = first * DIGEST_BYTES
        for start in range(0, len(view), step):
            if leaf(view[start : start + step]) != leaves[at : at + DIGEST_BYTES]:
                return False
            at += DIGEST_BYTES
        return True


def page_digest(page: Page) -> bytes:
    """The digest of a page, 32 bytes: binds every extent's segment, offset, length, key commitment
    and number, their order and how many they are."""
    parts = [_PAGE_HEAD.pack(len(page.extents))]
    for extent in page.extents:
        parts.append(
            _EXTENT.pack(
                extent.segment_id, extent.offset, extent.length, extent.commitment, extent.number
            )
        )
    return blake3(b"".join(parts), derive_key_context=_PAGE_CONTEXT).digest()
