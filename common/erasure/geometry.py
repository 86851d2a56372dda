"""Geometry: how a segment's bytes are cut into stripes and units. Pure arithmetic.

Every full stripe holds ``k * unit_bytes - AEAD_TAG_BYTES`` plaintext bytes; sealing adds the tag,
so a sealed stripe is exactly k units. The last stripe is cut to what it holds, padded with zeros
to whole units.

Source: docs/manifest-format.md, "Geometry".
"""

from __future__ import annotations

from dataclasses import replace
from typing import Self

from common import limits
from common.data_classes import dataclass
from common.errors import PeerViolation
from common.reasons import Violation


def _bad(what: str, **facts: object) -> PeerViolation:
    return PeerViolation(Violation.BAD_GEOMETRY, what=what, **facts)


def _ceil_div(a: int, b: int) -> int:
    return -(-a // b)


@dataclass(frozen=True, slots=True)
class Geometry:
    """The cut of one segment. Make it with :meth:`plan` (new) or :meth:`of` (stored).

    ``unit_bytes`` are the bytes of every unit but a shard's last, which may be shorter.
    ``shard_bytes`` are the bytes of all units of one slot.
    """

    k: int
    n: int
    segment_bytes: int
    unit_bytes: int
    stripes: int
    shard_bytes: int

    @classmethod
    def plan(cls, k: int, n: int, segment_bytes: int, cut: int = 0) -> Self:
        """The geometry for a new segment of ``segment_bytes`` plaintext bytes.

        Args:
            k: data units per stripe, 1 <= k <= n <= MAX_SLOTS.
            n: all units per stripe.
            segment_bytes: 0..SEGMENT_BYTES.
            cut: the sealed stripes shall be those of a class of so many data units, a multiple of
                k; 0: of this one.
        """
        cut = cut or k
        assert 1 <= k <= n <= limits.MAX_SLOTS
        assert cut <= limits.MAX_SLOTS
        assert cut % k == 0
        assert 0 <= segment_bytes <= limits.SEGMENT_BYTES
        full = (
            limits.STRIPE_SEALED_BYTES
            // cut
            // limits.UNIT_ALIGNMENT_BYTES
            * limits.UNIT_ALIGNMENT_BYTES
        )
        if segment_bytes <= cut * full - limits.AEAD_TAG_BYTES:
            full = _ceil_div(segment_bytes + limits.AEAD_TAG_BYTES, cut)
        return cls._cut(k, n, segment_bytes, full * (cut // k), cut)

    @classmethod
    def of(cls, k: int, n: int, segment_bytes: int, unit_bytes: int, shard_bytes: int) -> Self:
        """The geometry of a stored segment, from foreign figures.

        Raises:
            PeerViolation: ``bad_geometry``: no writer makes such a segment.
        """
        if not 1 <= k <= n <= limits.MAX_SLOTS:
            raise _bad("redundancy", k=k, n=n)
        if not 0 <= segment_bytes <= limits.SEGMENT_BYTES:
            raise _bad("segment_bytes", segment_bytes=segment_bytes)
        if not limits.AEAD_TAG_BYTES <= k * unit_bytes <= limits.STRIPE_SEALED_BYTES:
            raise _bad("unit_bytes", unit_bytes=unit_bytes)
        is_single = segment_bytes <= k * unit_bytes - limits.AEAD_TAG_BYTES
        if not is_single and (
            k * unit_bytes == limits.AEAD_TAG_BYTES or unit_bytes % limits.UNIT_ALIGNMENT_BYTES
        ):
            raise _bad("unit_bytes", unit_bytes=unit_bytes)
        geometry = cls._cut(k, n, segment_bytes, unit_bytes)
        if geometry.stripes > limits.MAX_STRIPES_PER_SEGMENT:
            raise _bad("stripes", stripes=geometry.stripes)
        # The last stripe is padded to units of this class, or of one with a multiple of its k.
        last = shard_bytes - (geometry.stripes - 1) * unit_bytes
        sealed = geometry.plain_bytes(geometry.stripes - 1) + limits.AEAD_TAG_BYTES
        padding = k * last - sealed
        least = unit_bytes if is_single else 0
        if not 0 <= padding < limits.MAX_SLOTS or not least <= last <= unit_bytes:
            raise _bad("shard_bytes", shard_bytes=shard_bytes)
        return replace(geometry, shard_bytes=shard_bytes)

    @classmethod
    def _cut(cls, k: int, n: int, segment_bytes: int, unit_bytes: int, cut: int = 0) -> Self:
        cut = cut or k
        plain = k * unit_bytes - limits.AEAD_TAG_BYTES
        stripes = max(1, _ceil_div(segment_bytes, plain)) if plain else 1
        rest = segment_bytes - (stripes - 1) * plain
        last_unit = _ceil_div(rest + limits.AEAD_TAG_BYTES, cut) * (cut // k)
        shard_bytes = (stripes - 1) * unit_bytes + last_unit
        return cls(k, n, segment_bytes, unit_bytes, stripes, shard_bytes)

    @property
    def full_plain_bytes(self) -> int:
        """Plaintext bytes of every stripe but the last."""
        return self.k * self.unit_bytes - limits.AEAD_TAG_BYTES

    def is_cut_like(self, other: Geometry) -> bool:
        """Return whether the stripes of both have the same plaintext, for segments of one size."""
        assert self.segment_bytes == other.segment_bytes
        return self.stripes == other.stripes and self.plain_bytes(0) == other.plain_bytes(0)

    def is_last(self, stripe: int) -> bool:
        """Return whether the stripe is the segment's last."""
        assert 0 <= stripe < self.stripes
        return stripe == self.stripes - 1

    def stripe_start(self, stripe: int) -> int:
        """The offset in the segment of a stripe's first plaintext byte."""
        assert 0 <= stripe < self.stripes
        return stripe * self.full_plain_bytes

    def plain_bytes(self, stripe: int) -> int:
        """Plaintext bytes of a stripe, without padding."""
        if self.is_last(stripe):
            return self.segment_bytes - self.stripe_start(stripe)
        return self.full_plain_bytes

    def unit_bytes_of(self, stripe: int) -> int:
        """Bytes of each unit of a stripe."""
        if self.is_last(stripe):
            return self.shard_bytes - (self.stripes - 1) * self.unit_bytes
        return self.unit_bytes

    def stripe_at(self, offset: int) -> int:
        """The stripe that holds a plaintext byte.

        Args:
            offset: 0 <= offset < segment_bytes.
        """
        assert 0 <= offset < self.segment_bytes
        return offset // self.full_plain_bytes
