"""Handlers of requests about buckets.

Source: docs/protocol.md, "Messages".
"""

from __future__ import annotations

from functools import partial

from common.errors import NotFound
from common.ports import Sql
from common.reasons import Absence
from common.rpc.caller import Answer
from common.wire.messages.base import Done
from common.wire.messages.buckets import (
    BucketCreate,
    BucketDelete,
    BucketGet,
    BucketLocksSet,
    BucketOwner,
    BucketOwnerGet,
    BucketRecord,
    BucketSettingsSet,
    BucketsList,
    BucketVersioningSet,
)
from common.wire.messages.key_rings import KeyRingGet
from coordinator.handlers.tenant_store import TenantStore
from coordinator.session import ByRequest, Caller
from coordinator.store import buckets, key_rings, lifecycles, multipart, notifications, usage


def _set_settings(sql: Sql, tenant: int, request: BucketSettingsSet) -> BucketRecord:
    record = buckets.set_settings(sql, tenant, request)
    bucket = buckets.find(sql, tenant, request.bucket).bucket
    lifecycles.set_rules(sql, tenant, bucket, request.has_lifecycle)
    return record


class BucketHandlers:
    """Handlers of requests about a tenant's buckets."""

    def __init__(self, store: TenantStore, *, max_buckets_per_tenant: int) -> None:
        self._store = store
        self._create = partial(buckets.create, most_buckets=max_buckets_per_tenant)

    def by_request(self) -> ByRequest:
        """Return the handler of each request."""
        return {
            BucketCreate: self.create,
            BucketGet: self.get,
            BucketOwnerGet: self.owner,
            BucketSettingsSet: self.set_settings,
            BucketVersioningSet: self.set_versioning,
            BucketLocksSet: self.set_locks,
            BucketDelete: self.delete,
            BucketsList: self.list_buckets,
            KeyRingGet: self.key_ring,
        }

    async def create(self, caller: Caller, request: BucketCreate, _: memoryview) -> Answer:
        """Make a bucket."""
        return await self._store.transact(caller, request, self._create, grows=self._store.dropped)

    async def get(self, caller: Caller, request: BucketGet, _: memoryview) -> Answer:
        """A bucket by its name."""
        return await self._store.read(
            caller, request, lambda sql, tenant, asked: buckets.get(sql, tenant, asked.name)
        )

    async def key_ring(self, caller: Caller, request: KeyRingGet, _: memoryview) -> Answer:
        """The named keys that protect objects of the tenant's buckets, sealed."""
        return await self._store.read(
            caller, request, lambda sql, tenant, _asked: key_rings.get(sql, tenant)
        )

    async def owner(self, caller: Caller, request: BucketOwnerGet, _: memoryview) -> Answer:
        """The tenant that owns a bucket, if it is open here."""
        tenant_id = await self._store.look(lambda sql: buckets.owner(sql, request.name))
        if tenant_id not in caller.session.tenants:
            raise NotFound(Absence.NO_SUCH_BUCKET)
        return BucketOwner(tenant_id)

    async def set_settings(
        self, caller: Caller, request: BucketSettingsSet, _: memoryview
    ) -> Answer:
        """Replace a bucket's settings by compare-and-set."""
        return await self._store.transact(
            caller,
            request,
            lambda sql, tenant, asked, _now_ms: _set_settings(sql, tenant, asked),
            grows=None,
        )

    async def set_versioning(
        self, caller: Caller, request: BucketVersioningSet, _: memoryview
    ) -> Answer:
        """Enable or suspend a bucket's versioning."""
        return await self._store.transact(
            caller,
            request,
            lambda sql, tenant, asked, _now_ms: buckets.set_versioning(sql, tenant, asked),
            grows=None,
        )

    async def set_locks(self, caller: Caller, request: BucketLocksSet, _: memoryview) -> Answer:
        """Let the versions of a bucket be locked."""
        return await self._store.transact(
            caller,
            request,
            lambda sql, tenant, asked, _now_ms: buckets.set_locks(sql, tenant, asked),
            grows=None,
        )

    async def delete(self, caller: Caller, request: BucketDelete, _: memoryview) -> Answer:
        """Delete an empty bucket; uploads in progress are dropped with it."""
        tenant = self._store.tenant(caller, request)

        def work(sql: Sql) -> None:
            multipart.abort_all(sql, tenant, request.name)
            bucket_id = buckets.find(sql, tenant, request.name).bucket_id
            bucket = buckets.delete(sql, tenant, request.name)
            lifecycles.forget(sql, bucket)
            notifications.forget(sql, bucket_id)
            usage.forget(sql, bucket)

        await self._store.grow(self._store.dropped, work)
        return Done()

    async def list_buckets(self, caller: Caller, request: BucketsList, _: memoryview) -> Answer:
        """A page of the tenant's buckets."""
        return await self._store.read(
            caller,
            request,
            lambda sql, tenant, asked: buckets.list_buckets(
                sql, tenant, asked.prefix, asked.after, asked.limit
            ),
        )
