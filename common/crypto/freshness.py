"""Fresh digests: leaves of units and the root of a shard under a nonce that was never used before.

Who has the bytes computes them; who knows only the plain digests, however many, cannot.

Source: docs/crypto.md, "Digests"; docs/decisions/0033-audit.md.
"""

from __future__ import annotations

import struct
from typing import Final

from blake3 import blake3

from common.ids import DIGEST_BYTES, SegmentId
from common.ports import Buffer

NONCE_BYTES: Final = 32
_ROOT_HEAD: Final = struct.Struct(">16sHQQI")
_LEAF_CONTEXT: Final = "alveary fresh leaf v1"
_ROOT_CONTEXT: Final = "alveary fresh root v1"


class FreshDigests:
    """Computes fresh digests under one nonce.

    Args:
        nonce: 32 random bytes that nobody could know before.
    """

    __slots__ = ("_leaf_key", "_root_key")

    def __init__(self, nonce: bytes) -> None:
        assert len(nonce) == NONCE_BYTES
        self._leaf_key = blake3(nonce, derive_key_context=_LEAF_CONTEXT).digest()
        self._root_key = blake3(nonce, derive_key_context=_ROOT_CONTEXT).digest()

    def leaf(self, unit: Buffer) -> bytes:
        """The fresh leaf of one unit, 32 bytes."""
        return blake3(unit, key=self._leaf_key).digest()

    def root(
        self, segment: SegmentId, slot: int, unit_bytes: int, shard_bytes: int, leaves: bytes
    ) -> bytes:
        """The fresh root of a shard, 32 bytes: binds its name, its shape and its fresh leaves.

        Args:
            leaves: the fresh leaves of all units, in order, joined.
        """
        count = len(leaves) // DIGEST_BYTES
        head = _ROOT_HEAD.pack(segment, slot, unit_bytes, shard_bytes, count)
        return blake3(head + leaves, key=self._root_key).digest()
