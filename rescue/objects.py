"""One object restored: its records opened, its shards fetched and decrypted, its file written.

Source: docs/rescue.md, "What is read" and "What is written".
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from typing import Final

from common import limits
from common.client.fetch_units import FetchContext, ShardFetcher
from common.client.policy.get_plan import group_stripes
from common.client.policy.slot_health import SlotHealth
from common.client.read_segment import SegmentReader
from common.crypto.digest import page_digest
from common.crypto.inner_layer import InnerStream
from common.crypto.keys import TenantKey, segment_key
from common.crypto.rescue import rescue_order
from common.crypto.stream import StripeCipher
from common.data_classes import dataclass
from common.errors import Corrupt, Unavailable
from common.format.extents import page_bytes
from common.format.manifest import Manifest
from common.ids import SegmentId
from common.ports import Buffer, Store, Workers
from common.reasons import Damage, Outage
from common.rpc.peers import PeerPool
from common.wire.messages.base import Endpoint
from common.wire.messages.writing import Extent, SegmentPlace
from coordinator.store import restoring
from coordinator.store.restoring import RestorableSegment
from rescue.kit import Kit
from rescue.tree import TargetTree

GROUP_BYTES: Final = 4 * limits.MIB
"""Sealed bytes of one object that are fetched at a time."""


@dataclass(frozen=True, slots=True)
class ShardSource:
    """The origin of objects' bytes. ``pool``: proves the key of the kit. ``on_bad``: called for
    each shard that is not what it should be, with its cell and the reason."""

    store: Store
    pool: PeerPool
    health: SlotHealth
    workers: Workers
    kit: Kit
    on_bad: Callable[[Endpoint, str], None]

    def fetcher(self, segment: RestorableSegment) -> ShardFetcher:
        """Return a fetcher of the shards of a segment.

        Raises:
            Unavailable: ``too_few_shards``: none of its cells is known.
            PeerViolation: ``bad_geometry``, ``bad_place``.
        """
        place, known = place_of(segment, self.kit.rescue_pass)
        endpoints = [self.kit.where_now(each) for each in known]
        if not endpoints:
            raise Unavailable(Outage.TOO_FEW_SHARDS, good=0, needed=segment.k)

        def report(place: SegmentPlace, slot: int, reason: str) -> None:
            self.on_bad(endpoints[place.cells[slot]], reason)

        context = FetchContext(self.pool, self.health, self.workers, report)
        return ShardFetcher(context, place, endpoints)


class ObjectReader:
    """Reads the bytes of one version, in order.

    Args:
        tenant: its key.
        sequence: of the version, in the store.
        manifest: opened.
    """

    def __init__(
        self, source: ShardSource, tenant: TenantKey, sequence: int, manifest: Manifest
    ) -> None:
        self.segment: RestorableSegment | None = None
        """The segment that is read now, or was read last."""
        self._source = source
        self._tenant = tenant
        self._sequence = sequence
        self._manifest = manifest
        self._keys: Mapping[bytes, bytes] = {}
        self._reader: tuple[object, SegmentReader] | None = None

    async def read(self) -> AsyncGenerator[Sequence[Buffer], None]:
        """Yield the bytes, a few stripes at a time. To be closed by who does not take them all.

        Raises:
            Corrupt: ``manifest_page_mismatch``, ``no_such_key``, ``extent_beyond_segment``,
                ``stripe_not_authentic``; ``data_lost``: the store knows nothing of a segment.
            Unavailable: ``too_few_shards``.
            PeerViolation: ``bad_geometry``, ``bad_place``.
        """
        for number, entry in enumerate(self._manifest.pages):
            page = await self._source.store.read(
                partial(restoring.page, owner=self._sequence, number=number)
            )
            if page is None or page_digest(page) != entry.digest or page_bytes(page) != entry.size:
                raise Corrupt(Damage.MANIFEST_PAGE_MISMATCH, page=number)
            for extent in page.extents:
                async with aclosing(self._extent(extent)) as pieces:
                    async for chunks in pieces:
                        yield chunks

    async def _extent(self, extent: Extent) -> AsyncGenerator[Sequence[Buffer], None]:
        reader = await self._reader_of(extent)
        geometry = reader.geometry
        if extent.offset + extent.length > geometry.segment_bytes:
            raise Corrupt(Damage.EXTENT_BEYOND_SEGMENT)
        at, end = extent.offset, extent.offset + extent.length
        while at < end:
            first = geometry.stripe_at(at)
            stop = geometry.stripe_at(end - 1) + 1
            sealed_bytes = geometry.k * geometry.unit_bytes
            count = group_stripes(first, stop, geometry.unit_bytes, sealed_bytes, GROUP_BYTES)
            stripes = await reader.read(first, count)
            skip = at - geometry.stripe_start(first)
            chunks: list[Buffer] = []
            for stripe in stripes:
                chunk = stripe[skip : skip + end - at]
                skip = 0
                at += len(chunk)
                chunks.append(chunk)
            yield chunks

    async def _reader_of(self, extent: Extent) -> SegmentReader:
        sealed_as = (extent.segment_id, extent.commitment, extent.number)
        if self._reader is not None and self._reader[0] == sealed_as:
            return self._reader[1]
        source = self._source
        segment = await source.store.read(partial(restoring.segment, segment_id=extent.segment_id))
        if segment is None:
            raise Corrupt(Damage.DATA_LOST, segment=extent.segment_id.hex())
        self.segment = segment
        key = segment_key(self._key(extent.commitment), extent.segment_id, extent.number)
        cipher = StripeCipher(key, self._tenant.tenant_id, extent.segment_id)
        reader = SegmentReader(source.fetcher(segment), cipher)
        self._reader = (sealed_as, reader)
        return reader

    def _key(self, commitment: bytes) -> bytes:
        if not self._keys:
            self._keys = self._manifest.keys_by_commitment()
        try:
            return self._keys[commitment]
        except KeyError:
            raise Corrupt(Damage.NO_SUCH_KEY) from None


async def decrypted(
    pieces: AsyncGenerator[Sequence[Buffer], None], stream: InnerStream
) -> AsyncGenerator[Sequence[Buffer], None]:
    """Yield an object's bytes without its inner layer. To be closed; it closes ``pieces``."""
    async with aclosing(pieces):
        async for chunks in pieces:
            yield [stream.apply(each) for each in chunks]


def place_of(segment: RestorableSegment, rescue_pass: bytes) -> tuple[SegmentPlace, list[Endpoint]]:
    """Return the place of a segment as fetchers want it, with what is shown in the place of orders:
    nothing for slots whose cells are not known."""
    known = [each for each in segment.cells if each is not None]
    rows = {bytes(each.cell_id): row for row, each in enumerate(known)}
    segment_id = SegmentId(segment.segment_id)
    place = SegmentPlace(
        segment_id,
        segment.k,
        segment.n,
        segment.segment_bytes,
        segment.unit_bytes,
        segment.shard_bytes,
        segment.roots,
        tuple(0 if each is None else rows[bytes(each.cell_id)] for each in segment.cells),
        tuple(
            b"" if each is None else rescue_order(rescue_pass, segment_id, slot)
            for slot, each in enumerate(segment.cells)
        ),
    )
    return place, known


async def write_file(
    tree: TargetTree,
    draft: str,
    path: str,
    modified_ms: int,
    chunks: AsyncGenerator[Sequence[Buffer], None],
    on_bytes: Callable[[int], None],
) -> int:
    """Write a file whole, or not at all: durable before it has its name, and with its time.

    Args:
        draft: the name that it has meanwhile.
        chunks: its content; closed here.
        on_bytes: called with the number of bytes that were written.

    Returns:
        Its size.

    Raises:
        AlvearyError: of ``chunks``; Unavailable: it could not be written.
    """
    file = await tree.open(draft, create=True)
    try:
        await file.truncate(0)
        size = 0
        async with aclosing(chunks):
            async for each in chunks:
                await file.write(size, each)
                written = sum(map(len, each))
                size += written
                on_bytes(written)
        await file.sync()
    finally:
        await file.close()
    await tree.set_time(draft, modified_ms)
    directory, _, _ = path.rpartition("/")
    await tree.make_directory(directory)
    await tree.rename(draft, path)
    return size
