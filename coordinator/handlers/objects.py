"""Handlers of requests about objects: committed, looked up, deleted, listed.

Source: docs/protocol.md, "Messages".
"""

from __future__ import annotations

from common.ports import Sql
from common.rpc.caller import Answer
from common.wire.messages.base import Done
from common.wire.messages.objects import (
    Committed,
    Deleted,
    HoldSet,
    ObjectAclSet,
    ObjectCommit,
    ObjectGet,
    ObjectRecord,
    ObjectRename,
    ObjectsDelete,
    ObjectsList,
    ObjectTagsSet,
    RetentionSet,
    VersionsList,
)
from coordinator.handlers.places import Places
from coordinator.handlers.tenant_store import TenantStore
from coordinator.session import ByRequest, Caller
from coordinator.store import listing, misplaced, objects, segments


class ObjectHandlers:
    """Handlers of requests about a tenant's objects."""

    def __init__(self, store: TenantStore, places: Places) -> None:
        self._store = store
        self._places = places

    def by_request(self) -> ByRequest:
        """Return the handler of each request."""
        return {
            ObjectCommit: self.commit,
            ObjectGet: self.get,
            ObjectsDelete: self.delete,
            ObjectRename: self.rename,
            ObjectsList: self.list_objects,
            ObjectAclSet: self.set_acl,
            ObjectTagsSet: self.set_tags,
            RetentionSet: self.set_retention,
            HoldSet: self.set_hold,
            VersionsList: self.list_versions,
        }

    async def commit(self, caller: Caller, request: ObjectCommit, _: memoryview) -> Answer:
        """Make a version of an object."""
        tenant = self._store.tenant(caller, request)
        objects.check_size(request.name, request.size)
        content = segments.check_content(request.pages, request.segments, request.size)
        now_ms = self._store.now_ms()

        def work(sql: Sql) -> Committed:
            committed = objects.commit(sql, tenant, caller.peer_id, request, content, now_ms)
            misplaced.note_committed(sql, tenant, committed.sequence, content)
            return committed

        committed = await self._store.grow(self._store.dropped, work)
        if not content.is_whole:
            self._store.missing.tell()
        if content.has_homes:
            self._store.homes.tell()
        return committed

    async def rename(self, caller: Caller, request: ObjectRename, _: memoryview) -> Answer:
        """Move an object to another name."""
        tenant, now_ms = self._store.tenant(caller, request), self._store.now_ms()

        def work(sql: Sql) -> Committed:
            committed, content = objects.rename(sql, tenant, caller.peer_id, request, now_ms)
            if content is not None:
                misplaced.note_committed(sql, tenant, committed.sequence, content)
            return committed

        return await self._store.grow(self._store.dropped, work)

    async def get(self, caller: Caller, request: ObjectGet, _: memoryview) -> Answer:
        """Look up a version, with places and orders for a range of it."""
        found = await self._store.read(caller, request, objects.get)
        places, endpoints = self._places.stored(found.stored, caller.peer_id)
        return ObjectRecord(
            found.bucket_id,
            found.version_id,
            found.sequence,
            found.created_ms,
            found.size,
            found.sealed,
            found.pages,
            places,
            endpoints,
            found.bucket_revision,
            found.tags,
            found.versioning,
            found.is_null,
            found.delete_marker,
            found.lock,
            found.acl,
            found.class_name,
        )

    async def delete(self, caller: Caller, request: ObjectsDelete, _: memoryview) -> Answer:
        """Delete names, or versions of them."""
        results = await self._store.transact(
            caller, request, objects.delete, grows=self._store.dropped
        )
        return Deleted(tuple(results))

    async def set_tags(self, caller: Caller, request: ObjectTagsSet, _: memoryview) -> Answer:
        """Replace the tags of a version."""
        await self._store.transact(caller, request, objects.set_tags, grows=None)
        return Done()

    async def set_acl(self, caller: Caller, request: ObjectAclSet, _: memoryview) -> Answer:
        """Replace the access control list of a version."""
        await self._store.transact(caller, request, objects.set_acl, grows=None)
        return Done()

    async def set_retention(self, caller: Caller, request: RetentionSet, _: memoryview) -> Answer:
        """Replace the retention of a version."""
        await self._store.transact(caller, request, objects.set_retention, grows=None)
        return Done()

    async def set_hold(self, caller: Caller, request: HoldSet, _: memoryview) -> Answer:
        """Set the legal hold of a version."""
        await self._store.transact(
            caller,
            request,
            lambda sql, tenant, asked, _now_ms: objects.set_hold(sql, tenant, asked),
            grows=None,
        )
        return Done()

    async def list_objects(self, caller: Caller, request: ObjectsList, _: memoryview) -> Answer:
        """A page of a bucket's objects."""
        return await self._store.read(caller, request, listing.list_objects)

    async def list_versions(self, caller: Caller, request: VersionsList, _: memoryview) -> Answer:
        """A page of a bucket's versions and delete markers."""
        return await self._store.read(caller, request, listing.list_versions)
