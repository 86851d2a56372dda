"""Reports bad shards to a coordinator, in the background and within bounds.

Source: docs/data-path.md, "Reports".
"""

from __future__ import annotations

import trio

from common import limits
from common.client.coordinators import CoordinatorClient
from common.errors import AlvearyError
from common.ids import SegmentId, TenantId
from common.ports import Log
from common.wire.messages.writing import BadShard, ShardsReport


class Reports:
    """Reports of bad and missing shards that readers met, on their way to a coordinator.

    Args:
        coordinators: gets the reports.
        log: gets each report, and those that could not be sent.
    """

    def __init__(self, coordinators: CoordinatorClient, log: Log) -> None:
        self._coordinators = coordinators
        self._log = log
        self._waiting: dict[TenantId, dict[tuple[SegmentId, int], str]] = {}
        self._count = 0
        self._changed = trio.Event()

    def add(self, tenant_id: TenantId, segment: SegmentId, slot: int, reason: str) -> None:
        """Note a bad shard; never waits. When too many wait it is dropped."""
        self._log.warning("bad_shard", segment=segment, slot=slot, reason=reason)
        if self._count >= limits.MAX_REPORTS_WAITING:
            return
        shards = self._waiting.setdefault(tenant_id, {})
        self._count += (segment, slot) not in shards
        shards[segment, slot] = reason
        self._changed.set()

    async def run(self) -> None:
        """Report until cancelled. What a coordinator does not take is dropped."""
        while True:
            await self._changed.wait()
            self._changed = trio.Event()
            waiting, self._waiting, self._count = self._waiting, {}, 0
            for tenant_id, shards in waiting.items():
                bad = tuple(BadShard(*shard, reason) for shard, reason in shards.items())
                try:
                    await self._coordinators.call(ShardsReport(tenant_id, bad))
                except AlvearyError as error:
                    self._log.warning("report_not_taken", shards=len(bad), error=str(error))
