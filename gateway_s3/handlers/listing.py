"""ListObjects (both versions), ListObjectVersions and ListMultipartUploads.

A coordinator's reply may be shorter than what was asked for; it is asked on until the page is full
or there is no more. What a coordinator returns is in S3's order already: byte order of UTF-8.

Source: Amazon S3 API Reference, ListObjects, ListObjectsV2, ListObjectVersions,
ListMultipartUploads.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import trio

from common.crypto.keys import TenantKey
from common.errors import Corrupt
from common.format.manifest import open_summary
from common.format.objects import unpack_summary
from common.http.records import HttpResponse
from common.ids import BucketId
from common.wire.messages.multipart import Uploads, UploadsList
from common.wire.messages.objects import ListedObject, Listing, ObjectsList
from gateway_s3.backend import Backend, Call
from gateway_s3.errors import S3Error
from gateway_s3.handlers.answers import type_text, xml_response
from gateway_s3.request.listing_params import (
    invalid,
    list_objects_params,
    list_objects_v2_params,
    list_uploads_params,
    list_versions_params,
    make_token,
)
from gateway_s3.uploads import begun_ms, parse_upload_id, upload_id_text
from gateway_s3.xml import write


@dataclass(slots=True)
class _Listed:
    """A page of a listing. ``last``: the name or prefix it ends with."""

    rows: list[write.ObjectElement] = field(default_factory=list)
    prefixes: list[bytes] = field(default_factory=list)
    truncated: bool = False
    last: bytes = b""


async def _list(
    backend: Backend, call: Call, prefix: bytes, delimiter: bytes, after: bytes, limit: int
) -> _Listed:
    """Up to ``limit`` keys and prefixes after ``after``; none are asked for with 0.

    Raises:
        NotFound: ``no_such_bucket``.
    """
    listed = _Listed(last=after)
    names = backend.names
    tenant = call.tenant
    while True:
        room = limit - len(listed.rows) - len(listed.prefixes)
        reply: Listing = await backend.buckets.ask(
            tenant,
            ObjectsList(
                tenant.tenant_id,
                call.bucket,
                names.encode(prefix),
                names.encode(delimiter),
                names.encode(listed.last),
                room,
            ),
        )
        for row in reply.objects:
            listed.rows.append(_row(backend, tenant, reply.bucket_id, row))
        listed.prefixes += [names.decode(each) for each in reply.prefixes]
        listed.truncated = reply.truncated and limit > 0
        count = len(reply.objects) + len(reply.prefixes)
        if not reply.truncated or count >= room or not count:
            listed.last = names.decode(reply.last)
            return listed
        listed.last = names.decode(reply.last)
        await trio.lowlevel.checkpoint()


def _row(
    backend: Backend, tenant: TenantKey, bucket_id: BucketId, row: ListedObject
) -> write.ObjectElement:
    summary = unpack_summary(open_summary(tenant, bucket_id, row.name, row.version_id, row.summary))
    if row.size != summary.size:
        raise Corrupt("size_mismatch", size=row.size)
    return write.ObjectElement(
        backend.names.decode(row.name),
        summary.modified_ms,
        summary.etag,
        summary.size,
        summary.algorithm,
        type_text(summary.composite) if summary.algorithm else "",
    )


async def list_objects(backend: Backend, call: Call) -> HttpResponse:
    """List a bucket's objects, version 1: continued by the client with ``marker``."""
    params = list_objects_params(call.query)
    listed = await _list(backend, call, params.prefix, params.delimiter, params.after, params.limit)
    document = write.list_objects(
        call.bucket,
        params,
        listed.rows,
        listed.prefixes,
        owner_id=call.tenant.tenant_id.hex(),
        truncated=listed.truncated,
        next_marker=listed.last,
    )
    return xml_response(document)


async def list_objects_v2(backend: Backend, call: Call) -> HttpResponse:
    """List a bucket's objects, version 2: continued with an opaque token."""
    params = list_objects_v2_params(call.query)
    listed = await _list(backend, call, params.prefix, params.delimiter, params.after, params.limit)
    document = write.list_objects_v2(
        call.bucket,
        params,
        listed.rows,
        listed.prefixes,
        owner_id=call.tenant.tenant_id.hex(),
        next_token=make_token(listed.last) if listed.truncated else None,
    )
    return xml_response(document)


async def list_versions(backend: Backend, call: Call) -> HttpResponse:
    """List a bucket's objects, each with its one version."""
    params = list_versions_params(call.query)
    listed = await _list(backend, call, params.prefix, params.delimiter, params.after, params.limit)
    document = write.list_versions(
        call.bucket,
        params,
        listed.rows,
        listed.prefixes,
        owner_id=call.tenant.tenant_id.hex(),
        truncated=listed.truncated,
        next_key=listed.last,
    )
    return xml_response(document)


async def list_uploads(backend: Backend, call: Call) -> HttpResponse:
    """List the uploads in progress of a bucket."""
    params = list_uploads_params(call.query)
    after_upload = b""
    if params.after_upload:
        try:
            after_upload = parse_upload_id(params.after_upload)
        except S3Error:
            raise invalid("upload-id-marker", params.after_upload) from None
    names = backend.names
    rows: list[write.UploadElement] = []
    prefixes: list[bytes] = []
    after = names.encode(params.after)
    while True:
        room = params.limit - len(rows) - len(prefixes)
        reply: Uploads = await backend.directory.call(
            UploadsList(
                call.tenant.tenant_id,
                call.bucket,
                names.encode(params.prefix),
                names.encode(params.delimiter),
                after,
                after_upload,
                room,
            )
        )
        rows += [
            write.UploadElement(
                names.decode(row.name), upload_id_text(row.upload_id), begun_ms(row.upload_id)
            )
            for row in reply.uploads
        ]
        prefixes += [names.decode(each) for each in reply.prefixes]
        after, after_upload = reply.last, reply.last_upload
        count = len(reply.uploads) + len(reply.prefixes)
        if not reply.truncated or count >= room or not count:
            break
    document = write.list_uploads(
        call.bucket,
        params,
        rows,
        prefixes,
        owner_id=call.tenant.tenant_id.hex(),
        truncated=reply.truncated and params.limit > 0,
        next_key=names.decode(after),
        next_upload=upload_id_text(after_upload),
    )
    return xml_response(document)
