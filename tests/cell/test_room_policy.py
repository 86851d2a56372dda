"""Room that is reserved and not used."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cell.storage.room_policy import may_reserve
from common.limits import GIB, MAX_UNFILLED_BYTES_PER_CALLER, MIB

SHARD = 16 * MIB


def reserve_all(callers: int, room: int) -> list[int]:
    """Let callers reserve shards in turn until none may; what each has."""
    own = [0] * callers
    while True:
        before = list(own)
        for each in range(callers):
            total = sum(own)
            if may_reserve(SHARD, own=own[each], total=total, free=room - total):
                own[each] += SHARD
        if own == before:
            return own


@pytest.mark.fault("L")
def test_one_caller_reserves_half_of_a_cell_and_all_together_three_quarters() -> None:
    assert reserve_all(1, GIB) == [GIB // 2]
    assert sum(reserve_all(5, GIB)) == GIB * 3 // 4
    assert reserve_all(1, 1000 * GIB) == [MAX_UNFILLED_BYTES_PER_CALLER]


def test_a_cell_that_is_nearly_full_still_takes_one_shard() -> None:
    assert may_reserve(SHARD, own=0, total=0, free=SHARD)


@given(st.integers(1, GIB), st.integers(0, GIB), st.integers(0, 4 * GIB))
def test_what_is_filled_as_it_comes_is_never_refused(wanted: int, own: int, free: int) -> None:
    assert may_reserve(wanted, own=0, total=0, free=free)
