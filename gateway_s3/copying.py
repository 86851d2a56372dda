"""What a copy is made of: the source's extents, shared. No data is moved, and none is read unless
the client asks for a checksum that the source does not have.

Source: Amazon S3 API Reference, CopyObject, UploadPartCopy;
docs/s3-compatibility.md, "Ranges, conditions, copies".
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from common import limits
from common.crypto.keys import commitment_of
from common.errors import NotFound
from common.wire.messages.writing import Page
from gateway_s3 import errors
from gateway_s3.backend import Backend, Call
from gateway_s3.errors import S3Error, from_error
from gateway_s3.handlers.reads import ObjectBody
from gateway_s3.lookup import FoundObject, find_object
from gateway_s3.request.checksums import Algorithm, new_checksum, parse_digest
from gateway_s3.request.conditions import read_conditions
from gateway_s3.request.copy_source import CopySource, parse_copy_source
from gateway_s3.request.ranges import Span

T = TypeVar("T")
_WHOLE: Final = Span(0, (1 << 62) - 1)


def source_of(call: Call) -> CopySource:
    """The source that a call names. Raises S3Error."""
    header = call.request.header(b"x-amz-copy-source")
    assert header is not None, "routed by this header"
    return parse_copy_source(header)


async def from_source(
    backend: Backend, call: Call, source: CopySource, use: Callable[[FoundObject], Awaitable[T]]
) -> T:
    """Look the source up, check the copy's conditions on it, and use it; once more when it was
    deleted or replaced meanwhile.

    Raises:
        S3Error: PreconditionFailed, NoSuchKey; NotFound; and what ``use`` raises.
    """
    name = backend.names.encode(source.key)
    conditions = read_conditions(call.request, b"x-amz-copy-source-")
    for last_try in (False,) * (limits.MAX_COPY_TRIES - 1) + (True,):
        try:
            found = await find_object(backend, call.tenant, source.bucket, name, span=_WHOLE)
        except NotFound as error:
            raise _missing(source, error) from error
        conditions.check_source(found.metadata.etag, found.modified_s)
        try:
            return await use(found)
        except NotFound as error:
            if error.reason not in {"no_such_segment", "no_such_version"} or last_try:
                raise
    raise AssertionError("the last try returns or raises")


def _missing(source: CopySource, error: NotFound) -> S3Error:
    """The error for a source that is not there, which names the source, not the target."""
    told = from_error(error)
    if told.code is errors.NO_SUCH_KEY:
        return S3Error(told.code, Key=source.key.decode("utf-8"))
    if told.code is errors.NO_SUCH_BUCKET:
        return S3Error(told.code, BucketName=source.bucket)
    return told


def check_copied_bytes(size: int) -> None:
    """Refuse to copy more at once than S3 does.

    Raises:
        S3Error: InvalidRequest.
    """
    if size > limits.MAX_SINGLE_PUT_BYTES:
        raise S3Error(
            errors.INVALID_REQUEST,
            "The specified copy source is larger than the maximum allowable size for a copy "
            f"source: {limits.MAX_SINGLE_PUT_BYTES}",
        )


async def shared_pages(
    backend: Backend, call: Call, source: CopySource, found: FoundObject, span: Span
) -> tuple[Page, ...]:
    """The extents of these bytes of the source."""
    if not span.length:
        return ()
    return await backend.swarm.copy_pages(
        call.tenant,
        source.bucket,
        backend.names.encode(source.key),
        found.record,
        found.manifest,
        span.first,
        span.last,
    )


def needed_keys(found: FoundObject, pages: tuple[Page, ...]) -> tuple[bytes, ...]:
    """The upload keys of the source that these extents need."""
    keys = found.manifest.keys
    if len(keys) <= 1:
        return keys if pages else ()
    wanted = {extent.commitment for page in pages for extent in page.extents}
    return tuple([key for key in keys if commitment_of(key) in wanted])


async def digests_of(
    backend: Backend, call: Call, source: CopySource, found: FoundObject, span: Span, of: Algorithm
) -> tuple[bytes, bytes]:
    """MD5 and a checksum of these bytes of the source, by reading them.

    Args:
        found: looked up with its places from byte 0 on.
    """
    md5 = hashlib.md5(usedforsecurity=False)
    checksum = new_checksum(of)
    if span.length:
        name = backend.names.encode(source.key)
        again = await find_object(
            backend, call.tenant, source.bucket, name, span=span, version_id=found.record.version_id
        )
        chunks = backend.swarm.read(
            call.tenant, source.bucket, name, again.record, again.manifest, span.first, span.last
        )
        body = ObjectBody(chunks, backend.metrics.copied_bytes)
        try:
            async for chunk in body:

                def take_in(chunk: object = chunk) -> None:
                    md5.update(chunk)  # type: ignore[arg-type]  # a default argument has no better type
                    checksum.update(chunk)  # type: ignore[arg-type]

                await backend.workers.run(take_in)
        finally:
            await body.aclose()
    return md5.digest(), checksum.digest()


def known_md5(found: FoundObject, span: Span) -> bytes | None:
    """MD5 of these bytes where the source's ETag is it: all of an object of a single PUT."""
    if span.length != found.manifest.size or len(found.metadata.etag) != 32:
        return None
    return bytes.fromhex(found.metadata.etag)


def known_checksum(found: FoundObject, span: Span, algorithm: Algorithm) -> bytes | None:
    """The checksum of these bytes where the source has it: of all of it, and of its bytes."""
    checksum = found.metadata.checksum
    if (
        checksum is None
        or checksum.composite
        or checksum.algorithm != algorithm.value
        or span.length != found.manifest.size
    ):
        return None
    return parse_digest(checksum.value, algorithm.digest_bytes)


def stand_in_md5(found: FoundObject, span: Span) -> bytes:
    """What an ETag is made of when the MD5 of a range is not known: the same for the same bytes of
    the same version, different for others. S3 promises no MD5 for parts that were copied."""
    digest = hashlib.md5(b"alveary copied range", usedforsecurity=False)
    digest.update(found.record.bucket_id + found.record.version_id)
    digest.update(span.first.to_bytes(8, "big") + span.last.to_bytes(8, "big"))
    return digest.digest()
