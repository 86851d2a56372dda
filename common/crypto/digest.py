"""Digests: the leaf of a unit, the root of a shard, the digest of a manifest page. BLAKE3.

Source: docs/crypto.md, "Digests".
"""

from __future__ import annotations

import struct
from typing import Final

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
