"""Pages of objects whose data is not in the storage class that it is to be in: the one that was
asked for, or that of their bucket. Functions of a transaction.

A gateway writes them again.

The rows are hints: each is checked when it is given to a gateway, and forgotten if the page is
where it should be, or gone. So whatever may have left a page in another class notes it, and nothing
has to take it back.

Source: docs/placement.md, "Data follows its class".
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from typing import Final

from common import limits
from common.data_classes import dataclass
from common.errors import NotFound, Refused
from common.ids import PeerId, SegmentId, TenantId, VersionId
from common.ports import Sql
from common.reasons import Absence, Refusal
from common.wire.messages.locks import Lock
from common.wire.messages.misplaced import MisplacedPage, PageReplace
from common.wire.messages.objects import Committed
from common.wire.messages.writing import Page
from coordinator.policy.locks import may_delete
from coordinator.store import buckets, classes, objects, segments
from coordinator.store.objects import KIND_PART
from coordinator.store.schema import next_number
from coordinator.store.segments import Content

PageKey = tuple[int, int]
"""The sequence of a version, and the number of a page."""
_START: Final = b""


def is_needed(sql: Sql) -> bool:
    """Return whether there was ever a storage class beside the configured one."""
    return sql.execute("SELECT 1 FROM storage_classes LIMIT 1").fetchone() is not None


def note_all(sql: Sql, tenant: int, owner: int) -> None:
    """Note all pages of a version."""
    sql.execute(
        "INSERT INTO misplaced_pages (owner, number, tenant)"
        " SELECT owner, number, ? FROM pages WHERE owner = ? ON CONFLICT DO NOTHING",
        (tenant, owner),
    )


def note_committed(sql: Sql, tenant: int, owner: int, content: Content) -> None:
    """Note a new version if any of its segments is not in its class: its gateway did not know of a
    change yet, or it shares what an object of another class has."""
    if content.uses and is_needed(sql) and not _are_in(sql, content.uses, _class_of(sql, owner)):
        note_all(sql, tenant, owner)


def note_completed(sql: Sql, tenant: int, owner: int) -> None:
    """Note a version that was made of parts, which may be older than what its class is now."""
    if is_needed(sql):
        note_all(sql, tenant, owner)


def _class_of(sql: Sql, owner: int) -> int:
    """The storage class in which the data of a version is to be."""
    row = sql.execute(
        "SELECT v.storage_class, b.storage_class FROM versions v"
        " JOIN buckets b ON b.bucket = v.bucket WHERE v.sequence = ?",
        (owner,),
    ).fetchone()
    return classes.wanted(sql, *row)


def _are_in(sql: Sql, wanted: Collection[SegmentId], storage_class: int) -> bool:
    """Return whether all these segments lie in a storage class."""
    return all(
        sql.execute(
            "SELECT 1 FROM segments s JOIN rings r ON r.ring = s.ring"
            " WHERE s.segment_id = ? AND r.storage_class = ?",
            (each, storage_class),
        ).fetchone()
        is not None
        for each in wanted
    )


# --- a bucket whose class was changed -----------------------------------------------------------


def follow(sql: Sql, bucket: int) -> None:
    """Let all objects of a bucket be looked through, from the first one on."""
    sql.execute(
        "INSERT INTO class_scans (bucket, name, sequence) VALUES (?, ?, 0)"
        " ON CONFLICT (bucket) DO UPDATE SET name = excluded.name, sequence = 0",
        (bucket, _START),
    )


def scan(sql: Sql, limit: int) -> bool:
    """Note the next versions of a bucket whose class was changed.

    Args:
        limit: versions, and pages of more than one of them, to look at.

    Returns:
        Whether there are more, of this or another bucket.
    """
    row = sql.execute(
        "SELECT c.bucket, c.name, c.sequence, b.tenant FROM class_scans c"
        " LEFT JOIN buckets b ON b.bucket = c.bucket ORDER BY c.bucket LIMIT 1"
    ).fetchone()
    if row is None:
        return False
    bucket, name, sequence, tenant = row
    last = name, sequence
    rows = sql.execute(
        "SELECT name, sequence FROM versions WHERE bucket = ? AND dropped = 0"
        " AND (name, sequence) > (?, ?) ORDER BY name, sequence LIMIT ?",
        (bucket, name, sequence, limit),
    ).fetchall()
    seen = pages = 0
    for name, sequence in rows:
        pages += sql.execute("SELECT count(*) FROM pages WHERE owner = ?", (sequence,)).fetchone()[
            0
        ]
        if seen and pages > limit:
            break
        note_all(sql, tenant, sequence)
        seen += 1
        last = name, sequence
    sql.execute("UPDATE class_scans SET name = ?, sequence = ? WHERE bucket = ?", (*last, bucket))
    if seen == len(rows) < limit:
        sql.execute("DELETE FROM class_scans WHERE bucket = ?", (bucket,))
        return sql.execute("SELECT 1 FROM class_scans LIMIT 1").fetchone() is not None
    return True


def count(sql: Sql) -> tuple[int, int]:
    """The number of pages that are noted, and of buckets that are still looked through."""
    pages, scans = (
        sql.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
        for table in ("misplaced_pages", "class_scans")
    )
    return pages, scans


# --- for gateways -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Found:
    """Pages for a gateway. ``keys``: of each; ``last``: where the look ended; ``more``: there are
    others after it."""

    pages: tuple[MisplacedPage, ...]
    keys: tuple[PageKey, ...]
    last: PageKey
    more: bool


def has_any(sql: Sql, tenants: Collection[int]) -> bool:
    """Return whether there may be pages of some tenants that are to be written again."""
    if sql.execute("SELECT 1 FROM misplaced_pages LIMIT 1").fetchone() is None:
        return False
    return any(
        sql.execute("SELECT 1 FROM misplaced_pages WHERE tenant = ? LIMIT 1", (each,)).fetchone()
        is not None
        for each in tenants
    )


def next_pages(
    sql: Sql,
    tenants: Collection[int],
    after: PageKey,
    taken: Collection[PageKey],
    waiting: Collection[str] = (),
    *,
    now_ms: int,
) -> Found:
    """Find the next pages of some tenants that are to be written again, and forget those looked at
    that are not. Those of versions that are locked are passed over: they follow later.

    Args:
        taken: pages that others are at.
        waiting: storage classes that cannot be written now: pages that go there are passed over.
    """
    rows = sql.execute(
        "SELECT owner, number, tenant FROM misplaced_pages WHERE (owner, number) > (?, ?)"
        " ORDER BY owner, number LIMIT ?",
        (*after, limits.MAX_MISPLACED_LOOKED_AT),
    ).fetchall()
    pages: list[MisplacedPage] = []
    keys: list[PageKey] = []
    last, looked, extents = after, 0, 0
    for owner, number, tenant in rows:
        if len(pages) == limits.MAX_MISPLACED_PER_REPLY or extents >= limits.MAX_MISPLACED_EXTENTS:
            break
        last = owner, number
        looked += 1
        if tenant not in tenants or last in taken:
            continue
        page, looked_at = _misplaced(sql, owner, number)
        extents += looked_at
        if page is None:
            sql.execute(
                "DELETE FROM misplaced_pages WHERE owner = ? AND number = ?", (owner, number)
            )
            continue
        if page.storage_class in waiting or not may_delete(_lock_of(sql, owner), now_ms):
            continue
        pages.append(page)
        keys.append(last)
    more = looked < len(rows) or looked == limits.MAX_MISPLACED_LOOKED_AT
    return Found(tuple(pages), tuple(keys), last, more)


def _misplaced(sql: Sql, owner: int, number: int) -> tuple[MisplacedPage | None, int]:
    """The page of a live version, None if its data is in its class; and the number of its extents,
    all of which may have been looked at."""
    row = sql.execute(
        "SELECT t.tenant_id, b.name, v.name, v.version_id, v.storage_class, b.storage_class,"
        " p.extents FROM versions v JOIN buckets b ON b.bucket = v.bucket"
        " JOIN tenants t ON t.tenant = b.tenant JOIN pages p ON p.owner = v.sequence"
        " WHERE v.sequence = ? AND v.dropped = 0 AND p.number = ?",
        (owner, number),
    ).fetchone()
    if row is None:
        return None, 0
    tenant_id, bucket, name, version_id, own, of_bucket, packed = row
    wanted = classes.wanted(sql, own, of_bucket)
    extents = Page.unpack(packed).extents
    if _are_in(sql, {extent.segment_id for extent in extents}, wanted):
        return None, len(extents)
    page = MisplacedPage(
        TenantId(tenant_id),
        bucket,
        name,
        VersionId(version_id),
        number,
        classes.name_of(sql, wanted),
    )
    return page, len(extents)


def _lock_of(sql: Sql, sequence: int) -> Lock:
    """The lock of a version."""
    row = sql.execute(
        "SELECT retention, retain_until_ms, hold FROM versions WHERE sequence = ?", (sequence,)
    ).fetchone()
    return Lock(*row)


def replace_page(
    sql: Sql, tenant: int, writer: PeerId, request: PageReplace, content: Content, now_ms: int
) -> Committed:
    """Replace a page of a live version by one of the same length whose data lies elsewhere.

    The former page belongs to nothing from then on, and is purged after the grace for readers.

    Args:
        writer: the caller; the segments are of its leases.
        content: the request's page and segments, checked.

    Raises:
        NotFound: ``no_such_bucket``; ``no_such_version``: it was replaced or deleted.
        Refused: ``not_owner``; ``condition_failed``: its sealed record is another one by now;
            ``bad_pages``: the page has another length; ``version_locked``: its bytes may be
            others; and what :func:`coordinator.store.segments.register` refuses.
    """
    bucket = buckets.find(sql, tenant, request.bucket, request.bucket_id).bucket
    row = sql.execute(
        "SELECT v.sequence, v.created_ms, v.sealed, p.start, p.size FROM versions v"
        " JOIN pages p ON p.owner = v.sequence AND p.number = ?"
        " WHERE v.version_id = ? AND v.bucket = ? AND v.name = ? AND v.dropped = 0",
        (request.number, request.version_id, bucket, request.name),
    ).fetchone()
    if row is None:
        raise NotFound(Absence.NO_SUCH_VERSION)
    sequence, created_ms, sealed, start, size = row
    if sealed == request.sealed:
        return Committed(sequence, created_ms)
    if not may_delete(_lock_of(sql, sequence), now_ms):
        raise Refused(Refusal.VERSION_LOCKED)
    former = hashlib.sha256(sealed).digest()
    if former != request.former:
        raise Refused(Refusal.CONDITION_FAILED)
    if content.sizes != (size,):
        raise Refused(Refusal.BAD_PAGES, what="size", size=size)
    number = request.number
    given_up = next_number(sql, "sequence")
    sql.execute(
        "UPDATE pages SET owner = ?, number = 0, start = 0 WHERE owner = ? AND number = ?",
        (given_up, sequence, number),
    )
    sql.execute(
        "INSERT INTO dropped (owner, kind, bucket) VALUES (?, ?, ?)",
        (given_up, KIND_PART, bucket),
    )
    made = next_number(sql, "sequence")
    segments.register(sql, tenant, bucket, writer, made, content, now_ms)
    sql.execute(
        "UPDATE pages SET owner = ?, number = ?, start = ? WHERE owner = ?",
        (sequence, number, start, made),
    )
    objects.reseal(sql, sequence, request.sealed, former)
    if _misplaced(sql, sequence, number)[0] is None:
        sql.execute(
            "DELETE FROM misplaced_pages WHERE owner = ? AND number = ?", (sequence, number)
        )
    return Committed(sequence, created_ms)


def forget(sql: Sql, owner: int) -> None:
    """Forget the pages of a version that is purged."""
    sql.execute("DELETE FROM misplaced_pages WHERE owner = ?", (owner,))
