"""PutObject, DeleteObject and DeleteObjects.

Source: Amazon S3 API Reference, PutObject, DeleteObject, DeleteObjects.
"""

from __future__ import annotations

from dataclasses import replace

from common.client.object_client import Written
from common.errors import AlvearyError, NotFound, Refused
from common.format.objects import METADATA_VERSION, Checksum, ObjectMetadata
from common.http.records import HttpResponse
from common.reasons import Refusal
from gateway import deletion
from gateway.authorization import Action, authorize, check
from gateway.checksums import encode
from gateway.conditions import WriteCondition
from gateway.deletion import DeletedObject, Deletion
from gateway.notifications import EventKind
from gateway.protection import layer_of, opaque_etag
from gateway.versions import VersionName, name_of_new
from gateway.writing import NewObject, commit_object, decide, store
from gateway_s3.backend import Backend, Call
from gateway_s3.bodies import IncomingBody
from gateway_s3.documents import read_document
from gateway_s3.errors import S3Error
from gateway_s3.handlers.acl import access_of_new
from gateway_s3.handlers.answers import checksum_headers, etag_header, flat, xml_response
from gateway_s3.handlers.encryption import begin, encryption_headers, key_of_new
from gateway_s3.handlers.expiration import expiration_header
from gateway_s3.handlers.locks import check_vouched, lock_of_new
from gateway_s3.handlers.object_tags import tags_of_request
from gateway_s3.informing import informed
from gateway_s3.judging import look_up
from gateway_s3.request.conditions import write_condition
from gateway_s3.request.headers import content_headers, user_metadata
from gateway_s3.request.locks import asks_bypass
from gateway_s3.request.names import check_key
from gateway_s3.request.permissions import BYPASS
from gateway_s3.request.storage_classes import asked_class
from gateway_s3.request.version_ids import parse_version_id, version_headers, version_text
from gateway_s3.translation import from_error
from gateway_s3.xml.read import DeleteTarget, parse_delete
from gateway_s3.xml.write import DeletedElement, DeleteFailure, deleted


async def put_object(backend: Backend, call: Call) -> HttpResponse:
    """Store a body as the new version of its key; acknowledged when durable and committed."""
    request = call.request
    condition = write_condition(request)
    headers = flat(content_headers(request))
    user = flat(user_metadata(request))
    tags = tags_of_request(request)
    class_name = asked_class(request)
    access = access_of_new(call, request)
    lock = await lock_of_new(backend, call, request)
    key = await key_of_new(backend, call, request)
    body = IncomingBody(request, call.verified, needs_md5=key is None)
    check_vouched(lock, call.bucket, "Put Object", is_vouched_for=body.is_vouched_for)
    inner = begin(backend, key, body.size)

    async def commit(written: Written) -> tuple[ObjectMetadata, VersionName | None]:
        backend.metrics.received_bytes.inc(body.size)
        etag = body.md5().hex() if inner is None else opaque_etag(backend.entropy)
        checksum = Checksum(body.algorithm.value, encode(body.checksum()))
        now_ms, owner = backend.now_ms(), access.owner
        metadata = ObjectMetadata(
            METADATA_VERSION, etag, now_ms, headers, user, checksum, owner=owner
        )
        new = NewObject(
            metadata,
            body.size,
            written.pages,
            written.keys,
            written.segments,
            tags,
            lock,
            layer_of([] if inner is None else [inner]),
            access.acl,
            call.cause(EventKind.PUT),
            class_name,
        )
        made = await commit_object(backend, call.bucket, call.name, new, condition)
        return metadata, name_of_new(*made)

    ingest = body.ingest(backend.workers, backend.backlog)
    whole = (ingest, body.size, commit, inner)
    metadata, version = await store(backend, call.bucket, *whole, class_name=class_name)
    answered = [etag_header(metadata.etag), *checksum_headers(metadata.checksum)]
    answered += encryption_headers(backend, call, None if key is None else key.envelope)
    expires = expiration_header(backend, call, metadata, body.size, tags)
    return HttpResponse(200, [*answered, *version_headers(version), *expires])


async def delete_object(backend: Backend, call: Call) -> HttpResponse:
    """Remove a key, or a version of it; 204 also when there is nothing of that name."""
    condition = write_condition(call.request)
    version = call.route.version
    bypass = asks_bypass(call.request)
    done = await deletion.delete_object(
        backend,
        call.bucket,
        call.name,
        condition,
        version,
        bypass=bypass,
        cause=call.cause(EventKind.DELETE),
    )
    headers = version_headers(version or done.marker)
    if done.marker is not None or done.was_marker:
        headers.append((b"x-amz-delete-marker", b"true"))
    return HttpResponse(204, headers)


async def delete_objects(backend: Backend, call: Call) -> HttpResponse:
    """Remove up to 1,000 keys or versions; each has its own result."""
    asked = await read_document(backend, call, parse_delete, must_vouch=True)
    failures: list[DeleteFailure] = []
    items: list[tuple[DeleteTarget, Deletion]] = []
    for target in asked.targets:
        try:
            items.append((target, await _deletion(backend, call, target)))
        except (S3Error, NotFound) as error:
            failures.append(_failure(target, from_error(error)))
        except Refused as error:
            if error.reason not in {Refusal.ACCESS_DENIED, Refusal.ETAG_DIFFERS}:
                raise
            failures.append(_failure(target, from_error(error)))
    done: list[DeletedElement] = []
    if items:
        results = await deletion.delete_objects(backend, call.bucket, [item for _, item in items])
        for (target, _), result in zip(items, results, strict=True):
            if isinstance(result, AlvearyError):
                failures.append(_failure(target, from_error(result)))
            else:
                done.append(_deleted(target, result))
    return xml_response(deleted(done, failures, quiet=asked.quiet))


def _deleted(target: DeleteTarget, result: DeletedObject) -> DeletedElement:
    marker = None if result.marker is None else version_text(result.marker)
    if result.was_marker:
        marker = target.version_id
    return DeletedElement(target.key, target.version_id or None, marker)


async def _deletion(backend: Backend, call: Call, target: DeleteTarget) -> Deletion:
    """Return what is to be deleted for one key of the list.

    Raises:
        S3Error, NotFound; Refused ``access_denied``, ``etag_differs``: why this key is not deleted.
    """
    version = parse_version_id(target.version_id, "VersionId") if target.version_id else None
    action = Action.DELETE_OBJECT if version is None else Action.DELETE_OBJECT_VERSION
    asked = replace(call.circumstances, if_match=target.etag)
    facts = await informed(backend, asked, call.bucket, target.key, version)
    check(authorize(call.principal, action, call.bucket, target.key, facts))
    bypass = asks_bypass(call.request)
    if bypass:
        check(authorize(call.principal, action, call.bucket, target.key, facts, BYPASS))
    name = backend.names.encode(check_key(target.key))
    wanted = WriteCondition(etag=target.etag, size=target.size, modified_s=target.modified_s)
    if not wanted:
        return Deletion(name, version, bypass=bypass, cause=call.cause(EventKind.DELETE))
    # Whether a condition holds shows something of the object.
    readable = Action.READ_OBJECT if version is None else Action.READ_OBJECT_VERSION
    subject = None
    if call.bucket.rules.uses_lists:
        subject = (await look_up(backend, call.bucket, name, version)).subject(call.bucket)
    check(authorize(call.principal, readable, call.bucket, target.key, facts, subject=subject))
    try:
        condition = await decide(backend, call.bucket, name, wanted)
    except NotFound:
        call.check_may_list(call.bucket)
        raise
    return Deletion(name, version, condition, bypass, cause=call.cause(EventKind.DELETE))


def _failure(target: DeleteTarget, error: S3Error) -> DeleteFailure:
    return DeleteFailure(target.key, error.code.code, error.message, target.version_id)
