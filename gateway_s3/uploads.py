"""Uploads in parts, as the gateway sees them: found, opened, filled.

Source: Amazon S3 User Guide, "Uploading and copying objects using multipart upload".
"""

from __future__ import annotations

from dataclasses import dataclass

from common import limits
from common.errors import Corrupt
from common.format.manifest import (
    MANIFEST_VERSION,
    Manifest,
    open_part,
    open_upload,
    seal_part,
)
from common.format.objects import (
    METADATA_VERSION,
    PartMetadata,
    UploadInfo,
    unpack_part,
    unpack_upload,
)
from common.ids import VERSION_ID_BYTES, BucketId, VersionId
from common.wire.messages.multipart import (
    PartCommit,
    PartRow,
    Parts,
    PartsList,
    UploadGet,
    UploadRecord,
)
from common.wire.messages.objects import Committed
from common.wire.messages.writing import NewSegment, Page
from gateway_s3 import errors
from gateway_s3.backend import Backend, Call
from gateway_s3.commits import entries_of
from gateway_s3.errors import S3Error
from gateway_s3.request.checksums import Algorithm
from gateway_s3.request.numbers import parse_number


@dataclass(frozen=True, slots=True)
class MultipartUpload:
    """An upload in progress."""

    bucket_id: BucketId
    upload_id: VersionId
    info: UploadInfo

    @property
    def algorithm(self) -> Algorithm:
        """The checksum that its parts get: the one asked for, or S3's default."""
        return Algorithm(self.info.algorithm or Algorithm.CRC64NVME.value)

    @property
    def is_explicit(self) -> bool:
        """The client asked for the checksum."""
        return bool(self.info.algorithm)


@dataclass(frozen=True, slots=True)
class Part:
    """A part of an upload, opened. ``checksum`` is empty for a copied part that has none."""

    row: PartRow
    manifest: Manifest
    metadata: PartMetadata

    @property
    def etag(self) -> str:
        """Without quotes."""
        return self.metadata.md5.hex()


@dataclass(frozen=True, slots=True)
class PartContent:
    """What a part is made of."""

    metadata: PartMetadata
    size: int
    pages: tuple[Page, ...]
    keys: tuple[bytes, ...]
    segments: tuple[NewSegment, ...] = ()


def upload_id_text(upload_id: bytes) -> str:
    """An upload id as clients see it."""
    return upload_id.hex()


def begun_ms(upload_id: VersionId) -> int:
    """When an upload was begun, unix milliseconds: its id begins with the gateway's time.

    Raises:
        Corrupt: ``bad_upload_id``: after the year 9999: no gateway drew it.
    """
    begun = int.from_bytes(upload_id[:6], "big")
    if begun > limits.MAX_DATE_MS:
        raise Corrupt("bad_upload_id")
    return begun


def parse_upload_id(text: str | None) -> VersionId:
    """The upload id that a client names.

    Raises:
        S3Error: NoSuchUpload: none of ours.
    """
    try:
        raw = bytes.fromhex(text or "")
    except ValueError:
        raw = b""
    if len(raw) != VERSION_ID_BYTES or raw.hex() != text:
        raise S3Error(errors.NO_SUCH_UPLOAD, UploadId=(text or "")[:128])
    return VersionId(raw)


def parse_part_number(text: str | None) -> int:
    """The part number that a client names.

    Raises:
        S3Error: InvalidArgument.
    """
    digits = text or ""
    number = parse_number(digits) or 0
    if not 1 <= number <= limits.MAX_PARTS:
        raise S3Error(
            errors.INVALID_ARGUMENT,
            "Part number must be an integer between 1 and 10000, inclusive",
            ArgumentName="partNumber",
            ArgumentValue=digits[:32],
        )
    return number


async def named_upload(backend: Backend, call: Call) -> VersionId:
    """The id of the upload that a call names.

    Raises:
        NotFound: ``no_such_bucket``: that is said first.
        S3Error: NoSuchUpload: none of ours.
    """
    try:
        return parse_upload_id(call.query.get("uploadId"))
    except S3Error:
        await backend.buckets.record_of(call.tenant, call.bucket)
        raise


async def find_upload(backend: Backend, call: Call) -> MultipartUpload:
    """The upload that a call names, opened.

    Raises:
        S3Error, NotFound: there is none of that id for this key.
    """
    upload_id = await named_upload(backend, call)
    tenant = call.tenant
    record: UploadRecord = await backend.buckets.ask(
        tenant, UploadGet(tenant.tenant_id, call.bucket, call.name, upload_id)
    )
    sealed = open_upload(tenant, record.bucket_id, call.name, upload_id, record.sealed)
    return MultipartUpload(record.bucket_id, upload_id, unpack_upload(sealed))


async def list_parts_after(
    backend: Backend, call: Call, upload: MultipartUpload, after: int, limit: int
) -> tuple[list[Part], bool]:
    """Up to ``limit`` (at most MAX_LIST_ENTRIES) parts with numbers above ``after``; fewer when
    one reply cannot carry them.

    Returns:
        The parts, opened, by number; and whether there are more.
    """
    tenant = call.tenant
    reply: Parts = await backend.buckets.ask(
        tenant,
        PartsList(tenant.tenant_id, call.bucket, call.name, upload.upload_id, after, limit),
    )
    parts = []
    for row in reply.parts:
        manifest = open_part(
            tenant,
            upload.bucket_id,
            call.name,
            upload.upload_id,
            row.part_number,
            row.part_id,
            row.sealed,
        )
        if row.size != manifest.size:
            raise Corrupt("size_mismatch", size=row.size)
        parts.append(Part(row, manifest, unpack_part(manifest.metadata)))
    return parts, reply.truncated


async def commit_part(
    backend: Backend, call: Call, upload: MultipartUpload, number: int, content: PartContent
) -> Committed:
    """Make (or replace) a part.

    Raises:
        NotFound: ``no_such_upload``; ``no_such_segment``: look the source of a copy up again.
        Unavailable, OutcomeUnknown: it may be there all the same.
    """
    tenant = call.tenant
    part_id = backend.new_version()
    manifest = Manifest(
        MANIFEST_VERSION,
        content.size,
        entries_of(content.pages),
        content.keys,
        content.metadata.pack(),
    )
    sealed = seal_part(
        tenant,
        upload.bucket_id,
        call.name,
        upload.upload_id,
        number,
        part_id,
        manifest,
        backend.entropy,
    )
    committed: Committed = await backend.directory.call(
        PartCommit(
            tenant.tenant_id,
            call.bucket,
            call.name,
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


def part_metadata(
    md5: bytes, modified_ms: int, algorithm: Algorithm, checksum: bytes
) -> PartMetadata:
    """What is kept with a part. ``modified_ms``: when it was made, unix milliseconds."""
    return PartMetadata(METADATA_VERSION, md5, modified_ms, algorithm.value, checksum)
