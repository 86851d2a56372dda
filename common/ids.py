"""Identifiers: what each is made of and how long it is.

All are raw ``bytes`` inside the process and on the wire, and lowercase hex where a person sees
them. Source: docs/glossary.md.
"""

from __future__ import annotations

from typing import Final, NewType

PeerId = NewType("PeerId", bytes)
"""SHA-256 of a peer's raw Ed25519 public key, 32 bytes. A cell id is the PeerId of the cell."""
SegmentId = NewType("SegmentId", bytes)
"""16 bytes: 6 bytes write lease number (big endian), then 10 random bytes."""
TenantId = NewType("TenantId", bytes)
BucketId = NewType("BucketId", bytes)
VersionId = NewType("VersionId", bytes)
"""16 random bytes drawn by the gateway. Their order means nothing: order is the sequence number."""

PEER_ID_BYTES: Final = 32
SEGMENT_ID_BYTES: Final = 16
LEASE_ID_BYTES: Final = 6
TENANT_ID_BYTES: Final = 16
VERSION_ID_BYTES: Final = 16
DIGEST_BYTES: Final = 32


def lease_of(segment: SegmentId) -> int:
    """The number of the write lease that a segment was granted under."""
    return int.from_bytes(segment[:LEASE_ID_BYTES], "big")


def segment_id(lease: int, chance: bytes) -> SegmentId:
    """Join a lease number and 10 random bytes to a segment id."""
    assert len(chance) == SEGMENT_ID_BYTES - LEASE_ID_BYTES
    return SegmentId(lease.to_bytes(LEASE_ID_BYTES, "big") + chance)
