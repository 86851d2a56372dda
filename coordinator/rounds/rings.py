"""States of cells, and rings of those that can be written to.

Source: docs/placement.md, "Rounds".
"""

from __future__ import annotations

from functools import partial
from typing import Final

import trio

from common.ports import Sql, World
from coordinator.class_placement import PlannedRings
from coordinator.parts import CoordinatorParts
from coordinator.policy.history import Standing
from coordinator.policy.storage_classes import STANDARD
from coordinator.store import rings
from coordinator.store.rings import Ring

REFRESH_S: Final = 1.0


class RingsRound:
    """Looks at the cells, and plans rings."""

    def __init__(self, parts: CoordinatorParts, world: World) -> None:
        self._store = parts.store
        self._leadership = parts.leadership
        self._membership = parts.membership
        self._placement = parts.placement
        self._history = parts.history
        self._clock = world.clock
        self._chance = world.chance
        self._log = world.log
        self._was_cut_off = False
        self._logged = {STANDARD: parts.placement.redundancy}
        """Of each storage class: the redundancy that new segments take, as last logged."""

    async def run(self) -> None:
        """Wait until a cell has changed or may be silent; look at the cells, and plan rings when
        those that can be written to have changed."""
        placement = self._placement
        if not (placement.is_plan_due and self._leadership.leads):
            with trio.move_on_at(placement.next_refresh()):
                await placement.changed.wait()
        placement.refresh(trio.current_time())
        self._log_conclusions()
        self._log_class()
        if placement.is_plan_due and self._leadership.leads:
            await self._plan()

    def _log_conclusions(self) -> None:
        members = self._membership
        for cell in members.take_newly_lost():
            self._log.warning(
                "cell_lost", cell=cell.cell_id.hex()[:12], site=cell.site, owner=cell.owner
            )
        if members.is_cut_off and not self._was_cut_off:
            self._log.error("most_cells_offline", cells=len(members.cells))
        elif self._was_cut_off and not members.is_cut_off:
            self._log.info("most_cells_heard_again")
        self._was_cut_off = members.is_cut_off

    def _log_class(self) -> None:
        for each in self._placement.classes:
            number, written = each.storage_class.number, each.written
            if written == self._logged.get(number, each.redundancy):
                continue
            self._logged[number] = written
            facts = {
                "storage_class": each.storage_class.name,
                "configured": str(each.redundancy),
                "written": str(written),
            }
            if each.has_fallen_back:
                self._log.warning("class_fell_back", **facts)
            else:
                self._log.info("class_returned", **facts)

    async def _plan(self) -> None:
        if self._history.standing is Standing.BEHIND:
            return  # rings that only an old copy of the store would know
        self._placement.is_plan_due = False
        planned = [
            each
            for each in self._placement.plan(self._chance)
            if each.plan.new or each.plan.reopen or each.plan.close
        ]
        if not planned:
            return
        now_ms = int(self._clock.now() * 1000)

        def carry_out(sql: Sql) -> list[Ring]:
            return [
                added
                for each in planned
                for added in rings.apply(
                    sql, each.plan, each.redundancy, now_ms, each.storage_class
                )
            ]

        try:
            added = await self._leadership.transact(carry_out)
        except Exception:
            self._placement.is_plan_due = True
            raise
        changed = [number for each in planned for number in (*each.plan.reopen, *each.plan.close)]
        others = await self._store.read(partial(rings.load_some, numbers=changed))
        self._membership.change_rings([*added, *others])
        self._placement.refresh(trio.current_time())
        for each in planned:
            self._log_plan(each)

    def _log_plan(self, planned: PlannedRings) -> None:
        plan = planned.plan
        self._log.info(
            "rings_changed", new=len(plan.new), reopened=len(plan.reopen), closed=len(plan.close)
        )
