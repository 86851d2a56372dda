"""Background tasks survive faults of ours, loudly."""

from __future__ import annotations

from itertools import pairwise

import pytest
import trio
from prometheus_client import CollectorRegistry
from trio.testing import MockClock

from common.limits import TASK_PAUSE_MAX_S, TASK_PAUSE_MIN_S
from common.tasks import CountedLog, go_on
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
