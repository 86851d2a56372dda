"""The key that protects an object: given by the client of each request, or named by its tenant.

Source: Amazon S3 User Guide, "Using server-side encryption with customer-provided keys", "Using
server-side encryption with AWS KMS keys"; docs/s3-compatibility.md, "Encryption".
"""

from __future__ import annotations

from typing import Final

from common.crypto.keys import TenantKey
from common.errors import Refused
from common.format.envelope import KeyEnvelope, Kind, WrappingKey
from common.format.key_ring import KeyRing
from common.http.records import Headers, HttpRequest
from common.reasons import Refusal
from gateway.objects import FoundObject
from gateway.parts import MultipartUpload
from gateway.principals import KeyHolder, account_of
from gateway.protection import InnerWriter, ObjectKey, new_object_key, unwrapped
from gateway_s3 import errors
from gateway_s3.backend import Backend, Call
from gateway_s3.errors import S3Error
from gateway_s3.request.customer_keys import PREFIX, CustomerKey, read_customer_key
from gateway_s3.request.encryption import (
    AES256,
    BUCKET_KEY,
    KEY_ID,
    KMS,
    METHOD,
    AskedEncryption,
    key_arn,
    key_name,
    read_encryption,
)

_BY_TENANT: Final[Headers] = [(METHOD, AES256.encode())]


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
        NotFound: ``no_such_named_key``.
        Refused: ``named_key_disabled``.
    """
    given = customer_key(backend, described)
    asked = read_encryption(described)
    if given is not None:
        if asked is not None:
            raise S3Error(
                errors.INVALID_ARGUMENT,
                "Server Side Encryption with Customer provided key is incompatible with the "
                "encryption method specified",
                ArgumentName=METHOD.decode(),
            )
        return given.wrapping
    default = call.bucket.encryption
    if asked is None:
        if default is None:
            return None
        asked = AskedEncryption(KMS, default.key, bucket_key=default.bucket_key)
    if asked.method != KMS:
        return None
    owner = call.bucket.owner
    name = key_name(asked.key_id, backend.region, account_of(owner))
    ring = await _key_ring(backend, call, owner)
    return ring.wrapping(name, asked.context, bucket_key=asked.bucket_key)


async def _key_ring(backend: Backend, call: Call, owner: TenantKey) -> KeyRing:
    """The named keys of the owner of a bucket; an anonymous caller uses none, whatever a policy
    allows.

    Raises:
        S3Error: InvalidArgument.
    """
    if not isinstance(call.principal, KeyHolder):
        raise S3Error(
            errors.INVALID_ARGUMENT,
            "Requests specifying Server Side Encryption with AWS KMS managed keys require AWS "
            "Signature Version 4.",
            ArgumentName="Authorization",
        )
    return await backend.key_rings.of(owner)


async def _unwrapped(
    backend: Backend,
    call: Call,
    owner: TenantKey,
    envelope: KeyEnvelope,
    given: CustomerKey | None,
) -> bytes:
    """The object key of an envelope.

    Args:
        owner: of the bucket that the object is in.

    Raises:
        Refused: ``object_key_missing``, ``wrong_object_key``, ``object_key_not_needed``,
            ``named_key_disabled``.
        NotFound: ``no_such_named_key``.
    """
    if envelope.kind is Kind.CUSTOMER:
        return unwrapped(envelope, None if given is None else given.wrapping)
    if given is not None:
        raise Refused(Refusal.OBJECT_KEY_NOT_NEEDED)
    ring = await _key_ring(backend, call, owner)
    return ring.unwrapping(envelope).unwrap(envelope)


async def key_of_new(backend: Backend, call: Call, described: HttpRequest) -> ObjectKey | None:
    """Draw the object key of the object that a request makes; as :func:`wrapping_of_new`."""
    wrapping = await wrapping_of_new(backend, call, described)
    return None if wrapping is None else new_object_key(wrapping, backend.entropy)


def begin(backend: Backend, key: ObjectKey | None, size: int) -> InnerWriter | None:
    """Begin a stretch of a new object under its key, if it has one."""
    return None if key is None else key.begin(size, backend.entropy)


async def key_to_read(
    backend: Backend,
    call: Call,
    found: FoundObject,
    prefix: bytes = PREFIX,
    owner: TenantKey | None = None,
) -> bytes | None:
    """Return the key of an object's inner layer; None: it has none.

    Args:
        prefix: of the headers that give a customer's key.
        owner: of the bucket that the object is in, if it is not that of the call.

    Raises:
        Refused, NotFound: the object's key is not given, or cannot be used.
        S3Error: as :func:`customer_key`.
    """
    given = customer_key(backend, call.request, prefix)
    inner = found.manifest.inner
    if inner is None:
        if given is not None:
            raise Refused(Refusal.OBJECT_KEY_NOT_NEEDED)
        return None
    assert inner.envelope is not None, "only a part has none"
    return await _unwrapped(backend, call, owner or call.bucket.owner, inner.envelope, given)


async def check_key(backend: Backend, call: Call, found: FoundObject) -> None:
    """Refuse to show what is known of an object to who does not give its customer's key. A named
    key is not asked for, as on S3, but for a checksum.

    Raises:
        Refused, NotFound, S3Error: as :func:`key_to_read`.
    """
    inner = found.manifest.inner
    if inner is not None and inner.envelope is not None and inner.envelope.kind is Kind.NAMED:
        if customer_key(backend, call.request) is not None:
            raise Refused(Refusal.OBJECT_KEY_NOT_NEEDED)
        if call.request.header(b"x-amz-checksum-mode") != b"ENABLED":
            return
    await key_to_read(backend, call, found)


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
        key = await _unwrapped(backend, call, call.bucket.owner, envelope, given)
        return ObjectKey(envelope, key)
    except Refused as error:
        if error.reason == Refusal.OBJECT_KEY_MISSING:
            raise S3Error(
                errors.INVALID_REQUEST,
                "The multipart upload initiate requested encryption. Subsequent part requests "
                "must include the appropriate encryption parameters.",
            ) from error
        if error.reason in {Refusal.WRONG_OBJECT_KEY, Refusal.OBJECT_KEY_NOT_NEEDED}:
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
    if envelope.kind is Kind.CUSTOMER:
        given = customer_key(backend, described or call.request)
        return [] if given is None else given.headers
    arn = key_arn(backend.region, account_of(call.bucket.owner), envelope.name)
    headers = [(METHOD, KMS.encode()), (KEY_ID, arn.encode())]
    return [*headers, (BUCKET_KEY, b"true")] if envelope.bucket_key else headers


def headers_of(backend: Backend, call: Call, found: FoundObject) -> Headers:
    """Return the headers that say how an object that was found is protected."""
    inner = found.manifest.inner
    return encryption_headers(backend, call, None if inner is None else inner.envelope)
