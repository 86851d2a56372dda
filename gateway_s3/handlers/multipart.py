"""Uploads in parts: begun, filled, listed, completed, aborted.

Source: Amazon S3 API Reference, CreateMultipartUpload, UploadPart, ListParts,
CompleteMultipartUpload, AbortMultipartUpload.
"""

from __future__ import annotations

from typing import Final

from common import limits
from common.errors import NotFound, Refused
from common.format.manifest import seal_manifest, seal_summary, seal_upload
from common.format.objects import METADATA_VERSION, Checksum, ObjectMetadata, UploadInfo, summary_of
from common.http.records import HttpResponse
from common.ids import BucketId
from common.wire.messages.multipart import ChosenPart, UploadAbort, UploadComplete, UploadCreate
from common.wire.messages.objects import Committed, Condition
from gateway_s3 import errors
from gateway_s3.backend import Backend, Call
from gateway_s3.bodies import IncomingBody
from gateway_s3.commits import commit_or_abandon, in_bucket, under_condition
from gateway_s3.completion import assemble, choose, is_made_of
from gateway_s3.documents import read_document
from gateway_s3.errors import S3Error
from gateway_s3.handlers.answers import checksum_headers, etag_header, flat, type_text, xml_response
from gateway_s3.lookup import find_object
from gateway_s3.request.checksums import Algorithm, Type, encode, expected_checksum, upload_checksum
from gateway_s3.request.conditions import WriteCondition, write_condition
from gateway_s3.request.headers import content_headers, user_metadata
from gateway_s3.request.listing_params import list_parts_params
from gateway_s3.request.numbers import parse_number
from gateway_s3.uploads import (
    MultipartUpload,
    Part,
    PartContent,
    commit_part,
    find_upload,
    list_parts_after,
    named_upload,
    parse_part_number,
    part_metadata,
    upload_id_text,
)
from gateway_s3.xml import write
from gateway_s3.xml.read import NamedPart, parse_complete_upload

_UPLOAD_IS_GONE: Final = frozenset({"no_such_upload", "version_exists"})
_CONDITION_CODES: Final = (errors.PRECONDITION_FAILED, errors.CONDITIONAL_REQUEST_CONFLICT)


async def create_upload(backend: Backend, call: Call) -> HttpResponse:
    """Begin an upload: its headers and metadata are the object's."""
    request = call.request
    asked = upload_checksum(
        _text(call, b"x-amz-checksum-algorithm"), _text(call, b"x-amz-checksum-type")
    )
    info = UploadInfo(
        METADATA_VERSION,
        flat(content_headers(request)),
        flat(user_metadata(request)),
        asked[0].value if asked is not None else "",
        asked is not None and asked[1] is Type.COMPOSITE,
    )
    upload_id = backend.new_upload()
    tenant = call.tenant

    async def on(bucket_id: BucketId) -> None:
        sealed = seal_upload(tenant, bucket_id, call.name, upload_id, info.pack(), backend.entropy)
        await backend.directory.call(
            UploadCreate(tenant.tenant_id, call.bucket, call.name, upload_id, sealed, bucket_id)
        )

    try:
        await in_bucket(backend, tenant, call.bucket, on)
    except Refused as error:
        if error.reason != "too_many_uploads":
            raise
        # S3 has no such limit and no code for it. Not one that clients repeat: it would not help.
        raise S3Error(
            errors.INVALID_REQUEST,
            "You have attempted to begin more multipart uploads than allowed. Complete or abort "
            "some of those in progress.",
        ) from error
    headers = []
    if asked is not None:
        headers = [
            (b"x-amz-checksum-algorithm", info.algorithm.encode("ascii")),
            (b"x-amz-checksum-type", asked[1].value.encode("ascii")),
        ]
    document = write.upload_created(call.bucket, call.route.key, upload_id_text(upload_id))
    return xml_response(document, headers)


async def upload_part(backend: Backend, call: Call) -> HttpResponse:
    """Store a body as a part of an upload."""
    number = parse_part_number(call.query.get("partNumber"))
    upload = await find_upload(backend, call)
    body = IncomingBody(
        call.request,
        call.verified,
        stored=upload.algorithm,
        strict=upload.is_explicit,
        required=upload.info.composite,
    )
    tenant = call.tenant
    written = await body.ingest(backend.workers, backend.backlog).through(
        lambda receive: backend.swarm.write(tenant, receive, body.size)
    )
    backend.metrics.received_bytes.inc(body.size)
    content = PartContent(
        part_metadata(body.md5(), backend.now_ms(), body.algorithm, body.checksum()),
        body.size,
        written.pages,
        written.keys,
        written.segments,
    )

    async def commit() -> Committed:
        return await commit_part(backend, call, upload, number, content)

    await commit_or_abandon(backend, tenant, written, commit)
    shown = Checksum(body.algorithm.value, encode(body.checksum()), upload.info.composite)
    return HttpResponse(200, [etag_header(body.md5().hex()), checksum_headers(shown)[0]])


async def list_parts(backend: Backend, call: Call) -> HttpResponse:
    """Show the parts that an upload has."""
    params = list_parts_params(call.query)
    upload = await find_upload(backend, call)
    parts: list[Part] = []
    more = params.limit > 0
    truncated = False
    after = params.after
    while more and len(parts) < params.limit:
        found, more = await list_parts_after(
            backend, call, upload, after, params.limit - len(parts)
        )
        parts += found
        if found:
            after = found[-1].row.part_number
        truncated = more
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
        call.bucket,
        call.route.key,
        upload_id_text(upload.upload_id),
        params,
        rows,
        owner_id=call.tenant.tenant_id.hex(),
        truncated=truncated,
        encode_url=(call.query.get("encoding-type") or "").lower() == "url",
        algorithm=upload.info.algorithm,
        checksum_type=type_text(upload.info.composite) if upload.info.algorithm else "",
    )
    return xml_response(document)


async def abort_upload(backend: Backend, call: Call) -> HttpResponse:
    """Drop an upload and what it has."""
    upload_id = await named_upload(backend, call)
    await backend.directory.call(
        UploadAbort(call.tenant.tenant_id, call.bucket, call.name, upload_id)
    )
    return HttpResponse(204)


async def complete_upload(backend: Backend, call: Call) -> HttpResponse:
    """Make the object of the parts that the request names. Completing again, before or after
    another such request was carried out, says the same."""
    condition = write_condition(call.request)
    # A checksum header of this request is of the object, not of the document.
    wanted = await read_document(backend, call, parse_complete_upload, checksum_is_of_body=False)
    try:
        return _completed(call, await _complete(backend, call, wanted, condition))
    except (NotFound, Refused) as error:
        if not _may_be_completed(error):
            raise
        # A client repeats a request whose answer it did not get, and both may run at once.
        metadata = await _completed_before(backend, call, wanted)
        if metadata is not None:
            return _completed(call, metadata)
        if error.reason in _UPLOAD_IS_GONE:
            raise S3Error(errors.NO_SUCH_UPLOAD, UploadId=call.query.get("uploadId")) from error
        raise


def _may_be_completed(error: NotFound | Refused) -> bool:
    """Whether a completion may have failed because another one of this upload was carried out:
    the upload is gone, or the object that the condition is about is the one it made."""
    return error.reason in _UPLOAD_IS_GONE or (
        isinstance(error, S3Error) and error.code in _CONDITION_CODES
    )


async def _complete(
    backend: Backend, call: Call, wanted: tuple[NamedPart, ...], condition: WriteCondition
) -> ObjectMetadata:
    upload = await find_upload(backend, call)
    chosen = choose(upload, wanted, await _all_parts(backend, call, upload))
    manifest, metadata = assemble(upload, chosen, backend.now_ms())
    _check_whole(call, upload, manifest.size, metadata.checksum)
    tenant = call.tenant
    place = (tenant, upload.bucket_id, call.name, upload.upload_id)
    request = UploadComplete(
        tenant.tenant_id,
        call.bucket,
        call.name,
        upload.upload_id,
        tuple([ChosenPart(part.row.part_number, part.row.part_id) for part in chosen]),
        manifest.size,
        seal_manifest(*place, manifest, backend.entropy),
        seal_summary(*place, summary_of(metadata, manifest.size).pack(), backend.entropy),
        Condition(),
    )

    async def attempt(decided: Condition) -> None:
        await backend.directory.call(_under(request, decided))

    await under_condition(backend, tenant, call.bucket, call.name, condition, attempt)
    return metadata


def _under(request: UploadComplete, condition: Condition) -> UploadComplete:
    return UploadComplete(
        request.tenant_id,
        request.bucket,
        request.name,
        request.upload_id,
        request.parts,
        request.size,
        request.sealed,
        request.summary,
        condition,
    )


async def _all_parts(backend: Backend, call: Call, upload: MultipartUpload) -> dict[int, Part]:
    parts: dict[int, Part] = {}
    more = True
    after = 0
    while more:
        found, more = await list_parts_after(backend, call, upload, after, limits.MAX_LIST_ENTRIES)
        for part in found:
            after = part.row.part_number
            parts[after] = part
    return parts


def _check_whole(call: Call, upload: MultipartUpload, size: int, checksum: Checksum | None) -> None:
    """Hold the object against what the request's headers say of it.

    Raises:
        S3Error: BadDigest, InvalidRequest.
    """
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


async def _completed_before(
    backend: Backend, call: Call, wanted: tuple[NamedPart, ...]
) -> ObjectMetadata | None:
    """The object that this very upload became, if it did and of these very parts."""
    upload_id = await named_upload(backend, call)
    try:
        found = await find_object(
            backend, call.tenant, call.bucket, call.name, version_id=upload_id
        )
    except NotFound:
        return None
    return found.metadata if is_made_of(found.metadata, wanted) else None


def _completed(call: Call, metadata: ObjectMetadata) -> HttpResponse:
    checksum = metadata.checksum
    host = (call.request.header(b"host") or b"").decode("latin-1")
    path = call.request.path.decode("latin-1")
    document = write.upload_completed(
        f"{'https' if call.request.secure else 'http'}://{host}{path}",
        call.bucket,
        call.route.key,
        metadata.etag,
        Algorithm(checksum.algorithm) if checksum is not None else None,
        checksum.value if checksum is not None else "",
        type_text(checksum.composite) if checksum is not None else "",
    )
    return xml_response(document)


def _text(call: Call, header: bytes) -> str | None:
    value = call.request.header(header)
    return None if value is None else value.decode("latin-1")
