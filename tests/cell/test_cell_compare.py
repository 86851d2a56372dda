"""A cell compares what it holds with what it should hold, both ways."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import trio
from ring_rig import N, RingRig, Segment, make_segment
from trio.testing import MockClock

from cell.rounds.compare import SOON_INTERVALS
from common.crypto.positions import Position, issue
from common.errors import Unavailable
from common.limits import MIB
from common.reasons import Outage

SMALL, LARGE = 3000, 2 * MIB
OFTEN = {"compare_every_s": 60}


@asynccontextmanager
async def ring(cells: int = N, **config: Any) -> AsyncGenerator[RingRig]:
    rig = RingRig(cells, **config)
    async with trio.open_nursery() as nursery:
        await nursery.start(rig.run)
        yield rig
        assert not rig.swarm.faults
        nursery.cancel_scope.cancel()


def position(run: int, transaction: int) -> bytes:
    return issue(bytes(32), Position(run, bytes([run]) * 16, 1, transaction))


async def compared(rig: RingRig, number: int) -> None:
    """Wait for the end of the next comparison of a cell."""
    before = rig.said(rig.cells[number], "compared")
    await rig.until(lambda: rig.said(rig.cells[number], "compared") > before)


async def has(rig: RingRig, number: int, segment: Segment, slot: int) -> bool:
    key = (segment.segment_id, slot)
    return await rig.cells[number].store.index.find(key) is not None


async def test_a_shard_that_a_cell_forgot_is_found_and_filled(autojump_clock: MockClock) -> None:
    async with ring(**OFTEN) as rig:
        segments = [await rig.write(number, SMALL) for number in range(5)]
        await compared(rig, 3)
        assert not rig.lost
        await rig.cells[3].store.delete([(segments[2].segment_id, 3)])
        await rig.until(lambda: (segments[2].segment_id, 3) in rig.lost)
        await rig.until(lambda: not rig.missing)
        assert await rig.cells[3].holds(segments[2], 3)
        assert await rig.metric(rig.cells[3], "compare_lost_total") == 1
        assert len(rig.lost) == 1


async def test_a_lost_header_is_found_after_the_index_was_lost_too(
    autojump_clock: MockClock,
) -> None:
    async with ring() as rig:
        segment = await rig.write(1, LARGE)
        await rig.write(2, LARGE)
        key, cell = (segment.segment_id, 3), rig.cells[3]
        entry = await cell.store.index.find(key)
        await rig.crash(cell)
        cell.node.platter.rot(f"volumes/{entry.volume:08d}.vol", entry.offset + 40)
        cell.node.databases.clear()
        await rig.start(cell)
        assert not await has(rig, 3, segment, 3)
        await rig.until(lambda: key in rig.lost)
        await rig.until(lambda: not rig.missing)
        assert await cell.holds(segment, 3)


async def test_a_bad_shard_of_which_nobody_knows_any_more_is_reported_again(
    autojump_clock: MockClock,
) -> None:
    async with ring(**OFTEN) as rig:
        segment = await rig.write(1, SMALL)
        key, store = (segment.segment_id, 3), rig.cells[3].store
        plain = rig._lost

        async def forgetting(number: int, caller: Any, request: Any) -> Any:
            reply = await plain(number, caller, request)
            if rig.lost == [key]:
                rig.missing.clear()  # a coordinator's store that went back
            return reply

        rig.intercept["ShardsLost"] = forgetting
        store.index.mark_bad(key, await store.index.find(key))
        await rig.until(lambda: rig.lost == [key, key])
        await rig.until(lambda: not rig.missing)
        assert await rig.cells[3].holds(segment, 3)


async def test_settled_garbage_is_deleted(autojump_clock: MockClock) -> None:
    async with ring(**OFTEN) as rig:
        kept, deleted = await rig.write(1, SMALL), await rig.write(2, SMALL)
        await compared(rig, 3)
        rig.delete(deleted)
        await compared(rig, 3)
        await compared(rig, 3)
        assert not await has(rig, 3, deleted, 3)
        assert await rig.cells[3].holds(kept, 3)
        assert await rig.metric(rig.cells[3], "compare_garbage_total") == 1


async def test_what_is_pending_stays(autojump_clock: MockClock) -> None:
    async with ring(**OFTEN) as rig:
        segment = make_segment(9, SMALL)
        await rig.put(rig.cells[3], segment, 3, segment.shards[3])
        await compared(rig, 3)
        await compared(rig, 3)
        assert (segment.segment_id, 3) in rig.settled
        assert await rig.cells[3].holds(segment, 3)


async def test_a_former_holder_keeps_its_shards_until_they_are_filled(
    autojump_clock: MockClock,
) -> None:
    async with ring(N + 1, **OFTEN) as rig:
        segment = await rig.write(1, SMALL)
        rig.cells[N].node.platter.faults.refuses = "no_space"
        rig.move(3, N)
        await compared(rig, 3)
        await compared(rig, 3)
        assert await rig.cells[3].holds(segment, 3)
        rig.cells[N].node.platter.faults.refuses = ""
        await rig.until(lambda: not rig.missing, within_s=4000)
        await compared(rig, 3)
        await compared(rig, 3)
        assert not await has(rig, 3, segment, 3)
        assert await rig.cells[N].holds(segment, 3)


async def test_an_older_store_deletes_nothing(autojump_clock: MockClock) -> None:
    async with ring(**OFTEN) as rig:
        segment = await rig.write(1, SMALL)
        rig.history = {"run_id": bytes([1]) * 16, "position": position(1, 100)}
        await trio.sleep(10)
        # A store that was restored from a copy: it ends before what the cell has seen.
        rig.history = {"run_id": bytes([2]) * 16}
        rig.last_transaction = 50
        await trio.sleep(10)
        rig.delete(segment)
        await compared(rig, 3)
        await compared(rig, 3)
        assert any("spared=1" in each for each in rig.facts(rig.cells[3], "compared"))
        assert await rig.cells[3].holds(segment, 3)


async def test_garbage_that_was_spared_goes_once_the_store_is_trusted(
    autojump_clock: MockClock,
) -> None:
    async with ring(compare_every_s=3600) as rig:
        segment = await rig.write(1, SMALL)
        rig.interval_s = 30
        rig.history = {"run_id": bytes([1]) * 16, "position": position(1, 100)}
        await compared(rig, 3)
        await trio.sleep(60)
        rig.history = {"run_id": bytes([2]) * 16}
        rig.last_transaction = 50
        rig.delete(segment)
        await rig.until(
            lambda: any("spared=1" in each for each in rig.facts(rig.cells[3], "compared")),
            within_s=4200,
        )
        rig.last_transaction = 100
        await rig.until(lambda: rig.said(rig.cells[3], "garbage_deleted"), within_s=700)
        assert not await has(rig, 3, segment, 3)


async def test_a_long_silence_brings_a_comparison(autojump_clock: MockClock) -> None:
    async with ring() as rig:
        rig.interval_s = 60
        soon_s = rig.interval_s * (1 + SOON_INTERVALS[1] + 2)  # a heartbeat, the wait, two pages
        segment = await rig.write(1, SMALL)
        await compared(rig, 3)
        rig.is_silent = True
        await trio.sleep(200)
        rig.is_silent = False
        await trio.sleep(soon_s)
        assert rig.said(rig.cells[3], "compared") == 1, "not so long"
        rig.is_silent = True
        await rig.cells[3].store.delete([(segment.segment_id, 3)])
        await trio.sleep(320)
        rig.is_silent = False
        await rig.until(lambda: (segment.segment_id, 3) in rig.lost, within_s=soon_s)
        await rig.until(lambda: not rig.missing, within_s=120)


async def test_a_comparison_goes_on_where_it_was_interrupted(autojump_clock: MockClock) -> None:
    async with ring() as rig:
        segments = [await rig.write(number, SMALL) for number in range(6)]
        rig.page = 2
        asked: list[tuple[int, int]] = []
        plain = rig._expected

        async def failing(number: int, caller: Any, request: Any) -> Any:
            if number == 3:
                asked.append((request.ring, int.from_bytes(request.after, "big")))
                if len(asked) == 2:
                    raise Unavailable(Outage.STORE_BUSY)
            return await plain(number, caller, request)

        rig.intercept["ExpectedGet"] = failing
        await rig.cells[3].store.delete([(segments[5].segment_id, 3)])
        await rig.until(lambda: rig.lost)
        assert asked == [(0, 0), (1, 1), (1, 1), (1, 3)]


async def test_a_coordinator_whose_pages_do_not_go_on_is_not_believed(
    autojump_clock: MockClock,
) -> None:
    async with ring() as rig:
        for number in range(3):
            await rig.write(number, SMALL)
        rig.page = 1
        plain = rig._expected

        async def circling(number: int, caller: Any, request: Any) -> Any:
            reply = await plain(number, caller, request)
            return replace(reply, next_ring=1, next_segment=bytes(16))

        rig.intercept["ExpectedGet"] = circling
        await rig.until(lambda: rig.said(rig.cells[3], "compare_failed"))
        assert not rig.said(rig.cells[3], "compared")
