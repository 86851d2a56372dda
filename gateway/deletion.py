"""Deleting objects.

Source: docs/protocol.md; docs/s3-compatibility.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from common.data_classes import dataclass
from common.errors import AlvearyError, NotFound, Refused
from common.format.manifest import seal_marker
from common.format.objects import METADATA_VERSION, DeleteMarker
from common.reasons import Absence, Refusal
from common.wire.messages.buckets import UNVERSIONED, VERSIONED
from common.wire.messages.objects import (
    Condition,
    Deleted,
    DeleteItem,
    DeleteResult,
    JudgedVersion,
    ObjectsDelete,
)
from gateway.conditions import WriteCondition
from gateway.events import notification_of
from gateway.notifications import Cause
from gateway.object_service import ObjectService
from gateway.principals import Bucket
from gateway.versions import VersionName
from gateway.writing import under_condition

UNCONDITIONAL: Final = Condition()


@dataclass(frozen=True, slots=True)
class Deletion:
    """An object to delete, or a version of it. ``name``: as stored. ``version``: the one that is
    deleted for good; None: the object, of which a bucket with versions keeps those it has, under a
    delete marker. ``condition``: on the current version of the name. ``bypass``: the caller may
    bypass GOVERNANCE, and asks for it. ``judged``: the version that was found to be due, which must
    still be as it was judged; it is the one that is deleted where ``version`` is given.
    ``cause``: of its event."""

    name: bytes
    version: VersionName | None = None
    condition: Condition = UNCONDITIONAL
    bypass: bool = False
    judged: JudgedVersion | None = None
    cause: Cause | None = None


@dataclass(frozen=True, slots=True)
class DeletedObject:
    """An object or version that was deleted. ``marker``: the delete marker that was made.
    ``was_marker``: the version that was named is a delete marker."""

    marker: VersionName | None = None
    was_marker: bool = False


async def delete_object(
    service: ObjectService,
    bucket: Bucket,
    name: bytes,
    wanted: WriteCondition,
    version: VersionName | None = None,
    *,
    bypass: bool = False,
    cause: Cause | None = None,
) -> DeletedObject:
    """Delete an object, or a version of it; nothing happens when there is none of that name.

    Args:
        name: as stored.
        wanted: what must be there.
        bypass: the caller may bypass GOVERNANCE, and asks for it.
        cause: of the event.

    Raises:
        NotFound: ``no_such_bucket``; and as :func:`gateway.writing.under_condition`.
        Refused: likewise; ``version_locked``.
    """

    async def attempt(decided: Condition) -> DeletedObject:
        deletion = Deletion(name, version, decided, bypass, cause=cause)
        (result,) = await delete_objects(service, bucket, [deletion])
        if isinstance(result, AlvearyError):
            raise result
        return result

    return await under_condition(service, bucket, name, wanted, attempt)


async def delete_objects(
    service: ObjectService, bucket: Bucket, deletions: Sequence[Deletion]
) -> list[DeletedObject | AlvearyError]:
    """Delete up to MAX_LIST_ENTRIES objects or versions, each under its own condition.

    Returns:
        One result for each, in order: an error where its condition did not hold, or the version is
        locked.

    Raises:
        NotFound: ``no_such_bucket``.
    """
    known = await service.buckets.find(bucket.owner, bucket.name)
    try:
        return await _delete(service, known, deletions)
    except (NotFound, Refused) as error:
        if error.reason not in {Absence.NO_SUCH_BUCKET, Refusal.MARKER_MISSING}:
            raise
    # The bucket was remembered as it was before it got versions, or was made again.
    known = await service.buckets.read(bucket.owner, bucket.name)
    return await _delete(service, known, deletions)


async def _delete(
    service: ObjectService, bucket: Bucket, deletions: Sequence[Deletion]
) -> list[DeletedObject | AlvearyError]:
    has_versions = bucket.versioning != UNVERSIONED
    items = [item_of(service, bucket, each, has_versions) for each in deletions]
    reply: Deleted = await service.coordinators.call(
        ObjectsDelete(
            bucket.owner.tenant_id,
            bucket.name,
            tuple(items),
            bucket.bucket_id if has_versions else None,
        )
    )
    if any(item.notification is not None for item in items):
        service.notified.tell()
    return [_deleted(item, result) for item, result in zip(items, reply.results, strict=True)]


def item_of(
    service: ObjectService, bucket: Bucket, deletion: Deletion, has_versions: bool
) -> DeleteItem:
    """Return a deletion as coordinators are asked for it.

    Args:
        bucket: as it is known now.
        has_versions: its versioning was enabled once, so a delete marker is made.
    """
    name, version = deletion.name, deletion.version
    condition, judged = deletion.condition, deletion.judged
    if version is not None:
        return DeleteItem(
            name,
            version.version_id,
            condition,
            named=True,
            bypass=deletion.bypass,
            judged=judged,
            notification=notification_of(
                service,
                bucket,
                name,
                deletion.cause,
                version_id=version.version_id or b"",
                named=True,
            ),
        )
    if not has_versions:
        told = notification_of(service, bucket, name, deletion.cause)
        return DeleteItem(name, condition=condition, judged=judged, notification=told)
    marker_id = service.new_version()
    marker = DeleteMarker(METADATA_VERSION, service.now_ms()).pack()
    sealed = seal_marker(bucket.owner, bucket.bucket_id, name, marker_id, marker, service.entropy)
    return DeleteItem(
        name,
        condition=condition,
        marker=sealed,
        marker_id=marker_id,
        judged=judged,
        notification=notification_of(
            service, bucket, name, deletion.cause, version_id=marker_id, marks=True
        ),
    )


def _deleted(item: DeleteItem, result: DeleteResult) -> DeletedObject | AlvearyError:
    if result.failure is not None:
        return result.failure.error()
    if item.named:
        return DeletedObject(was_marker=result.delete_marker)
    if not result.delete_marker:
        return DeletedObject()
    return DeletedObject(VersionName(item.marker_id if result.versioning == VERSIONED else None))
