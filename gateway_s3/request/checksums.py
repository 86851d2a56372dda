"""Checksums that clients send, ask for and are shown: CRC32, CRC32C, CRC64NVME, SHA-1, SHA-256.

Of an object uploaded in parts a checksum is either of the whole object (FULL_OBJECT: CRCs only,
combined from the parts' without reading them again) or of the parts' checksums (COMPOSITE: not
CRC64NVME), written with ``-N``.

Source: Amazon S3 User Guide, "Checking object integrity"; zlib's ``crc32_combine``.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final, Protocol, TypeAlias, cast

from awscrt import checksums as crt

from common import limits
from common.http.records import HttpRequest
from common.ports import Buffer
from gateway_s3 import errors
from gateway_s3.errors import S3Error
from gateway_s3.request.numbers import parse_number


class Algorithm(Enum):
    """A checksum algorithm by S3's name for it."""

    CRC32 = "CRC32"
    CRC32C = "CRC32C"
    CRC64NVME = "CRC64NVME"
    SHA1 = "SHA1"
    SHA256 = "SHA256"

    @property
    def header(self) -> str:
        """The header (and trailer field) that carries it, in lower case."""
        return "x-amz-checksum-" + self.value.lower()

    @property
    def element(self) -> str:
        """The XML element that carries it."""
        return "Checksum" + self.value

    @property
    def digest_bytes(self) -> int:
        """How long it is."""
        return _DIGEST_BYTES[self]

    @property
    def is_crc(self) -> bool:
        """Whether checksums of parts can be combined to that of the whole, and whether it is
        quick enough to be computed on the spot."""
        return self in _CRCS


class Type(Enum):
    """What a checksum of an object in parts is of."""

    COMPOSITE = "COMPOSITE"
    FULL_OBJECT = "FULL_OBJECT"


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


# --- what a request says -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Expected:
    """The checksum a body must have. ``digest``: None when it comes in the trailer. ``parts``: of
    how many parts' checksums it is said to be one; 0: not said."""

    algorithm: Algorithm
    digest: bytes | None
    parts: int = 0


def encode(digest: bytes) -> str:
    """A digest as headers and XML carry it."""
    return base64.b64encode(digest).decode("ascii")


def parse_digest(text: str | bytes, digest_bytes: int) -> bytes | None:
    """The digest in strict base64; None if it is not that of so many bytes."""
    try:
        digest = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return digest if len(digest) == digest_bytes else None


def parse_checksum(algorithm: Algorithm, text: str | bytes) -> bytes:
    """The digest in a checksum header, trailer field or element.

    Raises:
        S3Error: InvalidRequest, as S3 says it.
    """
    digest = parse_digest(text, algorithm.digest_bytes)
    if digest is None:
        raise S3Error(errors.INVALID_REQUEST, f"Value for {algorithm.header} header is invalid.")
    return digest


def parse_algorithm(text: str) -> Algorithm:
    """The algorithm of that name.

    Raises:
        S3Error: InvalidRequest: none that is known here.
    """
    try:
        return Algorithm(text.upper())
    except ValueError:
        raise S3Error(
            errors.INVALID_REQUEST,
            "Checksum algorithm provided is unsupported. Please try again with any of the valid "
            "types: [CRC32, CRC32C, CRC64NVME, SHA1, SHA256]",
        ) from None


def content_md5(request: HttpRequest) -> bytes | None:
    """The digest in ``content-md5``; None without the header.

    Raises:
        S3Error: InvalidDigest.
    """
    values = request.all(b"content-md5")
    if not values:
        return None
    digest = parse_digest(values[0], 16) if len(values) == 1 else None
    if digest is None:
        raise S3Error(errors.INVALID_DIGEST)
    return digest


def expected_checksum(
    request: HttpRequest, trailers: frozenset[str] = frozenset(), *, of_parts: bool = False
) -> Expected | None:
    """The checksum that a request says its body has, in a header or in the trailer to come.

    Args:
        request: any.
        trailers: of :func:`gateway_s3.auth.chunked.announced_trailers`.
        of_parts: it is that of an object in parts: ``-N`` may stand behind it.

    Returns:
        None when it says none.

    Raises:
        S3Error: InvalidRequest: more than one, an unknown one, no value, or another than
            ``x-amz-sdk-checksum-algorithm`` names.
    """
    found: list[Expected] = []
    for algorithm in Algorithm:
        found += [
            _in_header(algorithm, value, of_parts=of_parts)
            for value in request.all(algorithm.header.encode("ascii"))
        ]
        if algorithm.header in trailers:
            found.append(Expected(algorithm, None))
    unknown = trailers - {algorithm.header for algorithm in Algorithm}
    if unknown:
        raise S3Error(
            errors.INVALID_REQUEST,
            "The value specified in the x-amz-trailer header is not supported",
        )
    if len(found) > 1:
        raise S3Error(
            errors.INVALID_REQUEST,
            "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.",
        )
    named = request.header(b"x-amz-sdk-checksum-algorithm")
    if named is not None:
        algorithm = parse_algorithm(named.decode("latin-1"))
        if not found and request.header(b"content-md5") is None:
            raise S3Error(
                errors.INVALID_REQUEST,
                "x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* "
                "or x-amz-trailer headers were found.",
            )
        if found and found[0].algorithm is not algorithm:
            raise S3Error(
                errors.INVALID_REQUEST,
                "Value for x-amz-sdk-checksum-algorithm header is invalid.",
            )
    return found[0] if found else None


def _in_header(algorithm: Algorithm, value: bytes, *, of_parts: bool) -> Expected:
    text, dash, count = value.partition(b"-") if of_parts else (value, b"", b"")
    digest = parse_checksum(algorithm, text)
    if not dash:
        return Expected(algorithm, digest)
    parts = parse_number(count)
    if parts is None or parts > limits.MAX_PARTS:
        raise S3Error(errors.INVALID_REQUEST, f"Value for {algorithm.header} header is invalid.")
    return Expected(algorithm, digest, parts)


def upload_checksum(
    algorithm: str | None, checksum_type: str | None
) -> tuple[Algorithm, Type] | None:
    """What ``x-amz-checksum-algorithm`` and ``-type`` of CreateMultipartUpload ask for.

    Returns:
        The algorithm and type, by S3's defaults where one is not said; None when neither is.

    Raises:
        S3Error: InvalidRequest: unknown, or a type that the algorithm has not.
    """
    if algorithm is None:
        if checksum_type is not None:
            raise S3Error(
                errors.INVALID_REQUEST,
                "The x-amz-checksum-type header can only be used with the "
                "x-amz-checksum-algorithm header.",
            )
        return None
    chosen = parse_algorithm(algorithm)
    if checksum_type is None:
        full = chosen is Algorithm.CRC64NVME
        return chosen, Type.FULL_OBJECT if full else Type.COMPOSITE
    try:
        kind = Type(checksum_type.upper())
    except ValueError:
        raise S3Error(
            errors.INVALID_REQUEST, "Value for x-amz-checksum-type header is invalid."
        ) from None
    impossible = not chosen.is_crc if kind is Type.FULL_OBJECT else chosen is Algorithm.CRC64NVME
    if impossible:
        raise S3Error(
            errors.INVALID_REQUEST,
            f"The {kind.value} checksum type cannot be used with the {chosen.value.lower()} "
            "checksum algorithm.",
        )
    return chosen, kind


# --- of many parts -----------------------------------------------------------------------------


def composite(algorithm: Algorithm, digests: Sequence[bytes]) -> str:
    """The checksum of the parts' checksums, as S3 shows it: base64 and ``-N``."""
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
