"""The cell's look at its disk, once an hour: what it reports, how long it takes, what has rotted.

Source: docs/prediction.md, "Reports of cells".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from cell.smart import parse_smart
from cell.timed_disk import DiskTimes
from common.disk_facts import DiskFacts
from common.ports import DiskReports

DISK_WATCH_S: Final = 3600.0


class DiskWatch:
    """The figures of the disk, as heartbeats send them.

    Args:
        reports: of the disk.
        times: of its reads and syncs.
        rotten: returns how many shards failed a check since the start.
        is_used: the owner lets the reports be read.
    """

    def __init__(
        self,
        reports: DiskReports,
        times: DiskTimes,
        rotten: Callable[[], int],
        *,
        is_used: bool,
    ) -> None:
        self.figures: tuple[int, ...] = ()
        """As of :meth:`common.disk_facts.DiskFacts.pack`; empty: none are known."""
        self._reports = reports
        self._times = times
        self._rotten = rotten
        self._told = DiskFacts()
        self._is_used = is_used

    async def run(self) -> None:
        """Read the reports and the times. A disk that cannot be asked now keeps the figures that it
        had: it may be asleep."""
        if self._is_used:
            told = parse_smart(await self._reports.read())
            if told is not None:
                self._told = told
        figures = {**self._times.figures(), "rotten": self._rotten()}
        self.figures = replace(self._told, **figures).pack()
