"""Objects get other names: metadata alone changes, in one transaction.

Source: docs/s3-compatibility.md, "Renaming"; docs/protocol.md, "Messages".
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from common import limits
from common.data_classes import dataclass
from common.errors import NotFound, Refused
from common.format.manifest import open_acl, seal_manifest, seal_summary
from common.format.objects import summary_of
from common.ids import VERSION_ID_BYTES, VersionId
from common.reasons import Absence, Refusal
from common.wire.messages.buckets import UNVERSIONED
from common.wire.messages.objects import Condition, ObjectRename
from gateway.conditions import Decision, ReadConditions, WriteCondition
from gateway.deletion import Deletion, item_of
from gateway.events import notification_of
from gateway.notifications import Cause
from gateway.object_service import ObjectService
from gateway.objects import FoundObject, find_object
from gateway.principals import Bucket
from gateway.sealed_class import sealed_class_name
from gateway.writing import sealed_acl, sealed_tags

_TOKEN: Final = b"alveary rename v1"


@dataclass(frozen=True, slots=True)
class Renaming:
    """An object to rename. ``source``, ``name``: as stored. ``source_conditions``: on the object;
    ``wanted``, ``dates``: on the one that is there under the new name. ``token``: requests with the
    same one and the same names are one; empty: each is one of its own. ``made``, ``removed``: the
    causes of the two events."""

    source: bytes
    name: bytes
    source_conditions: ReadConditions
    wanted: WriteCondition
    dates: ReadConditions
    token: bytes = b""
    made: Cause | None = None
    removed: Cause | None = None


async def rename_object(
    service: ObjectService,
    bucket: Bucket,
    renaming: Renaming,
    check: Callable[[FoundObject], None],
) -> None:
    """Rename an object within its bucket; what it replaces, and what is left under its former name,
    is as with a write and a deletion.

    It keeps all that it has. Its time changes where versions are kept: they expire by the time at
    which another took their place.

    Args:
        check: gets the object that is renamed, before each try; raises where it must not be done.

    Raises:
        NotFound: ``no_such_bucket``; with ``of="source"``: there is no such object; no object is
            there that could have the ETag.
        Refused: ``source_condition_failed``, ``etag_differs``, ``object_exists``,
            ``version_locked``, ``quota_exceeded``; ``write_conflict``: too many came between.
        Unavailable: it may have been renamed all the same.
    """
    for _ in range(limits.MAX_COMMIT_TRIES):
        known = await service.buckets.find(bucket.owner, bucket.name)
        version_id = _version_of(service, known, renaming)
        try:
            source = await find_object(service, known, renaming.source)
        except NotFound as error:
            if await _was_done(service, known, renaming, version_id):
                return
            raise error.again(of="source") from error
        check(source)
        renaming.source_conditions.check_source(source.metadata.etag, source.modified_s)
        condition = await _decide(service, known, renaming)
        try:
            await _rename(service, known, renaming, version_id, source, condition)
        except Refused as error:
            if error.reason == Refusal.VERSION_EXISTS:
                if await _was_done(service, known, renaming, version_id):
                    return
                raise
            if error.reason not in {Refusal.CONDITION_FAILED, Refusal.MARKER_MISSING}:
                raise
            service.buckets.forget(bucket.owner, bucket.name)
        else:
            return
    raise Refused(Refusal.WRITE_CONFLICT)


def _version_of(service: ObjectService, bucket: Bucket, renaming: Renaming) -> VersionId:
    """The id of the version that is made: by it a repeated request is known."""
    if not renaming.token:
        return service.new_version()
    digest = hashlib.sha256(_TOKEN + bucket.bucket_id)
    for part in (renaming.token, renaming.source, renaming.name):
        digest.update(len(part).to_bytes(4, "big") + part)
    return VersionId(digest.digest()[:VERSION_ID_BYTES])


async def _was_done(
    service: ObjectService, bucket: Bucket, renaming: Renaming, version_id: VersionId
) -> bool:
    """Return whether this very request was carried out before."""
    if not renaming.token:
        return False
    try:
        await find_object(service, bucket, renaming.name, version_id=version_id)
    except NotFound:
        return False
    return True


async def _decide(service: ObjectService, bucket: Bucket, renaming: Renaming) -> Condition:
    """Check the conditions on what is there under the new name, and have them hold until the
    transaction."""
    wanted, dates = renaming.wanted, renaming.dates
    if not wanted and dates == ReadConditions():
        return Condition()
    try:
        found = await find_object(service, bucket, renaming.name)
    except NotFound as error:
        if error.reason not in {Absence.NO_SUCH_OBJECT, Absence.DELETE_MARKER}:
            raise
        if wanted.is_of_object:
            raise NotFound(Absence.NO_SUCH_OBJECT) from error
        if dates.if_modified_since is not None:
            raise Refused(Refusal.ETAG_DIFFERS) from error
        return Condition(absent=True)
    if wanted.absent:
        raise Refused(Refusal.OBJECT_EXISTS)
    fits = wanted.admits(found.metadata.etag, found.manifest.size, found.modified_s)
    if not fits or dates.decide(found.metadata.etag, found.modified_s) is not Decision.GO_ON:
        raise Refused(Refusal.ETAG_DIFFERS)
    return Condition(version_id=found.record.version_id)


async def _rename(
    service: ObjectService,
    bucket: Bucket,
    renaming: Renaming,
    version_id: VersionId,
    source: FoundObject,
    condition: Condition,
) -> None:
    owner, place = bucket.owner, (bucket.bucket_id, renaming.name, version_id)
    has_versions = bucket.versioning != UNVERSIONED
    metadata, manifest = source.metadata, source.manifest
    if has_versions:
        metadata = replace(metadata, modified_ms=service.now_ms())
        manifest = replace(manifest, metadata=metadata.pack())
    deletion = Deletion(
        renaming.source,
        condition=Condition(version_id=source.record.version_id),
        cause=renaming.removed,
    )
    item = item_of(service, bucket, deletion, has_versions)
    notification = notification_of(
        service,
        bucket,
        renaming.name,
        renaming.made,
        size=manifest.size,
        etag=metadata.etag,
        version_id=version_id,
    )
    summary = summary_of(metadata, manifest.size).pack()
    record = source.record
    former = hashlib.sha256(record.sealed + record.tags + record.acl + record.class_name).digest()
    tags = b"" if source.tags is None else source.tags.pack()
    # Also where no list counts now: it does again when the bucket's owner says so.
    found = (owner, record.bucket_id, renaming.source, record.version_id)
    acl = open_acl(*found, record.acl) if record.acl else b""
    await service.coordinators.call(
        ObjectRename(
            owner.tenant_id,
            bucket.name,
            bucket.bucket_id,
            item,
            renaming.name,
            version_id,
            seal_manifest(owner, *place, manifest, service.entropy),
            seal_summary(owner, *place, summary, service.entropy),
            condition,
            former,
            sealed_tags(service, owner, place, tags),
            sealed_acl(service, owner, place, acl),
            notification,
            sealed_class_name(owner, *place, source.class_name, service.entropy),
        )
    )
    if notification is not None or item.notification is not None:
        service.notified.tell()
