"""Operations on the swarm's cells.

Source: docs/operations.md, "Operator access".
"""

from __future__ import annotations

from collections.abc import Mapping

import trio

from common.errors import Refused
from common.ports import Sql, World
from common.reasons import Refusal
from coordinator.api.routes import ApiRoute, Field, Json
from coordinator.api.status import Status
from coordinator.parts import CoordinatorParts
from coordinator.policy.health import SURE, count_needing
from coordinator.store import cells, moves, rings
from coordinator.store.departures import lacking_slots
from coordinator.store.rings import Ring


class CellOperations:
    """Removes cells, and reports how they are."""

    def __init__(self, parts: CoordinatorParts, world: World, status: Status) -> None:
        self._store = parts.store
        self._membership = parts.membership
        self._placement = parts.placement
        self._status = status
        self._clock = world.clock
        self._log = world.log

    def routes(self) -> tuple[ApiRoute, ...]:
        """Return the table of these operations."""
        return (
            ApiRoute(
                "POST",
                "/v1/cells/{cell_id}/remove",
                "Remove a cell that is gone or stolen: its key is refused from then on.",
                self._remove_cell,
                {
                    "even_if_needed": Field(
                        "boolean", "although data cannot be read without it", required=False
                    )
                },
            ),
            ApiRoute("GET", "/v1/status", "Cells, rings, space, what is missing.", self._tell, {}),
        )

    async def _check_removal(self, cell: cells.Cell) -> None:
        """Check that what lies on the rings of a cell can be read without it, and that no other
        cell still copies shards from it.

        Raises:
            Refused: ``cell_is_needed``, with ``rings``: how many of its rings cannot be read
                without it; or with ``shards``: how many are only copied yet.
        """
        members = self._membership
        lacking, hold = await self._store.read(
            lambda sql: (lacking_slots(sql, cell.cell), moves.hold_of(sql, cell.cell))
        )
        left = (
            (
                [
                    holder
                    for slot, holder in enumerate(ring.cells)
                    if holder == cell.cell or (ring.ring, slot) not in lacking
                ],
                ring.redundancy.k,
            )
            for ring in members.rings.values()
            if cell.cell in ring.cells
        )
        states = members.states(trio.current_time())
        needing = count_needing(cell.cell, left, states)
        if needing:
            raise Refused(Refusal.CELL_IS_NEEDED, rings=needing)
        if hold.missing and states[cell.cell] in SURE:
            raise Refused(Refusal.CELL_IS_NEEDED, shards=hold.missing)

    async def _remove_cell(self, names: Mapping[str, str], body: Json) -> Json:
        cell = self._membership.find(names["cell_id"])
        if not cell.is_removed:
            if not body.get("even_if_needed", False):
                await self._check_removal(cell)
            now_ms = int(self._clock.now() * 1000)

            def remove(sql: Sql) -> list[Ring]:
                cells.remove(sql, cell.cell, now_ms)
                return rings.load_some(sql, moves.forget_source(sql, cell.cell))

            changed = await self._store.transact(remove)
            self._membership.removed(cell)
            if changed:
                self._membership.change_rings(changed)
            self._placement.refresh(trio.current_time())
            self._log.warning(
                "cell_removed", cell=cell.cell_id.hex()[:12], site=cell.site, owner=cell.owner
            )
        return {"cell_id": cell.cell_id.hex(), "site": cell.site, "owner": cell.owner}

    async def _tell(self, _: Mapping[str, str], body: Json) -> Json:
        return await self._status.tell()
