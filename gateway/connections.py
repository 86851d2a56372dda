"""Connections of a gateway to its swarm: one pool, and the clients of coordinators and cells on it.

Source: docs/architecture.md, "Where things are".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import trio

from common.charter_book import CharterBook
from common.client.coordinators import CoordinatorClient
from common.client.object_client import SwarmClient
from common.crypto.identity import KeyPair
from common.crypto.keys import TenantKey
from common.ids import TenantId
from common.ports import Address, World
from common.rpc.peers import PeerPool
from common.tasks import go_on
from common.wire.messages.base import CharterExchange, CharterShown

CONNECTIONS_PER_PEER: Final = 2
"""Beside each other, so that a large frame on one does not hold up a small call."""


class SwarmConnections:
    """The clients that a gateway reaches its swarm with, under an identity of this start.

    Args:
        addresses: of coordinators.
        charters: who the swarm's coordinators are.
        tenants: keys at hand; may grow.
        budget_bytes: of all streams together.
    """

    def __init__(
        self,
        world: World,
        addresses: Sequence[Address],
        charters: CharterBook,
        tenants: Mapping[TenantId, TenantKey],
        *,
        budget_bytes: int,
    ) -> None:
        self._log = world.log
        # A new identity at every start: old orders are bound to the old key and expire anyway.
        self.identity = KeyPair.generate(world.entropy)
        self.pool = PeerPool(
            world.network,
            self.identity,
            connections_per_peer=CONNECTIONS_PER_PEER,
            chance=world.chance,
            log=world.log,
            charters=charters,
        )
        self._charters = charters
        self._asked = 0
        peers = [(address, charters.swarm_key_id) for address in addresses]
        self.coordinators = CoordinatorClient(self.pool, peers, tenants, world.log)
        self.swarm = SwarmClient(
            coordinators=self.coordinators,
            pool=self.pool,
            workers=world.workers,
            entropy=world.entropy,
            chance=world.chance,
            log=world.log,
            budget_bytes=budget_bytes,
        )

    async def hear_charter(self) -> None:
        """Exchange charters with one of the peers that are connected, another one each time: a
        coordinator that was revoked would keep that secret, and cells do not.

        Raises:
            AlvearyError: that peer did not answer as it should.
        """
        found = self.pool.open_connections()
        if found:
            self._asked += 1
            connection = found[self._asked % len(found)]
            reply, _ = await connection.call(CharterExchange(self._charters.shown))
            assert isinstance(reply, CharterShown)
            await self._charters.take(reply.charter)

    async def start(self, nursery: trio.Nursery) -> None:
        """Start the background work in a nursery: connections, the write lease, reports."""
        await nursery.start(self.pool.run)
        nursery.start_soon(go_on, "write_lease", self.coordinators.lease.run, self._log)
        await nursery.start(self.swarm.run)
