"""A real coordinator on a simulated network, with cells and gateways that speak for themselves."""

from __future__ import annotations

import base64
import dataclasses
import random
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import httpx
import trio
from inline_postgres import InlinePostgresStores

from common.charter_book import CharterBook
from common.client.policy.answers import check_answer
from common.crypto.charter import (
    Charter,
    CharteredCoordinator,
    read_charter,
    sign_charter,
    with_added,
)
from common.crypto.identity import KeyPair
from common.crypto.keys import TenantKey
from common.erasure.geometry import Geometry
from common.format.token import decode_token
from common.ids import BucketId, PeerId, SegmentId, TenantId, VersionId
from common.ports import Address
from common.rpc.peers import PeerPool
from common.state_files import write_whole
from common.wire import messages as m
from common.wire.control import tenant_message
from coordinator.config import CoordinatorConfig
from coordinator.journal.recovery_file import (
    NO_JOURNAL,
    RECOVERY_NAME,
    Recovery,
    pack_recovery,
    read_swarm_key,
)
from coordinator.journaled_store import STORE_NAME
from coordinator.secrets import load_keys
from coordinator.service import RunningCoordinator, serve
from sim.http import SimTransport
from sim.world import SimNode, SimWorld

GIB = 1024**3
NATIVE = Address("coordinator", 7000)
BUCKET = "bucket"
R = TypeVar("R", m.Committed, m.Deleted, m.Lease)


def new_postgres() -> InlinePostgresStores | None:
    """Return where a rig's store is, if not simulated: tests on PostgreSQL replace this."""
    return None


def facts(free: int = 10 * GIB, *, read_only: bool = False) -> m.CellFacts:
    return m.CellFacts(20 * GIB, 10 * GIB, free, 0, 0, read_only)


class Peer:
    """A peer with one connection to the coordinator.

    ``native``: of that which it calls now.
    """

    native = NATIVE

    def __init__(self, rig: Rig, name: str) -> None:
        self.rig = rig
        self.node = rig.swarm.node(name)
        self.identity = KeyPair.generate(self.node.world.entropy)
        self.scope: trio.CancelScope
        self.pool: PeerPool
        self.charters: CharterBook

    async def connect(self) -> None:
        world = self.node.world
        self.charters = CharterBook(world.disk, world.log, self.rig.serving.swarm_key_id)
        self.pool = PeerPool(
            world.network,
            self.identity,
            connections_per_peer=1,
            chance=world.chance,
            log=world.log,
            charters=self.charters,
        )

        async def run(*, task_status: trio.TaskStatus[None]) -> None:
            with trio.CancelScope() as self.scope:
                await self.pool.run(task_status=task_status)

        await self.rig.nursery.start(run)

    async def call(self, request: m.Request) -> Any:
        reply, _ = await self.pool.call(self.native, self.rig.serving.swarm_key_id, request)
        check_answer(request, reply)
        return reply


class FakeCell(Peer):
    """A cell that says what it is told to say."""

    def __init__(self, rig: Rig, number: int, site: str, owner: str) -> None:
        super().__init__(rig, f"cell-{number}")
        self.site, self.owner = site, owner
        self.facts = facts()
        self.beating = True
        self.seen: tuple[bytes, ...] = ()
        self.order_epoch = b""
        self.clock_ahead_s = 0.0

    async def join(self, token: str) -> None:
        await self.call(m.CellJoin(decode_token(token, "cell").secret, self.site, self.owner))

    async def beat(self, deleted: Iterable[m.ShardName] = ()) -> m.HeartbeatReply:
        clock_ms = int((self.rig.node.world.clock.now() + self.clock_ahead_s) * 1000)
        beat = m.Heartbeat(
            self.node.name,
            7000,
            self.facts,
            tuple(deleted),
            self.seen,
            clock_ms,
            self.order_epoch,
        )
        reply: m.HeartbeatReply = await self.call(beat)
        return reply

    async def keep_beating(self) -> None:
        while True:
            if self.beating:
                await self.beat()
            await trio.sleep(5)

    async def settle(self, *shards: tuple[SegmentId, int, bytes]) -> list[int]:
        held = tuple(m.HeldShard(segment, slot, root, 100) for segment, slot, root in shards)
        return list((await self.call(m.Settle(held))).verdicts)


class Gateway(Peer):
    """A gateway that acts for one tenant."""

    def __init__(self, rig: Rig, name: str) -> None:
        super().__init__(rig, name)
        chance = random.Random(name)
        self.tenant_id = TenantId(chance.randbytes(16))
        self.key = TenantKey(self.tenant_id, chance.randbytes(32))
        self.chance = chance
        self.lease = 0
        self.granted: dict[SegmentId, m.SegmentGrant] = {}
        self.cells_of: dict[SegmentId, tuple[PeerId, ...]] = {}

    async def open(self, seen: tuple[bytes, ...] = ()) -> None:
        await self.prove(self.key, seen=seen)

    async def prove(
        self,
        key: TenantKey,
        *,
        tenant_id: TenantId | None = None,
        channel: bytes | None = None,
        caller: PeerId | None = None,
        seen: tuple[bytes, ...] = (),
    ) -> None:
        """Open a tenant, with a proof that may be bound to something else than it should."""
        connection = await self.pool.connection(self.native, self.rig.serving.swarm_key_id)
        tenant_id = tenant_id or self.tenant_id
        message = tenant_message(
            channel or connection.channel, caller or self.identity.peer_id, tenant_id
        )
        await connection.call(m.TenantOpen(tenant_id, key.prove(message), seen))

    def new_id(self) -> VersionId:
        return VersionId(self.chance.randbytes(16))

    async def open_lease(self) -> None:
        self.lease = (await self.call(m.LeaseRenew(0))).lease

    async def grant(self, size: int = 100) -> m.Grants:
        if not self.lease:
            await self.open_lease()
        reply: m.Grants = await self.call(m.WriteStart(self.tenant_id, self.lease, 1, size))
        return reply

    async def segment(self, size: int = 100, durable: int | None = None) -> m.NewSegment:
        """A written segment, ready to be committed."""
        reply = await self.grant(size)
        grant = reply.grants[0]
        self.granted[grant.segment_id] = grant
        self.cells_of[grant.segment_id] = tuple(
            reply.endpoints[each].cell_id for each in grant.cells
        )
        return written(grant, size, self.chance, durable)

    def abandon_of(self, *segments: SegmentId, **fields: Any) -> m.WriteAbandon:
        grants = [self.granted[each] for each in segments]
        given: dict[str, Any] = {
            "tenant_id": self.tenant_id,
            "segments": tuple(segments),
            "rings": tuple(each.ring for each in grants),
            "orders": tuple(each.orders[0] for each in grants),
            "cells": tuple(self.cells_of[each][0] for each in segments),
            **fields,
        }
        return m.WriteAbandon(**given)

    async def make_bucket(self, name: str = BUCKET) -> m.BucketRecord:
        reply: m.BucketRecord = await self.call(
            m.BucketCreate(self.tenant_id, BucketId(self.new_id()), name, b"settings")
        )
        return reply

    def commit_of(
        self,
        name: bytes,
        segments: Sequence[m.NewSegment],
        *,
        bucket: str = BUCKET,
        pages: tuple[m.Page, ...] | None = None,
        **fields: Any,
    ) -> m.ObjectCommit:
        size = sum(each.segment_bytes for each in segments)
        if pages is None:
            pages = (page(*[(s.segment_id, 0, s.segment_bytes) for s in segments]),)
        given: dict[str, Any] = {
            "tenant_id": self.tenant_id,
            "bucket": bucket,
            "name": name,
            "version_id": self.new_id(),
            "size": sum(e.length for each in pages for e in each.extents) if pages else size,
            "sealed": b"sealed",
            "summary": b"summary",
            "pages": pages,
            "segments": tuple(segments),
            "condition": m.Condition(),
            **fields,
        }
        return m.ObjectCommit(**given)

    async def put(
        self, name: bytes, size: int = 100, **fields: Any
    ) -> tuple[m.ObjectCommit, m.Committed]:
        """Write and commit an object; returns (request, reply)."""
        segments = [await self.segment(size)] if size else []
        given: dict[str, Any] = fields if size else {"pages": (), **fields}
        request = self.commit_of(name, segments, **given)
        return request, await self.call(request)

    async def get(
        self,
        name: bytes,
        *,
        version_id: VersionId | None = None,
        first: int = 0,
        last: int = 1 << 40,
        places: bool = True,
        bucket: str = BUCKET,
    ) -> m.ObjectRecord:
        reply: m.ObjectRecord = await self.call(
            m.ObjectGet(self.tenant_id, bucket, name, version_id, places, first, last)
        )
        return reply

    async def delete(self, *names: bytes | m.DeleteItem, bucket: str = BUCKET) -> list[Any]:
        items = tuple(n if isinstance(n, m.DeleteItem) else m.DeleteItem(n) for n in names)
        reply = await self.call(m.ObjectsDelete(self.tenant_id, bucket, items))
        return ["" if each.failure is None else each.failure.reason for each in reply.results]

    async def names(
        self,
        bucket: str = BUCKET,
        prefix: bytes = b"",
        delimiter: bytes = b"",
        after: bytes = b"",
        limit: int = 1000,
    ) -> m.Listing:
        reply: m.Listing = await self.call(
            m.ObjectsList(self.tenant_id, bucket, prefix, delimiter, after, limit)
        )
        return reply


def bare(reply: R) -> R:
    """A reply without how far the store was: that grows with every transaction."""
    return dataclasses.replace(reply, position=b"")


def page(*extents: tuple[bytes, int, int]) -> m.Page:
    return m.Page(
        tuple(m.Extent(SegmentId(s), offset, length, bytes(32), 0) for s, offset, length in extents)
    )


def written(
    grant: m.SegmentGrant, size: int, chance: random.Random, durable: int | None = None
) -> m.NewSegment:
    geometry = Geometry.plan(grant.k, grant.n, size, grant.home_k)
    is_at_home = (grant.home_k, grant.home_n) == (grant.k, grant.n)
    return m.NewSegment(
        grant.segment_id,
        grant.ring,
        grant.revision,
        size,
        geometry.unit_bytes,
        geometry.shard_bytes,
        chance.randbytes(32 * grant.n),
        (1 << grant.n) - 1 if durable is None else durable,
        0 if is_at_home else grant.home_k,
        b"" if is_at_home else chance.randbytes(32 * grant.home_n),
    )


class Rig:
    """A coordinator, and its cells and gateways."""

    def __init__(self, swarm: SimWorld, nursery: trio.Nursery, config: CoordinatorConfig) -> None:
        self.swarm = swarm
        self.nursery = nursery
        self.node = swarm.node("coordinator")
        self.config = config
        self.serving: RunningCoordinator
        self.scope: trio.CancelScope
        self.cells: list[FakeCell] = []
        self.postgres = new_postgres()

    async def start(self) -> None:
        world = self.node.world
        if self.postgres is not None:
            world = dataclasses.replace(world, stores=self.postgres)

        async def run(*, task_status: trio.TaskStatus[RunningCoordinator]) -> None:
            with trio.CancelScope() as self.scope:
                await serve(world, self.config, task_status=task_status)

        self.serving = await self.nursery.start(run)

    async def restart(self) -> None:
        """Kill it where it stands and start it again."""
        self.node.crash(power=True)
        self.scope.cancel()
        await self.start()

    def copy(self) -> bytes:
        """The store as it is now, as bytes."""
        return self.node.databases[STORE_NAME].connection.serialize()

    async def restart_with(self, store: bytes) -> None:
        """Kill it where it stands and start it with another copy of its store."""
        self.node.crash(power=True)
        self.scope.cancel()
        self.node.databases[STORE_NAME].connection.deserialize(store)
        await self.start()

    def sql(self, statement: str, *parameters: Any) -> list[Any]:
        if self.postgres is not None:
            return self.postgres.sql(STORE_NAME, statement, parameters)
        connection = self.node.databases[STORE_NAME].connection
        return connection.execute(statement, parameters).fetchall()

    def one(self, statement: str, *parameters: Any) -> Any:
        return self.sql(statement, *parameters)[0][0]

    async def http(
        self, method: str, path: str, body: Any = None, token: str | None = None
    ) -> httpx.Response:
        network = self.swarm.node("operator").world.network
        token = self.serving.operator_token if token is None else token
        async with httpx.AsyncClient(transport=SimTransport(network), timeout=60) as client:
            return await client.request(
                method,
                f"http://coordinator:7001{path}",
                headers={"authorization": f"Bearer {token}"},
                **({"content": body} if isinstance(body, bytes) else {"json": body}),
            )

    async def operate(self, method: str, path: str, body: Any = None) -> Any:
        answer = await self.http(method, path, body)
        assert answer.status_code < 300, answer.text
        return answer.json() if answer.content else None

    async def add_cell(self, site: str = "", owner: str = "") -> FakeCell:
        cell = FakeCell(self, len(self.cells), site, owner or f"owner-{len(self.cells)}")
        token = (await self.operate("POST", "/v1/invites", {}))["token"]
        await cell.connect()
        await cell.join(token)
        await cell.beat()
        self.cells.append(cell)
        self.nursery.start_soon(cell.keep_beating)
        return cell

    async def add_gateway(self, name: str = "tenant") -> Gateway:
        gateway = Gateway(self, name)
        body = {
            "name": name,
            "tenant_id": gateway.tenant_id.hex(),
            "proof_key": gateway.key.proof_key().hex(),
        }
        await self.operate("POST", "/v1/tenants", body)
        await gateway.connect()
        await gateway.open()
        return gateway

    async def add_key(
        self, tenant: str, access_key_id: str = "AKEXAMPLE", sealed: bytes = b"sealed"
    ) -> None:
        body = {"access_key_id": access_key_id, "sealed": base64.b64encode(sealed).decode()}
        await self.operate("POST", f"/v1/tenants/{tenant}/keys", body)

    async def change_charter(
        self, change: Callable[[Charter], list[CharteredCoordinator]]
    ) -> Charter:
        """Sign a later charter, and have the coordinator take it."""
        swarm_key = await read_swarm_key(self.node.world.disk)
        assert swarm_key is not None
        shown = (await self.http("GET", "/v1/coordinators")).json()["charter"]
        present = read_charter(bytes.fromhex(shown), swarm_key.peer_id)
        charter = sign_charter(swarm_key, present.revision + 1, change(present))
        answer = await self.http("POST", "/v1/coordinators", {"charter": charter.data.hex()})
        assert answer.status_code == 200, answer.text
        return charter

    async def enrol(self, node: SimNode, name: str) -> None:
        """Put the file with the keys of one more coordinator into a node's directory."""
        world = self.node.world
        keys = await load_keys(world.disk, world.entropy, world.log)
        identity = KeyPair.generate(world.entropy)
        charter = await self.change_charter(
            lambda present: with_added(present, name, identity.public_key)
        )
        made = Recovery(identity, keys.swarm_secret, charter, NO_JOURNAL, is_enrolment=True)
        await write_whole(node.world.disk, RECOVERY_NAME, pack_recovery(made))

    def cell_of(self, peer_id: PeerId) -> FakeCell:
        return next(cell for cell in self.cells if cell.identity.peer_id == peer_id)

    def holders(self, segment_id: SegmentId) -> list[FakeCell]:
        """The cell of each slot of a committed segment's ring."""
        rows = self.sql(
            "SELECT c.cell_id FROM segments s JOIN ring_slots r ON r.ring = s.ring"
            " JOIN cells c ON c.cell = r.cell WHERE s.segment_id = ? ORDER BY r.slot",
            segment_id,
        )
        return [self.cell_of(cell_id) for (cell_id,) in rows]


@asynccontextmanager
async def running(cells: int = 6, seed: int = 1, **config: Any) -> AsyncIterator[Rig]:
    """A coordinator with so many cells that beat every 5 s, for the length of the block."""
    parsed = CoordinatorConfig.parse(
        {
            "data": ".",
            "listen": "coordinator:7000",
            "http": "coordinator:7001",
            "swarm": "test",
            "discovery": False,
            "journal": "off",  # these cells keep none
            **config,
        }
    )
    async with trio.open_nursery() as nursery:
        rig = Rig(SimWorld(seed), nursery, parsed)
        await rig.start()
        for _ in range(cells):
            await rig.add_cell()
        await trio.sleep(2)  # a round looks at the cells and makes rings
        yield rig
        nursery.cancel_scope.cancel()
