"""Configurations that were never set: read, deleted, and set to what they are.

These cannot be configured yet, but clients ask what is configured: consoles read everything. The
answer is what S3 says of a bucket or object where nobody ever set it. A write is carried out only
where it asks for exactly what is so already; any other is 501 NotImplemented.

Source: Amazon S3 API Reference, the actions named; docs/s3-compatibility.md, "What was never set".
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Final, TypeAlias

from common.http.records import HttpResponse
from gateway.objects import find_object
from gateway_s3 import errors
from gateway_s3.backend import Backend, Call
from gateway_s3.documents import read_document
from gateway_s3.errors import ErrorCode, S3Error
from gateway_s3.handlers.answers import xml_response
from gateway_s3.request.operations import BY_NAME, Scope
from gateway_s3.xml.read import Tree, parse_configuration
from gateway_s3.xml.write import configuration

Handle: TypeAlias = Callable[[Backend, Call], Awaitable[HttpResponse]]

_EMPTY_LIST: Final = (Tree("IsTruncated", "false"),)

ABAC: Final = Tree("AbacStatus", "", (Tree("Status", "Disabled"),))
ACCELERATE: Final = Tree("AccelerateConfiguration")
REQUEST_PAYMENT: Final = Tree("RequestPaymentConfiguration", "", (Tree("Payer", "BucketOwner"),))

_DOCUMENTS: Final[Mapping[str, Tree]] = {
    "GetBucketAbac": ABAC,
    "GetBucketAccelerateConfiguration": ACCELERATE,
    "GetBucketRequestPayment": REQUEST_PAYMENT,
    "ListBucketAnalyticsConfigurations": Tree(
        "ListBucketAnalyticsConfigurationResult", "", _EMPTY_LIST
    ),
    "ListBucketIntelligentTieringConfigurations": Tree(
        "ListBucketIntelligentTieringConfigurationsOutput", "", _EMPTY_LIST
    ),
    "ListBucketInventoryConfigurations": Tree("ListInventoryConfigurationsResult", "", _EMPTY_LIST),
    "ListBucketMetricsConfigurations": Tree("ListMetricsConfigurationsResult", "", _EMPTY_LIST),
}
"""The answers of operations whose setting has a default."""

_ABSENT: Final[Mapping[str, ErrorCode]] = {
    "GetBucketAnalyticsConfiguration": errors.NO_SUCH_CONFIGURATION,
    "GetBucketIntelligentTieringConfiguration": errors.NO_SUCH_CONFIGURATION,
    "GetBucketInventoryConfiguration": errors.NO_SUCH_CONFIGURATION,
    "GetBucketMetricsConfiguration": errors.NO_SUCH_CONFIGURATION,
    "GetBucketReplication": errors.REPLICATION_CONFIGURATION_NOT_FOUND,
    "DeleteBucketAnalyticsConfiguration": errors.NO_SUCH_CONFIGURATION,
    "DeleteBucketIntelligentTieringConfiguration": errors.NO_SUCH_CONFIGURATION,
    "DeleteBucketInventoryConfiguration": errors.NO_SUCH_CONFIGURATION,
    "DeleteBucketMetricsConfiguration": errors.NO_SUCH_CONFIGURATION,
}
"""The errors of operations whose setting has no default."""

_DELETIONS: Final = ("DeleteBucketReplication",)
"""Deletions that leave everything as it is: 204, as for what was deleted before."""

_WRITES: Final[Mapping[str, tuple[Tree, ...]]] = {
    "PutBucketRequestPayment": (REQUEST_PAYMENT,),
}
"""The documents that ask for what is so already."""


async def _check_resource(backend: Backend, call: Call) -> None:
    """Raises NotFound: no such bucket or object. That is said before anything else."""
    if call.route.operation.scope is Scope.OBJECT:
        await find_object(backend, call.bucket, call.name, named=call.route.version)


async def _get_default(backend: Backend, call: Call) -> HttpResponse:
    await _check_resource(backend, call)
    return xml_response(configuration(_DOCUMENTS[call.route.operation.name]))


async def _say_absent(backend: Backend, call: Call) -> HttpResponse:
    await _check_resource(backend, call)
    facts = {} if call.route.operation.scope is Scope.OBJECT else {"BucketName": call.bucket.name}
    raise S3Error(_ABSENT[call.route.operation.name], **facts)


async def _delete_nothing(backend: Backend, call: Call) -> HttpResponse:
    await _check_resource(backend, call)
    return HttpResponse(204)


async def _put_same(backend: Backend, call: Call) -> HttpResponse:
    await _check_resource(backend, call)
    name = call.route.operation.name
    accepted = _WRITES[name]
    asked = await read_document(
        backend, call, lambda document: parse_configuration(document, accepted[0].name)
    )
    _check_same(call, asked, accepted)
    return HttpResponse(200)


def _check_same(call: Call, asked: Tree, accepted: tuple[Tree, ...]) -> None:
    if asked not in accepted:
        raise S3Error(errors.NOT_IMPLEMENTED, Operation=call.route.operation.name)


HANDLERS: Final[Mapping[str, Handle]] = {
    **dict.fromkeys(_DOCUMENTS, _get_default),
    **dict.fromkeys(_ABSENT, _say_absent),
    **dict.fromkeys(_DELETIONS, _delete_nothing),
    **dict.fromkeys(_WRITES, _put_same),
}
assert HANDLERS.keys() <= BY_NAME.keys()
