"""CopyObject and UploadPartCopy.

Source: Amazon S3 API Reference, CopyObject, UploadPartCopy.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace as with_changes
from typing import Final, TypeVar

from common import limits
from common.data_classes import dataclass
from common.errors import NotFound
from common.format.envelope import KeyEnvelope
from common.format.objects import METADATA_VERSION, Checksum, ObjectMetadata, part_count
from common.http.records import Headers, HttpResponse
from common.reasons import Absence
from common.wire.messages.locks import Lock
from gateway.access.rules import NO_RULES
from gateway.authorization import Action, authorize, check
from gateway.checksums import Algorithm, encode
from gateway.conditions import WriteCondition
from gateway.copying import (
    CopyKeys,
    Extents,
    SourceObject,
    digests_of,
    from_source,
    keys_of_copy,
    known_checksum,
    known_md5,
    open_source,
    stand_in_md5,
    with_extents,
)
from gateway.multipart import commit_part
from gateway.notifications import EventKind
from gateway.objects import FoundObject
from gateway.parts import MultipartUpload, PartContent, part_metadata
from gateway.protection import opaque_digest, opaque_etag
from gateway.spans import Span
from gateway.versions import VersionName, name_of_new
from gateway.writing import NewObject, commit_object
from gateway_s3 import errors
from gateway_s3.backend import Backend, Call
from gateway_s3.errors import S3Error
from gateway_s3.handlers.acl import NewAccess, access_of_new
from gateway_s3.handlers.answers import flat, paired, xml_response
from gateway_s3.handlers.encryption import (
    encryption_headers,
    key_of_upload,
    key_to_read,
    wrapping_of_new,
)
from gateway_s3.handlers.expiration import expiration_header
from gateway_s3.handlers.locks import lock_of_new
from gateway_s3.handlers.named_upload import find_named_upload
from gateway_s3.handlers.object_tags import tags_of_object, tags_of_request
from gateway_s3.informing import informed
from gateway_s3.request import storage_classes
from gateway_s3.request.checksums import parse_algorithm
from gateway_s3.request.conditions import read_conditions, write_condition
from gateway_s3.request.copy_source import CopySource, parse_copy_source
from gateway_s3.request.customer_keys import SOURCE_PREFIX
from gateway_s3.request.expected_owner import SOURCE_HEADER, check_expected_owner
from gateway_s3.request.headers import (
    REDIRECT,
    content_headers,
    redirect_location,
    user_metadata,
)
from gateway_s3.request.multipart_params import parse_part_number
from gateway_s3.request.ranges import parse_copy_range
from gateway_s3.request.version_ids import version_headers
from gateway_s3.translation import from_error
from gateway_s3.xml.write import copied

T = TypeVar("T")

_ATTRIBUTES: Final = (
    storage_classes.HEADER,
    b"x-amz-server-side-encryption",
    REDIRECT,
)
"""A copy onto itself that gives one of these sets it, even to what it is already."""


async def copy_object(backend: Backend, call: Call) -> HttpResponse:
    """Make an object that shares another's bytes, with its metadata or with new."""
    named = _named_source(call)
    condition = write_condition(call.request)
    replace = call.request.header(b"x-amz-metadata-directive") == b"REPLACE"
    given = tags_of_request(call.request)
    access = access_of_new(call, call.request)
    lock = await lock_of_new(backend, call, call.request)
    wrapping = await wrapping_of_new(backend, call, call.request)
    # Without REPLACE they are the source's, and the header means nothing, as on S3.
    own_tags = call.request.header(b"x-amz-tagging-directive") == b"REPLACE"
    text = call.request.header(b"x-amz-checksum-algorithm")
    algorithm = None if text is None else parse_algorithm(text.decode("latin-1"))
    to_itself = (
        named.bucket == call.bucket.name
        and named.key == call.route.key
        and named.version is None  # else it restores that version
    )
    changes = (
        replace
        or algorithm is not None
        or wrapping is not None
        or any(call.request.header(name) is not None for name in _ATTRIBUTES)
    )
    if to_itself and not changes:
        raise S3Error(
            errors.INVALID_REQUEST,
            "This copy request is illegal because it is trying to copy an object to itself "
            "without changing the object's metadata, storage class, website redirect location or "
            "encryption attributes.",
        )

    async def use(source: SourceObject, found: FoundObject) -> _Copied:
        owner = source.bucket.owner
        source_key = await key_to_read(backend, call, found, SOURCE_PREFIX, owner)
        keys = keys_of_copy(source, call.bucket, source_key, wrapping, backend.entropy)
        tags = given if own_tags else tags_of_object(found)
        if tags and not own_tags:
            await _check_tags(backend, call, named, source, found)
        return await _copy(
            backend, call, source, found, condition, replace, algorithm, tags, lock, keys, access
        )

    copied_object = await _from_source(backend, call, named, use)
    metadata = copied_object.metadata
    checksum = metadata.checksum
    document = copied(
        "CopyObjectResult",
        metadata.etag,
        metadata.modified_ms,
        Algorithm(checksum.algorithm) if checksum is not None else None,
        checksum.value if checksum is not None else "",
    )
    headers = [
        *version_headers(copied_object.version),
        *version_headers(copied_object.source, b"x-amz-copy-source-version-id"),
        *expiration_header(backend, call, metadata, copied_object.size, copied_object.tags),
        *encryption_headers(backend, call, copied_object.envelope),
    ]
    return xml_response(document, headers)


@dataclass(frozen=True, slots=True)
class _Copied:
    """A copy that was made. ``version``, ``source``: the names of its version and of the one that
    was copied; None where their buckets never had versions. ``tags``: packed, or empty.
    ``envelope``: of its inner layer, if it has one."""

    metadata: ObjectMetadata
    version: VersionName | None
    source: VersionName | None
    size: int
    tags: bytes
    envelope: KeyEnvelope | None


async def _copy(
    backend: Backend,
    call: Call,
    source: SourceObject,
    found: FoundObject,
    condition: WriteCondition,
    replace: bool,
    algorithm: Algorithm | None,
    tags: bytes,
    lock: Lock,
    keys: CopyKeys,
    access: NewAccess,
) -> _Copied:
    size = found.manifest.size
    _check_copied_bytes(size)
    span = Span(0, size - 1)
    # That of the source is none of the copy's.
    class_name = storage_classes.asked_class(call.request)
    old = found.metadata
    checksum = old.checksum
    if algorithm is not None and (checksum is None or checksum.algorithm != algorithm.value):
        _, digest = await digests_of(
            backend, source, found, span, algorithm, backend.metrics.copied_bytes, keys.source
        )
        checksum = Checksum(algorithm.value, encode(digest))
    metadata = ObjectMetadata(
        METADATA_VERSION,
        old.etag,
        backend.now_ms(),
        flat(_headers(call, old, replace)),
        flat(user_metadata(call.request)) if replace else old.user,
        checksum,
        old.parts,
        old.part_checksums if checksum == old.checksum else b"",
        access.owner,
    )

    async def commit(made: Extents) -> _Copied:
        own = with_changes(metadata, etag=_etag(backend, old, made))
        parts = (made.pages, made.keys, made.segments)
        made_of = (own, size, *parts, tags, lock, made.inner, access.acl)
        new = NewObject(*made_of, call.cause(EventKind.COPY), class_name)
        version_id, committed = await commit_object(backend, call.bucket, call.name, new, condition)
        version = name_of_new(version_id, committed)
        envelope = None if made.inner is None else made.inner.envelope
        return _Copied(own, version, found.version, size, tags, envelope)

    counter = backend.metrics.copied_bytes
    whole = (span, call.bucket, counter, keys, commit)
    return await with_extents(backend, source, found, *whole, class_name=class_name)


def _etag(backend: Backend, old: ObjectMetadata, made: Extents) -> str:
    """The ETag of a copy. What is protected has one of its own, which says nothing of the bytes."""
    of_parts = f"-{part_count(old)}" if old.parts else ""
    if made.inner is not None:
        return opaque_etag(backend.entropy) + of_parts
    return old.etag if made.md5 is None or of_parts else made.md5.hex()


async def _check_tags(
    backend: Backend, call: Call, named: CopySource, source: SourceObject, found: FoundObject
) -> None:
    """Refuse a copy of tags that the caller may not read there or set here.

    Raises:
        Refused: ``access_denied``.
    """
    if (
        source.bucket.rules is NO_RULES
        and call.bucket.rules is NO_RULES
        and not call.principal.policies
    ):
        return  # Both are the caller's own, or it would not have come here.
    facts = await informed(backend, call.circumstances, source.bucket, named.key, named.version)
    check(
        authorize(
            call.principal,
            Action.READ_OBJECT_SETTINGS,
            source.bucket,
            named.key,
            facts,
            "s3:GetObjectTagging" if named.version is None else "s3:GetObjectVersionTagging",
        )
    )
    check(
        authorize(
            call.principal,
            Action.WRITE_OBJECT_SETTINGS,
            call.bucket,
            call.route.key,
            with_changes(
                call.circumstances,
                given_tags=None if found.tags is None else found.tags.as_mapping(),
            ),
            "s3:PutObjectTagging",
        )
    )


async def upload_part_copy(backend: Backend, call: Call) -> HttpResponse:
    """Make a part of an upload that shares bytes of an object."""
    number = parse_part_number(call.query.get("partNumber"))
    named = _named_source(call)
    upload = await find_named_upload(backend, call)
    upload_key = await key_of_upload(backend, call, upload)

    async def use(
        source: SourceObject, found: FoundObject
    ) -> tuple[PartContent, VersionName | None]:
        owner = source.bucket.owner
        source_key = await key_to_read(backend, call, found, SOURCE_PREFIX, owner)
        keys = CopyKeys(source_key, upload_key)
        content = await _copy_part(backend, call, source, found, upload, number, keys)
        return content, found.version

    content, version = await _from_source(backend, call, named, use)
    document = copied(
        "CopyPartResult",
        content.metadata.md5.hex(),
        content.metadata.modified_ms,
        upload.algorithm if content.metadata.checksum else None,
        encode(content.metadata.checksum),
    )
    headers = [
        *version_headers(version, b"x-amz-copy-source-version-id"),
        *encryption_headers(backend, call, upload.info.envelope),
    ]
    return xml_response(document, headers)


async def _copy_part(
    backend: Backend,
    call: Call,
    source: SourceObject,
    found: FoundObject,
    upload: MultipartUpload,
    number: int,
    keys: CopyKeys,
) -> PartContent:
    header = call.request.header(b"x-amz-copy-source-range")
    size = found.manifest.size
    span = Span(0, size - 1) if header is None else parse_copy_range(header, size)
    _check_copied_bytes(span.length)
    algorithm = upload.algorithm
    md5 = known_md5(found, span)
    checksum = known_checksum(found, span, algorithm)
    if checksum is None and upload.is_explicit:
        # The client asked for this checksum of every part: only reading gives it.
        md5, checksum = await digests_of(
            backend, source, found, span, algorithm, backend.metrics.copied_bytes, keys.source
        )

    async def commit(made: Extents) -> PartContent:
        layer, etag = made.inner, md5 or made.md5 or stand_in_md5(found, span)
        if layer is not None:
            layer, etag = with_changes(layer, envelope=None), opaque_digest(backend.entropy)
        metadata = part_metadata(etag, backend.now_ms(), algorithm, checksum or b"")
        parts = (made.pages, made.keys, made.segments)
        content = PartContent(metadata, span.length, *parts, layer)
        await commit_part(backend, upload, number, content)
        return content

    counter = backend.metrics.copied_bytes
    whole = (span, call.bucket, counter, keys, commit)
    return await with_extents(backend, source, found, *whole, class_name=upload.class_name)


def _headers(call: Call, old: ObjectMetadata, replace: bool) -> Headers:
    """The headers of a copy. A redirect of the source is not one of the copy."""
    if replace:
        return content_headers(call.request)
    kept = [(name, value) for name, value in paired(old.headers) if name != REDIRECT]
    redirect = redirect_location(call.request)
    return kept if redirect is None else [*kept, (REDIRECT, redirect)]


def _named_source(call: Call) -> CopySource:
    """The source that a call names. Raises S3Error."""
    header = call.request.header(b"x-amz-copy-source")
    assert header is not None, "routed by this header"
    return parse_copy_source(header)


async def _from_source(
    backend: Backend,
    call: Call,
    named: CopySource,
    use: Callable[[SourceObject, FoundObject], Awaitable[T]],
) -> T:
    """Use the source that a call names, if its principal may read it and its conditions hold.

    Raises:
        S3Error: there is no such source: the error names it, not the target.
        AlvearyError: as :func:`gateway.copying.open_source` and
            :func:`gateway.copying.from_source`.
    """
    conditions = read_conditions(call.request, b"x-amz-copy-source-")
    source: SourceObject | None = None
    try:
        source = await open_source(
            backend,
            call.principal,
            named.bucket,
            named.key,
            lambda bucket: informed(backend, call.circumstances, bucket, named.key, named.version),
            named.version,
        )
        check_expected_owner(call.request, source.bucket.owner.tenant_id, SOURCE_HEADER)
        return await from_source(backend, source, conditions, lambda found: use(source, found))
    except NotFound as error:
        if error.fields.get("of") != "source":
            raise
        if source is not None:
            call.check_may_list(source.bucket)
        if error.reason == Absence.DELETE_MARKER and named.version is not None:
            raise S3Error(
                errors.INVALID_REQUEST,
                "The source of a copy request may not specifically refer to a delete marker by "
                "version id.",
            ) from error
        told = from_error(error)
        if told.code in {errors.NO_SUCH_KEY, errors.NO_SUCH_VERSION}:
            raise S3Error(told.code, Key=named.key.decode("utf-8")) from error
        if told.code is errors.NO_SUCH_BUCKET:
            raise S3Error(told.code, BucketName=named.bucket) from error
        raise told from error


def _check_copied_bytes(size: int) -> None:
    """Refuse to copy more at once than S3 does.

    Raises:
        S3Error: InvalidRequest.
    """
    if size > limits.MAX_SINGLE_PUT_BYTES:
        raise S3Error(
            errors.INVALID_REQUEST,
            "The specified copy source is larger than the maximum allowable size for a copy "
            f"source: {limits.MAX_SINGLE_PUT_BYTES}",
        )
