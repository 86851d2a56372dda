"""Data follows the storage class of its bucket: pages of objects are written again in it.

A version stays the same: only where its bytes lie changes, one page at a time, in one transaction
that finds the very manifest which was read. Whatever happens between two lines, the version is
whole: before that transaction nothing was changed, and what was written is abandoned, or garbage
when this gateway's lease ends; after it, the former page is purged like anything that was deleted.

Source: docs/placement.md, "Data follows its class".
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace

import trio
from prometheus_client import Counter

from common import limits
from common.client.object_client import Written
from common.crypto.keys import TenantKey, commitment_of
from common.data_classes import dataclass
from common.errors import AlvearyError, NotFound, Refused
from common.format.manifest import Manifest, PageEntry, seal_manifest
from common.ids import TenantId, VersionId
from common.ports import Buffer
from common.reasons import Absence, Outage, Refusal
from common.wire.messages.misplaced import MisplacedList, MisplacedPage, MisplacedPages, PageReplace
from gateway.background import look_for_work, rest_since
from gateway.object_service import ObjectService
from gateway.objects import FoundObject, find_object, open_stored
from gateway.principals import Bucket
from gateway.spans import Span
from gateway.writing import commit_or_abandon, entries_of


@dataclass(frozen=True, slots=True)
class PageOfVersion:
    """A page of a version of an object. ``name``: as stored."""

    bucket: Bucket
    name: bytes
    version_id: VersionId
    number: int


def _span_of(manifest: Manifest, number: int) -> Span:
    """The bytes of a page."""
    first = sum(each.size for each in manifest.pages[:number])
    return Span(first, first + manifest.pages[number].size - 1)


async def rewrite_page(
    service: ObjectService, page: PageOfVersion, storage_class: str, counter: Counter
) -> None:
    """Write the bytes of a page again, in a storage class, and let its version have them there.

    Args:
        counter: of bytes.

    Raises:
        NotFound: ``no_such_version``: it was replaced or deleted, or has no such page.
        Refused: ``condition_failed``: another page of it was replaced meanwhile: try again.
        AlvearyError: it could not be read or written; nothing was changed, or all was.
    """
    bucket, name = page.bucket, page.name
    found = await find_object(service, bucket, name, version_id=page.version_id)
    entries = found.manifest.pages
    if page.number >= len(entries) or entries[page.number].size > limits.MAX_SINGLE_PUT_BYTES:
        raise NotFound(Absence.NO_SUCH_VERSION)
    span = _span_of(found.manifest, page.number)
    # A protected page moves as it is: its inner layer has no part in where it lies.
    body = await open_stored(service, bucket, name, found, span, counter)

    async def receive() -> Buffer:
        return bytes(await anext(body))  # it is given away

    try:
        written = await service.swarm.write(bucket.owner, receive, span.length, storage_class)
    finally:
        await body.aclose()
    await commit_or_abandon(
        service, bucket.owner, written, lambda: _replace(service, page, found, written)
    )


async def _replace(
    service: ObjectService, page: PageOfVersion, found: FoundObject, written: Written
) -> None:
    bucket, record = page.bucket, found.record
    (entry,) = entries_of(written.pages)
    manifest = await _with_page(service, page, found, entry, written.keys)
    sealed = seal_manifest(
        bucket.owner, record.bucket_id, page.name, page.version_id, manifest, service.entropy
    )
    await service.coordinators.call(
        PageReplace(
            bucket.owner.tenant_id,
            bucket.name,
            record.bucket_id,
            page.name,
            page.version_id,
            page.number,
            hashlib.sha256(record.sealed).digest(),
            sealed,
            written.pages[0],
            written.segments,
        )
    )


async def _with_page(
    service: ObjectService,
    page: PageOfVersion,
    found: FoundObject,
    entry: PageEntry,
    keys: tuple[bytes, ...],
) -> Manifest:
    """The manifest with another page, and with the keys that its pages need."""
    manifest = found.manifest
    entries = list(manifest.pages)
    entries[page.number] = entry
    others: tuple[bytes, ...] = ()
    if len(entries) > 1:
        others = manifest.keys
        most = min(2 * len(entries), limits.MAX_UPLOAD_KEYS_PER_OBJECT)
        if len(others) + len(keys) > most:
            # Each replaced page left a key that nothing needs any more.
            others = await _needed_keys(service, page, found)
    return replace(manifest, pages=tuple(entries), keys=(*others, *keys))


async def _needed_keys(
    service: ObjectService, page: PageOfVersion, found: FoundObject
) -> tuple[bytes, ...]:
    """The keys of all that is not on the page."""
    bucket, manifest = page.bucket, found.manifest
    span = Span(0, manifest.size - 1)
    whole = await find_object(
        service, bucket, page.name, span=span, version_id=found.record.version_id
    )
    gone = _span_of(manifest, page.number)
    wanted = set()
    for first, last in ((0, gone.first - 1), (gone.last + 1, span.last)):
        if first <= last:
            pages = await service.swarm.copy_pages(
                bucket.owner, bucket.name, page.name, whole.record, manifest, first, last
            )
            wanted |= {extent.commitment for each in pages for extent in each.extents}
    return tuple(key for key in manifest.keys if commitment_of(key) in wanted)


class Follower:
    """Writes data again that is not in the storage class of its bucket, a page at a time.

    Args:
        tenants: the keys at hand; may grow.
        counter: of bytes written again.
    """

    def __init__(
        self, service: ObjectService, tenants: Mapping[TenantId, TenantKey], counter: Counter
    ) -> None:
        self._service = service
        self._tenants = tenants
        self._counter = counter

    async def run(self) -> None:
        """Look for such data at an interval, until cancelled."""
        await look_for_work(self._look, self._waits)

    def _waits(self, error: AlvearyError) -> None:
        self._service.log.warning("following_waits", error=str(error))

    async def _look(self) -> None:
        """Write all again that there is now."""
        call = self._service.coordinators.call
        look: MisplacedPages = await call(MisplacedList(0, 0, 0))
        after, has_more = (0, 0), look.more
        while has_more:
            lease = await self._service.coordinators.lease.number()
            begun = trio.current_time()
            reply: MisplacedPages = await call(MisplacedList(lease, *after))
            for each in reply.pages:
                await self._follow(each)
            if not reply.pages:
                # Many may be passed over, those of locked versions at each look again.
                await rest_since(begun)
            after, has_more = (reply.last, reply.last_number), reply.more

    async def _follow(self, misplaced: MisplacedPage) -> None:
        owner = self._tenants.get(misplaced.tenant_id)
        if owner is None:
            return
        service, begun = self._service, trio.current_time()
        try:
            bucket = await service.buckets.find(owner, misplaced.bucket)
            page = PageOfVersion(bucket, misplaced.name, misplaced.version_id, misplaced.number)
            await rewrite_page(service, page, misplaced.storage_class, self._counter)
        except NotFound:
            pass  # it was deleted or replaced: nothing has to follow
        except Refused as error:
            if error.reason != Refusal.CONDITION_FAILED:
                self._failed(misplaced, error)
        except AlvearyError as error:
            if error.reason == Outage.NO_RING:
                raise  # it is the same for the others
            self._failed(misplaced, error)
        await rest_since(begun)

    def _failed(self, misplaced: MisplacedPage, error: AlvearyError) -> None:
        """Log a page that stays where it is until the next look."""
        self._service.log.warning(
            "page_not_rewritten",
            bucket=misplaced.bucket,
            storage_class=misplaced.storage_class,
            error=str(error),
        )
