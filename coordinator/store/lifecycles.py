"""Runs over buckets with rules by which objects expire. Functions of a transaction.

Gateways read the rules, which are sealed, and delete; the store knows which buckets have any, when
the last run over each began, and how far the present one has come.

Source: docs/placement.md, "Objects expire"; docs/decisions/0044-lifecycle.md.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from common.data_classes import dataclass
from common.ids import BucketId, TenantId
from common.ports import Sql
from common.wire.messages.lifecycle import LifecycleNote, LifecycleTask
from coordinator.store import buckets

_START: Final = b""


@dataclass(frozen=True, slots=True)
class LifecycleCounts:
    """Numbers for operators. ``buckets``: with rules; ``running``: of them, those over which a run
    has not ended; ``deleted`` and ``kept``: by the last runs that ended, and by those that have
    not; ``oldest_ms``: the least recent beginning of a run that has ended; 0: some bucket had
    none."""

    buckets: int
    running: int
    deleted: int
    kept: int
    oldest_ms: int


def set_rules(sql: Sql, tenant: int, bucket: int, has_rules: bool) -> None:
    """Note that the settings of a bucket were replaced, and whether they have rules: a run is due
    then, by those that they have now."""
    if not has_rules:
        forget(sql, bucket)
        return
    sql.execute(
        "INSERT INTO lifecycles (bucket, tenant, after) VALUES (?, ?, ?)"
        " ON CONFLICT (bucket) DO UPDATE SET ran_ms = 0",
        (bucket, tenant, _START),
    )


def forget(sql: Sql, bucket: int) -> None:
    """Forget a bucket that is deleted."""
    sql.execute("DELETE FROM lifecycles WHERE bucket = ?", (bucket,))


def _bounds(now_ms: int, day_ms: int) -> tuple[int, int]:
    """The times between which a run must have begun for none to be due: in the present day, or at
    most a day ahead, by a clock that runs before the caller's."""
    return now_ms - now_ms % day_ms, now_ms + day_ms


def has_due(sql: Sql, tenants: Collection[int], now_ms: int, day_ms: int) -> bool:
    """Return whether a run over a bucket of some tenants is due."""
    return _next_due(sql, tenants, now_ms, day_ms, 0, ()) is not None


def _next_due(
    sql: Sql,
    tenants: Collection[int],
    now_ms: int,
    day_ms: int,
    after: int,
    taken: Collection[int],
) -> int | None:
    """The next bucket that is due, by its number."""
    found: list[int] = []
    for tenant in tenants:
        rows = sql.execute(
            "SELECT bucket FROM lifecycles WHERE tenant = ? AND bucket > ?"
            " AND (ran_ms < ? OR ran_ms > ?) ORDER BY bucket LIMIT ?",
            (tenant, after, *_bounds(now_ms, day_ms), len(taken) + 1),
        )
        found += [bucket for (bucket,) in rows if bucket not in taken][:1]
    return min(found, default=None)


def take(
    sql: Sql,
    tenants: Collection[int],
    now_ms: int,
    day_ms: int,
    after: int,
    taken: Collection[int],
) -> LifecycleTask | None:
    """Find a bucket of some tenants that is due, and begin a run over it unless one has begun.

    Args:
        now_ms: the time by which expiry is to be judged.
        after: the number of a bucket: those with greater ones are looked at.
        taken: buckets that others are at.
    """
    bucket = _next_due(sql, tenants, now_ms, day_ms, after, taken)
    if bucket is None:
        return None
    sql.execute(
        "UPDATE lifecycles SET begun_ms = ?, after = ?, deleted = 0, kept = 0,"
        " revision = (SELECT revision FROM buckets b WHERE b.bucket = lifecycles.bucket)"
        " WHERE bucket = ? AND begun_ms = 0",
        (now_ms, _START, bucket),
    )
    tenant_id, name, bucket_id, begun_ms, reached, deleted, kept = sql.execute(
        "SELECT t.tenant_id, b.name, b.bucket_id, l.begun_ms, l.after, l.deleted, l.kept"
        " FROM lifecycles l JOIN buckets b ON b.bucket = l.bucket"
        " JOIN tenants t ON t.tenant = b.tenant WHERE l.bucket = ?",
        (bucket,),
    ).fetchone()
    return LifecycleTask(
        bucket,
        TenantId(tenant_id),
        name,
        BucketId(bucket_id),
        begun_ms,
        reached,
        deleted,
        kept,
        now_ms,
    )


def note(sql: Sql, tenant: int, request: LifecycleNote) -> None:
    """Note how far a run has come; nothing of a run that is not the present one.

    A run that began under other settings than the bucket has now leaves the bucket due.

    Raises:
        NotFound: ``no_such_bucket``.
        Refused: ``not_owner``.
    """
    bucket = buckets.find(sql, tenant, request.bucket, request.bucket_id)
    key = (bucket.bucket, request.begun_ms)
    if not request.has_ended:
        sql.execute(
            "UPDATE lifecycles SET after = ?, deleted = ?, kept = ?"
            " WHERE bucket = ? AND begun_ms = ? AND after <= ?",
            (request.after, request.deleted, request.kept, *key, request.after),
        )
        return
    sql.execute(
        "UPDATE lifecycles SET ran_ms = CASE WHEN revision = ? THEN begun_ms ELSE 0 END,"
        " begun_ms = 0, after = ?, last_deleted = ?, last_kept = ?, deleted = 0, kept = 0"
        " WHERE bucket = ? AND begun_ms = ?",
        (bucket.revision, _START, request.deleted, request.kept, *key),
    )


def count(sql: Sql) -> LifecycleCounts:
    """Read the numbers."""
    return LifecycleCounts(
        *sql.execute(
            "SELECT count(*), count(*) FILTER (WHERE begun_ms > 0),"
            " coalesce(sum(last_deleted + deleted), 0), coalesce(sum(last_kept + kept), 0),"
            " coalesce(min(ran_ms), 0) FROM lifecycles"
        ).fetchone()
    )
