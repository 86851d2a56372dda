"""Handlers of the requests of gateways: leases, grants, and everything about a tenant's buckets and
objects.

Source: docs/protocol.md, "Messages".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

import trio

from common import limits
from common.crypto.identity import signature_holds
from common.crypto.orders import Order, OrderAction
from common.erasure.geometry import Geometry
from common.errors import NotFound, Refused
from common.ids import LEASE_ID_BYTES, SEGMENT_ID_BYTES, PeerId, TenantId, lease_of, segment_id
from common.ports import Chance, Entropy, Sql, Store, WallClock
from common.reasons import Absence, Refusal
from common.rpc.caller import Answer
from common.wire.control import tenant_message
from common.wire.messages.base import Done, Endpoint, Reply, Request
from common.wire.messages.buckets import (
    BucketCreate,
    BucketDelete,
    BucketGet,
    BucketSettingsSet,
    BucketsList,
)
from common.wire.messages.multipart import (
    PartCommit,
    PartsList,
    UploadAbort,
    UploadComplete,
    UploadCreate,
    UploadGet,
    UploadsList,
)
from common.wire.messages.objects import (
    Deleted,
    ObjectCommit,
    ObjectGet,
    ObjectRecord,
    ObjectsDelete,
    ObjectsList,
)
from common.wire.messages.writing import (
    AccessKey,
    AccessKeyGet,
    Grants,
    Lease,
    LeaseRenew,
    SegmentGrant,
    SegmentPlace,
    ShardsReport,
    TenantOpen,
    WriteAbandon,
    WriteStart,
)
from coordinator.hints import Queue, Queues
from coordinator.membership import Membership
from coordinator.orders import CellOrders
from coordinator.placement import Placement
from coordinator.readers import Readers
from coordinator.session import Caller, Handler
from coordinator.store import buckets, leases, listing, multipart, objects, segments, tenants
from coordinator.store.leases import LivingLease
from coordinator.store.objects import Stored
from coordinator.store.order_time import OrderTime

T = TypeVar("T")
R = TypeVar("R", bound=Reply)


class _Endpoints:
    """The table of cells of a reply: each named once, referred to by its place."""

    def __init__(self, membership: Membership) -> None:
        self._membership = membership
        self._places: dict[int, int] = {}
        self.table: list[Endpoint] = []

    def place(self, cell: int) -> int:
        found = self._places.get(cell)
        if found is None:
            found = self._places[cell] = len(self.table)
            self.table.append(self._membership.endpoint(cell))
        return found


class GatewayHandlers:
    """Handlers of the requests of gateways. Each decides inside one transaction.

    Args:
        readers: learn which versions gateways read.
        reading_every_s: the interval of a gateway's reports of them; 0: none.
    """

    def __init__(
        self,
        store: Store,
        membership: Membership,
        placement: Placement,
        orders: CellOrders,
        lease_book: leases.LeaseBook,
        readers: Readers,
        queues: Queues,
        order_time: OrderTime,
        clock: WallClock,
        chance: Chance,
        entropy: Entropy,
        *,
        lease_ttl_s: int,
        max_buckets_per_tenant: int,
        max_uploads_per_tenant: int,
        reading_every_s: int,
    ) -> None:
        self._store = store
        self._membership = membership
        self._placement = placement
        self._orders = orders
        self._leases = lease_book
        self._queues = queues
        self._order_time = order_time
        self._clock = clock
        self._chance = chance
        self._entropy = entropy
        self._lease_ttl_s = lease_ttl_s
        self._create_bucket = partial(buckets.create, most_buckets=max_buckets_per_tenant)
        self._create_upload = partial(multipart.create, most_uploads=max_uploads_per_tenant)
        self._readers = readers
        self._reading_every_s = reading_every_s

    def by_request(self) -> Mapping[type[Request], Handler]:
        """Return the handler of each request that gateways make."""
        return {
            TenantOpen: self.open_tenant,
            AccessKeyGet: self.access_key,
            LeaseRenew: self.renew_lease,
            WriteStart: self.start_write,
            WriteAbandon: self.abandon,
            ObjectCommit: self.commit_object,
            ObjectGet: self.get_object,
            ObjectsDelete: self.delete_objects,
            ObjectsList: self.list_objects,
            BucketCreate: self.create_bucket,
            BucketGet: self.get_bucket,
            BucketSettingsSet: self.set_bucket_settings,
            BucketDelete: self.delete_bucket,
            BucketsList: self.list_buckets,
            UploadCreate: self.create_upload,
            UploadGet: self.get_upload,
            PartCommit: self.commit_part,
            PartsList: self.list_parts,
            UploadComplete: self.complete_upload,
            UploadAbort: self.abort_upload,
            UploadsList: self.list_uploads,
            ShardsReport: self.report_shards,
        }

    # --- the caller -----------------------------------------------------------------------

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

    @staticmethod
    def _tenant(caller: Caller, tenant_id: TenantId) -> int:
        number = caller.session.tenants.get(tenant_id)
        if number is None:
            raise Refused(Refusal.TENANT_NOT_OPEN)
        return number

    async def access_key(self, caller: Caller, request: AccessKeyGet, _: memoryview) -> Answer:
        """The sealed record of an access key of a tenant that is open here."""
        _number, tenant_id, sealed = await self._store.read(
            lambda sql: tenants.access_key(sql, request.access_key_id)
        )
        if tenant_id not in caller.session.tenants:
            raise NotFound(Absence.NO_SUCH_ACCESS_KEY)
        return AccessKey(tenant_id, sealed)

    # --- places to write ------------------------------------------------------------------

    async def renew_lease(self, caller: Caller, request: LeaseRenew, _: memoryview) -> Answer:
        """Open a write lease, or keep one alive."""
        if not caller.session.tenants:
            raise Refused(Refusal.TENANT_NOT_OPEN)
        if request.lease:
            await self._learn(request.lease)
            self._leases.renew(request.lease, caller.peer_id, trio.current_time())
            return self._named(request.lease, request)
        owner = caller.peer_id
        tenant = self._leases.begin(owner, caller.session.tenants.values())
        now_ms = self._now_ms()
        try:
            lease = await self._store.transact(
                lambda sql: leases.open_lease(sql, owner, tenant, now_ms)
            )
        except BaseException:
            self._leases.not_opened(owner, tenant)
            raise
        self._leases.opened(LivingLease(lease, owner, tenant), trio.current_time())
        return self._named(lease, request)

    async def _learn(self, lease: int) -> None:
        """Take in a lease that another coordinator opened on this store."""
        if self._leases.is_unknown(lease):
            found = await self._store.read(lambda sql: leases.find(sql, lease))
            if found is not None:
                self._leases.load([found], trio.current_time())

    def _named(self, lease: int, request: LeaseRenew) -> Lease:
        self._readers.name(lease, request.reading)
        return Lease(lease, self._lease_ttl_s, reading_every_s=self._reading_every_s)

    async def start_write(self, caller: Caller, request: WriteStart, _: memoryview) -> Answer:
        """Grant places for segments. Nothing is written to the store."""
        self._tenant(caller, request.tenant_id)
        await self._learn(request.lease)
        self._leases.check(request.lease, caller.peer_id)
        if not 1 <= request.count <= limits.MAX_SEGMENTS_PER_GRANT:
            raise Refused(Refusal.BAD_COUNT, count=request.count)
        if not 1 <= request.max_segment_bytes <= limits.SEGMENT_BYTES:
            raise Refused(Refusal.BAD_SEGMENT_SIZE, size=request.max_segment_bytes)
        redundancy = self._placement.redundancy
        k, n, quorum = redundancy.k, redundancy.n, redundancy.quorum
        shard_bytes = Geometry.plan(k, n, request.max_segment_bytes).shard_bytes
        expires = self._expires()
        endpoints = _Endpoints(self._membership)
        grants = []
        for _number in range(request.count):
            ring = self._placement.choose(self._chance)
            chance = self._entropy(SEGMENT_ID_BYTES - LEASE_ID_BYTES)
            segment = segment_id(request.lease, chance)
            orders = tuple(
                self._orders.issue(
                    cell,
                    Order(OrderAction.PUT, segment, slot, caller.peer_id, shard_bytes, expires),
                )
                for slot, cell in enumerate(ring.cells)
            )
            places = tuple(endpoints.place(cell) for cell in ring.cells)
            grants.append(SegmentGrant(segment, ring.ring, k, n, quorum, places, orders))
        return Grants(tuple(endpoints.table), tuple(grants), limits.ORDER_LIFETIME_S)

    def _expires(self) -> int:
        return self._order_time.expiry(trio.current_time(), limits.ORDER_LIFETIME_S)

    async def abandon(self, caller: Caller, request: WriteAbandon, _: memoryview) -> Answer:
        """Delete what cells have of segments that will not be committed."""
        self._tenant(caller, request.tenant_id)
        if not len(request.segments) == len(request.rings) == len(request.orders):
            raise Refused(Refusal.BAD_RINGS)
        for lease in {lease_of(segment) for segment in request.segments}:
            await self._learn(lease)
        self._leases.check_segments(request.segments, caller.peer_id)
        named = list(zip(request.segments, request.rings, strict=True))
        for (segment, ring), order in zip(named, request.orders, strict=True):
            self._orders.check_granted(segment, ring, order, caller.peer_id)
        await self._growing(self._queues.deletes, lambda sql: segments.abandon(sql, named))
        return Done()

    # --- objects --------------------------------------------------------------------------

    async def commit_object(self, caller: Caller, request: ObjectCommit, _: memoryview) -> Answer:
        """Make a version of an object."""
        tenant = self._tenant(caller, request.tenant_id)
        objects.check_size(request.name, request.size)
        content = segments.check_content(request.pages, request.segments, request.size)
        now_ms = self._now_ms()
        return await self._growing(
            self._queues.dropped,
            lambda sql: objects.commit(sql, tenant, caller.peer_id, request, content, now_ms),
        )

    async def get_object(self, caller: Caller, request: ObjectGet, _: memoryview) -> Answer:
        """Look up a version, with places and orders for a range of it."""
        tenant = self._tenant(caller, request.tenant_id)
        found = await self._store.read(lambda sql: objects.get(sql, tenant, request))
        endpoints = _Endpoints(self._membership)
        places = self._places(found.stored, caller.peer_id, endpoints) if found.stored else ()
        return ObjectRecord(
            found.bucket_id,
            found.version_id,
            found.sequence,
            found.created_ms,
            found.size,
            found.sealed,
            found.pages,
            places,
            tuple(endpoints.table),
        )

    def _places(
        self, stored: Sequence[Stored], caller: PeerId, endpoints: _Endpoints
    ) -> tuple[SegmentPlace, ...]:
        expires = self._expires()
        places = []
        for segment in stored:
            ring = self._membership.rings[segment.ring]
            orders = tuple(
                b""
                if slot in segment.missing
                else self._orders.issue(
                    cell, Order(OrderAction.GET, segment.segment_id, slot, caller, 0, expires)
                )
                for slot, cell in enumerate(ring.cells)
            )
            places.append(
                SegmentPlace(
                    segment.segment_id,
                    ring.redundancy.k,
                    ring.redundancy.n,
                    segment.segment_bytes,
                    segment.unit_bytes,
                    segment.shard_bytes,
                    segment.roots,
                    tuple(endpoints.place(cell) for cell in ring.cells),
                    orders,
                )
            )
        return tuple(places)

    async def delete_objects(self, caller: Caller, request: ObjectsDelete, _: memoryview) -> Answer:
        """Delete names."""
        tenant = self._tenant(caller, request.tenant_id)
        results = await self._growing(
            self._queues.dropped,
            lambda sql: objects.delete(sql, tenant, request.bucket, request.items),
        )
        return Deleted(tuple(results))

    async def list_objects(self, caller: Caller, request: ObjectsList, _: memoryview) -> Answer:
        """A page of a bucket's objects."""
        return await self._read(caller, request, listing.list_objects)

    # --- buckets --------------------------------------------------------------------------

    async def create_bucket(self, caller: Caller, request: BucketCreate, _: memoryview) -> Answer:
        """Make a bucket."""
        return await self._transact(caller, request, self._create_bucket)

    async def get_bucket(self, caller: Caller, request: BucketGet, _: memoryview) -> Answer:
        """A bucket by its name."""
        tenant = self._tenant(caller, request.tenant_id)
        return await self._store.read(lambda sql: buckets.get(sql, tenant, request.name))

    async def set_bucket_settings(
        self, caller: Caller, request: BucketSettingsSet, _: memoryview
    ) -> Answer:
        """Replace a bucket's settings by compare-and-set."""
        tenant = self._tenant(caller, request.tenant_id)
        return await self._store.transact(lambda sql: buckets.set_settings(sql, tenant, request))

    async def delete_bucket(self, caller: Caller, request: BucketDelete, _: memoryview) -> Answer:
        """Delete an empty bucket; uploads in progress are dropped with it."""
        tenant = self._tenant(caller, request.tenant_id)

        def work(sql: Sql) -> None:
            multipart.abort_all(sql, tenant, request.name)
            buckets.delete(sql, tenant, request.name)

        await self._growing(self._queues.dropped, work)
        return Done()

    async def list_buckets(self, caller: Caller, request: BucketsList, _: memoryview) -> Answer:
        """A page of the tenant's buckets."""
        tenant = self._tenant(caller, request.tenant_id)
        return await self._store.read(
            lambda sql: buckets.list_buckets(
                sql, tenant, request.prefix, request.after, request.limit
            )
        )

    # --- uploads in parts -----------------------------------------------------------------

    async def create_upload(self, caller: Caller, request: UploadCreate, _: memoryview) -> Answer:
        """Begin an upload in parts."""
        return await self._transact(caller, request, self._create_upload)

    async def get_upload(self, caller: Caller, request: UploadGet, _: memoryview) -> Answer:
        """An upload in progress."""
        tenant = self._tenant(caller, request.tenant_id)
        return await self._store.read(
            lambda sql: multipart.get(sql, tenant, request.bucket, request.name, request.upload_id)
        )

    async def commit_part(self, caller: Caller, request: PartCommit, _: memoryview) -> Answer:
        """Make or replace a part."""
        tenant = self._tenant(caller, request.tenant_id)
        multipart.check_part(request)
        content = segments.check_content(request.pages, request.segments, request.size)
        now_ms = self._now_ms()
        return await self._growing(
            self._queues.dropped,
            lambda sql: multipart.commit_part(
                sql, tenant, caller.peer_id, request, content, now_ms
            ),
        )

    async def list_parts(self, caller: Caller, request: PartsList, _: memoryview) -> Answer:
        """A page of an upload's parts."""
        return await self._read(caller, request, multipart.list_parts)

    async def complete_upload(
        self, caller: Caller, request: UploadComplete, _: memoryview
    ) -> Answer:
        """Make the object of its parts."""
        return await self._transact(caller, request, multipart.complete)

    async def abort_upload(self, caller: Caller, request: UploadAbort, _: memoryview) -> Answer:
        """Drop an upload and its parts."""
        tenant = self._tenant(caller, request.tenant_id)
        await self._growing(
            self._queues.dropped,
            lambda sql: multipart.abort(
                sql, tenant, request.bucket, request.name, request.upload_id
            ),
        )
        return Done()

    async def list_uploads(self, caller: Caller, request: UploadsList, _: memoryview) -> Answer:
        """A page of a bucket's uploads in progress."""
        return await self._read(caller, request, listing.list_uploads)

    async def report_shards(self, caller: Caller, request: ShardsReport, _: memoryview) -> Answer:
        """Remember a reader's complaints."""
        tenant = self._tenant(caller, request.tenant_id)
        now_ms = self._now_ms()
        shards = [(shard.segment_id, shard.slot, shard.reason) for shard in request.shards]
        await self._store.transact(lambda sql: segments.suspect(sql, tenant, shards, now_ms))
        return Done()

    # --- how ------------------------------------------------------------------------------

    def _now_ms(self) -> int:
        return int(self._clock.now() * 1000)

    async def _read(
        self, caller: Caller, request: Any, work: Callable[[Sql, int, Any], R]
    ) -> Answer:
        tenant = self._tenant(caller, request.tenant_id)
        return await self._store.read(lambda sql: work(sql, tenant, request))

    async def _transact(
        self, caller: Caller, request: Any, work: Callable[[Sql, int, Any, int], R]
    ) -> Answer:
        tenant = self._tenant(caller, request.tenant_id)
        now_ms = self._now_ms()
        return await self._growing(
            self._queues.dropped, lambda sql: work(sql, tenant, request, now_ms)
        )

    async def _growing(self, queue: Queue, work: Callable[[Sql], T]) -> T:
        """Run a transaction that may put something into a queue."""
        try:
            return await self._store.transact(work)
        finally:
            queue.tell()
