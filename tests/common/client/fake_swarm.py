"""Minimal cells and the real handlers of a coordinator behind real PeerServers, all of which
misbehave where a test says so."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import trio
from in_process_coordinator import SWARM_SECRET, InProcessCoordinator, until_death

from common.client.coordinators import CoordinatorClient
from common.client.object_client import SwarmClient, Written
from common.crypto.digest import leaf, page_digest, shard_root
from common.crypto.identity import KeyPair
from common.crypto.keys import TenantKey
from common.crypto.orders import OrderAction, cell_order_key, check
from common.errors import Corrupt, NotFound, Unavailable
from common.format.extents import page_bytes
from common.format.manifest import Manifest, PageEntry
from common.ids import BucketId, TenantId, VersionId
from common.ports import Address, Buffer
from common.reasons import Absence, Damage, Outage
from common.rpc.caller import Caller
from common.rpc.peers import PeerPool
from common.rpc.server import PeerServer
from common.wire import messages as m
from coordinator.policy.placement import Redundancy
from sim.world import SimWorld

TENANT = TenantKey(TenantId(b"t" * 16), b"k" * 32)
BUCKET, NAME = "bucket", b"name"
BUCKET_ID = BucketId(b"b" * 16)

ShardKey = tuple[bytes, int]
Uploader = Caller[None]


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
        self._order_key = cell_order_key(SWARM_SECRET, self.identity.peer_id)
        self.shards: dict[ShardKey, Shard] = {}
        self.uploads: dict[tuple[int, int], OpenUpload] = {}
        self.faults: dict[type[m.Request], Callable[[Any], Any]] = {}
        self.on_read: Callable[[m.ShardUnits, bytes], tuple[m.ShardUnits, bytes]] | None = None
        self.requests: list[m.Request] = []
        self.seen_epoch = 0
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

    def _key(self, caller: Uploader, order: bytes, action: OrderAction) -> ShardKey:
        now = self.node.world.clock.now()
        permitted = check(
            self._order_key,
            order,
            actions=[action],
            caller=caller.peer_id,
            now=now,
            seen_epoch=self.seen_epoch,
        )
        return permitted.segment_id, permitted.slot

    async def _put(self, caller: Uploader, request: m.ShardPut, payload: memoryview) -> m.Done:
        shard = Shard(request.unit_bytes, bytes(payload))
        if shard.root != request.root:
            raise Corrupt(Damage.ROOT_MISMATCH)
        self.shards[self._key(caller, request.order, OrderAction.PUT)] = shard
        return m.Done()

    async def _open(self, caller: Uploader, request: m.ShardOpen, payload: memoryview) -> m.Done:
        key = (id(caller), request.upload)
        assert key not in self.uploads
        self.uploads[key] = OpenUpload(
            self._key(caller, request.order, OrderAction.PUT),
            request.unit_bytes,
            request.shard_bytes,
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
        shard = self.shards.get(self._key(caller, request.order, OrderAction.GET))
        if shard is None:
            raise NotFound(Absence.NO_SUCH_SHARD)
        leaves = shard.leaves if request.want_leaves else b""
        reply = m.ShardUnits(len(shard.data), shard.unit_bytes, leaves)
        start = request.first * shard.unit_bytes
        data = shard.data[start : start + request.count * shard.unit_bytes]
        if self.on_read is not None:
            reply, data = self.on_read(reply, data)
        return reply, (data,)


class FakeSwarm:
    """Cells, a coordinator and a client on one simulated network.

    Args:
        cells: how many there are; as many as a ring has slots if not given.
        rings: the cells of each ring; one of the first cells if not given.
    """

    def __init__(
        self,
        k: int,
        n: int,
        quorum: int,
        *,
        seed: int = 1,
        cells: int | None = None,
        rings: Sequence[Sequence[int]] | None = None,
    ) -> None:
        self.sim = SimWorld(seed)
        self.cells = [FakeCell(self.sim, number) for number in range(cells or n)]
        self.coordinator = InProcessCoordinator(
            self.sim.node("coordinator"),
            self.endpoints(),
            [range(n)] if rings is None else rings,
            Redundancy(k, n, quorum),
        )
        self.coordinator.add_tenant("tenant", TENANT)
        self.coordinator.pages_per_reply = 4
        self.node = self.sim.node("gateway")
        self.identity = KeyPair.generate(self.node.world.entropy)
        self.client: SwarmClient
        self.coordinators: CoordinatorClient
        self.pool: PeerPool
        self.nursery: trio.Nursery

    def endpoints(self) -> tuple[m.Endpoint, ...]:
        """The cells by number."""
        return tuple(m.Endpoint(cell.identity.peer_id, cell.node.name, 7000) for cell in self.cells)

    async def write(self, data: Buffer, *, chunk: int = 100_000) -> Written:
        return await self.client.write(TENANT, receiver(data, chunk), len(data))

    async def ask(self, request: m.Request) -> Any:
        """What the coordinator says to this gateway, without a call and without faults."""
        caller = self.coordinator.caller(self.identity.peer_id, [TENANT.tenant_id])
        return self.coordinator.said(request, await self.coordinator.answer(caller, request))

    async def make_bucket(self) -> None:
        """Make the bucket, and an empty object of the name that everything is committed under."""
        await self.ask(m.BucketCreate(TENANT.tenant_id, BUCKET_ID, BUCKET, b""))
        await self.commit(Written(0, (), (), bytes(32)))

    async def commit(
        self,
        written: Written,
        pages: tuple[m.Page, ...] | None = None,
        keys: tuple[bytes, ...] | None = None,
    ) -> Manifest:
        """Commit the object as this; its manifest."""
        pages = written.pages if pages is None else pages
        size = sum(page_bytes(page) for page in pages)
        version_id = VersionId(self.node.world.entropy(16))
        await self.ask(
            m.ObjectCommit(
                TENANT.tenant_id, BUCKET, NAME, version_id, size, b"", b"", pages, written.segments,
                m.Condition(),
            )
        )  # fmt: skip
        entries = tuple(PageEntry(page_digest(page), page_bytes(page)) for page in pages)
        return Manifest(1, size, entries, (bytes(32), *(keys or written.keys)), b"")

    async def record(self, first: int, last: int) -> m.ObjectRecord:
        """The object as last committed, with its places for a range."""
        record = await self.ask(
            m.ObjectGet(TENANT.tenant_id, BUCKET, NAME, None, True, first, max(first, last))
        )
        assert isinstance(record, m.ObjectRecord)
        return record

    async def read(self, manifest: Manifest, first: int = 0, last: int | None = None) -> bytes:
        async with self.reading(manifest, first, last) as chunks:
            return b"".join([bytes(chunk) async for chunk in chunks])

    @asynccontextmanager
    async def reading(
        self, manifest: Manifest, first: int = 0, last: int | None = None
    ) -> AsyncIterator[AsyncGenerator[Buffer, None]]:
        last = manifest.size - 1 if last is None else last
        record = await self.record(first, last)
        read = self.client.read(TENANT, BUCKET, NAME, record, manifest, first, last)
        async with aclosing(read) as chunks:
            yield chunks

    async def copy_pages(self, manifest: Manifest, first: int, last: int) -> tuple[m.Page, ...]:
        record = await self.record(first, last)
        return await self.client.copy_pages(TENANT, BUCKET, NAME, record, manifest, first, last)

    def kill(self, number: int) -> None:
        self.cells[number].node.crash(power=False)

    def isolate(self, number: int) -> None:
        """Everything to the cell is swallowed; nobody is told."""
        name = self.cells[number].node.name
        self.sim.internet.block("gateway", name)
        self.sim.internet.block(name, "gateway")

    def change_coordinators(self) -> None:
        """Have another coordinator take over: cells refuse the orders of the one before."""
        self.coordinator.epoch.moved(self.coordinator.epoch.epoch + 1)
        for cell in self.cells:
            cell.seen_epoch = self.coordinator.epoch.epoch

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
    rings: Sequence[Sequence[int]] | None = None,
) -> AsyncIterator[FakeSwarm]:
    swarm = FakeSwarm(k, n, quorum, seed=seed, cells=cells, rings=rings)
    await swarm.make_bucket()
    swarm.sim.internet.model.latency_s = latency_s
    world = swarm.node.world
    swarm.pool = PeerPool(
        world.network, swarm.identity, connections_per_peer=2, chance=world.chance, log=world.log
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
