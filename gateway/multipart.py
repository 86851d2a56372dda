"""Uploads in parts: begun, found, filled, aborted. How one is completed: ``gateway.completion``.

Source: docs/architecture.md, "Where things are".
"""

from __future__ import annotations

from common import limits
from common.errors import Corrupt
from common.format.manifest import (
    MANIFEST_VERSION,
    Manifest,
    open_part,
    open_upload,
    seal_part,
    seal_upload,
)
from common.format.objects import (
    UploadInfo,
    unpack_part,
    unpack_upload,
)
from common.ids import VersionId
from common.reasons import Damage
from common.wire.messages.locks import NO_LOCK, Lock
from common.wire.messages.multipart import (
    PartCommit,
    Parts,
    PartsList,
    UploadAbort,
    UploadCreate,
    UploadGet,
    UploadRecord,
)
from common.wire.messages.objects import Committed
from gateway.object_service import ObjectService
from gateway.parts import MultipartUpload, Part, PartContent
from gateway.principals import Bucket
from gateway.sealed_class import named_class, opened_class_name
from gateway.writing import entries_of, in_bucket


async def create_upload(
    service: ObjectService,
    bucket: Bucket,
    name: bytes,
    info: UploadInfo,
    lock: Lock = NO_LOCK,
    class_name: str = "",
) -> VersionId:
    """Begin an upload.

    Args:
        lock, class_name: of the object that it becomes.

    Returns:
        Its id.

    Raises:
        NotFound: ``no_such_bucket``.
        Refused: ``too_many_uploads``, ``no_locks``.
    """
    upload_id = service.new_upload()

    async def on(known: Bucket) -> tuple[None, int]:
        bucket_id = known.bucket_id
        sealed = seal_upload(bucket.owner, bucket_id, name, upload_id, info.pack(), service.entropy)
        begun: UploadRecord = await service.coordinators.call(
            UploadCreate(
                bucket.owner.tenant_id,
                bucket.name,
                name,
                upload_id,
                sealed,
                bucket_id,
                lock,
                named_class(known, name, upload_id, class_name, service.entropy),
            )
        )
        return None, begun.bucket_revision

    await in_bucket(service, bucket, on)
    return upload_id


async def find_upload(
    service: ObjectService, bucket: Bucket, name: bytes, upload_id: VersionId
) -> MultipartUpload:
    """Look an upload up and open it.

    Raises:
        NotFound: ``no_such_bucket``; ``no_such_upload``: there is none of that id for this name.
    """
    record: UploadRecord = await service.buckets.ask(
        bucket, UploadGet(bucket.owner.tenant_id, bucket.name, name, upload_id)
    )
    place = (bucket.owner, record.bucket_id, name, upload_id)
    info = unpack_upload(open_upload(*place, record.sealed))
    class_name = opened_class_name(*place, record.class_name)
    return MultipartUpload(bucket, name, record.bucket_id, upload_id, info, record.lock, class_name)


async def abort_upload(
    service: ObjectService, bucket: Bucket, name: bytes, upload_id: VersionId
) -> None:
    """Drop an upload and what it has. Raises NotFound as :func:`find_upload`."""
    await service.coordinators.call(
        UploadAbort(bucket.owner.tenant_id, bucket.name, name, upload_id)
    )


async def list_parts_after(
    service: ObjectService, upload: MultipartUpload, after: int, limit: int
) -> tuple[list[Part], bool]:
    """Up to ``limit`` (at most MAX_LIST_ENTRIES) parts with numbers above ``after``; fewer when
    one reply cannot carry them.

    Returns:
        The parts, opened, by number; and whether there are more.
    """
    owner, bucket = upload.bucket.owner, upload.bucket.name
    reply: Parts = await service.buckets.ask(
        upload.bucket,
        PartsList(owner.tenant_id, bucket, upload.name, upload.upload_id, after, limit),
    )
    parts = []
    for row in reply.parts:
        manifest = open_part(
            owner,
            upload.bucket_id,
            upload.name,
            upload.upload_id,
            row.part_number,
            row.part_id,
            row.sealed,
        )
        if row.size != manifest.size:
            raise Corrupt(Damage.SIZE_MISMATCH, size=row.size)
        parts.append(Part(row, manifest, unpack_part(manifest.metadata)))
    return parts, reply.truncated


async def list_parts(
    service: ObjectService, upload: MultipartUpload, after: int, limit: int
) -> tuple[list[Part], bool]:
    """Up to ``limit`` parts with numbers above ``after``, in as many calls as it takes.

    Returns:
        The parts, opened, by number; and whether there are more.
    """
    parts: list[Part] = []
    more = limit > 0
    while more and len(parts) < limit:
        room = min(limit - len(parts), limits.MAX_LIST_ENTRIES)
        found, more = await list_parts_after(service, upload, after, room)
        parts += found
        if found:
            after = found[-1].row.part_number
    return parts, more


async def commit_part(
    service: ObjectService, upload: MultipartUpload, number: int, content: PartContent
) -> Committed:
    """Make (or replace) a part.

    Raises:
        NotFound: ``no_such_upload``; ``no_such_segment``: look the source of a copy up again.
        Unavailable, OutcomeUnknown: it may be there all the same.
    """
    owner = upload.bucket.owner
    assert (content.inner is None) is (upload.info.envelope is None), "a part is as its upload"
    part_id = service.new_version()
    manifest = Manifest(
        MANIFEST_VERSION,
        content.size,
        entries_of(content.pages),
        content.keys,
        content.metadata.pack(),
        content.inner,
    )
    sealed = seal_part(
        owner,
        upload.bucket_id,
        upload.name,
        upload.upload_id,
        number,
        part_id,
        manifest,
        service.entropy,
    )
    committed: Committed = await service.coordinators.call(
        PartCommit(
            owner.tenant_id,
            upload.bucket.name,
            upload.name,
            upload.upload_id,
            number,
            part_id,
            content.size,
            sealed,
            content.pages,
            content.segments,
        )
    )
    return committed
