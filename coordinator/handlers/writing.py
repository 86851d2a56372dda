"""Handlers of requests about writing: tenants opened, leases, places for segments, what readers
report of them.

Source: docs/protocol.md, "Messages".
"""

from __future__ import annotations

import trio

from common import limits
from common.crypto.identity import signature_holds
from common.erasure.geometry import Geometry
from common.errors import NotFound, Refused
from common.ids import LEASE_ID_BYTES, SEGMENT_ID_BYTES, lease_of, segment_id
from common.ports import Chance, Entropy, Store
from common.reasons import Absence, Refusal
from common.rpc.caller import Answer
from common.wire.control import tenant_message
from common.wire.messages.base import Done
from common.wire.messages.writing import (
    AccessKey,
    AccessKeyGet,
    Grants,
    Lease,
    LeaseRenew,
    RosterGet,
    RosterRecord,
    ShardsReport,
    TenantOpen,
    WriteAbandon,
    WriteStart,
)
from coordinator.handlers.places import Places
from coordinator.handlers.tenant_store import TenantStore
from coordinator.orders import CellOrders
from coordinator.placement import Placement
from coordinator.readers import Readers
from coordinator.session import ByRequest, Caller
from coordinator.store import leases, missing, segments, tenants
from coordinator.store.leases import LeaseBook, LivingLease


class WritingHandlers:
    """Handlers of what comes before and after a write: the tenant opened, a lease, places.

    Args:
        store: for what belongs to no tenant that is open.
        readers: learn which versions gateways read.
        reading_every_s: the interval of a gateway's reports of them; 0: none.
    """

    def __init__(
        self,
        store: Store,
        tenant_store: TenantStore,
        places: Places,
        placement: Placement,
        orders: CellOrders,
        lease_book: LeaseBook,
        readers: Readers,
        chance: Chance,
        entropy: Entropy,
        *,
        lease_ttl_s: int,
        reading_every_s: int,
    ) -> None:
        self._store = store
        self._tenant_store = tenant_store
        self._places = places
        self._placement = placement
        self._orders = orders
        self._leases = lease_book
        self._readers = readers
        self._chance = chance
        self._entropy = entropy
        self._lease_ttl_s = lease_ttl_s
        self._reading_every_s = reading_every_s

    def by_request(self) -> ByRequest:
        """Return the handler of each request."""
        return {
            TenantOpen: self.open_tenant,
            AccessKeyGet: self.access_key,
            RosterGet: self.roster,
            LeaseRenew: self.renew_lease,
            WriteStart: self.start,
            WriteAbandon: self.abandon,
            ShardsReport: self.report_shards,
        }

    async def open_tenant(self, caller: Caller, request: TenantOpen, _: memoryview) -> Answer:
        """Let the connection act for a tenant."""
        opened = caller.session.tenants
        if len(opened) >= limits.MAX_TENANTS_PER_CONNECTION:
            raise Refused(Refusal.TOO_MANY_TENANTS)
        number, key = await self._store.read(lambda sql: tenants.proof_key(sql, request.tenant_id))
        message = tenant_message(caller.channel, caller.peer_id, request.tenant_id)
        if not signature_holds(key, message, request.signature):
            raise Refused(Refusal.BAD_PROOF)
        opened[request.tenant_id] = number
        # Of the tenant, not of the key: it can make as many keys as it likes.
        caller.introduce(("tenant", number))
        return Done()

    async def access_key(self, caller: Caller, request: AccessKeyGet, _: memoryview) -> Answer:
        """The sealed record of an access key of a tenant that is open here."""
        _number, tenant_id, sealed, revision = await self._store.read(
            lambda sql: tenants.access_key(sql, request.access_key_id)
        )
        if tenant_id not in caller.session.tenants:
            raise NotFound(Absence.NO_SUCH_ACCESS_KEY)
        return AccessKey(tenant_id, sealed, revision)

    async def roster(self, caller: Caller, request: RosterGet, _: memoryview) -> Answer:
        """The sealed roster of a tenant."""
        return RosterRecord(
            *await self._tenant_store.read(
                caller, request, lambda sql, tenant, _asked: tenants.roster_of(sql, tenant)
            )
        )

    async def renew_lease(self, caller: Caller, request: LeaseRenew, _: memoryview) -> Answer:
        """Open a write lease, or keep one alive."""
        if not caller.session.tenants:
            raise Refused(Refusal.TENANT_NOT_OPEN)
        if request.lease:
            await self._learn(request.lease)
            self._leases.renew(request.lease, caller.peer_id, trio.current_time())
            return await self._named(request.lease, request)
        owner = caller.peer_id
        tenant = self._leases.begin(owner, caller.session.tenants.values())
        now_ms = self._tenant_store.now_ms()
        try:
            lease = await self._store.transact(
                lambda sql: leases.open_lease(sql, owner, tenant, now_ms)
            )
        except BaseException:
            self._leases.not_opened(owner, tenant)
            raise
        self._leases.opened(LivingLease(lease, owner, tenant), trio.current_time())
        return await self._named(lease, request)

    async def _learn(self, lease: int) -> None:
        """Take in a lease that another coordinator opened on this store."""
        if self._leases.is_unknown(lease):
            found = await self._store.read(lambda sql: leases.find(sql, lease))
            if found is not None:
                self._leases.load([found], trio.current_time())

    async def _named(self, lease: int, request: LeaseRenew) -> Lease:
        await self._readers.name(lease, request.reading)
        return Lease(lease, self._lease_ttl_s, reading_every_s=self._reading_every_s)

    async def start(self, caller: Caller, request: WriteStart, _: memoryview) -> Answer:
        """Grant places for segments. Nothing is written to the store."""
        self._tenant_store.tenant(caller, request)
        await self._learn(request.lease)
        self._leases.check(request.lease, caller.peer_id)
        if not 1 <= request.count <= limits.MAX_SEGMENTS_PER_GRANT:
            raise Refused(Refusal.BAD_COUNT, count=request.count)
        if not 1 <= request.max_segment_bytes <= limits.SEGMENT_BYTES:
            raise Refused(Refusal.BAD_SEGMENT_SIZE, size=request.max_segment_bytes)
        places = self._places.reply_to(caller.peer_id)
        grants = []
        for _number in range(request.count):
            ring = self._placement.choose(self._chance, request.storage_class)
            chance = self._entropy(SEGMENT_ID_BYTES - LEASE_ID_BYTES)
            segment = segment_id(request.lease, chance)
            written_by = self._placement.of_class(ring.storage_class)
            assert written_by is not None, "a ring of it was chosen"
            k, n, home = ring.redundancy.k, ring.redundancy.n, written_by.redundancy
            geometry = Geometry.plan(k, n, request.max_segment_bytes, home.k)
            grants.append(places.grant(segment, ring, home, geometry.shard_bytes))
        return Grants(places.endpoints, tuple(grants), limits.ORDER_LIFETIME_S)

    async def abandon(self, caller: Caller, request: WriteAbandon, _: memoryview) -> Answer:
        """Delete what cells have of segments that will not be committed."""
        self._tenant_store.tenant(caller, request)
        proofs = request.rings, request.orders, request.cells
        if any(len(each) != len(request.segments) for each in proofs):
            raise Refused(Refusal.BAD_RINGS)
        for lease in {lease_of(segment) for segment in request.segments}:
            await self._learn(lease)
        self._leases.check_segments(request.segments, caller.peer_id)
        named = list(zip(request.segments, request.rings, strict=True))
        for segment, ring, order, cell in zip(request.segments, *proofs, strict=True):
            self._orders.check_granted(segment, ring, order, cell, caller.peer_id)
        await self._tenant_store.grow(
            self._tenant_store.deletes, lambda sql: segments.abandon(sql, named)
        )
        return Done()

    async def report_shards(self, caller: Caller, request: ShardsReport, _: memoryview) -> Answer:
        """Remember a reader's complaints."""
        shards = [(shard.segment_id, shard.slot, shard.reason) for shard in request.shards]
        await self._tenant_store.transact(
            caller,
            request,
            lambda sql, tenant, _asked, now_ms: missing.suspect(sql, tenant, shards, now_ms),
            grows=None,
        )
        return Done()
