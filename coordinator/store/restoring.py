"""The look that a rescue takes at a whole store: versions of a tenant, and where their data lies.

Functions of a read transaction. Nothing here needs a coordinator to run.

Source: docs/rescue.md, "What is read".
"""

from __future__ import annotations

from collections.abc import Collection
from itertools import groupby
from operator import itemgetter

from common.data_classes import dataclass
from common.ids import BucketId, PeerId, SegmentId, TenantId, VersionId
from common.ports import Sql
from common.wire.messages.base import Endpoint
from common.wire.messages.locks import Lock
from common.wire.messages.writing import Page
from coordinator.store import missing

_LIVE = (
    " FROM versions v JOIN buckets b ON b.bucket = v.bucket"
    " JOIN tenants t ON t.tenant = b.tenant WHERE t.tenant_id = ? AND v.dropped = 0"
)
_CURRENT = (
    " AND EXISTS (SELECT 1 FROM current c"
    " WHERE c.bucket = v.bucket AND c.name = v.name AND c.sequence = v.sequence)"
)


@dataclass(frozen=True, slots=True)
class RestorableBucket:
    """A bucket of a tenant. ``versioning``: 0 never enabled, 1 enabled, 2 suspended."""

    bucket: int
    bucket_id: BucketId
    name: str
    versioning: int
    revision: int
    settings: bytes


@dataclass(frozen=True, slots=True)
class RestorableVersion:
    """A version that was not dropped, or a delete marker. ``versioning``: of the bucket at its
    commit."""

    sequence: int
    bucket: int
    name: bytes
    version_id: VersionId
    is_marker: bool
    versioning: int
    sealed: bytes
    summary: bytes
    tags: bytes
    is_latest: bool
    lock: Lock
    acl: bytes
    class_name: bytes


@dataclass(frozen=True, slots=True)
class RestorableSegment:
    """A segment, and the cell that has or should have the shard of each slot; None: not known."""

    segment_id: SegmentId
    k: int
    n: int
    segment_bytes: int
    unit_bytes: int
    shard_bytes: int
    roots: bytes
    cells: tuple[Endpoint | None, ...]


def endpoints(sql: Sql) -> list[Endpoint]:
    """Return all cells that were not removed and have an address."""
    return [
        Endpoint(PeerId(cell_id), host, port)
        for cell_id, host, port in sql.execute(
            "SELECT cell_id, address_host, address_port FROM cells"
            " WHERE removed_ms = 0 AND address_port > 0 ORDER BY cell"
        )
    ]


def buckets(sql: Sql, tenant: TenantId) -> list[RestorableBucket]:
    """Return the buckets of a tenant, by name."""
    return [
        RestorableBucket(bucket, BucketId(bucket_id), name, versioning, revision, settings)
        for bucket, bucket_id, name, versioning, revision, settings in sql.execute(
            "SELECT b.bucket, b.bucket_id, b.name, b.versioning, b.revision, b.settings"
            " FROM buckets b JOIN tenants t ON t.tenant = b.tenant"
            " WHERE t.tenant_id = ? ORDER BY b.name",
            (tenant,),
        )
    ]


def key_ring(sql: Sql, tenant: TenantId) -> tuple[int, bytes]:
    """Return revision and sealed key ring of a tenant; 0 and nothing where there is none."""
    row = sql.execute(
        "SELECT k.revision, k.sealed FROM key_rings k JOIN tenants t ON t.tenant = k.tenant"
        " WHERE t.tenant_id = ?",
        (tenant,),
    ).fetchone()
    return (0, b"") if row is None else (row[0], row[1])


def tenant_ids(sql: Sql) -> list[bytes]:
    """Return the ids of all tenants."""
    return [tenant_id for (tenant_id,) in sql.execute("SELECT tenant_id FROM tenants")]


def _where(all_versions: bool, only: Collection[int]) -> str:
    numbers = ", ".join(f"{each:d}" for each in only)
    return (
        _LIVE
        + ("" if all_versions else _CURRENT)
        + (f" AND v.bucket IN ({numbers})" if only else "")
    )


def total(
    sql: Sql, tenant: TenantId, *, all_versions: bool, only: Collection[int] = ()
) -> tuple[int, int]:
    """Return how many versions a tenant has, or how many current objects, and their bytes.

    Args:
        only: numbers of buckets; empty: all of them.
    """
    query = "SELECT count(*), coalesce(sum(v.size), 0)" + _where(all_versions, only)
    row = sql.execute(query, (tenant,)).fetchone()
    return row[0], row[1]


@dataclass(frozen=True, slots=True)
class PlaceInBucket:
    """The place of a version in the order of a bucket: by name, and the later ones first."""

    name: bytes
    sequence: int


def listed(
    sql: Sql, bucket: int, after: PlaceInBucket | None, limit: int, *, all_versions: bool
) -> list[PlaceInBucket]:
    """Return the next versions of a bucket, or its next current objects; as long as it takes for
    so many, however many there are."""
    if not all_versions:
        rows = sql.execute(
            "SELECT name, sequence FROM current WHERE bucket = ? AND name > ?"
            " ORDER BY name LIMIT ?",
            (bucket, b"" if after is None else after.name, limit),
        ).fetchall()
        return [PlaceInBucket(*row) for row in rows]
    listed = "SELECT name, sequence FROM versions WHERE bucket = ? AND dropped = 0"
    rows = []
    if after is not None:  # apart: one name may have any number of versions
        rows = sql.execute(
            f"{listed} AND name = ? AND sequence < ? ORDER BY sequence DESC LIMIT ?",
            (bucket, after.name, after.sequence, limit),
        ).fetchall()
    if len(rows) < limit:
        rows += sql.execute(
            f"{listed} AND name > ? ORDER BY name, sequence DESC LIMIT ?",
            (bucket, b"" if after is None else after.name, limit - len(rows)),
        ).fetchall()
    return [PlaceInBucket(*row) for row in rows]


def version(sql: Sql, sequence: int) -> RestorableVersion:
    """Return a version by its number, which :func:`listed` gave."""
    bucket, name, version_id, marker, versioning, sealed, summary, *rest = sql.execute(
        "SELECT bucket, name, version_id, delete_marker, versioning, sealed, summary, tags,"
        " acl, class_name, (SELECT max(o.sequence) FROM versions o"
        "  WHERE o.bucket = v.bucket AND o.name = v.name AND o.dropped = 0),"
        " retention, retain_until_ms, hold"
        " FROM versions v WHERE sequence = ?",
        (sequence,),
    ).fetchone()
    tags, acl, class_name, last, *lock = rest
    return RestorableVersion(
        sequence,
        bucket,
        name,
        VersionId(version_id),
        bool(marker),
        versioning,
        sealed,
        summary,
        tags,
        last == sequence,
        Lock(*lock),
        acl,
        class_name,
    )


def begins_others(sql: Sql, bucket: int, name: bytes) -> bool:
    """Return whether current objects have names that go on after this one and a ``/``."""
    row = sql.execute(
        "SELECT 1 FROM current WHERE bucket = ? AND name >= ? AND name < ? LIMIT 1",
        (bucket, name + b"/", name + b"0"),
    ).fetchone()
    return row is not None


def page(sql: Sql, owner: int, number: int) -> Page | None:
    """Return a page of a version; None if it is not there."""
    row = sql.execute(
        "SELECT extents FROM pages WHERE owner = ? AND number = ?", (owner, number)
    ).fetchone()
    return None if row is None else Page.unpack(row[0])


def segment(sql: Sql, segment_id: SegmentId) -> RestorableSegment | None:
    """Return a segment and its places; None if it is not there. Where the holder of a slot is known
    to lack its shard, the cell that may have it is named in its stead."""
    row = sql.execute(
        "SELECT s.ring, r.k, r.n, s.segment_bytes, s.unit_bytes, s.shard_bytes, s.roots"
        " FROM segments s JOIN rings r ON r.ring = s.ring WHERE s.segment_id = ?",
        (segment_id,),
    ).fetchone()
    if row is None:
        return None
    ring, k, n, segment_bytes, unit_bytes, shard_bytes, roots = row
    lacking = missing.of_segment(sql, segment_id)
    holders = dict(
        sql.execute("SELECT slot, cell FROM ring_slots WHERE ring = ?", (ring,)).fetchall()
    )
    for slot, other in lacking.items():
        if other is not None:
            holders[slot] = other
    cells = tuple(_endpoint(sql, holders.get(slot)) for slot in range(n))
    return RestorableSegment(segment_id, k, n, segment_bytes, unit_bytes, shard_bytes, roots, cells)


def _endpoint(sql: Sql, cell: int | None) -> Endpoint | None:
    row = sql.execute(
        "SELECT cell_id, address_host, address_port FROM cells WHERE cell = ? AND address_port > 0",
        (cell,),
    ).fetchone()
    return None if row is None else Endpoint(PeerId(row[0]), row[1], row[2])


def unreadable(sql: Sql, reachable: Collection[bytes]) -> int:
    """Return how many segments have fewer than k shards on cells that are reachable, as far as the
    store knows.

    Args:
        reachable: the ids of the cells that are.
    """
    spare = {ring: -k for ring, k in sql.execute("SELECT ring, k FROM rings")}
    for ring, cell_id in sql.execute(
        "SELECT r.ring, c.cell_id FROM rings r JOIN ring_slots s ON s.ring = r.ring"
        " JOIN cells c ON c.cell = s.cell"
    ):
        spare[ring] += cell_id in reachable
    count = 0
    for ring, left in spare.items():
        if left < 0:
            query = "SELECT count(*) FROM segments WHERE ring = ?"
            count += sql.execute(query, (ring,)).fetchone()[0]
    # Segments that lack shards are counted apart: they may be worse off than their ring, or better.
    lacking = sql.execute(
        "SELECT s.segment_id, s.ring, h.cell_id, CASE WHEN m.source_lacks = 0 THEN o.cell_id END"
        " FROM missing_shards m JOIN segments s ON s.segment_id = m.segment_id"
        " JOIN rings g ON g.ring = s.ring"
        " LEFT JOIN ring_slots r ON r.ring = s.ring AND r.slot = m.slot"
        " LEFT JOIN cells h ON h.cell = r.cell"
        " LEFT JOIN sources q ON q.ring = m.ring AND q.slot = m.slot"
        " LEFT JOIN cells o ON o.cell = q.cell ORDER BY m.segment_id"
    )
    for (_, ring), slots in groupby(lacking, itemgetter(0, 1)):
        left = spare[ring]
        for _, _, holder, other in slots:
            left += (other in reachable) - (holder in reachable)
        count += (left < 0) - (spare[ring] < 0)
    return count
