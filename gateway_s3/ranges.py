"""Byte ranges, as S3 answers them.

Source: RFC 9110, section 14; Amazon S3 API Reference, GetObject and UploadPartCopy.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from gateway_s3 import errors
from gateway_s3.errors import S3Error

_SINGLE: Final = re.compile(rb"bytes=(\d{0,19})-(\d{0,19})")
_COPY: Final = re.compile(rb"bytes=(\d{1,19})-(\d{1,19})")


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes ``first`` to ``last`` of an object, both included, counted from 0."""

    first: int
    last: int

    @property
    def length(self) -> int:
        """How many bytes."""
        return self.last - self.first + 1

    def content_range(self, size: int) -> bytes:
        """The ``content-range`` of an answer with this span of an object of ``size`` bytes."""
        return b"bytes %d-%d/%d" % (self.first, self.last, size)


def parse_range(header: bytes | None, size: int) -> Span | None:
    """The span that a ``range`` header asks for.

    Args:
        header: its value; None without one.
        size: bytes of the object (or of the part asked for).

    Returns:
        None: the whole object, with 200: no header, one that is not understood, or several ranges,
        which S3 does not do.

    Raises:
        S3Error: InvalidRange (416): understood, but no byte of the object is in it.
    """
    if header is None:
        return None
    match = _SINGLE.fullmatch(header)
    if match is None:
        return None
    first, last = match.groups()
    if not first:
        if not last:
            return None
        span = Span(max(0, size - int(last)), size - 1)
        wanted = int(last)
    else:
        if last and int(last) < int(first):
            return None
        span = Span(int(first), min(int(last), size - 1) if last else size - 1)
        wanted = 1
    if not wanted or span.first >= size:
        raise S3Error(
            errors.INVALID_RANGE,
            RangeRequested=header.decode("latin-1")[:128],
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
    first, last = map(int, match.groups())
    if first > last or last >= size:
        raise S3Error(
            errors.INVALID_ARGUMENT,
            f"Range specified is not valid for source object of size: {size}",
            ArgumentName="x-amz-copy-source-range",
            ArgumentValue=header.decode("latin-1")[:128],
        )
    return Span(first, last)
