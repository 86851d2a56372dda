"""Byte ranges, as S3 answers them.

Source: RFC 9110, section 14; Amazon S3 API Reference, GetObject and UploadPartCopy.
"""

from __future__ import annotations

import re
from typing import Final

from common.data_classes import dataclass
from gateway.spans import Span
from gateway_s3 import errors
from gateway_s3.errors import S3Error
from gateway_s3.request.numbers import parse_number

_SINGLE: Final = re.compile(rb"bytes=([0-9]*)-([0-9]*)", re.IGNORECASE)
_COPY: Final = re.compile(rb"bytes=([0-9]+)-([0-9]+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Asked:
    """A range that was understood, before the object's size is known: ``first`` to ``last`` (None:
    to the end), or the last ``suffix`` bytes."""

    first: int = 0
    last: int | None = None
    suffix: int | None = None

    def of(self, size: int) -> Span | None:
        """Return the bytes of an object of ``size`` bytes; None: it has none of them."""
        if self.suffix is not None:
            span = Span(max(0, size - self.suffix), size - 1)
        else:
            span = Span(self.first, size - 1 if self.last is None else min(self.last, size - 1))
        return span if span.length > 0 else None


def content_range(span: Span, size: int) -> bytes:
    """The ``content-range`` of an answer with this span of an object of ``size`` bytes."""
    return b"bytes %d-%d/%d" % (span.first, span.last, size)


def read_range(header: bytes | None) -> Asked | None:
    """Return the range that a ``range`` header asks for.

    Args:
        header: its value; None without one.

    Returns:
        None: the whole object, with 200: no header, one that is not understood (another unit
        among them: RFC 9110, 14.2), or several ranges, which S3 does not do.
    """
    match = None if header is None else _SINGLE.fullmatch(header)
    if match is None:
        return None
    first, last = map(parse_number, match.groups())
    if first is None:
        return None if last is None else Asked(suffix=last)
    if last is not None and last < first:
        return None
    return Asked(first, last)


def parse_range(header: bytes | None, size: int) -> Span | None:
    """Return the span that a ``range`` header asks for.

    Args:
        header: its value; None without one.
        size: bytes of the object (or of the part asked for).

    Returns:
        None: the whole object, with 200: see :func:`read_range`.

    Raises:
        S3Error: InvalidRange (416): understood, but no byte of the object is in it.
    """
    asked = read_range(header)
    if asked is None:
        return None
    span = asked.of(size)
    if span is None:
        raise S3Error(
            errors.INVALID_RANGE,
            RangeRequested=(header or b"").decode("latin-1")[:128],
            ActualObjectSize=size,
        )
    return span


def parse_copy_range(header: bytes, size: int) -> Span:
    """The span that ``x-amz-copy-source-range`` names: ``bytes=first-last``, all of it there.

    Raises:
        S3Error: InvalidArgument: not in that form; InvalidRange is not S3's answer here: a range
            beyond the source is InvalidArgument too.
    """
    match = _COPY.fullmatch(header)
    if match is None:
        raise S3Error(
            errors.INVALID_ARGUMENT,
            "The x-amz-copy-source-range value must be of the form bytes=first-last where first "
            "and last are the zero-based offsets of the first and last bytes to copy",
            ArgumentName="x-amz-copy-source-range",
            ArgumentValue=header.decode("latin-1")[:128],
        )
    first, last = (parse_number(digits) or 0 for digits in match.groups())
    if first > last or last >= size:
        raise S3Error(
            errors.INVALID_ARGUMENT,
            f"Range specified is not valid for source object of size: {size}",
            ArgumentName="x-amz-copy-source-range",
            ArgumentValue=header.decode("latin-1")[:128],
        )
    return Span(first, last)
