"""Making a new version visible: sealed, bound to its bucket, and only if its condition holds.

ETags are sealed, so a coordinator cannot compare them. ``If-Match`` is decided here on the version
that is current now, and the commit is made on condition that it still is: a concurrent write is
noticed, and the comparison repeated.

Source: Amazon S3 User Guide, "Conditional writes"; docs/s3-compatibility.md.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import trio

from common import limits
from common.client.object_client import Written
from common.crypto.digest import page_digest
from common.crypto.keys import TenantKey
from common.data_classes import dataclass
from common.errors import NotFound, Refused
from common.format.envelope import InnerLayer
from common.format.extents import page_bytes
from common.format.manifest import (
    MANIFEST_VERSION,
    Manifest,
    PageEntry,
    seal_acl,
    seal_manifest,
    seal_summary,
    seal_tags,
)
from common.format.objects import ObjectMetadata, summary_of
from common.ids import BucketId, VersionId, lease_of
from common.reasons import Absence, Refusal
from common.wire.messages.locks import NO_LOCK, Lock
from common.wire.messages.objects import Committed, Condition, ObjectCommit
from common.wire.messages.writing import NewSegment, Page
from gateway.conditions import WriteCondition
from gateway.events import notification_of
from gateway.ingest import Ingest, Receive
from gateway.notifications import Cause
from gateway.object_service import ObjectService
from gateway.objects import find_object
from gateway.principals import Bucket
from gateway.protection import InnerWriter
from gateway.sealed_class import named_class

C = TypeVar("C")

UNCONDITIONAL: Final = WriteCondition()


@dataclass(frozen=True, slots=True)
class NewObject:
    """A version to be. ``keys``: upload keys that its extents need; ``segments``: new ones.
    ``tags``, ``acl``: packed, or empty. ``lock``: that its writer gives it. ``inner``: of its
    bytes. ``cause``: of its event. ``class_name``: that is asked for; empty: none is."""

    metadata: ObjectMetadata
    size: int
    pages: tuple[Page, ...]
    keys: tuple[bytes, ...]
    segments: tuple[NewSegment, ...] = ()
    tags: bytes = b""
    lock: Lock = NO_LOCK
    inner: InnerLayer | None = None
    acl: bytes = b""
    cause: Cause | None = None
    class_name: str = ""


def entries_of(pages: tuple[Page, ...]) -> tuple[PageEntry, ...]:
    """Digest and size of each page, for the manifest."""
    return tuple(PageEntry(page_digest(page), page_bytes(page)) for page in pages)


def sealed_tags(
    service: ObjectService,
    owner: TenantKey,
    place: tuple[BucketId, bytes, VersionId],
    tags: bytes,
) -> bytes:
    """Return tags sealed for a version; none are nothing.

    Args:
        place: the version's bucket, name and id.
        tags: packed, or empty.
    """
    return seal_tags(owner, *place, tags, service.entropy) if tags else b""


def sealed_acl(
    service: ObjectService,
    owner: TenantKey,
    place: tuple[BucketId, bytes, VersionId],
    acl: bytes,
) -> bytes:
    """Return an access control list sealed for a version; none is nothing. Args as of
    :func:`sealed_tags`."""
    return seal_acl(owner, *place, acl, service.entropy) if acl else b""


async def decide(
    service: ObjectService, bucket: Bucket, name: bytes, wanted: WriteCondition
) -> Condition:
    """Turn what the client asks for into what the coordinator decides.

    Raises:
        Refused: ``etag_differs``.
        NotFound: no object is there that could have the ETag.
    """
    if not wanted.is_of_object:
        return Condition(absent=wanted.absent)
    try:
        found = await find_object(service, bucket, name)
    except NotFound as error:
        if error.reason != Absence.DELETE_MARKER:
            raise
        raise NotFound(Absence.NO_SUCH_OBJECT) from error
    if not wanted.admits(found.metadata.etag, found.manifest.size, found.modified_s):
        raise Refused(Refusal.ETAG_DIFFERS)
    return Condition(version_id=found.record.version_id)


async def under_condition(
    service: ObjectService,
    bucket: Bucket,
    name: bytes,
    wanted: WriteCondition,
    attempt: Callable[[Condition], Awaitable[C]],
) -> C:
    """Run ``attempt`` under the condition, again when another write came between.

    Raises:
        Refused: ``etag_differs``, ``object_exists``; ``write_conflict``: too many came between.
        NotFound: no object is there that could have the ETag.
        AlvearyError: what ``attempt`` raises.
    """
    for _ in range(limits.MAX_COMMIT_TRIES):
        condition = await decide(service, bucket, name, wanted)
        try:
            return await attempt(condition)
        except Refused as error:
            if error.reason != Refusal.CONDITION_FAILED:
                raise
            if not wanted.is_of_object:
                raise Refused(Refusal.OBJECT_EXISTS) from error
    raise Refused(Refusal.WRITE_CONFLICT)


async def commit_object(
    service: ObjectService,
    bucket: Bucket,
    name: bytes,
    new: NewObject,
    wanted: WriteCondition = UNCONDITIONAL,
) -> tuple[VersionId, Committed]:
    """Make the new version the current one.

    Returns:
        Its version id, and when it was made.

    Raises:
        Refused: as :func:`under_condition`; ``no_locks``.
        NotFound: likewise; ``no_such_bucket``; ``no_such_segment``: look the source of a copy up
            again.
        Unavailable, OutcomeUnknown: it may have been committed all the same.
    """
    owner = bucket.owner
    entries = entries_of(new.pages)
    packed = new.metadata.pack()
    manifest = Manifest(MANIFEST_VERSION, new.size, entries, new.keys, packed, new.inner)
    summary = summary_of(new.metadata, new.size).pack()

    async def attempt(condition: Condition) -> tuple[VersionId, Committed]:
        async def on(known: Bucket) -> tuple[tuple[VersionId, Committed], int]:
            # A fresh id for each try: the last one was refused for certain.
            version_id, bucket_id = service.new_version(), known.bucket_id
            notification = notification_of(
                service,
                known,
                name,
                new.cause,
                size=new.size,
                etag=new.metadata.etag,
                version_id=version_id,
            )
            committed: Committed = await service.coordinators.call(
                ObjectCommit(
                    owner.tenant_id,
                    bucket.name,
                    name,
                    version_id,
                    new.size,
                    seal_manifest(owner, bucket_id, name, version_id, manifest, service.entropy),
                    seal_summary(owner, bucket_id, name, version_id, summary, service.entropy),
                    new.pages,
                    new.segments,
                    condition,
                    bucket_id,
                    sealed_tags(service, owner, (bucket_id, name, version_id), new.tags),
                    new.lock,
                    sealed_acl(service, owner, (bucket_id, name, version_id), new.acl),
                    notification,
                    named_class(known, name, version_id, new.class_name, service.entropy),
                )
            )
            if notification is not None:
                service.notified.tell()
            return (version_id, committed), committed.bucket_revision

        return await in_bucket(service, bucket, on)

    return await under_condition(service, bucket, name, wanted, attempt)


async def in_bucket(
    service: ObjectService,
    bucket: Bucket,
    attempt: Callable[[Bucket], Awaitable[tuple[C, int]]],
) -> C:
    """Run ``attempt`` with the bucket as it is known; retry once if its cached id is stale.

    Args:
        attempt: returns its result, and the revision of the bucket's settings that the answer says.

    Raises:
        NotFound: ``no_such_bucket``; and what ``attempt`` raises.
    """
    found = await service.buckets.find(bucket.owner, bucket.name)
    asked = trio.current_time()
    try:
        result, revision = await attempt(found)
    except NotFound as error:
        if error.reason != Absence.NO_SUCH_BUCKET:
            raise
        found = await service.buckets.read(bucket.owner, bucket.name)
        asked = trio.current_time()
        result, revision = await attempt(found)
    service.buckets.confirm(found, revision, asked)
    return result


async def store(
    service: ObjectService,
    bucket: Bucket,
    body: Ingest,
    size: int,
    commit: Callable[[Written], Awaitable[C]],
    inner: InnerWriter | None = None,
    *,
    class_name: str = "",
) -> C:
    """Write a body to cells and commit what was written; when that does not end well, have the
    cells drop it.

    Args:
        bucket: that the version or part is of.
        body: of ``size`` bytes.
        commit: makes a version or a part of what was written.
        inner: encrypts the body's bytes, which are of its stretch; None: they are not protected.
        class_name: that is asked for the object: it says in which storage class it is written.

    Returns:
        What ``commit`` returns.

    Raises:
        AlvearyError: as :meth:`common.client.object_client.SwarmClient.write`, as the body can be
            wrong, and what ``commit`` raises.
    """
    owner = bucket.owner

    async def write(receive: Receive) -> Written:
        if inner is not None:
            receive = inner.encrypting(receive, service.workers)
        return await service.swarm.write(owner, receive, size, bucket.class_of(class_name))

    written = await body.through(write)
    return await commit_or_abandon(service, owner, written, lambda: commit(written))


async def commit_or_abandon(
    service: ObjectService, owner: TenantKey, written: Written, commit: Callable[[], Awaitable[C]]
) -> C:
    """Run ``commit``; when it does not end well, have the cells drop what was written.

    That is safe when the outcome is unknown, too: what was committed stays, and what is abandoned
    cannot be committed any more.
    """
    try:
        return await commit()
    except BaseException as error:
        if written.segments:
            reason = error.reason if isinstance(error, Refused) else None
            if reason == Refusal.LEASE_ENDED:
                service.coordinators.lease.has_ended(lease_of(written.segments[0].segment_id))
            elif reason == Refusal.BELOW_QUORUM:
                service.swarm.forget_places(owner)
            await service.swarm.abandon(owner, written)
        raise
