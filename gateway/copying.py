"""Copies: new objects and parts that share the extents of another. No data is moved, and none is
read unless the client asks for a checksum that the source does not have.

Source: docs/s3-compatibility.md, "Ranges, conditions, copies".
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import field, replace
from typing import TypeVar

from prometheus_client import Counter

from common import limits
from common.client.object_client import Written
from common.crypto.keys import commitment_of
from common.data_classes import dataclass
from common.errors import NotFound
from common.format.envelope import InnerLayer, WrappingKey
from common.ports import Buffer, Entropy
from common.reasons import Absence
from common.wire.messages.writing import NewSegment, Page
from gateway.access.patterns import Circumstances
from gateway.authorization import Action, authorize, check
from gateway.checksums import Algorithm, new_checksum, parse_digest
from gateway.conditions import ReadConditions
from gateway.ingest import Ingest
from gateway.object_service import ObjectService
from gateway.objects import FoundObject, find_object, open_body
from gateway.ownership import judged_object
from gateway.principals import Bucket, Principal
from gateway.protection import InnerWriter, ObjectKey, layer_of, new_object_key, wrapped_again
from gateway.spans import EVERYTHING, Span
from gateway.versions import VersionName
from gateway.writing import store

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class SourceObject:
    """The object that is copied. ``name``: as stored. ``version``: the one that the client names;
    None: the current one. ``principal``, ``key``, ``circumstances``: by which each version that is
    found is decided about, where access control lists count."""

    bucket: Bucket
    name: bytes
    version: VersionName | None
    principal: Principal
    key: bytes
    circumstances: Circumstances

    def check_readable(self, found: FoundObject | None) -> None:
        """Refuse what the principal may not read.

        Args:
            found: the version that would be read; None: before it is looked up.

        Raises:
            Refused: ``access_denied``.
        """
        if self.bucket.rules.uses_lists and found is None:
            return  # What was found decides.
        action = Action.READ_OBJECT if self.version is None else Action.READ_OBJECT_VERSION
        subject = None if found is None else judged_object(self.bucket, found)
        check(
            authorize(
                self.principal,
                action,
                self.bucket,
                self.key,
                self.circumstances,
                subject=subject,
            )
        )


@dataclass(frozen=True, slots=True)
class Extents:
    """Content that is ready to be committed. ``segments``: that were written for it; none where it
    shares another object's. ``inner``: the inner layer. ``md5``: of the bytes, where they were
    read."""

    pages: tuple[Page, ...]
    keys: tuple[bytes, ...]
    segments: tuple[NewSegment, ...] = ()
    inner: InnerLayer | None = None
    md5: bytes | None = None


@dataclass(frozen=True, slots=True)
class CopyKeys:
    """The object keys of a source and of its copy; None of what is not protected."""

    source: bytes | None = field(repr=False)
    target: ObjectKey | None

    @property
    def agree(self) -> bool:
        """True if the copy can have the bytes as the source's stripes hold them."""
        return self.source == (None if self.target is None else self.target.key)


def keys_of_copy(
    source: SourceObject,
    target: Bucket,
    source_key: bytes | None,
    wrapping: WrappingKey | None,
    entropy: Entropy,
) -> CopyKeys:
    """Return the keys of a copy of all of an object: what is protected on both sides keeps its
    object key, wrapped under the key of the copy.

    Args:
        source_key: the object key of the source.
        wrapping: of the copy.
    """
    if wrapping is None:
        return CopyKeys(source_key, None)
    if source_key is not None and source.bucket.owner.tenant_id == target.owner.tenant_id:
        return CopyKeys(source_key, wrapped_again(source_key, wrapping, entropy))
    return CopyKeys(source_key, new_object_key(wrapping, entropy))


async def open_source(
    service: ObjectService,
    principal: Principal,
    bucket: str,
    key: bytes,
    inform: Callable[[Bucket], Awaitable[Circumstances]],
    version: VersionName | None = None,
) -> SourceObject:
    """Return the object to copy from, which the principal may read.

    Args:
        inform: gives the circumstances, as of :func:`gateway.authorization.authorize`.

    Raises:
        NotFound: with ``of="source"``: there is no such bucket.
        Refused: ``access_denied``.
    """
    try:
        found = await service.owners.seen_by(principal, bucket)
    except NotFound as error:
        raise NotFound(Absence.NO_SUCH_BUCKET, of="source") from error
    if not isinstance(found, Bucket):
        check(authorize(principal, Action.READ_OBJECT, found, key))
        raise AssertionError("its owner's key is not at hand")
    source = SourceObject(
        found, service.names.encode(key), version, principal, key, await inform(found)
    )
    source.check_readable(None)
    return source


async def from_source(
    service: ObjectService,
    source: SourceObject,
    conditions: ReadConditions,
    use: Callable[[FoundObject], Awaitable[T]],
) -> T:
    """Look the source up, check the copy's conditions on it, and use it; once more when it was
    deleted or replaced meanwhile.

    Raises:
        NotFound: with ``of="source"``: there is no such source.
        Refused: ``source_condition_failed``; ``access_denied``: by what was found.
        AlvearyError: what ``use`` raises.
    """
    for last_try in (False,) * (limits.MAX_COPY_TRIES - 1) + (True,):
        try:
            found = await find_object(
                service, source.bucket, source.name, span=EVERYTHING, named=source.version
            )
        except NotFound as error:
            raise error.again(of="source") from error
        if source.bucket.rules.uses_lists:
            source.check_readable(found)
        conditions.check_source(found.metadata.etag, found.modified_s)
        try:
            return await use(found)
        except NotFound as error:
            if error.reason not in {Absence.NO_SUCH_SEGMENT, Absence.NO_SUCH_VERSION} or last_try:
                raise
    raise AssertionError("the last try returns or raises")


async def shared_pages(
    service: ObjectService, source: SourceObject, found: FoundObject, span: Span
) -> tuple[Page, ...]:
    """The extents of these bytes of the source."""
    if not span.length:
        return ()
    return await service.swarm.copy_pages(
        source.bucket.owner,
        source.bucket.name,
        source.name,
        found.record,
        found.manifest,
        span.first,
        span.last,
    )


async def with_extents(
    service: ObjectService,
    source: SourceObject,
    found: FoundObject,
    span: Span,
    target: Bucket,
    counter: Counter,
    keys: CopyKeys,
    commit: Callable[[Extents], Awaitable[T]],
    *,
    class_name: str,
) -> T:
    """Commit these bytes of the source as content of the target. They are shared where both belong
    to one tenant and are under no object key, or are all that is under one; otherwise they are read
    and written, for extents are sealed with keys of their tenant.

    Args:
        counter: of bytes read.
        keys: of the two objects.
        class_name: that is asked for the target's object.

    Returns:
        What ``commit`` returns.

    Raises:
        AlvearyError: as :func:`gateway.writing.store`.
    """
    inner = found.manifest.inner
    # Stretches are whole: of what is protected all bytes are shared, or none.
    can_be_shared = keys.agree and (inner is None or span.length == found.manifest.size)
    if source.bucket.owner.tenant_id == target.owner.tenant_id and can_be_shared:
        pages = await shared_pages(service, source, found, span)
        if inner is not None and keys.target is not None:
            inner = replace(inner, envelope=keys.target.envelope)
        return await commit(Extents(pages, needed_keys(found, pages), inner=inner))

    md5 = hashlib.md5(usedforsecurity=False)
    # The ETag of what is not protected is its MD5, which a protected source does not have.
    is_hashed = keys.source is not None and keys.target is None
    writers: list[InnerWriter] = []
    if keys.target is not None:
        writers = [keys.target.begin(span.length, service.entropy)]

    async def commit_written(written: Written) -> T:
        layer = layer_of(writers)
        parts = (written.pages, written.keys, written.segments)
        return await commit(Extents(*parts, layer, md5.digest() if is_hashed else None))

    body = None
    if span.length:
        place = (source.bucket, source.name)
        body = await open_body(service, *place, found, span, counter, keys.source)

    async def receive() -> Buffer:
        return b"" if body is None else await anext(body, b"")

    ingest = Ingest(
        receive=receive,
        size=span.length,
        slow=(md5,) if is_hashed else (),
        fast=(),
        check=lambda: None,
        workers=service.workers,
        backlog=service.backlog,
    )
    try:
        writer = writers[0] if writers else None
        whole = (ingest, span.length, commit_written, writer)
        return await store(service, target, *whole, class_name=class_name)
    finally:
        if body is not None:
            await body.aclose()


def needed_keys(found: FoundObject, pages: tuple[Page, ...]) -> tuple[bytes, ...]:
    """The upload keys of the source that these extents need."""
    keys = found.manifest.keys
    if len(keys) <= 1:
        return keys if pages else ()
    wanted = {extent.commitment for page in pages for extent in page.extents}
    return tuple([key for key in keys if commitment_of(key) in wanted])


async def digests_of(
    service: ObjectService,
    source: SourceObject,
    found: FoundObject,
    span: Span,
    of: Algorithm,
    counter: Counter,
    object_key: bytes | None,
) -> tuple[bytes, bytes]:
    """MD5 and a checksum of these bytes of the source, by reading them.

    Args:
        counter: of bytes read.
        object_key: of the source, if it is protected.
    """
    md5 = hashlib.md5(usedforsecurity=False)
    checksum = new_checksum(of)
    if span.length:
        place = (source.bucket, source.name)
        body = await open_body(service, *place, found, span, counter, object_key)
        try:
            async for chunk in body:

                def take_in(chunk: Buffer = chunk) -> None:
                    md5.update(chunk)
                    checksum.update(chunk)

                await service.workers.run(take_in)
        finally:
            await body.aclose()
    return md5.digest(), checksum.digest()


def known_md5(found: FoundObject, span: Span) -> bytes | None:
    """MD5 of these bytes where the source's ETag is it: all of an object of a single PUT."""
    if found.manifest.inner is not None:
        return None
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
    """Return what an ETag is made of when the MD5 of a range is not known: the same for the same
    bytes of the same version, different for others. No protocol promises the MD5 of a part that was
    copied."""
    digest = hashlib.md5(b"alveary copied range", usedforsecurity=False)
    digest.update(found.record.bucket_id + found.record.version_id)
    digest.update(span.first.to_bytes(8, "big") + span.last.to_bytes(8, "big"))
    return digest.digest()
