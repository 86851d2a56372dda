"""A cell does what its owner allows, and its swarm goes on meanwhile.

Simulated time begins at 08:00 UTC.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from ring_rig import SECRET, N, RingCell, RingRig, Segment, root_of, segment_id
from trio.testing import MockClock

from cell.config import CellConfig
from cell.owner_rules import LONGEST_WAIT_S, NAME, OwnerRules
from cell.owner_rules_policy import DAY_S, TransitLedger
from common.crypto.orders import Order, OrderAction, cell_order_key, issue
from common.errors import Unavailable
from common.limits import KIB, MIB
from common.ports import Address
from common.state_files import read_whole, write_whole
from common.wire.messages.base import CellFacts
from common.wire.messages.cell import CellFactsGet, ShardPut, ShardRead
from sim.world import EPOCH_S, SimWorld

MINUTE_S = 60.0
SMALL, LARGE = 3000, 5 * MIB + 7


@asynccontextmanager
async def ring(cells: int = N, **config: Any) -> AsyncGenerator[RingRig]:
    rig = RingRig(cells, **config)
    async with trio.open_nursery() as nursery:
        await nursery.start(rig.run)
        yield rig
        assert not rig.swarm.faults
        nursery.cancel_scope.cancel()


async def restart(rig: RingRig, cell: RingCell, **config: Any) -> None:
    await rig.crash(cell)
    await rig.start(cell, **config)
    await trio.sleep(10)


async def call(rig: RingRig, cell: RingCell, request: Any, payload: Any = ()) -> Any:
    reply, data = await rig.pool.call(Address(cell.node.name, 7000), cell.cell_id, request, payload)
    return reply, bytes(data)


async def facts_of(rig: RingRig, cell: RingCell) -> CellFacts:
    reply, _ = await call(rig, cell, CellFactsGet())
    assert isinstance(reply, CellFacts)
    return reply


async def read(
    rig: RingRig,
    cell: RingCell,
    segment: Segment,
    slot: int,
    unit: int = 0,
    action: OrderAction = OrderAction.GET,
) -> bytes:
    order = rig.order(cell, segment.segment_id, slot, rig.writer.peer_id, action)
    _, data = await call(rig, cell, ShardRead(order, unit, 1, False))
    return data


# --- quiet hours --------------------------------------------------------------------------------


async def test_a_cell_in_quiet_hours_says_so_serves_readers_and_fills_nothing_until_they_end(
    autojump_clock: MockClock,
) -> None:
    async with ring() as rig:
        cell = rig.cells[1]
        await restart(rig, cell, quiet_hours="08:00-08:20")
        segment = await rig.write(1, SMALL, without=(1,))
        facts = await facts_of(rig, cell)
        assert (facts.read_only, facts.read_only_reason) == (True, "quiet_hours")
        assert rig.reported[1].read_only_reason == "quiet_hours"
        assert facts.free_bytes > 0
        await rig.put(cell, segment, 3, segment.shards[3])
        assert await read(rig, cell, segment, 3) == segment.shards[3]
        await trio.sleep(15 * MINUTE_S)
        assert rig.missing
        assert not any(each.passed for each in rig.asked)
        await rig.until(lambda: not rig.missing, within_s=10 * MINUTE_S)
        assert await cell.holds(segment, 1)
        facts = await facts_of(rig, cell)
        assert (facts.read_only, facts.read_only_reason) == (False, "")
        assert not rig.reported[1].read_only
        await trio.sleep(2 * MINUTE_S)
        assert rig.said(cell, "rests") == rig.said(cell, "rest_over") == 1


async def test_a_cell_in_quiet_hours_serves_no_rebuild(autojump_clock: MockClock) -> None:
    async with ring() as rig:
        cell = rig.cells[1]
        segment = await rig.write(1, SMALL)
        await restart(rig, cell, quiet_hours="08:00-08:20")
        with pytest.raises(Unavailable, match="quiet_hours"):
            await read(rig, cell, segment, 1, action=OrderAction.REBUILD)
        await trio.sleep(20 * MINUTE_S)
        assert await read(rig, cell, segment, 1, action=OrderAction.REBUILD) == segment.shards[1]


async def test_what_is_missing_is_filled_once_enough_cells_are_out_of_their_quiet_hours(
    autojump_clock: MockClock,
) -> None:
    async with ring() as rig:
        for cell in rig.cells[:4]:
            await restart(rig, cell, quiet_hours="08:00-08:20")
        segment = await rig.write(1, LARGE, without=(5,))
        await trio.sleep(15 * MINUTE_S)
        assert not await rig.cells[5].holds(segment, 5)
        await rig.until(lambda: not rig.missing, within_s=40 * MINUTE_S)
        assert await rig.cells[5].holds(segment, 5)


@pytest.mark.parametrize("size", [SMALL, LARGE])
async def test_a_shard_is_copied_after_the_quiet_hours_of_its_former_holder(
    size: int, autojump_clock: MockClock
) -> None:
    async with ring(N + 1) as rig:
        segment = await rig.write(1, size)
        await restart(rig, rig.cells[2], quiet_hours="08:00-08:10")
        rig.move(2, N)
        await trio.sleep(8 * MINUTE_S)
        assert rig.missing
        await rig.until(lambda: not rig.missing, within_s=40 * MINUTE_S)
        assert await rig.cells[N].holds(segment, 2)
        others = [await rig.metric(rig.cells[slot], "read_bytes_total") for slot in (0, 1, 3, 4, 5)]
        assert not any(others)


async def test_a_scrub_waits_for_the_end_of_quiet_hours(autojump_clock: MockClock) -> None:
    async with ring() as rig:
        segment = await rig.write(1, LARGE)
        for cell, hours in ((rig.cells[0], "08:00-08:20"), (rig.cells[1], "12:00-12:20")):
            await restart(rig, cell, quiet_hours=hours)
        await trio.sleep(15 * MINUTE_S)
        assert await rig.metric(rig.cells[0], "scrubbed_bytes_total") == 0
        assert await rig.metric(rig.cells[1], "scrubbed_bytes_total") == len(segment.shards[1])
        await trio.sleep(10 * MINUTE_S)
        assert await rig.metric(rig.cells[0], "scrubbed_bytes_total") == len(segment.shards[0])
        assert not rig.said(rig.cells[0], "scrub_failed")


# --- transit ------------------------------------------------------------------------------------


async def use(cell: RingCell, size: int) -> None:
    ledger = TransitLedger({int(EPOCH_S // DAY_S): size})
    await write_whole(cell.node.world.disk, NAME, ledger.pack())


async def test_a_cell_that_has_nearly_used_its_transit_serves_readers_and_nobody_else(
    autojump_clock: MockClock,
) -> None:
    async with ring() as rig:
        cell = rig.cells[1]
        segment = await rig.write(1, SMALL)
        await use(cell, 2000 * MIB)
        await restart(rig, cell, monthly_transit="2000MiB")
        other = await rig.write(2, SMALL, without=(1,))
        facts = await facts_of(rig, cell)
        assert (facts.read_only, facts.read_only_reason) == (True, "transit_used")
        assert rig.reported[1].read_only_reason == "transit_used"
        assert await read(rig, cell, segment, 1) == segment.shards[1]
        with pytest.raises(Unavailable, match="transit_used"):
            await read(rig, cell, segment, 1, action=OrderAction.REBUILD)
        await trio.sleep(10 * MINUTE_S)
        assert not await cell.holds(other, 1)
        assert rig.said(cell, "transit_exceeded") == 1
        cell.node.clock_offset_s = 31 * DAY_S
        await rig.until(lambda: not rig.missing)
        assert await cell.holds(other, 1)


async def test_a_cell_that_has_nearly_used_its_transit_looks_at_suspects(
    autojump_clock: MockClock,
) -> None:
    async with ring() as rig:
        cell = rig.cells[1]
        whole, bad = await rig.write(1, SMALL), await rig.write(2, SMALL)
        await use(cell, 1900 * MIB)
        await restart(rig, cell, monthly_transit="2000MiB")
        await rig.until(lambda: rig.reported[1].read_only_reason == "transit_used")
        entry = await cell.store.index.find((bad.segment_id, 1))
        path = f"volumes/{entry.volume:08d}.vol"
        cell.node.platter.rot(path, entry.data_offset + entry.shard_bytes - 1)
        rig.suspects |= {(whole.segment_id, 1), (bad.segment_id, 1)}
        await rig.until(lambda: not rig.suspects)
        assert rig.lost == [(bad.segment_id, 1)]
        await trio.sleep(10 * MINUTE_S)
        assert not await cell.holds(bad, 1)


async def test_what_readers_and_repair_move_is_counted_and_survives_a_crash(
    autojump_clock: MockClock,
) -> None:
    async with ring() as rig:
        cell = rig.cells[1]
        segment = await rig.write(1, SMALL)
        await rig.write(2, SMALL, without=(1,))
        await rig.until(lambda: not rig.missing)
        unit = len(segment.shards[1])
        for _ in range(3):
            await read(rig, cell, segment, 1)
        assert await rig.metric(cell, "transit_bytes") == 3 * unit + 4 * unit
        await trio.sleep(700)
        await restart(rig, cell)
        assert await rig.metric(cell, "transit_bytes") == 7 * unit
        cell.node.clock_offset_s = 31 * DAY_S
        assert await rig.metric(cell, "transit_bytes") == 0


async def test_a_damaged_ledger_is_reported_and_begun_again(autojump_clock: MockClock) -> None:
    async with ring() as rig:
        cell = rig.cells[1]
        await write_whole(cell.node.world.disk, NAME, b"{")
        await restart(rig, cell)
        assert rig.said(cell, "error: transit_unreadable") == 1
        assert await rig.metric(cell, "transit_bytes") == 0


async def test_a_ledger_is_written_rarely(autojump_clock: MockClock) -> None:
    world = SimWorld(1).node("cell").world
    rules = await OwnerRules.load(
        CellConfig("."), disk=world.disk, clock=world.clock, log=world.log
    )
    kept = []
    for _ in range(60):
        rules.moved(1)
        await rules.run()
        kept.append(await read_whole(world.disk, NAME))
        await trio.sleep(60)
    assert 4 <= len(set(kept)) <= 7


# --- bandwidth ----------------------------------------------------------------------------------


async def test_readers_share_the_bandwidth_up(autojump_clock: MockClock) -> None:
    async with ring() as rig:
        cell = rig.cells[1]
        segment = await rig.write(1, LARGE)
        unit = segment.geometry.unit_bytes
        await restart(rig, cell, bandwidth_up=128 * KIB)
        start = trio.current_time()
        pieces = int(8 * 128 * KIB / unit)
        async with trio.open_nursery() as nursery:
            for number in range(pieces):
                units = len(segment.shards[1]) // unit
                nursery.start_soon(read, rig, cell, segment, 1, number % units)
        took_s = trio.current_time() - start
        assert took_s >= (pieces - 1) * unit / (128 * KIB) - 1 - 0.1
        assert took_s <= LONGEST_WAIT_S + 1


async def test_readers_that_would_wait_for_long_are_sent_elsewhere(
    autojump_clock: MockClock,
) -> None:
    async with ring() as rig:
        cell = rig.cells[1]
        segment = await rig.write(1, LARGE)
        unit = segment.geometry.unit_bytes
        await restart(rig, cell, bandwidth_up=128 * KIB)
        outcomes: list[str] = []

        async def one() -> None:
            try:
                await read(rig, cell, segment, 1)
                outcomes.append("read")
            except Unavailable as error:
                outcomes.append(error.reason)

        start = trio.current_time()
        async with trio.open_nursery() as nursery:
            for _ in range(int(30 * 128 * KIB / unit)):
                nursery.start_soon(one)
        assert trio.current_time() - start <= LONGEST_WAIT_S + 1
        assert set(outcomes) == {"read", "too_busy"}
        assert outcomes.count("read") <= 12 * 128 * KIB / unit + 1


async def test_writers_share_the_bandwidth_down(autojump_clock: MockClock) -> None:
    async with ring() as rig:
        cell = rig.cells[1]
        await restart(rig, cell, bandwidth_down=1 * MIB)
        size, until = 512 * KIB, rig.order_time() + 900
        start = trio.current_time()

        async def put(number: int) -> None:
            data = bytes([number]) * size
            order = issue(
                cell_order_key(SECRET, cell.cell_id),
                Order(OrderAction.PUT, segment_id(number), 1, rig.writer.peer_id, size, until, 0),
            )
            await call(rig, cell, ShardPut(order, size, root_of(data, size)), [data])

        async with trio.open_nursery() as nursery:
            for number in range(1, 17):
                nursery.start_soon(put, number)
        assert trio.current_time() - start >= 15 * size / MIB - 1 - 0.1


async def test_filling_keeps_to_the_bandwidth_down(autojump_clock: MockClock) -> None:
    async with ring() as rig:
        cell = rig.cells[5]
        await restart(rig, cell, bandwidth_down=1 * MIB)
        start = trio.current_time()
        segment = await rig.write(1, 32 * MIB, without=(5,))
        await rig.until(lambda: not rig.missing)
        assert await cell.holds(segment, 5)
        assert trio.current_time() - start >= 25
