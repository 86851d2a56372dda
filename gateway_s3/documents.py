"""Documents that clients send as bodies: received whole, verified against the request, and
parsed, all inside the byte budget.

Source: docs/s3-compatibility.md, "Integrity"; docs/data-path.md, "Memory".
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Final, TypeVar

from common import limits
from common.client.body_reader import Source
from gateway.ingest import INLINE_BYTES, Receive
from gateway_s3 import errors
from gateway_s3.auth.sigv4 import Payload
from gateway_s3.backend import Backend, Call
from gateway_s3.bodies import IncomingBody
from gateway_s3.errors import S3Error

T = TypeVar("T")
PARSED_PER_BYTE: Final = 6
"""Memory that a document takes while it is parsed, itself included, for each of its bytes: measured
4.9 with 10,000 parts without checksums, the most that is not refused."""
_EMPTY_SHA256: Final = hashlib.sha256(b"").digest()


async def read_document(
    backend: Backend,
    call: Call,
    parse: Callable[[bytes], T],
    *,
    must_vouch: bool = False,
    checksum_is_of_body: bool = True,
) -> T:
    """Read a small body whole, check it, and parse it: a large one in a worker.

    Args:
        parse: of the body's bytes; ``b""`` where the request has no body. Runs anywhere.
        must_vouch: a digest of the body must be given beside the signature.
        checksum_is_of_body: see :class:`gateway_s3.bodies.IncomingBody`.

    Raises:
        S3Error: MaxMessageLengthExceeded; InvalidRequest: not vouched for; as a body can be wrong;
            and what ``parse`` raises.
        Unavailable: ``too_busy``: there is no room in memory.
    """
    request, verified = call.request, call.verified
    if request.body.length == 0:
        if verified.payload is Payload.HASHED and verified.payload_sha256 != _EMPTY_SHA256:
            raise S3Error(errors.CONTENT_SHA256_MISMATCH)
        return parse(b"")
    body = IncomingBody(request, verified, checksum_is_of_body=checksum_is_of_body)
    if body.size > limits.MAX_XML_BODY_BYTES:
        raise S3Error(errors.MAX_MESSAGE_LENGTH_EXCEEDED)
    if must_vouch and not body.is_vouched_for:
        raise S3Error(
            errors.INVALID_REQUEST,
            "Missing required header for this request: Content-MD5 OR x-amz-checksum-*",
        )
    tenant_id = call.payer
    room = backend.budget.share((tenant_id, "document"))
    cost = PARSED_PER_BYTE * body.size
    held = 0

    async def gather(receive: Receive) -> bytes:
        nonlocal held
        source = Source(receive, backend.gathered.share(tenant_id))
        try:
            await source.gather(body.size)
            await room.take(cost)
            held = cost
            return bytes(await source.take(body.size))
        finally:
            source.close()

    try:
        document = await body.ingest(backend.workers, backend.backlog).through(gather)
        if len(document) <= INLINE_BYTES:
            return parse(document)
        return await backend.workers.run(lambda: parse(document))
    finally:
        room.give(held)
