"""A cell keeps retained shards until their time by its own clock, whatever a coordinator says."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import trio
from cell_rig import put, read_all, running, shard_data, shard_key
from ring_rig import N, RingRig, Segment
from trio.testing import MockClock

from common.wire import messages as m
from sim.world import EPOCH_S, SimWorld

SIZE = 3000
DAY_S = 86_400
NOW = int(EPOCH_S)
SLOT = 3


class Retaining(RingRig):
    """A coordinator that has shards retained, and then wants them deleted all the same."""

    def __init__(self, **config: Any) -> None:
        super().__init__(N, settle_after_s=5, compare_every_s=60, **config)
        self.until_s = 0
        self.deletes: Sequence[m.ShardName] = ()
        self.confirmed: list[m.ShardName] = []
        self.intercept["Settle"] = self._retain
        self.intercept["Heartbeat"] = self._delete

    async def _retain(self, number: int, caller: Any, request: Any) -> m.Reply:
        reply = await self._settle(number, caller, request)
        assert isinstance(reply, m.SettleReply)
        if not self.until_s:
            return reply
        told = (self.until_s,) * len(reply.verdicts)
        return replace(reply, retain=told)

    async def _delete(self, number: int, caller: Any, request: Any) -> m.Reply:
        reply = await self._heartbeat(number, caller, request)
        assert isinstance(reply, m.HeartbeatReply)
        if number != SLOT:
            return reply
        self.confirmed += request.deleted
        self.deletes = [each for each in self.deletes if each not in request.deleted]
        return replace(reply, deletes=tuple(self.deletes))

    async def retained(self) -> Segment:
        """A segment whose shard the cell was told to keep."""
        segment = await self.write(1, SIZE)
        await self.until(lambda: self.said(self.cells[SLOT], "shards_retained") > 0)
        return segment

    async def hears(self, event: str) -> None:
        """Wait until the cell logs an event once more."""
        before = self.said(self.cells[SLOT], event)
        await self.until(lambda: self.said(self.cells[SLOT], event) > before)

    async def wants_gone(self, segment: Segment) -> None:
        """Ask for the delete of a shard until the cell has confirmed it."""
        self.deletes = [m.ShardName(segment.segment_id, SLOT)]
        await self.until(lambda: not self.deletes)

    def step(self, days: float) -> None:
        """Set the clock of the cell ahead."""
        self.cells[SLOT].node.clock_offset_s += days * DAY_S

    async def has(self, segment: Segment) -> bool:
        return await self.cells[SLOT].holds(segment, SLOT)


@asynccontextmanager
async def ring(until_s: int) -> AsyncGenerator[Retaining]:
    rig = Retaining()
    rig.until_s = until_s
    async with trio.open_nursery() as nursery:
        await nursery.start(rig.run)
        yield rig
        assert not rig.swarm.faults
        nursery.cancel_scope.cancel()


async def test_neither_an_order_nor_a_verdict_deletes_a_retained_shard(
    autojump_clock: MockClock,
) -> None:
    async with ring(NOW + DAY_S) as rig:
        segment = await rig.retained()
        await rig.wants_gone(segment)
        assert rig.confirmed, "the coordinator would ask for ever, and for nothing else"
        rig.delete(segment)
        await rig.until(lambda: "retained=1" in str(rig.facts(rig.cells[SLOT], "garbage_deleted")))
        assert await rig.has(segment)
        rig.step(0.9)
        await trio.sleep(300)
        assert await rig.has(segment)
        rig.step(0.2)
        await rig.until(lambda: _is_gone(rig, segment))


async def _is_gone(rig: Retaining, segment: Segment) -> bool:
    return not await rig.has(segment)


async def test_what_is_not_retained_is_deleted_as_ever(autojump_clock: MockClock) -> None:
    async with ring(0) as rig:
        segment = await rig.write(1, SIZE)
        await trio.sleep(30)
        await rig.wants_gone(segment)
        assert not await rig.has(segment)


async def test_a_comparison_brings_a_later_end_and_never_an_earlier_one(
    autojump_clock: MockClock,
) -> None:
    async with ring(0) as rig:
        segment = await rig.write(1, SIZE)
        await trio.sleep(100)
        for until_s in (NOW + DAY_S, NOW + 2 * DAY_S):
            rig.until_s = until_s
            await rig.hears("shards_retained")
        rig.until_s = NOW + DAY_S
        await rig.hears("compared")
        rig.step(1.5)
        await rig.wants_gone(segment)
        assert await rig.has(segment)


async def test_a_retention_outlives_a_power_cut(autojump_clock: MockClock) -> None:
    async with ring(NOW + DAY_S) as rig:
        segment = await rig.retained()
        cell = rig.cells[SLOT]
        await rig.crash(cell)
        rig.until_s = 0
        rig.deletes = [m.ShardName(segment.segment_id, SLOT)]
        await rig.start(cell)
        await rig.wants_gone(segment)
        assert await rig.has(segment)


async def test_a_cell_whose_shard_went_to_another_keeps_its_own(autojump_clock: MockClock) -> None:
    async with ring(NOW + DAY_S) as rig:
        segment = await rig.retained()
        rig.holders[SLOT] = 0
        await rig.wants_gone(segment)
        await rig.hears("compared")
        assert await rig.has(segment)


async def test_an_answer_with_too_few_retentions_is_refused(autojump_clock: MockClock) -> None:
    async with ring(NOW + DAY_S) as rig:

        async def cut(number: int, caller: Any, request: Any) -> m.Reply:
            reply = await rig._settle(number, caller, request)
            assert isinstance(reply, m.SettleReply)
            return replace(reply, retain=(NOW + DAY_S,) * (len(reply.verdicts) + 1))

        rig.intercept["Settle"] = cut
        await rig.write(1, SIZE)
        await trio.sleep(100)
        assert not rig.said(rig.cells[SLOT], "shards_retained")


# --- the store -----------------------------------------------------------------------------------


async def test_the_store_deletes_the_others_and_says_which_stay(autojump_clock: MockClock) -> None:
    node = SimWorld(1).node("cell")
    keys = [shard_key(number) for number in range(3)]
    async with running(node) as store:
        for number in range(3):
            await put(store, keys[number], shard_data(number, 700))
        store.index.retain(keys[1], NOW + DAY_S)
        store.index.retain(keys[1], NOW)
        assert await store.retained([*keys, shard_key(9)]) == {keys[1]}
        assert sorted(await store.delete(keys)) == [keys[0], keys[2]]
        await store.index.sync()
        assert await read_all(store, keys[1]) == shard_data(1, 700)
    async with running(node) as store:
        assert await store.delete([keys[1]]) == []
        node.clock_offset_s += DAY_S
        assert await store.retained(keys) == set()
        assert await store.delete([keys[1]]) == [keys[1]]
        await store.index.sync()
        node.clock_offset_s -= DAY_S
        assert await store.index.retained_until(keys) == {}
