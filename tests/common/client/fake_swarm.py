"""Minimal cells and a minimal coordinator behind real PeerServers, which misbehave as told."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import trio

from common.client.coordinators import CoordinatorClient
from common.client.object_client import SwarmClient, Written
from common.crypto.digest import leaf, page_digest, shard_root
from common.crypto.identity import KeyPair, signature_holds
from common.crypto.keys import TenantKey
from common.errors import Corrupt, NotFound, Refused, Unavailable
from common.format.extents import page_bytes
from common.format.manifest import Manifest, PageEntry
from common.ids import BucketId, SegmentId, TenantId, VersionId, lease_of, segment_id
from common.limits import MAX_SEGMENTS_PER_GRANT
from common.ports import Address, Buffer, Listener
from common.reasons import Absence, Damage, Outage, Refusal
from common.rpc.caller import Caller
from common.rpc.peers import PeerPool
from common.rpc.server import PeerServer
from common.wire import messages as m
from common.wire.control import tenant_message
from sim.world import SimNode, SimWorld

TENANT = TenantKey(TenantId(b"t" * 16), b"k" * 32)
BUCKET_ID = BucketId(b"b" * 16)
VERSION = VersionId(b"v" * 16)
ORDERS_LAST_S = 900

ShardKey = tuple[bytes, int]
Uploader = Caller[None]
Opened = Caller[set[TenantId]]
"""With the tenants that its connection is open for."""


@dataclass
class Shard:
    unit_bytes: int
    data: bytes

    def unit(self, number: int) -> bytes:
        return self.data[number * self.unit_bytes : (number + 1) * self.unit_bytes]

    @property
    def leaves(self) -> bytes:
        count = -(-len(self.data) // self.unit_bytes)
        return b"".join(leaf(self.unit(number)) for number in range(count))

    @property
    def root(self) -> bytes:
        return shard_root(self.unit_bytes, len(self.data), self.leaves)


@dataclass
class OpenUpload:
    key: ShardKey
    unit_bytes: int
    shard_bytes: int
    data: bytearray = field(default_factory=bytearray)


class FakeCell:
    """A cell in memory. ``faults[RequestType]`` is run before a request of that type."""

    def __init__(self, sim: SimWorld, number: int) -> None:
        self.node = sim.node(f"cell-{number}")
        self.identity = KeyPair.generate(self.node.world.entropy)
        self.shards: dict[ShardKey, Shard] = {}
        self.uploads: dict[tuple[int, int], OpenUpload] = {}
        self.faults: dict[type[m.Request], Callable[[Any], Any]] = {}
        self.on_read: Callable[[m.ShardUnits, bytes], tuple[m.ShardUnits, bytes]] | None = None
        self.requests: list[m.Request] = []
        self.address = Address(self.node.name, 0)

    async def serve(self, *, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
        world = self.node.world
        listener = await world.network.listen(Address(self.node.name, 7000), identity=self.identity)
        self.address = listener.address
        handlers = {
            m.ShardPut: self._put,
            m.ShardOpen: self._open,
            m.ShardAppend: self._append,
            m.ShardFinish: self._finish,
            m.ShardAbort: self._abort,
            m.ShardRead: self._read,
        }
        server = PeerServer(
            self.identity,
            {kind: self._faulty(handler) for kind, handler in handlers.items()},
            entropy=world.entropy,
            log=world.log,
            buffer_budget_bytes=64 << 20,
            new_session=lambda: None,
            end_session=self._end_session,
        )
        task_status.started()
        await until_death(self.node, server, listener)

    async def _end_session(self, caller: Uploader) -> None:
        for key in [key for key in self.uploads if key[0] == id(caller)]:
            del self.uploads[key]

    def _faulty(self, handler: Any) -> Any:
        async def handle(caller: Uploader, request: Any, payload: memoryview) -> Any:
            self.requests.append(request)
            fault = self.faults.get(type(request))
            if fault is not None:
                await fault(request)
            return await handler(caller, request, payload)

        return handle

    def _key(self, order: bytes) -> ShardKey:
        if order.startswith(b"expired"):
            raise Refused(Refusal.ORDER_EXPIRED)
        return order[:16], order[16]

    async def _put(self, caller: Uploader, request: m.ShardPut, payload: memoryview) -> m.Done:
        shard = Shard(request.unit_bytes, bytes(payload))
        if shard.root != request.root:
            raise Corrupt(Damage.ROOT_MISMATCH)
        self.shards[self._key(request.order)] = shard
        return m.Done()

    async def _open(self, caller: Uploader, request: m.ShardOpen, payload: memoryview) -> m.Done:
        key = (id(caller), request.upload)
        assert key not in self.uploads
        self.uploads[key] = OpenUpload(
            self._key(request.order), request.unit_bytes, request.shard_bytes
        )

        return m.Done()

    async def _append(
        self, caller: Uploader, request: m.ShardAppend, payload: memoryview
    ) -> m.Done:
        upload = self.uploads[id(caller), request.upload]
        assert len(upload.data) == request.unit * upload.unit_bytes, "units in order"
        upload.data += payload
        assert len(upload.data) <= upload.shard_bytes
        return m.Done()

    async def _finish(
        self, caller: Uploader, request: m.ShardFinish, payload: memoryview
    ) -> m.Done:
        upload = self.uploads.pop((id(caller), request.upload))
        assert len(upload.data) == upload.shard_bytes
        shard = Shard(upload.unit_bytes, bytes(upload.data))
        if shard.root != request.root:
            raise Corrupt(Damage.ROOT_MISMATCH)
        self.shards[upload.key] = shard
        return m.Done()

    async def _abort(self, caller: Uploader, request: m.ShardAbort, payload: memoryview) -> m.Done:
        self.uploads.pop((id(caller), request.upload), None)
        return m.Done()

    async def _read(self, caller: Uploader, request: m.ShardRead, payload: memoryview) -> Any:
        shard = self.shards.get(self._key(request.order))
        if shard is None:
            raise NotFound(Absence.NO_SUCH_SHARD)
        leaves = shard.leaves if request.want_leaves else b""
        reply = m.ShardUnits(len(shard.data), shard.unit_bytes, leaves)
        start = request.first * shard.unit_bytes
        data = shard.data[start : start + request.count * shard.unit_bytes]
        if self.on_read is not None:
            reply, data = self.on_read(reply, data)
        return reply, (data,)


async def until_death(node: SimNode, server: PeerServer[Any], listener: Listener) -> None:
    """Serve for one life of a node."""
    died = node.died

    async def cancel_at_death(scope: trio.CancelScope) -> None:
        await died.wait()
        scope.cancel()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(cancel_at_death, nursery.cancel_scope)
        with suppress_lost_listener():
            await server.serve(listener)


@contextmanager
def suppress_lost_listener() -> Iterator[None]:
    try:
        yield
    except* Unavailable:
        pass


class FakeCoordinator:
    """Grants places on all cells in turn and remembers what is committed."""

    def __init__(
        self,
        sim: SimWorld,
        cells: list[FakeCell],
        k: int,
        n: int,
        quorum: int,
        name: str = "coordinator",
    ) -> None:
        self.node = sim.node(name)
        self.identity = KeyPair.generate(self.node.world.entropy)
        self.cells = cells
        self.k, self.n, self.quorum = k, n, quorum
        self.lease = 0
        self.granted = 0
        self.abandoned: set[bytes] = set()
        self.reported: list[m.BadShard] = []
        self.requests: list[m.Request] = []
        self.faults: dict[type[m.Request], Callable[[Any], Any]] = {}
        self.on_grants: Callable[[m.Grants], m.Grants] | None = None
        self.segments: dict[bytes, tuple[m.NewSegment, list[int]]] = {}
        self.places: dict[bytes, list[int]] = {}
        self.pages: tuple[m.Page, ...] = ()
        self.size = 0
        self.order_prefix = b""
        self.rings: list[list[int]] = [list(range(index, index + n)) for index in range(1)]
        self.ttl_s = 300
        self.pages_per_reply = 4
        self.places_per_reply = MAX_SEGMENTS_PER_GRANT

    async def serve(self, *, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
        world = self.node.world
        listener = await world.network.listen(Address(self.node.name, 7000), identity=self.identity)
        handlers = {
            m.TenantOpen: self._tenant_open,
            m.LeaseRenew: self._lease_renew,
            m.WriteStart: self._write_start,
            m.WriteAbandon: self._abandon,
            m.ObjectGet: self._object_get,
            m.ShardsReport: self._report,
            m.ObjectsDelete: self._delete,
        }
        server = PeerServer(
            self.identity,
            {kind: self._faulty(handler) for kind, handler in handlers.items()},
            entropy=world.entropy,
            log=world.log,
            buffer_budget_bytes=64 << 20,
            new_session=set[TenantId],
        )
        task_status.started()
        await until_death(self.node, server, listener)

    def _faulty(self, handler: Any) -> Any:
        async def handle(caller: Opened, request: Any, payload: memoryview) -> Any:
            self.requests.append(request)
            fault = self.faults.get(type(request))
            if fault is not None:
                await fault(request)
            if isinstance(request, m.TenantRequest) and request.tenant_id not in caller.session:
                raise Refused(Refusal.TENANT_NOT_OPEN)
            return await handler(request, caller)

        return handle

    def count(self, kind: type[m.Request]) -> int:
        return sum(1 for request in self.requests if type(request) is kind)

    async def _tenant_open(self, request: m.TenantOpen, caller: Opened) -> m.Done:
        message = tenant_message(caller.channel, caller.peer_id, request.tenant_id)
        assert signature_holds(TENANT.proof_key(), message, request.signature)
        caller.session.add(request.tenant_id)
        return m.Done()

    async def _lease_renew(self, request: m.LeaseRenew, caller: Opened) -> m.Lease:
        if request.lease == 0:
            self.lease += 1
        elif request.lease != self.lease:
            raise Refused(Refusal.LEASE_ENDED)
        return m.Lease(self.lease, self.ttl_s)

    async def _write_start(self, request: m.WriteStart, caller: Opened) -> m.Grants:
        if request.lease != self.lease:
            raise Refused(Refusal.LEASE_ENDED)
        grants = []
        for _ in range(request.count):
            self.granted += 1
            segment = segment_id(self.lease, self.granted.to_bytes(10, "big"))
            ring = self.granted % len(self.rings)
            places = self.rings[ring]
            self.places[segment] = places
            orders = tuple(segment + bytes([slot]) for slot in range(self.n))
            grants.append(
                m.SegmentGrant(segment, ring, self.k, self.n, self.quorum, tuple(places), orders)
            )
        reply = m.Grants(self.endpoints(), tuple(grants), ORDERS_LAST_S)
        return reply if self.on_grants is None else self.on_grants(reply)

    def endpoints(self) -> tuple[m.Endpoint, ...]:
        return tuple(m.Endpoint(cell.identity.peer_id, cell.node.name, 7000) for cell in self.cells)

    async def _abandon(self, request: m.WriteAbandon, caller: Opened) -> m.Done:
        if any(lease_of(segment) != self.lease for segment in request.segments):
            raise Refused(Refusal.LEASE_ENDED)
        self.abandoned.update(request.segments)
        return m.Done()

    async def _report(self, request: m.ShardsReport, caller: Opened) -> m.Done:
        self.reported += request.shards
        return m.Done()

    async def _delete(self, request: m.ObjectsDelete, caller: Opened) -> m.Deleted:
        return m.Deleted(())

    # --- one version, as if committed -----------------------------------------------------------

    def commit(
        self,
        written: Written,
        pages: tuple[m.Page, ...] | None = None,
        keys: tuple[bytes, ...] | None = None,
    ) -> Manifest:
        for segment in written.segments:
            self.segments[segment.segment_id] = (segment, self.places[segment.segment_id])
        self.pages = written.pages if pages is None else pages
        self.size = sum(page_bytes(page) for page in self.pages)
        entries = tuple(PageEntry(page_digest(page), page_bytes(page)) for page in self.pages)
        return Manifest(1, self.size, entries, (bytes(32), *(keys or written.keys)), b"")

    def record(self, first: int, last: int) -> m.ObjectRecord:
        placed: list[m.PlacedPage] = []
        places: list[m.SegmentPlace] = []
        seen: set[bytes] = set()
        start = 0
        for number, page in enumerate(self.pages):
            end = start + page_bytes(page)
            if end > first and start <= last and len(placed) < self.pages_per_reply:
                placed.append(m.PlacedPage(number, start, page))
                at = start
                for extent in page.extents:
                    wanted = at + extent.length > first and at <= last
                    if (
                        wanted
                        and extent.segment_id not in seen
                        and len(places) < self.places_per_reply
                    ):
                        seen.add(extent.segment_id)
                        places.append(self._place(extent.segment_id))
                    at += extent.length
            start = end
        return m.ObjectRecord(
            BUCKET_ID, VERSION, 1, 0, self.size, b"", tuple(placed), tuple(places), self.endpoints()
        )

    def _place(self, segment_id: SegmentId) -> m.SegmentPlace:
        segment, cells = self.segments[segment_id]
        orders = tuple(
            self.order_prefix + segment_id + bytes([slot]) if segment.durable >> slot & 1 else b""
            for slot in range(self.n)
        )
        return m.SegmentPlace(
            segment_id,
            self.k,
            self.n,
            segment.segment_bytes,
            segment.unit_bytes,
            segment.shard_bytes,
            segment.roots,
            tuple(cells),
            orders,
        )

    async def _object_get(self, request: m.ObjectGet, caller: Opened) -> m.ObjectRecord:
        if request.version_id not in (None, VERSION):
            raise NotFound(Absence.NO_SUCH_VERSION)
        return self.record(request.first, request.last)


class FakeSwarm:
    """Cells, a coordinator and a client on one simulated network."""

    def __init__(self, k: int, n: int, quorum: int, *, seed: int = 1, cells: int | None = None):
        self.sim = SimWorld(seed)
        self.cells = [FakeCell(self.sim, number) for number in range(cells or n)]
        self.coordinator = FakeCoordinator(self.sim, self.cells, k, n, quorum)
        self.node = self.sim.node("gateway")
        self.client: SwarmClient
        self.coordinators: CoordinatorClient
        self.pool: PeerPool
        self.nursery: trio.Nursery

    async def write(self, data: Buffer, *, chunk: int = 100_000) -> Written:
        return await self.client.write(TENANT, receiver(data, chunk), len(data))

    async def read(self, manifest: Manifest, first: int = 0, last: int | None = None) -> bytes:
        async with self.reading(manifest, first, last) as chunks:
            return b"".join([bytes(chunk) async for chunk in chunks])

    def reading(
        self, manifest: Manifest, first: int = 0, last: int | None = None
    ) -> aclosing[AsyncGenerator[Buffer, None]]:
        last = manifest.size - 1 if last is None else last
        record = self.coordinator.record(first, last)
        return aclosing(self.client.read(TENANT, "bucket", b"name", record, manifest, first, last))

    def kill(self, number: int) -> None:
        self.cells[number].node.crash(power=False)

    def isolate(self, number: int) -> None:
        """Everything to the cell is swallowed; nobody is told."""
        name = self.cells[number].node.name
        self.sim.internet.block("gateway", name)
        self.sim.internet.block(name, "gateway")

    def open_uploads(self) -> int:
        return sum(len(cell.uploads) for cell in self.cells)


@asynccontextmanager
async def fake_swarm(
    k: int = 4,
    n: int = 6,
    quorum: int = 5,
    *,
    seed: int = 1,
    cells: int | None = None,
    budget_bytes: int = 32 << 20,
    latency_s: float = 0.001,
) -> AsyncIterator[FakeSwarm]:
    swarm = FakeSwarm(k, n, quorum, seed=seed, cells=cells)
    swarm.sim.internet.model.latency_s = latency_s
    world = swarm.node.world
    identity = KeyPair.generate(world.entropy)
    swarm.pool = PeerPool(
        world.network, identity, connections_per_peer=2, chance=world.chance, log=world.log
    )
    coordinator = swarm.coordinator
    swarm.coordinators = CoordinatorClient(
        swarm.pool,
        [(Address("coordinator", 7000), coordinator.identity.peer_id)],
        {TENANT.tenant_id: TENANT},
        world.log,
    )
    swarm.client = SwarmClient(
        coordinators=swarm.coordinators,
        pool=swarm.pool,
        workers=world.workers,
        entropy=world.entropy,
        chance=world.chance,
        log=world.log,
        budget_bytes=budget_bytes,
    )
    async with trio.open_nursery() as nursery:
        for cell in swarm.cells:
            await nursery.start(cell.serve)
        await nursery.start(coordinator.serve)
        await nursery.start(swarm.pool.run)
        await nursery.start(swarm.coordinators.lease.run)
        await nursery.start(swarm.client.run)
        swarm.nursery = nursery
        yield swarm
        nursery.cancel_scope.cancel()


def receiver(data: Buffer, chunk: int = 100_000) -> Callable[[], Any]:
    view = memoryview(bytes(data))
    at = 0

    async def receive() -> Buffer:
        nonlocal at
        await trio.lowlevel.checkpoint()
        piece = view[at : at + chunk]
        at += len(piece)
        return piece

    return receive


def content(size: int, seed: int = 0) -> bytes:
    return hashlib.shake_128(seed.to_bytes(4, "big")).digest(size)


def failing(error: Exception) -> Callable[[Any], Any]:
    async def fail(request: Any) -> None:
        raise error

    return fail


def stalling(seconds: float) -> Callable[[Any], Any]:
    async def stall(request: Any) -> None:
        await trio.sleep(seconds)

    return stall


DOWN = failing(Unavailable(Outage.NO_SPACE))
