"""Checksums of objects and parts: CRC32, CRC32C, CRC64NVME, SHA-1, SHA-256.

Of an object uploaded in parts a checksum is either of the whole object (CRCs only, combined from
the parts' without reading them again) or composite: of the parts' checksums, written with ``-N``.

Source: docs/object-format.md, "Terms"; zlib's ``crc32_combine``.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import Enum
from typing import Final, Protocol, TypeAlias, cast

from awscrt import checksums as crt

from common.data_classes import dataclass
from common.ports import Buffer


class Algorithm(Enum):
    """A checksum algorithm, by the name that metadata keeps."""

    CRC32 = "CRC32"
    CRC32C = "CRC32C"
    CRC64NVME = "CRC64NVME"
    SHA1 = "SHA1"
    SHA256 = "SHA256"

    @property
    def digest_bytes(self) -> int:
        """The length of the digest."""
        return _DIGEST_BYTES[self]

    @property
    def is_crc(self) -> bool:
        """Return whether checksums of parts can be combined to that of the whole, and whether it is
        quick enough to be computed on the spot."""
        return self in _CRCS


Update: TypeAlias = Callable[[Buffer, int], int]


@dataclass(frozen=True, slots=True)
class _Crc:
    """A reflected CRC with all ones before and after. ``polynomial``: reflected."""

    bits: int
    polynomial: int
    update: Update


_DIGEST_BYTES: Final = {
    Algorithm.CRC32: 4,
    Algorithm.CRC32C: 4,
    Algorithm.CRC64NVME: 8,
    Algorithm.SHA1: 20,
    Algorithm.SHA256: 32,
}
# awscrt declares bytes and takes any buffer.
_CRCS: Final[Mapping[Algorithm, _Crc]] = {
    Algorithm.CRC32: _Crc(32, 0xEDB88320, zlib.crc32),
    Algorithm.CRC32C: _Crc(32, 0x82F63B78, cast(Update, crt.crc32c)),
    Algorithm.CRC64NVME: _Crc(64, 0x9A6C9329AC4BC9B5, cast(Update, crt.crc64nvme)),
}


class RunningChecksum(Protocol):
    """A running checksum."""

    def update(self, data: Buffer, /) -> None:
        """Take in the next bytes."""

    def digest(self) -> bytes:
        """The checksum of all bytes so far."""


class _CrcChecksum:
    __slots__ = ("_bytes", "_update", "_value")

    def __init__(self, crc: _Crc) -> None:
        self._update = crc.update
        self._bytes = crc.bits // 8
        self._value = 0

    def update(self, data: Buffer, /) -> None:
        self._value = self._update(data, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(self._bytes, "big")


def new_checksum(algorithm: Algorithm) -> RunningChecksum:
    """A running checksum of no bytes yet."""
    crc = _CRCS.get(algorithm)
    if crc is not None:
        return _CrcChecksum(crc)
    if algorithm is Algorithm.SHA1:
        return hashlib.sha1(usedforsecurity=False)
    return hashlib.sha256()


def encode(digest: bytes) -> str:
    """Return a digest as text: base64."""
    return base64.b64encode(digest).decode("ascii")


def parse_digest(text: str | bytes, digest_bytes: int) -> bytes | None:
    """The digest in strict base64; None if it is not that of so many bytes."""
    try:
        digest = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return digest if len(digest) == digest_bytes else None


def composite(algorithm: Algorithm, digests: Sequence[bytes]) -> str:
    """The checksum of the parts' checksums: base64 and ``-N``."""
    assert algorithm is not Algorithm.CRC64NVME
    checksum = new_checksum(algorithm)
    checksum.update(b"".join(digests))
    return f"{encode(checksum.digest())}-{len(digests)}"


def combine(algorithm: Algorithm, parts: Iterable[tuple[bytes, int]]) -> bytes:
    """The checksum of the whole from those of its parts.

    Args:
        algorithm: a CRC.
        parts: the digest and the number of bytes of each part, in order.

    Returns:
        The digest; that of no bytes when there are no parts.
    """
    crc = _CRCS[algorithm]
    whole = 0
    shifts: dict[int, int] = {}  # Parts are mostly of one size.
    for digest, size in parts:
        shift = shifts.get(size)
        if shift is None:
            shift = shifts[size] = _power_of_x(crc, 8 * size)
        whole = _multiply(crc, shift, whole) ^ int.from_bytes(digest, "big")
    return whole.to_bytes(crc.bits // 8, "big")


def _multiply(crc: _Crc, a: int, b: int) -> int:
    """a times b modulo the CRC's polynomial over GF(2); bit 0 is the highest power."""
    product = 0
    probe = 1 << (crc.bits - 1)
    while a:
        if a & probe:
            product ^= b
            a ^= probe
        probe >>= 1
        b = (b >> 1) ^ crc.polynomial if b & 1 else b >> 1
    return product


def _power_of_x(crc: _Crc, exponent: int) -> int:
    """x to that power modulo the polynomial."""
    power = 1 << (crc.bits - 1)  # x**0
    square = 1 << (crc.bits - 2)  # x**1
    while exponent:
        if exponent & 1:
            power = _multiply(crc, square, power)
        square = _multiply(crc, square, square)
        exponent >>= 1
    return power
