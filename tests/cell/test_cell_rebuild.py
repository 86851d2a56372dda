"""A cell fills the slots that miss their shards, from whole cells over a simulated network."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from ring_rig import N, RingRig, make_segment
from trio.testing import MockClock

from common.crypto.orders import OrderAction
from common.errors import Refused
from common.limits import MIB
from common.ports import Address
from common.wire.messages.cell import ShardRead

SMALL, LARGE = 3000, 5 * MIB + 7
SIZES = [SMALL, LARGE]
"""One unit in each shard, and several runs of units of which the last is shorter."""


@asynccontextmanager
async def ring(cells: int = N, **config: Any) -> AsyncGenerator[RingRig]:
    rig = RingRig(cells, **config)
    async with trio.open_nursery() as nursery:
        await nursery.start(rig.run)
        yield rig
        assert not rig.swarm.faults
        nursery.cancel_scope.cancel()


def nothing_missing(rig: RingRig) -> Callable[[], bool]:
    return lambda: not rig.missing


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("slots", [(0,), (5,), (1, 4)])
async def test_missing_shards_are_computed_from_k_others(
    size: int, slots: tuple[int, ...], autojump_clock: MockClock
) -> None:
    async with ring() as rig:
        segment = await rig.write(1, size, without=slots)
        await rig.until(nothing_missing(rig))
        for slot in slots:
            assert await rig.cells[slot].holds(segment, slot)
            assert await rig.metric(rig.cells[slot], "filled_bytes_total") == len(
                segment.shards[slot]
            )
        # Settled at once, and not asked about again by the settle round.
        await trio.sleep(200)
        settled = [key for key in rig.settled if key == (segment.segment_id, slots[0])]
        assert len(settled) <= 2  # by the rebuild, and by the comparison after the start


async def test_no_sync_waits_for_a_shard_that_is_rebuilt(autojump_clock: MockClock) -> None:
    async with ring() as rig:
        segment = await rig.write(1, 8 * MIB, without=(0,))
        await rig.until(nothing_missing(rig))
        assert len(segment.shards[0]) > 2 * MIB
        assert rig.cells[0].node.platter.most_waited_bytes < MIB


@pytest.mark.parametrize("size", SIZES)
async def test_a_shard_is_copied_from_the_former_holder(
    size: int, autojump_clock: MockClock
) -> None:
    async with ring(N + 1) as rig:
        segments = [await rig.write(number, size) for number in range(3)]
        rig.move(2, N)
        await rig.until(nothing_missing(rig))
        target = rig.cells[N]
        for segment in segments:
            assert await target.holds(segment, 2)
        # Bytes came from one cell only: k times as many would have been read to compute them.
        others = [await rig.metric(rig.cells[slot], "read_bytes_total") for slot in (0, 1, 3, 4, 5)]
        assert not any(others)


async def test_copying_ends_in_computing_where_the_former_holder_dies(
    autojump_clock: MockClock,
) -> None:
    async with ring(N + 1) as rig:
        segment = await rig.write(1, LARGE)
        rig.cells[2].node.crash(power=False)
        rig.move(2, N)
        await rig.until(nothing_missing(rig))
        assert await rig.cells[N].holds(segment, 2)
        assert rig.said(rig.cells[N], "shard_not_copied")


@pytest.mark.parametrize("size", SIZES)
async def test_a_lying_former_holder_is_not_believed(size: int, autojump_clock: MockClock) -> None:
    async with ring(N + 1) as rig:
        segment = await rig.write(1, size)
        rig.cells[2].node.lies = 1.0
        rig.move(2, N)
        await rig.until(nothing_missing(rig))
        assert await rig.cells[N].holds(segment, 2)


@pytest.mark.parametrize("size", SIZES)
async def test_a_liar_among_the_k_is_replaced_by_another(
    size: int, autojump_clock: MockClock
) -> None:
    async with ring() as rig:
        segment = await rig.write(1, size, without=(5,))
        rig.cells[0].node.lies = 1.0
        await rig.until(nothing_missing(rig))
        assert await rig.cells[5].holds(segment, 5)


async def test_too_few_shards_are_passed_over_and_tried_again(autojump_clock: MockClock) -> None:
    async with ring() as rig:
        dead = await rig.write(1, SMALL, without=(0, 1))
        alive = [await rig.write(number, SMALL) for number in range(2, 40)]
        await rig.crash(rig.cells[2])
        for segment in alive:  # still k of them without slot 0 and cell 2
            rig.missing[segment.segment_id, 0] = True
            await rig.cells[0].store.delete([(segment.segment_id, 0)])
        await rig.until(lambda: len(rig.missing) == 2)
        assert {segment for segment, _ in rig.missing} == {dead.segment_id}
        assert rig.said(rig.cells[0], "shard_not_filled")
        assert not await rig.cells[0].holds(dead, 0)
        await rig.start(rig.cells[2])
        await rig.until(nothing_missing(rig), within_s=4000)
        assert await rig.cells[0].holds(dead, 0)
        assert await rig.cells[1].holds(dead, 1)


async def test_what_cannot_be_filled_is_asked_about_ever_more_seldom(
    autojump_clock: MockClock,
) -> None:
    async with ring() as rig:
        rig.interval_s = 60
        await rig.write(1, SMALL, without=(0, 1, 2))
        await trio.sleep(600)
        first = len(rig.asked)
        await trio.sleep(900)
        assert 2 <= (len(rig.asked) - first) / 3 <= 25
        assert 2 <= rig.said(rig.cells[0], "shard_not_filled") <= 8


@pytest.mark.parametrize("size", SIZES)
async def test_a_cell_that_dies_between_storing_and_settling_settles_in_its_next_life(
    size: int, autojump_clock: MockClock
) -> None:
    async with ring() as rig:

        async def die(number: int, request: Any) -> None:
            rig.settle_fault = None
            rig.cells[number].node.crash(power=True)
            await trio.sleep_forever()

        rig.settle_fault = die
        segment = await rig.write(1, size, without=(3,))
        died = rig.cells[3].node.died
        await died.wait()
        await trio.sleep(1)
        assert rig.missing
        read_before = [await rig.metric(rig.cells[slot], "read_bytes_total") for slot in range(3)]
        await rig.start(rig.cells[3])
        await rig.until(nothing_missing(rig))
        assert await rig.cells[3].holds(segment, 3)
        read = [await rig.metric(rig.cells[slot], "read_bytes_total") for slot in range(3)]
        assert read == read_before, "it was there already"


async def test_a_segment_deleted_while_its_shard_is_filled_leaves_nothing(
    autojump_clock: MockClock,
) -> None:
    async with ring() as rig:
        segment = await rig.write(1, SMALL, without=(3,))

        async def delete(number: int, request: Any) -> None:
            rig.settle_fault = None
            rig.delete(segment)

        rig.settle_fault = delete
        await rig.until(lambda: rig.settle_fault is None)
        await trio.sleep(1)
        assert await rig.cells[3].store.index.find((segment.segment_id, 3)) is None


async def test_without_room_nothing_is_fetched_and_others_have_their_turn(
    autojump_clock: MockClock,
) -> None:
    async with ring() as rig:
        large = await rig.write(1, LARGE, without=(3,))
        small = await rig.write(2, SMALL, without=(3,))
        platter = rig.cells[3].node.platter
        before = platter.capacity_bytes
        platter.capacity_bytes = platter.used_bytes() + 256 * 1024
        await rig.cells[3].store.space.refresh()
        await rig.until(lambda: len(rig.missing) == 1)
        assert (large.segment_id, 3) in rig.missing
        assert await rig.cells[3].holds(small, 3)
        assert any("no_space" in each for each in rig.facts(rig.cells[3], "shard_not_filled"))
        platter.capacity_bytes = before
        await rig.until(nothing_missing(rig), within_s=4000)
        assert await rig.cells[3].holds(large, 3)


async def test_a_cell_that_cannot_write_asks_for_nothing(autojump_clock: MockClock) -> None:
    async with ring() as rig:
        platter = rig.cells[3].node.platter
        platter.faults.refuses = "write_error"
        segments = [await rig.write(number, SMALL, without=(3,)) for number in range(3)]
        await rig.until(lambda: rig.cells[3].store.writer.read_only_reason)
        await trio.sleep(10)
        asked = len(rig.asked)
        await trio.sleep(30)
        assert len(rig.asked) == asked
        platter.faults.refuses = ""
        await rig.until(nothing_missing(rig), within_s=1000)
        assert await rig.cells[3].holds(segments[0], 3)


async def test_another_shard_under_the_name_gives_way_to_the_committed_one(
    autojump_clock: MockClock,
) -> None:
    async with ring(**{"compare_every_s": 86400, "settle_after_s": 86400}) as rig:
        segment = await rig.write(1, SMALL, without=(3,))
        other = make_segment(77, SMALL)
        other.segment_id = segment.segment_id
        await rig.put(rig.cells[3], other, 3, other.shards[3])
        await rig.until(nothing_missing(rig), within_s=1000)
        assert await rig.cells[3].holds(segment, 3)


async def test_more_missing_than_are_named_at_a_time_are_all_filled(
    autojump_clock: MockClock,
) -> None:
    async with ring() as rig:
        segments = [await rig.write(number, SMALL, without=(1,)) for number in range(150)]
        await rig.until(nothing_missing(rig), within_s=60)
        assert all([await rig.cells[1].holds(segment, 1) for segment in segments])
        assert await rig.metric(rig.cells[1], "waiting_to_fill") == 0
        # Settled together where they came together.
        settles = len([key for key in rig.settled if key[1] == 1])
        assert settles < 2 * len(segments) + 10


async def test_a_shard_that_rots_while_it_is_asked_about_is_reported_after_the_answer(
    autojump_clock: MockClock,
) -> None:
    async with ring() as rig:

        async def rot(number: int, request: Any) -> None:
            if number != 3:
                return
            rig.settle_fault = None
            index, key = rig.cells[3].store.index, (segment.segment_id, 3)
            index.mark_bad(key, await index.find(key))
            await rig.until(lambda: key in rig.lost)
            rig.lost.clear()  # and this answer strikes the row that the report has made
            answered.set()

        answered = trio.Event()
        await rig.until(lambda: rig.said(rig.cells[3], "compared"))
        segment = await rig.write(1, SMALL, without=(3,))
        rig.settle_fault = rot
        await answered.wait()
        await rig.until(lambda: (segment.segment_id, 3) in rig.lost, within_s=60)
        await rig.until(nothing_missing(rig))
        assert await rig.cells[3].holds(segment, 3)


# --- suspects -----------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
async def test_a_suspect_that_is_whole_is_said_to_be(size: int, autojump_clock: MockClock) -> None:
    async with ring() as rig:
        segment = await rig.write(1, size)
        rig.suspects.add((segment.segment_id, 3))
        await rig.until(lambda: not rig.suspects)
        assert not rig.lost
        assert await rig.cells[3].holds(segment, 3)


@pytest.mark.parametrize("size", SIZES)
async def test_a_suspect_that_is_bad_is_reported_and_filled_again(
    size: int, autojump_clock: MockClock
) -> None:
    async with ring() as rig:
        segment = await rig.write(1, size)
        key = (segment.segment_id, 3)
        entry = await rig.cells[3].store.index.find(key)
        path = f"volumes/{entry.volume:08d}.vol"
        rig.cells[3].node.platter.rot(path, entry.data_offset + entry.shard_bytes - 1)
        rig.suspects.add(key)
        await rig.until(lambda: key in rig.lost)
        await rig.until(nothing_missing(rig))
        assert await rig.cells[3].holds(segment, 3)
        assert not rig.suspects


async def test_a_suspect_that_is_not_here_is_reported_as_lost(autojump_clock: MockClock) -> None:
    async with ring() as rig:
        segment = await rig.write(1, SMALL)
        key = (segment.segment_id, 3)
        await rig.cells[3].store.delete([key])
        rig.suspects.add(key)
        await rig.until(lambda: key in rig.lost)
        await rig.until(nothing_missing(rig))
        assert await rig.cells[3].holds(segment, 3)


async def test_a_suspect_that_is_another_shard_is_not_called_whole(
    autojump_clock: MockClock,
) -> None:
    async with ring() as rig:
        segment = await rig.write(1, SMALL)
        key = (segment.segment_id, 3)
        await rig.cells[3].store.delete([key])
        other = make_segment(77, SMALL)
        other.segment_id = segment.segment_id
        await rig.put(rig.cells[3], other, 3, other.shards[3])
        rig.suspects.add(key)
        await rig.until(lambda: rig.said(rig.cells[3], "garbage_deleted"))
        await rig.until(nothing_missing(rig), within_s=1000)
        assert await rig.cells[3].holds(segment, 3)


# --- budget -------------------------------------------------------------------------------------


async def busy(rig: RingRig, number: int, key: Any) -> None:
    """Read a shard of a cell again and again, as readers do."""
    cell = rig.cells[number]
    while True:
        order = rig.order(cell, *key, rig.writer.peer_id, OrderAction.GET)
        await rig.pool.call(
            Address(cell.node.name, 7000), cell.cell_id, ShardRead(order, 0, 1, False)
        )
        await trio.sleep(0.2)


@pytest.mark.parametrize(("is_busy", "least_s", "most_s"), [(False, 25, 45), (True, 200, 320)])
async def test_filling_keeps_to_the_bandwidth_and_gives_way_to_readers(
    is_busy: bool, least_s: float, most_s: float, autojump_clock: MockClock
) -> None:
    async with ring(bandwidth=250_000) as rig:
        first = await rig.write(1, SMALL)
        if is_busy:
            rig.nursery.start_soon(busy, rig, 3, (first.segment_id, 3))
        begun = trio.current_time()
        for number in range(2, 7):  # 5 shards of 1.5 MiB
            await rig.write(number, 6 * MIB, without=(3,))
        await rig.until(nothing_missing(rig))
        assert least_s < trio.current_time() - begun < most_s


async def test_a_shard_without_a_spare_is_filled_at_full_speed(autojump_clock: MockClock) -> None:
    async with ring(bandwidth=250_000) as rig:
        first = await rig.write(1, SMALL)
        rig.nursery.start_soon(busy, rig, 3, (first.segment_id, 3))
        rig.action = OrderAction.GET  # the holders have the bandwidth of this test, too
        begun = trio.current_time()
        for number in range(2, 7):
            await rig.write(number, 6 * MIB, without=(3, 4))
        rig.cells[4].node.platter.faults.refuses = "no_space"
        await rig.until(lambda: not any(slot == 3 for _, slot in rig.missing))
        assert any(slot == 4 for _, slot in rig.missing)
        assert trio.current_time() - begun < 45


async def test_reads_for_a_rebuild_wait_for_their_turn_and_those_of_readers_do_not(
    autojump_clock: MockClock,
) -> None:
    async with ring(bandwidth=100_000) as rig:
        segment = await rig.write(1, LARGE)
        cell, key = rig.cells[3], (segment.segment_id, 3)
        seconds = {}
        for action in (OrderAction.REBUILD, OrderAction.GET, OrderAction.PUT):
            order = rig.order(cell, *key, rig.writer.peer_id, action)
            begun = trio.current_time()
            for first in range(3):
                request = ShardRead(order, first, 1, False)
                if action is OrderAction.PUT:
                    with pytest.raises(Refused, match="order_wrong_action"):
                        await rig.pool.call(Address(cell.node.name, 7000), cell.cell_id, request)
                    continue
                _, data = await rig.pool.call(Address(cell.node.name, 7000), cell.cell_id, request)
                unit = segment.geometry.unit_bytes
                assert bytes(data) == segment.shards[3][first * unit : (first + 1) * unit]
            seconds[action] = trio.current_time() - begun
        unit_s = segment.geometry.unit_bytes / 100_000
        assert 2 * unit_s <= seconds[OrderAction.REBUILD] < 3 * unit_s
        assert seconds[OrderAction.GET] < 1


async def test_busy_holders_delay_a_rebuild_and_do_not_end_it(autojump_clock: MockClock) -> None:
    async with ring(bandwidth=200_000) as rig:
        segments = [await rig.write(number, 4 * MIB, without=(3, 5)) for number in range(4)]
        await rig.until(nothing_missing(rig), within_s=3000)
        for segment in segments:
            assert await rig.cells[3].holds(segment, 3)
            assert await rig.cells[5].holds(segment, 5)
