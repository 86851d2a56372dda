"""The accounts of buckets, and the quotas that operators give them. Functions of a transaction.

Every version that is kept counts, noncurrent ones too; delete markers do not. The number is part of
the transaction that changes it, so that no two commits can exceed a quota together.

Source: docs/placement.md, "Quotas"; docs/decisions/0045-quotas.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from common.data_classes import dataclass
from common.errors import NotFound, Refused
from common.ports import Sql
from common.reasons import Absence, Refusal


@dataclass(frozen=True, slots=True)
class Quota:
    """The most that a bucket may hold; None: as much as there is room for."""

    objects: int | None = None
    logical_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """The account of a bucket or a tenant: versions of objects, and their bytes."""

    objects: int
    logical_bytes: int


NOTHING: Final = Usage(0, 0)


def account(sql: Sql, tenant: int, bucket: int, objects: int, size: int) -> None:
    """Add to what a bucket holds. What makes it no larger is never refused.

    Raises:
        Refused: ``quota_exceeded``: it would hold more than its quota allows.
    """
    held, held_bytes, most, most_bytes = sql.execute(
        "INSERT INTO bucket_usage (bucket, tenant, objects, logical_bytes) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (bucket) DO UPDATE SET objects = bucket_usage.objects + excluded.objects,"
        " logical_bytes = bucket_usage.logical_bytes + excluded.logical_bytes"
        " RETURNING objects, logical_bytes, most_objects, most_bytes",
        (bucket, tenant, objects, size),
    ).fetchone()
    if objects > 0 and most is not None and held > most:
        raise Refused(Refusal.QUOTA_EXCEEDED, objects=most)
    if size > 0 and most_bytes is not None and held_bytes > most_bytes:
        raise Refused(Refusal.QUOTA_EXCEEDED, bytes=most_bytes)


def check_part(sql: Sql, bucket: int, upload: int) -> None:
    """Refuse a part with which an upload alone would exceed the bucket's quota once it is
    completed. Whether it does is decided then; this spares what cannot be kept.

    Raises:
        Refused: ``quota_exceeded``.
    """
    row = sql.execute(
        "SELECT logical_bytes, most_bytes FROM bucket_usage WHERE bucket = ?", (bucket,)
    ).fetchone()
    if row is None or row[1] is None:
        return
    held, most = row
    (parts,) = sql.execute(
        "SELECT coalesce(sum(size), 0) FROM parts WHERE upload = ?", (upload,)
    ).fetchone()
    if held + parts > most:
        raise Refused(Refusal.QUOTA_EXCEEDED, bytes=most)


def set_quota(sql: Sql, name: str, quota: Quota) -> Usage:
    """Give a bucket a quota, for an operator. One that holds more keeps it, and takes nothing that
    makes it larger.

    Returns:
        What it holds.

    Raises:
        NotFound: ``no_such_bucket``.
    """
    row = sql.execute("SELECT bucket, tenant FROM buckets WHERE name = ?", (name,)).fetchone()
    if row is None:
        raise NotFound(Absence.NO_SUCH_BUCKET)
    return Usage(
        *sql.execute(
            "INSERT INTO bucket_usage (bucket, tenant, most_objects, most_bytes)"
            " VALUES (?, ?, ?, ?) ON CONFLICT (bucket) DO UPDATE SET"
            " most_objects = excluded.most_objects, most_bytes = excluded.most_bytes"
            " RETURNING objects, logical_bytes",
            (*row, quota.objects, quota.logical_bytes),
        ).fetchone()
    )


def forget(sql: Sql, bucket: int) -> None:
    """Forget a bucket that is deleted, and its quota."""
    sql.execute("DELETE FROM bucket_usage WHERE bucket = ?", (bucket,))


def by_tenant(sql: Sql) -> Mapping[int, Usage]:
    """Return the account of each tenant, by its number; one that holds nothing may be left out."""
    return {
        tenant: Usage(objects, size)
        for tenant, objects, size in sql.execute(
            "SELECT tenant, sum(objects), sum(logical_bytes) FROM bucket_usage GROUP BY tenant"
        )
    }


def total(sql: Sql) -> Usage:
    """Return the account of all tenants together."""
    return Usage(
        *sql.execute(
            "SELECT coalesce(sum(objects), 0), coalesce(sum(logical_bytes), 0) FROM bucket_usage"
        ).fetchone()
    )
