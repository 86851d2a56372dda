"""Conditions: the precedence of reads, and what may be asked of writes."""

from __future__ import annotations

import pytest

from common.errors import Refused
from common.http.records import HttpRequest
from gateway.conditions import Decision, WriteCondition
from gateway_s3.errors import S3Error
from gateway_s3.request.conditions import (
    range_applies,
    read_conditions,
    write_condition,
)
from gateway_s3.translation import from_error

ETAG = "0123456789abcdef"
THEN = b"Thu, 01 Jan 2026 00:00:00 GMT"
THEN_S = 1767225600
BEFORE = b"Wed, 31 Dec 2025 23:59:59 GMT"
GO, SAME, FAILED = Decision.GO_ON, Decision.NOT_MODIFIED, Decision.FAILED


def request(headers: dict[bytes, bytes], prefix: bytes = b"") -> HttpRequest:
    return HttpRequest(
        "GET", b"", b"", b"", [(prefix + name, each) for name, each in headers.items()]
    )


CASES: list[tuple[dict[bytes, bytes], Decision]] = [
    ({}, GO),
    ({b"if-match": b'"0123456789abcdef"'}, GO),
    ({b"if-match": b"0123456789abcdef"}, GO),
    ({b"if-match": b'"x", "0123456789abcdef"'}, GO),
    ({b"if-match": b"*"}, GO),
    ({b"if-match": b'"x"'}, FAILED),
    ({b"if-none-match": b'"0123456789abcdef"'}, SAME),
    ({b"if-none-match": b'W/"0123456789abcdef"'}, SAME),
    ({b"if-none-match": b"*"}, SAME),
    ({b"if-none-match": b'"x"'}, GO),
    ({b"if-modified-since": THEN}, SAME),
    ({b"if-modified-since": BEFORE}, GO),
    ({b"if-modified-since": b"nonsense"}, GO),
    ({b"if-unmodified-since": THEN}, GO),
    ({b"if-unmodified-since": BEFORE}, FAILED),
    ({b"if-unmodified-since": b"nonsense"}, GO),
    # What outweighs what.
    ({b"if-match": b'"0123456789abcdef"', b"if-unmodified-since": BEFORE}, GO),
    ({b"if-match": b'"x"', b"if-unmodified-since": THEN}, FAILED),
    ({b"if-none-match": b'"x"', b"if-modified-since": THEN}, GO),
    ({b"if-none-match": b'"0123456789abcdef"', b"if-modified-since": BEFORE}, SAME),
    ({b"if-match": b'"x"', b"if-none-match": b'"0123456789abcdef"'}, FAILED),
]


@pytest.mark.parametrize(("headers", "decision"), CASES)
def test_the_conditions_of_a_read_decide_by_precedence(
    headers: dict[bytes, bytes], decision: Decision
) -> None:
    assert read_conditions(request(headers)).decide(ETAG, THEN_S) is decision
    prefix = b"x-amz-copy-source-"
    conditions = read_conditions(request(headers, prefix), prefix)
    if decision is GO:
        conditions.check_source(ETAG, THEN_S)
    else:
        with pytest.raises(Refused) as caught:
            conditions.check_source(ETAG, THEN_S)
        assert from_error(caught.value).code.code == "PreconditionFailed"


def test_a_write_may_ask_for_absence_or_for_one_tag() -> None:
    assert not write_condition(request({}))
    assert write_condition(request({b"if-none-match": b"*"})) == WriteCondition(absent=True)
    assert write_condition(request({b"if-match": b'"x"'})) == WriteCondition(etag="x")
    assert write_condition(request({b"if-match": b"*"})) == WriteCondition(etag="*")


@pytest.mark.parametrize(
    "headers",
    [
        {b"if-none-match": b'"x"'},
        {b"if-none-match": b"*, *"},
        {b"if-match": b'"x", "y"'},
        {b"if-match": b""},
        {b"if-match": b'"x"', b"if-none-match": b"*"},
    ],
)
def test_a_write_condition_that_is_not_done_is_refused(headers: dict[bytes, bytes]) -> None:
    with pytest.raises(S3Error) as caught:
        write_condition(request(headers))
    assert caught.value.code.code == "NotImplemented"


ENTITY = f'"{ETAG}"'.encode()


@pytest.mark.fault("B04")
@pytest.mark.parametrize(
    ("value", "applies"),
    [
        (None, True),
        (ENTITY, True),
        (b"W/" + ENTITY, False),
        (b'"other"', False),
        (b"*", False),
        (b"", False),
        (THEN, True),
        (b"Thursday, 01-Jan-26 00:00:00 GMT", True),
        (BEFORE, False),
        (b"Thu, 01 Jan 2026 00:00:01 GMT", False),
        (b"Thu, 01 Jan 2026 02:00:00 +0200", True),
        (b"Thu, 01 Jan 99999999999999999999 00:00:00 GMT", False),
        (b"yesterday", False),
    ],
)
def test_a_range_applies_to_the_very_same_version_only(value: bytes | None, applies: bool) -> None:
    headers = [] if value is None else [(b"if-range", value)]
    request = HttpRequest("GET", b"/", b"/", b"", headers)
    assert range_applies(request, ETAG, THEN_S) is applies


@pytest.mark.fault("B04")
def test_if_match_compares_strongly_and_if_none_match_weakly() -> None:
    weak = b"W/" + ENTITY
    match = HttpRequest("GET", b"/", b"/", b"", [(b"if-match", weak)])
    assert read_conditions(match).decide(ETAG, THEN_S) is FAILED
    assert write_condition(match).etag != ETAG
    none_match = HttpRequest("GET", b"/", b"/", b"", [(b"if-none-match", weak)])
    assert read_conditions(none_match).decide(ETAG, THEN_S) is SAME
