"""Background tasks survive faults of ours, loudly."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from itertools import pairwise

import pytest
import trio
from prometheus_client import CollectorRegistry
from trio.testing import MockClock

from common.errors import AlvearyError, Unavailable
from common.limits import TASK_PAUSE_MAX_S, TASK_PAUSE_MIN_S
from common.reasons import Outage
from common.tasks import CountedLog, Round, background, every, go_on, repeat
from sim.world import SimWorld


@pytest.mark.fault("T")
async def test_a_task_that_breaks_is_begun_again_less_and_less_often(
    autojump_clock: MockClock,
) -> None:
    swarm = SimWorld(1)
    registry = CollectorRegistry()
    log = CountedLog(swarm.node("daemon").world.log, registry)
    begun: list[float] = []

    async def work() -> None:
        begun.append(trio.current_time())
        raise LookupError("a bug")

    with trio.move_on_after(1000):
        await go_on("work", work, log)
    pauses = [after - before for before, after in pairwise(begun)]
    assert pauses[0] == pytest.approx(TASK_PAUSE_MIN_S)
    assert pauses[1] == pytest.approx(2 * TASK_PAUSE_MIN_S)
    assert max(pauses) == pytest.approx(TASK_PAUSE_MAX_S)
    assert all("a bug" in each and "task_broke" in each for each in swarm.faults)
    labels = {"level": "error", "event": "task_broke"}
    assert registry.get_sample_value("alveary_log_lines_total", labels) == len(begun)


async def test_a_task_that_ran_well_is_begun_again_soon(autojump_clock: MockClock) -> None:
    log = SimWorld(1).node("daemon").world.log
    begun: list[float] = []

    async def work() -> None:
        begun.append(trio.current_time())
        await trio.sleep(10 * TASK_PAUSE_MAX_S)
        raise LookupError("a bug")

    with trio.move_on_after(100 * TASK_PAUSE_MAX_S):
        await go_on("work", work, log)
    assert len(begun) >= 9


async def test_cancelling_ends_a_task(autojump_clock: MockClock) -> None:
    log = SimWorld(1).node("daemon").world.log
    with trio.move_on_after(5) as scope:
        await go_on("work", trio.sleep_forever, log)
    assert scope.cancelled_caught


async def test_rounds_go_on_after_errors_and_say_each_once(autojump_clock: MockClock) -> None:
    swarm = SimWorld(1)
    registry = CollectorRegistry()
    log = CountedLog(swarm.node("daemon").world.log, registry)
    rounds: list[float] = []

    async def work() -> bool:
        rounds.append(trio.current_time())
        if len(rounds) in (2, 3, 4):
            raise Unavailable(Outage.STORE_FAILED)
        if len(rounds) == 5:
            raise LookupError("a bug")
        return len(rounds) == 7

    def log_failure(name: str, error: AlvearyError) -> None:
        log.error(f"{name}_failed", error=str(error))

    with trio.move_on_after(100):
        await repeat(Round("look", work, every(10.0)), log=log, log_failure=log_failure)
    pauses = [after - before for before, after in pairwise(rounds)]
    assert pauses[:4] == pytest.approx([10.0] * 4)
    assert pauses[4] == pytest.approx(10.0 + TASK_PAUSE_MIN_S)
    assert pauses[6] == 0, "there was more to do"
    for event in ("look_failed", "round_broke"):
        labels = {"level": "error", "event": event}
        assert registry.get_sample_value("alveary_log_lines_total", labels) == 1


async def test_a_background_task_ends_with_the_body() -> None:
    ended = False

    async def serve() -> None:
        nonlocal ended
        try:
            await trio.sleep_forever()
        finally:
            ended = True

    async with background() as nursery:
        nursery.start_soon(serve)
        await trio.lowlevel.checkpoint()
    assert ended


async def beside(served: Callable[[], Awaitable[object]], body: Callable[[], Awaitable[object]]):
    async with background() as nursery:
        nursery.start_soon(served)
        await body()


@pytest.mark.parametrize("error", [Unavailable(Outage.CONNECTION_LOST), ValueError("ours")])
async def test_an_error_of_the_body_leaves_the_background_as_it_is(error: Exception) -> None:
    async def fail() -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        await beside(trio.sleep_forever, fail)
    assert caught.value is error


async def test_a_failed_background_task_ends_the_body() -> None:
    async def fail() -> None:
        raise Unavailable(Outage.CONNECTION_LOST)

    with pytest.raises(BaseExceptionGroup) as caught:
        await beside(fail, trio.sleep_forever)
    assert caught.group_contains(Unavailable)
