"""Buckets: made, found, listed and deleted. Functions of a transaction."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from common import limits
from common.data_classes import dataclass
from common.errors import NotFound, Refused
from common.ids import BucketId, TenantId
from common.ports import Sql
from common.reasons import Absence, Refusal
from common.wire.messages.base import STANDARD_CLASS
from common.wire.messages.buckets import (
    FIRST_REVISION,
    SUSPENDED,
    UNVERSIONED,
    VERSIONED,
    BucketCreate,
    BucketLocksSet,
    BucketRecord,
    BucketRow,
    Buckets,
    BucketSettingsSet,
    BucketVersioningSet,
)
from common.wire.messages.locks import DefaultRetention
from coordinator.policy.locks import check_default
from coordinator.store import classes

ROW_OVERHEAD_BYTES: Final = 64
"""Size of a row on the wire beside its name and settings, at most."""


@dataclass(frozen=True, slots=True)
class StoredBucket:
    """A bucket as other nouns need it."""

    bucket: int
    bucket_id: BucketId
    revision: int
    """Of its settings."""
    versioning: int = UNVERSIONED
    default_retention: DefaultRetention | None = None
    """None: its versions cannot be locked."""


def find(sql: Sql, tenant: int, name: str, expected: bytes | None = None) -> StoredBucket:
    """The tenant's bucket of a name.

    Args:
        expected: the bucket id it must have, if given.

    Raises:
        NotFound: ``no_such_bucket``.
        Refused: ``not_owner``: it is another tenant's.
    """
    row = sql.execute(
        f"SELECT bucket, bucket_id, tenant, revision, versioning, {_RETENTION}"
        " FROM buckets WHERE name = ?",
        (name,),
    ).fetchone()
    if row is None:
        raise NotFound(Absence.NO_SUCH_BUCKET)
    if row[2] != tenant:
        raise Refused(Refusal.NOT_OWNER)
    if expected is not None and row[1] != expected:
        raise NotFound(Absence.NO_SUCH_BUCKET)
    return StoredBucket(row[0], BucketId(row[1]), row[3], row[4], _retention(*row[5:]))


_RETENTION: Final = "has_locks, retention_mode, retention_days, retention_years"


def _retention(has_locks: int, mode: int, days: int, years: int) -> DefaultRetention | None:
    return DefaultRetention(mode, days, years) if has_locks else None


def owner(sql: Sql, name: str) -> TenantId:
    """The tenant that owns the bucket of a name. Raises NotFound ``no_such_bucket``."""
    row = sql.execute(
        "SELECT t.tenant_id FROM buckets b JOIN tenants t ON t.tenant = b.tenant WHERE b.name = ?",
        (name,),
    ).fetchone()
    if row is None:
        raise NotFound(Absence.NO_SUCH_BUCKET)
    return TenantId(row[0])


def create(
    sql: Sql, tenant: int, request: BucketCreate, now_ms: int, *, most_buckets: int
) -> BucketRecord:
    """Make a bucket; the same bucket id again gives the same answer.

    Args:
        most_buckets: that the tenant may have.

    Raises:
        Refused: ``bucket_exists`` (another tenant's), ``bucket_owned`` (this tenant's),
            ``bad_name``, ``too_large`` (its settings), ``too_many_buckets``, ``tenant_not_open``
            (it was removed).
    """
    if not request.name:
        raise Refused(Refusal.BAD_NAME)
    _check_settings(request.settings)
    row = sql.execute(
        "SELECT tenant, bucket_id FROM buckets WHERE name = ?", (request.name,)
    ).fetchone()
    if row is not None:
        owner, bucket_id = row
        if owner != tenant:
            raise Refused(Refusal.BUCKET_EXISTS)
        if bucket_id != request.bucket_id:
            raise Refused(Refusal.BUCKET_OWNED)
        return get(sql, tenant, request.name)
    taken = sql.execute("SELECT 1 FROM buckets WHERE bucket_id = ?", (request.bucket_id,))
    if taken.fetchone() is not None:
        raise Refused(Refusal.BUCKET_EXISTS)
    if sql.execute("SELECT 1 FROM tenants WHERE tenant = ?", (tenant,)).fetchone() is None:
        raise Refused(
            Refusal.TENANT_NOT_OPEN
        )  # It was removed after this connection proved its key.
    # A range of an index, and seldom: not worth a number that is kept.
    count = sql.execute("SELECT count(*) FROM buckets WHERE tenant = ?", (tenant,)).fetchone()[0]
    if count >= most_buckets:
        raise Refused(Refusal.TOO_MANY_BUCKETS, most=most_buckets)
    sql.execute(
        "INSERT INTO buckets"
        " (bucket_id, name, tenant, created_ms, settings, revision, versioning, has_locks)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            request.bucket_id,
            request.name,
            tenant,
            now_ms,
            request.settings,
            FIRST_REVISION,
            VERSIONED if request.has_locks else UNVERSIONED,
            int(request.has_locks),
        ),
    )
    return get(sql, tenant, request.name)


def _check_settings(settings: bytes) -> None:
    if len(settings) > limits.MAX_BUCKET_RECORD_BYTES:
        raise Refused(Refusal.TOO_LARGE, settings_bytes=len(settings))


def get(sql: Sql, tenant: int, name: str) -> BucketRecord:
    """The tenant's bucket of a name, whole. Raises as :func:`find`."""
    bucket = find(sql, tenant, name)
    created_ms, settings, revision, number = sql.execute(
        "SELECT created_ms, settings, revision, storage_class FROM buckets WHERE bucket = ?",
        (bucket.bucket,),
    ).fetchone()
    storage_class = classes.name_of(sql, number)
    return BucketRecord(
        bucket.bucket_id,
        name,
        created_ms,
        settings,
        revision,
        storage_class,
        bucket.versioning,
        bucket.default_retention,
        classes.names_in(sql, number),
    )


def set_settings(sql: Sql, tenant: int, request: BucketSettingsSet) -> BucketRecord:
    """Replace a bucket's settings if nobody has since the caller read them.

    Idempotent: what is sealed is sealed with fresh randomness, so the bytes and the revision say
    that the settings are this request's.

    Raises:
        NotFound: ``no_such_bucket``: of this name, or no longer the one with this id.
        Refused: ``not_owner``; ``settings_changed``: they have another revision; ``too_large``.
    """
    _check_settings(request.settings)
    bucket = find(sql, tenant, request.bucket, request.bucket_id).bucket
    revision = request.expected_revision + 1
    found = get(sql, tenant, request.bucket)
    if (found.revision, found.settings) == (revision, request.settings):
        return found
    if found.revision != request.expected_revision:
        raise Refused(Refusal.SETTINGS_CHANGED, revision=found.revision)
    sql.execute(
        "UPDATE buckets SET settings = ?, revision = ? WHERE bucket = ?",
        (request.settings, revision, bucket),
    )
    return replace(found, settings=request.settings, revision=revision)


@dataclass(frozen=True, slots=True)
class BucketOverview:
    """A bucket as operators see it. ``storage_class``: its name. ``most_objects``, ``most_bytes``:
    its quota; None: none."""

    name: str
    storage_class: str
    objects: int
    logical_bytes: int
    most_objects: int | None
    most_bytes: int | None


def overview(sql: Sql, limit: int) -> list[BucketOverview]:
    """The buckets of all tenants, by name."""
    return [
        BucketOverview(name, its_class or STANDARD_CLASS, objects, size, most, most_bytes)
        for name, its_class, objects, size, most, most_bytes in sql.execute(
            "SELECT b.name, c.name, coalesce(u.objects, 0), coalesce(u.logical_bytes, 0),"
            " u.most_objects, u.most_bytes FROM buckets b"
            " LEFT JOIN storage_classes c ON c.storage_class = b.storage_class"
            " LEFT JOIN bucket_usage u ON u.bucket = b.bucket ORDER BY b.name LIMIT ?",
            (limit,),
        )
    ]


def set_class(sql: Sql, name: str, storage_class: str) -> int | None:
    """Give a bucket another storage class, for an operator: what is written from now on takes it.

    Returns:
        The number of the bucket; None if it had the class before.

    Raises:
        NotFound: ``no_such_bucket``, ``no_such_class``.
    """
    number = classes.find(sql, storage_class)
    row = sql.execute(
        "SELECT bucket, storage_class FROM buckets WHERE name = ?", (name,)
    ).fetchone()
    if row is None:
        raise NotFound(Absence.NO_SUCH_BUCKET)
    bucket, before = row
    if before == number:
        return None
    sql.execute("UPDATE buckets SET storage_class = ? WHERE bucket = ?", (number, bucket))
    changed: int = bucket
    return changed


def set_versioning(sql: Sql, tenant: int, request: BucketVersioningSet) -> BucketRecord:
    """Enable or suspend a bucket's versioning.

    Raises:
        NotFound: ``no_such_bucket``: of this name, or no longer the one with this id.
        Refused: ``not_owner``; ``bad_value``: versioning cannot be undone; ``bucket_has_locks``:
            it cannot be suspended.
    """
    if request.versioning not in {VERSIONED, SUSPENDED}:
        raise Refused(Refusal.BAD_VALUE, versioning=request.versioning)
    bucket = find(sql, tenant, request.bucket, request.bucket_id)
    if bucket.default_retention is not None and request.versioning != VERSIONED:
        raise Refused(Refusal.BUCKET_HAS_LOCKS)
    sql.execute(
        "UPDATE buckets SET versioning = ? WHERE bucket = ?", (request.versioning, bucket.bucket)
    )
    return get(sql, tenant, request.bucket)


def set_locks(sql: Sql, tenant: int, request: BucketLocksSet) -> BucketRecord:
    """Let the versions of a bucket be locked, and set the retention that new ones get.

    Raises:
        NotFound: ``no_such_bucket``: of this name, or no longer the one with this id.
        Refused: ``not_owner``; ``not_versioned``: its versioning is not enabled; ``bad_value``.
    """
    default = request.default_retention
    check_default(default)
    bucket = find(sql, tenant, request.bucket, request.bucket_id)
    if bucket.versioning != VERSIONED:
        raise Refused(Refusal.NOT_VERSIONED)
    sql.execute(
        "UPDATE buckets SET has_locks = 1, retention_mode = ?, retention_days = ?,"
        " retention_years = ? WHERE bucket = ?",
        (default.mode, default.days, default.years, bucket.bucket),
    )
    return get(sql, tenant, request.bucket)


def delete(sql: Sql, tenant: int, name: str) -> int:
    """Delete an empty bucket.

    Returns:
        The number that it had.

    Raises:
        NotFound: ``no_such_bucket``.
        Refused: ``not_owner``, ``bucket_not_empty``.
    """
    bucket = find(sql, tenant, name).bucket
    holds = sql.execute(
        "SELECT EXISTS (SELECT 1 FROM versions WHERE bucket = ? AND dropped = 0)"
        " OR EXISTS (SELECT 1 FROM uploads WHERE bucket = ?)",
        (bucket, bucket),
    ).fetchone()[0]
    if holds:
        raise Refused(Refusal.BUCKET_NOT_EMPTY)
    sql.execute("DELETE FROM buckets WHERE bucket = ?", (bucket,))
    return bucket


def list_buckets(sql: Sql, tenant: int, prefix: str, after: str, limit: int) -> Buckets:
    """A page of the tenant's buckets, by name; cut short by MAX_LIST_REPLY_BYTES."""
    limit = min(limit, limits.MAX_LIST_ENTRIES)
    if limit == 0:
        return Buckets((), False)
    found: list[BucketRow] = []
    room = limits.MAX_LIST_REPLY_BYTES
    # Row by row: all that are asked for may have a quarter GiB of settings.
    for bucket_id, name, created_ms, settings, revision in sql.execute(
        "SELECT bucket_id, name, created_ms, settings, revision FROM buckets"
        " WHERE tenant = ? AND name > ? AND name >= ? AND substr(name, 1, CAST(? AS INT)) = ?"
        " ORDER BY name LIMIT ?",
        (tenant, after, prefix, len(prefix), prefix, limit + 1),
    ):
        room -= len(name) + len(settings) + ROW_OVERHEAD_BYTES
        if len(found) == limit or (found and room < 0):
            return Buckets(tuple(found), True)
        found.append(BucketRow(BucketId(bucket_id), name, created_ms, settings, revision))
    return Buckets(tuple(found), False)
