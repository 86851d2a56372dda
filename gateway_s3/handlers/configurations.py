"""Configurations of buckets: set, read and removed.

Source: Amazon S3 API Reference, the actions named; docs/s3-compatibility.md.
"""

from __future__ import annotations

from typing import Final

from common.format.configurations import unpack_origin_rules, unpack_tags, unpack_website
from common.http.records import HttpResponse
from gateway.configurations import set_document
from gateway_s3 import errors
from gateway_s3.backend import Backend, Call
from gateway_s3.documents import read_document
from gateway_s3.errors import ErrorCode, S3Error
from gateway_s3.handlers.answers import xml_response
from gateway_s3.request.tags import bucket_tags
from gateway_s3.xml.configurations import cors_tree, parse_cors, parse_tagging, tagging_tree
from gateway_s3.xml.website import parse_website, website_tree
from gateway_s3.xml.write import configuration

TAGS: Final = "tags"
"""The kind of the document with a bucket's tags."""
WEBSITE: Final = "website"
"""The kind of the document that makes a bucket a website."""
CORS: Final = "cors"
"""The kind of the document with a bucket's rules for other origins."""


def _document(call: Call, kind: str, absent: ErrorCode) -> bytes:
    """The body of the bucket's document of a kind. Raises S3Error ``absent``: it has none."""
    body = call.bucket.settings.document(kind)
    if body is None:
        raise S3Error(absent, BucketName=call.bucket.name)
    return body


async def put_tagging(backend: Backend, call: Call) -> HttpResponse:
    """Set the bucket's tags; no tags at all are as many as were never set."""
    pairs = await read_document(backend, call, parse_tagging, must_vouch=True)
    tags = bucket_tags(pairs)
    await set_document(backend, call.bucket, TAGS, tags.pack() if tags.tags else None)
    return HttpResponse(204)


async def get_tagging(backend: Backend, call: Call) -> HttpResponse:
    """Show the bucket's tags."""
    tags = unpack_tags(_document(call, TAGS, errors.NO_SUCH_TAG_SET))
    return xml_response(configuration(tagging_tree(tags)))


async def delete_tagging(backend: Backend, call: Call) -> HttpResponse:
    """Remove the bucket's tags; 204 also where there are none."""
    await set_document(backend, call.bucket, TAGS, None)
    return HttpResponse(204)


async def put_cors(backend: Backend, call: Call) -> HttpResponse:
    """Set the bucket's rules for other origins."""
    rules = await read_document(backend, call, parse_cors, must_vouch=True)
    await set_document(backend, call.bucket, CORS, rules.pack())
    return HttpResponse(200)


async def get_cors(backend: Backend, call: Call) -> HttpResponse:
    """Show the bucket's rules for other origins."""
    rules = unpack_origin_rules(_document(call, CORS, errors.NO_SUCH_CORS_CONFIGURATION))
    return xml_response(configuration(cors_tree(rules)))


async def put_website(backend: Backend, call: Call) -> HttpResponse:
    """Make the bucket a website."""
    website = await read_document(backend, call, parse_website, must_vouch=True)
    await set_document(backend, call.bucket, WEBSITE, website.pack())
    return HttpResponse(200)


async def get_website(backend: Backend, call: Call) -> HttpResponse:
    """Show what the bucket's website is like."""
    website = unpack_website(_document(call, WEBSITE, errors.NO_SUCH_WEBSITE_CONFIGURATION))
    return xml_response(configuration(website_tree(website)))


async def delete_website(backend: Backend, call: Call) -> HttpResponse:
    """End the bucket's website; 204 also where there is none."""
    await set_document(backend, call.bucket, WEBSITE, None)
    return HttpResponse(204)


async def delete_cors(backend: Backend, call: Call) -> HttpResponse:
    """Remove the bucket's rules for other origins; 204 also where there are none."""
    await set_document(backend, call.bucket, CORS, None)
    return HttpResponse(204)
