"""The hazard of each cell's disk, estimated once an hour.

Source: docs/prediction.md, "History".
"""

from __future__ import annotations

from functools import partial
from typing import Final

import trio

from common import limits
from common.ports import Log, Store, WallClock
from coordinator.membership import Membership
from coordinator.policy.hazard import Hazard, estimate_hazard, next_drain
from coordinator.policy.health import SURE
from coordinator.policy.history import Standing
from coordinator.store import cells, disk_days
from coordinator.store.disk_days import DiskFigures
from coordinator.store.history import StoreHistory
from coordinator.store.leadership import Leadership

DISKS_S: Final = 3600.0


class DiskRound:
    """Keeps, on the leader, what disks reported; concludes, on each process, what to make of it.

    Args:
        drains: the operator lets cells be drained whose disks are likely to fail.
    """

    def __init__(
        self,
        store: Store,
        leadership: Leadership,
        membership: Membership,
        history: StoreHistory,
        clock: WallClock,
        log: Log,
        *,
        drains: bool,
    ) -> None:
        self._store = store
        self._leadership = leadership
        self._membership = membership
        self._history = history
        self._clock = clock
        self._log = log
        self._drains = drains

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
        if self._drains and self._may_write and not self._membership.is_cut_off:
            await self._drain()

    @property
    def _may_write(self) -> bool:
        return self._leadership.leads and self._history.standing is not Standing.BEHIND

    async def _drain(self) -> None:
        """Let the cell leave whose disk is most likely to fail, if no other leaves."""
        members, now = self._membership, trio.current_time()
        states = members.states(now)
        leaving = set(members.draining())
        able = [number for number, state in states.items() if state in SURE]
        number = next_drain(members.hazards, leaving, able)
        if number is None:
            return
        cell, now_ms = members.cells[number], int(self._clock.now() * 1000)
        decisions = await self._leadership.transact(lambda sql: cells.drain(sql, cell.cell, now_ms))
        members.decide(cell, decisions, now)
        self._log.warning(
            "cell_decided",
            decision="drain",
            cell=cell.cell_id.hex()[:12],
            site=cell.site,
            owner=cell.owner,
            reason=members.hazards[number].reasons[0],
        )

    async def _estimate(self, figures: list[DiskFigures]) -> dict[int, Hazard]:
        if self._may_write:
            await self._leadership.transact(partial(disk_days.note, cells=figures))
        numbers = [each.cell for each in figures]
        days = await self._store.read(partial(disk_days.days_of, cells=numbers))
        found = {cell: estimate_hazard(of_cell) for cell, of_cell in days.items()}
        return {cell: hazard for cell, hazard in found.items() if hazard.reasons}
