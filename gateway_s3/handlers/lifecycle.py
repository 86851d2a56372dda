"""Rules by which objects of a bucket expire: set, read and removed.

Source: Amazon S3 API Reference, PutBucketLifecycleConfiguration, GetBucketLifecycleConfiguration,
DeleteBucketLifecycle; docs/s3-compatibility.md, "Lifecycle".
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from common.format.configurations import (
    CONFIGURATION_VERSION,
    LifecycleRules,
    unpack_lifecycle,
)
from common.http.records import Headers, HttpResponse
from gateway.configurations import set_document
from gateway.lifecycle import LIFECYCLE
from gateway_s3 import errors
from gateway_s3.backend import Backend, Call
from gateway_s3.documents import read_document
from gateway_s3.errors import S3Error
from gateway_s3.handlers.answers import xml_response
from gateway_s3.xml.lifecycle import lifecycle_tree, parse_lifecycle
from gateway_s3.xml.write import configuration

_SMALLEST: Final = b"x-amz-transition-default-minimum-object-size"
_DEFAULT_SMALLEST: Final = "all_storage_classes_128K"
_ID_BYTES: Final = 18


async def put_lifecycle(backend: Backend, call: Call) -> HttpResponse:
    """Set the bucket's rules; those without an id get one."""
    smallest = (call.request.header(_SMALLEST) or b"").decode("ascii") or _DEFAULT_SMALLEST
    given = await read_document(backend, call, parse_lifecycle, must_vouch=True)
    named = [
        rule if rule.rule_id else replace(rule, rule_id=backend.entropy(_ID_BYTES).hex())
        for rule in given
    ]
    rules = LifecycleRules(CONFIGURATION_VERSION, smallest, tuple(named))
    await set_document(backend, call.bucket, LIFECYCLE, rules.pack())
    return HttpResponse(200, _shown(rules))


async def get_lifecycle(backend: Backend, call: Call) -> HttpResponse:
    """Show the bucket's rules."""
    body = call.bucket.settings.document(LIFECYCLE)
    if body is None:
        raise S3Error(errors.NO_SUCH_LIFECYCLE_CONFIGURATION, BucketName=call.bucket.name)
    rules = unpack_lifecycle(body)
    return xml_response(configuration(lifecycle_tree(rules)), _shown(rules))


async def delete_lifecycle(backend: Backend, call: Call) -> HttpResponse:
    """Remove the bucket's rules; 204 also where there are none."""
    await set_document(backend, call.bucket, LIFECYCLE, None)
    return HttpResponse(204)


def _shown(rules: LifecycleRules) -> Headers:
    return [(_SMALLEST, rules.smallest.encode("ascii"))]
