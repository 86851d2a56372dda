"""The connections of a coordinator to other peers.

Source: docs/protocol.md, "Connections of a pool".
"""

from __future__ import annotations

from common.ports import World
from common.rpc.peers import PeerPool
from coordinator.secrets import Keys


def pool_of(world: World, keys: Keys) -> PeerPool:
    """Return the pool in which a coordinator proves its key and shows the swarm's charter. It is to
    be run by the caller."""
    return PeerPool(
        world.network,
        keys.identity,
        connections_per_peer=1,
        chance=world.chance,
        log=world.log,
        charters=keys.charters,
    )
