"""PutObject and DeleteObject.

Source: Amazon S3 API Reference, PutObject, DeleteObject.
"""

from __future__ import annotations

from common.errors import Refused
from common.http.records import Response
from common.ids import VersionId
from common.wire.messages import Committed, Condition, Deleted, DeleteItem, ObjectsDelete
from gateway_s3.answers import checksum_headers, etag_header, flat
from gateway_s3.backend import Backend, Call
from gateway_s3.bodies import IncomingBody
from gateway_s3.checksums import encode
from gateway_s3.commits import NewObject, commit_object, commit_or_abandon, under_condition
from gateway_s3.conditions import write_condition
from gateway_s3.headers import content_headers, user_metadata
from gateway_s3.metadata import METADATA_VERSION, Checksum, ObjectMetadata


async def put_object(backend: Backend, call: Call) -> Response:
    """Store a body as the new version of its key; acknowledged when durable and committed."""
    request = call.request
    condition = write_condition(request)
    headers = flat(content_headers(request))
    user = flat(user_metadata(request))
    body = IncomingBody(request, call.verified)
    tenant = call.tenant
    await backend.buckets.id_of(tenant, call.bucket)
    upload_key = backend.entropy(32)
    written = await body.ingest(backend.workers, backend.crowd).through(
        lambda receive: backend.swarm.write(tenant, receive, body.size, upload_key)
    )
    backend.metrics.received_bytes.inc(body.size)
    etag = body.md5().hex()
    checksum = Checksum(body.algorithm.value, encode(body.checksum()))
    new = NewObject(
        ObjectMetadata(METADATA_VERSION, etag, headers, user, checksum),
        body.size,
        written.pages,
        (upload_key,) if written.pages else (),
        written.segments,
    )

    async def commit() -> tuple[VersionId, Committed]:
        return await commit_object(backend, tenant, call.bucket, call.name, new, condition)

    await commit_or_abandon(backend, tenant, written, commit)
    return Response(200, [etag_header(etag), *checksum_headers(checksum)])


async def delete_object(backend: Backend, call: Call) -> Response:
    """Remove a key; 204 also when there is nothing of that name."""
    condition = write_condition(call.request)
    tenant = call.tenant

    async def attempt(decided: Condition) -> None:
        reply: Deleted = await backend.directory.call(
            ObjectsDelete(
                tenant.tenant_id, call.bucket, (DeleteItem(call.name, condition=decided),)
            )
        )
        (result,) = reply.results
        if result.reason:
            raise Refused(result.reason)

    await under_condition(backend, tenant, call.bucket, call.name, condition, attempt)
    return Response(204)
