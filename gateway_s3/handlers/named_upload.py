"""The upload that a request names.

Source: Amazon S3 API Reference, UploadPart, ListParts, AbortMultipartUpload.
"""

from __future__ import annotations

from common.ids import VersionId
from gateway import multipart
from gateway.multipart import MultipartUpload
from gateway_s3.backend import Backend, Call
from gateway_s3.errors import S3Error
from gateway_s3.request.multipart_params import parse_upload_id


async def named_upload(backend: Backend, call: Call) -> VersionId:
    """The id of the upload that a call names.

    Raises:
        NotFound: ``no_such_bucket``: that is said first.
        S3Error: NoSuchUpload: none of ours.
    """
    try:
        return parse_upload_id(call.query.get("uploadId"))
    except S3Error:
        await backend.buckets.record_of(call.tenant, call.bucket)
        raise


async def find_named_upload(backend: Backend, call: Call) -> MultipartUpload:
    """The upload that a call names, opened.

    Raises:
        S3Error, NotFound: there is none of that id for this key.
    """
    upload_id = await named_upload(backend, call)
    return await multipart.find_upload(backend, call.tenant, call.bucket, call.name, upload_id)
