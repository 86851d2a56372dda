"""Versions of objects: committed, looked up, deleted. Functions of a transaction.

Source: docs/placement.md, "Versions".
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, Final

from common import limits
from common.data_classes import dataclass
from common.errors import NotFound, Refused
from common.ids import BucketId, PeerId, SegmentId, VersionId
from common.ports import Sql
from common.reasons import Absence, Refusal
from common.wire.control import Failure
from common.wire.messages.buckets import UNVERSIONED, VERSIONED
from common.wire.messages.locks import COMPLIANCE, HOLD_OFF, HOLD_ON, NO_RETENTION, Lock
from common.wire.messages.objects import (
    Committed,
    DeleteItem,
    DeleteResult,
    HoldSet,
    ObjectAclSet,
    ObjectCommit,
    ObjectGet,
    ObjectRename,
    ObjectsDelete,
    ObjectTagsSet,
    PlacedPage,
    RetentionSet,
)
from common.wire.messages.writing import Page
from coordinator.policy.locks import check_lock, may_retain
from coordinator.store import buckets, classes, notifications, segments, usage, versions
from coordinator.store.buckets import StoredBucket
from coordinator.store.schema import next_number
from coordinator.store.segments import Content, Stored
from coordinator.store.versions import KeptVersion, NewVersion

KIND_PART = 1


def committed_before(
    sql: Sql, bucket: StoredBucket, name: bytes, version_id: bytes, sealed: bytes
) -> Committed | None:
    """The answer that this very commit got, if it was carried out before.

    Args:
        sealed: the manifest that the commit names. A manifest is sealed afresh for every commit, so
            an equal one is the same commit sent again, and another one a different commit.

    Raises:
        Refused: ``version_exists``: the id belongs to something else.
    """
    row = sql.execute(
        "SELECT sequence, created_ms, bucket, name, sealed, versioning, committed_as FROM versions"
        " WHERE version_id = ?",
        (version_id,),
    ).fetchone()
    if row is None:
        return None
    is_same = row[4] == sealed or row[6] == hashlib.sha256(sealed).digest()
    if row[2] != bucket.bucket or row[3] != name or not is_same:
        raise Refused(Refusal.VERSION_EXISTS)
    return Committed(row[0], row[1], bucket_revision=bucket.revision, versioning=row[5])


def committed(bucket: StoredBucket, sequence: int, now_ms: int) -> Committed:
    """The answer to the commit of a version."""
    return Committed(
        sequence, now_ms, bucket_revision=bucket.revision, versioning=bucket.versioning
    )


def reseal(sql: Sql, sequence: int, sealed: bytes, former: bytes) -> None:
    """Give a version another manifest, whose pages lie elsewhere and are the same otherwise.

    Args:
        former: the digest of the manifest that it has, which is remembered if it was committed
            with that one: the commit may be sent again.
    """
    sql.execute(
        "UPDATE versions SET sealed = ?, committed_as = coalesce(committed_as, ?)"
        " WHERE sequence = ?",
        (sealed, former, sequence),
    )


def is_taken(sql: Sql, version_id: bytes) -> bool:
    """Return whether any version, of whatever name, has this id."""
    row = sql.execute("SELECT 1 FROM versions WHERE version_id = ?", (version_id,)).fetchone()
    return row is not None


def check_size(name: bytes, size: int) -> None:
    """Raises Refused ``bad_name`` or ``too_large``."""
    if not name:
        raise Refused(Refusal.BAD_NAME)
    if size > limits.MAX_OBJECT_BYTES:
        raise Refused(Refusal.TOO_LARGE, size=size)


def commit(
    sql: Sql, tenant: int, writer: PeerId, request: ObjectCommit, content: Content, now_ms: int
) -> Committed:
    """Make a version of an object, all or nothing.

    Args:
        writer: the caller; new segments are of its leases.
        content: the request's, checked.

    Raises:
        NotFound: ``no_such_bucket``, ``no_such_segment``.
        Refused: ``not_owner``, ``condition_failed``, ``version_exists``, and what
            :func:`coordinator.store.segments.register` and
            :func:`coordinator.store.versions.insert` refuse.
    """
    bucket = buckets.find(sql, tenant, request.bucket, request.bucket_id)
    before = committed_before(sql, bucket, request.name, request.version_id, request.sealed)
    if before is not None:
        return before
    found = versions.current(sql, bucket.bucket, request.name)
    if not versions.holds(request.condition, found):
        raise Refused(Refusal.CONDITION_FAILED)
    sequence = next_number(sql, "sequence")
    segments.register(sql, tenant, bucket.bucket, writer, sequence, content, now_ms)
    new = NewVersion(
        sequence,
        request.name,
        request.version_id,
        request.size,
        request.summary,
        request.sealed,
        request.tags,
        lock=request.lock,
        acl=request.acl,
        class_name=b"" if request.named_class is None else request.named_class.sealed,
        storage_class=classes.asked(sql, request.named_class),
    )
    versions.insert(sql, tenant, bucket, new, found, now_ms)
    notifications.add(sql, tenant, bucket, request.notification, now_ms)
    return committed(bucket, sequence, now_ms)


def rename(
    sql: Sql, tenant: int, writer: PeerId, request: ObjectRename, now_ms: int
) -> tuple[Committed, Content | None]:
    """Let a version of a name have what the current version of another name has, and delete that
    name, all or nothing.

    Returns:
        The answer, and the content of the version; None: this very request was carried out before.

    Raises:
        NotFound: ``no_such_bucket``.
        Refused: ``condition_failed``, of either name; and as :func:`commit` and :func:`delete`.
    """
    bucket = buckets.find(sql, tenant, request.bucket, request.bucket_id)
    before = committed_before(sql, bucket, request.name, request.version_id, request.sealed)
    if before is not None:
        return before, None
    check_size(request.name, 0)
    source = request.source
    if source.named or source.name == request.name:
        raise Refused(Refusal.BAD_NAME)
    kept = versions.current(sql, bucket.bucket, source.name)
    found = versions.current(sql, bucket.bucket, request.name)
    is_as_read = kept is not None and _is_as_read(sql, kept, request)
    is_admitted = versions.holds(request.condition, found)
    if kept is None or not (is_as_read and is_admitted):
        raise Refused(Refusal.CONDITION_FAILED)
    pages = sql.execute(
        "SELECT extents FROM pages WHERE owner = ? ORDER BY number", (kept.sequence,)
    ).fetchall()
    content = segments.check_content(tuple([Page.unpack(row[0]) for row in pages]), (), kept.size)
    deletion = ObjectsDelete(request.tenant_id, request.bucket, (source,), request.bucket_id)
    (deleted,) = delete(sql, tenant, deletion, now_ms)
    if deleted.failure is not None:
        raise deleted.failure.error()
    sequence = next_number(sql, "sequence")
    segments.register(sql, tenant, bucket.bucket, writer, sequence, content, now_ms)
    new = NewVersion(
        sequence,
        request.name,
        request.version_id,
        kept.size,
        request.summary,
        request.sealed,
        request.tags,
        acl=request.acl,
        class_name=request.class_name,
        storage_class=_own_class(sql, kept),
    )
    versions.insert(sql, tenant, bucket, new, found, now_ms)
    notifications.add(sql, tenant, bucket, request.notification, now_ms)
    return committed(bucket, sequence, now_ms), content


def _is_as_read(sql: Sql, kept: KeptVersion, request: ObjectRename) -> bool:
    """Return whether a version is the one that a rename was made of: the same one may have other
    pages, tags, another list or class by now, and the renamed one would have what it had before."""
    row = sql.execute(
        "SELECT sealed, tags, acl, class_name FROM versions WHERE sequence = ?", (kept.sequence,)
    ).fetchone()
    is_same = hashlib.sha256(b"".join(row)).digest() == request.former
    return is_same and kept.version_id == request.source.condition.version_id


def _own_class(sql: Sql, kept: KeptVersion) -> int | None:
    """The storage class that was asked for a version; None: that of its bucket."""
    found: int | None = sql.execute(
        "SELECT storage_class FROM versions WHERE sequence = ?", (kept.sequence,)
    ).fetchone()[0]
    return found


def set_tags(sql: Sql, tenant: int, request: ObjectTagsSet, now_ms: int) -> None:
    """Replace the tags of a version.

    Raises:
        NotFound: ``no_such_bucket``, ``no_such_version``.
        Refused: ``not_owner``.
    """
    _set_beside(sql, tenant, request, "tags", request.tags, now_ms)


def set_acl(sql: Sql, tenant: int, request: ObjectAclSet, now_ms: int) -> None:
    """Replace the access control list of a version. Raises as :func:`set_tags`."""
    _set_beside(sql, tenant, request, "acl", request.acl, now_ms)


def _set_beside(
    sql: Sql,
    tenant: int,
    request: ObjectTagsSet | ObjectAclSet,
    column: str,
    sealed: bytes,
    now_ms: int,
) -> None:
    bucket = buckets.find(sql, tenant, request.bucket)
    row = sql.execute(
        f"UPDATE versions SET {column} = ? WHERE version_id = ? AND bucket = ? AND name = ?"
        " AND dropped = 0 AND delete_marker = 0 RETURNING sequence",
        (sealed, request.version_id, bucket.bucket, request.name),
    ).fetchone()
    if row is None:
        raise NotFound(Absence.NO_SUCH_VERSION)
    notifications.add(sql, tenant, bucket, request.notification, now_ms)


def set_retention(sql: Sql, tenant: int, request: RetentionSet, now_ms: int) -> None:
    """Replace the retention of a version, where the one that it has allows that.

    Raises:
        NotFound: ``no_such_bucket``, ``no_such_version``.
        Refused: ``not_owner``, ``no_locks``, ``bad_value``, ``retention_over``,
            ``version_locked``.
    """
    new = Lock(request.mode, request.until_ms)
    check_lock(new)
    sequence, lock = _lockable(sql, tenant, request)
    if not may_retain(lock, new, now_ms, bypass=request.bypass):
        raise Refused(Refusal.VERSION_LOCKED)
    if new.mode != NO_RETENTION and new.until_ms <= now_ms:
        raise Refused(Refusal.RETENTION_OVER)
    sql.execute(
        "UPDATE versions SET retention = ?, retain_until_ms = ? WHERE sequence = ?",
        (new.mode, new.until_ms, sequence),
    )
    if new.mode == COMPLIANCE:
        segments.retain(sql, sequence, new.until_ms)


def set_hold(sql: Sql, tenant: int, request: HoldSet) -> None:
    """Set the legal hold of a version.

    Raises:
        NotFound: ``no_such_bucket``, ``no_such_version``.
        Refused: ``not_owner``, ``no_locks``, ``bad_value``.
    """
    if request.hold not in {HOLD_OFF, HOLD_ON}:
        raise Refused(Refusal.BAD_VALUE, hold=request.hold)
    sequence, _ = _lockable(sql, tenant, request)
    sql.execute("UPDATE versions SET hold = ? WHERE sequence = ?", (request.hold, sequence))


def _lockable(sql: Sql, tenant: int, request: RetentionSet | HoldSet) -> tuple[int, Lock]:
    """The sequence and the lock of the version whose lock is to be set. Raises as the callers."""
    bucket = buckets.find(sql, tenant, request.bucket)
    if bucket.default_retention is None:
        raise Refused(Refusal.NO_LOCKS)
    row = sql.execute(
        "SELECT sequence, retention, retain_until_ms, hold FROM versions WHERE version_id = ?"
        " AND bucket = ? AND name = ? AND dropped = 0 AND delete_marker = 0",
        (request.version_id, bucket.bucket, request.name),
    ).fetchone()
    if row is None:
        raise NotFound(Absence.NO_SUCH_VERSION)
    return row[0], Lock(*row[1:])


def delete(sql: Sql, tenant: int, request: ObjectsDelete, now_ms: int) -> list[DeleteResult]:
    """Delete names, or versions of them, each on its condition and unless its lock forbids it.

    Raises:
        NotFound: ``no_such_bucket``.
        Refused: ``not_owner``, ``marker_missing``.
    """
    bucket = buckets.find(sql, tenant, request.bucket, request.bucket_id)
    results = []
    objects = size = 0
    for item in request.items:
        found = versions.current(sql, bucket.bucket, item.name)
        holds, judged = versions.holds(item.condition, found), None
        if holds and item.judged is not None:
            judged = versions.judged(sql, bucket, item.name, item.judged, found)
            holds = judged is not None
        if not holds:
            refused = Failure.of(Refused(Refusal.CONDITION_FAILED))
            results.append(DeleteResult(refused, bucket.versioning))
            continue
        gone = found
        if item.named or item.version_id is not None:
            gone = judged or _named(sql, bucket, item.name, item.version_id, found)
        elif bucket.versioning != UNVERSIONED:
            _mark(sql, tenant, bucket, item, found, now_ms)
            notifications.add(sql, tenant, bucket, item.notification, now_ms)
            results.append(DeleteResult(None, bucket.versioning, True))
            continue
        if gone is not None:
            try:
                objects += versions.remove(
                    sql, bucket, item.name, gone, found, now_ms, bypass=item.bypass
                )
            except Refused as error:
                results.append(DeleteResult(Failure.of(error), bucket.versioning))
                continue
            size += gone.size
            notifications.add(sql, tenant, bucket, item.notification, now_ms)
        was_marker = gone is not None and gone.delete_marker
        results.append(DeleteResult(None, bucket.versioning, was_marker))
    if objects:
        usage.account(sql, tenant, bucket.bucket, -objects, -size)
    return results


def _named(
    sql: Sql,
    bucket: StoredBucket,
    name: bytes,
    version_id: VersionId | None,
    found: KeptVersion | None,
) -> KeptVersion | None:
    """The kept version that a client names, if there is one."""
    if version_id is None:
        return versions.null_version(sql, bucket, name, found)
    return versions.by_id(sql, bucket.bucket, name, version_id)


def _mark(
    sql: Sql,
    tenant: int,
    bucket: StoredBucket,
    item: DeleteItem,
    found: KeptVersion | None,
    now_ms: int,
) -> None:
    if item.marker_id is None or not item.marker:
        raise Refused(Refusal.MARKER_MISSING)
    check_size(item.name, 0)
    if is_taken(sql, item.marker_id):
        raise Refused(Refusal.VERSION_EXISTS)
    sequence = next_number(sql, "sequence")
    marker = NewVersion(
        sequence, item.name, item.marker_id, 0, item.marker, b"", delete_marker=True
    )
    versions.insert(sql, tenant, bucket, marker, found, now_ms)


@dataclass(frozen=True, slots=True)
class FoundVersion:
    """A version that was looked up, with what of its data was asked for. ``versioning``: of its
    bucket now. ``sealed``: of a delete marker, its record."""

    bucket_id: BucketId
    version_id: VersionId
    sequence: int
    created_ms: int
    size: int
    sealed: bytes
    tags: bytes
    bucket_revision: int
    pages: tuple[PlacedPage, ...]
    stored: tuple[Stored, ...]
    versioning: int
    is_null: bool
    delete_marker: bool
    lock: Lock
    acl: bytes
    class_name: bytes


_FOUND: Final = (
    "v.version_id, v.sequence, v.created_ms, v.size,"
    " CASE WHEN v.delete_marker = 1 THEN v.summary ELSE v.sealed END, v.tags, v.acl,"
    " v.class_name, v.versioning, v.delete_marker, v.retention, v.retain_until_ms, v.hold"
)


def get(sql: Sql, tenant: int, request: ObjectGet) -> FoundVersion:
    """Look up a version, and the pages and segments of a range of it.

    Raises:
        NotFound: ``no_such_bucket``, ``no_such_object``, ``no_such_version``.
        Refused: ``not_owner``.
    """
    bucket = buckets.find(sql, tenant, request.bucket)
    row = _find(sql, bucket, request)
    version_id, sequence, created_ms, size, sealed, tags, acl, class_name, *rest = row
    versioning, delete_marker, *lock = rest
    pages: tuple[PlacedPage, ...] = ()
    stored: tuple[Stored, ...] = ()
    last = min(request.last, size - 1)
    if request.want_places and request.first <= last:
        pages = _pages(sql, sequence, request.first, last)
        stored = segments.stored(sql, _needed(pages, request.first, last))
    return FoundVersion(
        bucket.bucket_id,
        VersionId(version_id),
        sequence,
        created_ms,
        size,
        sealed,
        tags,
        bucket.revision,
        pages,
        stored,
        bucket.versioning,
        versioning != VERSIONED,
        bool(delete_marker),
        Lock(*lock),
        acl,
        class_name,
    )


def _find(sql: Sql, bucket: StoredBucket, request: ObjectGet) -> Any:
    """The row of the version that is asked for. Raises as :func:`get`."""
    if request.named:
        kept = _named(sql, bucket, request.name, request.version_id, None)
        if kept is None:
            raise NotFound(Absence.NO_SUCH_VERSION)
        return _row(sql, kept)
    if request.version_id is not None:
        row = sql.execute(
            f"SELECT {_FOUND} FROM versions v"
            " WHERE v.version_id = ? AND v.bucket = ? AND v.name = ?",
            (request.version_id, bucket.bucket, request.name),
        ).fetchone()
        if row is None:
            raise NotFound(Absence.NO_SUCH_VERSION)
        return row
    row = sql.execute(
        f"SELECT {_FOUND} FROM current c JOIN versions v ON v.sequence = c.sequence"
        " WHERE c.bucket = ? AND c.name = ?",
        (bucket.bucket, request.name),
    ).fetchone()
    if row is None and bucket.versioning != UNVERSIONED:
        marker = versions.latest(sql, bucket.bucket, request.name)
        if marker is not None:
            return _row(sql, marker)
    if row is None:
        raise NotFound(Absence.NO_SUCH_OBJECT)
    return row


def _row(sql: Sql, kept: KeptVersion) -> Any:
    return sql.execute(
        f"SELECT {_FOUND} FROM versions v WHERE v.sequence = ?", (kept.sequence,)
    ).fetchone()


def _pages(sql: Sql, owner: int, first: int, last: int) -> tuple[PlacedPage, ...]:
    rows = sql.execute(
        "SELECT number, start, extents FROM pages WHERE owner = ? AND start <= ?"
        " AND start + size > ? AND number >= ? ORDER BY number LIMIT ?",
        (owner, last, first, _page_at(sql, owner, first), limits.MAX_PAGES_PER_REPLY),
    )
    pages: list[PlacedPage] = []
    extents = 0
    for number, start, packed in rows:
        page = Page.unpack(packed)
        extents += len(page.extents)
        if pages and extents > limits.MAX_EXTENTS_PER_REPLY:
            break
        pages.append(PlacedPage(number, start, page))
    return tuple(pages)


def _page_at(sql: Sql, owner: int, offset: int) -> int:
    """The number of the page that holds a byte: pages are in order of their starts, so halving
    finds it in as many steps as the number has bits, without an index of its own."""
    if offset == 0:
        return 0
    highest: int | None = sql.execute(
        "SELECT max(number) FROM pages WHERE owner = ?", (owner,)
    ).fetchone()[0]
    low, high = 0, highest or 0
    while low < high:
        middle = (low + high + 1) // 2
        (start,) = sql.execute(
            "SELECT start FROM pages WHERE owner = ? AND number = ?", (owner, middle)
        ).fetchone()
        if start <= offset:
            low = middle
        else:
            high = middle - 1
    return low


def _needed(pages: Sequence[PlacedPage], first: int, last: int) -> list[SegmentId]:
    """The segments that bytes ``first..last`` need, in order, as many as one reply names."""
    needed: dict[SegmentId, None] = {}
    for placed in pages:
        at = placed.start
        for extent in placed.page.extents:
            if at > last:
                return list(needed)
            at += extent.length
            if at > first:
                if len(needed) == limits.MAX_SEGMENTS_PER_GRANT and extent.segment_id not in needed:
                    return list(needed)
                needed[extent.segment_id] = None
    return list(needed)
