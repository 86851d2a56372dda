"""Operations by which something is decided of a cell: to leave, to be silent for a while, not to be
trusted.

Source: docs/operations.md, "Cells that leave, rest, or are not trusted".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import trio

from common import limits
from common.errors import Refused
from common.ports import Sql, World
from common.reasons import Refusal
from coordinator.api.routes import ApiRoute, Field, Json
from coordinator.api.status import Status
from coordinator.parts import CoordinatorParts
from coordinator.policy.reputation import Trust
from coordinator.store import audits, cells
from coordinator.store.cells import Decisions


class DecisionOperations:
    """Drains and suspends cells, and announces their maintenance."""

    def __init__(self, parts: CoordinatorParts, world: World, status: Status) -> None:
        self._store = parts.store
        self._membership = parts.membership
        self._placement = parts.placement
        self._status = status
        self._clock = world.clock
        self._log = world.log

    def routes(self) -> tuple[ApiRoute, ...]:
        """Return the table of these operations."""
        cancel = Field("boolean", "take it back", required=False)
        return (
            ApiRoute("GET", "/v1/cells/{cell_id}", "One cell.", self._tell, {}),
            ApiRoute(
                "POST",
                "/v1/cells/{cell_id}/drain",
                "Let a cell leave: it is read, not written to, and its shards move to others.",
                self._drain,
                {"cancel": cancel},
            ),
            ApiRoute(
                "POST",
                "/v1/cells/{cell_id}/maintenance",
                "Announce that a cell may be silent: it is not lost within the window.",
                self._announce,
                {
                    "window_s": Field("integer", "its length in seconds, from now", required=False),
                    "cancel": cancel,
                },
            ),
            ApiRoute(
                "POST",
                "/v1/cells/{cell_id}/suspend",
                "Give a cell no new shards; what it holds is read.",
                self._suspend,
                {"reason": Field("string", "for the owner of the cell")},
            ),
            ApiRoute(
                "POST",
                "/v1/cells/{cell_id}/resume",
                "Trust a suspended cell again.",
                self._resume,
                {},
            ),
        )

    async def _decide(
        self,
        names: Mapping[str, str],
        change: Callable[[Sql, int], Decisions],
        event: str,
        **facts: object,
    ) -> Json:
        cell = self._membership.find(names["cell_id"])
        decisions = await self._store.transact(lambda sql: change(sql, cell.cell))
        now = trio.current_time()
        self._membership.decide(cell, decisions, now)
        self._placement.refresh(now)
        self._log.warning(
            "cell_decided",
            decision=event,
            cell=cell.cell_id.hex()[:12],
            site=cell.site,
            owner=cell.owner,
            **facts,
        )
        return await self._status.tell_cell(cell)

    def _now_ms(self) -> int:
        return int(self._clock.now() * 1000)

    async def _tell(self, names: Mapping[str, str], body: Json) -> Json:
        return await self._status.tell_cell(self._membership.find(names["cell_id"]))

    async def _drain(self, names: Mapping[str, str], body: Json) -> Json:
        if body.get("cancel", False):
            return await self._decide(names, cells.cancel_drain, "drain_cancelled")
        now_ms = self._now_ms()
        return await self._decide(names, lambda sql, cell: cells.drain(sql, cell, now_ms), "drain")

    async def _announce(self, names: Mapping[str, str], body: Json) -> Json:
        if body.get("cancel", False):
            return await self._decide(names, cells.end_maintenance, "maintenance_over")
        window_s = body.get("window_s", 0)
        if not 1 <= window_s <= limits.MAX_MAINTENANCE_S:
            raise Refused(Refusal.BAD_VALUE, message=f"window_s: 1 to {limits.MAX_MAINTENANCE_S}")
        now_ms = self._now_ms()
        return await self._decide(
            names,
            lambda sql, cell: cells.announce_maintenance(sql, cell, window_s, now_ms),
            "maintenance_announced",
            window_s=window_s,
        )

    async def _suspend(self, names: Mapping[str, str], body: Json) -> Json:
        reason = body["reason"].strip()
        if not 1 <= len(reason) <= limits.MAX_SUSPENSION_CHARACTERS:
            raise Refused(
                Refusal.BAD_VALUE,
                message=f"reason: 1 to {limits.MAX_SUSPENSION_CHARACTERS} characters",
            )
        return await self._decide(
            names, lambda sql, cell: cells.suspend(sql, cell, reason), "suspend", reason=reason
        )

    async def _resume(self, names: Mapping[str, str], body: Json) -> Json:
        def resume(sql: Sql, cell: int) -> Decisions:
            audits.forgive(sql, cell)
            return cells.resume(sql, cell)

        cell = self._membership.find(names["cell_id"])
        answer = await self._decide(names, resume, "resume")
        self._membership.reputations.pop(cell.cell, None)
        return answer | {"trust": Trust.GOOD.value, "trust_reason": ""}
