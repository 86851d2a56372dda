"""Locks of buckets and of versions: set and shown.

Source: Amazon S3 API Reference, the actions named; docs/s3-compatibility.md, "Locks".
"""

from __future__ import annotations

from typing import Final

from common.http.records import Headers, HttpRequest, HttpResponse
from common.wire.messages.locks import HOLD_NEVER_SET, HOLD_ON, NO_LOCK, NO_RETENTION, Lock
from gateway import locking
from gateway.objects import FoundObject, find_object
from gateway.principals import Bucket
from gateway_s3 import errors
from gateway_s3.backend import Backend, Call
from gateway_s3.documents import read_document
from gateway_s3.errors import S3Error
from gateway_s3.handlers.answers import xml_response
from gateway_s3.request.locks import (
    asks_bypass,
    check_date,
    hold_headers,
    lock_of_request,
    retention_headers,
)
from gateway_s3.request.version_ids import version_headers
from gateway_s3.xml.locks import (
    hold_tree,
    lock_configuration_tree,
    parse_hold,
    parse_lock_configuration,
    parse_retention,
    retention_tree,
)
from gateway_s3.xml.write import configuration, iso_time

_READ_RETENTION: Final = "s3:GetObjectRetention"
_READ_HOLD: Final = "s3:GetObjectLegalHold"


async def lock_of_new(backend: Backend, call: Call, request: HttpRequest) -> Lock:
    """Return the lock that a request's headers give to the object that it makes.

    Args:
        request: the call's own, or one that a form stands for.

    Raises:
        S3Error: InvalidArgument.
        Refused: ``no_locks``: versions of the bucket cannot be locked.
    """
    lock = lock_of_request(request, backend.now_ms())
    if lock != NO_LOCK:
        await locking.with_locks(backend, call.bucket)
    return lock


def check_vouched(lock: Lock, bucket: Bucket, what: str, *, is_vouched_for: bool) -> None:
    """Refuse a body without a digest beside the signature where what it becomes is locked at once.

    Args:
        lock: that the request gives, or its upload.
        what: is sent, as S3 names it.

    Raises:
        S3Error: InvalidRequest.
    """
    default = bucket.default_retention
    is_locked = lock != NO_LOCK or (default is not None and default.mode != NO_RETENTION)
    if is_locked and not is_vouched_for:
        raise S3Error(
            errors.INVALID_REQUEST,
            f"Content-MD5 OR x-amz-checksum- HTTP header is required for {what} requests with "
            "Object Lock parameters",
        )


def lock_headers(call: Call, found: FoundObject) -> Headers:
    """The headers that show the lock of an object, as far as the caller may know it."""
    lock = found.record.lock
    if lock == NO_LOCK:
        return []
    headers: Headers = []
    if call.may_read_setting(_READ_RETENTION):
        headers += retention_headers(lock, iso_time(lock.until_ms))
    if call.may_read_setting(_READ_HOLD):
        headers += hold_headers(lock)
    return headers


async def get_configuration(backend: Backend, call: Call) -> HttpResponse:
    """Show whether the bucket's versions can be locked, and the retention that new ones get."""
    default = call.bucket.default_retention
    if default is None:
        raise S3Error(errors.OBJECT_LOCK_CONFIGURATION_NOT_FOUND, BucketName=call.bucket.name)
    return xml_response(configuration(lock_configuration_tree(default)))


async def put_configuration(backend: Backend, call: Call) -> HttpResponse:
    """Let the bucket's versions be locked, for good, and set the retention that new ones get."""
    default = await read_document(backend, call, parse_lock_configuration, must_vouch=True)
    await locking.set_default_retention(backend, call.bucket, default)
    return HttpResponse(200)


async def _find(backend: Backend, call: Call) -> FoundObject:
    """The version that the call is about, in a bucket whose versions can be locked."""
    found = await find_object(backend, call.bucket, call.name, named=call.route.version)
    await locking.with_locks(backend, call.bucket)
    return found


async def read_retention(backend: Backend, call: Call) -> Lock:
    """The retention that the body of a request gives a version. Raises S3Error MalformedXML."""
    return await read_document(backend, call, parse_retention, must_vouch=True)


async def get_retention(backend: Backend, call: Call) -> HttpResponse:
    """Show a version's retention, also one that is over."""
    found = await _find(backend, call)
    if found.record.lock.mode == NO_RETENTION:
        raise S3Error(errors.NO_SUCH_OBJECT_LOCK)
    document = configuration(retention_tree(found.record.lock))
    return xml_response(document, version_headers(found.version))


async def put_retention(backend: Backend, call: Call) -> HttpResponse:
    """Set a version's retention, or remove it."""
    await _find(backend, call)
    given = call.circumstances.given_lock
    if given is None:
        given = await read_retention(backend, call)
    if given.mode != NO_RETENTION:
        check_date(given.until_ms, backend.now_ms())
    found = await locking.set_retention(
        backend,
        call.bucket,
        call.name,
        given.mode,
        given.until_ms,
        named=call.route.version,
        bypass=asks_bypass(call.request),
    )
    return HttpResponse(200, version_headers(found.version))


async def get_hold(backend: Backend, call: Call) -> HttpResponse:
    """Show whether a version has a legal hold."""
    found = await _find(backend, call)
    if found.record.lock.hold == HOLD_NEVER_SET:
        raise S3Error(errors.NO_SUCH_OBJECT_LOCK)
    document = configuration(hold_tree(found.record.lock))
    return xml_response(document, version_headers(found.version))


async def read_hold(backend: Backend, call: Call) -> Lock:
    """The legal hold that the body of a request gives a version. Raises S3Error MalformedXML."""
    return await read_document(backend, call, parse_hold, must_vouch=True)


async def put_hold(backend: Backend, call: Call) -> HttpResponse:
    """Set a version's legal hold, or end it."""
    await _find(backend, call)
    given = call.circumstances.given_lock
    if given is None:
        given = await read_hold(backend, call)
    found = await locking.set_hold(
        backend, call.bucket, call.name, on=given.hold == HOLD_ON, named=call.route.version
    )
    return HttpResponse(200, version_headers(found.version))
