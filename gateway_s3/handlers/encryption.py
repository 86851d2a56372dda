"""The key that protects an object: given by the client of each request.

Source: Amazon S3 User Guide, "Using server-side encryption with customer-provided keys";
docs/s3-compatibility.md, "Encryption".
"""

from __future__ import annotations

from typing import Final

from common.errors import Refused
from common.format.envelope import KeyEnvelope, Kind, WrappingKey
from common.http.records import Headers, HttpRequest
from common.reasons import Refusal
from gateway.objects import FoundObject
from gateway.parts import MultipartUpload
from gateway.protection import InnerWriter, ObjectKey, new_object_key, unwrapped
from gateway_s3 import errors
from gateway_s3.backend import Backend, Call
from gateway_s3.errors import S3Error
from gateway_s3.request.customer_keys import PREFIX, CustomerKey, read_customer_key

_METHOD: Final = b"x-amz-server-side-encryption"
_BY_TENANT: Final[Headers] = [(_METHOD, b"AES256")]


def customer_key(
    backend: Backend, request: HttpRequest, prefix: bytes = PREFIX
) -> CustomerKey | None:
    """Return the key that a request gives; see
    :func:`gateway_s3.request.customer_keys.read_customer_key`."""
    return read_customer_key(request, in_clear=backend.customer_keys_in_clear, prefix=prefix)


async def wrapping_of_new(
    backend: Backend, call: Call, described: HttpRequest
) -> WrappingKey | None:
    """Return the key under which the object that a request makes is protected; None: under the
    tenant's alone.

    Args:
        described: the request, or what the fields of its form stand for.

    Raises:
        S3Error: the request asks for it wrongly.
    """
    given = customer_key(backend, described)
    if given is None:
        return None
    if described.header(_METHOD) is not None:
        raise S3Error(
            errors.INVALID_ARGUMENT,
            "Server Side Encryption with Customer provided key is incompatible with the "
            "encryption method specified",
            ArgumentName=_METHOD.decode(),
        )
    return given.wrapping


async def key_of_new(backend: Backend, call: Call, described: HttpRequest) -> ObjectKey | None:
    """Draw the object key of the object that a request makes; as :func:`wrapping_of_new`."""
    wrapping = await wrapping_of_new(backend, call, described)
    return None if wrapping is None else new_object_key(wrapping, backend.entropy)


def begin(backend: Backend, key: ObjectKey | None, size: int) -> InnerWriter | None:
    """Begin a stretch of a new object under its key, if it has one."""
    return None if key is None else key.begin(size, backend.entropy)


async def key_to_read(
    backend: Backend, call: Call, found: FoundObject, prefix: bytes = PREFIX
) -> bytes | None:
    """Return the key of an object's inner layer; None: it has none.

    Args:
        prefix: of the headers that give a customer's key.

    Raises:
        Refused: ``object_key_missing``, ``wrong_object_key``, ``object_key_not_needed``.
        S3Error: as :func:`customer_key`.
    """
    given = customer_key(backend, call.request, prefix)
    inner = found.manifest.inner
    if inner is None:
        if given is not None:
            raise Refused(Refusal.OBJECT_KEY_NOT_NEEDED)
        return None
    assert inner.envelope is not None, "only a part has none"
    return unwrapped(inner.envelope, None if given is None else given.wrapping)


async def key_of_upload(backend: Backend, call: Call, upload: MultipartUpload) -> ObjectKey | None:
    """Return the object key of an upload for one of its parts; None: it has none.

    Raises:
        S3Error: InvalidRequest: the request does not give the key that the upload was begun with.
    """
    given = customer_key(backend, call.request)
    envelope = upload.info.envelope
    if envelope is None:
        if given is not None:
            raise S3Error(
                errors.INVALID_REQUEST,
                "The multipart upload initiate did not request encryption. Please resend the "
                "request without sending encryption parameters.",
            )
        return None
    try:
        return ObjectKey(envelope, unwrapped(envelope, None if given is None else given.wrapping))
    except Refused as error:
        if error.reason == Refusal.OBJECT_KEY_MISSING:
            raise S3Error(
                errors.INVALID_REQUEST,
                "The multipart upload initiate requested encryption. Subsequent part requests "
                "must include the appropriate encryption parameters.",
            ) from error
        if error.reason == Refusal.WRONG_OBJECT_KEY:
            raise S3Error(
                errors.INVALID_REQUEST,
                "The provided encryption parameters did not match the ones used originally.",
            ) from error
        raise


def encryption_headers(
    backend: Backend, call: Call, envelope: KeyEnvelope | None, described: HttpRequest | None = None
) -> Headers:
    """Return the headers that say how an object is protected.

    Args:
        envelope: of the object or upload; None: the tenant's key alone protects it.
        described: as of :func:`wrapping_of_new`.
    """
    if envelope is None:
        return _BY_TENANT
    assert envelope.kind is Kind.CUSTOMER
    given = customer_key(backend, described or call.request)
    return [] if given is None else given.headers


def headers_of(backend: Backend, call: Call, found: FoundObject) -> Headers:
    """Return the headers that say how an object that was found is protected."""
    inner = found.manifest.inner
    return encryption_headers(backend, call, None if inner is None else inner.envelope)
