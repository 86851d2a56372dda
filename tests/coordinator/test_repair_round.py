"""Slots move away from cells that are lost or drained, and back to those that return."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import pytest
import trio
from coordinator_rig import FakeCell, Rig, facts, running

from common.ids import SegmentId
from common.wire import messages as m
from common.wire.messages.membership import COMMITTED, GARBAGE
from coordinator.handlers.repair import LISTED, LISTED_OF_CELL
from coordinator.policy.moves import plan_moves
from coordinator.service import serve


def root_of(segment: m.NewSegment, slot: int) -> bytes:
    return segment.roots[32 * slot : 32 * (slot + 1)]


LOST_AFTER_S = 60
MOVED_S = LOST_AFTER_S + 20
"""After so long a silent cell is lost, and its slots have moved."""


@asynccontextmanager
async def swarm_of(cells: int, **config: Any):
    async with running(cells=cells, lost_after_s=LOST_AFTER_S, **config) as rig:
        yield rig


def cell_number(rig: Rig, cell: FakeCell) -> int:
    number: int = rig.one("SELECT cell FROM cells WHERE cell_id = ?", cell.identity.peer_id)
    return number


def slots_of(rig: Rig, cell: FakeCell) -> int:
    count: int = rig.one("SELECT count(*) FROM ring_slots WHERE cell = ?", cell_number(rig, cell))
    return count


def missing(rig: Rig) -> list[tuple[SegmentId, int]]:
    return rig.sql("SELECT segment_id, slot FROM missing_shards ORDER BY segment_id, slot")


async def fill(rig: Rig, segments: dict[SegmentId, m.NewSegment]) -> int:
    """Have every cell say that it has the shards that it misses, as if it had rebuilt them."""
    filled = 0
    for cell in rig.cells:
        if not cell.beating:
            continue
        while True:
            reply: m.MissingShards = await cell.call(m.MissingGet(32))
            for each in reply.shards:
                segment = segments[each.place.segment_id]
                root = root_of(segment, each.slot)
                verdicts = await cell.settle((segment.segment_id, each.slot, root))
                assert verdicts == [COMMITTED]
                filled += 1
            if not reply.shards:
                break
    return filled


async def put_some(rig: Rig, count: int = 12) -> tuple[Any, dict[SegmentId, m.NewSegment]]:
    gateway = await rig.add_gateway()
    await gateway.make_bucket()
    segments = {}
    for number in range(count):
        request, _ = await gateway.put(b"name-%d" % number)
        segments[request.segments[0].segment_id] = request.segments[0]
    return gateway, segments


async def test_a_lost_cells_slots_move_and_are_filled(autojump_clock: object) -> None:
    async with swarm_of(9) as rig:
        _, segments = await put_some(rig)
        lost = rig.cells[0]
        held = slots_of(rig, lost)
        assert held
        lost.beating = False
        await trio.sleep(MOVED_S)
        assert slots_of(rig, lost) == 0
        sources = rig.sql("SELECT DISTINCT reason FROM sources")
        assert sources in ([("lost",)], [])
        waiting = len(missing(rig))
        assert await fill(rig, segments) == waiting
        await trio.sleep(10)
        assert missing(rig) == []
        assert rig.sql("SELECT * FROM sources") == []


async def test_a_cell_that_is_back_in_time_moves_nothing(autojump_clock: object) -> None:
    async with swarm_of(9) as rig:
        await put_some(rig)
        for _ in range(5):
            rig.cells[0].beating = False
            await trio.sleep(LOST_AFTER_S - 10)
            rig.cells[0].beating = True
            await trio.sleep(20)
        assert rig.one("SELECT sum(revision) FROM rings") == 0
        assert missing(rig) == []


async def test_a_cell_that_comes_back_gets_its_slots_back(autojump_clock: object) -> None:
    async with swarm_of(9) as rig:
        _, segments = await put_some(rig)
        cell = rig.cells[0]
        number = cell_number(rig, cell)
        with_data = (
            "SELECT ring, slot FROM ring_slots WHERE cell = ? AND ring IN"
            " (SELECT ring FROM segments) ORDER BY ring"
        )
        held = rig.sql(with_data, number)
        assert held
        cell.beating = False
        await trio.sleep(MOVED_S)
        assert rig.sql(with_data, number) == []
        cell.beating = True
        await trio.sleep(20)
        assert rig.sql(with_data, number) == held
        # Nothing was filled meanwhile, and what it held is there.
        assert missing(rig) == []
        assert not await fill(rig, segments)


async def test_a_lost_cell_that_is_removed_is_waited_for_no_more(autojump_clock: object) -> None:
    async with swarm_of(9) as rig:
        _, segments = await put_some(rig)
        cell = rig.cells[0]
        cell.beating = False
        await trio.sleep(MOVED_S)
        assert rig.one("SELECT count(*) FROM sources") > 0
        await rig.operate("POST", f"/v1/cells/{cell.identity.peer_id.hex()}/remove", {})
        assert rig.sql("SELECT * FROM sources") == []
        assert rig.one("SELECT count(*) FROM missing_shards WHERE source_lacks = 0") == 0
        assert await fill(rig, segments) > 0
        await trio.sleep(10)
        assert missing(rig) == []
        assert rig.sql("SELECT * FROM deletes") == []


async def test_a_drained_cell_is_copied_from_and_ends_up_empty(autojump_clock: object) -> None:
    async with swarm_of(9) as rig:
        gateway, segments = await put_some(rig)
        cell = rig.cells[0]
        name = cell.identity.peer_id
        mine = [
            (SegmentId(segment), slot)
            for segment, slot in rig.sql(
                "SELECT s.segment_id, r.slot FROM segments s JOIN ring_slots r ON r.ring = s.ring"
                " WHERE r.cell = ?",
                cell_number(rig, cell),
            )
        ]
        assert mine
        await rig.operate("POST", f"/v1/cells/{name.hex()}/drain")
        await trio.sleep(20)
        assert slots_of(rig, cell) == 0
        segment, slot = mine[0]
        assert await cell.settle((segment, slot, root_of(segments[segment], slot))) == [COMMITTED]
        # Readers are sent to the cell that leaves, as long as nobody else has the shard.
        for number in range(len(segments)):
            record = await gateway.get(b"name-%d" % number)
            assert all(record.places[0].orders)
        await fill(rig, segments)
        await trio.sleep(10)
        assert await cell.settle((segment, slot, root_of(segments[segment], slot))) == [GARBAGE]
        assert rig.sql("SELECT * FROM sources") == []


async def test_a_cell_that_is_drained_amid_a_move_to_it_fills_the_slot_and_hands_it_on(
    autojump_clock: object,
) -> None:
    async with swarm_of(9) as rig:
        _, segments = await put_some(rig)
        first = rig.cells[0]
        await rig.operate("POST", f"/v1/cells/{first.identity.peer_id.hex()}/drain")
        await trio.sleep(20)
        second = next(
            cell
            for cell in rig.cells
            if rig.one(
                "SELECT count(*) FROM sources q JOIN ring_slots r USING (ring, slot)"
                " JOIN missing_shards m USING (ring, slot) WHERE r.cell = ?",
                cell_number(rig, cell),
            )
        )
        await rig.operate("POST", f"/v1/cells/{second.identity.peer_id.hex()}/drain")
        await trio.sleep(20)
        assert slots_of(rig, second) > 0
        await fill(rig, segments)
        await trio.sleep(20)
        await fill(rig, segments)
        await trio.sleep(20)
        assert (slots_of(rig, first), slots_of(rig, second)) == (0, 0)
        assert missing(rig) == []
        assert rig.sql("SELECT * FROM sources") == []


async def test_a_coordinator_that_dies_amid_it_goes_on(autojump_clock: object) -> None:
    async with swarm_of(9) as rig:
        _, segments = await put_some(rig)
        rig.cells[0].beating = False
        await trio.sleep(LOST_AFTER_S + 1)
        for _ in range(4):
            for cell in rig.cells[1:]:
                cell.beating = False
            await trio.sleep(1)
            await rig.restart()
            for cell in rig.cells[1:]:
                cell.beating = True
            await trio.sleep(4)
        await trio.sleep(MOVED_S + 30)
        assert slots_of(rig, rig.cells[0]) == 0
        await fill(rig, segments)
        await trio.sleep(10)
        assert missing(rig) == []


async def test_slots_that_have_nowhere_to_go_stay(autojump_clock: object) -> None:
    async with swarm_of(6) as rig:
        await put_some(rig)
        rig.cells[0].beating = False
        await trio.sleep(MOVED_S)
        assert slots_of(rig, rig.cells[0]) > 0
        new = await rig.add_cell()
        rig.nursery.start_soon(new.keep_beating)
        await trio.sleep(20)
        assert slots_of(rig, rig.cells[0]) == 0


async def test_what_a_cell_misses_is_told_with_its_heartbeat(autojump_clock: object) -> None:
    async with swarm_of(9) as rig:
        gateway = await rig.add_gateway()
        await gateway.make_bucket()
        segment = await gateway.segment(durable=0b011111)
        await gateway.call(gateway.commit_of(b"name", [segment]))
        holder = rig.holders(segment.segment_id)[5]
        assert (await holder.beat()).has_missing
        others = [cell for cell in rig.cells if cell is not holder]
        assert not any([(await cell.beat()).has_missing for cell in others])
        reply: m.MissingShards = await holder.call(m.MissingGet(32))
        (named,) = reply.shards
        assert (named.place.segment_id, named.slot) == (segment.segment_id, 5)
        assert [bool(order) for order in named.place.orders] == [True] * 5 + [False]
        passed = m.ShardName(segment.segment_id, 5)
        assert not (await holder.call(m.MissingGet(32, (passed,)))).shards
        holder.facts = facts(read_only=True)
        await holder.beat()
        assert not (await holder.call(m.MissingGet(32))).shards
        holder.facts = facts()
        await holder.beat()
        await holder.settle((segment.segment_id, 5, root_of(segment, 5)))
        assert not (await holder.beat()).has_missing


async def test_a_list_of_what_a_cell_misses_is_bounded_however_many_slots_it_holds(autojump_clock):
    async with running() as rig:
        cell = rig.cells[0]
        rig.sql(
            "INSERT INTO missing_shards (segment_id, slot, ring, source_lacks, since_ms)"
            " WITH RECURSIVE numbers (number) AS ("
            "SELECT 1 UNION ALL SELECT number + 1 FROM numbers WHERE number < ?)"
            " SELECT CAST(printf('%08d%08d', ring, number) AS BLOB), slot, ring, 1, 0"
            " FROM ring_slots JOIN numbers WHERE cell = ?",
            LISTED,
            cell_number(rig, cell),
        )
        slots = slots_of(rig, cell)
        assert slots * LISTED > LISTED_OF_CELL
        assert rig.one("SELECT count(*) FROM missing_shards") == slots * LISTED
        reply: m.MissingShards = await cell.call(m.MissingGet(32))
        assert reply.waiting == LISTED_OF_CELL - 32


T = TypeVar("T")


class HeldWorkers:
    """Workers from which no plan of moves returns while the test holds them: one that takes very
    long."""

    def __init__(self) -> None:
        self.free = trio.Event()
        self.free.set()
        self.waiting = 0

    async def run(self, work: Callable[[], T]) -> T:
        await trio.lowlevel.checkpoint()
        result = work()
        if isinstance(work, partial) and work.func is plan_moves:
            self.waiting += 1
            await self.free.wait()
            self.waiting -= 1
        return result

    def hold(self) -> None:
        """Return from no plan of moves until :attr:`free` is set."""
        self.free = trio.Event()


@asynccontextmanager
async def held_swarm(monkeypatch: pytest.MonkeyPatch, cells: int = 9):
    """A swarm whose coordinator plans with held workers."""
    workers = HeldWorkers()

    async def with_workers(world: Any, *args: Any, **options: Any) -> None:
        await serve(replace(world, workers=workers), *args, **options)

    monkeypatch.setattr("coordinator_rig.serve", with_workers)
    async with swarm_of(cells) as rig:
        yield rig, workers


async def test_heartbeats_and_grants_go_on_while_a_plan_is_made(
    autojump_clock: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with held_swarm(monkeypatch) as (rig, workers):
        gateway, _ = await put_some(rig)
        lost = rig.cells[0]
        workers.hold()
        lost.beating = False
        await trio.sleep(MOVED_S)
        assert workers.waiting == 1
        assert slots_of(rig, lost) > 0
        await gateway.open()
        for number in range(20):
            await gateway.put(b"meanwhile-%d" % number)
            for cell in rig.cells[1:]:
                await cell.beat()
        assert workers.waiting == 1
        assert slots_of(rig, lost) > 0
        workers.free.set()
        await trio.sleep(10)
        assert slots_of(rig, lost) == 0


async def test_a_plan_moves_nothing_to_or_from_cells_that_have_changed_meanwhile(
    autojump_clock: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with held_swarm(monkeypatch) as (rig, workers):
        await put_some(rig)
        lost = rig.cells[0]
        workers.hold()
        lost.beating = False
        await trio.sleep(MOVED_S)
        assert workers.waiting == 1
        lost.beating = True
        await trio.sleep(10)
        assert workers.waiting == 1
        workers.free.set()
        await trio.sleep(30)
        assert slots_of(rig, lost) > 0
        assert rig.one("SELECT sum(revision) FROM rings") == 0


async def test_what_a_plan_meant_for_a_cell_that_is_gone_meanwhile_is_planned_again(
    autojump_clock: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with held_swarm(monkeypatch) as (rig, workers):
        await put_some(rig)
        first, *others = rig.cells
        workers.hold()
        first.beating = False
        await trio.sleep(MOVED_S)
        assert workers.waiting == 1
        second = others[0]
        second.beating = False
        await rig.operate("POST", f"/v1/cells/{second.identity.peer_id.hex()}/remove", {})
        workers.free.set()
        await trio.sleep(30)
        assert slots_of(rig, first) == 0
        assert slots_of(rig, second) == 0


async def test_what_a_suspended_cell_lacks_is_moved_and_filled_elsewhere(
    autojump_clock: object,
) -> None:
    async with swarm_of(9) as rig:
        _, segments = await put_some(rig)
        cell = rig.cells[0]
        number = cell_number(rig, cell)
        held = rig.sql(
            "SELECT s.segment_id, r.ring, r.slot FROM segments s JOIN ring_slots r"
            " ON r.ring = s.ring WHERE r.cell = ?",
            number,
        )
        segment, ring, slot = held[0]
        path = f"/v1/cells/{cell.identity.peer_id.hex()}"
        await rig.operate("POST", f"{path}/suspend", {"reason": "a test"})
        await trio.sleep(20)
        assert rig.one("SELECT sum(revision) FROM rings") == 0
        await cell.call(m.ShardsLost((m.ShardName(segment, slot),)))
        await trio.sleep(20)
        moved = "SELECT ring, slot FROM ring_slots WHERE cell = ? AND ring = ?"
        assert rig.sql(moved, number, ring) == []
        assert slots_of(rig, cell) > 0
        assert await fill(rig, segments) > 0
        await trio.sleep(10)
        assert missing(rig) == []


async def test_cells_that_were_removed_long_ago_let_no_more_slots_leave_suspended_ones(
    autojump_clock: object,
) -> None:
    async with swarm_of(16) as rig:
        for cell in rig.cells[9:]:
            cell.beating = False
            path = f"/v1/cells/{cell.identity.peer_id.hex()}/remove"
            await rig.operate("POST", path, {"even_if_needed": True})
        await trio.sleep(MOVED_S)
        await put_some(rig)
        revisions = rig.one("SELECT sum(revision) FROM rings")
        for cell in rig.cells[:2]:
            segment, slot = rig.sql(
                "SELECT s.segment_id, r.slot FROM segments s JOIN ring_slots r ON r.ring = s.ring"
                " WHERE r.cell = ?",
                cell_number(rig, cell),
            )[0]
            path = f"/v1/cells/{cell.identity.peer_id.hex()}/suspend"
            await rig.operate("POST", path, {"reason": "a test"})
            await cell.call(m.ShardsLost((m.ShardName(segment, slot),)))
        await trio.sleep(20)
        assert missing(rig) != []
        assert rig.one("SELECT sum(revision) FROM rings") == revisions


@pytest.mark.timeout(20)
async def test_a_ring_that_the_store_has_otherwise_is_looked_at_again(
    autojump_clock: object,
) -> None:
    async with swarm_of(9) as rig:
        await put_some(rig)
        lost = rig.cells[0]
        number = cell_number(rig, lost)
        ring, slot = rig.sql("SELECT ring, slot FROM ring_slots WHERE cell = ? LIMIT 1", number)[0]
        others = (
            "SELECT cell FROM cells WHERE cell NOT IN (SELECT cell FROM ring_slots WHERE ring = ?)"
        )
        other = rig.one(others, ring)
        rig.sql("UPDATE ring_slots SET cell = ? WHERE ring = ? AND slot = ?", other, ring, slot)
        lost.beating = False
        await trio.sleep(MOVED_S)
        assert slots_of(rig, lost) == 0
        held = "SELECT cell FROM ring_slots WHERE ring = ? AND slot = ?"
        assert rig.one(held, ring, slot) == other
