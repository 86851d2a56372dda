"""The cell's look at the reports of its disk, once an hour.

Source: docs/prediction.md, "Reports of cells".
"""

from __future__ import annotations

from typing import Final

from cell.smart import parse_smart
from common.ports import DiskReports

DISK_WATCH_S: Final = 3600.0


class DiskWatch:
    """The figures of the disk, as heartbeats send them.

    Args:
        reports: of the disk.
        is_used: the owner lets them be read.
    """

    def __init__(self, reports: DiskReports, *, is_used: bool) -> None:
        self.figures: tuple[int, ...] = ()
        """As of :meth:`common.disk_facts.DiskFacts.pack`; empty: none are known."""
        self._reports = reports
        self._is_used = is_used

    async def run(self) -> None:
        """Read the reports. A disk that cannot be asked now keeps the figures that it had: it may
        be asleep."""
        if not self._is_used:
            return
        found = parse_smart(await self._reports.read())
        if found is not None:
            self.figures = found.pack()
