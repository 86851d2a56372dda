"""Uploads in parts: begun, filled, completed to an object, aborted. Functions of a transaction.

A part owns its pages like a version does. Completing renumbers the pages of the chosen parts to
those of the object, so that reading knows no parts.

Source: docs/placement.md, "Uploads in parts".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from common import limits
from common.errors import NotFound, Refused
from common.ids import PeerId, VersionId
from common.ports import Sql
from common.reasons import Absence, Refusal
from common.wire.messages.locks import Lock
from common.wire.messages.multipart import (
    ChosenPart,
    PartCommit,
    PartRow,
    Parts,
    PartsList,
    UploadComplete,
    UploadCreate,
    UploadRecord,
)
from common.wire.messages.objects import Committed
from coordinator.store import buckets, classes, notifications, objects, segments, usage, versions
from coordinator.store.objects import KIND_PART
from coordinator.store.schema import next_number
from coordinator.store.segments import Content
from coordinator.store.versions import NewVersion

ROW_OVERHEAD_BYTES = 64
"""Size of a listed row on the wire beside its name and sealed record, at most."""


def create(
    sql: Sql, tenant: int, request: UploadCreate, now_ms: int, *, most_uploads: int
) -> UploadRecord:
    """Begin an upload; the same upload id again gives the same answer.

    Args:
        most_uploads: that the tenant may have in progress.

    Raises:
        NotFound: ``no_such_bucket``.
        Refused: ``not_owner``, ``bad_name``, ``upload_exists``, ``too_large`` (its record),
            ``too_many_uploads``; as :func:`coordinator.store.versions.check_new_lock`.
    """
    if not request.name:
        raise Refused(Refusal.BAD_NAME)
    if len(request.sealed) > limits.MAX_UPLOAD_RECORD_BYTES:
        raise Refused(Refusal.TOO_LARGE, sealed_bytes=len(request.sealed))
    bucket = buckets.find(sql, tenant, request.bucket, request.bucket_id)
    versions.check_new_lock(bucket, request.lock)
    row = sql.execute(
        "SELECT bucket, name, created_ms, sealed FROM uploads WHERE upload_id = ?",
        (request.upload_id,),
    ).fetchone()
    if row is not None:
        if (row[0], row[1]) != (bucket.bucket, request.name):
            raise Refused(Refusal.UPLOAD_EXISTS)
        return UploadRecord(bucket.bucket_id, request.upload_id, row[2], row[3], bucket.revision)
    if objects.is_taken(sql, request.upload_id):
        raise Refused(Refusal.UPLOAD_EXISTS)
    begun = sql.execute("SELECT uploads FROM tenants WHERE tenant = ?", (tenant,)).fetchone()[0]
    if begun >= most_uploads:
        raise Refused(Refusal.TOO_MANY_UPLOADS, most=most_uploads)
    _count(sql, tenant, 1)
    class_name = b"" if request.named_class is None else request.named_class.sealed
    sql.execute(
        "INSERT INTO uploads (upload, bucket, name, upload_id, created_ms, sealed, class_name,"
        " storage_class, retention, retain_until_ms, hold)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            next_number(sql, "sequence"),
            bucket.bucket,
            request.name,
            request.upload_id,
            now_ms,
            request.sealed,
            class_name,
            classes.asked(sql, request.named_class),
            request.lock.mode,
            request.lock.until_ms,
            request.lock.hold,
        ),
    )
    return UploadRecord(
        bucket.bucket_id,
        request.upload_id,
        now_ms,
        request.sealed,
        bucket.revision,
        request.lock,
        class_name,
    )


def _find(sql: Sql, bucket: int, name: bytes, upload_id: bytes) -> int:
    row = sql.execute(
        "SELECT upload FROM uploads WHERE bucket = ? AND name = ? AND upload_id = ?",
        (bucket, name, upload_id),
    ).fetchone()
    if row is None:
        raise NotFound(Absence.NO_SUCH_UPLOAD)
    upload: int = row[0]
    return upload


def get(sql: Sql, tenant: int, bucket_name: str, name: bytes, upload_id: bytes) -> UploadRecord:
    """An upload in progress. Raises NotFound ``no_such_bucket``, ``no_such_upload``."""
    bucket = buckets.find(sql, tenant, bucket_name)
    upload = _find(sql, bucket.bucket, name, upload_id)
    created_ms, sealed, class_name, *lock = sql.execute(
        "SELECT created_ms, sealed, class_name, retention, retain_until_ms, hold FROM uploads"
        " WHERE upload = ?",
        (upload,),
    ).fetchone()
    return UploadRecord(
        bucket.bucket_id,
        VersionId(upload_id),
        created_ms,
        sealed,
        bucket.revision,
        Lock(*lock),
        class_name,
    )


def check_part(request: PartCommit) -> None:
    """Raises Refused ``bad_part_number`` or ``too_large``."""
    if not 1 <= request.part_number <= limits.MAX_PARTS:
        raise Refused(Refusal.BAD_PART_NUMBER, part_number=request.part_number)
    if request.size > limits.MAX_SINGLE_PUT_BYTES:
        raise Refused(Refusal.TOO_LARGE, size=request.size)


def commit_part(
    sql: Sql, tenant: int, writer: PeerId, request: PartCommit, content: Content, now_ms: int
) -> Committed:
    """Make or replace a part, all or nothing. ``writer`` and ``content`` as in
    :func:`coordinator.store.objects.commit`.

    Raises:
        NotFound: ``no_such_bucket``, ``no_such_upload``, ``no_such_segment``.
        Refused: ``not_owner``, ``quota_exceeded``, and what
            :func:`coordinator.store.segments.register` refuses.
    """
    bucket = buckets.find(sql, tenant, request.bucket)
    upload = _find(sql, bucket.bucket, request.name, request.upload_id)
    row = sql.execute(
        "SELECT part_id, sequence, created_ms FROM parts WHERE upload = ? AND part_number = ?",
        (upload, request.part_number),
    ).fetchone()
    if row is not None:
        if row[0] == request.part_id:
            return Committed(row[1], row[2], bucket_revision=bucket.revision)
        _drop(sql, bucket.bucket, row[1])
    sequence = next_number(sql, "sequence")
    segments.register(sql, tenant, bucket.bucket, writer, sequence, content, now_ms)
    sql.execute(
        "INSERT INTO parts"
        " (upload, part_number, part_id, sequence, size, pages, created_ms, sealed)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (upload, part_number) DO UPDATE SET"
        " part_id = excluded.part_id, sequence = excluded.sequence, size = excluded.size,"
        " pages = excluded.pages, created_ms = excluded.created_ms, sealed = excluded.sealed",
        (
            upload,
            request.part_number,
            request.part_id,
            sequence,
            request.size,
            len(content.pages),
            now_ms,
            request.sealed,
        ),
    )
    usage.check_part(sql, bucket.bucket, upload)
    return Committed(sequence, now_ms, bucket_revision=bucket.revision)


def _drop(sql: Sql, bucket: int, sequence: int) -> None:
    sql.execute(
        "INSERT INTO dropped (owner, kind, bucket) VALUES (?, ?, ?)",
        (sequence, KIND_PART, bucket),
    )


def list_parts(sql: Sql, tenant: int, request: PartsList) -> Parts:
    """A page of an upload's parts. Raises NotFound ``no_such_bucket``, ``no_such_upload``."""
    bucket = buckets.find(sql, tenant, request.bucket)
    upload = _find(sql, bucket.bucket, request.name, request.upload_id)
    limit = min(request.limit, limits.MAX_LIST_ENTRIES)
    if limit == 0:
        return Parts(bucket.bucket_id, (), False, bucket.revision)
    rows: list[PartRow] = []
    room = limits.MAX_LIST_REPLY_BYTES
    for number, part_id, size, created_ms, sealed in sql.execute(
        "SELECT part_number, part_id, size, created_ms, sealed FROM parts"
        " WHERE upload = ? AND part_number > ? ORDER BY part_number LIMIT ?",
        (upload, request.after, limit + 1),
    ):
        room -= len(sealed) + ROW_OVERHEAD_BYTES
        if len(rows) == limit or (room < 0 and rows):
            return Parts(bucket.bucket_id, tuple(rows), True, bucket.revision)
        rows.append(PartRow(number, VersionId(part_id), size, created_ms, sealed))
    return Parts(bucket.bucket_id, tuple(rows), False, bucket.revision)


def complete(sql: Sql, tenant: int, request: UploadComplete, now_ms: int) -> Committed:
    """Make the object of the chosen parts; drop the others and the upload.

    Raises:
        NotFound: ``no_such_bucket``, ``no_such_upload``, ``no_such_part``.
        Refused: ``not_owner``, ``condition_failed``, ``bad_pages`` (sizes do not add up),
            ``version_exists``: another request completed it; look what of.
    """
    bucket = buckets.find(sql, tenant, request.bucket)
    before = objects.committed_before(sql, bucket, request.name, request.upload_id, request.sealed)
    if before is not None:
        return before
    upload = _find(sql, bucket.bucket, request.name, request.upload_id)
    parts: dict[int, tuple[Any, ...]] = {
        row[0]: row[1:]
        for row in sql.execute(
            "SELECT part_number, part_id, sequence, size, pages FROM parts WHERE upload = ?",
            (upload,),
        )
    }
    found = versions.current(sql, bucket.bucket, request.name)
    sequence = next_number(sql, "sequence")
    moves = _moves(parts, request.parts, sequence, request.size)
    if not versions.holds(request.condition, found):
        raise Refused(Refusal.CONDITION_FAILED)
    class_name, storage_class, *lock = sql.execute(
        "SELECT class_name, storage_class, retention, retain_until_ms, hold FROM uploads"
        " WHERE upload = ?",
        (upload,),
    ).fetchone()
    sql.executemany(
        "UPDATE pages SET owner = ?, number = number + ?, start = start + ? WHERE owner = ?", moves
    )
    chosen = {part.part_number for part in request.parts}
    for number, (_, owner, _, _) in parts.items():
        if number not in chosen:
            _drop(sql, bucket.bucket, owner)
    _forget(sql, upload)
    _count(sql, tenant, -1)
    new = NewVersion(
        sequence,
        request.name,
        request.upload_id,
        request.size,
        request.summary,
        request.sealed,
        request.tags,
        lock=Lock(*lock),
        acl=request.acl,
        class_name=class_name,
        storage_class=storage_class,
    )
    versions.insert(sql, tenant, bucket, new, found, now_ms)
    notifications.add(sql, tenant, bucket, request.notification, now_ms)
    return objects.committed(bucket, sequence, now_ms)


def _moves(
    parts: dict[int, tuple[Any, ...]], chosen: Sequence[ChosenPart], owner: int, size: int
) -> list[tuple[int, int, int, int]]:
    """Return the moves of the pages of each chosen part: the new owner, what to add to their
    numbers and starts, the old owner."""
    moves = []
    first_page = start = 0
    taken = set()
    for choice in chosen:
        part = parts.get(choice.part_number)
        if part is None or part[0] != choice.part_id or choice.part_number in taken:
            raise NotFound(Absence.NO_SUCH_PART, part_number=choice.part_number)
        taken.add(choice.part_number)
        _, sequence, part_size, pages = part
        if pages:
            moves.append((owner, first_page, start, sequence))
        first_page += pages
        start += part_size
    if start != size or first_page > limits.MAX_PAGES_PER_OBJECT:
        raise Refused(Refusal.BAD_PAGES, what="size", size=size, parts_size=start)
    return moves


def abort(sql: Sql, tenant: int, bucket_name: str, name: bytes, upload_id: bytes) -> None:
    """Drop an upload and its parts. Raises NotFound ``no_such_bucket``, ``no_such_upload``."""
    bucket = buckets.find(sql, tenant, bucket_name).bucket
    upload = _find(sql, bucket, name, upload_id)
    sql.execute(
        "INSERT INTO dropped (owner, kind, bucket)"
        " SELECT sequence, ?, ? FROM parts WHERE upload = ?",
        (KIND_PART, bucket, upload),
    )
    _forget(sql, upload)
    _count(sql, tenant, -1)


def abort_all(sql: Sql, tenant: int, bucket_name: str) -> None:
    """Drop all uploads of a bucket, so that it can be deleted.

    Raises:
        NotFound: ``no_such_bucket``.
        Refused: ``not_owner``; ``bucket_not_empty``: there are more uploads or parts than one
            transaction may drop (MAX_PARTS); abort them one by one.
    """
    bucket = buckets.find(sql, tenant, bucket_name).bucket
    found = sql.execute(
        "SELECT upload FROM uploads WHERE bucket = ? LIMIT ?", (bucket, limits.MAX_PARTS + 1)
    ).fetchall()
    if not found:
        return
    owners = sql.execute(
        "SELECT p.sequence FROM uploads u JOIN parts p ON p.upload = u.upload"
        " WHERE u.bucket = ? LIMIT ?",
        (bucket, limits.MAX_PARTS + 1),
    ).fetchall()
    if max(len(found), len(owners)) > limits.MAX_PARTS:
        raise Refused(Refusal.BUCKET_NOT_EMPTY)
    for (owner,) in owners:
        _drop(sql, bucket, owner)
    for (upload,) in found:
        _forget(sql, upload)
    _count(sql, tenant, -len(found))


def _count(sql: Sql, tenant: int, change: int) -> None:
    """Keep the number of a tenant's uploads in progress."""
    sql.execute("UPDATE tenants SET uploads = uploads + ? WHERE tenant = ?", (change, tenant))


def _forget(sql: Sql, upload: int) -> None:
    sql.execute("DELETE FROM parts WHERE upload = ?", (upload,))
    sql.execute("DELETE FROM uploads WHERE upload = ?", (upload,))
