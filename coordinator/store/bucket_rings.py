"""On which rings the data of each bucket lies, counted as it changes. Functions of a transaction.

A segment is counted for each bucket with an object or part that has an extent in it. The first of
them is named in the segment's own row; the others, which share it by a copy, have their own rows.

Source: docs/placement.md, "What the store holds".
"""

from __future__ import annotations

from common import limits
from common.ids import SegmentId
from common.ports import Sql
from coordinator.policy.bucket_margins import OnRing


def add(sql: Sql, bucket: int, ring: int, segments: int) -> None:
    """Count segments of a bucket on a ring; fewer, if it is negative."""
    sql.execute(
        "INSERT INTO bucket_rings (bucket, ring, segments) VALUES (?, ?, ?)"
        " ON CONFLICT (bucket, ring)"
        " DO UPDATE SET segments = bucket_rings.segments + excluded.segments",
        (bucket, ring, segments),
    )
    if segments < 0:
        sql.execute(
            "DELETE FROM bucket_rings WHERE bucket = ? AND ring = ? AND segments <= 0",
            (bucket, ring),
        )


def share(sql: Sql, segment_id: SegmentId, first: int, ring: int, bucket: int, uses: int) -> None:
    """Take in that a bucket has more extents in a segment.

    Args:
        first: the bucket that the segment's row names.
        ring: of the segment.
        bucket: whose object or part has the extents.
        uses: extents.
    """
    if bucket == first:
        return
    refs = sql.execute(
        "INSERT INTO shared_segments (segment_id, bucket, refs) VALUES (?, ?, ?)"
        " ON CONFLICT (segment_id, bucket)"
        " DO UPDATE SET refs = shared_segments.refs + excluded.refs"
        " RETURNING refs",
        (segment_id, bucket, uses),
    ).fetchone()[0]
    if refs == uses:
        add(sql, bucket, ring, 1)


def release(
    sql: Sql, segment_id: SegmentId, first: int, ring: int, bucket: int, uses: int, refs: int
) -> None:
    """Take in that a bucket has fewer extents in a segment.

    Args:
        first: the bucket that the segment's row names.
        ring: of the segment.
        bucket: whose object or part had the extents.
        uses: extents that are gone.
        refs: extents that are left, of all buckets.
    """
    if bucket != first:
        left = sql.execute(
            "UPDATE shared_segments SET refs = refs - ? WHERE segment_id = ? AND bucket = ?"
            " RETURNING refs",
            (uses, segment_id, bucket),
        ).fetchone()
        if left is not None and left[0] <= 0:
            _forget(sql, segment_id, bucket)
            add(sql, bucket, ring, -1)
        return
    others = sql.execute(
        "SELECT bucket, refs FROM shared_segments WHERE segment_id = ?", (segment_id,)
    ).fetchall()
    if refs > sum(each for _, each in others):
        return
    add(sql, bucket, ring, -1)
    if others:
        heir = others[0][0]
        sql.execute("UPDATE segments SET bucket = ? WHERE segment_id = ?", (heir, segment_id))
        _forget(sql, segment_id, heir)


def _forget(sql: Sql, segment_id: SegmentId, bucket: int) -> None:
    sql.execute(
        "DELETE FROM shared_segments WHERE segment_id = ? AND bucket = ?", (segment_id, bucket)
    )


def move(sql: Sql, segment_id: SegmentId, former: int, ring: int) -> None:
    """Take in that a segment lies on another ring."""
    for (bucket,) in sql.execute(
        "SELECT bucket FROM segments WHERE segment_id = ?"
        " UNION SELECT bucket FROM shared_segments WHERE segment_id = ?",
        (segment_id, segment_id),
    ).fetchall():
        add(sql, bucket, former, -1)
        add(sql, bucket, ring, 1)


def load(sql: Sql) -> list[OnRing]:
    """The rings of all buckets, up to MAX_BUCKET_RINGS of them. Looks at all missing shards,
    once."""
    lacks: dict[tuple[int, int], int] = {}
    for bucket, ring, slot in sql.execute(
        "SELECT s.bucket, m.ring, m.slot FROM missing_shards m"
        " JOIN segments s ON s.segment_id = m.segment_id"
        " UNION SELECT h.bucket, m.ring, m.slot FROM missing_shards m"
        " JOIN shared_segments h ON h.segment_id = m.segment_id"
    ):
        lacks[bucket, ring] = lacks.get((bucket, ring), 0) | 1 << slot
    return [
        OnRing(name, ring, segments, lacks.get((bucket, ring), 0))
        for bucket, ring, segments, name in sql.execute(
            "SELECT r.bucket, r.ring, r.segments, b.name FROM bucket_rings r"
            " JOIN buckets b ON b.bucket = r.bucket ORDER BY r.bucket, r.ring LIMIT ?",
            (limits.MAX_BUCKET_RINGS,),
        )
    ]
