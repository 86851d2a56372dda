"""Conditions in the headers of requests: ``If-Match`` and its kin.

Source: RFC 9110, section 13 (13.2.2: precedence); Amazon S3 API Reference, GetObject, CopyObject;
User Guide, "Conditional writes".
"""

from __future__ import annotations

import calendar
from email.utils import parsedate_tz

from common.http.records import HttpRequest
from gateway.conditions import ReadConditions, WriteCondition
from gateway_s3 import errors
from gateway_s3.errors import S3Error


def read_conditions(request: HttpRequest, prefix: bytes = b"") -> ReadConditions:
    """The conditions in a request's headers.

    Args:
        request: any.
        prefix: ``b"x-amz-copy-source-"`` for the source of a copy.

    Returns:
        What was said. A date that is none is as if it were not there (RFC 9110, 13.1.3).
    """
    return ReadConditions(
        _tags(request, prefix + b"if-match", strong=True),
        _tags(request, prefix + b"if-none-match", strong=False),
        _date(request, prefix + b"if-modified-since"),
        _date(request, prefix + b"if-unmodified-since"),
    )


def write_condition(request: HttpRequest) -> WriteCondition:
    """The condition of a PutObject, CopyObject, CompleteMultipartUpload or DeleteObject.

    Raises:
        S3Error: NotImplemented: ``if-none-match`` with anything but ``*``, several tags, or both
            headers: what S3 does not do either.
    """
    if_match = _tags(request, b"if-match", strong=True)
    if_none_match = _tags(request, b"if-none-match", strong=False)
    if if_match is None and if_none_match is None:
        return WriteCondition()
    if if_match is not None and if_none_match is not None:
        raise _not_done(b"If-None-Match")
    if if_none_match is not None:
        if if_none_match != ("*",):
            raise _not_done(b"If-None-Match")
        return WriteCondition(absent=True)
    assert if_match is not None
    if len(if_match) != 1 or not if_match[0]:
        raise _not_done(b"If-Match")
    return WriteCondition(etag=if_match[0])


def _not_done(header: bytes) -> S3Error:
    return S3Error(
        errors.NOT_IMPLEMENTED,
        "A header you provided implies functionality that is not implemented",
        Header=header.decode("ascii"),
    )


def range_applies(request: HttpRequest, etag: str, modified_s: int) -> bool:
    """Return whether the ``range`` of a request is to be looked at: unless its ``if-range`` says
    that the client's other bytes are of another version.

    The comparison is strong (RFC 9110, 13.1.5): a weak entity tag, a date that is not exactly the
    object's, or anything else, means the whole object, which is right whatever the client has.

    Args:
        etag: without quotes.
        modified_s: when the object was made, in whole seconds (as ``last-modified`` shows it).
    """
    values = request.all(b"if-range")
    if not values:
        return True
    value = values[0]
    if len(values) > 1 or value.startswith(b"W/"):
        return False
    if value.strip(b'"') == etag.encode("ascii"):
        return True
    return _date_of(value) == modified_s


def _tags(request: HttpRequest, name: bytes, *, strong: bool) -> tuple[str, ...] | None:
    """The entity tags of a header, without quotes; None without the header. A weak one keeps its
    mark where the comparison is strong, so that it equals none of ours (RFC 9110, 13.1.1)."""
    values = request.all(name)
    if not values:
        return None
    tags = []
    for piece in b",".join(values).decode("latin-1").split(","):
        tag = piece.strip()
        if not strong:
            tag = tag.removeprefix("W/")
        if len(tag) >= 2 and tag[0] == tag[-1] == '"':
            tag = tag[1:-1]
        tags.append(tag)
    return tuple(tags)


def _date(request: HttpRequest, name: bytes) -> int | None:
    value = request.header(name)
    return None if value is None else _date_of(value)


def _date_of(value: bytes) -> int | None:
    """Unix seconds of a date in any of HTTP's forms; None if it is none."""
    parsed = parsedate_tz(value.decode("latin-1"))
    if parsed is None:
        return None
    try:
        return calendar.timegm(parsed[:6]) - (parsed[9] or 0)
    except (ValueError, OverflowError):
        return None
