"""PutObject, DeleteObject and DeleteObjects.

Source: Amazon S3 API Reference, PutObject, DeleteObject, DeleteObjects.
"""

from __future__ import annotations

from common.client.object_client import Written
from common.errors import NotFound, Refused
from common.format.objects import METADATA_VERSION, Checksum, ObjectMetadata
from common.http.records import HttpResponse
from common.reasons import Refusal
from common.wire.messages.objects import DeleteItem
from gateway import deletion
from gateway.authorization import Action, authorize, check
from gateway.checksums import encode
from gateway.conditions import WriteCondition
from gateway.writing import NewObject, commit_object, decide, store
from gateway_s3.backend import Backend, Call
from gateway_s3.bodies import IncomingBody
from gateway_s3.documents import read_document
from gateway_s3.errors import NO_SUCH_VERSION, S3Error
from gateway_s3.handlers.answers import checksum_headers, etag_header, flat, xml_response
from gateway_s3.handlers.object_tags import tags_of_request
from gateway_s3.request.conditions import write_condition
from gateway_s3.request.headers import content_headers, user_metadata
from gateway_s3.request.names import check_key
from gateway_s3.translation import from_error
from gateway_s3.xml.read import DeleteTarget, parse_delete
from gateway_s3.xml.write import DeleteFailure, deleted


async def put_object(backend: Backend, call: Call) -> HttpResponse:
    """Store a body as the new version of its key; acknowledged when durable and committed."""
    request = call.request
    condition = write_condition(request)
    headers = flat(content_headers(request))
    user = flat(user_metadata(request))
    tags = tags_of_request(request)
    body = IncomingBody(request, call.verified)

    async def commit(written: Written) -> ObjectMetadata:
        backend.metrics.received_bytes.inc(body.size)
        etag = body.md5().hex()
        checksum = Checksum(body.algorithm.value, encode(body.checksum()))
        metadata = ObjectMetadata(METADATA_VERSION, etag, backend.now_ms(), headers, user, checksum)
        new = NewObject(metadata, body.size, written.pages, written.keys, written.segments, tags)
        await commit_object(backend, call.bucket, call.name, new, condition)
        return metadata

    ingest = body.ingest(backend.workers, backend.backlog)
    metadata = await store(backend, call.bucket, ingest, body.size, commit)
    return HttpResponse(200, [etag_header(metadata.etag), *checksum_headers(metadata.checksum)])


async def delete_object(backend: Backend, call: Call) -> HttpResponse:
    """Remove a key; 204 also when there is nothing of that name."""
    condition = write_condition(call.request)
    await deletion.delete_object(backend, call.bucket, call.name, condition)
    return HttpResponse(204)


async def delete_objects(backend: Backend, call: Call) -> HttpResponse:
    """Remove up to 1,000 keys; each has its own result."""
    asked = await read_document(backend, call, parse_delete, must_vouch=True)
    failures: list[DeleteFailure] = []
    items: list[tuple[DeleteTarget, DeleteItem]] = []
    for target in asked.targets:
        try:
            items.append((target, await _delete_item(backend, call, target)))
        except (S3Error, NotFound) as error:
            failures.append(_failure(target, from_error(error)))
        except Refused as error:
            if error.reason not in {Refusal.ACCESS_DENIED, Refusal.ETAG_DIFFERS}:
                raise
            failures.append(_failure(target, from_error(error)))
    done: list[tuple[bytes, str | None]] = []
    if items:
        results = await deletion.delete_objects(backend, call.bucket, [item for _, item in items])
        for (target, _), result in zip(items, results, strict=True):
            if result.failure is not None:
                failures.append(_failure(target, from_error(result.failure.error())))
            else:
                done.append((target.key, target.version_id))
    return xml_response(deleted(done, failures, quiet=asked.quiet))


async def _delete_item(backend: Backend, call: Call, target: DeleteTarget) -> DeleteItem:
    """Return the coordinator's item for one key to delete.

    Raises:
        S3Error, NotFound; Refused ``access_denied``, ``etag_differs``: why this key is not deleted.
    """
    check(authorize(call.principal, Action.DELETE_OBJECT, call.bucket, target.key))
    name = backend.names.encode(check_key(target.key))
    if target.version_id not in {None, "", "null"}:
        raise S3Error(NO_SUCH_VERSION)
    if target.etag is None:
        return DeleteItem(name)
    wanted = WriteCondition(etag=target.etag)
    return DeleteItem(name, condition=await decide(backend, call.bucket, name, wanted))


def _failure(target: DeleteTarget, error: S3Error) -> DeleteFailure:
    return DeleteFailure(target.key, error.code.code, error.message, target.version_id)
