"""Filling one slot that misses its shard: the shard is copied from the slot's former holder, or
computed from k others, and stored under the root that was committed.

Source: docs/repair.md, "Filling"; docs/decisions/0031-repair.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

import trio

from cell.background_turns import BackgroundTurns
from cell.owner_rules import OwnerRules
from cell.storage.shard_store import ShardStore
from cell.storage.shards import ShardKey
from common import limits
from common.client.fetch_units import FetchContext, ShardFetcher, Stripe
from common.client.policy.get_plan import group_stripes
from common.data_classes import dataclass
from common.erasure.code import Code, make_code
from common.erasure.geometry import Geometry
from common.erasure.stripe import home_unit
from common.errors import AlvearyError, PeerViolation, Unavailable
from common.format.volume import record_bytes_of
from common.ids import DIGEST_BYTES
from common.ports import Buffer, Chance, Log
from common.reasons import Outage, Violation
from common.rpc.budget import ByteBudget
from common.wire.messages.base import Endpoint
from common.wire.messages.repair import MissingShard

FETCH_TRIES: Final = 3
FETCH_PAUSE_S: Final = 2.0
"""Holders that are busy with other rebuilds say so, and are asked again after so long."""


@dataclass(frozen=True, slots=True)
class FilledShard:
    """A shard that is durable here now. ``copied_bytes``, ``computed_bytes``: of the shard, by
    where they came from; both 0: it was here already."""

    key: ShardKey
    copied_bytes: int
    computed_bytes: int


class ShardFiller:
    """Fills slots of this cell.

    Args:
        context: connections to other cells.
        chance: jitter of retries.
    """

    def __init__(
        self,
        store: ShardStore,
        context: FetchContext,
        background: BackgroundTurns,
        owner_rules: OwnerRules,
        chance: Chance,
        log: Log,
    ) -> None:
        self._store = store
        self._context = context
        self._background = background
        self._owner_rules = owner_rules
        self._chance = chance
        self._log = log
        self._memory = ByteBudget(limits.MAX_REBUILD_BYTES)

    async def begin(self, missing: MissingShard, endpoints: Sequence[Endpoint]) -> Filling:
        """Wait for the memory to fill a slot. What comes of it must be run: that gives the memory
        back.

        Raises:
            PeerViolation: ``bad_place``, ``bad_geometry``: no such segment can exist.
        """
        fetcher = ShardFetcher(self._context, missing.place, endpoints)
        if missing.slot >= missing.place.n:
            raise PeerViolation(Violation.BAD_PLACE)
        source: _Source | _HomeSource
        if missing.former:
            former = ShardFetcher(self._context, missing.former[0], endpoints)
            source = _HomeSource(former, fetcher.geometry, missing, self._owner_rules, self._chance)
        else:
            source = _Source(fetcher, missing, self._owner_rules, self._chance, self._log)
        filling = Filling(
            self._store,
            self._background,
            self._memory,
            source,
            is_urgent=missing.spare <= 0,
        )
        await self._memory.take(filling.held_bytes)
        return filling


class Filling:
    """The filling of one slot. Made by :meth:`ShardFiller.begin`."""

    def __init__(
        self,
        store: ShardStore,
        background: BackgroundTurns,
        memory: ByteBudget,
        source: _Source | _HomeSource,
        *,
        is_urgent: bool,
    ) -> None:
        geometry = source.geometry
        self._store = store
        self._background = background
        self._memory = memory
        self._source = source
        self._is_urgent = is_urgent
        self._at_once = group_stripes(
            0,
            geometry.stripes,
            geometry.unit_bytes,
            geometry.k * geometry.unit_bytes,
            limits.REBUILD_RUN_BYTES,
        )
        self.held_bytes: Final = self._at_once * geometry.unit_bytes * source.held_units

    async def run(self) -> FilledShard:
        """Bring the shard here; it is durable on return.

        Raises:
            Unavailable: ``too_few_shards``, ``no_space``, or the disk cannot be written.
            Corrupt: ``data_lost``; ``root_mismatch``: what was committed as this shard's root is
                not the root of what the others give.
            Refused: ``shard_exists``: another shard is here under this name.
        """
        source = self._source
        try:
            if not await self._has():
                await self._check_space()
                if source.geometry.stripes == 1:
                    await self._put()
                else:
                    await self._upload()
        finally:
            self._memory.give(self.held_bytes)
        return FilledShard(source.key, source.copied_bytes, source.computed_bytes)

    async def _has(self) -> bool:
        entry = await self._store.index.find(self._source.key)
        return entry is not None and not entry.bad and entry.root == self._source.root

    async def _check_space(self) -> None:
        """Check that there is room, before anything is fetched."""
        geometry = self._source.geometry
        wanted = record_bytes_of(geometry.unit_bytes, geometry.shard_bytes)
        free = self._store.space.free_bytes
        if wanted > free:
            raise Unavailable(Outage.NO_SPACE, wanted_bytes=wanted, free_bytes=free)

    async def _put(self) -> None:
        source, geometry = self._source, self._source.geometry
        await self._background.turn(geometry.shard_bytes, is_urgent=self._is_urgent)
        (unit,) = await source.units(0, 1)
        await self._store.put(source.key, geometry.unit_bytes, source.root, memoryview(unit))

    async def _upload(self) -> None:
        source, geometry = self._source, self._source.geometry
        upload = await self._store.begin_upload(
            source.key, geometry.unit_bytes, geometry.shard_bytes
        )
        try:
            for first in range(0, geometry.stripes, self._at_once):
                count = min(self._at_once, geometry.stripes - first)
                size = count * geometry.unit_bytes
                await self._background.turn(size, is_urgent=self._is_urgent)
                for number, unit in enumerate(await source.units(first, count), first):
                    await upload.append(number, memoryview(unit))
                await upload.begin_writeback()
            await upload.finish(source.root)
        finally:
            upload.abort()


class _Source:
    """The source of one missing shard's units: its former holder, or k others."""

    def __init__(
        self,
        fetcher: ShardFetcher,
        missing: MissingShard,
        owner_rules: OwnerRules,
        chance: Chance,
        log: Log,
    ) -> None:
        place, slot = missing.place, missing.slot
        self.key: Final[ShardKey] = (place.segment_id, slot)
        self.root: Final = place.roots[slot * DIGEST_BYTES : (slot + 1) * DIGEST_BYTES]
        self.geometry: Final = fetcher.geometry
        self.held_units: Final = place.k + 2
        """Of each stripe: units of k slots, of a spare that answers too, what is made of them."""
        self.copied_bytes = 0
        self.computed_bytes = 0
        self._slot = slot
        self._fetcher = fetcher
        self._code = make_code(place.k, place.n)
        self._copies = bool(place.orders[slot])
        self._is_urgent = missing.spare <= 0
        self._owner_rules = owner_rules
        self._chance = chance
        self._log = log

    async def units(self, first: int, count: int) -> Sequence[Buffer]:
        """Return units of the shard, each of which is what was committed.

        Raises:
            AlvearyError: they cannot be had now.
        """
        if self._copies:
            await self._owner_rules.wait_to_fetch(count * self.geometry.unit_bytes)
            try:
                data = await self._fetcher.fetch_slot(self._slot, first, count)
            except AlvearyError as error:
                if error.reason == Outage.QUIET_HOURS and not self._is_urgent:
                    raise  # by the end of its quiet hours there is one shard to move, not k
                # From here on it is computed. The former holder is not one of the k then: what it
                # has is this very shard, and it has just failed to give it.
                self._copies = False
                self._fetcher.leave_out(self._slot)
                self._log.info(
                    "shard_not_copied", segment=self.key[0], slot=self._slot, error=str(error)
                )
            else:
                self.copied_bytes += len(data)
                self._owner_rules.moved(len(data))
                return _cut(self.geometry, data)
        work = partial(_rebuild, self._code, self.geometry, self._slot, first)
        units = await _fetch(self._fetcher, self._owner_rules, first, count, work, self._chance)
        self.computed_bytes += sum(map(len, units))
        return units


class _HomeSource:
    """The source of a shard's units in the home class of a segment that is in another: k units of
    that, put together and cut again."""

    def __init__(
        self,
        fetcher: ShardFetcher,
        geometry: Geometry,
        missing: MissingShard,
        owner_rules: OwnerRules,
        chance: Chance,
    ) -> None:
        place, slot = missing.place, missing.slot
        former = fetcher.geometry
        if (
            place.segment_id != missing.former[0].segment_id
            or geometry.k % former.k
            or geometry.stripes != former.stripes
            or geometry.k * geometry.unit_bytes != former.k * former.unit_bytes
            or geometry.k * geometry.shard_bytes != former.k * former.shard_bytes
        ):
            raise PeerViolation(Violation.BAD_PLACE)
        self.key: Final[ShardKey] = (place.segment_id, slot)
        self.root: Final = place.roots[slot * DIGEST_BYTES : (slot + 1) * DIGEST_BYTES]
        self.geometry: Final = geometry
        self.held_units: Final = 3 * place.k + 1
        """Of each stripe: what is fetched, with a spare; it put together; what is made of that."""
        self.copied_bytes = 0
        self.computed_bytes = 0
        self._slot = slot
        self._fetcher = fetcher
        self._code = make_code(former.k, former.n)
        self._home = make_code(place.k, place.n)
        self._owner_rules = owner_rules
        self._chance = chance

    async def units(self, first: int, count: int) -> Sequence[Buffer]:
        """Return units of the shard, made of units that are what was committed.

        Raises:
            AlvearyError: they cannot be had now.
        """

        def work(stripes: Sequence[Stripe]) -> list[Buffer]:
            former = self._fetcher.geometry
            return [
                home_unit(self._code, stripe, former.unit_bytes_of(number), self._home, self._slot)
                for number, stripe in enumerate(stripes, first)
            ]

        units = await _fetch(self._fetcher, self._owner_rules, first, count, work, self._chance)
        self.computed_bytes += sum(map(len, units))
        return units


async def _fetch(
    fetcher: ShardFetcher,
    owner_rules: OwnerRules,
    first: int,
    count: int,
    work: Callable[[Sequence[Stripe]], list[Buffer]],
    chance: Chance,
) -> list[Buffer]:
    geometry = fetcher.geometry
    end = min((first + count) * geometry.unit_bytes, geometry.shard_bytes)
    size = geometry.k * (end - first * geometry.unit_bytes)
    tries = FETCH_TRIES
    while True:
        await owner_rules.wait_to_fetch(size)
        try:
            made = await fetcher.fetch(first, count, work)
        except Unavailable:
            tries -= 1
            if not tries:
                raise
            await trio.sleep(FETCH_PAUSE_S * chance.uniform(0.75, 1.25))
        else:
            owner_rules.moved(size)
            return made


def _rebuild(
    code: Code, geometry: Geometry, slot: int, first: int, stripes: Sequence[Stripe]
) -> list[Buffer]:
    return [
        code.rebuild(stripe, geometry.unit_bytes_of(number), [slot])[0]
        for number, stripe in enumerate(stripes, first)
    ]


def _cut(geometry: Geometry, data: memoryview) -> Sequence[Buffer]:
    step = geometry.unit_bytes
    return [data[at : at + step] for at in range(0, len(data), step)]
