"""Numbers of clients: any length is a number, anything but digits is none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway_s3.request.listing_params import (
    list_buckets_params,
    list_objects_params,
    list_parts_params,
)
from gateway_s3.request.multipart_params import parse_part_number
from gateway_s3.request.numbers import BEYOND, parse_number
from gateway_s3.request.query import Query


@given(st.integers(0, 10**18), st.integers(0, 6000))
def test_leading_zeros_mean_nothing(number: int, zeros: int) -> None:
    text = "0" * zeros + str(number)
    assert parse_number(text) == parse_number(text.encode()) == number


@given(st.text(max_size=8))
def test_what_is_no_ascii_digit_is_no_number(text: str) -> None:
    is_number = bool(text) and all(each in "0123456789" for each in text)
    assert (parse_number(text) is not None) == is_number


@pytest.mark.fault("B08")
def test_a_number_of_many_digits_is_a_large_one() -> None:
    assert parse_number("9" * 20) == parse_number(b"1" + b"0" * 9000) == BEYOND
    assert parse_number("9" * 19) == BEYOND - 1


@pytest.mark.fault("B08")
def test_counts_and_markers_may_have_leading_zeros() -> None:
    assert list_objects_params(Query(b"max-keys=00000000000000000005")).limit == 5
    assert list_parts_params(Query(b"part-number-marker=000000000000007&max-parts=2")).after == 7
    assert list_buckets_params(Query(b"max-buckets=00000000000000003")).limit == 3
    assert parse_part_number("0000000000000003") == 3
