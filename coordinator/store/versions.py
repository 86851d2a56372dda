"""Versions of a name: which one is current, which is the null version, what a new one replaces.

A version that is not dropped is kept. Kept versions of a name are ordered by their sequence; the
last of them is the latest. ``current`` has the names whose latest version is an object. In a bucket
whose versioning was never enabled a name has one kept version at most.

A version that was committed while versioning was enabled is known by its id; any other is the null
version of its name, of which one is kept at most.

Source: docs/placement.md, "Versions".
"""

from __future__ import annotations

import hashlib
from typing import Any, Final

from common.data_classes import dataclass
from common.errors import Refused
from common.ids import VersionId
from common.ports import Sql
from common.reasons import Refusal
from common.wire.messages.buckets import SUSPENDED, UNVERSIONED, VERSIONED
from common.wire.messages.locks import COMPLIANCE, NO_LOCK, Lock
from common.wire.messages.objects import Condition, JudgedVersion
from coordinator.policy.locks import check_lock, may_delete, of_new_version
from coordinator.store import segments, usage
from coordinator.store.buckets import StoredBucket

KIND_VERSION: Final = 0
_COLUMNS: Final = (
    "v.sequence, v.version_id, v.size, v.versioning, v.delete_marker,"
    " v.retention, v.retain_until_ms, v.hold"
)


@dataclass(frozen=True, slots=True)
class KeptVersion:
    """A kept version. ``versioning``: of its bucket when it was committed."""

    sequence: int
    version_id: VersionId
    size: int
    versioning: int
    delete_marker: bool
    lock: Lock = NO_LOCK

    @property
    def is_null(self) -> bool:
        """It is the null version of its name."""
        return self.versioning != VERSIONED


@dataclass(frozen=True, slots=True)
class NewVersion:
    """A version to be, or a delete marker, which has no size and no sealed manifest.
    ``storage_class``: that its client asked for; None: that of its bucket."""

    sequence: int
    name: bytes
    version_id: VersionId
    size: int
    summary: bytes
    sealed: bytes
    tags: bytes = b""
    delete_marker: bool = False
    lock: Lock = NO_LOCK
    acl: bytes = b""
    class_name: bytes = b""
    storage_class: int | None = None


def _kept(row: Any) -> KeptVersion | None:
    if row is None:
        return None
    sequence, version_id, size, versioning, delete_marker, *lock = row
    return KeptVersion(
        sequence, VersionId(version_id), size, versioning, bool(delete_marker), Lock(*lock)
    )


def check_new_lock(bucket: StoredBucket, lock: Lock) -> None:
    """Refuse a lock that versions of a bucket cannot have.

    Raises:
        Refused: ``no_locks``, ``bad_value``.
    """
    if lock == NO_LOCK:
        return
    if bucket.default_retention is None:
        raise Refused(Refusal.NO_LOCKS)
    check_lock(lock)


def current(sql: Sql, bucket: int, name: bytes) -> KeptVersion | None:
    """The latest version of a name if it is an object, else None."""
    row = sql.execute(
        f"SELECT {_COLUMNS} FROM current c"
        " JOIN versions v ON v.sequence = c.sequence WHERE c.bucket = ? AND c.name = ?",
        (bucket, name),
    ).fetchone()
    return _kept(row)


def latest(sql: Sql, bucket: int, name: bytes) -> KeptVersion | None:
    """The latest version of a name, a delete marker too."""
    return _end(sql, bucket, name, "DESC")


def _end(sql: Sql, bucket: int, name: bytes, order: str) -> KeptVersion | None:
    row = sql.execute(
        f"SELECT {_COLUMNS} FROM versions v WHERE v.bucket = ? AND v.name = ? AND v.dropped = 0"
        f" ORDER BY v.sequence {order} LIMIT 1",
        (bucket, name),
    ).fetchone()
    return _kept(row)


def by_id(sql: Sql, bucket: int, name: bytes, version_id: bytes) -> KeptVersion | None:
    """The kept version of a name that is known by this id."""
    row = sql.execute(
        f"SELECT {_COLUMNS} FROM versions v WHERE v.version_id = ? AND v.bucket = ?"
        f" AND v.name = ? AND v.dropped = 0 AND v.versioning = {VERSIONED}",
        (version_id, bucket, name),
    ).fetchone()
    return _kept(row)


def null_version(
    sql: Sql, bucket: StoredBucket, name: bytes, found: KeptVersion | None = None
) -> KeptVersion | None:
    """The null version of a name, a delete marker too.

    Args:
        found: the current version, if it is known.
    """
    found = found or current(sql, bucket.bucket, name)
    if found is not None and found.is_null:
        return found
    if bucket.versioning == UNVERSIONED:
        return None
    row = sql.execute(
        f"SELECT {_COLUMNS} FROM versions v WHERE v.bucket = ? AND v.name = ? AND v.dropped = 0"
        f" AND v.versioning = {SUSPENDED}",
        (bucket.bucket, name),
    ).fetchone()
    if row is not None:
        return _kept(row)
    # One from before versioning was enabled is older than all that have ids.
    oldest = _end(sql, bucket.bucket, name, "ASC")
    return oldest if oldest is not None and oldest.is_null else None


def holds(condition: Condition, found: KeptVersion | None) -> bool:
    """Return whether a condition is met by the current version of its name."""
    if condition.absent and found is not None:
        return False
    return condition.version_id is None or (
        found is not None and found.version_id == condition.version_id
    )


def judged(
    sql: Sql, bucket: StoredBucket, name: bytes, wanted: JudgedVersion, found: KeptVersion | None
) -> KeptVersion | None:
    """The kept version that something was decided about, if all that it was decided by is so still.

    Args:
        found: the current version of the name.
    """
    newest = found if bucket.versioning == UNVERSIONED else latest(sql, bucket.bucket, name)
    if newest is None or newest.version_id != wanted.latest:
        return None
    kept: KeptVersion | None = newest
    if wanted.version_id != wanted.latest:
        kept = _kept(
            sql.execute(
                f"SELECT {_COLUMNS} FROM versions v WHERE v.version_id = ? AND v.bucket = ?"
                " AND v.name = ? AND v.dropped = 0",
                (wanted.version_id, bucket.bucket, name),
            ).fetchone()
        )
    if kept is None or not wanted.tags:
        return kept
    (tags,) = sql.execute(
        "SELECT tags FROM versions WHERE sequence = ?", (kept.sequence,)
    ).fetchone()
    return kept if hashlib.sha256(tags).digest() == wanted.tags else None


def insert(
    sql: Sql,
    tenant: int,
    bucket: StoredBucket,
    new: NewVersion,
    found: KeptVersion | None,
    now_ms: int,
) -> None:
    """Write a version, which becomes the latest of its name, drop the one whose place it takes,
    account. In a bucket with locks it gets the default retention where it brings none. Its pages
    are there already.

    Args:
        found: the current version of the name.

    Raises:
        Refused: ``version_locked``: the one whose place it would take must stay; ``no_locks``,
            ``bad_value``: as :func:`check_new_lock`; ``quota_exceeded``.
    """
    check_new_lock(bucket, new.lock)
    lock = new.lock
    if bucket.default_retention is not None and not new.delete_marker:
        lock = of_new_version(lock, bucket.default_retention, now_ms)
    gone = found
    if bucket.versioning == VERSIONED:
        gone = None
    elif bucket.versioning == SUSPENDED:
        gone = null_version(sql, bucket, new.name, found)
    if gone is not None:
        _drop(sql, gone, now_ms, bypass=False)
    sql.execute(
        "INSERT INTO versions (sequence, bucket, name, version_id, delete_marker, versioning, size,"
        " created_ms, summary, sealed, tags, acl, class_name, storage_class, retention,"
        " retain_until_ms, hold) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            new.sequence,
            bucket.bucket,
            new.name,
            new.version_id,
            int(new.delete_marker),
            bucket.versioning,
            new.size,
            now_ms,
            new.summary,
            new.sealed,
            new.tags,
            new.acl,
            new.class_name,
            new.storage_class,
            lock.mode,
            lock.until_ms,
            lock.hold,
        ),
    )
    if lock.mode == COMPLIANCE:
        segments.retain(sql, new.sequence, lock.until_ms)
    if not new.delete_marker:
        _lead_to(sql, bucket.bucket, new.name, new.sequence, found)
    elif found is not None:
        _lead_nowhere(sql, bucket.bucket, new.name)
    objects = int(not new.delete_marker) - _objects(gone)
    size = new.size - (gone.size if gone is not None else 0)
    usage.account(sql, tenant, bucket.bucket, objects, size)


def remove(
    sql: Sql,
    bucket: StoredBucket,
    name: bytes,
    gone: KeptVersion,
    found: KeptVersion | None,
    now_ms: int,
    *,
    bypass: bool = False,
) -> int:
    """Drop a version for good, and let the latest of those that are left be current.

    Args:
        found: the current version of the name.
        bypass: also one that GOVERNANCE protects.

    Returns:
        The number of objects that were removed: none with a delete marker. The caller accounts.

    Raises:
        Refused: ``version_locked``: it must stay; nothing was changed.
    """
    _drop(sql, gone, now_ms, bypass=bypass)
    if found is None or found.sequence == gone.sequence:
        left = None
        if bucket.versioning != UNVERSIONED:
            left = latest(sql, bucket.bucket, name)
        if left is not None and not left.delete_marker:
            _lead_to(sql, bucket.bucket, name, left.sequence, found)
        elif found is not None:
            _lead_nowhere(sql, bucket.bucket, name)
    return _objects(gone)


def _lead_to(sql: Sql, bucket: int, name: bytes, sequence: int, found: KeptVersion | None) -> None:
    if found is None:
        sql.execute(
            "INSERT INTO current (bucket, name, sequence) VALUES (?, ?, ?)",
            (bucket, name, sequence),
        )
    else:
        sql.execute(
            "UPDATE current SET sequence = ? WHERE bucket = ? AND name = ?",
            (sequence, bucket, name),
        )


def _lead_nowhere(sql: Sql, bucket: int, name: bytes) -> None:
    sql.execute("DELETE FROM current WHERE bucket = ? AND name = ?", (bucket, name))


def _objects(gone: KeptVersion | None) -> int:
    return int(gone is not None and not gone.delete_marker)


def _drop(sql: Sql, gone: KeptVersion, now_ms: int, *, bypass: bool) -> None:
    """Drop a version: the only way out of the kept ones. Raises Refused ``version_locked``."""
    if not may_delete(gone.lock, now_ms, bypass=bypass):
        raise Refused(Refusal.VERSION_LOCKED)
    sequence = gone.sequence
    sql.execute("UPDATE versions SET dropped = 1 WHERE sequence = ?", (sequence,))
    sql.execute(
        "INSERT INTO dropped (owner, kind, bucket)"
        " SELECT sequence, ?, bucket FROM versions WHERE sequence = ?",
        (KIND_VERSION, sequence),
    )
