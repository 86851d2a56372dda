"""The upload that a request names.

Source: Amazon S3 API Reference, UploadPart, ListParts, AbortMultipartUpload.
"""

from __future__ import annotations

from gateway import multipart
from gateway.parts import MultipartUpload
from gateway_s3.backend import Backend, Call
from gateway_s3.request.multipart_params import parse_upload_id


async def find_named_upload(backend: Backend, call: Call) -> MultipartUpload:
    """The upload that a call names, opened.

    Raises:
        S3Error, NotFound: there is none of that id for this key.
    """
    upload_id = parse_upload_id(call.query.get("uploadId"))
    return await multipart.find_upload(backend, call.bucket, call.name, upload_id)
