from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from common.limits import RECONNECT_MAX_S, RECONNECT_MIN_S
from common.rpc.protocol.pool_policy import (
    GATHER_BYTES,
    GATHER_CALLS,
    Choice,
    Load,
    choose,
    retry_delay_s,
)

IDLE = Load(0, 0)


def test_the_first_call_connects_and_waits() -> None:
    assert choose([], 0, 3, bulk=True) == Choice(use=None, connect=True)


def test_further_calls_wait_for_the_connection_that_is_being_made() -> None:
    assert choose([], 1, 3, bulk=True) == Choice(use=None, connect=False)


def test_small_calls_gather_on_the_first_connection_up_to_a_limit() -> None:
    assert choose([Load(GATHER_CALLS - 1, GATHER_BYTES), IDLE], 0, 3, bulk=False) == Choice(
        use=0, connect=False
    )
    assert choose([Load(GATHER_CALLS, 0), IDLE], 0, 3, bulk=False).use == 1
    assert choose([Load(1, GATHER_BYTES + 1), IDLE], 0, 3, bulk=False).use == 1
    assert choose([Load(GATHER_CALLS, 0)], 0, 3, bulk=False) == Choice(use=0, connect=True)


def test_bulk_keeps_away_from_the_small_calls() -> None:
    assert choose([IDLE, IDLE], 0, 3, bulk=True).use == 1


def test_an_idle_connection_is_used_without_making_another() -> None:
    assert choose([Load(3, 0), IDLE], 0, 3, bulk=True) == Choice(use=1, connect=False)


def test_one_more_is_made_while_all_are_busy_and_nobody_waits_for_it() -> None:
    assert choose([Load(3, 0), Load(1, 0)], 0, 3, bulk=True) == Choice(use=1, connect=True)
    assert choose([Load(3, 0), Load(1, 0)], 1, 3, bulk=True) == Choice(use=1, connect=False)
    assert choose([Load(3, 0), Load(1, 0)], 0, 2, bulk=True) == Choice(use=1, connect=False)


def test_what_waits_to_be_sent_weighs_more_than_calls() -> None:
    assert choose([Load(1, 1000), Load(9, 0)], 0, 2, bulk=True).use == 1


loads = st.builds(Load, st.integers(0, 128), st.integers(0, 1 << 20))


@given(st.lists(loads, max_size=6), st.integers(0, 2), st.integers(1, 6), st.booleans())
def test_a_choice_is_always_possible_and_within_the_limit(
    open_now: list[Load], connecting: int, most: int, bulk: bool
) -> None:
    choice = choose(open_now, connecting, most, bulk=bulk)
    if choice.use is None:
        assert not open_now
        assert choice.connect or connecting
    else:
        least = open_now[choice.use]
        spare = 0 if bulk else GATHER_BYTES
        assert all(least.unsent_bytes <= load.unsent_bytes + spare for load in open_now)
    if choice.connect:
        assert len(open_now) + connecting < most


@given(st.integers(1, 10_000), st.floats(0, 1, exclude_max=True))
def test_retries_are_spread_between_the_bounds(failures: int, chance: float) -> None:
    assert RECONNECT_MIN_S <= retry_delay_s(failures, chance) <= RECONNECT_MAX_S
    assert retry_delay_s(failures, 0.0) <= retry_delay_s(failures + 1, 0.0)
