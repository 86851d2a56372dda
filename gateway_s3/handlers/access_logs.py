"""The target of the access log of a bucket: set and read.

Source: Amazon S3 API Reference, PutBucketLogging, GetBucketLogging.
"""

from __future__ import annotations

from common.errors import NotFound, Refused
from common.format.configurations import unpack_access_logging
from common.http.records import HttpResponse
from gateway.configurations import set_document
from gateway.principals import LOGGING
from gateway_s3 import errors
from gateway_s3.backend import Backend, Call
from gateway_s3.documents import read_document
from gateway_s3.errors import S3Error
from gateway_s3.handlers.answers import xml_response
from gateway_s3.xml.access_logs import logging_tree, parse_logging
from gateway_s3.xml.write import configuration


async def put_logging(backend: Backend, call: Call) -> HttpResponse:
    """Have the bucket's requests logged in a bucket of the same owner, or no longer."""
    rules = await read_document(backend, call, parse_logging)
    if rules is not None:
        try:
            await backend.buckets.read(call.bucket.owner, rules.bucket)
        except (NotFound, Refused) as error:
            raise S3Error(
                errors.INVALID_TARGET_BUCKET_FOR_LOGGING, TargetBucket=rules.bucket
            ) from error
    await set_document(backend, call.bucket, LOGGING, None if rules is None else rules.pack())
    return HttpResponse(200)


async def get_logging(backend: Backend, call: Call) -> HttpResponse:
    """Show where the bucket's requests are logged."""
    body = call.bucket.settings.document(LOGGING)
    rules = None if body is None else unpack_access_logging(body)
    return xml_response(configuration(logging_tree(rules)))
