"""The whole CPU work of one stripe in one call, so that a client makes one thread hop for it.

Source: docs/manifest-format.md, "Stripes".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from common import limits
from common.crypto.digest import leaf
from common.crypto.stream import StripeCipher
from common.erasure.code import Code
from common.erasure.geometry import Geometry
from common.ports import Buffer


@dataclass(frozen=True, slots=True)
class EncodedStripe:
    """A stripe as it goes to the cells. ``units[i]`` and ``leaves[i]`` (32 bytes) belong to slot
    i."""

    units: list[memoryview]
    leaves: list[bytes]


def encode_stripe(
    cipher: StripeCipher, code: Code, geometry: Geometry, stripe: int, plaintext: Buffer
) -> EncodedStripe:
    """Pad, seal, encode and hash one stripe.

    Args:
        cipher: of the segment.
        code: of the segment's k and n.
        geometry: of the segment.
        stripe: its number.
        plaintext: exactly ``geometry.plain_bytes(stripe)`` bytes. Not read after the return.
    """
    assert len(plaintext) == geometry.plain_bytes(stripe)
    unit_bytes = geometry.unit_bytes_of(stripe)
    sealed = memoryview(bytearray(geometry.k * unit_bytes))
    padding = len(sealed) - limits.AEAD_TAG_BYTES - len(plaintext)
    # Fewer than k bytes, and only in a segment's last stripe.
    padded = b"".join((plaintext, bytes(padding))) if padding else plaintext
    cipher.seal_into(stripe, geometry.is_last(stripe), padded, sealed)
    units = [sealed[at : at + unit_bytes] for at in range(0, len(sealed), unit_bytes)]
    units += code.encode(sealed, unit_bytes)
    return EncodedStripe(units, [leaf(unit) for unit in units])


def decode_stripe(
    cipher: StripeCipher,
    code: Code,
    geometry: Geometry,
    stripe: int,
    units: Mapping[int, Buffer],
) -> memoryview:
    """Compute missing data units of one stripe and open it.

    Args:
        units: any k (or more) units of the stripe by slot, each of
            ``geometry.unit_bytes_of(stripe)`` bytes.

    Returns:
        The plaintext without padding.

    Raises:
        Corrupt: ``stripe_not_authentic``: at least one unit is wrong. Compare the leaves to find
            which, and try again without it.
    """
    unit_bytes = geometry.unit_bytes_of(stripe)
    sealed: Buffer
    if all(slot in units for slot in range(geometry.k)):
        # One copy and one call: opening unit by unit would spare the copy and cost k hand-overs
        # of the interpreter's lock, which cost more (docs/crypto.md, "Cost").
        sealed = b"".join([units[slot] for slot in range(geometry.k)])
    else:
        sealed = memoryview(bytearray(geometry.k * unit_bytes))
        code.decode(units, unit_bytes, sealed)
    plaintext = memoryview(bytearray(geometry.k * unit_bytes - limits.AEAD_TAG_BYTES))
    cipher.open_into(stripe, geometry.is_last(stripe), sealed, plaintext)
    return plaintext[: geometry.plain_bytes(stripe)]
