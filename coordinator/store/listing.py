"""Listings: names in byte order, rolled up at a delimiter, linear in what they return.

A rolled-up prefix costs one seek to its first name and one past its last, however many names it
holds.

Source: docs/placement.md, "Listings".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import field
from typing import Any, Generic, TypeVar

from common import limits
from common.client.policy.answers import rolled_up
from common.data_classes import dataclass
from common.ids import VersionId
from common.ports import Sql
from common.wire.messages.buckets import VERSIONED
from common.wire.messages.multipart import UploadRow, Uploads, UploadsList
from common.wire.messages.objects import (
    ListedObject,
    ListedVersion,
    Listing,
    ObjectsList,
    VersionListing,
    VersionsList,
)
from coordinator.store import buckets, versions
from coordinator.store.buckets import StoredBucket
from coordinator.store.dialect import THEN_JOIN

ROW_OVERHEAD_BYTES = 64
"""Size of a row on the wire beside its name and summary, at most."""
R = TypeVar("R")


def successor(prefix: bytes) -> bytes | None:
    """The least byte string greater than every one that starts with ``prefix``; None if there is
    none (the prefix is empty or all 0xff)."""
    stem = prefix.rstrip(b"\xff")
    return stem[:-1] + bytes((stem[-1] + 1,)) if stem else None


@dataclass(slots=True)
class _Page(Generic[R]):
    """A page being filled. ``last``: the name or prefix it ends with."""

    limit: int
    rows: list[R] = field(default_factory=list)
    prefixes: list[bytes] = field(default_factory=list)
    last: bytes = b""
    room: int = limits.MAX_LIST_REPLY_BYTES

    def takes(self, size: int) -> bool:
        """Return whether another entry fits; if so, subtract its size."""
        count = len(self.rows) + len(self.prefixes)
        if count == self.limit or (count and self.room < size):
            return False
        self.room -= size
        return True


def _fill(
    page: _Page[R],
    scan: Callable[[bytes, bool], Iterator[tuple[bytes, int, R]]],
    prefix: bytes,
    delimiter: bytes,
    after: bytes,
    after_more: bool,
) -> bool:
    """Fill a page.

    Args:
        scan: gives (name, size on the wire, row) in order, from a name on; with True from there
            on inclusively, with False after it.
        after_more: rows of the name ``after`` itself may follow.

    Returns:
        Whether there is more.
    """
    start, inclusive = after, after_more
    if prefix > after:
        start, inclusive = prefix, True
    elif rolled_up(after, prefix, delimiter) == after and after.startswith(prefix):
        beyond = successor(after)
        if beyond is None:
            return False
        start, inclusive = beyond, True
    while True:
        for name, size, row in scan(start, inclusive):
            roll = rolled_up(name, prefix, delimiter)
            if roll is None:
                if not page.takes(size):
                    return True
                page.rows.append(row)
                page.last = name
                continue
            if not page.takes(len(roll) + ROW_OVERHEAD_BYTES):
                return True
            page.prefixes.append(roll)
            page.last = roll
            beyond = successor(roll)
            if beyond is None:
                return False
            start, inclusive = beyond, True
            break
        else:
            return False


def _range(prefix: bytes, inclusive: bool) -> tuple[str, tuple[bytes, ...]]:
    """SQL that keeps names from a start on and within a prefix, and its last parameters."""
    end = successor(prefix)
    lower = "name >= ?" if inclusive else "name > ?"
    return (lower, ()) if end is None else (f"{lower} AND name < ?", (end,))


def list_objects(sql: Sql, tenant: int, request: ObjectsList) -> Listing:
    """A page of a bucket's live objects.

    Raises:
        NotFound: ``no_such_bucket``.
        Refused: ``not_owner``.
    """
    bucket = buckets.find(sql, tenant, request.bucket)
    page = _Page[ListedObject](min(request.limit, limits.MAX_LIST_ENTRIES), last=request.after)
    if page.limit == 0:
        return Listing(bucket.bucket_id, (), (), False, request.after, bucket.revision)

    def scan(start: bytes, inclusive: bool) -> Iterator[tuple[bytes, int, ListedObject]]:
        within, parameters = _range(request.prefix, inclusive)
        rows: Any = sql.execute(
            "SELECT c.name, v.version_id, c.sequence, v.created_ms, v.size, v.summary, v.class_name"
            f" FROM (SELECT name, sequence FROM current WHERE bucket = ? AND {within}"
            f" ORDER BY name LIMIT ?) c {THEN_JOIN} versions v ON v.sequence = c.sequence",
            (bucket.bucket, start, *parameters, page.limit + 1),
        )
        for name, version_id, *facts in rows:
            row = ListedObject(name, VersionId(version_id), *facts)
            yield name, len(name) + len(row.summary) + len(row.class_name) + ROW_OVERHEAD_BYTES, row

    truncated = _fill(page, scan, request.prefix, request.delimiter, request.after, False)
    return Listing(
        bucket.bucket_id,
        tuple(page.rows),
        tuple(page.prefixes),
        truncated,
        page.last,
        bucket.revision,
    )


def list_versions(sql: Sql, tenant: int, request: VersionsList) -> VersionListing:
    """A page of a bucket's versions and delete markers. Raises as :func:`list_objects`."""
    bucket = buckets.find(sql, tenant, request.bucket)
    after = request.after
    page = _Page[ListedVersion](min(request.limit, limits.MAX_LIST_ENTRIES), last=after)
    if page.limit == 0:
        return VersionListing(
            bucket.bucket_id, (), (), False, after, request.after_version, bucket.revision
        )
    older_than = None
    if after.startswith(request.prefix):
        older_than = _sequence_after(sql, bucket, request)
    columns = (
        "SELECT name, version_id, sequence, created_ms, size, summary, versioning, delete_marker,"
        f" class_name{', tags' if request.with_tags else ''} FROM versions"
        " WHERE bucket = ? AND dropped = 0"
    )

    def found(start: bytes, inclusive: bool) -> Iterator[tuple[Any, ...]]:
        if inclusive and start == after and older_than is not None:
            yield from sql.execute(
                f"{columns} AND name = ? AND sequence < ? ORDER BY sequence DESC LIMIT ?",
                (bucket.bucket, after, older_than, page.limit + 1),
            )
            inclusive = False
        within, parameters = _range(request.prefix, inclusive)
        yield from sql.execute(
            f"{columns} AND {within} ORDER BY name, sequence DESC LIMIT ?",
            (bucket.bucket, start, *parameters, page.limit + 1),
        )

    def scan(start: bytes, inclusive: bool) -> Iterator[tuple[bytes, int, ListedVersion]]:
        before: bytes | None = None
        for each in found(start, inclusive):
            name, version_id, sequence, created_ms, size, summary, versioning, marker = each[:8]
            class_name = each[8]
            tags = each[9] if request.with_tags else b""
            is_latest = name != before
            if is_latest and name == after:
                newest = versions.latest(sql, bucket.bucket, name)
                is_latest = newest is not None and newest.sequence == sequence
            before = name
            row = ListedVersion(
                name,
                VersionId(version_id),
                sequence,
                created_ms,
                size,
                summary,
                versioning != VERSIONED,
                is_latest,
                bool(marker),
                tags,
                class_name,
            )
            sealed_bytes = len(summary) + len(tags) + len(class_name)
            yield name, len(name) + sealed_bytes + ROW_OVERHEAD_BYTES, row

    after_more = bool(request.after_version or request.after_null)
    truncated = _fill(page, scan, request.prefix, request.delimiter, after, after_more)
    last_version = b""
    if page.rows and page.rows[-1].name == page.last:
        last_version = page.rows[-1].version_id
    elif not page.rows and not page.prefixes:
        last_version = request.after_version
    return VersionListing(
        bucket.bucket_id,
        tuple(page.rows),
        tuple(page.prefixes),
        truncated,
        page.last,
        last_version,
        bucket.revision,
    )


def _sequence_after(sql: Sql, bucket: StoredBucket, request: VersionsList) -> int | None:
    """The sequence of the version that a listing goes on after. A dropped one still has its row for
    a while; None: it has none, so all of its name are listed, for nothing to be skipped."""
    if request.after_null:
        kept = versions.null_version(sql, bucket, request.after)
        return None if kept is None else kept.sequence
    row = sql.execute(
        "SELECT sequence FROM versions WHERE version_id = ? AND bucket = ? AND name = ?",
        (request.after_version, bucket.bucket, request.after),
    ).fetchone()
    return None if row is None else int(row[0])


def list_uploads(sql: Sql, tenant: int, request: UploadsList) -> Uploads:
    """A page of a bucket's uploads in progress. Raises as :func:`list_objects`."""
    bucket = buckets.find(sql, tenant, request.bucket)
    page = _Page[UploadRow](min(request.limit, limits.MAX_LIST_ENTRIES), last=request.after)
    if page.limit == 0:
        return Uploads((), (), False, request.after, request.after_upload)
    after, after_upload = request.after, request.after_upload

    def scan(start: bytes, inclusive: bool) -> Iterator[tuple[bytes, int, UploadRow]]:
        within, parameters = _range(request.prefix, inclusive)
        if inclusive and after_upload and start == after:
            within += " AND (name > ? OR upload_id > ?)"
            parameters = (*parameters, after, after_upload)
        rows: Any = sql.execute(
            "SELECT name, upload_id, created_ms, class_name FROM uploads"
            f" WHERE bucket = ? AND {within} ORDER BY name, upload_id LIMIT ?",
            (bucket.bucket, start, *parameters, page.limit + 1),
        )
        for name, upload_id, created_ms, class_name in rows:
            row = UploadRow(name, VersionId(upload_id), created_ms, class_name)
            yield name, len(name) + len(class_name) + ROW_OVERHEAD_BYTES, row

    truncated = _fill(page, scan, request.prefix, request.delimiter, after, bool(after_upload))
    last_upload = (
        page.rows[-1].upload_id
        if page.rows and page.rows[-1].name == page.last
        else (after_upload if page.last == after and not page.prefixes else b"")
    )
    return Uploads(tuple(page.rows), tuple(page.prefixes), truncated, page.last, bytes(last_upload))
