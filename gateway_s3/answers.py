"""Headers of answers, made from what is kept with an object.

Source: Amazon S3 API Reference, response headers of each action.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from email.utils import formatdate

from common.http.records import Headers
from gateway_s3.checksums import Algorithm
from gateway_s3.metadata import Checksum


def flat(headers: Iterable[tuple[bytes, bytes]]) -> tuple[bytes, ...]:
    """Names and values in turn, as metadata keeps them."""
    return tuple([part for pair in headers for part in pair])


def paired(kept: tuple[bytes, ...]) -> Headers:
    """Headers from how metadata keeps them."""
    return list(zip(kept[::2], kept[1::2], strict=True))


def http_date(seconds: int) -> bytes:
    """A moment (unix seconds) as HTTP headers say it."""
    return formatdate(seconds, usegmt=True).encode("ascii")


def iso_date(milliseconds: int) -> str:
    """A moment (unix milliseconds) as S3's XML says it."""
    moment = datetime.fromtimestamp(milliseconds // 1000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{milliseconds % 1000:03d}Z"


def etag_header(etag: str) -> tuple[bytes, bytes]:
    """The ``etag`` header, quoted."""
    return b"etag", b'"%b"' % etag.encode("ascii")


def checksum_headers(checksum: Checksum | None) -> Headers:
    """The whole object's checksum."""
    if checksum is None:
        return []
    return [
        (Algorithm(checksum.algorithm).header.encode("ascii"), checksum.value.encode("ascii")),
        (b"x-amz-checksum-type", b"COMPOSITE" if checksum.composite else b"FULL_OBJECT"),
    ]
