"""Ranges, as S3 answers them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.spans import Span
from gateway_s3.errors import S3Error
from gateway_s3.request.ranges import content_range, parse_copy_range, parse_range


@pytest.mark.parametrize(
    ("header", "span"),
    [
        (None, None),
        (b"bytes=0-0", Span(0, 0)),
        (b"bytes=0-9", Span(0, 9)),
        (b"bytes=5-", Span(5, 9)),
        (b"bytes=5-1000000000000000000", Span(5, 9)),
        (b"bytes=-3", Span(7, 9)),
        (b"bytes=-30", Span(0, 9)),
        (b"bytes=02-04", Span(2, 4)),
        (b"bytes = 2 - 4", None),
        (b"bytes= -1", None),
        (b"bytes=0 -1", None),
        (b"bytes=--1", None),
        (b"bytes=4-2", None),
        (b"bytes=-", None),
        (b"bytes=a-b", None),
        (b"bytes=1-2,4-5", None),
        (b"lines=1-2", None),
        (b"", None),
        (b"bytes=0-99999999999999999999999999", Span(0, 9)),
        (b"Bytes=2-4", Span(2, 4)),
    ],
)
def test_a_range_is_one_span_or_the_whole_object(header: bytes | None, span: Span | None) -> None:
    assert parse_range(header, 10) == span


@pytest.mark.parametrize(
    ("header", "size"), [(b"bytes=10-", 10), (b"bytes=10-20", 10), (b"bytes=-0", 10)]
)
def test_a_range_without_a_byte_of_the_object_is_refused(header: bytes, size: int) -> None:
    with pytest.raises(S3Error) as caught:
        parse_range(header, size)
    assert caught.value.status == 416


@pytest.mark.fault("B08")
@pytest.mark.parametrize(
    ("header", "span"),
    [
        (b"bytes=5-18446744073709551615", Span(5, 9)),
        (b"bytes=5-18446744073709551616", Span(5, 9)),
        (b"bytes=5-" + b"9" * 6000, Span(5, 9)),
        (b"bytes=" + b"0" * 6000 + b"5-" + b"0" * 30 + b"7", Span(5, 7)),
        (b"bytes=-" + b"9" * 30, Span(0, 9)),
        (b"bytes=-" + b"0" * 30 + b"3", Span(7, 9)),
        (b"bytes=" + b"9" * 30 + b"-" + b"9" * 31, 416),
        (b"bytes=" + b"9" * 6000 + b"-", 416),
        (b"bytes=-" + b"0" * 30, 416),
    ],
)
def test_a_range_number_may_have_any_number_of_digits(header: bytes, span: Span | int) -> None:
    if isinstance(span, Span):
        assert parse_range(header, 10) == span
        return
    with pytest.raises(S3Error) as caught:
        parse_range(header, 10)
    assert caught.value.status == span


@pytest.mark.fault("B08")
def test_the_range_of_a_copy_may_have_any_number_of_digits() -> None:
    assert parse_copy_range(b"bytes=" + b"0" * 25 + b"1-" + b"0" * 5000 + b"9", 10) == Span(1, 9)
    with pytest.raises(S3Error) as caught:
        parse_copy_range(b"bytes=0-" + b"9" * 5000, 10)
    assert caught.value.code.code == "InvalidArgument"


@given(st.binary(max_size=40), st.integers(1, 2**40))
def test_any_range_stays_within_the_object(tail: bytes, size: int) -> None:
    try:
        span = parse_range(b"bytes=" + tail, size)
    except S3Error:
        return
    assert span is None or 0 <= span.first <= span.last < size


def test_the_range_of_a_copy_is_strict() -> None:
    assert parse_copy_range(b"bytes=0-9", 10) == Span(0, 9)
    assert content_range(Span(2, 4), 10) == b"bytes 2-4/10"
    for header in (b"bytes=0-10", b"bytes=5-", b"bytes=-5", b"0-9", b"bytes=3-2", b""):
        with pytest.raises(S3Error) as caught:
            parse_copy_range(header, 10)
        assert caught.value.code.code == "InvalidArgument"


def test_an_empty_object_has_no_range() -> None:
    assert parse_range(None, 0) is None
    with pytest.raises(S3Error):
        parse_range(b"bytes=0-", 0)
    with pytest.raises(S3Error):
        parse_range(b"bytes=-5", 0)
