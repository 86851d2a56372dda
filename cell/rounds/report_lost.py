"""Reports of lost shards to the coordinator.

Source: docs/protocol.md, "Cells and coordinators".
"""

from __future__ import annotations

from typing import Final

from cell.storage.shard_store import ShardStore
from common import limits
from common.ports import Log
from common.rpc.coordinators import Coordinators
from common.wire.messages.base import ShardName
from common.wire.messages.membership import ShardsLost

REPORT_EVERY_S: Final = 5.0


class ReportLostRound:
    """Reports the shards that the cell has lost."""

    def __init__(self, store: ShardStore, coordinators: Coordinators, log: Log) -> None:
        self._store = store
        self._coordinators = coordinators
        self._log = log

    async def run(self) -> bool:
        """Wait until a shard is lost, and report it.

        Returns:
            Whether there is more.

        Raises:
            AlvearyError: no coordinator can be reached.
        """
        await self._store.index.wait_lost()
        lost = await self._store.index.lost(limits.MAX_DELETE_BATCH)
        if not lost:
            return False
        await self._coordinators.call(ShardsLost(tuple(ShardName(*each) for each in lost)))
        self._store.index.reported(lost)
        self._log.warning("lost_shards_reported", shards=len(lost))
        await self._store.index.flush()
        return len(lost) == limits.MAX_DELETE_BATCH
