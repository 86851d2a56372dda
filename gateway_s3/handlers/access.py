"""Rules of buckets about access: the policy, and the limits of public access.

Source: Amazon S3 API Reference, the actions named; docs/s3-compatibility.md, "Who may do what".
"""

from __future__ import annotations

from common.format.configurations import CONFIGURATION_VERSION, PolicyText, unpack_policy
from common.format.configurations import unpack_public_access as unpack_limits
from common.http.records import HttpResponse
from gateway.access.policy_document import parse_policy
from gateway.access.publicity import is_public
from gateway.access.rules import BLOCK_NOTHING, POLICY, PUBLIC_ACCESS
from gateway.configurations import set_document
from gateway.principals import Bucket
from gateway_s3 import errors
from gateway_s3.backend import Backend, Call
from gateway_s3.documents import read_document
from gateway_s3.errors import S3Error
from gateway_s3.handlers.answers import xml_response
from gateway_s3.request.condition_keys import check_condition
from gateway_s3.xml.access import parse_public_access, policy_status_tree, public_access_tree
from gateway_s3.xml.write import configuration

_JSON = b"application/json"


async def put_policy(backend: Backend, call: Call) -> HttpResponse:
    """Set the bucket's policy, unless it is public and none that is may be set."""
    text = await read_document(backend, call, bytes)
    policy = parse_policy(text, call.bucket.name, check_condition)
    public = is_public(policy)

    def check_allowed(bucket: Bucket) -> None:
        if public and bucket.rules.limits.block_policy:
            raise S3Error(
                errors.ACCESS_DENIED,
                "The policy is public, and public policies are blocked by the BlockPublicPolicy "
                "setting of the bucket's public access block.",
            )

    body = PolicyText(CONFIGURATION_VERSION, text).pack()
    await set_document(backend, call.bucket, POLICY, body, check_allowed)
    return HttpResponse(204)


def _policy_text(call: Call) -> bytes:
    body = call.bucket.settings.document(POLICY)
    if body is None:
        raise S3Error(errors.NO_SUCH_BUCKET_POLICY, BucketName=call.bucket.name)
    return unpack_policy(body).text


async def get_policy(backend: Backend, call: Call) -> HttpResponse:
    """Show the bucket's policy as it was set."""
    return HttpResponse(200, [(b"content-type", _JSON)], _policy_text(call))


async def get_policy_status(backend: Backend, call: Call) -> HttpResponse:
    """Say whether the bucket's policy is public."""
    policy = parse_policy(_policy_text(call), call.bucket.name)
    return xml_response(configuration(policy_status_tree(is_public(policy))))


async def delete_policy(backend: Backend, call: Call) -> HttpResponse:
    """Remove the bucket's policy; 204 also where there is none."""
    await set_document(backend, call.bucket, POLICY, None)
    return HttpResponse(204)


async def put_public_access(backend: Backend, call: Call) -> HttpResponse:
    """Set the limits of public access to the bucket."""
    limits = await read_document(backend, call, parse_public_access)
    await set_document(backend, call.bucket, PUBLIC_ACCESS, limits.pack())
    return HttpResponse(200)


async def get_public_access(backend: Backend, call: Call) -> HttpResponse:
    """Show the limits of public access: all four, where the owner never set any."""
    body = call.bucket.settings.document(PUBLIC_ACCESS)
    limits = call.bucket.rules.limits if body is None else unpack_limits(body)
    if not limits.is_set:
        raise S3Error(errors.NO_SUCH_PUBLIC_ACCESS_BLOCK, BucketName=call.bucket.name)
    return xml_response(configuration(public_access_tree(limits)))


async def delete_public_access(backend: Backend, call: Call) -> HttpResponse:
    """Remove all limits of public access."""
    await set_document(backend, call.bucket, PUBLIC_ACCESS, BLOCK_NOTHING.pack())
    return HttpResponse(204)
