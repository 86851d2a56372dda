"""The chunked transfer coding: any split of the bytes gives the same body, or the one error."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import Refused
from common.http.chunks import ChunkedDecoder

GOOD = b"4\r\nWiki\r\n005;a=b\r\npedia\r\nE\r\n in\r\n\r\nchunks.\r\n0\r\nX: y\r\n\r\n"
BODY = b"Wikipedia in\r\n\r\nchunks."


def decode(data: bytes, cuts: list[int]) -> tuple[bytes, int, bool]:
    decoder = ChunkedDecoder()
    found = b""
    used = 0
    places = sorted({min(cut, len(data)) for cut in cuts} | {len(data)})
    at = 0
    for place in places:
        pieces, count = decoder.feed(memoryview(data[at:place]))
        assert all(pieces)
        found += b"".join(pieces)
        used += count
        at = place
    return found, used, decoder.done


@given(st.lists(st.integers(0, len(GOOD)), max_size=30))
def test_any_cut_gives_the_same_body_and_leaves_what_follows(cuts: list[int]) -> None:
    assert decode(GOOD + b"GET /", cuts) == (BODY, len(GOOD), True)


@pytest.mark.incident(10)
@given(st.integers(0, len(GOOD) - 1))
def test_a_truncated_body_is_not_done(length: int) -> None:
    assert not decode(GOOD[:length], [])[2]


@settings(max_examples=300)
@given(st.binary(max_size=200) | st.text("0123456789abcdef\r\n;x: ", max_size=60))
def test_any_bytes_give_pieces_or_the_one_error(data: bytes | str) -> None:
    raw = data.encode() if isinstance(data, str) else data
    try:
        body, used, _ = decode(raw, list(range(0, len(raw), 7)))
    except Refused:
        return
    assert len(body) <= used <= len(raw)


@pytest.mark.incident(36)
@pytest.mark.parametrize("line_end", [b"\n", b"\r", b"\r\r\n", b"\n\r"])
def test_only_crlf_ends_a_line(line_end: bytes) -> None:
    for data in (b"1" + line_end + b"x\r\n0\r\n\r\n", b"1\r\nx" + line_end + b"0\r\n\r\n"):
        try:
            _, _, done = decode(data, [])
        except Refused:
            continue
        assert not done
