"""The cell's look at the reports of its disk."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import trio

from cell.config import CellConfig, SmartUse
from cell.disk_watch import DiskWatch
from cell.timed_disk import DiskTimes
from common.disk_facts import UNKNOWN, DiskFacts
from common.errors import BadConfig
from sim.world import SimWorld


def report(**figures: int) -> bytes:
    return json.dumps({"nvme_smart_health_information_log": figures}).encode()


async def test_figures_are_read_and_stay_while_the_disk_is_asleep() -> None:
    node = SimWorld(1).node("cell")
    watch = DiskWatch(node.world.disk_reports, DiskTimes(), lambda: 0, is_used=True)
    await watch.run()
    assert DiskFacts.unpack(watch.figures) == DiskFacts(rotten=0)
    node.disk_report = report(media_errors=2, percentage_used=7)
    await watch.run()
    read = DiskFacts(media_errors=2, percentage_used=7, rotten=0)
    assert DiskFacts.unpack(watch.figures) == read
    node.disk_report = b""
    await watch.run()
    assert DiskFacts.unpack(watch.figures) == read


async def test_an_owner_can_forbid_it() -> None:
    node = SimWorld(1).node("cell")
    node.disk_report = report(media_errors=2)
    watch = DiskWatch(node.world.disk_reports, DiskTimes(), lambda: 5, is_used=False)
    await watch.run()
    assert DiskFacts.unpack(watch.figures) == DiskFacts(rotten=5)


def test_smart_is_auto_or_off() -> None:
    assert CellConfig.parse({"data": "/d"}).smart is SmartUse.AUTO
    assert CellConfig.parse({"data": "/d", "smart": "off"}).smart is SmartUse.OFF
    with pytest.raises(BadConfig):
        CellConfig.parse({"data": "/d", "smart": "maybe"})


async def test_times_are_told_beside_what_the_disk_reports_and_without_it() -> None:
    node, times = SimWorld(1).node("cell"), DiskTimes()
    for _ in range(100):
        times.syncs.add(0.02, trio.current_time())
    forbidden = DiskWatch(node.world.disk_reports, times, lambda: 0, is_used=False)
    await forbidden.run()
    told = DiskFacts.unpack(forbidden.figures)
    assert told.sync_us == pytest.approx(20_000, rel=0.1)
    assert replace(told, sync_us=UNKNOWN) == DiskFacts(rotten=0)
    node.disk_report = report(media_errors=2)
    watch = DiskWatch(node.world.disk_reports, times, lambda: 0, is_used=True)
    await watch.run()
    assert DiskFacts.unpack(watch.figures) == replace(told, media_errors=2)
