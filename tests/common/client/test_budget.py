"""The byte budget: fair, never over-drawn, and without deadlock."""

from __future__ import annotations

import random

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from common.client.budget import ByteBudget


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


@pytest.mark.parametrize("seed", range(3))
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
