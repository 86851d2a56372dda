"""ListObjects (both versions), ListObjectVersions and ListMultipartUploads.

Source: Amazon S3 API Reference, ListObjects, ListObjectsV2, ListObjectVersions,
ListMultipartUploads.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from common.http.records import HttpResponse
from gateway import listing
from gateway.ownership import owner_of
from gateway_s3.backend import Backend, Call
from gateway_s3.errors import S3Error
from gateway_s3.handlers.answers import type_text, xml_response
from gateway_s3.request.listing_params import (
    ListObjectsParams,
    ListObjectsV2Params,
    invalid,
    list_objects_params,
    list_objects_v2_params,
    list_uploads_params,
    list_versions_params,
)
from gateway_s3.request.multipart_params import parse_upload_id, upload_id_text
from gateway_s3.request.storage_classes import shown_class
from gateway_s3.request.version_ids import version_text
from gateway_s3.xml import write

P = TypeVar("P", ListObjectsParams, ListObjectsV2Params)


async def _list(
    backend: Backend, call: Call, params: P, document: Callable[[P, write.ObjectElements], bytes]
) -> HttpResponse:
    """List a bucket's objects, written as a document."""
    page = await listing.list_objects(
        backend,
        call.bucket,
        prefix=params.prefix,
        delimiter=params.delimiter,
        after=params.after,
        limit=params.limit,
    )
    elements = write.ObjectElements(
        call.bucket.name,
        [_facts(call, entry) for entry in page.rows],
        page.prefixes,
        call.bucket.owner.tenant_id.hex(),
        page.truncated,
        page.last,
    )
    return xml_response(document(params, elements))


def _facts(call: Call, entry: listing.ObjectEntry | listing.VersionEntry) -> write.ObjectElement:
    summary = entry.summary
    return write.ObjectElement(
        entry.key,
        summary.modified_ms,
        summary.etag,
        summary.size,
        summary.algorithm,
        type_text(summary.composite) if summary.algorithm else "",
        owner_of(call.bucket, summary.owner).hex() if summary.owner else "",
        shown_class(entry.class_name),
    )


async def list_objects(backend: Backend, call: Call) -> HttpResponse:
    """List a bucket's objects, version 1: continued by the client with ``marker``."""
    return await _list(backend, call, list_objects_params(call.query), write.list_objects)


async def list_objects_v2(backend: Backend, call: Call) -> HttpResponse:
    """List a bucket's objects, version 2: continued with an opaque token."""
    return await _list(backend, call, list_objects_v2_params(call.query), write.list_objects_v2)


async def list_versions(backend: Backend, call: Call) -> HttpResponse:
    """List a bucket's versions and delete markers."""
    params = list_versions_params(call.query)
    page = await listing.list_versions(
        backend,
        call.bucket,
        prefix=params.prefix,
        delimiter=params.delimiter,
        after=params.after,
        after_version=params.after_version,
        limit=params.limit,
    )
    rows = [
        write.VersionElement(
            _facts(call, entry),
            version_text(entry.version),
            entry.is_latest,
            entry.is_marker,
        )
        for entry in page.rows
    ]
    document = write.list_versions(
        call.bucket.name,
        params,
        rows,
        page.prefixes,
        owner_id=call.bucket.owner.tenant_id.hex(),
        truncated=page.truncated,
        next_key=page.last,
        next_version="" if page.last_version is None else version_text(page.last_version),
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
        write.UploadElement(
            entry.key,
            upload_id_text(entry.upload_id),
            entry.begun_ms,
            storage_class=shown_class(entry.class_name),
        )
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
