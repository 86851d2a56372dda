"""Headers of answers, made from what is kept with an object.

Source: Amazon S3 API Reference, response headers of each action.
"""

from __future__ import annotations

from collections.abc import Iterable
from email.utils import formatdate

from common.errors import NotFound
from common.format.objects import Checksum
from common.http.records import Headers, HttpResponse
from gateway.checksums import Algorithm
from gateway_s3 import errors
from gateway_s3.errors import S3Error
from gateway_s3.request.checksums import Type, header_of
from gateway_s3.request.version_ids import NULL
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


def marker_error(error: NotFound) -> S3Error:
    """The answer for a delete marker: to the client there is no object, and a marker that is named
    cannot be read.

    Args:
        error: ``delete_marker``, of :func:`gateway.versions.deleted_by`.
    """
    version, modified_ms = error.fields.get("version"), error.fields.get("modified_ms")
    headers = [(b"x-amz-delete-marker", b"true")]
    if version is not None:
        headers.append((b"x-amz-version-id", str(version or NULL).encode("ascii")))
    if not error.fields.get("named"):
        return S3Error(errors.NO_SUCH_KEY).with_headers(headers)
    headers.append((b"allow", b"DELETE"))
    if isinstance(modified_ms, int):
        headers.append((b"last-modified", http_date(modified_ms // 1000)))
    told = S3Error(errors.METHOD_NOT_ALLOWED, ResourceType="DeleteMarker")
    return told.with_headers(headers)


def xml_response(document: bytes, headers: Headers | None = None) -> HttpResponse:
    """200 with a document."""
    return HttpResponse(200, [(b"content-type", CONTENT_TYPE), *(headers or ())], document)


def type_text(composite: bool) -> str:
    """A checksum's type as S3 names it."""
    return Type.COMPOSITE.value if composite else Type.FULL_OBJECT.value
