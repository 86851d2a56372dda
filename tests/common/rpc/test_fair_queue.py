"""Shares of requests: places, turns, rates. In virtual time, in which work takes time too."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from typing import Any

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from common.errors import Unavailable
from common.rpc.fair_queue import (
    ALWAYS_AT_WORK,
    BURST_S,
    COST_BYTES,
    SEEN_LATELY_S,
    FairQueue,
    Rate,
    cost_of,
)

STEP_S = 0.0005
"""Work on a request between two waits, for which the event loop stands still."""
STEPS = 6
PLACES = 800


def queue_of(**settings: Any) -> FairQueue:
    return FairQueue(**{"places": PLACES, "at_work": 200, "patience_s": 20.0, **settings})


class Machine:
    """Work that takes the only processor, in steps between which others have theirs."""

    def __init__(self, clock: MockClock, queue: FairQueue | None) -> None:
        self._clock = clock
        self._queue = queue
        self.done: Counter[Hashable] = Counter()

    async def serve(self, user: Hashable, size: int = 0) -> None:
        visit = None if self._queue is None else self._queue.visit()
        try:
            if visit is not None:
                await visit.enter(user, cost_of(size))
            for _ in range(STEPS):
                self._clock.jump(STEP_S)
                await trio.lowlevel.checkpoint()
        finally:
            if visit is not None:
                visit.leave()
        self.done[user] += 1

    async def serve_on(self, user: Hashable, size: int = 0) -> None:
        while True:
            await self.serve(user, size)


async def latencies(machine: Machine, user: Hashable, count: int) -> list[float]:
    found = []
    for _ in range(count):
        began = trio.current_time()
        await machine.serve(user)
        found.append(trio.current_time() - began)
    return sorted(found)


async def p99_beside_a_flood(clock: MockClock, queue: FairQueue | None) -> float:
    machine = Machine(clock, queue)
    async with trio.open_nursery() as nursery:
        for _ in range(300):
            nursery.start_soon(machine.serve_on, "flood")
        await latencies(machine, "other", 20)  # those that began before it was seen end
        found = await latencies(machine, "other", 100)
        nursery.cancel_scope.cancel()
    return found[98]


async def test_a_flood_of_one_user_leaves_another_its_speed(autojump_clock: MockClock) -> None:
    alone = STEPS * STEP_S
    without = await p99_beside_a_flood(autojump_clock, None)
    fair = await p99_beside_a_flood(autojump_clock, queue_of())
    assert without > 100 * alone
    assert fair < 2 * (1 + ALWAYS_AT_WORK) * alone


async def test_the_processor_is_never_idle_for_fairness(autojump_clock: MockClock) -> None:
    machine = Machine(autojump_clock, queue_of())
    await machine.serve("other")
    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        for _ in range(300):
            nursery.start_soon(machine.serve, "flood")
    assert trio.current_time() - began <= 1.01 * 300 * STEPS * STEP_S


async def test_users_that_ask_for_more_than_there_is_get_the_same(
    autojump_clock: MockClock,
) -> None:
    machine = Machine(autojump_clock, queue_of())
    with trio.move_on_after(5):
        async with trio.open_nursery() as nursery:
            for user, tasks in (("many", 300), ("some", 100), ("few", 30)):
                for _ in range(tasks):
                    nursery.start_soon(machine.serve_on, user)
    counts = machine.done
    assert sum(counts.values()) > 1200
    assert max(counts.values()) < 1.3 * min(counts.values())


async def test_requests_with_much_to_carry_count_for_more(autojump_clock: MockClock) -> None:
    machine = Machine(autojump_clock, queue_of())
    with trio.move_on_after(5):
        async with trio.open_nursery() as nursery:
            for _ in range(100):
                nursery.start_soon(machine.serve_on, "small")
                nursery.start_soon(machine.serve_on, "large", 9 * COST_BYTES)
    assert machine.done["small"] > 3 * machine.done["large"]


async def test_bytes_of_an_answer_are_paid_for_afterwards(autojump_clock: MockClock) -> None:
    queue = queue_of()
    machine = Machine(autojump_clock, queue)

    async def read_on(user: str, size: int) -> None:
        while True:
            visit = queue.visit()
            await visit.enter(user)
            for _ in range(STEPS):
                autojump_clock.jump(STEP_S)
                await trio.lowlevel.checkpoint()
            visit.charge(size)
            visit.leave()
            machine.done[user] += 1

    with trio.move_on_after(5):
        async with trio.open_nursery() as nursery:
            for _ in range(100):
                nursery.start_soon(read_on, "small", 0)
                nursery.start_soon(read_on, "large", 9 * COST_BYTES)
    assert machine.done["small"] > 3 * machine.done["large"]


async def test_a_user_that_is_alone_never_waits_and_has_half_of_the_places() -> None:
    queue = queue_of()
    visits = [queue.visit() for _ in range(PLACES // 2 + 1)]
    for visit in visits[:-1]:
        await visit.enter("only")
    assert queue.waiting == 0
    with pytest.raises(Unavailable, match="share_used"):
        await visits[-1].enter("only")
    assert queue.turned_away == 1
    for visit in visits:
        visit.leave()
        visit.leave()
    await queue.visit().enter("only")


class Held:
    """Requests that are at work for as long as the test runs, as if they waited for cells far
    away."""

    def __init__(self, queue: FairQueue) -> None:
        self._queue = queue
        self.at_work: Counter[Hashable] = Counter()
        self.refused: Counter[Hashable] = Counter()

    async def hold(self, user: Hashable) -> None:
        visit = self._queue.visit()
        try:
            await visit.enter(user)
            self.at_work[user] += 1
            await trio.sleep_forever()
        except Unavailable:
            self.refused[user] += 1
        finally:
            visit.leave()


async def test_a_newcomer_finds_a_place_and_a_turn_whatever_others_hold() -> None:
    held = Held(queue_of())
    async with trio.open_nursery() as nursery:
        for user in range(6):
            for _ in range(PLACES):
                nursery.start_soon(held.hold, user)
            await trio.testing.wait_all_tasks_blocked()
            assert held.at_work[user] >= ALWAYS_AT_WORK
            assert held.refused[user]
        nursery.cancel_scope.cancel()


async def test_turns_are_shared_while_others_are_there_and_not_for_long_after(
    autojump_clock: MockClock,
) -> None:
    queue = queue_of(patience_s=2.0)
    held = Held(queue)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(held.hold, "other")
        await trio.testing.wait_all_tasks_blocked()
        for _ in range(300):
            nursery.start_soon(held.hold, "many")
        await trio.testing.wait_all_tasks_blocked()
        assert 90 <= held.at_work["many"] <= 110
        await trio.sleep(3)
        assert held.refused["many"] + held.at_work["many"] == 300
        assert queue.waiting == 0
        nursery.cancel_scope.cancel()
    held = Held(queue)
    await trio.sleep(SEEN_LATELY_S)
    async with trio.open_nursery() as nursery:
        for _ in range(300):
            nursery.start_soon(held.hold, "many")
            await trio.lowlevel.checkpoint()
        await trio.testing.wait_all_tasks_blocked()
        assert held.at_work["many"] == 300
        nursery.cancel_scope.cancel()


async def test_those_that_leave_the_line_hold_nothing_and_hold_up_nobody(
    autojump_clock: MockClock,
) -> None:
    queue = queue_of(at_work=0)
    held = Held(queue)
    async with trio.open_nursery() as outer:
        outer.start_soon(held.hold, "other")
        async with trio.open_nursery() as first:
            for _ in range(ALWAYS_AT_WORK):
                first.start_soon(held.hold, "many")
            await trio.testing.wait_all_tasks_blocked()
            async with trio.open_nursery() as waiting:
                for _ in range(20):
                    waiting.start_soon(held.hold, "many")
                await trio.testing.wait_all_tasks_blocked()
                assert queue.waiting == 20
                waiting.cancel_scope.cancel()
            assert queue.waiting == 0
            for _ in range(3):
                outer.start_soon(held.hold, "many")
            await trio.testing.wait_all_tasks_blocked()
            assert held.at_work["many"] == ALWAYS_AT_WORK
            first.cancel_scope.cancel()
        await trio.testing.wait_all_tasks_blocked()
        assert held.at_work["many"] == ALWAYS_AT_WORK + 3
        outer.cancel_scope.cancel()
    async with trio.open_nursery() as nursery:
        for _ in range(PLACES // 2):
            nursery.start_soon(held.hold, "after all")
        await trio.testing.wait_all_tasks_blocked()
        assert not held.refused
        nursery.cancel_scope.cancel()


async def test_only_so_many_requests_of_a_user_begin_in_a_second(
    autojump_clock: MockClock,
) -> None:
    queue = queue_of(requests_per_s=10)
    begun: Counter[str] = Counter()
    refused = 0
    for user in ("one", "another"):
        for _ in range(50):
            visit = queue.visit()
            try:
                await visit.enter(user)
                begun[user] += 1
            except Unavailable:
                refused += 1
            visit.leave()
            await trio.sleep(0.05)
    assert begun == {"one": 34, "another": 34}, "10 at once, and 10 a second for 2.45 s"
    assert refused == queue.turned_away == 32


def test_a_rate_lets_a_burst_through_and_then_so_much_a_second() -> None:
    rate = Rate(100)
    assert rate.reserve(100 * BURST_S, 0.0) == 0
    assert rate.reserve(50, 0.0) == pytest.approx(0.5)
    assert rate.reserve(50, 0.5) == pytest.approx(0.5)
    assert rate.is_used(1.9)
    assert not rate.is_used(2.1)
    assert Rate(0).reserve(10**12, 0.0) == 0


async def test_bytes_wait_for_the_rate_of_their_user(autojump_clock: MockClock) -> None:
    queue = queue_of(bytes_per_s=1000)
    one, another = queue.visit(), queue.visit()
    await one.enter("one")
    await another.enter("another")
    began = trio.current_time()
    for _ in range(5):
        await one.pace(1000)
    assert trio.current_time() - began == pytest.approx(4)
    await another.pace(1000)
    assert trio.current_time() - began == pytest.approx(4)


async def test_users_that_are_gone_are_forgotten(autojump_clock: MockClock) -> None:
    queue = queue_of()
    for user in range(1000):
        visit = queue.visit()
        await visit.enter(user)
        visit.leave()
        await trio.sleep(1)
    assert len(queue._users) <= SEEN_LATELY_S + 1
