"""Versions of objects: committed, looked up, deleted. Functions of a transaction.

Source: docs/placement.md, "Versions".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from common import limits
from common.errors import NotFound, Refused
from common.ids import BucketId, PeerId, SegmentId, VersionId
from common.ports import Sql
from common.reasons import Absence, Refusal
from common.wire.control import Failure
from common.wire.messages.objects import (
    Committed,
    Condition,
    DeleteItem,
    DeleteResult,
    ObjectCommit,
    ObjectGet,
    ObjectTagsSet,
    PlacedPage,
)
from common.wire.messages.writing import Page
from coordinator.store import buckets, segments
from coordinator.store.buckets import StoredBucket
from coordinator.store.schema import next_number
from coordinator.store.segments import Content, Stored

KIND_VERSION = 0
KIND_PART = 1


@dataclass(frozen=True, slots=True)
class Current:
    """The live version of a name."""

    sequence: int
    version_id: VersionId
    size: int


def current(sql: Sql, bucket: int, name: bytes) -> Current | None:
    """The live version of a name, if it has one."""
    row = sql.execute(
        "SELECT v.sequence, v.version_id, v.size FROM current c"
        " JOIN versions v ON v.sequence = c.sequence WHERE c.bucket = ? AND c.name = ?",
        (bucket, name),
    ).fetchone()
    return None if row is None else Current(row[0], VersionId(row[1]), row[2])


def holds(condition: Condition, found: Current | None) -> bool:
    """Return whether a condition is met by the live version of its name."""
    if condition.absent and found is not None:
        return False
    return condition.version_id is None or (
        found is not None and found.version_id == condition.version_id
    )


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
        "SELECT sequence, created_ms, bucket, name, sealed FROM versions WHERE version_id = ?",
        (version_id,),
    ).fetchone()
    if row is None:
        return None
    if row[2] != bucket.bucket or row[3] != name or row[4] != sealed:
        raise Refused(Refusal.VERSION_EXISTS)
    return Committed(row[0], row[1], bucket_revision=bucket.revision)


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
            :func:`coordinator.store.segments.register` refuses.
    """
    found = buckets.find(sql, tenant, request.bucket, request.bucket_id)
    bucket = found.bucket
    before = committed_before(sql, found, request.name, request.version_id, request.sealed)
    if before is not None:
        return before
    replaced = current(sql, bucket, request.name)
    if not holds(request.condition, replaced):
        raise Refused(Refusal.CONDITION_FAILED)
    sequence = next_number(sql, "sequence")
    segments.register(sql, tenant, writer, sequence, content, now_ms)
    insert_version(
        sql,
        tenant,
        bucket,
        sequence=sequence,
        name=request.name,
        version_id=request.version_id,
        size=request.size,
        summary=request.summary,
        sealed=request.sealed,
        tags=request.tags,
        now_ms=now_ms,
        replaced=replaced,
    )
    return Committed(sequence, now_ms, bucket_revision=found.revision)


def insert_version(
    sql: Sql,
    tenant: int,
    bucket: int,
    *,
    sequence: int,
    name: bytes,
    version_id: bytes,
    size: int,
    summary: bytes,
    sealed: bytes,
    tags: bytes,
    now_ms: int,
    replaced: Current | None,
) -> None:
    """Write a version, make it the live one of its name, drop the one it replaces, account."""
    sql.execute(
        "INSERT INTO versions"
        " (sequence, bucket, name, version_id, size, created_ms, summary, sealed, tags)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (sequence, bucket, name, version_id, size, now_ms, summary, sealed, tags),
    )
    if replaced is None:
        sql.execute("INSERT INTO current VALUES (?, ?, ?)", (bucket, name, sequence))
    else:
        sql.execute(
            "UPDATE current SET sequence = ? WHERE bucket = ? AND name = ?",
            (sequence, bucket, name),
        )
        _drop(sql, replaced.sequence)
    sql.execute(
        "UPDATE tenants SET objects = objects + ?, logical_bytes = logical_bytes + ?"
        " WHERE tenant = ?",
        (int(replaced is None), size - (replaced.size if replaced is not None else 0), tenant),
    )


def set_tags(sql: Sql, tenant: int, request: ObjectTagsSet) -> None:
    """Replace the tags of a version.

    Raises:
        NotFound: ``no_such_bucket``, ``no_such_version``.
        Refused: ``not_owner``.
    """
    bucket = buckets.find(sql, tenant, request.bucket).bucket
    row = sql.execute(
        "UPDATE versions SET tags = ? WHERE version_id = ? AND bucket = ? AND name = ?"
        " AND dropped = 0 AND delete_marker = 0 RETURNING sequence",
        (request.tags, request.version_id, bucket, request.name),
    ).fetchone()
    if row is None:
        raise NotFound(Absence.NO_SUCH_VERSION)


def _drop(sql: Sql, sequence: int) -> None:
    sql.execute("UPDATE versions SET dropped = 1 WHERE sequence = ?", (sequence,))
    sql.execute("INSERT INTO dropped (owner, kind) VALUES (?, ?)", (sequence, KIND_VERSION))


def delete(
    sql: Sql, tenant: int, bucket_name: str, items: Sequence[DeleteItem]
) -> list[DeleteResult]:
    """Delete names, each on its condition.

    Raises:
        NotFound: ``no_such_bucket``.
        Refused: ``not_owner``.
    """
    bucket = buckets.find(sql, tenant, bucket_name).bucket
    results = []
    done = DeleteResult()
    refused = DeleteResult(Failure.of(Refused(Refusal.CONDITION_FAILED)))
    objects = size = 0
    for item in items:
        found = current(sql, bucket, item.name)
        if not holds(item.condition, found):
            results.append(refused)
            continue
        if found is not None and item.version_id in (None, found.version_id):
            sql.execute("DELETE FROM current WHERE bucket = ? AND name = ?", (bucket, item.name))
            _drop(sql, found.sequence)
            objects += 1
            size += found.size
        results.append(done)
    if objects:
        sql.execute(
            "UPDATE tenants SET objects = objects - ?, logical_bytes = logical_bytes - ?"
            " WHERE tenant = ?",
            (objects, size, tenant),
        )
    return results


@dataclass(frozen=True, slots=True)
class FoundVersion:
    """A version that was looked up, with what of its data was asked for."""

    bucket_id: BucketId
    version_id: VersionId
    sequence: int
    created_ms: int
    size: int
    sealed: bytes
    tags: bytes
    bucket_revision: int
    pages: tuple[PlacedPage, ...] = ()
    stored: tuple[Stored, ...] = ()


def get(sql: Sql, tenant: int, request: ObjectGet) -> FoundVersion:
    """Look up a version, and the pages and segments of a range of it.

    Raises:
        NotFound: ``no_such_bucket``, ``no_such_object``, ``no_such_version``, ``delete_marker``.
        Refused: ``not_owner``.
    """
    bucket = buckets.find(sql, tenant, request.bucket)
    columns = "v.version_id, v.sequence, v.created_ms, v.size, v.sealed, v.tags, v.delete_marker"
    if request.version_id is None:
        row = sql.execute(
            f"SELECT {columns} FROM current c JOIN versions v ON v.sequence = c.sequence"
            " WHERE c.bucket = ? AND c.name = ?",
            (bucket.bucket, request.name),
        ).fetchone()
        if row is None:
            raise NotFound(Absence.NO_SUCH_OBJECT)
    else:
        row = sql.execute(
            f"SELECT {columns} FROM versions v"
            " WHERE v.version_id = ? AND v.bucket = ? AND v.name = ?",
            (request.version_id, bucket.bucket, request.name),
        ).fetchone()
        if row is None:
            raise NotFound(Absence.NO_SUCH_VERSION)
    version_id, sequence, created_ms, size, sealed, tags, delete_marker = row
    if delete_marker:
        raise NotFound(Absence.DELETE_MARKER)
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
    )


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
