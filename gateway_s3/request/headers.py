"""User metadata, content headers, and the ``response-*`` overrides.

Source: Amazon S3 User Guide, "Working with object metadata"; API Reference, GetObject.
"""

from __future__ import annotations

import re
from typing import Final

from common import limits
from common.http.records import Headers, HttpRequest
from gateway_s3 import errors
from gateway_s3.errors import S3Error
from gateway_s3.request.encoded_words import decode_words, encode_metadata, encode_words, plain_utf8
from gateway_s3.request.query import Query

USER_PREFIX: Final = b"x-amz-meta-"
DEFAULT_CONTENT_TYPE: Final = b"binary/octet-stream"
CONTENT_HEADERS: Final = (
    b"cache-control",
    b"content-disposition",
    b"content-encoding",
    b"content-language",
    b"content-type",
    b"expires",
)
"""Kept with an object and given back with it."""
REDIRECT: Final = b"x-amz-website-redirect-location"
"""Kept like a content header: the URL to which a website redirects from the object."""
_OVERRIDES: Final = tuple(("response-" + name.decode("ascii"), name) for name in CONTENT_HEADERS)
_LISTS: Final = frozenset({b"cache-control", b"content-encoding", b"content-language"})
"""Content headers that may come in several lines, which are one list (RFC 9110, 5.3)."""
_UNFIT: Final = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")


def check_value(name: bytes, value: bytes) -> bytes:
    """Return a value if a header may have it, wherever it comes from: a header, a query, or inside
    an encoded word.

    Args:
        name: of the header or parameter, for the error.

    Raises:
        S3Error: InvalidArgument: a control character other than a tab.
    """
    if _UNFIT.search(value):
        raise S3Error(
            errors.INVALID_ARGUMENT,
            "A header value holds a control character.",
            ArgumentName=name.decode("latin-1")[:255],
        )
    return value


def user_metadata(request: HttpRequest) -> Headers:
    """The user metadata of a request: lower-case names without their prefix, in the order sent.

    A name given twice has its values joined with a comma, as S3 does. Values are kept as UTF-8;
    encoded words are decoded.

    Raises:
        S3Error: MetadataTooLarge: names and decoded values over 2 KiB;
            InvalidArgument: a value that no header may have.
    """
    found: dict[bytes, bytes] = {}
    for name, raw in request.headers:
        if name.startswith(USER_PREFIX):
            value = check_value(name, decode_words(raw))
            own = name.removeprefix(USER_PREFIX)
            found[own] = found[own] + b"," + value if own in found else value
    size = sum(len(name) + len(value) for name, value in found.items())
    if size > limits.MAX_USER_METADATA_BYTES:
        raise S3Error(
            errors.METADATA_TOO_LARGE, Size=size, MaxSizeAllowed=limits.MAX_USER_METADATA_BYTES
        )
    return list(found.items())


def content_headers(request: HttpRequest) -> Headers:
    """The content headers of a request that are kept with the object it makes.

    ``aws-chunked`` is a form of transfer and is taken out of ``content-encoding``.
    ``content-type`` is always among them. Values are kept as UTF-8; what is ASCII stays as sent.

    Raises:
        S3Error: RequestHeaderSectionTooLarge: over 8 KiB; InvalidArgument: a value that no header
            may have; as :func:`redirect_location`.
    """
    found: Headers = []
    for name in CONTENT_HEADERS:
        value = b", ".join(request.all(name)) if name in _LISTS else request.header(name)
        if name == b"content-encoding" and value:
            kept = [
                coding
                for coding in (piece.strip() for piece in value.split(b","))
                if coding and coding.lower() != b"aws-chunked"
            ]
            value = b", ".join(kept)
        if name == b"content-type" and not value:
            value = DEFAULT_CONTENT_TYPE
        if value or (value is not None and name not in _LISTS):
            found.append((name, check_value(name, plain_utf8(value))))
    redirect = redirect_location(request)
    if redirect is not None:
        found.append((REDIRECT, redirect))
    size = sum(len(name) + len(value) for name, value in found)
    if size > limits.MAX_CONTENT_HEADER_BYTES:
        raise S3Error(errors.HEADERS_TOO_LARGE, MaxSizeAllowed=limits.MAX_CONTENT_HEADER_BYTES)
    return found


def redirect_location(request: HttpRequest) -> bytes | None:
    """Return the URL to which a website is to redirect from the object that a request makes.

    Raises:
        S3Error: InvalidRedirectLocation.
    """
    value = request.header(REDIRECT)
    if value is None:
        return None
    if len(value) > limits.MAX_REDIRECT_LOCATION_BYTES:
        raise S3Error(
            errors.INVALID_REDIRECT_LOCATION,
            "The length of website redirect location cannot exceed "
            f"{limits.MAX_REDIRECT_LOCATION_BYTES:,} characters.",
        )
    if not value.isascii() or not value.startswith((b"/", b"http://", b"https://")):
        raise S3Error(errors.INVALID_REDIRECT_LOCATION)
    return check_value(REDIRECT, value)


def shown_content(kept: Headers) -> Headers:
    """Kept content headers as an answer carries them."""
    return [(name, encode_words(value)) for name, value in kept]


def shown_metadata(kept: Headers) -> Headers:
    """Kept user metadata as an answer carries it."""
    return [(USER_PREFIX + name, encode_metadata(value)) for name, value in kept]


def response_overrides(query: Query, *, signed: bool) -> Headers:
    """The headers that a GET's ``response-*`` parameters put in place of the object's.

    Args:
        query: of the request.
        signed: whether the request is signed; S3 allows overrides to nobody else, since they
            make a trusted host serve what a stranger chose.

    Raises:
        S3Error: InvalidRequest: not signed; InvalidArgument: a value that no header may have.
    """
    found: Headers = []
    for parameter, name in _OVERRIDES:
        text = query.get(parameter)
        if text is None:
            continue
        if not signed:
            raise S3Error(
                errors.INVALID_REQUEST,
                "Request specific response headers cannot be used for anonymous GET requests.",
            )
        value = check_value(parameter.encode("ascii"), text.encode("utf-8").strip(b" \t"))
        found.append((name, encode_words(value)))
    return found


def overridden(headers: Headers, overrides: Headers) -> Headers:
    """The headers with some put in place of their own kind."""
    replaced = {name for name, _ in overrides}
    return [(name, value) for name, value in headers if name not in replaced] + overrides
