"""Health and metrics of a cell, over HTTP.

Source: docs/operations.md, "Metrics and health".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import trio

from cell.handlers import Handlers
from cell.metrics import CellMetrics
from cell.owner_rules import OwnerRules
from cell.rounds.heartbeat import HeartbeatRound
from cell.storage.shard_store import ShardStore
from common import limits
from common.http.health import health_app
from common.http.records import Handler, HttpRequest, HttpResponse


class CellHealth:
    """Looks at a cell for those who watch it."""

    def __init__(
        self,
        store: ShardStore,
        heartbeat: HeartbeatRound,
        handlers: Handlers,
        owner_rules: OwnerRules,
        metrics: CellMetrics,
    ) -> None:
        self._store = store
        self._heartbeat = heartbeat
        self._handlers = handlers
        self._owner_rules = owner_rules
        self._metrics = metrics

    def app(self) -> Handler:
        """Return the handler of HTTP requests."""
        app = health_app(self._metrics.registry, self.look)

        async def handle(request: HttpRequest) -> HttpResponse:
            if request.path == b"/metrics":
                await self.look()  # brings the numbers up to date
            return await app(request)

        return handle

    async def look(self) -> Mapping[str, Any]:
        """Bring the metrics up to date, and return the cell's health in brief."""
        heartbeat = self._heartbeat
        facts = await self._store.facts()
        rest = self._owner_rules.rest
        since = -1.0
        if heartbeat.last_heartbeat is not None:
            since = trio.current_time() - heartbeat.last_heartbeat
        self._metrics.update(
            facts,
            open_uploads=self._handlers.open_uploads,
            volumes_removed=self._store.compaction.removed,
            seconds_since_heartbeat=since,
            clock_ahead_seconds=heartbeat.clock_ahead_s,
            rests=rest is not None,
            transit_bytes=self._owner_rules.transit_used,
        )
        reason = facts.read_only_reason
        if not reason and facts.free_bytes < limits.CELL_LEAST_FREE_BYTES:
            reason = "full"
        if not reason and heartbeat.order_key is None:
            reason = "no_coordinator"
        return {
            "ok": not reason,
            "role": "cell",
            "writable": not reason and rest is None,
            "reason": reason or rest or "",
            "read_only": facts.read_only,
            "shards": facts.shards,
            "lost_shards": facts.lost_shards,
            "used_bytes": facts.used_bytes,
            "free_bytes": facts.free_bytes,
            "transit_bytes": self._owner_rules.transit_used,
            "medium_free_bytes": facts.medium_free_bytes,
            "trust": heartbeat.trust,
            "trust_reason": heartbeat.trust_reason,
            "seconds_since_heartbeat": round(since, 1),
            "clock_ahead_s": round(heartbeat.clock_ahead_s, 1),
        }
