"""Headers of answers, made from what is kept with an object.

Source: Amazon S3 API Reference, response headers of each action.
"""

from __future__ import annotations

from collections.abc import Iterable
from email.utils import formatdate

from common.format.objects import Checksum
from common.http.records import Headers, HttpResponse
from gateway.checksums import Algorithm
from gateway_s3.request.checksums import Type, header_of
from gateway_s3.xml.write import CONTENT_TYPE


def flat(headers: Iterable[tuple[bytes, bytes]]) -> tuple[bytes, ...]:
    """Names and values in turn, as metadata keeps them."""
    return tuple([part for pair in headers for part in pair])


def paired(kept: tuple[bytes, ...]) -> Headers:
    """Return headers as pairs, from how metadata keeps them."""
    return list(zip(kept[::2], kept[1::2], strict=True))


def http_date(seconds: int) -> bytes:
    """A moment (unix seconds) as HTTP headers say it."""
    return formatdate(seconds, usegmt=True).encode("ascii")


def etag_header(etag: str) -> tuple[bytes, bytes]:
    """The ``etag`` header, quoted."""
    return b"etag", b'"%b"' % etag.encode("ascii")


def checksum_headers(checksum: Checksum | None) -> Headers:
    """The whole object's checksum."""
    if checksum is None:
        return []
    return [
        (header_of(Algorithm(checksum.algorithm)).encode("ascii"), checksum.value.encode("ascii")),
        (b"x-amz-checksum-type", type_text(checksum.composite).encode("ascii")),
    ]


def xml_response(document: bytes, headers: Headers | None = None) -> HttpResponse:
    """200 with a document."""
    return HttpResponse(200, [(b"content-type", CONTENT_TYPE), *(headers or ())], document)


def type_text(composite: bool) -> str:
    """A checksum's type as S3 names it."""
    return Type.COMPOSITE.value if composite else Type.FULL_OBJECT.value
