"""Uploads in parts: begun, filled, listed, completed, aborted.

Source: Amazon S3 API Reference, CreateMultipartUpload, UploadPart, ListParts,
CompleteMultipartUpload, AbortMultipartUpload.
"""

from __future__ import annotations

from functools import partial

from common.client.object_client import Written
from common.format.manifest import Manifest
from common.format.objects import METADATA_VERSION, Checksum, ObjectMetadata, UploadInfo
from common.http.records import HttpResponse
from gateway import completion, multipart
from gateway.checksums import Algorithm, encode
from gateway.completion import CompletedUpload
from gateway.notifications import EventKind
from gateway.ownership import owner_of
from gateway.parts import MultipartUpload, PartContent, begun_ms, part_metadata
from gateway.principals import KeyHolder
from gateway.protection import layer_of_part, opaque_digest
from gateway.writing import store
from gateway_s3 import errors
from gateway_s3.backend import Backend, Call
from gateway_s3.bodies import IncomingBody
from gateway_s3.documents import read_document
from gateway_s3.errors import S3Error
from gateway_s3.handlers.acl import access_of_new
from gateway_s3.handlers.answers import checksum_headers, etag_header, flat, type_text, xml_response
from gateway_s3.handlers.encryption import (
    begin,
    customer_key,
    encryption_headers,
    key_of_new,
    key_of_upload,
)
from gateway_s3.handlers.expiration import abort_headers, expiration_header
from gateway_s3.handlers.locks import check_vouched, lock_of_new
from gateway_s3.handlers.named_upload import find_named_upload
from gateway_s3.handlers.object_tags import tags_of_request
from gateway_s3.request.checksums import Type, expected_checksum, upload_checksum
from gateway_s3.request.conditions import write_condition
from gateway_s3.request.headers import content_headers, user_metadata
from gateway_s3.request.listing_params import list_parts_params
from gateway_s3.request.multipart_params import parse_part_number, parse_upload_id, upload_id_text
from gateway_s3.request.numbers import parse_number
from gateway_s3.request.storage_classes import asked_class, shown_class
from gateway_s3.request.version_ids import version_headers
from gateway_s3.xml import write
from gateway_s3.xml.read import parse_complete_upload


async def create_upload(backend: Backend, call: Call) -> HttpResponse:
    """Begin an upload: its headers and metadata are the object's."""
    request = call.request
    asked = upload_checksum(
        _text(call, b"x-amz-checksum-algorithm"), _text(call, b"x-amz-checksum-type")
    )
    key = await key_of_new(backend, call, request)
    access = access_of_new(call, request)
    info = UploadInfo(
        METADATA_VERSION,
        flat(content_headers(request)),
        flat(user_metadata(request)),
        asked[0].value if asked is not None else "",
        asked is not None and asked[1] is Type.COMPOSITE,
        tags_of_request(request),
        None if key is None else key.envelope,
        access.acl,
        access.owner,
        _initiator(call),
    )
    lock = await lock_of_new(backend, call, request)
    class_name = asked_class(request)
    upload_id = await multipart.create_upload(
        backend, call.bucket, call.name, info, lock, class_name
    )
    headers = [*encryption_headers(backend, call, info.envelope)]
    if asked is not None:
        headers += [
            (b"x-amz-checksum-algorithm", info.algorithm.encode("ascii")),
            (b"x-amz-checksum-type", asked[1].value.encode("ascii")),
        ]
    document = write.upload_created(call.bucket.name, call.route.key, upload_id_text(upload_id))
    headers += abort_headers(backend, call, begun_ms(upload_id))
    return xml_response(document, headers)


def _initiator(call: Call) -> bytes:
    """The tenant that begins an upload; empty: the bucket's owner, or nobody that was proven."""
    if not isinstance(call.principal, KeyHolder):
        return b""
    tenant_id = call.principal.tenant.tenant_id
    return b"" if tenant_id == call.bucket.owner.tenant_id else tenant_id


async def upload_part(backend: Backend, call: Call) -> HttpResponse:
    """Store a body as a part of an upload."""
    number = parse_part_number(call.query.get("partNumber"))
    upload = await find_named_upload(backend, call)
    key = await key_of_upload(backend, call, upload)
    body = IncomingBody(
        call.request,
        call.verified,
        stored=upload.algorithm,
        strict=upload.is_explicit,
        required=upload.info.composite,
        needs_md5=key is None,
    )
    check_vouched(upload.lock, call.bucket, "Put Part", is_vouched_for=body.is_vouched_for)

    inner = begin(backend, key, body.size)

    async def commit(written: Written) -> bytes:
        backend.metrics.received_bytes.inc(body.size)
        etag = body.md5() if inner is None else opaque_digest(backend.entropy)
        metadata = part_metadata(etag, backend.now_ms(), body.algorithm, body.checksum())
        content = PartContent(
            metadata,
            body.size,
            written.pages,
            written.keys,
            written.segments,
            layer_of_part(inner),
        )
        await multipart.commit_part(backend, upload, number, content)
        return etag

    ingest = body.ingest(backend.workers, backend.backlog)
    whole = (ingest, body.size, commit, inner)
    etag = await store(backend, call.bucket, *whole, class_name=upload.class_name)
    shown = Checksum(body.algorithm.value, encode(body.checksum()), upload.info.composite)
    headers = [etag_header(etag.hex()), checksum_headers(shown)[0]]
    return HttpResponse(200, headers + encryption_headers(backend, call, upload.info.envelope))


async def list_parts(backend: Backend, call: Call) -> HttpResponse:
    """Show the parts that an upload has."""
    params = list_parts_params(call.query)
    upload = await find_named_upload(backend, call)
    parts, more = await multipart.list_parts(backend, upload, params.after, params.limit)
    rows = [
        write.PartElement(
            part.row.part_number,
            part.metadata.modified_ms,
            part.etag,
            part.manifest.size,
            Algorithm(part.metadata.algorithm),
            encode(part.metadata.checksum),
        )
        for part in parts
    ]
    document = write.list_parts(
        call.bucket.name,
        call.route.key,
        upload_id_text(upload.upload_id),
        params,
        rows,
        owner_id=owner_of(call.bucket, upload.info.owner).hex(),
        initiator_id=owner_of(call.bucket, upload.info.initiator).hex(),
        truncated=more,
        encode_url=(call.query.get("encoding-type") or "").lower() == "url",
        algorithm=upload.info.algorithm,
        checksum_type=type_text(upload.info.composite) if upload.info.algorithm else "",
        storage_class=shown_class(upload.class_name),
    )
    return xml_response(document, abort_headers(backend, call, begun_ms(upload.upload_id)))


async def abort_upload(backend: Backend, call: Call) -> HttpResponse:
    """Drop an upload and what it has."""
    upload_id = parse_upload_id(call.query.get("uploadId"))
    await multipart.abort_upload(backend, call.bucket, call.name, upload_id)
    return HttpResponse(204)


async def complete_upload(backend: Backend, call: Call) -> HttpResponse:
    """Make the object of the parts that the request names. Completing again, before or after
    another such request was carried out, says the same."""
    condition = write_condition(call.request)
    # No key is needed, but one that is wrongly given is refused while nothing is made yet.
    customer_key(backend, call.request)
    # A checksum header of this request is of the object, not of the document.
    wanted = await read_document(backend, call, parse_complete_upload, checksum_is_of_body=False)
    completed = await completion.complete_upload(
        backend,
        call.bucket,
        call.name,
        parse_upload_id(call.query.get("uploadId")),
        wanted,
        condition,
        partial(_check_whole, call),
        call.cause(EventKind.COMPLETE),
    )
    return _completed(backend, call, completed)


def _check_whole(
    call: Call, upload: MultipartUpload, manifest: Manifest, metadata: ObjectMetadata
) -> None:
    """Hold the object against what the request's headers say of it.

    Raises:
        S3Error: BadDigest, InvalidRequest.
    """
    size, checksum = manifest.size, metadata.checksum
    said_size = _text(call, b"x-amz-mp-object-size")
    if said_size is not None and parse_number(said_size) != size:
        raise S3Error(
            errors.INVALID_REQUEST,
            f"The provided 'x-amz-mp-object-size' header value {said_size[:32]} does not match "
            f"what was computed: {size}",
        )
    kind = _text(call, b"x-amz-checksum-type")
    if kind is not None and kind.upper() != type_text(upload.info.composite):
        raise S3Error(
            errors.INVALID_REQUEST,
            f"The upload was created with the {type_text(upload.info.composite)} checksum mode. "
            f"The complete request used the {kind[:32]} checksum mode.",
        )
    expected = expected_checksum(call.request, of_parts=True)
    if expected is None or expected.digest is None or checksum is None:
        return
    if expected.algorithm is not upload.algorithm:
        if upload.is_explicit:
            raise S3Error(
                errors.INVALID_REQUEST,
                f"The upload was created using a {checksum.algorithm.lower()} checksum.",
            )
        return
    said = encode(expected.digest) + (f"-{expected.parts}" if expected.parts else "")
    if said not in {checksum.value, checksum.value.partition("-")[0]}:
        raise S3Error(
            errors.BAD_DIGEST,
            f"The {checksum.algorithm} you specified did not match the calculated checksum.",
        )


def _completed(backend: Backend, call: Call, completed: CompletedUpload) -> HttpResponse:
    metadata = completed.metadata
    checksum = metadata.checksum
    host = (call.request.header(b"host") or b"").decode("latin-1")
    path = call.request.path.decode("latin-1")
    document = write.upload_completed(
        f"{'https' if call.request.secure else 'http'}://{host}{path}",
        call.bucket.name,
        call.route.key,
        metadata.etag,
        Algorithm(checksum.algorithm) if checksum is not None else None,
        checksum.value if checksum is not None else "",
        type_text(checksum.composite) if checksum is not None else "",
    )
    expires = expiration_header(backend, call, metadata, completed.size, completed.tags)
    protected = encryption_headers(backend, call, completed.envelope)
    return xml_response(document, [*version_headers(completed.version), *expires, *protected])


def _text(call: Call, header: bytes) -> str | None:
    value = call.request.header(header)
    return None if value is None else value.decode("latin-1")
