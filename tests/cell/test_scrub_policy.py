"""When a scrub reads the next shard."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cell.rounds.scrub_policy import (
    CATCH_UP_BYTES_PER_S,
    CATCH_UP_FACTOR,
    ScrubPass,
    in_time,
    rest_s,
    wait_s,
)
from common.errors import Corrupt

DAY_S = 86400.0
PASS = ScrubPass(1000.0, "ab" * 16, 3, 500, 1)


@given(
    st.floats(0, 1e12),
    st.binary(min_size=16, max_size=16),
    st.integers(0, 63),
    st.integers(0, 1 << 60),
)
def test_a_pass_is_read_back(began: float, segment: bytes, slot: int, size: int) -> None:
    made = ScrubPass(began).has_read((segment, slot), size, is_bad=True)
    assert ScrubPass.unpack(made.pack()) == made
    assert made.after == (segment, slot)


def test_a_new_pass_begins_before_every_shard() -> None:
    fresh = ScrubPass(0.0)
    assert ScrubPass.unpack(fresh.pack()).after < (bytes(16), 0)


@pytest.mark.parametrize(
    "changed",
    [
        {"version": 2},
        {"began": "soon"},
        {"began": -1},
        {"began": float("nan")},
        {"after_segment": "xyz"},
        {"after_segment": "ab"},
        {"after_slot": -1},
        {"read_bytes": 1.5},
        {"more": 1},
    ],
)
def test_a_damaged_file_is_refused(changed: dict[str, object]) -> None:
    content = {**json.loads(PASS.pack()), **changed}
    with pytest.raises(Corrupt, match="bad_scrub_file"):
        ScrubPass.unpack(json.dumps(content).encode())


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b"null", b"\xff", b"[" * 4096])
def test_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(Corrupt, match="bad_scrub_file"):
        ScrubPass.unpack(data)


def test_a_shard_is_due_when_as_large_a_part_of_the_period_is_over() -> None:
    scrub = ScrubPass(0.0, read_bytes=250)
    assert wait_s(scrub, 10, 1000, DAY_S, 0.2 * DAY_S) == pytest.approx(0.05 * DAY_S)


def test_a_late_pass_reads_faster_within_bounds() -> None:
    large = 1 << 44
    late = ScrubPass(0.0)
    even = large / DAY_S
    assert 1e6 / wait_s(late, 10**6, large, DAY_S, DAY_S / 2) == pytest.approx(
        CATCH_UP_FACTOR * even
    )
    assert 1e6 / wait_s(late, 10**6, 1000, DAY_S, DAY_S / 2) == pytest.approx(CATCH_UP_BYTES_PER_S)


def test_after_a_pass_comes_a_rest() -> None:
    assert rest_s(ScrubPass(100.0), DAY_S, 100.0 + DAY_S / 3) == pytest.approx(2 * DAY_S / 3)
    assert rest_s(ScrubPass(100.0), DAY_S, 100.0 + 2 * DAY_S) == 0


def test_a_clock_that_was_set_back_finds_the_pass_in_time() -> None:
    scrub = ScrubPass(5000 * DAY_S, read_bytes=500)
    now = 10 * DAY_S
    mended = in_time(scrub, 1000, DAY_S, now)
    assert wait_s(mended, 10, 1000, DAY_S, now) <= 10 / CATCH_UP_BYTES_PER_S
    assert in_time(scrub, 1000, DAY_S, 6000 * DAY_S) == scrub
