"""A timed disk is the disk, and knows how long it takes."""

from __future__ import annotations

import pytest
from trio.testing import MockClock

from cell.timed_disk import DiskTimes, TimedDisk
from sim.world import SimWorld


async def test_reads_and_syncs_of_files_are_counted(autojump_clock: MockClock) -> None:
    world = SimWorld(1)
    times = DiskTimes()
    disk = TimedDisk(world.node("cell").world.disk, times)
    await disk.make_directory("a")
    assert times.figures() == {}
    file = await disk.open("a/file", create=True)
    for number in range(50):
        await file.write(4 * number, [b"abcd"])
        await file.sync()
        assert await file.read(4 * number, 4) == b"abcd"
    assert times.figures().keys() == {"sync_us", "read_us"}
    assert await file.size() == 200
    await file.truncate(100)
    assert await file.size() == 100
    await file.close()
    assert await disk.names("a") == ["file"]
    assert (await disk.space()).free_bytes > 0
    await disk.rename("a/file", "a/other")
    await disk.sync_directory("a")
    await disk.unlink("a/other")
    assert await disk.names("a") == []


async def test_a_slow_disk_is_told_as_slow(autojump_clock: MockClock) -> None:
    world = SimWorld(1)
    world.disk_latency_s = 0.04
    times = DiskTimes()
    file = await TimedDisk(world.node("cell").world.disk, times).open("file", create=True)
    for _ in range(50):
        await file.write(0, [b"abcd"])
        await file.sync()
    assert times.figures()["sync_us"] == pytest.approx(20_000, rel=0.3)  # its mean
