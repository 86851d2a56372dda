"""What Workers, the wall clock and entropy promise, asked of the real and the simulated ones."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import trio

from common.host.clock import SystemClock, system_chance, system_entropy
from common.host.workers import ThreadWorkers
from common.ports import Chance, Entropy, WallClock, Workers
from sim.world import SimSwarm


@pytest.fixture(params=["real", "simulated"])
async def workers(request: pytest.FixtureRequest) -> AsyncIterator[Workers]:
    if request.param == "simulated":
        yield SimSwarm(seed=1).node("node").world.workers
        return
    pool = ThreadWorkers(2)
    yield pool
    pool.close()


@pytest.fixture(params=["real", "simulated"])
async def entropy(request: pytest.FixtureRequest) -> Entropy:
    if request.param == "simulated":
        return SimSwarm(seed=1).node("node").world.entropy
    return system_entropy


@pytest.fixture(params=["real", "simulated"])
async def chance(request: pytest.FixtureRequest) -> Chance:
    if request.param == "simulated":
        return SimSwarm(seed=1).node("node").world.chance
    return system_chance()


async def test_work_returns_its_result(workers: Workers) -> None:
    assert await workers.run(lambda: 7) == 7


async def test_work_raises_its_own_error(workers: Workers) -> None:
    def fail() -> None:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        await workers.run(fail)


async def test_many_pieces_of_work_all_end(workers: Workers) -> None:
    done: list[int] = []

    async def one(number: int) -> None:
        done.append(await workers.run(lambda: number))

    async with trio.open_nursery() as nursery:
        for number in range(50):
            nursery.start_soon(one, number)
    assert sorted(done) == list(range(50))


async def test_cancelled_before_it_is_given_work_is_not_done(workers: Workers) -> None:
    done: list[int] = []
    with trio.CancelScope() as scope:
        scope.cancel()
        await workers.run(lambda: done.append(1))
    assert done == []
    assert scope.cancelled_caught


async def test_a_clock_tells_a_time_of_this_century() -> None:
    clocks: list[WallClock] = [SystemClock(), SimSwarm(seed=1).node("node").world.clock]
    for clock in clocks:
        assert 1_600_000_000 < clock.now() < 4_200_000_000


async def test_entropy_gives_as_much_as_asked_and_never_the_same(entropy: Entropy) -> None:
    assert entropy(0) == b""
    assert len({entropy(16) for _ in range(100)}) == 100
    assert all(len(entropy(size)) == size for size in (1, 16, 32, 1000))


async def test_chance_stays_in_its_ranges(chance: Chance) -> None:
    assert all(0 <= chance.random() < 1 for _ in range(100))
    assert {chance.randrange(3) for _ in range(200)} == {0, 1, 2}
    assert all(2.0 <= chance.uniform(2.0, 3.0) <= 3.0 for _ in range(100))
    items = list(range(20))
    chance.shuffle(items)
    assert sorted(items) == list(range(20))
