"""Buckets: made, found, listed, removed.

Source: Amazon S3 API Reference, CreateBucket, HeadBucket, DeleteBucket, ListBuckets,
GetBucketLocation, GetBucketVersioning, PutBucketVersioning.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from common import limits
from common.errors import NotFound, Refused
from common.http.records import HttpRequest, HttpResponse
from common.reasons import Refusal
from gateway import buckets
from gateway.principals import Bucket, Principal
from gateway.versions import Versioning
from gateway_s3 import errors
from gateway_s3.backend import Backend, Call
from gateway_s3.documents import read_document
from gateway_s3.errors import S3Error
from gateway_s3.handlers.acl import documents_of_new
from gateway_s3.handlers.answers import xml_response
from gateway_s3.request.listing_params import list_buckets_params, make_token
from gateway_s3.request.locks import asks_locks
from gateway_s3.request.names import check_bucket_name
from gateway_s3.request.router import Route
from gateway_s3.request.virtual_hosts import NOT_SET_UP, buckets_of_host
from gateway_s3.xml import write
from gateway_s3.xml.read import parse_create_bucket, parse_versioning

DEFAULT_REGION: Final = "us-east-1"
_STATUS: Final[Mapping[int, str]] = {
    Versioning.ENABLED: "Enabled",
    Versioning.SUSPENDED: "Suspended",
}


async def create_bucket(backend: Backend, call: Call) -> HttpResponse:
    """Make a bucket; making it again is fine for its owner, as in ``us-east-1``."""
    name, owner = call.route.bucket, call.asking_tenant
    check_bucket_name(name)
    await check_host(backend, call.request, call.route, call.principal)
    has_locks = asks_locks(call.request)
    documents = documents_of_new(call.request, owner.tenant_id)
    constraint = await read_document(backend, call, parse_create_bucket)
    if constraint is not None and constraint not in {backend.region, ""}:
        raise S3Error(errors.INVALID_LOCATION_CONSTRAINT, LocationConstraint=constraint[:64])
    try:
        await buckets.create_bucket(backend, owner, name, has_locks=has_locks, documents=documents)
    except Refused as error:
        if error.reason != Refusal.BUCKET_OWNED:
            raise
        bucket = await backend.buckets.read(owner, name)
        lacks_locks = has_locks and bucket.default_retention is None
        differs = any(bucket.settings.document(kind) != body for kind, body in documents.items())
        if backend.region != DEFAULT_REGION or lacks_locks or differs:
            raise S3Error(errors.BUCKET_ALREADY_OWNED_BY_YOU, BucketName=name) from error
    return HttpResponse(200, [(b"location", b"/" + name.encode("ascii"))])


async def check_host(
    backend: Backend, request: HttpRequest, routed: Route, principal: Principal
) -> None:
    """Refuse to make or remove a bucket under a host name that begins with another bucket's name:
    the path is then of a key in that bucket.

    Raises:
        S3Error: InvalidRequest.
        Unavailable: no coordinator can say whether there is such a bucket.
    """
    if request.path == b"/":  # the bucket is in the host name, and that is set up
        return
    for name in buckets_of_host(request.header(b"host") or b"", backend.domains):
        if name == routed.bucket:
            continue
        try:
            bucket = await backend.buckets.seen_by(principal, name)
        except NotFound:
            continue
        if isinstance(bucket, Bucket):
            raise S3Error(
                errors.INVALID_REQUEST,
                f"The host name begins with the name of your bucket {name}. {NOT_SET_UP}",
            )


async def head_bucket(backend: Backend, call: Call) -> HttpResponse:
    """Say that a bucket is there, and where."""
    return HttpResponse(200, [(b"x-amz-bucket-region", backend.region.encode("ascii"))])


async def delete_bucket(backend: Backend, call: Call) -> HttpResponse:
    """Remove an empty bucket."""
    await buckets.delete_bucket(backend, call.bucket)
    return HttpResponse(204)


async def get_location(backend: Backend, call: Call) -> HttpResponse:
    """Say the bucket's region."""
    return xml_response(write.location(backend.region))


async def get_versioning(backend: Backend, call: Call) -> HttpResponse:
    """Say whether versioning is enabled or suspended; nothing where it never was."""
    return xml_response(write.versioning(_STATUS.get(call.bucket.versioning, "")))


async def put_versioning(backend: Backend, call: Call) -> HttpResponse:
    """Enable or suspend versioning."""
    versioning = await read_document(backend, call, parse_versioning)
    await buckets.set_versioning(backend, call.bucket, versioning)
    return HttpResponse(200)


async def list_buckets(backend: Backend, call: Call) -> HttpResponse:
    """List the tenant's buckets."""
    params = list_buckets_params(call.query)
    limit = limits.MAX_BUCKETS_LISTED if params.limit is None else params.limit
    if params.region not in {None, backend.region}:
        limit = 0  # All buckets are in this gateway's region.
    entries, more = await buckets.list_buckets(
        backend, call.asking_tenant, prefix=params.prefix, after=params.after, limit=limit
    )
    document = write.list_buckets(
        call.asking_tenant.tenant_id.hex(),
        [(entry.name, entry.settings.created_ms) for entry in entries],
        region=backend.region,
        prefix=params.prefix,
        next_token=make_token(entries[-1].name.encode("utf-8")) if more and entries else None,
    )
    return xml_response(document)
