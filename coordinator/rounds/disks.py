"""The hazard of each cell's disk, estimated once an hour.

Source: docs/prediction.md, "History".
"""

from __future__ import annotations

from functools import partial
from typing import Final

from common import limits
from common.ports import Store
from coordinator.membership import Membership
from coordinator.policy.hazard import Hazard, estimate_hazard
from coordinator.policy.history import Standing
from coordinator.store import disk_days
from coordinator.store.disk_days import DiskFigures
from coordinator.store.history import StoreHistory
from coordinator.store.leadership import Leadership

DISKS_S: Final = 3600.0


class DiskRound:
    """Keeps, on the leader, what disks reported; concludes, on each process, what to make of it."""

    def __init__(
        self,
        store: Store,
        leadership: Leadership,
        membership: Membership,
        history: StoreHistory,
    ) -> None:
        self._store = store
        self._leadership = leadership
        self._membership = membership
        self._history = history

    async def run(self) -> None:
        """Keep the figures of this day, and estimate the hazard of each cell from those of all
        days."""
        known = [
            DiskFigures(cell.cell, cell.facts.disk, cell.facts.lost_shards)
            for cell in self._membership.cells.values()
            if not cell.is_removed and (cell.facts.disk or cell.facts.lost_shards)
        ]
        hazards: dict[int, Hazard] = {}
        for start in range(0, len(known), limits.DISKS_PER_TRANSACTION):
            hazards |= await self._estimate(known[start : start + limits.DISKS_PER_TRANSACTION])
        self._membership.hazards = hazards

    async def _estimate(self, figures: list[DiskFigures]) -> dict[int, Hazard]:
        if self._leadership.leads and self._history.standing is not Standing.BEHIND:
            await self._leadership.transact(partial(disk_days.note, cells=figures))
        cells = [each.cell for each in figures]
        days = await self._store.read(partial(disk_days.days_of, cells=cells))
        found = {cell: estimate_hazard(of_cell) for cell, of_cell in days.items()}
        return {cell: hazard for cell, hazard in found.items() if hazard.reasons}
