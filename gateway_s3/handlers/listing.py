"""ListObjects (both versions), ListObjectVersions and ListMultipartUploads.

Source: Amazon S3 API Reference, ListObjects, ListObjectsV2, ListObjectVersions,
ListMultipartUploads.
"""

from __future__ import annotations

from typing import TypeAlias

from common.http.records import HttpResponse
from gateway import listing
from gateway.listing import ListingPage, ObjectEntry
from gateway_s3.backend import Backend, Call
from gateway_s3.errors import S3Error
from gateway_s3.handlers.answers import type_text, xml_response
from gateway_s3.request.listing_params import (
    ListObjectsParams,
    ListObjectsV2Params,
    ListVersionsParams,
    invalid,
    list_objects_params,
    list_objects_v2_params,
    list_uploads_params,
    list_versions_params,
    make_token,
)
from gateway_s3.request.multipart_params import parse_upload_id, upload_id_text
from gateway_s3.xml import write

_Params: TypeAlias = ListObjectsParams | ListObjectsV2Params | ListVersionsParams


async def _list(backend: Backend, call: Call, params: _Params) -> ListingPage[ObjectEntry]:
    return await listing.list_objects(
        backend,
        call.bucket,
        prefix=params.prefix,
        delimiter=params.delimiter,
        after=params.after,
        limit=params.limit,
    )


def _elements(page: ListingPage[ObjectEntry]) -> list[write.ObjectElement]:
    return [
        write.ObjectElement(
            entry.key,
            entry.summary.modified_ms,
            entry.summary.etag,
            entry.summary.size,
            entry.summary.algorithm,
            type_text(entry.summary.composite) if entry.summary.algorithm else "",
        )
        for entry in page.rows
    ]


async def list_objects(backend: Backend, call: Call) -> HttpResponse:
    """List a bucket's objects, version 1: continued by the client with ``marker``."""
    params = list_objects_params(call.query)
    page = await _list(backend, call, params)
    document = write.list_objects(
        call.bucket.name,
        params,
        _elements(page),
        page.prefixes,
        owner_id=call.bucket.owner.tenant_id.hex(),
        truncated=page.truncated,
        next_marker=page.last,
    )
    return xml_response(document)


async def list_objects_v2(backend: Backend, call: Call) -> HttpResponse:
    """List a bucket's objects, version 2: continued with an opaque token."""
    params = list_objects_v2_params(call.query)
    page = await _list(backend, call, params)
    document = write.list_objects_v2(
        call.bucket.name,
        params,
        _elements(page),
        page.prefixes,
        owner_id=call.bucket.owner.tenant_id.hex(),
        next_token=make_token(page.last) if page.truncated else None,
    )
    return xml_response(document)


async def list_versions(backend: Backend, call: Call) -> HttpResponse:
    """List a bucket's objects, each with its one version."""
    params = list_versions_params(call.query)
    page = await _list(backend, call, params)
    document = write.list_versions(
        call.bucket.name,
        params,
        _elements(page),
        page.prefixes,
        owner_id=call.bucket.owner.tenant_id.hex(),
        truncated=page.truncated,
        next_key=page.last,
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
    page = await listing.list_uploads(
        backend,
        call.bucket,
        prefix=params.prefix,
        delimiter=params.delimiter,
        after=params.after,
        after_upload=after_upload,
        limit=params.limit,
    )
    elements = [
        write.UploadElement(entry.key, upload_id_text(entry.upload_id), entry.begun_ms)
        for entry in page.rows
    ]
    document = write.list_uploads(
        call.bucket.name,
        params,
        elements,
        page.prefixes,
        owner_id=call.bucket.owner.tenant_id.hex(),
        truncated=page.truncated,
        next_key=page.last,
        next_upload=upload_id_text(page.last_upload),
    )
    return xml_response(document)
