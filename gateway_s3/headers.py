"""User metadata, content headers, and the ``response-*`` overrides.

Source: Amazon S3 User Guide, "Working with object metadata"; API Reference, GetObject.
"""

from __future__ import annotations

import re
from typing import Final

from common.http.records import Headers, Request
from common.limits import MAX_USER_METADATA_BYTES
from gateway_s3 import errors
from gateway_s3.errors import S3Error
from gateway_s3.query import Query

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
_OVERRIDES: Final = tuple(("response-" + name.decode("ascii"), name) for name in CONTENT_HEADERS)
_UNFIT: Final = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")


def user_metadata(request: Request) -> Headers:
    """The user metadata of a request: lower-case names with their prefix, in the order sent.

    A name given twice has its values joined with a comma, as S3 does.

    Raises:
        S3Error: MetadataTooLarge: names (without prefix) and values over 2 KiB.
    """
    found: dict[bytes, bytes] = {}
    for name, value in request.headers:
        if name.startswith(USER_PREFIX):
            found[name] = found[name] + b"," + value if name in found else value
    size = sum(len(name) - len(USER_PREFIX) + len(value) for name, value in found.items())
    if size > MAX_USER_METADATA_BYTES:
        raise S3Error(errors.METADATA_TOO_LARGE, Size=size, MaxSizeAllowed=MAX_USER_METADATA_BYTES)
    return list(found.items())


def content_headers(request: Request) -> Headers:
    """The content headers of a request that are kept with the object it makes.

    ``aws-chunked`` is a form of transfer and is taken out of ``content-encoding``.
    ``content-type`` is always among them.
    """
    found: Headers = []
    for name in CONTENT_HEADERS:
        value = request.header(name)
        if name == b"content-encoding" and value is not None:
            kept = [
                coding
                for coding in (piece.strip() for piece in value.split(b","))
                if coding and coding.lower() != b"aws-chunked"
            ]
            value = b", ".join(kept) or None
        if name == b"content-type" and not value:
            value = DEFAULT_CONTENT_TYPE
        if value is not None:
            found.append((name, value))
    return found


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
        value = text.encode("utf-8").strip()
        if _UNFIT.search(value):
            raise S3Error(
                errors.INVALID_ARGUMENT,
                "Header value cannot be represented using ISO-8859-1.",
                ArgumentName=parameter,
            )
        found.append((name, value))
    return found


def overridden(headers: Headers, overrides: Headers) -> Headers:
    """The headers with some put in place of their own kind."""
    replaced = {name for name, _ in overrides}
    return [(name, value) for name, value in headers if name not in replaced] + overrides
