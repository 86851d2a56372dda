"""Order time, kept in the store.

Source: docs/protocol.md, "Order time".
"""

from __future__ import annotations

from common.ports import Store
from coordinator.store import order_time
from coordinator.store.order_time import OrderTime


class OrderTimeRound:
    """Keeps order time."""

    def __init__(self, store: Store, kept_time: OrderTime) -> None:
        self._store = store
        self._order_time = kept_time

    async def run(self) -> None:
        """Keep order time, if orders were issued since it was last kept."""
        to_keep = self._order_time.to_keep
        if to_keep is not None:
            await self._store.transact(lambda sql: order_time.keep(sql, to_keep))
            self._order_time.kept(to_keep)
