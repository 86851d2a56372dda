"""The exchange of what processes on one store know of cells, through the store.

A heartbeat reaches one process. It counts in the row of its cell that the cell was heard, for many
cells in one transaction; for the others a cell is alive while its counter moves, by their own
monotonic clocks. They also learn here which cells joined or were removed, and which rings there
are.

Source: docs/placement.md, "Cells"; docs/decisions/0023-several-coordinators.md.
"""

from __future__ import annotations

from functools import partial
from itertools import islice
from typing import Final

import trio

from common import limits
from common.ports import Sql, Store
from coordinator.membership import Membership
from coordinator.placement import Placement
from coordinator.policy.storage_classes import StorageClass
from coordinator.store import cells, classes, rings
from coordinator.store.cells import Cell
from coordinator.store.rings import Ring
from coordinator.store.schema import counter_value

EXCHANGES_PER_HEARTBEAT: Final = 2
"""So a cell that is heard elsewhere is known to be at most one heartbeat interval later."""


class SharedCells:
    """Keeps a membership up to date with what other processes on its store hear."""

    def __init__(self, store: Store, membership: Membership, placement: Placement) -> None:
        self._store = store
        self._membership = membership
        self._placement = placement
        self._plans: int | None = None
        """Changes of the rings, as last seen."""

    async def keep(self) -> None:
        """Wait for a part of a heartbeat interval, then write and read."""
        await trio.sleep(self._membership.heartbeat_interval_s / EXCHANGES_PER_HEARTBEAT)
        await self.tell()
        await self.learn()

    async def tell(self) -> None:
        """Count the cells that were heard here since they were last counted."""
        heard = iter(self._membership.take_heard())
        while batch := list(islice(heard, limits.MAX_HEARTBEATS_PER_TRANSACTION)):
            try:
                counts = await self._store.transact(partial(cells.count_heartbeats, heard=batch))
            except BaseException:
                self._membership.put_back([*batch, *heard])
                raise
            for number, heartbeats in counts.items():
                self._membership.cells[number].heartbeats = heartbeats

    async def learn(self) -> None:
        """Take in which cells were heard, joined or were removed elsewhere, and new rings."""
        now = trio.current_time()
        plans = self._plans

        def look(sql: Sql) -> tuple[list[Cell], int, tuple[list[Ring], list[StorageClass]] | None]:
            found = counter_value(sql, "plans")
            planned = None if found == plans else (rings.load(sql), classes.load(sql))
            return cells.load(sql, now), found, planned

        stored, self._plans, planned = await self._store.read(look)
        for cell in stored:
            self._compare(cell, now)
        if planned is not None:
            known, made = planned
            self._membership.set_rings(known)
            self._placement.set_classes(made)
            # Who leads may have planned by rings that were others by then.
            self._placement.is_plan_due = True
            self._placement.refresh(now)

    def _compare(self, stored: Cell, now: float) -> None:
        members = self._membership
        known = members.cells.get(stored.cell)
        if known is None:
            members.add_cell(stored)
            self._placement.changed.set()
            return
        if stored.is_removed:
            if not known.is_removed:
                members.removed(known)
                self._placement.changed.set()
            return
        if stored.decisions != known.decisions:
            members.decide(known, stored.decisions, now)
            self._placement.changed.set()
        if stored.heartbeats != known.heartbeats:
            known.heartbeats = stored.heartbeats
            heard = members.heard_elsewhere(
                known, stored.address_host, stored.address_port, stored.facts, now
            )
            self._placement.note_heard(heard, now)
