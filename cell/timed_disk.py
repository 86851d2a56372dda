"""A disk whose reads and syncs are timed: what the cell itself can see of how well it is.

Source: docs/prediction.md, "Reports of cells".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import trio

from cell.disk_times_policy import DecayedQuantile
from common.ports import Buffer, Disk, File, Space

SYNCS_SHARE: Final = 0.5
"""Each sync waits for the medium."""
READS_SHARE: Final = 0.9
"""Many reads are answered from memory; these are the ones that are not."""


class DiskTimes:
    """Times of reads and syncs, over about the last day."""

    def __init__(self) -> None:
        self.syncs = DecayedQuantile(SYNCS_SHARE)
        self.reads = DecayedQuantile(READS_SHARE)

    def figures(self) -> Mapping[str, int]:
        """Return what is known, by the names of :class:`common.disk_facts.DiskFacts`."""
        now = trio.current_time()
        found = {"sync_us": self.syncs.microseconds(now), "read_us": self.reads.microseconds(now)}
        return {name: value for name, value in found.items() if value is not None}


class TimedDisk:
    """A ``ports.Disk`` that is another one, and counts how long its files take."""

    def __init__(self, disk: Disk, times: DiskTimes) -> None:
        self._disk = disk
        self._times = times
        self.names = disk.names
        self.make_directory = disk.make_directory
        self.rename = disk.rename
        self.unlink = disk.unlink
        self.sync_directory = disk.sync_directory

    async def open(self, path: str, *, create: bool = False) -> File:
        """Open a file."""
        return _TimedFile(await self._disk.open(path, create=create), self._times)

    async def space(self) -> Space:
        """Return the space of the file system."""
        return await self._disk.space()


class _TimedFile:
    def __init__(self, file: File, times: DiskTimes) -> None:
        self._file = file
        self._times = times

    async def read(self, offset: int, length: int) -> bytes:
        began = trio.current_time()
        found = await self._file.read(offset, length)
        now = trio.current_time()
        self._times.reads.add(now - began, now)
        return found

    async def write(self, offset: int, parts: Sequence[Buffer]) -> None:
        await self._file.write(offset, parts)

    async def sync(self) -> None:
        began = trio.current_time()
        await self._file.sync()
        now = trio.current_time()
        self._times.syncs.add(now - began, now)

    async def begin_writeback(self, offset: int, length: int) -> None:
        await self._file.begin_writeback(offset, length)

    async def size(self) -> int:
        return await self._file.size()

    async def truncate(self, length: int) -> None:
        await self._file.truncate(length)

    async def close(self) -> None:
        await self._file.close()
