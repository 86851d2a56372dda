"""The time in which cells are silent, counted once a minute, and the end of their maintenance.

Source: docs/placement.md, "Availability".
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Final

import trio

from common.ports import Store
from coordinator.membership import Membership
from coordinator.policy.availability import countable
from coordinator.policy.health import Liveness
from coordinator.policy.history import Standing
from coordinator.store import availability, cells
from coordinator.store.availability import AwayTime
from coordinator.store.history import StoreHistory
from coordinator.store.leadership import Leadership

AVAILABILITY_S: Final = 60.0
STOOD_STILL_S: Final = 3 * AVAILABILITY_S
"""A process that comes round only after so long has watched nobody meanwhile."""


class AvailabilityRound:
    """Counts, on the leader, who is silent; takes in, on each process, what was counted."""

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
        self._last = -math.inf
        """The time at which time was last counted."""
        self._counted: dict[int, float] = {}
        """Of the silence of each cell that this process has seen, what was counted."""

    async def run(self) -> None:
        """Count the time since the last run, forget windows that are over, look at the figures."""
        if self._leadership.leads and self._history.standing is not Standing.BEHIND:
            await self._count(trio.current_time())
            await self._forget_windows(trio.current_time())
        else:
            self._last = -math.inf
        self._membership.absences = await self._store.read(availability.load)

    async def _count(self, now: float) -> None:
        members = self._membership
        passed_s = now - self._last
        if passed_s > STOOD_STILL_S or members.was_cut_off_since(self._last):
            self._last = now
            self._counted = {number: members.silence_s(number, now) for number in members.cells}
            return
        elapsed_s = int(passed_s)
        absences = [
            absence
            for number in members.cells
            if (absence := self._away_time(number, now, elapsed_s)) is not None
        ]
        await self._leadership.transact(lambda sql: availability.count(sql, elapsed_s, absences))
        self._last += elapsed_s
        for each in absences:
            counted_s = self._counted.get(each.cell, 0.0) + each.silent_s
            self._counted[each.cell] = (
                members.silence_s(each.cell, now) if each.excused_s else counted_s
            )

    def _away_time(self, number: int, now: float, elapsed_s: int) -> AwayTime | None:
        cell = self._membership.cells[number]
        if cell.is_removed:
            return None
        if cell.liveness is Liveness.NEW or cell.maintenance_until > self._last:
            return AwayTime(number, 0, elapsed_s)
        silence_s = self._membership.silence_s(number, now)
        silent_s = countable(silence_s, self._counted.get(number, 0.0), elapsed_s)
        return AwayTime(number, silent_s, 0) if silent_s else None

    async def _forget_windows(self, now: float) -> None:
        over = [cell for cell in self._membership.cells.values() if cell.window_is_over(now)]
        if not over:
            return
        windows = [(cell.cell, cell.decisions.maintenance_ms) for cell in over]
        await self._leadership.transact(lambda sql: cells.forget_windows(sql, windows))
        for cell in over:
            ended = replace(cell.decisions, maintenance_s=0, maintenance_ms=0)
            self._membership.decide(cell, ended, now)
