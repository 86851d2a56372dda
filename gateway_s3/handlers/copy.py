"""CopyObject and UploadPartCopy.

Source: Amazon S3 API Reference, CopyObject, UploadPartCopy.
"""

from __future__ import annotations

from typing import Final

from common.format.objects import METADATA_VERSION, Checksum, ObjectMetadata
from common.http.records import HttpResponse
from gateway_s3 import errors
from gateway_s3.backend import Backend, Call
from gateway_s3.commits import NewObject, commit_object
from gateway_s3.copying import (
    check_copied_bytes,
    digests_of,
    from_source,
    known_checksum,
    known_md5,
    needed_keys,
    shared_pages,
    source_of,
    stand_in_md5,
)
from gateway_s3.errors import S3Error
from gateway_s3.handlers.answers import flat, xml_response
from gateway_s3.lookup import FoundObject
from gateway_s3.request.checksums import Algorithm, encode, parse_algorithm
from gateway_s3.request.conditions import WriteCondition, write_condition
from gateway_s3.request.copy_source import CopySource
from gateway_s3.request.headers import content_headers, user_metadata
from gateway_s3.request.ranges import Span, parse_copy_range
from gateway_s3.uploads import (
    MultipartUpload,
    PartContent,
    commit_part,
    find_upload,
    parse_part_number,
    part_metadata,
)
from gateway_s3.xml.write import copied

_ATTRIBUTES: Final = (b"x-amz-storage-class", b"x-amz-server-side-encryption")
"""A copy onto itself that gives one of these sets it, even to what it is already."""


async def copy_object(backend: Backend, call: Call) -> HttpResponse:
    """Make an object that shares another's bytes, with its metadata or with new."""
    await backend.buckets.id_of(call.tenant, call.bucket)
    source = source_of(call)
    condition = write_condition(call.request)
    replace = call.request.header(b"x-amz-metadata-directive") == b"REPLACE"
    text = call.request.header(b"x-amz-checksum-algorithm")
    algorithm = None if text is None else parse_algorithm(text.decode("latin-1"))
    to_itself = source.bucket == call.bucket and source.key == call.route.key
    changes = (
        replace
        or algorithm is not None
        or any(call.request.header(name) is not None for name in _ATTRIBUTES)
    )
    if to_itself and not changes:
        raise S3Error(
            errors.INVALID_REQUEST,
            "This copy request is illegal because it is trying to copy an object to itself "
            "without changing the object's metadata, storage class, website redirect location or "
            "encryption attributes.",
        )

    async def use(found: FoundObject) -> ObjectMetadata:
        return await _copy(backend, call, source, found, condition, replace, algorithm)

    metadata = await from_source(backend, call, source, use)
    checksum = metadata.checksum
    document = copied(
        "CopyObjectResult",
        metadata.etag,
        metadata.modified_ms,
        Algorithm(checksum.algorithm) if checksum is not None else None,
        checksum.value if checksum is not None else "",
    )
    return xml_response(document)


async def _copy(
    backend: Backend,
    call: Call,
    source: CopySource,
    found: FoundObject,
    condition: WriteCondition,
    replace: bool,
    algorithm: Algorithm | None,
) -> ObjectMetadata:
    size = found.manifest.size
    check_copied_bytes(size)
    span = Span(0, size - 1)
    old = found.metadata
    checksum = old.checksum
    if algorithm is not None and (checksum is None or checksum.algorithm != algorithm.value):
        _, digest = await digests_of(backend, call, source, found, span, algorithm)
        checksum = Checksum(algorithm.value, encode(digest))
    metadata = ObjectMetadata(
        METADATA_VERSION,
        old.etag,
        backend.now_ms(),
        flat(content_headers(call.request)) if replace else old.headers,
        flat(user_metadata(call.request)) if replace else old.user,
        checksum,
        old.parts,
        old.part_checksums if checksum == old.checksum else b"",
    )
    pages = await shared_pages(backend, call, source, found, span)
    new = NewObject(metadata, size, pages, needed_keys(found, pages))
    await commit_object(backend, call.tenant, call.bucket, call.name, new, condition)
    return metadata


async def upload_part_copy(backend: Backend, call: Call) -> HttpResponse:
    """Make a part of an upload that shares bytes of an object."""
    number = parse_part_number(call.query.get("partNumber"))
    await backend.buckets.id_of(call.tenant, call.bucket)
    source = source_of(call)
    upload = await find_upload(backend, call)

    async def use(found: FoundObject) -> PartContent:
        content = await _part_of(backend, call, source, found, upload)
        await commit_part(backend, call, upload, number, content)
        return content

    content = await from_source(backend, call, source, use)
    document = copied(
        "CopyPartResult",
        content.metadata.md5.hex(),
        content.metadata.modified_ms,
        upload.algorithm if content.metadata.checksum else None,
        encode(content.metadata.checksum),
    )
    return xml_response(document)


async def _part_of(
    backend: Backend, call: Call, source: CopySource, found: FoundObject, upload: MultipartUpload
) -> PartContent:
    header = call.request.header(b"x-amz-copy-source-range")
    size = found.manifest.size
    span = Span(0, size - 1) if header is None else parse_copy_range(header, size)
    check_copied_bytes(span.length)
    algorithm = upload.algorithm
    md5 = known_md5(found, span)
    checksum = known_checksum(found, span, algorithm)
    if checksum is None and upload.is_explicit:
        # The client asked for this checksum of every part: there is no way but to read.
        md5, checksum = await digests_of(backend, call, source, found, span, algorithm)
    pages = await shared_pages(backend, call, source, found, span)
    return PartContent(
        part_metadata(
            md5 or stand_in_md5(found, span), backend.now_ms(), algorithm, checksum or b""
        ),
        span.length,
        pages,
        needed_keys(found, pages),
    )
