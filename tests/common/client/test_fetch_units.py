"""Fetching without a key: what whoever rebuilds a lost shard needs of a segment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import trio
from fake_swarm import FakeSwarm, content, failing, fake_swarm
from trio.testing import MockClock

from common.client.fetch_units import FetchContext, ShardFetcher, Stripe
from common.client.policy.slot_health import SlotHealth
from common.crypto.digest import ShardDigests
from common.erasure.code import make_code
from common.erasure.geometry import Geometry
from common.errors import Corrupt, PeerViolation, Unavailable
from common.limits import MIB
from common.reasons import Damage, Outage
from common.wire import messages as m

SIZES = [3000, 3 * MIB + 7]
"""One unit in each shard, and several of which the last is shorter."""


def without(place: m.SegmentPlace, *slots: int) -> m.SegmentPlace:
    """The place as a coordinator gives it when these slots miss their shards."""
    orders = [b"" if slot in slots else order for slot, order in enumerate(place.orders)]
    return replace(place, orders=tuple(orders))


def rebuild(
    geometry: Geometry, slot: int, first: int, stripes: Sequence[Stripe]
) -> list[bytearray]:
    code = make_code(geometry.k, geometry.n)
    return [
        code.rebuild(stripe, geometry.unit_bytes_of(first + index), [slot])[0]
        for index, stripe in enumerate(stripes)
    ]


class Repairer:
    """Has connections and orders, and no key."""

    def __init__(self, swarm: FakeSwarm) -> None:
        self.reported: list[tuple[int, str]] = []
        self.endpoints = swarm.endpoints()
        self.context = FetchContext(
            pool=swarm.pool,
            health=SlotHealth(),
            workers=swarm.node.world.workers,
            report=lambda place, slot, reason: self.reported.append((slot, reason)),
        )

    async def rebuilt_root(self, place: m.SegmentPlace, slot: int, at_once: int = 2) -> bytes:
        fetcher = ShardFetcher(self.context, place, self.endpoints)
        geometry = fetcher.geometry
        units: list[bytearray] = []
        for first in range(0, geometry.stripes, at_once):
            count = min(at_once, geometry.stripes - first)
            units += await fetcher.fetch(first, count, partial(rebuild, geometry, slot, first))
        return ShardDigests.of(geometry.unit_bytes, geometry.shard_bytes, b"".join(units)).root


async def placed(swarm: FakeSwarm, size: int) -> m.SegmentPlace:
    await swarm.commit(await swarm.write(content(size)))
    return (await swarm.record(0, size - 1)).places[0]


def root_of(place: m.SegmentPlace, slot: int) -> bytes:
    return place.roots[32 * slot : 32 * slot + 32]


@pytest.mark.parametrize("size", SIZES)
async def test_any_missing_unit_is_rebuilt_to_its_root_without_a_key(
    size: int, autojump_clock: MockClock
) -> None:
    async with fake_swarm() as swarm:
        place = await placed(swarm, size)
        repairer = Repairer(swarm)
        for slot in range(place.n):
            rebuilt = await repairer.rebuilt_root(without(place, slot), slot)
            assert rebuilt == root_of(place, slot)
        assert not repairer.reported


def flip(reply: m.ShardUnits, data: bytes) -> tuple[m.ShardUnits, bytes]:
    return reply, data[:-1] + bytes([data[-1] ^ 1])


def one_leaf_more(reply: m.ShardUnits, data: bytes) -> tuple[m.ShardUnits, bytes]:
    return replace(reply, leaves=reply.leaves + bytes(32)), data


@pytest.mark.parametrize(
    ("size", "lie", "reason"),
    [
        (3000, flip, "leaf_mismatch"),
        (3 * MIB, flip, "leaf_mismatch"),
        (3 * MIB, one_leaf_more, "root_mismatch"),
    ],
)
async def test_a_liar_is_replaced_and_reported_before_anything_is_made_of_its_units(
    size: int, lie: Any, reason: str, autojump_clock: MockClock
) -> None:
    async with fake_swarm() as swarm:
        place = await placed(swarm, size)
        swarm.cells[1].on_read = lie
        repairer = Repairer(swarm)
        assert await repairer.rebuilt_root(without(place, 0), 0) == root_of(place, 0)
        assert repairer.reported == [(1, reason)]


async def test_with_fewer_than_k_shards_nothing_is_rebuilt(autojump_clock: MockClock) -> None:
    async with fake_swarm() as swarm:
        place = await placed(swarm, 3000)
        repairer = Repairer(swarm)
        for number in (2, 3):
            swarm.cells[number].faults[m.ShardRead] = failing(Unavailable(Outage.READ_ONLY))
        with pytest.raises(Unavailable, match="too_few_shards"):
            await repairer.rebuilt_root(without(place, 0), 0)
        with pytest.raises(Corrupt, match="data_lost"):
            await repairer.rebuilt_root(without(place, 0, 1, 2), 0)


async def test_what_is_made_of_the_units_may_fail(autojump_clock: MockClock) -> None:
    async with fake_swarm() as swarm:
        place = await placed(swarm, 3000)
        repairer = Repairer(swarm)
        fetcher = ShardFetcher(repairer.context, place, repairer.endpoints)

        def refuse(stripes: Sequence[Stripe]) -> None:
            raise Corrupt(Damage.STRIPE_NOT_AUTHENTIC)

        with pytest.raises(Corrupt, match="stripe_not_authentic"):
            await fetcher.fetch(0, 1, refuse)
        assert not repairer.reported


@pytest.mark.parametrize(
    "wrong", [{"roots": b""}, {"cells": (0,)}, {"orders": ()}, {"shard_bytes": 1}]
)
async def test_a_place_that_cannot_be_is_not_fetched_from(
    wrong: dict[str, Any], autojump_clock: MockClock
) -> None:
    async with fake_swarm() as swarm:
        place = await placed(swarm, 3000)
        repairer = Repairer(swarm)
        with pytest.raises(PeerViolation, match=r"bad_place|bad_geometry"):
            ShardFetcher(repairer.context, replace(place, **wrong), repairer.endpoints)
        with pytest.raises(PeerViolation, match="bad_place"):
            ShardFetcher(repairer.context, place, repairer.endpoints[:5])
        await trio.lowlevel.checkpoint()


@pytest.mark.parametrize("size", SIZES)
async def test_the_units_of_one_slot_are_fetched_and_checked(
    size: int, autojump_clock: MockClock
) -> None:
    async with fake_swarm() as swarm:
        place = await placed(swarm, size)
        repairer = Repairer(swarm)
        fetcher = ShardFetcher(repairer.context, place, repairer.endpoints)
        geometry = fetcher.geometry
        data = b"".join(
            [bytes(await fetcher.fetch_slot(4, first, 1)) for first in range(geometry.stripes)]
        )
        assert ShardDigests.of(geometry.unit_bytes, geometry.shard_bytes, data).root == root_of(
            place, 4
        )
        assert [sum(isinstance(each, m.ShardRead) for each in c.requests) for c in swarm.cells] == [
            geometry.stripes if number == 4 else 0 for number in range(6)
        ]


@pytest.mark.parametrize(
    ("size", "lie", "reason"),
    [
        (3000, flip, "leaf_mismatch"),
        (3 * MIB, flip, "leaf_mismatch"),
        (3 * MIB, one_leaf_more, "root_mismatch"),
    ],
)
async def test_one_slot_that_lies_is_reported_and_not_asked_again(
    size: int, lie: Any, reason: str, autojump_clock: MockClock
) -> None:
    async with fake_swarm() as swarm:
        place = await placed(swarm, size)
        swarm.cells[1].on_read = lie
        repairer = Repairer(swarm)
        fetcher = ShardFetcher(repairer.context, place, repairer.endpoints)
        with pytest.raises(Corrupt, match=reason):
            await fetcher.fetch_slot(1, 0, 1)
        assert repairer.reported == [(1, reason)]
        before = len(swarm.cells[1].requests)
        await fetcher.fetch(0, 1, len)
        assert len(swarm.cells[1].requests) == before


async def test_a_slot_that_is_left_out_is_asked_for_nothing(autojump_clock: MockClock) -> None:
    async with fake_swarm() as swarm:
        place = await placed(swarm, 3000)
        repairer = Repairer(swarm)
        fetcher = ShardFetcher(repairer.context, place, repairer.endpoints)
        fetcher.leave_out(0)
        await fetcher.fetch(0, 1, len)
        assert not any(isinstance(each, m.ShardRead) for each in swarm.cells[0].requests)
        assert not repairer.reported
        for slot in (1, 2):
            fetcher.leave_out(slot)
        with pytest.raises(Unavailable, match="too_few_shards"):
            await fetcher.fetch(0, 1, len)


@pytest.mark.parametrize(("patience_s", "reads"), [(0.0, 5), (5.0, 4)])
async def test_who_is_in_no_hurry_waits_for_a_slow_cell(
    patience_s: float, reads: int, autojump_clock: MockClock
) -> None:
    async with fake_swarm() as swarm:
        place = await placed(swarm, 3000)
        repairer = Repairer(swarm)

        async def slowly(request: m.Request) -> None:
            await trio.sleep(3)

        swarm.cells[2].faults[m.ShardRead] = slowly
        context = replace(repairer.context, least_patience_s=patience_s)
        fetcher = ShardFetcher(context, place, repairer.endpoints)
        await fetcher.fetch(0, 1, len)
        asked = [each for c in swarm.cells for each in c.requests if isinstance(each, m.ShardRead)]
        assert len(asked) == reads
