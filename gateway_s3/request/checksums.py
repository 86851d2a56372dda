"""Checksums that clients send and ask for, in headers and trailers.

Of an object uploaded in parts a checksum is either of the whole object (FULL_OBJECT: CRCs only) or
of the parts' checksums (COMPOSITE: not CRC64NVME), written with ``-N``.

Source: Amazon S3 User Guide, "Checking object integrity".
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from common import limits
from common.data_classes import dataclass
from common.http.records import HttpRequest
from gateway.checksums import Algorithm, parse_digest
from gateway_s3 import errors
from gateway_s3.errors import S3Error
from gateway_s3.request.numbers import parse_number


class Type(Enum):
    """The kind of a checksum of an object in parts."""

    COMPOSITE = "COMPOSITE"
    FULL_OBJECT = "FULL_OBJECT"


@dataclass(frozen=True, slots=True)
class Expected:
    """The checksum a body must have. ``digest``: None when it comes in the trailer. ``parts``: of
    how many parts' checksums it is said to be one; 0: not said."""

    algorithm: Algorithm
    digest: bytes | None
    parts: int = 0


def header_of(algorithm: Algorithm) -> str:
    """The header (and trailer field) that carries a checksum, in lower case."""
    return "x-amz-checksum-" + algorithm.value.lower()


_BY_HEADER: Final = {header_of(algorithm): algorithm for algorithm in Algorithm}


def parse_checksum(algorithm: Algorithm, text: str | bytes) -> bytes:
    """The digest in a checksum header, trailer field or element.

    Raises:
        S3Error: InvalidRequest, as S3 says it.
    """
    digest = parse_digest(text, algorithm.digest_bytes)
    if digest is None:
        raise _invalid(algorithm)
    return digest


def _invalid(algorithm: Algorithm) -> S3Error:
    message = f"Value for {header_of(algorithm)} header is invalid."
    return S3Error(errors.INVALID_REQUEST, message)


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
    for header, algorithm in _BY_HEADER.items():
        found += [
            _in_header(algorithm, value, of_parts=of_parts)
            for value in request.all(header.encode("ascii"))
        ]
        if header in trailers:
            found.append(Expected(algorithm, None))
    if trailers - _BY_HEADER.keys():
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
        raise _invalid(algorithm)
    return Expected(algorithm, digest, parts)


def upload_checksum(
    algorithm: str | None, checksum_type: str | None
) -> tuple[Algorithm, Type] | None:
    """Parse ``x-amz-checksum-algorithm`` and ``-type`` of CreateMultipartUpload.

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
