"""Counts of what the store holds, for operators and for metrics.

Source: docs/operations.md, "Metrics and health".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from common.data_classes import dataclass
from common.ports import Sql
from coordinator.policy.fallback import fallbacks
from coordinator.policy.placement import Redundancy
from coordinator.policy.storage_classes import StorageClass
from coordinator.store import dialect, lifecycles, misplaced, notifications, usage
from coordinator.store.classes import buckets_of, in_use
from coordinator.store.lifecycles import LifecycleCounts
from coordinator.store.notifications import NotificationCounts


@dataclass(frozen=True, slots=True)
class StoreCounts:
    """Numbers from the store. ``segments_at_risk``: segments that lack at least one shard;
    ``segments_lost``: those that lack so many that they can be read no more;
    ``fallback_segments``: by the name of a storage class, and the redundancy that stands in for its
    own; ``buckets``: by the number of a storage class, how many have it; ``classes_in_use``: those
    and the ones to which names lead. ``misplaced_pages``: pages of objects that may not be in their
    class; ``class_scans``: buckets that are still
    looked through for such. ``lifecycle``: of runs over buckets with rules.
    ``notifications``: of events that wait to be delivered."""

    missing_shards: int
    segments_at_risk: int
    segments_lost: int
    fallback_segments: Mapping[tuple[str, Redundancy], int]
    buckets: Mapping[int, int]
    classes_in_use: frozenset[int]
    misplaced_pages: int
    class_scans: int
    lifecycle: LifecycleCounts
    notifications: NotificationCounts
    suspect_shards: int
    queued_deletes: int
    tenants: int
    objects: int
    logical_bytes: int
    store_bytes: int


_GONE: Final = """
    WITH gone AS (
        SELECT rs.ring, count(*) AS slots FROM cells c JOIN ring_slots rs ON rs.cell = c.cell
        WHERE c.removed_ms > 0 GROUP BY rs.ring)"""
_LOST_BY_RING: Final = f"""{_GONE}
    SELECT count(*) FROM gone g JOIN rings r ON r.ring = g.ring
    JOIN segments s ON s.ring = g.ring WHERE g.slots > r.n - r.k"""
_LOST_BY_SHARD: Final = f"""{_GONE}
    SELECT count(*) FROM (
        SELECT m.segment_id FROM missing_shards m
        JOIN segments s ON s.segment_id = m.segment_id JOIN rings r ON r.ring = s.ring
        JOIN ring_slots rs ON rs.ring = s.ring AND rs.slot = m.slot
        JOIN cells c ON c.cell = rs.cell LEFT JOIN gone g ON g.ring = s.ring
        WHERE m.source_lacks = 1 AND coalesce(g.slots, 0) <= r.n - r.k GROUP BY m.segment_id
        HAVING count(*) FILTER (WHERE coalesce(c.removed_ms, 0) = 0)
            + coalesce(max(g.slots), 0)
            > max(r.n) - max(r.k)) lost"""


def _count_lost(sql: Sql) -> int:
    """Segments of which fewer than k shards are left: their cells lost them or were removed. All
    segments are looked at only where whole rings are lost."""
    lost = sum(sql.execute(each).fetchone()[0] for each in (_LOST_BY_RING, _LOST_BY_SHARD))
    return int(lost)


def _count_fallback(sql: Sql, classes: Sequence[StorageClass]) -> dict[tuple[str, Redundancy], int]:
    found = {
        (of.name, each): sql.execute(
            "SELECT count(*) FROM rings r JOIN segments s ON s.ring = r.ring"
            " WHERE r.storage_class = ? AND r.k = ? AND r.n = ? AND r.quorum = ?",
            (of.number, each.k, each.n, each.quorum),
        ).fetchone()[0]
        for of in classes
        for each in fallbacks(of.redundancy)
    }
    return {each: segments for each, segments in found.items() if segments}


def count(sql: Sql, classes: Sequence[StorageClass]) -> StoreCounts:
    """Read the numbers.

    Args:
        classes: the storage classes.
    """
    missing, at_risk = sql.execute(
        "SELECT coalesce(sum(shards), 0), count(*) FROM"
        " (SELECT count(*) AS shards FROM missing_shards GROUP BY segment_id) AS lacking"
    ).fetchone()
    suspect = sql.execute("SELECT count(*) FROM suspect_shards").fetchone()[0]
    deletes = sql.execute("SELECT count(*) FROM deletes").fetchone()[0]
    number = sql.execute("SELECT count(*) FROM tenants").fetchone()[0]
    held = usage.total(sql)
    return StoreCounts(
        missing,
        at_risk,
        _count_lost(sql),
        _count_fallback(sql, classes),
        buckets_of(sql),
        in_use(sql),
        *misplaced.count(sql),
        lifecycles.count(sql),
        notifications.count(sql),
        suspect,
        deletes,
        number,
        held.objects,
        held.logical_bytes,
        dialect.store_bytes(sql),
    )


def object_count(sql: Sql) -> int:
    """The number of objects of all tenants."""
    return usage.total(sql).objects
