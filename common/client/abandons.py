"""Retries reports to a coordinator of segments that will never be committed, until one is taken.

Source: docs/data-path.md, "A lost segment".
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import NamedTuple

import trio

from common import limits
from common.client.coordinators import CoordinatorClient
from common.errors import AlvearyError, Refused
from common.ids import PeerId, SegmentId, TenantId, lease_of
from common.ports import Log
from common.wire.messages.writing import WriteAbandon

RETRY_S = 5.0


class Granted(NamedTuple):
    """The proof for a coordinator, which does not remember grants, that it granted a segment."""

    segment_id: SegmentId
    ring: int
    order: bytes
    """For one of its slots."""
    cell: PeerId
    """The cell that the order is for."""


class Abandons:
    """Segments to be abandoned. Their report is retried until it is taken: while this gateway keeps
    its write lease alive, nobody else could know that they are garbage.

    Args:
        coordinators: gets the reports.
        log: gets what could not be reported.
    """

    def __init__(self, coordinators: CoordinatorClient, log: Log) -> None:
        self._coordinators = coordinators
        self._log = log
        self._waiting: dict[tuple[TenantId, int], dict[SegmentId, Granted]] = {}
        """By tenant and lease: one that has ended is refused, and must not take others with it."""
        self._count = 0
        self._changed = trio.Event()

    def add(self, tenant_id: TenantId, segments: Iterable[Granted]) -> None:
        """Note segments; never waits. When too many wait, the rest stays until
        the lease ends."""
        for granted in segments:
            if self._count >= limits.MAX_ABANDONS_WAITING:
                self._log.warning("too_many_abandoned_segments")
                return
            lease = lease_of(granted.segment_id)
            waiting = self._waiting.setdefault((tenant_id, lease), {})
            self._count += granted.segment_id not in waiting
            waiting[granted.segment_id] = granted
            self._changed.set()

    async def run(self) -> None:
        """Report until cancelled."""
        if self._waiting:  # from a run that ended by a fault
            self._changed.set()
        while True:
            await self._changed.wait()
            self._changed = trio.Event()
            for tenant_id, lease in list(self._waiting):
                if not await self._tell(tenant_id, lease):
                    self._changed.set()
            if self._changed.is_set():
                await trio.sleep(RETRY_S)

    async def _tell(self, tenant_id: TenantId, lease: int) -> bool:
        """Report all of one tenant's and lease's; False when some are left."""
        waiting = self._waiting[tenant_id, lease]
        while waiting:
            batch = dict(islice(waiting.items(), limits.MAX_DELETE_BATCH))
            try:
                await self._coordinators.call(
                    WriteAbandon(
                        tenant_id,
                        tuple(batch),
                        tuple(each.ring for each in batch.values()),
                        tuple(each.order for each in batch.values()),
                        tuple(each.cell for each in batch.values()),
                    )
                )
            except Refused as error:  # also when the lease has ended: then they are garbage anyway
                self._log.warning("abandon_refused", segments=len(batch), error=str(error))
            except AlvearyError as error:
                self._log.warning("abandon_not_taken", segments=len(batch), error=str(error))
                return False
            for segment_id in batch:
                del waiting[segment_id]
            self._count -= len(batch)
        del self._waiting[tenant_id, lease]
        return True
