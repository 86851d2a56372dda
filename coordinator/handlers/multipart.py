"""Handlers of requests about uploads in parts.

Source: docs/protocol.md, "Messages".
"""

from __future__ import annotations

from functools import partial

from common.ports import Sql
from common.rpc.caller import Answer
from common.wire.messages.base import Done
from common.wire.messages.multipart import (
    PartCommit,
    PartsList,
    UploadAbort,
    UploadComplete,
    UploadCreate,
    UploadGet,
    UploadsList,
)
from common.wire.messages.objects import Committed
from coordinator.handlers.tenant_store import TenantStore
from coordinator.session import ByRequest, Caller
from coordinator.store import listing, misplaced, multipart, segments


class MultipartHandlers:
    """Handlers of requests about a tenant's uploads in parts."""

    def __init__(self, store: TenantStore, *, max_uploads_per_tenant: int) -> None:
        self._store = store
        self._create = partial(multipart.create, most_uploads=max_uploads_per_tenant)

    def by_request(self) -> ByRequest:
        """Return the handler of each request."""
        return {
            UploadCreate: self.create,
            UploadGet: self.get,
            PartCommit: self.commit_part,
            PartsList: self.list_parts,
            UploadComplete: self.complete,
            UploadAbort: self.abort,
            UploadsList: self.list_uploads,
        }

    async def create(self, caller: Caller, request: UploadCreate, _: memoryview) -> Answer:
        """Begin an upload in parts."""
        return await self._store.transact(caller, request, self._create, grows=self._store.dropped)

    async def get(self, caller: Caller, request: UploadGet, _: memoryview) -> Answer:
        """An upload in progress."""
        return await self._store.read(
            caller,
            request,
            lambda sql, tenant, asked: multipart.get(
                sql, tenant, asked.bucket, asked.name, asked.upload_id
            ),
        )

    async def commit_part(self, caller: Caller, request: PartCommit, _: memoryview) -> Answer:
        """Make or replace a part."""
        tenant = self._store.tenant(caller, request)
        multipart.check_part(request)
        content = segments.check_content(request.pages, request.segments, request.size)
        now_ms = self._store.now_ms()
        done = await self._store.grow(
            self._store.dropped,
            lambda sql: multipart.commit_part(
                sql, tenant, caller.peer_id, request, content, now_ms
            ),
        )
        if not content.is_whole:
            self._store.missing.tell()
        if content.has_homes:
            self._store.homes.tell()
        return done

    async def list_parts(self, caller: Caller, request: PartsList, _: memoryview) -> Answer:
        """A page of an upload's parts."""
        return await self._store.read(caller, request, multipart.list_parts)

    async def complete(self, caller: Caller, request: UploadComplete, _: memoryview) -> Answer:
        """Make the object of its parts."""
        tenant, now_ms = self._store.tenant(caller, request), self._store.now_ms()

        def work(sql: Sql) -> Committed:
            committed = multipart.complete(sql, tenant, request, now_ms)
            misplaced.note_completed(sql, tenant, committed.sequence)
            return committed

        return await self._store.grow(self._store.dropped, work)

    async def abort(self, caller: Caller, request: UploadAbort, _: memoryview) -> Answer:
        """Drop an upload and its parts."""
        tenant = self._store.tenant(caller, request)
        await self._store.grow(
            self._store.dropped,
            lambda sql: multipart.abort(
                sql, tenant, request.bucket, request.name, request.upload_id
            ),
        )
        return Done()

    async def list_uploads(self, caller: Caller, request: UploadsList, _: memoryview) -> Answer:
        """A page of a bucket's uploads in progress."""
        return await self._store.read(caller, request, listing.list_uploads)
