"""A bucket with versions in a store of a coordinator, and what tests ask of it in few words."""

from __future__ import annotations

import sqlite3

from common.client.policy.answers import check_answer
from common.ids import BucketId, PeerId, TenantId, VersionId
from common.wire import messages as m
from coordinator.store import buckets, listing, objects, purge, tenants
from coordinator.store.schema import migrate
from coordinator.store.segments import check_content
from sim.stores import connect_in_memory

TENANT = TenantId(bytes(16))
BUCKET = BucketId(b"b" * 16)
ANY = m.Condition()


def store() -> sqlite3.Connection:
    sql: sqlite3.Connection = connect_in_memory()
    migrate(sql)
    tenants.create(sql, "tenant", TENANT, bytes(32), 0)
    buckets.create(sql, 1, m.BucketCreate(TENANT, BUCKET, "bucket", b""), 0, most_buckets=5)
    return sql


def set_versioning(sql: sqlite3.Connection, versioning: int) -> m.BucketRecord:
    request = m.BucketVersioningSet(TENANT, "bucket", BUCKET, versioning)
    record = buckets.set_versioning(sql, 1, request)
    check_answer(request, record)
    return record


def put(
    sql: sqlite3.Connection,
    name: bytes,
    version_id: VersionId,
    condition: m.Condition = ANY,
    sealed: bytes = b"sealed",
    lock: m.Lock = m.NO_LOCK,
    now_ms: int = 0,
) -> m.Committed:
    request = m.ObjectCommit(
        *(TENANT, "bucket", name, version_id, 0, sealed, b"", (), (), condition, BUCKET),
        lock=lock,
    )
    content = check_content((), (), 0)
    return objects.commit(sql, 1, PeerId(bytes(32)), request, content, now_ms)


def get(
    sql: sqlite3.Connection,
    name: bytes,
    version_id: VersionId | None = None,
    *,
    named: bool = False,
) -> objects.FoundVersion:
    return objects.get(sql, 1, m.ObjectGet(TENANT, "bucket", name, version_id, False, 0, 0, named))


def delete(sql: sqlite3.Connection, *items: m.DeleteItem, now_ms: int = 0) -> list[m.DeleteResult]:
    request = m.ObjectsDelete(TENANT, "bucket", items, BUCKET)
    results = objects.delete(sql, 1, request, now_ms)
    check_answer(request, m.Deleted(tuple(results)))
    return results


def set_locks(sql: sqlite3.Connection, default: m.DefaultRetention) -> m.BucketRecord:
    request = m.BucketLocksSet(TENANT, "bucket", BUCKET, default)
    record = buckets.set_locks(sql, 1, request)
    check_answer(request, record)
    return record


def versions_list(
    sql: sqlite3.Connection,
    prefix: bytes = b"",
    delimiter: bytes = b"",
    after: bytes = b"",
    after_version: bytes = b"",
    limit: int = 1000,
    *,
    after_null: bool = False,
) -> m.VersionListing:
    request = m.VersionsList(
        TENANT, "bucket", prefix, delimiter, after, after_version, after_null, limit
    )
    reply = listing.list_versions(sql, 1, request)
    check_answer(request, reply)
    return m.VersionListing.unpack(reply.pack())


def ident(number: int) -> VersionId:
    return VersionId(number.to_bytes(16, "big"))


def marker(name: bytes, number: int, condition: m.Condition = ANY) -> m.DeleteItem:
    return m.DeleteItem(name, condition=condition, marker=b"marker", marker_id=ident(number))


def named(name: bytes, version_id: VersionId | None, *, bypass: bool = False) -> m.DeleteItem:
    return m.DeleteItem(name, version_id, named=True, bypass=bypass)


def sweep(sql: sqlite3.Connection) -> None:
    while purge.purge(sql, purge.last_dropped(sql)).more:
        pass
