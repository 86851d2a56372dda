"""The whole CPU work of one stripe in one call, so that a client makes one thread hop for it.

Source: docs/manifest-format.md, "Stripes".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from common import limits
from common.crypto.digest import leaf
from common.crypto.stream import StripeCipher
from common.data_classes import dataclass
from common.erasure.code import Code
from common.erasure.geometry import Geometry
from common.ports import Buffer


@dataclass(frozen=True, slots=True)
class EncodedStripe:
    """A stripe as it goes to the cells. ``units[i]`` and ``leaves[i]`` (32 bytes) belong to slot
    i. ``home_leaves``: those of the units that the stripe has in the segment's home class."""

    units: list[memoryview]
    leaves: list[bytes]
    home_leaves: Sequence[bytes] = ()


def encode_stripe(
    cipher: StripeCipher,
    code: Code,
    geometry: Geometry,
    stripe: int,
    plaintext: Buffer,
    home: Code | None = None,
) -> EncodedStripe:
    """Pad, seal, encode and hash one stripe.

    Args:
        cipher: of the segment.
        code: of the segment's k and n.
        geometry: of the segment.
        stripe: its number.
        plaintext: exactly ``geometry.plain_bytes(stripe)`` bytes. Not read after the return.
        home: the code of the segment's home class, where that is another.
    """
    assert len(plaintext) == geometry.plain_bytes(stripe)
    unit_bytes = geometry.unit_bytes_of(stripe)
    sealed = memoryview(bytearray(geometry.k * unit_bytes))
    padding = len(sealed) - limits.AEAD_TAG_BYTES - len(plaintext)
    # Fewer than k bytes (of the home class), and only in a segment's last stripe.
    padded = b"".join((plaintext, bytes(padding))) if padding else plaintext
    cipher.seal_into(stripe, geometry.is_last(stripe), padded, sealed)
    units = _units_of(code, sealed)
    home_units = () if home is None else _units_of(home, sealed)
    return EncodedStripe(units, [leaf(unit) for unit in units], [leaf(unit) for unit in home_units])


def _units_of(code: Code, sealed: memoryview) -> list[memoryview]:
    """All units of a sealed stripe, whose bytes the code's k divides."""
    unit_bytes, rest = divmod(len(sealed), code.k)
    assert not rest
    units = [sealed[at : at + unit_bytes] for at in range(0, len(sealed), unit_bytes)]
    return units + code.encode(sealed, unit_bytes)


def home_unit(
    code: Code, units: Mapping[int, Buffer], unit_bytes: int, home: Code, slot: int
) -> Buffer:
    """Return a unit of a stripe in another class that it can be cut into.

    Args:
        code: of the class that the stripe is in.
        units: any k (or more) units of the stripe by slot.
        unit_bytes: of each of them.
        home: of the other class.
        slot: of the unit wanted.
    """
    sealed = memoryview(bytearray(code.k * unit_bytes))
    code.decode(units, unit_bytes, sealed)
    step, rest = divmod(len(sealed), home.k)
    assert not rest
    data = {number: sealed[number * step : (number + 1) * step] for number in range(home.k)}
    return data[slot] if slot < home.k else home.rebuild(data, step, [slot])[0]


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
