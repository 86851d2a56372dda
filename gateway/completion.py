"""Completing an upload in parts. Completing again, before or after another such request was carried
out, has the same result.

Source: docs/s3-compatibility.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from common import limits
from common.data_classes import dataclass
from common.errors import NotFound, Refused
from common.format.envelope import KeyEnvelope
from common.format.manifest import Manifest, seal_manifest, seal_summary
from common.format.objects import ObjectMetadata, summary_of
from common.ids import VersionId
from common.reasons import Absence, Refusal
from common.wire.messages.multipart import ChosenPart, UploadComplete
from common.wire.messages.objects import Committed, Condition
from gateway.assembly import NamedPart, assemble, choose, is_made_of
from gateway.conditions import WriteCondition
from gateway.events import notification_of
from gateway.multipart import find_upload, list_parts
from gateway.notifications import Cause
from gateway.object_service import ObjectService
from gateway.objects import find_object
from gateway.parts import MultipartUpload, Part
from gateway.principals import Bucket
from gateway.versions import VersionName, name_of_new
from gateway.writing import sealed_acl, sealed_tags, under_condition

_UPLOAD_IS_GONE: Final = frozenset({Absence.NO_SUCH_UPLOAD, Refusal.VERSION_EXISTS})
_MAY_BE_COMPLETED: Final = _UPLOAD_IS_GONE | {
    Refusal.ETAG_DIFFERS,
    Refusal.OBJECT_EXISTS,
    Refusal.WRITE_CONFLICT,
}
"""A completion may have failed for these because another one of this upload was carried out: the
upload is gone, or the object that the condition is about is the one it made."""


@dataclass(frozen=True, slots=True)
class CompletedUpload:
    """The object that an upload became. ``version``: None where the bucket never had versions.
    ``tags``: packed, or empty. ``envelope``: of its inner layer, if it has one."""

    metadata: ObjectMetadata
    version: VersionName | None
    size: int
    tags: bytes
    envelope: KeyEnvelope | None


async def complete_upload(
    service: ObjectService,
    bucket: Bucket,
    name: bytes,
    upload_id: VersionId,
    wanted: Sequence[NamedPart],
    condition: WriteCondition,
    check: Callable[[MultipartUpload, Manifest, ObjectMetadata], None],
    cause: Cause | None = None,
) -> CompletedUpload:
    """Make an object of the parts that the client names.

    Args:
        name: as stored.
        wanted: in ascending order.
        condition: of the write.
        check: raises what is wrong with the whole, before it is committed.
        cause: of the event.

    Returns:
        The object; also when this very upload became an object of these very parts
        before: a client repeats a request whose answer it did not get, and both may run at once.

    Raises:
        NotFound: ``no_such_upload``, ``no_such_part``; as a bucket or object may be missing.
        Refused: as :func:`gateway.assembly.choose` and :func:`gateway.writing.under_condition`.
        AlvearyError: what ``check`` raises.
    """
    try:
        upload = await find_upload(service, bucket, name, upload_id)
        return await _complete(service, upload, wanted, condition, check, cause)
    except (NotFound, Refused) as error:
        if error.reason not in _MAY_BE_COMPLETED:
            raise
        try:
            found = await find_object(service, bucket, name, version_id=upload_id)
        except NotFound:
            pass
        else:
            if is_made_of(found.metadata, wanted):
                tags = b"" if found.tags is None else found.tags.pack()
                inner = found.manifest.inner
                return CompletedUpload(
                    found.metadata,
                    found.version,
                    found.manifest.size,
                    tags,
                    None if inner is None else inner.envelope,
                )
        if error.reason in _UPLOAD_IS_GONE:
            raise NotFound(Absence.NO_SUCH_UPLOAD, upload_id=upload_id.hex()) from error
        raise


async def _complete(
    service: ObjectService,
    upload: MultipartUpload,
    wanted: Sequence[NamedPart],
    condition: WriteCondition,
    check: Callable[[MultipartUpload, Manifest, ObjectMetadata], None],
    cause: Cause | None,
) -> CompletedUpload:
    owner = upload.bucket.owner
    chosen = choose(upload, wanted, await _all_parts(service, upload))
    manifest, metadata = assemble(upload, chosen, service.now_ms())
    check(upload, manifest, metadata)
    place = (upload.bucket_id, upload.name, upload.upload_id)
    notification = notification_of(
        service,
        upload.bucket,
        upload.name,
        cause,
        size=manifest.size,
        etag=metadata.etag,
        version_id=upload.upload_id,
    )
    request = UploadComplete(
        owner.tenant_id,
        upload.bucket.name,
        upload.name,
        upload.upload_id,
        tuple([ChosenPart(part.row.part_number, part.row.part_id) for part in chosen]),
        manifest.size,
        seal_manifest(owner, *place, manifest, service.entropy),
        seal_summary(owner, *place, summary_of(metadata, manifest.size).pack(), service.entropy),
        Condition(),
        sealed_tags(service, owner, place, upload.info.tags),
        sealed_acl(service, owner, place, upload.info.acl),
        notification,
    )

    async def attempt(decided: Condition) -> Committed:
        committed: Committed = await service.coordinators.call(replace(request, condition=decided))
        return committed

    committed = await under_condition(service, upload.bucket, upload.name, condition, attempt)
    if notification is not None:
        service.notified.tell()
    version = name_of_new(upload.upload_id, committed)
    tags, envelope = upload.info.tags, upload.info.envelope
    return CompletedUpload(metadata, version, manifest.size, tags, envelope)


async def _all_parts(service: ObjectService, upload: MultipartUpload) -> dict[int, Part]:
    parts, _ = await list_parts(service, upload, 0, limits.MAX_PARTS)
    return {part.row.part_number: part for part in parts}
