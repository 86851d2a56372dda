"""Versions get other classes by lifecycle rules, and stay the same versions. Functions of a
transaction.

Source: docs/placement.md, "Objects expire"; docs/decisions/0057-class-names.md.
"""

from __future__ import annotations

import hashlib

from common.errors import Refused
from common.ports import Sql
from common.reasons import Refusal
from common.wire.control import Failure
from common.wire.messages.lifecycle import ClassChange, ClassesChange, ClassResult
from coordinator.store import buckets, classes, misplaced, notifications, versions
from coordinator.store.buckets import StoredBucket


def change(sql: Sql, tenant: int, request: ClassesChange, now_ms: int) -> list[ClassResult]:
    """Give versions other classes, each if all that it was judged by is still so. Where its data
    is to lie elsewhere then, that is noted.

    Raises:
        NotFound: ``no_such_bucket``.
        Refused: ``not_owner``.
    """
    bucket = buckets.find(sql, tenant, request.bucket, request.bucket_id)
    refused = Failure.of(Refused(Refusal.CONDITION_FAILED))
    return [
        ClassResult(None if _change(sql, tenant, bucket, item, now_ms) else refused)
        for item in request.items
    ]


def _change(sql: Sql, tenant: int, bucket: StoredBucket, item: ClassChange, now_ms: int) -> bool:
    """Return whether the version has the class."""
    found = versions.current(sql, bucket.bucket, item.name)
    kept = versions.judged(sql, bucket, item.name, item.judged, found)
    if kept is None or kept.delete_marker:
        return False
    sealed, own = sql.execute(
        "SELECT class_name, storage_class FROM versions WHERE sequence = ?", (kept.sequence,)
    ).fetchone()
    wanted = item.named_class.sealed
    if sealed == wanted:
        return True  # This very request was carried out before.
    if hashlib.sha256(sealed).digest() != item.former:
        return False
    asked = classes.asked(sql, item.named_class)
    sql.execute(
        "UPDATE versions SET class_name = ?, storage_class = ? WHERE sequence = ?",
        (wanted, asked, kept.sequence),
    )
    if asked != own:
        misplaced.note_all(sql, tenant, kept.sequence)
    notifications.add(sql, tenant, bucket, item.notification, now_ms)
    return True
