"""Reading from rings: every loss pattern, lies, delays, and the arithmetic of ranges."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from typing import Any

import pytest
import trio
from fake_swarm import (
    FakeSwarm,
    content,
    failing,
    fake_swarm,
    stalling,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from in_process_coordinator import reissue
from trio.testing import MockClock

from common import limits
from common.client.object_client import Written
from common.crypto.digest import leaf
from common.errors import Corrupt, NotFound, Unavailable
from common.format.extents import pages_of_extents
from common.format.manifest import Manifest
from common.ids import SegmentId
from common.limits import MIB, READ_AHEAD_BYTES
from common.reasons import Absence, Outage
from common.wire import messages as m

LOSSES = [lost for count in range(3) for lost in combinations(range(6), count)]


def flip(reply: m.ShardUnits, data: bytes) -> tuple[m.ShardUnits, bytes]:
    return reply, data[:-1] + bytes([data[-1] ^ 1])


def shorten(reply: m.ShardUnits, data: bytes) -> tuple[m.ShardUnits, bytes]:
    return reply, data[:-1]


def lie_about_leaves(reply: m.ShardUnits, data: bytes) -> tuple[m.ShardUnits, bytes]:
    wrong = bytes(len(reply.leaves))
    return m.ShardUnits(reply.shard_bytes, reply.unit_bytes, wrong), data


@pytest.mark.parametrize("size", [3000, 3 * MIB + 7])
async def test_any_two_of_six_cells_may_be_gone(size: int, autojump_clock: MockClock) -> None:
    async with fake_swarm() as swarm:
        data = content(size)
        manifest = await swarm.commit(await swarm.write(data))
        for lost in LOSSES:
            for number in lost:
                swarm.cells[number].faults[m.ShardRead] = failing(Unavailable(Outage.READ_ONLY))
            assert await swarm.read(manifest) == data, lost
            for number in lost:
                swarm.cells[number].faults.clear()
            await trio.sleep(20)


async def test_killed_cells_are_read_around(autojump_clock: MockClock) -> None:
    async with fake_swarm() as swarm:
        data = content(5 * MIB)
        manifest = await swarm.commit(await swarm.write(data))
        swarm.kill(0)
        swarm.kill(3)
        assert await swarm.read(manifest) == data


@pytest.mark.parametrize("size", [3000, 3 * MIB])
async def test_fewer_than_k_shards_is_an_error(size: int, autojump_clock: MockClock) -> None:
    async with fake_swarm() as swarm:
        manifest = await swarm.commit(await swarm.write(content(size)))
        for number in (0, 2, 5):
            swarm.kill(number)
        with pytest.raises(Unavailable) as caught:
            await swarm.read(manifest)
        assert caught.value.reason == "too_few_shards"
        assert swarm.client.budget.free_bytes == 32 << 20


@pytest.mark.parametrize("size", [3000, 3 * MIB])
async def test_a_read_waits_for_a_cell_that_is_coming_back(
    size: int, autojump_clock: MockClock
) -> None:
    """Another one was lost at the moment in which a restarted cell began to listen: until it is
    connected to, k-1 can be reached."""
    async with fake_swarm() as swarm:
        data = content(size)
        manifest = await swarm.commit(await swarm.write(data))
        swarm.kill(0)
        swarm.kill(2)
        assert await swarm.read(manifest) == data
        swarm.kill(5)

        async def come_back() -> None:
            await trio.sleep(limits.RECONNECT_MAX_S / 2)
            await swarm.nursery.start(swarm.cells[2].serve)

        swarm.nursery.start_soon(come_back)
        begun = trio.current_time()
        assert await swarm.read(manifest) == data
        assert trio.current_time() - begun < limits.READ_PATIENCE_S


async def test_a_read_that_lacks_cells_gives_up_in_time(autojump_clock: MockClock) -> None:
    async with fake_swarm() as swarm:
        manifest = await swarm.commit(await swarm.write(content(3000)))
        for number in (0, 2, 5):
            swarm.kill(number)
        begun = trio.current_time()
        with pytest.raises(Unavailable, match="too_few_shards"):
            await swarm.read(manifest)
        waited_s = trio.current_time() - begun
        assert limits.READ_PATIENCE_S <= waited_s < 2 * limits.READ_PATIENCE_S


def lie_consistently(reply: m.ShardUnits, data: bytes) -> tuple[m.ShardUnits, bytes]:
    wrong = bytes(len(data))
    units = [wrong[at : at + reply.unit_bytes] for at in range(0, len(data), reply.unit_bytes)]
    leaves = [leaf(unit) for unit in units]
    told = [reply.leaves[at : at + 32] for at in range(0, len(reply.leaves), 32)]
    told[: len(leaves)] = leaves
    return m.ShardUnits(reply.shard_bytes, reply.unit_bytes, b"".join(told)), wrong


LIES = [(3000, flip), (3000, shorten), (3 * MIB, flip), (3 * MIB, shorten)]
"""A shard of one unit travels without leaves."""


@pytest.mark.parametrize(
    ("size", "lie"), [*LIES, (3 * MIB, lie_about_leaves), (3 * MIB, lie_consistently)]
)
async def test_wrong_bytes_are_replaced_by_another_cells_and_reported(
    size: int, lie: Any, autojump_clock: MockClock
) -> None:
    async with fake_swarm() as swarm:
        data = content(size)
        written = await swarm.write(data)
        manifest = await swarm.commit(written)
        for number in (1, 2):
            swarm.cells[number].on_read = lie
        assert await swarm.read(manifest) == data
        await trio.sleep(1)
        assert {(shard.segment_id, shard.slot) for shard in swarm.coordinator.reported} == {
            (written.segments[0].segment_id, 1),
            (written.segments[0].segment_id, 2),
        }


async def test_three_liars_of_six_are_never_believed(autojump_clock: MockClock) -> None:
    async with fake_swarm() as swarm:
        manifest = await swarm.commit(await swarm.write(content(3 * MIB)))
        for number in (1, 2, 4):
            swarm.cells[number].on_read = flip
        with pytest.raises(Unavailable):
            await swarm.read(manifest)


async def test_a_missing_shard_is_reported_and_not_asked_again(
    autojump_clock: MockClock,
) -> None:
    async with fake_swarm() as swarm:
        data = content(8 * MIB)
        manifest = await swarm.commit(await swarm.write(data))
        swarm.cells[0].shards.clear()
        assert await swarm.read(manifest) == data
        await trio.sleep(1)
        assert [shard.reason for shard in swarm.coordinator.reported] == ["no_such_shard"]
        assert len([r for r in swarm.cells[0].requests if type(r) is m.ShardRead]) <= 3


async def test_a_slot_without_an_order_is_not_asked(autojump_clock: MockClock) -> None:
    async with fake_swarm() as swarm:
        swarm.cells[1].faults[m.ShardPut] = failing(Unavailable(Outage.NO_SPACE))
        data = content(3000)
        manifest = await swarm.commit(await swarm.write(data))
        assert await swarm.read(manifest) == data
        assert not [r for r in swarm.cells[1].requests if type(r) is m.ShardRead]


@pytest.mark.parametrize("size", [3000, 6 * MIB])
async def test_a_slow_cell_is_hedged(size: int, autojump_clock: MockClock) -> None:
    async with fake_swarm() as swarm:
        data = content(size)
        manifest = await swarm.commit(await swarm.write(data))
        assert await swarm.read(manifest) == data
        for number in (0, 3):
            swarm.cells[number].faults[m.ShardRead] = stalling(25)
        begun = trio.current_time()
        assert await swarm.read(manifest) == data
        assert trio.current_time() - begun < 0.4
        again = trio.current_time()
        assert await swarm.read(manifest) == data
        assert trio.current_time() - again < 0.1


async def test_a_late_cell_does_not_hide_a_later_failure(autojump_clock: MockClock) -> None:
    async with fake_swarm() as swarm:
        data = content(3000)
        manifest = await swarm.commit(await swarm.write(data))
        swarm.cells[0].faults[m.ShardRead] = stalling(25)

        async def fail_late(request: m.ShardRead) -> None:
            await trio.sleep(0.2)
            raise Unavailable(Outage.READ_ONLY)

        swarm.cells[1].faults[m.ShardRead] = fail_late
        begun = trio.current_time()
        assert await swarm.read(manifest) == data
        assert trio.current_time() - begun < 0.5


async def test_an_unreachable_cell_costs_less_than_a_connect_timeout(
    autojump_clock: MockClock,
) -> None:
    async with fake_swarm() as swarm:
        data = content(20 * MIB)
        manifest = await swarm.commit(await swarm.write(data))
        await trio.sleep(1)
        swarm.isolate(0)
        begun = trio.current_time()
        assert await swarm.read(manifest) == data
        assert trio.current_time() - begun < 2


async def test_bytes_that_were_sealed_otherwise_are_corrupt(autojump_clock: MockClock) -> None:
    async with fake_swarm() as swarm:
        written = await swarm.write(content(3000))
        manifest = await swarm.commit(written)
        other = await swarm.write(content(3000, 1))
        new, old = other.segments[0], written.segments[0]
        for cell in swarm.cells:
            for slot in range(6):
                shard = cell.shards.get((new.segment_id, slot))
                if shard is not None:
                    cell.shards[old.segment_id, slot] = shard
        swarm.coordinator.lie = lambda request, reply: replace(
            reply, places=(replace(reply.places[0], roots=new.roots),)
        )
        with pytest.raises(Corrupt) as caught:
            await swarm.read(manifest)
        assert caught.value.reason == "stripe_not_authentic"


async def test_a_page_that_the_manifest_does_not_bind_is_refused(
    autojump_clock: MockClock,
) -> None:
    async with fake_swarm() as swarm:
        written = await swarm.write(content(3000))
        manifest = await swarm.commit(written)
        extent = written.pages[0].extents[0]
        for wrong in (
            replace(extent, length=2999),
            replace(extent, offset=1),
            replace(extent, commitment=bytes(32)),
            replace(extent, segment_id=SegmentId(extent.segment_id[::-1])),
            replace(extent, number=1),
            replace(extent, number=limits.MAX_UINT),
        ):
            page = m.PlacedPage(0, 0, m.Page((wrong,)))
            swarm.coordinator.lie = lambda request, reply, page=page: replace(reply, pages=(page,))
            with pytest.raises(Corrupt) as caught:
                await swarm.read(manifest)
            assert caught.value.reason == "manifest_page_mismatch"


async def test_an_extent_of_an_unknown_key_is_refused(autojump_clock: MockClock) -> None:
    async with fake_swarm() as swarm:
        manifest = await swarm.commit(await swarm.write(content(3000)))
        stranger = Manifest(1, manifest.size, manifest.pages, (bytes(32),), b"")
        with pytest.raises(Corrupt) as caught:
            await swarm.read(stranger)
        assert caught.value.reason == "no_such_key"


async def test_expired_orders_are_replaced(autojump_clock: MockClock) -> None:
    async with fake_swarm() as swarm:
        data = content(6 * MIB)
        manifest = await swarm.commit(await swarm.write(data))

        def expire(place: m.SegmentPlace) -> m.SegmentPlace:
            cells = [swarm.cells[cell].identity.peer_id for cell in place.cells]
            orders = [
                reissue(order, swarm.identity.peer_id, cell, cell, expires=0)
                for order, cell in zip(place.orders, cells, strict=True)
            ]
            return replace(place, orders=tuple(orders))

        async def renewed(request: m.ObjectGet) -> None:
            swarm.coordinator.lie = None

        swarm.coordinator.lie = lambda request, reply: replace(
            reply, places=tuple(expire(place) for place in reply.places)
        )
        swarm.coordinator.faults[m.ObjectGet] = renewed
        assert await swarm.read(manifest) == data


async def test_a_read_goes_on_when_another_coordinator_takes_over(
    autojump_clock: MockClock,
) -> None:
    async with fake_swarm() as swarm:
        data = content(10 * MIB)
        manifest = await swarm.commit(await swarm.write(data))
        got = b""
        async with swarm.reading(manifest) as chunks:
            async for chunk in chunks:
                if not got:
                    swarm.change_coordinators()
                got += chunk
                await trio.sleep(0.01)
        assert got == data
        assert swarm.coordinator.count(m.ObjectGet) >= 1


async def test_a_slow_reader_gets_new_places_in_time(autojump_clock: MockClock) -> None:
    async with fake_swarm() as swarm:
        data = content(10 * MIB)
        manifest = await swarm.commit(await swarm.write(data))
        got = b""
        async with swarm.reading(manifest) as chunks:
            async for chunk in chunks:
                got += chunk
                await trio.sleep(120)
        assert got == data
        assert swarm.coordinator.count(m.ObjectGet) >= 1


async def test_a_version_that_is_gone_ends_the_read_with_its_reason(
    autojump_clock: MockClock,
) -> None:
    async with fake_swarm() as swarm:
        manifest = await swarm.commit(await swarm.write(content(10 * MIB)))
        swarm.coordinator.faults[m.ObjectGet] = failing(NotFound(Absence.NO_SUCH_VERSION))
        got = 0

        async def read_slowly() -> None:
            nonlocal got
            async with swarm.reading(manifest) as chunks:
                async for chunk in chunks:
                    got += len(chunk)
                    await trio.sleep(200)

        with pytest.raises(NotFound):
            await read_slowly()
        assert got >= MIB


async def test_a_reader_that_leaves_holds_nothing(autojump_clock: MockClock) -> None:
    async with fake_swarm() as swarm:
        manifest = await swarm.commit(await swarm.write(content(20 * MIB)))
        for wait_s in (*[0.0] * 12, 0.001, 0.01, 1.0):
            async with swarm.reading(manifest) as chunks:
                async for _ in chunks:
                    await trio.sleep(wait_s)
                    break
            await trio.sleep(1)
            assert swarm.client.budget.free_bytes == 32 << 20
            with trio.move_on_after(wait_s):
                await swarm.read(manifest)
            await trio.sleep(1)
            assert swarm.client.budget.free_bytes == 32 << 20


async def test_only_so_much_is_fetched_ahead_of_a_slow_reader(
    autojump_clock: MockClock,
) -> None:
    async with fake_swarm() as swarm:
        manifest = await swarm.commit(await swarm.write(content(30 * MIB)))
        async with swarm.reading(manifest) as chunks:
            async for _ in chunks:
                await trio.sleep(2)
                held = (32 << 20) - swarm.client.budget.free_bytes
                assert held <= READ_AHEAD_BYTES


async def test_what_follows_is_fetched_while_the_reader_is_busy(
    autojump_clock: MockClock,
) -> None:
    async with fake_swarm(latency_s=0.04) as swarm:
        manifest = await swarm.commit(await swarm.write(content(20 * MIB)))
        begun = trio.current_time()
        async with swarm.reading(manifest) as chunks:
            async for chunk in chunks:
                await trio.sleep(0.05 * len(chunk) / MIB)
        assert trio.current_time() - begun < 1.0 + 0.35


async def test_200_readers_and_writers_share_a_small_budget(autojump_clock: MockClock) -> None:
    async with fake_swarm(budget_bytes=16 << 20, latency_s=0.01) as swarm:
        data = content(2 * MIB)
        manifest = await swarm.commit(await swarm.write(data))
        done = 0

        async def reader() -> None:
            nonlocal done
            length = 0
            async with swarm.reading(manifest) as chunks:
                async for chunk in chunks:
                    length += len(chunk)
                    await trio.sleep(0.1)
            assert length == len(data)
            done += 1

        async def writer() -> None:
            nonlocal done
            await swarm.write(data[: MIB + 1])
            done += 1

        async with trio.open_nursery() as nursery:
            for _ in range(100):
                nursery.start_soon(reader)
                nursery.start_soon(writer)
        assert done == 200
        assert swarm.client.budget.free_bytes == 16 << 20


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_ranges_and_copies_of_ranges_give_the_bytes_they_name(data: st.DataObject) -> None:
    async def run() -> None:
        k = data.draw(st.integers(1, 5))
        n = k + data.draw(st.integers(0, 3))
        async with fake_swarm(k, n, n) as swarm:
            coordinator = swarm.coordinator
            coordinator.pages_per_reply = data.draw(st.integers(1, 3))
            coordinator.places_per_reply = data.draw(st.integers(1, 3))
            parts = data.draw(st.lists(st.integers(1, 3 * MIB), min_size=1, max_size=4))
            model, written = await write_parts(swarm, parts)
            extents = [e for each in written for page in each.pages for e in page.extents]
            pages = tuple(m.Page((extent,)) for extent in extents)
            keys = tuple(each.upload_key for each in written)
            segments = tuple(s for each in written for s in each.segments)
            everything = Written(len(model), pages, segments, keys[0])
            manifest = await swarm.commit(everything, keys=keys)
            for _ in range(3):
                first = data.draw(st.integers(0, len(model) - 1))
                last = data.draw(st.integers(first, len(model) - 1))
                assert await swarm.read(manifest, first, last) == model[first : last + 1]
            copied = await swarm.copy_pages(manifest, first, last)
            copy = await swarm.commit(Written(0, copied, (), keys[0]), copied, keys)
            assert await swarm.read(copy) == model[first : last + 1]

    trio.run(run, clock=MockClock(autojump_threshold=0))


async def write_parts(swarm: FakeSwarm, sizes: list[int]) -> tuple[bytes, list[Written]]:
    model = b""
    written = []
    for index, size in enumerate(sizes):
        part = content(size, index)
        written.append(await swarm.write(part))
        model += part
    return model, written


async def test_a_copy_of_many_extents_is_cut_into_pages(autojump_clock: MockClock) -> None:
    async with fake_swarm() as swarm:
        data = content(1000)
        shared = await swarm.write(data)
        segment = shared.pages[0].extents[0]
        extents = [replace(segment, offset=2 * at % 1000, length=1) for at in range(600)]
        manifest = await swarm.commit(shared, pages_of_extents(extents))
        swarm.coordinator.pages_per_reply = 1
        copied = await swarm.copy_pages(manifest, 5, 590)
        assert [len(page.extents) for page in copied] == [256, 256, 74]
        assert [e for page in copied for e in page.extents] == extents[5:591]
