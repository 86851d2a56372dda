"""Writing an object: its bytes become segments on rings, durable at their quorum.

Source: docs/data-path.md, "Writing".
"""

from __future__ import annotations

from dataclasses import field
from itertools import count
from typing import Final

import trio

from common import limits
from common.client.abandons import Granted
from common.client.body_reader import Receive, Source
from common.client.coordinators import CoordinatorClient
from common.client.grants import Grant, GrantPool, GrantQueue
from common.client.resources import Resources, StripeHold
from common.client.write_segment_small import WholeWrite
from common.client.write_segment_stream import SegmentUpload
from common.crypto.keys import TenantKey, commitment_of, segment_key
from common.crypto.stream import StripeCipher
from common.data_classes import dataclass
from common.erasure.code import make_code
from common.erasure.stripe import EncodedStripe, encode_stripe
from common.errors import Unavailable
from common.format.extents import pages_of_extents, segment_sizes
from common.ids import TenantId
from common.ports import Buffer
from common.reasons import Outage
from common.rpc.budget import Share
from common.wire.messages.writing import Extent, NewSegment, Page

REPLAYED_STRIPES: Final = 2
"""Plaintext kept until the quorum of cells took the upload up, so that it can be restarted."""
TRY_AGAIN_S: Final = (0.1, 0.5)
"""Pauses before the second and the third try of a segment."""


@dataclass(frozen=True, slots=True)
class Written:
    """The result of a write: commit it or abandon it. ``upload_key``: opens it, and nothing else;
    the manifest of what has these pages lists it."""

    size: int
    pages: tuple[Page, ...]
    segments: tuple[NewSegment, ...]
    upload_key: bytes = field(repr=False)
    granted: tuple[Granted, ...] = ()
    """The grants to abandon."""

    @property
    def keys(self) -> tuple[bytes, ...]:
        """The upload keys that a manifest of these pages needs: none for no pages."""
        return (self.upload_key,) if self.pages else ()


async def write_object(
    resources: Resources,
    coordinators: CoordinatorClient,
    grant_pool: GrantPool,
    tenant: TenantKey,
    receive: Receive,
    size: int,
    upload_key: bytes,
    storage_class: str,
) -> Written:
    """Write ``size`` bytes; see :meth:`common.client.object_client.SwarmClient.write`.

    Args:
        upload_key: 32 random bytes, drawn for this call: its tries are numbered from 0.
        storage_class: the name of the class of its segments.
    """
    source = Source(receive, resources.gathered.share(tenant.tenant_id))
    writer = _Writer(resources, coordinators, grant_pool, tenant, source, upload_key, storage_class)
    try:
        return await writer.write(size)
    except BaseException:
        resources.abandons.add(tenant.tenant_id, writer.begun)
        raise
    finally:
        source.close()


class _Stage:
    """One try at a segment: its geometry, its number and its cipher."""

    def __init__(
        self, grant: Grant, size: int, upload_key: bytes, number: int, tenant_id: TenantId
    ) -> None:
        self.grant = grant
        self.number = number
        self.geometry = grant.geometry(size)
        self.code = make_code(grant.k, grant.n)
        self.home = None if grant.is_at_home else make_code(grant.home_k, grant.home_n)
        key = segment_key(upload_key, grant.segment_id, number)
        self.cipher = StripeCipher(key, tenant_id, grant.segment_id)

    def hold_bytes(self, stripe: int) -> tuple[int, int]:
        """Bytes of the stripe's plaintext, and of all its units."""
        geometry = self.geometry
        return geometry.plain_bytes(stripe), geometry.n * geometry.unit_bytes_of(stripe)

    def encode(self, stripe: int, plain: Buffer) -> EncodedStripe:
        """Return a stripe as it goes to the cells."""
        return encode_stripe(self.cipher, self.code, self.geometry, stripe, plain, self.home)


class _Writer:
    """The state of one write."""

    def __init__(
        self,
        resources: Resources,
        coordinators: CoordinatorClient,
        grant_pool: GrantPool,
        tenant: TenantKey,
        source: Source,
        upload_key: bytes,
        storage_class: str,
    ) -> None:
        self._storage_class = storage_class
        self._resources = resources
        self._budget = resources.writes_of(tenant.tenant_id)
        self._coordinators = coordinators
        self._grant_pool = grant_pool
        self._tenant_id = tenant.tenant_id
        self._source = source
        self._upload_key = upload_key
        self._commitment = commitment_of(upload_key)
        self._numbers = count()
        """One for each stage: no two seal under one key, whatever ids a coordinator grants."""
        self._extents: list[Extent] = []
        self._segments: list[NewSegment] = []
        self.begun: list[Granted] = []
        """Segments of which some cell may have something."""
        self._given_up: list[Granted] = []

    async def write(self, size: int) -> Written:
        if size <= limits.SMALL_OBJECT_BYTES:
            if size:
                await self._write_small(size)
        else:
            await self._write_large(size)
        self._resources.abandons.add(self._tenant_id, self._given_up)
        pages = pages_of_extents(self._extents)
        return Written(size, pages, tuple(self._segments), self._upload_key, tuple(self.begun))

    def _stage(self, grant: Grant, size: int) -> _Stage:
        self.begun.append(grant.granted)
        return _Stage(grant, size, self._upload_key, next(self._numbers), self._tenant_id)

    def _keep(self, stage: _Stage, segment: NewSegment) -> None:
        """Note a segment that is durable, as its stage sealed it."""
        self._segments.append(segment)
        self._extents.append(
            Extent(segment.segment_id, 0, segment.segment_bytes, self._commitment, stage.number)
        )

    async def _encode(self, stage: _Stage, stripe: int, plain: Buffer) -> EncodedStripe:
        if len(plain) <= limits.INLINE_STRIPE_BYTES:
            return stage.encode(stripe, plain)
        return await self._resources.workers.run(lambda: stage.encode(stripe, plain))

    async def _pause(self, about_s: float) -> None:
        await trio.sleep(about_s * self._resources.chance.uniform(0.5, 1.5))

    # --- small: all of it kept, so tried again as it is ----------------------------------------

    async def _write_small(self, size: int) -> None:
        budget = self._budget
        await self._source.gather(size)
        grant = await self._take_small()
        held = size + grant.n * grant.geometry(size).shard_bytes
        await budget.take(held)
        try:
            plain = await self._source.take(size)
            await self._try_small(grant, plain)
        finally:
            budget.give(held)

    async def _take_small(self, *, fresh: bool = False) -> Grant:
        return await self._grant_pool.take_small(self._tenant_id, self._storage_class, fresh=fresh)

    async def _try_small(self, grant: Grant, plain: Buffer) -> None:
        for pause_s in (0.0, *TRY_AGAIN_S):
            if pause_s:
                await self._pause(pause_s)
                grant = await self._take_small(fresh=True)
            elif not self._grant_pool.is_good(grant):
                # The client was slow. Should the redundancy have changed meanwhile, then what is
                # held differs a little from what was reserved for it.
                grant = await self._take_small()
            stage = self._stage(grant, len(plain))
            encoded = await self._encode_all(stage, plain)
            segment = await WholeWrite(self._resources, grant, stage.geometry, encoded).run()
            if segment is not None:
                self._keep(stage, segment)
                return
            self._given_up.append(grant.granted)
        raise Unavailable(Outage.WRITE_QUORUM_LOST)

    async def _encode_all(self, stage: _Stage, plain: Buffer) -> list[EncodedStripe]:
        geometry = stage.geometry
        if geometry.stripes == 1:
            return [await self._encode(stage, 0, plain)]
        view = memoryview(plain)
        encoded = []
        for stripe in range(geometry.stripes):
            start = geometry.stripe_start(stripe)
            part = view[start : start + geometry.plain_bytes(stripe)]
            encoded.append(await self._encode(stage, stripe, part))
        return encoded

    # --- large: segments in a row, the end of one beside the begin of the next -----------------

    async def _write_large(self, size: int) -> None:
        failure: BaseException | None = None
        async with trio.open_nursery() as nursery:
            try:
                await self._write_segments(size, nursery)
            except Exception as error:
                # Carried out of the nursery by hand, which would wrap it in a group.
                failure = error
                nursery.cancel_scope.cancel()
        if failure is not None:
            raise failure

    async def _write_segments(self, size: int, nursery: trio.Nursery) -> None:
        sizes = segment_sizes(size)
        line = self._grant_pool.queue(self._tenant_id, sizes, self._storage_class)
        ending: _Ending | None = None
        for length in sizes:
            written = await self._write_segment(length, line, nursery)
            if ending is not None:
                self._keep(ending.stage, _durable(await ending.upload.wait_end()))
            ending = written
        assert ending is not None
        self._keep(ending.stage, _durable(await ending.upload.wait_end()))

    async def _write_segment(self, length: int, line: GrantQueue, nursery: trio.Nursery) -> _Ending:
        """Hand all stripes of a segment to its upload; it may not have ended when this returns."""
        head = _ReplayBuffer(self._budget)
        stage = self._stage(await line.take(), length)
        upload = self._begin(stage, nursery)
        tries = list(TRY_AGAIN_S)

        async def again() -> None:
            nonlocal stage, upload
            while True:
                if not head.is_whole or not tries:
                    raise Unavailable(Outage.WRITE_QUORUM_LOST)
                self._given_up.append(stage.grant.granted)
                head.is_replayed = True
                await self._pause(tries.pop(0))
                grant = await line.take_again()
                # The class may have changed: what was cut by the old one has to fit. The units of
                # the new one take a little more or less room than was reserved.
                if not grant.geometry(length).is_cut_like(stage.geometry):
                    raise Unavailable(Outage.WRITE_QUORUM_LOST)
                stage = self._stage(grant, length)
                upload = self._begin(stage, nursery)
                for number, (plain, hold) in enumerate(head.stripes):
                    hold.send_again()
                    await upload.push(await self._encode(stage, number, plain), hold)
                head.is_replayed = False
                if not upload.is_lost:
                    return

        try:
            for stripe in range(stage.geometry.stripes):
                if stripe == REPLAYED_STRIPES and head.is_whole:
                    while not await upload.wait_open():
                        await again()
                    head.drop()
                plain_bytes = stage.geometry.plain_bytes(stripe)
                await self._source.gather(plain_bytes)
                hold = await self._reserve(stage, stripe, head, upload)
                try:
                    plain = await self._source.take(plain_bytes)
                    encoded = await self._encode(stage, stripe, plain)
                    if head.is_whole:
                        head.stripes.append((plain, hold))
                    else:
                        hold.encoded()
                    # What goes back to the budget must not live on in this frame, which may
                    # wait long for the next stripe.
                    del plain
                    await upload.push(encoded, hold)
                    del encoded
                except BaseException:
                    hold.encoded()
                    hold.sent()
                    raise
                if upload.is_lost:
                    await again()
            while head.is_whole and await upload.wait_end() is None:
                await again()
        finally:
            head.drop()
        return _Ending(stage, upload)

    def _begin(self, stage: _Stage, nursery: trio.Nursery) -> SegmentUpload:
        upload = SegmentUpload(self._resources, stage.grant, stage.geometry)
        nursery.start_soon(upload.run)
        return upload

    async def _reserve(
        self, stage: _Stage, stripe: int, head: _ReplayBuffer, upload: SegmentUpload
    ) -> StripeHold:
        """Reserve room for one stripe. A writer waiting for budget holds none that only it could
        give back, so writers cannot deadlock."""
        budget = self._budget
        plain_bytes, unit_bytes = stage.hold_bytes(stripe)
        if not budget.take_nowait(plain_bytes + unit_bytes):
            head.drop()
            with upload.producer_waits():
                await budget.take(plain_bytes + unit_bytes)
        return StripeHold(budget, plain_bytes, unit_bytes)


@dataclass(frozen=True, slots=True)
class _Ending:
    """A segment all of whose stripes were handed to its upload, which may not have ended."""

    stage: _Stage
    upload: SegmentUpload


class _ReplayBuffer:
    """The first stripes of a segment, kept to be replayed. ``is_whole``: all that was received of
    the segment is here. What is kept is dropped when others wait for room."""

    def __init__(self, budget: Share) -> None:
        self.is_whole = True
        self.is_replayed = False
        self.stripes: list[tuple[Buffer, StripeHold]] = []
        self._forget = budget.keep_spare(self._give_way)

    def drop(self) -> None:
        """Replay no more; give back what was kept."""
        self.is_whole = False
        self._forget()
        for _, hold in self.stripes:
            hold.encoded()
        self.stripes.clear()

    def _give_way(self) -> None:
        if not self.is_replayed:
            self.drop()


def _durable(segment: NewSegment | None) -> NewSegment:
    if segment is None:
        raise Unavailable(Outage.WRITE_QUORUM_LOST)
    return segment
