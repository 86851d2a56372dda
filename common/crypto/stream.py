"""STREAM: a segment is a row of stripes, each sealed by AES-256-GCM under the segment's own key.

The nonce is the stripe's number and a flag that is set on the last stripe only, so stripes cannot
be dropped, reordered, repeated or cut off; tenant and segment id are authenticated with each.

Source: docs/crypto.md, "Stripes"; Hoang, Reyhanitabar, Rogaway, Vizar, "Online Authenticated
Encryption and its Nonce-Reuse Misuse-Resistance" (2015).
"""

from __future__ import annotations

from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from common import limits
from common.errors import Corrupt
from common.ids import SEGMENT_ID_BYTES, TENANT_ID_BYTES, SegmentId, TenantId
from common.ports import Buffer
from common.reasons import Damage

_NONCE_ZEROS: Final = bytes(7)


def _nonce(stripe: int, last: bool) -> bytes:
    assert 0 <= stripe < limits.MAX_STRIPES_PER_SEGMENT
    return _NONCE_ZEROS + stripe.to_bytes(4, "big") + (b"\1" if last else b"\0")


class StripeCipher:
    """Seals and opens the stripes of one segment. May be used by several threads at once.

    Args:
        segment_key: 32 bytes from :func:`common.crypto.keys.segment_key`; used for one try at this
            segment only, and for sealing each of its stripes at most once.
        tenant: the tenant that owns the segment.
        segment: the segment.
    """

    __slots__ = ("_aad", "_aead")

    def __init__(self, segment_key: bytes, tenant: TenantId, segment: SegmentId) -> None:
        assert len(segment_key) == 32
        assert len(tenant) == TENANT_ID_BYTES
        assert len(segment) == SEGMENT_ID_BYTES
        self._aead = AESGCM(segment_key)
        self._aad = tenant + segment

    def seal_into(self, stripe: int, last: bool, plaintext: Buffer, out: memoryview) -> None:
        """Seal one stripe.

        Args:
            stripe: counts from 0.
            last: whether it is the segment's last.
            plaintext: any length.
            out: where the ciphertext and its tag go; AEAD_TAG_BYTES longer than the plaintext,
                and not overlapping it.
        """
        assert len(out) == len(plaintext) + limits.AEAD_TAG_BYTES
        self._aead.encrypt_into(_nonce(stripe, last), plaintext, self._aad, out)

    def open_into(self, stripe: int, last: bool, sealed: Buffer, out: memoryview) -> None:
        """Open one stripe. ``out`` is as in :meth:`seal_into` with the lengths swapped; what is
        in it after an error must not be used.

        Raises:
            Corrupt: ``stripe_not_authentic``: some byte of it, its number, its last flag, its
                segment, its tenant or its key is not what was sealed.
        """
        if len(sealed) != len(out) + limits.AEAD_TAG_BYTES:
            raise Corrupt(Damage.STRIPE_NOT_AUTHENTIC, stripe=stripe)
        try:
            self._aead.decrypt_into(_nonce(stripe, last), sealed, self._aad, out)
        except InvalidTag:
            raise Corrupt(Damage.STRIPE_NOT_AUTHENTIC, stripe=stripe) from None
