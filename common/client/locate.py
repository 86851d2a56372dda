"""The place of a version's bytes: its pages, checked against the sealed manifest, and their
segments.

Source: docs/data-path.md, "Reading".
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import replace
from itertools import accumulate
from typing import Final

import trio

from common import limits
from common.client.coordinators import CoordinatorClient
from common.client.fetch_units import FetchContext, ShardFetcher
from common.client.read_segment import SegmentReader
from common.crypto.digest import page_digest
from common.crypto.keys import TenantKey, commitment_of, segment_key
from common.crypto.stream import StripeCipher
from common.data_classes import dataclass
from common.errors import Corrupt, NotFound, Unavailable
from common.format.extents import ExtentRun, page_bytes, runs_of_page
from common.format.manifest import Manifest, open_manifest
from common.ids import SegmentId
from common.reasons import Absence, Damage, Outage
from common.wire.messages.objects import ObjectGet, ObjectRecord
from common.wire.messages.writing import Page

STALE_AFTER_S: Final = limits.ORDER_LIFETIME_S / 2
"""Places are looked up again before their orders can expire on the way."""


@dataclass(frozen=True, slots=True)
class Version:
    """A version to read, as a coordinator gave it and as its manifest binds it."""

    tenant: TenantKey
    bucket: str
    name: bytes
    record: ObjectRecord
    manifest: Manifest


class Locator:
    """Finds the pages and segments of one version, asking for more as a reader goes on.

    Args:
        follows: pages of the version may be replaced meanwhile by others of the same bytes: go on
            with the manifest that it has then.

    Raises:
        Corrupt: ``manifest_page_mismatch``: a page is not the one that the manifest binds.
    """

    def __init__(
        self,
        context: FetchContext,
        coordinators: CoordinatorClient,
        version: Version,
        *,
        follows: bool = True,
    ) -> None:
        self._follows = follows
        manifest = version.manifest
        if manifest.size != version.record.size:
            raise Corrupt(Damage.MANIFEST_PAGE_MISMATCH)
        self._context = context
        self._coordinators = coordinators
        self._version = version
        self._starts = list(accumulate((page.size for page in manifest.pages), initial=0))
        self._keys: dict[bytes, bytes] = {}
        self._take(version.record)

    async def runs(self, first: int, last: int) -> list[ExtentRun]:
        """The runs of bytes ``first..last`` that the page of ``first`` holds; at least one."""
        number = bisect_right(self._starts, first) - 1
        page = self._pages.get(number)
        if page is None:
            await self._look_up(first, last)
            page = self._pages.get(number)
            if page is None:
                raise Unavailable(Outage.PAGE_NOT_FOUND, page=number)
        return list(runs_of_page(page, number, self._starts[number], first, last))

    async def reader(
        self, run: ExtentRun, first: int, last: int, *, fresh: bool = False
    ) -> SegmentReader:
        """The reader of a run's segment.

        Args:
            run: the run.
            first: the object byte it begins at.
            last: the last object byte that will be wanted, to learn of later places at once.
            fresh: look the place up again whatever is known.

        Raises:
            Unavailable: the coordinator cannot say where it is.
            NotFound: the version is gone.
        """
        segment = run.extent.segment_id
        if fresh or trio.current_time() >= self._stale_at or segment not in self._places:
            await self._look_up(first, last)
        # Two tries under one id are two segments to a reader: each has a key of its own.
        sealed_as = (segment, run.extent.commitment, run.extent.number)
        reader = self._readers.get(sealed_as)
        if reader is None:
            place = self._places.get(segment)
            if place is None:
                raise Unavailable(Outage.SEGMENT_NOT_PLACED)
            key = segment_key(self._key(run), segment, run.extent.number)
            cipher = StripeCipher(key, self._version.tenant.tenant_id, segment)
            fetcher = ShardFetcher(self._context, place, self._endpoints)
            reader = SegmentReader(fetcher, cipher)
            self._readers[sealed_as] = reader
        if run.offset + run.length > reader.geometry.segment_bytes:
            raise Corrupt(Damage.EXTENT_BEYOND_SEGMENT)
        return reader

    def _key(self, run: ExtentRun) -> bytes:
        """The upload key that an extent names. The likeliest is tried before all are hashed."""
        commitment = run.extent.commitment
        manifest = self._version.manifest
        keys = manifest.keys
        if commitment not in self._keys and keys:
            likely = keys[run.page * len(keys) // len(manifest.pages)]
            self._keys[commitment_of(likely)] = likely
            if commitment not in self._keys:
                self._keys.update(manifest.keys_by_commitment())
        try:
            return self._keys[commitment]
        except KeyError:
            raise Corrupt(Damage.NO_SUCH_KEY) from None

    async def _look_up(self, first: int, last: int) -> None:
        version = self._version
        request = ObjectGet(
            version.tenant.tenant_id,
            version.bucket,
            version.name,
            version.record.version_id,
            True,
            first,
            last,
        )
        record: ObjectRecord = await self._coordinators.call(request)
        if (record.bucket_id, record.version_id, record.size) != (
            version.record.bucket_id,
            version.record.version_id,
            version.manifest.size,
        ):
            raise Corrupt(Damage.MANIFEST_PAGE_MISMATCH)
        if record.sealed != version.record.sealed:
            self._follow(record)
        self._take(record)

    def _follow(self, record: ObjectRecord) -> None:
        """Go on with another manifest of the version: some of its pages lie elsewhere.

        Raises:
            NotFound: ``no_such_version``: this reader needs the one that it has.
            Corrupt: ``record_not_authentic``; ``manifest_page_mismatch``: it is cut otherwise.
        """
        version = self._version
        if not self._follows:
            raise NotFound(Absence.NO_SUCH_VERSION)
        manifest = open_manifest(
            version.tenant, record.bucket_id, version.name, record.version_id, record.sealed
        )
        sizes = [page.size for page in version.manifest.pages]
        if [page.size for page in manifest.pages] != sizes:
            raise Corrupt(Damage.MANIFEST_PAGE_MISMATCH)
        self._version = replace(version, record=record, manifest=manifest)
        self._keys = {}

    def _take(self, record: ObjectRecord) -> None:
        self._pages: dict[int, Page] = dict(self._checked_pages(record))
        self._places = {place.segment_id: place for place in record.places}
        self._endpoints = record.endpoints
        self._readers: dict[tuple[SegmentId, bytes, int], SegmentReader] = {}
        self._stale_at = trio.current_time() + STALE_AFTER_S

    def _checked_pages(self, record: ObjectRecord) -> Iterator[tuple[int, Page]]:
        entries = self._version.manifest.pages
        for placed in record.pages:
            if (
                placed.number >= len(entries)
                or placed.start != self._starts[placed.number]
                or page_bytes(placed.page) != entries[placed.number].size
                or page_digest(placed.page) != entries[placed.number].digest
            ):
                raise Corrupt(Damage.MANIFEST_PAGE_MISMATCH, page=placed.number)
            yield placed.number, placed.page
