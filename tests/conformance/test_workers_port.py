"""What Workers promise, asked of the real and the simulated ones."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import trio

from common.ports import Workers
from common.system.workers import ThreadWorkers
from sim.world import SimWorld


@pytest.fixture(params=["real", "simulated"])
async def workers(request: pytest.FixtureRequest) -> AsyncIterator[Workers]:
    if request.param == "simulated":
        yield SimWorld(seed=1).node("node").world.workers
        return
    pool = ThreadWorkers(2)
    yield pool
    pool.close()


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
