"""What a gateway of any protocol works with: the handlers of a real coordinator, and a swarm that
keeps bytes in memory.

The services as a whole, on a network and with cells, are under the gateway in
``tests/gateway_s3/test_gateway_end_to_end.py``.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any, Final

import trio
from in_process_coordinator import InProcessCoordinator

from common.client.abandons import Granted
from common.client.object_client import Written
from common.client.policy.answers import check_answer
from common.crypto.identity import KeyPair
from common.crypto.keys import TenantKey, commitment_of
from common.erasure.geometry import Geometry
from common.errors import Refused
from common.format.extents import runs_of_page
from common.format.key_ring import KeyRing, open_key_ring, seal_key_ring
from common.format.manifest import AccessKeyRecord, Manifest, open_manifest, seal_access_key
from common.ids import BucketId, PeerId, TenantId
from common.limits import GATEWAY_BUFFER_BUDGET_BYTES, GATHERED_PER_BUDGET, MAX_LIST_ENTRIES
from common.ports import Buffer
from common.reasons import Refusal
from common.rpc.budget import ByteBudget
from common.wire import messages as m
from coordinator.policy.placement import Redundancy
from coordinator.store import buckets, key_rings, listing, multipart, objects, tenants
from gateway.bucket_cache import BucketCache
from gateway.bucket_owners import BucketOwners
from gateway.key_rings import KeyRings
from gateway.names import IdentityNames
from gateway.object_service import ObjectService
from sim.world import SimNode, SimWorld

SECRET: Final = "secret-of-the-rig"
ACCESS_KEYS: Final = ("AK", "OTHER")
"""Each of a tenant of its own."""
EVERYTHING: Final = 1 << 40
ONE_SHARD: Final = Redundancy(1, 1, 1)


class HeldLease:
    """The write lease of a gateway in memory."""

    def __init__(self, ask: Callable[[m.Request], Awaitable[Any]]) -> None:
        self._ask = ask
        self.held = 0
        """0: none."""

    async def number(self) -> int:
        if not self.held:
            self.held = (await self._ask(m.LeaseRenew(0))).lease
        return self.held

    def has_ended(self, lease: int) -> None:
        if lease == self.held:
            self.held = 0


@dataclass(frozen=True)
class Begun:
    """An upload in progress as the store has it."""

    record: m.UploadRecord
    parts: dict[int, m.PartRow]


class GatewayCoordinator(InProcessCoordinator):
    """A coordinator in the place of a gateway's client of it: called without a network, on one
    connection that is open for the tenants."""

    def __init__(self, node: SimNode, tenant_keys: list[TenantKey]) -> None:
        entropy = node.world.entropy
        cell = m.Endpoint(KeyPair.generate(entropy).peer_id, "cell", 7000)
        super().__init__(node, [cell], [[0]], ONE_SHARD)
        self.lease = HeldLease(self.ask)
        self.reply_rows = MAX_LIST_ENTRIES
        """The most rows in a reply: a coordinator may give fewer than it was asked for."""
        self.numbers = {
            key.tenant_id: self.add_tenant(key.tenant_id.hex(), key) for key in tenant_keys
        }
        self.gateway = self.caller(PeerId(entropy(32)), self.numbers)

    async def call(self, request: Any, *, timeout_s: float = 30.0) -> Any:
        """Answer as a CoordinatorClient does: with what fits the request, or not at all."""
        await trio.lowlevel.checkpoint()
        assert type(request).unpack(request.pack()) == request
        asked = request
        if getattr(request, "limit", 0) > self.reply_rows:
            asked = replace(request, limit=self.reply_rows)
        reply = await self.handle(self.gateway, asked, memoryview(b""))
        assert isinstance(reply, request.reply)
        check_answer(request, reply)
        return reply

    async def ask(self, request: Any) -> Any:
        """The honest answer to a request that is not counted, and that no fault meets."""
        return await self.answer(self.gateway, request)

    def is_committed(self, segment_id: bytes) -> bool:
        """Return whether a segment belongs to something."""
        row = self.sql.execute("SELECT 1 FROM segments WHERE segment_id = ?", (segment_id,))
        return row.fetchone() is not None

    @property
    def calls(self) -> list[str]:
        """The types of all requests that were counted."""
        return [type(request).__name__ for request in self.requests]

    # --- the store as it is ---------------------------------------------------------------

    def access_key(self, access_key_id: str) -> m.AccessKey:
        """An access key as gateways get it."""
        return m.AccessKey(*tenants.access_key(self.sql, access_key_id)[1:])

    @property
    def owned(self) -> dict[str, m.BucketRecord]:
        """All buckets by name."""
        return {
            row.name: buckets.get(self.sql, number, row.name)
            for number in self.numbers.values()
            for row in buckets.list_buckets(self.sql, number, "", "", MAX_LIST_ENTRIES).buckets
        }

    def bucket_id(self, name: str) -> BucketId:
        """The id of a bucket."""
        return self.owned[name].bucket_id

    @property
    def current(self) -> dict[tuple[str, bytes], m.ObjectRecord]:
        """The live version of every name, without its places."""
        found = {}
        for tenant_id, number, bucket in self._buckets():
            listed = listing.list_objects(
                self.sql, number, m.ObjectsList(tenant_id, bucket, b"", b"", b"", MAX_LIST_ENTRIES)
            )
            for row in listed.objects:
                asked = m.ObjectGet(tenant_id, bucket, row.name, None, False, 0, 0)
                version = objects.get(self.sql, number, asked)
                found[bucket, row.name] = m.ObjectRecord(
                    version.bucket_id,
                    version.version_id,
                    version.sequence,
                    version.created_ms,
                    version.size,
                    version.sealed,
                )
        return found

    @property
    def uploads(self) -> dict[bytes, Begun]:
        """All uploads in progress, by their ids."""
        found = {}
        for tenant_id, number, bucket in self._buckets():
            listed = listing.list_uploads(
                self.sql,
                number,
                m.UploadsList(tenant_id, bucket, b"", b"", b"", b"", MAX_LIST_ENTRIES),
            )
            for row in listed.uploads:
                place = (tenant_id, bucket, row.name, row.upload_id)
                record = multipart.get(self.sql, number, *place[1:])
                asked = m.PartsList(*place, 0, MAX_LIST_ENTRIES)
                parts = multipart.list_parts(self.sql, number, asked).parts
                found[bytes(row.upload_id)] = Begun(
                    record, {part.part_number: part for part in parts}
                )
        return found

    def _buckets(self) -> list[tuple[TenantId, int, str]]:
        return [
            (tenant_id, number, row.name)
            for tenant_id, number in self.numbers.items()
            for row in buckets.list_buckets(self.sql, number, "", "", MAX_LIST_ENTRIES).buckets
        ]


class MemorySwarm:
    """Keeps the plaintext of segments. They are granted, and abandoned, by the coordinator."""

    def __init__(self, coordinators: GatewayCoordinator) -> None:
        self.coordinators = coordinators
        self.segments: dict[bytes, tuple[bytes, bytes]] = {}
        """The commitment and the bytes of each."""
        self.abandoned: list[bytes] = []
        self.forgotten: list[TenantId] = []
        """Whose places in stock were forgotten."""
        self.open_reads = 0
        self.piece_bytes = 65536

    async def write(
        self,
        tenant: TenantKey,
        receive: Callable[[], Awaitable[Buffer]],
        size: int,
        storage_class: str = m.STANDARD_CLASS,
    ) -> Written:
        data = bytearray()
        while len(data) < size:
            chunk = await receive()
            assert len(chunk)
            data += chunk
        assert len(data) == size
        upload_key = self.coordinators.node.world.entropy(32)
        if not size:
            return Written(0, (), (), upload_key)
        commitment = commitment_of(upload_key)
        grant, cell = await self._grant(tenant, size, storage_class)
        self.segments[grant.segment_id] = (commitment, bytes(data))
        geometry = Geometry.plan(grant.k, grant.n, size)
        segment = m.NewSegment(
            grant.segment_id,
            grant.ring,
            grant.revision,
            size,
            geometry.unit_bytes,
            geometry.shard_bytes,
            bytes(32) * grant.n,
            (1 << grant.n) - 1,
        )
        extent = m.Extent(grant.segment_id, 0, size, commitment, 0)
        granted = Granted(grant.segment_id, grant.ring, grant.orders[0], cell)
        return Written(size, (m.Page((extent,)),), (segment,), upload_key, (granted,))

    async def _grant(
        self, tenant: TenantKey, size: int, storage_class: str
    ) -> tuple[m.SegmentGrant, PeerId]:
        lease = await self.coordinators.lease.number()
        asked = m.WriteStart(tenant.tenant_id, lease, 1, size, storage_class)
        reply = await self.coordinators.ask(asked)
        assert isinstance(reply, m.Grants)
        (grant,) = reply.grants
        return grant, reply.endpoints[grant.cells[0]].cell_id

    def forget_places(self, tenant: TenantKey) -> None:
        self.forgotten.append(tenant.tenant_id)

    async def abandon(self, tenant: TenantKey, written: Written) -> None:
        for each in written.granted:
            proof = (each.segment_id,), (each.ring,), (each.order,), (each.cell,)
            try:
                await self.coordinators.ask(m.WriteAbandon(tenant.tenant_id, *proof))
            except Refused as error:
                if error.reason != Refusal.LEASE_ENDED:  # then it is garbage anyway
                    raise
            self.abandoned.append(each.segment_id)
            if not self.coordinators.is_committed(each.segment_id):
                self.segments.pop(each.segment_id)

    async def read(
        self,
        tenant: TenantKey,
        bucket: str,
        name: bytes,
        record: m.ObjectRecord,
        manifest: Manifest,
        first: int,
        last: int,
    ) -> AsyncIterator[Buffer]:
        known = manifest.keys_by_commitment()
        data = b""
        for extent in await self._extents(tenant, bucket, name, record, first, last):
            commitment, content = self.segments[extent.segment_id]
            assert commitment in known, "the manifest lacks a key"
            data += content[extent.offset : extent.offset + extent.length]
        self.open_reads += 1
        try:
            for at in range(0, len(data), self.piece_bytes):
                await trio.lowlevel.checkpoint()
                yield data[at : at + self.piece_bytes]
        finally:
            self.open_reads -= 1

    async def copy_pages(
        self,
        tenant: TenantKey,
        bucket: str,
        name: bytes,
        record: m.ObjectRecord,
        manifest: Manifest,
        first: int,
        last: int,
    ) -> tuple[m.Page, ...]:
        extents = await self._extents(tenant, bucket, name, record, first, last)
        return (m.Page(tuple(extents)),) if extents else ()

    async def _extents(
        self,
        tenant: TenantKey,
        bucket: str,
        name: bytes,
        record: m.ObjectRecord,
        first: int,
        last: int,
    ) -> list[m.Extent]:
        """The extents of a range of a version, the outer ones cut to it."""
        extents: list[m.Extent] = []
        at, last = first, min(last, record.size - 1)
        while at <= last:
            asked = m.ObjectGet(tenant.tenant_id, bucket, name, record.version_id, True, at, last)
            for placed in (await self.coordinators.ask(asked)).pages:
                for run in runs_of_page(placed.page, placed.number, placed.start, at, last):
                    extents.append(replace(run.extent, offset=run.offset, length=run.length))
                    at += run.length
        return extents


class ObjectRig:
    """What a gateway works with, and two tenants with an access key each.

    Args:
        beside: another gateway of the same tenants: what both have in common is its.
    """

    node: SimNode
    coordinators: GatewayCoordinator
    swarm: MemorySwarm
    tenants: dict[TenantId, TenantKey]

    def __init__(self, seed: int = 1, *, beside: ObjectRig | None = None) -> None:
        if beside is not None:
            self.node = beside.node
            self.coordinators = beside.coordinators
            self.swarm = beside.swarm
            self.tenants = beside.tenants
        else:
            world = SimWorld(seed)
            self.node = world.node("gateway")
            chance = random.Random(seed)
            keys = {
                name: TenantKey(TenantId(chance.randbytes(16)), chance.randbytes(32))
                for name in ACCESS_KEYS
            }
            self.tenants = {key.tenant_id: key for key in keys.values()}
            self.coordinators = GatewayCoordinator(world.node("coordinator"), list(keys.values()))
            self.swarm = MemorySwarm(self.coordinators)
            for name, key in keys.items():
                record = AccessKeyRecord(secret=SECRET, created_ms=0)
                sealed = seal_access_key(key, name, record, chance.randbytes)
                tenants.add_access_key(self.coordinators.sql, key.tenant_id.hex(), name, sealed, 0)
        self.tenant = self.tenants[self.coordinators.access_key("AK").tenant_id]

    async def _call(self, request: m.Request) -> Any:
        return await self.coordinators.call(request)  # which a test may have replaced

    def service(self) -> ObjectService:
        """The object service of a gateway of its own."""
        return ObjectService(**self.service_parts())

    def service_parts(self) -> dict[str, Any]:
        """The arguments of :class:`gateway.object_service.ObjectService`."""
        world = self.node.world
        buckets = BucketCache(self._call)
        return {
            "coordinators": self.coordinators,
            "swarm": self.swarm,
            "buckets": buckets,
            "owners": BucketOwners(self._call, buckets, self.tenants.get),
            "key_rings": KeyRings(self._call),
            "names": IdentityNames(),
            "workers": world.workers,
            "entropy": world.entropy,
            "clock": world.clock,
            "log": world.log,
            "budget": ByteBudget(GATEWAY_BUFFER_BUDGET_BYTES),
            "gathered": ByteBudget(GATEWAY_BUFFER_BUDGET_BYTES // GATHERED_PER_BUDGET),
        }

    def change_ring(self, change: Callable[..., KeyRing], *arguments: Any, **named: Any) -> KeyRing:
        """Change the key ring of the tenant ``AK``, as an operator does."""
        sql, number = self.coordinators.sql, self.coordinators.numbers[self.tenant.tenant_id]
        before = key_rings.get(sql, number)
        opened = open_key_ring(self.tenant, before.revision, before.sealed)
        ring = change(opened, *arguments, **named)
        revision = before.revision + 1
        sealed = seal_key_ring(self.tenant, revision, ring, self.node.world.entropy)
        key_rings.replace(sql, number, revision, sealed)
        return ring

    async def roster(self, tenant_id: TenantId) -> m.RosterRecord:
        """A tenant's roster, asked of the coordinator."""
        answer: m.RosterRecord = await self._call(m.RosterGet(tenant_id))
        return answer

    async def access_key(self, access_key_id: str) -> m.AccessKey:
        """An access key, asked of the coordinator."""
        answer: m.AccessKey = await self._call(m.AccessKeyGet(access_key_id))
        return answer

    def opened(self, bucket: str, name: bytes) -> Manifest:
        """The manifest of the live version of a name of the tenant ``AK``, opened."""
        record = self.coordinators.current[bucket, name]
        return open_manifest(self.tenant, record.bucket_id, name, record.version_id, record.sealed)
