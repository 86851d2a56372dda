"""The intruder: a peer with a key of its own, a tenant of its own, and orders that are not its own.

Whatever it asks for must be refused. An answer is a finding of the run. It knows more than any
real attacker would: the segments on the cells, and even orders that coordinators would have
issued to others.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import trio

from common import limits
from common.crypto.digest import leaf, shard_root
from common.crypto.identity import KeyPair
from common.crypto.keys import TenantKey
from common.crypto.orders import Order, OrderAction, cell_order_key, issue
from common.errors import AlvearyError, Refused
from common.ids import BucketId, PeerId, SegmentId, TenantId, VersionId
from common.ports import Address
from common.rpc.peers import PeerPool
from common.wire.control import tenant_message
from common.wire.messages.base import CellFacts, Request, ShardName
from common.wire.messages.buckets import BucketCreate, BucketDelete
from common.wire.messages.cell import ShardPut, ShardRead
from common.wire.messages.membership import Heartbeat, HeldShard, Settle, ShardsLost
from common.wire.messages.objects import (
    Condition,
    DeleteItem,
    ObjectCommit,
    ObjectGet,
    ObjectsDelete,
    ObjectsList,
)
from common.wire.messages.writing import Extent, Page, TenantOpen, WriteAbandon
from sim.cluster import NATIVE_PORT, Cluster, SimDaemon, read_file
from sim.workloads import BUCKET
from sim.world import EPOCH_S, SimWorld

PAUSE_S: Final = 4.0
CALL_TIMEOUT_S: Final = 20.0
DAY_S: Final = 86_400
LATE: Final = limits.MAX_UINT
"""An order epoch that no cell has seen a later one than."""
OWN_BUCKET: Final = "intruders-own"
COORDINATOR: Final = Address("coordinator", NATIVE_PORT)


class Intruder:
    """Attacks until cancelled. ``findings``: what was not refused, readable."""

    def __init__(self, swarm: SimWorld, cluster: Cluster) -> None:
        self.findings: list[str] = []
        self.refused = 0
        self._swarm = swarm
        self._cluster = cluster
        self._chance = swarm.random("intruder")
        self._node = swarm.node("intruder")
        world = self._node.world
        self._identity = KeyPair.generate(world.entropy)
        self._pool = PeerPool(
            world.network,
            self._identity,
            connections_per_peer=1,
            chance=world.chance,
            log=world.log,
        )
        self._key_of_tenant = TenantKey(
            TenantId(self._chance.randbytes(16)), self._chance.randbytes(32)
        )
        self._tenant = self._key_of_tenant.tenant_id
        self._bucket_id = BucketId(self._chance.randbytes(16))
        self._secret = b""
        self._coordinator_id = PeerId(b"")

    async def prepare(self) -> None:
        """Come to have a tenant, and to know the swarm's secret and who the coordinator is."""
        await self._cluster.make_tenant("intruder", self._tenant, self._key_of_tenant.proof_key())
        disk = self._cluster.store_node.world.disk
        self._secret = bytes.fromhex((await read_file(disk, "swarm.secret")).decode().strip())
        identity = bytes.fromhex((await read_file(disk, "identity.key")).decode().strip())
        self._coordinator_id = KeyPair.from_private(identity).peer_id

    async def run(self) -> None:
        """Attack repeatedly, until cancelled."""
        attacks: list[Callable[[], Awaitable[None]]] = [
            self._steal_order,
            self._steal_order,
            self._bend_order,
            self._bend_order,
            self._ask_without_tenant,
            self._ask_for_others,
            self._ask_for_others,
            self._share_others,
            self._play_cell,
        ]
        async with trio.open_nursery() as nursery:
            await nursery.start(self._pool.run)
            while True:
                await trio.sleep(self._chance.uniform(0, 2 * PAUSE_S))
                await self._chance.choice(attacks)()

    async def _try(self, what: str, address: Address, pin: PeerId, request: Request) -> None:
        """Ask for something that must be refused."""
        payload = (b"x" * 64,) if isinstance(request, ShardPut) else ()
        try:
            await self._pool.call(address, pin, request, payload, timeout_s=CALL_TIMEOUT_S)
        except AlvearyError:
            self.refused += 1
        else:
            self._node.note("intrusion", {"what": what})
            self.findings.append(f"not refused: {what} ({type(request).__name__})")

    # --- cells ---------------------------------------------------------------------------------

    def _any_shard(self) -> tuple[SimDaemon, PeerId, SegmentId, int] | None:
        """A cell that is up, and a shard that it holds."""
        daemon = self._chance.choice(self._cluster.cells)
        if not daemon.is_up:
            return None
        rows = (
            daemon.node.databases["index.sqlite"]
            .connection.execute("SELECT segment_id, slot FROM shards ORDER BY segment_id, slot")
            .fetchall()
        )
        if not rows:
            return None
        segment, slot = self._chance.choice(rows)
        return daemon, daemon.serving.peer_id, SegmentId(segment), slot

    def _request(self, action: OrderAction, order: bytes) -> Request:
        if action is OrderAction.GET:
            return ShardRead(order, 0, 1, False)
        data = b"x" * 64
        return ShardPut(order, len(data), shard_root(len(data), len(data), leaf(data)))

    async def _steal_order(self) -> None:
        """Use an order that was issued to somebody else, or for another cell."""
        found = self._any_shard()
        if found is None:
            return
        daemon, cell, segment, slot = found
        victim = PeerId(self._chance.randbytes(32))
        expires = int(self._node.world.clock.now()) + DAY_S
        action = self._chance.choice((OrderAction.GET, OrderAction.PUT))
        if action is OrderAction.PUT:
            segment = SegmentId(segment[:8] + self._chance.randbytes(8))
        if self._chance.random() < 0.5:
            what, caller, key_of = "an order of another caller", victim, cell
        else:
            other = self._chance.choice(self._cluster.cells)
            if other is daemon or other.serving is None:
                return
            what, caller = "an order for another cell", self._identity.peer_id
            key_of = other.serving.peer_id
        order = issue(
            cell_order_key(self._secret, key_of),
            Order(action, segment, slot, caller, 1000, expires, LATE),
        )
        address = Address(daemon.node.name, NATIVE_PORT)
        await self._try(what, address, cell, self._request(action, order))

    async def _bend_order(self) -> None:
        """Use an order of our own for what it does not permit."""
        found = self._any_shard()
        if found is None:
            return
        daemon, cell, segment, slot = found
        key = cell_order_key(self._secret, cell)
        mine = self._identity.peer_id
        later = int(self._node.world.clock.now()) + DAY_S
        fresh = SegmentId(segment[:8] + self._chance.randbytes(8))
        choice = self._chance.randrange(6)
        if choice == 0:
            what = "reading with an order to write"
            order = issue(key, Order(OrderAction.PUT, segment, slot, mine, 1000, later, LATE))
            request = self._request(OrderAction.GET, order)
        elif choice == 1:
            what = "writing with an order to read"
            order = issue(key, Order(OrderAction.GET, fresh, slot, mine, 1000, later, LATE))
            request = self._request(OrderAction.PUT, order)
        elif choice == 2:
            what = "an order that expired long ago"
            order = issue(
                key, Order(OrderAction.GET, segment, slot, mine, 0, int(EPOCH_S) - DAY_S, LATE)
            )
            request = self._request(OrderAction.GET, order)
        elif choice == 3:
            what = "storing a shard under a root that is not its own"
            order = issue(key, Order(OrderAction.PUT, fresh, slot, mine, 1000, later, LATE))
            request = ShardPut(order, 64, self._chance.randbytes(32))
        elif choice == 4:
            what = "an order of an earlier coordinator"
            order = issue(key, Order(OrderAction.GET, segment, slot, mine, 0, later, 0))
            request = self._request(OrderAction.GET, order)
        else:
            what = "writing more than the order permits"
            order = issue(key, Order(OrderAction.PUT, fresh, slot, mine, 63, later, LATE))
            request = self._request(OrderAction.PUT, order)
        await self._try(what, Address(daemon.node.name, NATIVE_PORT), cell, request)

    # --- coordinators --------------------------------------------------------------------------

    async def _ask(self, what: str, request: Request) -> None:
        await self._try(what, COORDINATOR, self._coordinator_id, request)

    async def _open_own(self) -> bool:
        """Open the intruder's own tenant, which is its right."""
        try:
            connection = await self._pool.connection(
                COORDINATOR, self._coordinator_id, timeout_s=CALL_TIMEOUT_S
            )
            message = tenant_message(connection.channel, self._identity.peer_id, self._tenant)
            proof = self._key_of_tenant.prove(message)
            await connection.call(TenantOpen(self._tenant, proof), timeout_s=CALL_TIMEOUT_S)
        except AlvearyError:
            return False
        return True

    def _key(self) -> bytes:
        return f"key {self._chance.randrange(6)}/\u00e9%2F".encode()

    async def _ask_without_tenant(self) -> None:
        victim = self._cluster.tenant.tenant_id
        requests: list[Request] = [
            TenantOpen(victim, self._chance.randbytes(64)),
            ObjectGet(victim, BUCKET, self._key(), None, True, 0, 100),
            ObjectsDelete(victim, BUCKET, (DeleteItem(self._key(), None, Condition()),)),
            BucketDelete(victim, BUCKET),
        ]
        await self._ask("acting for a tenant without its proof", self._chance.choice(requests))

    async def _ask_for_others(self) -> None:
        """Ask for another tenant's bucket in the name of our own tenant."""
        if not await self._open_own():
            return
        mine = self._tenant
        requests: list[Request] = [
            ObjectGet(mine, BUCKET, self._key(), None, True, 0, 100),
            ObjectsDelete(mine, BUCKET, (DeleteItem(self._key(), None, Condition()),)),
            ObjectsList(mine, BUCKET, b"", b"", b"", 10),
            BucketDelete(mine, BUCKET),
            self._commit(BUCKET, (), 0),
        ]
        await self._ask("another tenant's bucket", self._chance.choice(requests))

    def _commit(self, bucket: str, pages: tuple[Page, ...], size: int) -> ObjectCommit:
        return ObjectCommit(
            self._tenant,
            bucket,
            self._key(),
            VersionId(self._chance.randbytes(16)),
            size,
            b"sealed",
            b"summary",
            pages,
            (),
            Condition(),
        )

    async def _share_others(self) -> None:
        """Make an object of our own of another tenant's segments; have them forgotten."""
        found = self._any_shard()
        if found is None or not await self._open_own():
            return
        segment = found[2]
        if self._chance.random() < 0.5:
            await self._ask(
                "abandoning another's segment",
                WriteAbandon(self._tenant, (segment,), (1,), (bytes(100),), (found[1],)),
            )
            return
        try:
            await self._pool.call(
                COORDINATOR,
                self._coordinator_id,
                BucketCreate(self._tenant, self._bucket_id, OWN_BUCKET, b"settings"),
                timeout_s=CALL_TIMEOUT_S,
            )
        except Refused:
            pass  # it has been made before
        except AlvearyError:
            return
        page = Page((Extent(segment, 0, 1, bytes(32), 0),))
        await self._ask("sharing another tenant's segment", self._commit(OWN_BUCKET, (page,), 1))

    async def _play_cell(self) -> None:
        """Speak as a cell, with a key that is not a cell's."""
        found = self._any_shard()
        if found is None:
            return
        _, _, segment, slot = found
        facts = CellFacts(1 << 30, 0, 1 << 30, 0, 0, False)
        requests: list[Request] = [
            Settle((HeldShard(segment, slot, bytes(32), 64),)),
            ShardsLost((ShardName(segment, slot),)),
            Heartbeat("intruder", NATIVE_PORT, facts, (ShardName(segment, slot),)),
        ]
        await self._ask("playing a cell", self._chance.choice(requests))
