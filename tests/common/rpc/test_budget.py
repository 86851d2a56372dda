"""The byte budget: fair, never over-drawn, and without deadlock."""

from __future__ import annotations

import random

import pytest
import trio
from thoroughness import quick_or
from trio.testing import MockClock, wait_all_tasks_blocked

from common.errors import Unavailable
from common.limits import BUDGET_WAIT_S
from common.rpc.budget import ByteBudget


async def test_takers_are_served_in_order_even_when_a_later_one_would_fit() -> None:
    budget = ByteBudget(10)
    await budget.take(8)
    order: list[str] = []

    async def taker(name: str, amount: int) -> None:
        await budget.take(amount)
        order.append(name)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(taker, "large", 9)
        await wait_all_tasks_blocked()
        nursery.start_soon(taker, "small", 2)
        await wait_all_tasks_blocked()
        assert order == []
        assert not budget.take_nowait(1)
        budget.give(8)
        await wait_all_tasks_blocked()
        assert order == ["large"]
        budget.give(9)
    assert order == ["large", "small"]
    assert budget.free_bytes == 8


async def test_a_cancelled_taker_leaves_the_line_and_holds_nothing() -> None:
    budget = ByteBudget(10)
    await budget.take(8)
    async with trio.open_nursery() as nursery:
        scope = trio.CancelScope()

        async def taker() -> None:
            with scope:
                await budget.take(9)

        nursery.start_soon(taker)
        await wait_all_tasks_blocked()
        nursery.start_soon(budget.take, 2)
        await wait_all_tasks_blocked()
        assert budget.waiting == 2
        scope.cancel()
    assert budget.waiting == 0
    assert budget.free_bytes == 0


async def test_a_taker_cancelled_as_it_is_served_gives_back() -> None:
    budget = ByteBudget(10)
    await budget.take(10)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(budget.take, 5)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
        budget.give(10)
        assert budget.free_bytes == 5
    assert budget.free_bytes == 10
    assert budget.waiting == 0


@pytest.mark.parametrize("seed", range(quick_or(1, 3)))
async def test_200_streams_share_a_small_budget_without_deadlock(
    seed: int, autojump_clock: MockClock
) -> None:
    stripe = 10
    budget = ByteBudget(3 * stripe)
    chance = random.Random(seed)
    done = 0
    most_held = 0
    held = 0

    async def stream() -> None:
        nonlocal done, held, most_held
        for _ in range(5):
            amount = chance.randint(1, stripe)
            await budget.take(amount)
            held += amount
            most_held = max(most_held, held)
            await trio.sleep(chance.random())
            part = chance.randint(0, amount)
            held -= part
            budget.give(part)
            await trio.sleep(chance.random())
            held -= amount - part
            budget.give(amount - part)
        done += 1

    async with trio.open_nursery() as nursery:
        for _ in range(200):
            nursery.start_soon(stream)
    assert done == 200
    assert most_held <= 3 * stripe
    assert budget.free_bytes == 3 * stripe


@pytest.mark.fault("H2")
def test_a_share_alone_gets_half_and_each_that_comes_half_of_the_rest() -> None:
    budget = ByteBudget(64)
    shares = [budget.share(name) for name in ("first", "second", "third")]
    for share in shares:
        while share.take_nowait(1):
            pass
    assert [share.held_bytes for share in shares] == [32, 16, 8]
    assert budget.free_bytes == 8
    for share in shares:
        share.give(share.held_bytes)
    assert budget.free_bytes == 64


async def test_one_user_has_one_share() -> None:
    budget = ByteBudget(64)
    first = budget.share("tenant")
    assert first.take_nowait(20)
    assert budget.share("tenant") is first
    assert budget.share("tenant").held_bytes == 20


@pytest.mark.fault("H2")
async def test_a_share_that_holds_nothing_overtakes_one_that_holds_its_part() -> None:
    budget = ByteBudget(64)
    greedy, modest = budget.share("greedy"), budget.share("modest")
    assert greedy.take_nowait(32)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(greedy.take, 8)
        await wait_all_tasks_blocked()
        assert budget.waiting == 1
        assert modest.take_nowait(20)
        assert not greedy.take_nowait(1)
        greedy.give(32)
        await wait_all_tasks_blocked()
    assert (greedy.held_bytes, modest.held_bytes) == (8, 20)


async def test_nobody_overtakes_a_share_that_holds_nothing() -> None:
    budget = ByteBudget(64)
    large, small = budget.share("large"), budget.share("small")
    assert budget.take_nowait(40)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(large.take, 30)
        await wait_all_tasks_blocked()
        assert not small.take_nowait(1)
        budget.give(40)
        await wait_all_tasks_blocked()
        assert large.held_bytes == 30
        assert small.take_nowait(1)


async def test_a_taker_beyond_the_limit_of_its_share_is_overtaken_and_one_below_is_not() -> None:
    budget = ByteBudget(64)
    limited, other = budget.limited_share(40), budget.limited_share(40)
    assert limited.take_nowait(40)
    assert not limited.take_nowait(1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(limited.take, 20)
        await wait_all_tasks_blocked()
        assert other.take_nowait(20)
        nursery.start_soon(other.take, 15)
        await wait_all_tasks_blocked()
        assert budget.waiting == 2
        # There is room, and who waits for room comes first, though it cannot have it yet.
        assert not budget.take_nowait(1)
        limited.give(20)
        await wait_all_tasks_blocked()
        assert (limited.held_bytes, other.held_bytes, budget.waiting) == (40, 20, 1)
        limited.give(15)
    assert (limited.held_bytes, other.held_bytes) == (25, 35)
    assert budget.free_bytes == 4


@pytest.mark.fault("H2")
async def test_a_wait_for_room_ends(autojump_clock: MockClock) -> None:
    budget = ByteBudget(64)
    share = budget.share("tenant")
    assert budget.take_nowait(64)
    began = trio.current_time()
    with pytest.raises(Unavailable, match="too_busy"):
        await share.take(1)
    assert trio.current_time() - began == pytest.approx(BUDGET_WAIT_S)
    assert (budget.waiting, budget.refused, share.held_bytes) == (0, 1, 0)


@pytest.mark.fault("H2")
async def test_what_is_kept_to_be_quicker_is_given_to_who_waits(autojump_clock: MockClock) -> None:
    budget = ByteBudget(64)
    keeper, other = budget.share("keeper"), budget.share("other")
    assert budget.take_nowait(32)
    assert keeper.take_nowait(30)
    is_idle = False

    def reclaim() -> None:
        if is_idle and keeper.held_bytes:
            keeper.give(keeper.held_bytes)

    forget = budget.keep_spare(reclaim)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(other.take, 10)
        await trio.sleep(5)
        assert other.held_bytes == 0
        is_idle = True
        await trio.sleep(1)
        assert other.held_bytes == 10
    forget()
    forget()


@pytest.mark.parametrize("seed", range(3))
async def test_many_shares_are_all_served(seed: int, autojump_clock: MockClock) -> None:
    budget = ByteBudget(100)
    chance = random.Random(seed)
    done = 0

    async def stream(user: int) -> None:
        nonlocal done
        share = budget.share(user)
        for _ in range(5):
            amount = chance.choice([1, 5, 40, 100 if user == 0 else 10])
            await share.take(amount, wait_s=1e6)
            assert budget.free_bytes >= 0
            await trio.sleep(chance.random())
            share.give(amount)
        done += 1

    async with trio.open_nursery() as nursery:
        for number in range(100):
            nursery.start_soon(stream, number % 7)
    assert done == 100
    assert budget.free_bytes == 100
