"""A real coordinator on a simulated network, with cells and gateways that speak for themselves."""

import base64
import dataclasses
import random
from contextlib import asynccontextmanager

import httpx
import trio

from common.client.policy.answers import check_answer
from common.crypto.identity import KeyPair
from common.crypto.keys import TenantKey
from common.erasure.geometry import Geometry
from common.format.token import decode_token
from common.ids import BucketId, SegmentId, TenantId, VersionId
from common.ports import Address
from common.rpc.peers import PeerPool
from common.wire import messages as m
from common.wire.control import tenant_message
from coordinator.config import CoordinatorConfig
from coordinator.service import STORE_NAME, serve
from sim.http import SimTransport
from sim.world import SimWorld

GIB = 1024**3
NATIVE = Address("coordinator", 7000)
BUCKET = "bucket"


def facts(free=10 * GIB, *, read_only=False):
    return m.CellFacts(20 * GIB, 10 * GIB, free, 0, 0, read_only)


class Peer:
    """A peer with one connection to the coordinator."""

    def __init__(self, rig, name):
        self.rig = rig
        self.node = rig.swarm.node(name)
        self.identity = KeyPair.generate(self.node.world.entropy)
        self.scope = None
        self.pool = None

    async def connect(self):
        world = self.node.world
        self.pool = PeerPool(
            world.network, self.identity, connections_per_peer=1, chance=world.chance, log=world.log
        )

        async def run(*, task_status):
            with trio.CancelScope() as self.scope:
                await self.pool.run(task_status=task_status)

        await self.rig.nursery.start(run)

    async def call(self, request):
        reply, _ = await self.pool.call(NATIVE, self.rig.serving.peer_id, request)
        check_answer(request, reply)
        return reply


class FakeCell(Peer):
    """A cell that says what it is told to say."""

    def __init__(self, rig, number, site, host):
        super().__init__(rig, f"cell-{number}")
        self.site, self.host = site, host
        self.facts = facts()
        self.beating = True
        self.seen = ()
        self.deleted = []
        self.clock_ahead_s = 0

    async def join(self, token):
        await self.call(m.CellJoin(decode_token(token, "cell").secret, self.site, self.host))

    async def beat(self, deleted=()):
        clock_ms = int((self.rig.node.world.clock.now() + self.clock_ahead_s) * 1000)
        return await self.call(
            m.Heartbeat(self.node.name, 7000, self.facts, tuple(deleted), self.seen, clock_ms)
        )

    async def keep_beating(self):
        while True:
            if self.beating:
                await self.beat()
            await trio.sleep(5)

    async def settle(self, *shards):
        held = tuple(m.HeldShard(segment, slot, root, 100) for segment, slot, root in shards)
        return list((await self.call(m.Settle(held))).verdicts)


class Gateway(Peer):
    """A gateway that acts for one tenant."""

    def __init__(self, rig, name):
        super().__init__(rig, name)
        chance = random.Random(name)
        self.tenant_id = TenantId(chance.randbytes(16))
        self.key = TenantKey(self.tenant_id, chance.randbytes(32))
        self.chance = chance
        self.lease = 0
        self.granted = {}

    async def open(self, seen=()):
        await self.prove(self.key, seen=seen)

    async def prove(self, key, *, tenant_id=None, channel=None, caller=None, seen=()):
        """Open a tenant, with a proof that may be bound to something else than it should."""
        connection = await self.pool.connection(NATIVE, self.rig.serving.peer_id)
        tenant_id = tenant_id or self.tenant_id
        message = tenant_message(
            channel or connection.channel, caller or self.identity.peer_id, tenant_id
        )
        await connection.call(m.TenantOpen(tenant_id, key.prove(message), seen))

    def new_id(self):
        return VersionId(self.chance.randbytes(16))

    async def open_lease(self):
        self.lease = (await self.call(m.LeaseRenew(0))).lease

    async def grant(self, size=100):
        if not self.lease:
            await self.open_lease()
        return await self.call(m.WriteStart(self.tenant_id, self.lease, 1, size))

    async def segment(self, size=100, durable=None):
        """A written segment, ready to be committed."""
        grant = (await self.grant(size)).grants[0]
        self.granted[grant.segment_id] = grant
        return written(grant, size, self.chance, durable)

    def abandon_of(self, *segments, **fields):
        grants = [self.granted[each] for each in segments]
        given = {
            "tenant_id": self.tenant_id,
            "segments": tuple(segments),
            "rings": tuple(each.ring for each in grants),
            "orders": tuple(each.orders[0] for each in grants),
            **fields,
        }
        return m.WriteAbandon(**given)

    async def make_bucket(self, name=BUCKET):
        return await self.call(
            m.BucketCreate(self.tenant_id, BucketId(self.new_id()), name, b"settings")
        )

    def commit_of(self, name, segments, *, bucket=BUCKET, pages=None, **fields):
        size = sum(each.segment_bytes for each in segments)
        if pages is None:
            pages = (page(*[(s.segment_id, 0, s.segment_bytes) for s in segments]),)
        given = {
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

    async def put(self, name, size=100, **fields):
        """Write and commit an object; returns (request, reply)."""
        segments = [await self.segment(size)] if size else []
        request = self.commit_of(name, segments, **({} if size else {"pages": ()}), **fields)
        return request, await self.call(request)

    async def get(
        self, name, *, version_id=None, first=0, last=1 << 40, places=True, bucket=BUCKET
    ):
        return await self.call(
            m.ObjectGet(self.tenant_id, bucket, name, version_id, places, first, last)
        )

    async def delete(self, *names, bucket=BUCKET):
        items = tuple(n if isinstance(n, m.DeleteItem) else m.DeleteItem(n) for n in names)
        reply = await self.call(m.ObjectsDelete(self.tenant_id, bucket, items))
        return ["" if each.failure is None else each.failure.reason for each in reply.results]

    async def names(self, bucket=BUCKET, prefix=b"", delimiter=b"", after=b"", limit=1000):
        return await self.call(
            m.ObjectsList(self.tenant_id, bucket, prefix, delimiter, after, limit)
        )


def bare(reply):
    """A reply without how far the store was: that grows with every transaction."""
    return dataclasses.replace(reply, position=b"")


def page(*extents):
    return m.Page(
        tuple(m.Extent(SegmentId(s), offset, length, bytes(32), 0) for s, offset, length in extents)
    )


def written(grant, size, chance, durable=None):
    geometry = Geometry.plan(grant.k, grant.n, size)
    return m.NewSegment(
        grant.segment_id,
        grant.ring,
        size,
        geometry.unit_bytes,
        geometry.shard_bytes,
        chance.randbytes(32 * grant.n),
        (1 << grant.n) - 1 if durable is None else durable,
    )


class Rig:
    def __init__(self, swarm, nursery, config):
        self.swarm = swarm
        self.nursery = nursery
        self.node = swarm.node("coordinator")
        self.config = config
        self.serving = None
        self.scope = None
        self.cells = []

    async def start(self):
        async def run(*, task_status):
            with trio.CancelScope() as self.scope:
                await serve(self.node.world, self.config, task_status=task_status)

        self.serving = await self.nursery.start(run)

    async def restart(self):
        """Kill it where it stands and start it again."""
        self.node.crash(power=True)
        self.scope.cancel()
        await self.start()

    def copy(self):
        """The store as it is now, as bytes."""
        return self.node.databases[STORE_NAME].connection.serialize()

    async def restart_with(self, store):
        """Kill it where it stands and start it with another copy of its store."""
        self.node.crash(power=True)
        self.scope.cancel()
        self.node.databases[STORE_NAME].connection.deserialize(store)
        await self.start()

    def sql(self, statement, *parameters):
        connection = self.node.databases[STORE_NAME].connection
        return connection.execute(statement, parameters).fetchall()

    def one(self, statement, *parameters):
        return self.sql(statement, *parameters)[0][0]

    async def http(self, method, path, body=None, token=None):
        network = self.swarm.node("operator").world.network
        token = self.serving.operator_token if token is None else token
        async with httpx.AsyncClient(transport=SimTransport(network), timeout=60) as client:
            return await client.request(
                method,
                f"http://coordinator:7001{path}",
                headers={"authorization": f"Bearer {token}"},
                **({"content": body} if isinstance(body, bytes) else {"json": body}),
            )

    async def operate(self, method, path, body=None):
        answer = await self.http(method, path, body)
        assert answer.status_code < 300, answer.text
        return answer.json() if answer.content else None

    async def add_cell(self, site="", host=""):
        cell = FakeCell(self, len(self.cells), site, host or f"host-{len(self.cells)}")
        token = (await self.operate("POST", "/v1/invites", {}))["token"]
        await cell.connect()
        await cell.join(token)
        await cell.beat()
        self.cells.append(cell)
        self.nursery.start_soon(cell.keep_beating)
        return cell

    async def add_gateway(self, name="tenant"):
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

    async def add_key(self, tenant, access_key_id="AKEXAMPLE", sealed=b"sealed"):
        body = {"access_key_id": access_key_id, "sealed": base64.b64encode(sealed).decode()}
        await self.operate("POST", f"/v1/tenants/{tenant}/keys", body)

    def cell_of(self, peer_id):
        return next(cell for cell in self.cells if cell.identity.peer_id == peer_id)

    def holders(self, segment_id):
        """The cell of each slot of a committed segment's ring."""
        rows = self.sql(
            "SELECT c.cell_id FROM segments s JOIN ring_slots r ON r.ring = s.ring"
            " JOIN cells c ON c.cell = r.cell WHERE s.segment_id = ? ORDER BY r.slot",
            segment_id,
        )
        return [self.cell_of(cell_id) for (cell_id,) in rows]


@asynccontextmanager
async def running(cells=6, seed=1, **config):
    """A coordinator with so many cells that beat every 5 s, for the length of the block."""
    parsed = CoordinatorConfig.parse(
        {
            "data": ".",
            "listen": "coordinator:7000",
            "http": "coordinator:7001",
            "swarm": "test",
            "discovery": False,
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
