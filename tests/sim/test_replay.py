"""Virtual time: sleeps that cost nothing keep what trio promises of them."""

import math

import pytest
import trio
from trio.testing import MockClock

from sim.replay import Stuck, call_at, run_seeded


def test_sleepers_wake_in_the_order_of_their_times_whatever_the_order_of_their_sleeps() -> None:
    woken = []

    async def sleeper(seconds: float) -> None:
        await trio.sleep(seconds)
        woken.append((seconds, trio.current_time()))

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            for seconds in (3, 1.5, 0, 1e6, 2):
                nursery.start_soon(sleeper, seconds)

    run_seeded(1, main)
    assert woken == [(seconds, seconds) for seconds in (0, 1.5, 2, 3, 1e6)]


def test_a_cancelled_sleep_ends_at_once_and_wakes_nobody_later() -> None:
    async def main() -> float:
        with trio.move_on_after(1) as scope:
            await trio.sleep(5)
        assert scope.cancelled_caught
        assert trio.current_time() == 1
        await trio.sleep(10)
        return trio.current_time()

    assert run_seeded(1, main) == 11


def test_a_sleep_is_a_checkpoint_even_if_its_time_has_come() -> None:
    async def main() -> float:
        with trio.CancelScope() as scope:
            scope.cancel()
            await trio.sleep_until(-1)
        assert scope.cancelled_caught
        with trio.CancelScope() as scope:
            scope.cancel()
            await trio.sleep(0)  # noqa: ASYNC115 - it is the subject
        assert scope.cancelled_caught
        with pytest.raises(ValueError, match="non-negative"):
            await trio.sleep(-1)
        with pytest.raises(ValueError, match="non-negative"):
            await trio.sleep(math.nan)
        with trio.move_on_after(7) as scope:
            await trio.sleep(math.inf)
        return trio.current_time()

    assert run_seeded(1, main) == 7


def test_timers_and_deadlines_come_in_the_order_of_their_times() -> None:
    async def main() -> list[str | int]:
        told: list[str | int] = []
        call_at(2, lambda: told.append("two"))
        call_at(4, lambda: told.append("four"))
        call_at(6, lambda: told.append("never")).cancel()
        for deadline in (1, 3, 5):
            with trio.move_on_at(deadline):
                await trio.sleep_forever()
            told.append(deadline)
        await trio.sleep(5)
        return told

    assert run_seeded(1, main) == [1, "two", 3, "four", 5]


async def test_timers_come_under_a_clock_of_trios_too(autojump_clock: MockClock) -> None:
    told = []
    call_at(trio.current_time() + 1, lambda: told.append(1))
    call_at(trio.current_time() + 2, lambda: told.append(2)).cancel()
    await trio.sleep(5)
    assert told == [1]


def test_trios_own_sleep_is_back_after_a_run() -> None:
    before = trio.sleep, trio.sleep_until

    async def main() -> bool:
        return (trio.sleep, trio.sleep_until) != before

    assert run_seeded(1, main)
    assert (trio.sleep, trio.sleep_until) == before


def test_a_run_in_which_time_stands_still_ends() -> None:
    async def spin() -> None:
        while True:
            await trio.lowlevel.checkpoint()

    async def main() -> None:
        await trio.sleep(7)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(spin)
            await trio.sleep(1)

    with pytest.raises(Stuck, match=r"7\.000 s"):
        run_seeded(1, main)
