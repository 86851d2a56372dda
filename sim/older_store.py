"""An older copy of the coordinator's store that is in charge for a while; then the newer returns.

An operator puts a backup in place, sees that it is old, puts the store back, and says later that it
is the one that counts. Answers that clients got while the older one was in charge are void; answers
that they got before are not.
"""

from __future__ import annotations

from typing import Final

import trio

from coordinator.journaled_store import STORE_NAME
from sim.cluster import Cluster
from sim.world import SimWorld

BEFORE_COPY_S: Final = (5.0, 20.0)
AFTER_COPY_S: Final = (5.0, 30.0)
"""Time after the copy in which writes are missing from the older store."""
BEYOND_LEASE_S: Final = (20.0, 60.0)
"""The older store is in charge for so much longer than a write lease: what cells ask meanwhile is
what was written lately."""
RESTART_SHARE: Final = 0.7


class OlderStore:
    """Takes a copy of the store, puts it in place later, and gives the newer one back.

    Args:
        lease_ttl_s: of write leases in this run.
    """

    def __init__(self, swarm: SimWorld, cluster: Cluster, lease_ttl_s: float) -> None:
        self.reigns: list[tuple[float, float]] = []
        """From when to when an older store was in charge."""
        self.is_in_charge = False
        self._cluster = cluster
        self._lease_ttl_s = lease_ttl_s
        self._chance = swarm.random("older store")

    async def run(self) -> None:
        """Do it once."""
        chance = self._chance
        node = self._cluster.store_node
        await trio.sleep(chance.uniform(*BEFORE_COPY_S))
        older = node.databases[STORE_NAME].copy()
        await trio.sleep(chance.uniform(*AFTER_COPY_S))
        began_s = trio.current_time()
        self.is_in_charge = True
        newer = self._put_in_place(older)
        if chance.random() < RESTART_SHARE:
            for gateway in self._cluster.gateways:
                gateway.crash(power=False)
        await trio.sleep(self._lease_ttl_s + chance.uniform(*BEYOND_LEASE_S))
        self._put_in_place(newer)
        self.is_in_charge = False
        self.reigns.append((began_s, trio.current_time()))

    async def accept(self) -> None:
        """Say, as the operator, that the store that is in place counts, should it ask."""
        standing = (await self._cluster.operate("GET", "/v1/status"))["store"]["standing"]
        if standing != "current":
            await self._cluster.operate("POST", "/v1/store/accept")

    def _put_in_place(self, content: bytes) -> bytes:
        """Stop the coordinators, and have them start with another store.

        Returns:
            A copy of what was there.
        """
        for coordinator in self._cluster.coordinators:
            coordinator.crash(power=False)
        node = self._cluster.store_node
        database = node.databases[STORE_NAME]
        before = database.copy()
        database.put_in_place(content)
        node.note("another store", {"bytes": len(content), "before": len(before)})
        return before
