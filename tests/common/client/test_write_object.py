"""Writing to rings: what is durable, what is cut, what is tried again, what is left behind."""

from __future__ import annotations

import pytest
import trio
from fake_swarm import (
    DOWN,
    TENANT,
    FakeSwarm,
    content,
    fake_swarm,
    receiver,
    stalling,
)
from trio.testing import MockClock

from common.client.policy.put_plan import STALL_S, STRAGGLER_CEILING_S, STRAGGLER_FLOOR_S
from common.client.write_object import Written
from common.errors import Refused, Unavailable
from common.ids import lease_of
from common.limits import MAX_SINGLE_PUT_BYTES, MIB, SEGMENT_BYTES
from common.ports import Buffer
from common.reasons import Outage
from common.wire import messages as m
from coordinator.policy.placement import Redundancy

SIZES = [1, 100, 4096, 16 * 1024, 300_000, MIB - 17, MIB, MIB + 1, 2 * MIB, 5 * MIB + 3]


@pytest.mark.parametrize("size", SIZES)
async def test_what_was_written_is_read_back(size: int, autojump_clock: MockClock) -> None:
    async with fake_swarm() as swarm:
        data = content(size)
        written = await swarm.write(data)
        assert written.size == size
        assert [segment.durable for segment in written.segments] == [0b111111]
        assert sum(e.length for page in written.pages for e in page.extents) == size
        assert await swarm.read(await swarm.commit(written)) == data
        assert swarm.open_uploads() == 0
        assert swarm.client.budget.free_bytes == 32 << 20


async def test_an_empty_object_writes_nothing(autojump_clock: MockClock) -> None:
    async with fake_swarm() as swarm:
        written = await swarm.write(b"")
        assert (written.size, written.pages, written.segments) == (0, (), ())
        manifest = await swarm.commit(written)
        assert await swarm.read(manifest) == b""


async def test_nothing_is_asked_for_beyond_the_size(autojump_clock: MockClock) -> None:
    async with fake_swarm() as swarm:
        left = [b"abc", b"defg"]

        async def receive() -> Buffer:
            return left.pop(0)

        written = await swarm.client.write(TENANT, receive, 7)
        assert await swarm.read(await swarm.commit(written)) == b"abcdefg"


@pytest.mark.parametrize("size", [5000, 3 * MIB])
@pytest.mark.parametrize("dead", range(6))
async def test_one_dead_cell_is_left_out_and_remembered(
    size: int, dead: int, autojump_clock: MockClock
) -> None:
    async with fake_swarm() as swarm:
        swarm.kill(dead)
        data = content(size)
        written = await swarm.write(data)
        assert [segment.durable for segment in written.segments] == [0b111111 & ~(1 << dead)]
        assert await swarm.read(await swarm.commit(written)) == data


async def test_grants_of_a_coordinator_that_was_replaced_are_given_back_for_others(
    autojump_clock: MockClock,
) -> None:
    async with fake_swarm() as swarm:
        await swarm.write(content(5000))  # there are more grants in stock than this one
        swarm.change_coordinators()
        data = content(5001)
        written = await swarm.write(data)
        assert [segment.durable for segment in written.segments] == [0b111111]
        assert await swarm.read(await swarm.commit(written)) == data
        assert swarm.client._health.suspects_none(trio.current_time())


async def test_an_upload_under_way_goes_on_when_another_coordinator_takes_over(
    autojump_clock: MockClock,
) -> None:
    async with fake_swarm() as swarm:
        data = content(6 * MIB)
        left = memoryview(data)

        async def receive() -> Buffer:
            nonlocal left
            if len(left) == 3 * MIB:
                swarm.change_coordinators()
            taken, left = left[:MIB], left[MIB:]
            return taken

        written = await swarm.client.write(TENANT, receive, len(data))
        assert await swarm.read(await swarm.commit(written)) == data


@pytest.mark.parametrize("size", [5000, 3 * MIB])
async def test_the_quorum_lost_fails_the_write_and_leaves_nothing(
    size: int, autojump_clock: MockClock
) -> None:
    async with fake_swarm() as swarm:
        swarm.kill(0)
        swarm.kill(4)
        with pytest.raises(Unavailable) as caught:
            await swarm.write(content(size))
        assert caught.value.reason == "write_quorum_lost"
        await trio.sleep(3)
        stored = {segment for cell in swarm.cells for segment, _ in cell.shards}
        assert stored <= swarm.coordinator.abandoned
        assert swarm.open_uploads() == 0
        assert swarm.client.budget.free_bytes == 32 << 20


@pytest.mark.parametrize("size", [5000, 2 * MIB, 6 * MIB])
async def test_a_lost_ring_is_replaced_by_another(size: int, autojump_clock: MockClock) -> None:
    async with fake_swarm(cells=12, rings=[range(6, 12), range(6)]) as swarm:
        for number in (0, 1, 2):
            swarm.cells[number].faults[m.ShardPut] = DOWN
            swarm.cells[number].faults[m.ShardOpen] = DOWN
        data = content(size)
        for _ in range(3):
            written = await swarm.write(data)
            assert [segment.ring for segment in written.segments] == [1]
            assert await swarm.read(await swarm.commit(written)) == data
        await trio.sleep(3)
        stored = {key[0] for cell in swarm.cells[:6] for key in cell.shards}
        assert stored <= swarm.coordinator.abandoned
        assert swarm.open_uploads() == 0
        assert swarm.client.budget.free_bytes == 32 << 20


@pytest.mark.parametrize("size", [5000, 2 * MIB, 6 * MIB])
async def test_a_lost_ring_is_replaced_by_one_of_another_class(
    size: int, autojump_clock: MockClock
) -> None:
    """As when a site is lost: 4/6 on six cells, then 2/4 on those that are left."""
    async with fake_swarm() as swarm:
        for number in (0, 1):
            swarm.kill(number)
        coordinator = swarm.coordinator

        async def fall_back(_: m.WriteStart) -> None:
            if coordinator.count(m.WriteStart) == 2:
                coordinator.change_class(Redundancy(2, 4, 3), [range(2, 6)])

        coordinator.faults[m.WriteStart] = fall_back
        data = content(size)
        written = await swarm.write(data)
        assert coordinator.count(m.WriteStart) >= 2
        assert [len(segment.roots) for segment in written.segments] == [4 * 32]
        assert [segment.durable for segment in written.segments] == [0b1111]
        assert await swarm.read(await swarm.commit(written)) == data
        await trio.sleep(3)
        assert swarm.open_uploads() == 0
        assert swarm.client.budget.free_bytes == 32 << 20


async def test_a_quorum_lost_in_the_middle_fails_the_write(autojump_clock: MockClock) -> None:
    async with fake_swarm() as swarm:
        for number in (1, 2):
            cell = swarm.cells[number]

            async def fail_late(request: m.ShardAppend) -> None:
                if request.unit >= 4:
                    raise Unavailable(Outage.NO_SPACE)

            cell.faults[m.ShardAppend] = fail_late
        received = 0

        async def receive() -> Buffer:
            nonlocal received
            await trio.sleep(0.001)
            received += MIB
            return bytes(MIB)

        with pytest.raises(Unavailable) as caught:
            await swarm.client.write(TENANT, receive, 50 * MIB)
        assert caught.value.reason == "write_quorum_lost"
        assert received < 15 * MIB
        await trio.sleep(3)
        assert swarm.open_uploads() == 0
        assert swarm.coordinator.abandoned
        assert swarm.client.budget.free_bytes == 32 << 20


@pytest.mark.parametrize("size", [5000, 5 * MIB])
async def test_a_straggler_is_cut_and_its_slot_not_counted(
    size: int, autojump_clock: MockClock
) -> None:
    async with fake_swarm() as swarm:
        swarm.cells[3].faults[m.ShardPut] = stalling(1000)
        swarm.cells[3].faults[m.ShardFinish] = stalling(1000)
        begun = trio.current_time()
        written = await swarm.write(content(size))
        assert trio.current_time() - begun < STRAGGLER_CEILING_S + 0.5
        assert [segment.durable for segment in written.segments] == [0b110111]
        again = trio.current_time()
        await swarm.write(content(size))
        assert trio.current_time() - again < 0.5


async def test_a_cell_that_takes_no_units_does_not_hold_the_stream_up(
    autojump_clock: MockClock,
) -> None:
    async with fake_swarm() as swarm:
        swarm.cells[5].faults[m.ShardAppend] = stalling(1000)
        begun = trio.current_time()
        written = await swarm.write(content(20 * MIB))
        assert trio.current_time() - begun < 2 * STALL_S
        assert written.segments[0].durable == 0b011111
        await trio.sleep(3)
        assert swarm.client.budget.free_bytes == 32 << 20


async def test_a_cell_that_takes_no_units_does_not_hold_a_scarce_budget(
    autojump_clock: MockClock,
) -> None:
    async with fake_swarm(budget_bytes=5 << 20) as swarm:
        swarm.cells[5].faults[m.ShardAppend] = stalling(1000)
        begun = trio.current_time()
        written = await swarm.write(content(20 * MIB))
        assert trio.current_time() - begun < 2 * STALL_S
        assert written.segments[0].durable == 0b011111


async def test_an_unreachable_cell_costs_less_than_a_connect_timeout(
    autojump_clock: MockClock,
) -> None:
    async with fake_swarm() as swarm:
        await swarm.write(content(100))
        swarm.isolate(2)
        begun = trio.current_time()
        for size in (100, 100, 10 * MIB, 100):
            written = await swarm.write(content(size))
            assert written.segments[0].durable == 0b111011
        assert trio.current_time() - begun < STRAGGLER_FLOOR_S + 2


@pytest.mark.fault("F12")
@pytest.mark.parametrize("size", [100, 3 * MIB])
async def test_cells_that_are_out_of_reach_are_remembered_and_named(
    size: int, autojump_clock: MockClock
) -> None:
    async with fake_swarm() as swarm:
        await swarm.write(content(size))
        swarm.isolate(1)
        swarm.isolate(4)
        for number in range(5):  # 4 of 6 are left, and 5 are needed
            begun = trio.current_time()
            with pytest.raises(Unavailable, match="write_quorum_lost"):
                await swarm.write(content(size))
            took_s = trio.current_time() - begun
            assert took_s < (13 if number == 0 else 5)
        assert swarm.pool.unreachable == 2
        named = [e.facts for e in swarm.sim.trace.events if e.event == "warning: peer_unreachable"]
        assert len(named) == 2
        assert "cell-1" in "".join(named)
        assert "cell-4" in "".join(named)
        swarm.sim.internet.heal()
        begun = trio.current_time()
        while True:
            try:
                await swarm.write(content(size))
                break
            except Unavailable:
                await trio.sleep(0.1)
        assert trio.current_time() - begun < 5
        await trio.sleep(5)
        await swarm.write(content(size))
        assert swarm.pool.unreachable == 0


@pytest.mark.parametrize("size", [5000, 300_000, 3 * MIB, 70 * MIB])
async def test_a_client_that_leaves_leaves_nothing_behind(
    size: int, autojump_clock: MockClock
) -> None:
    async with fake_swarm() as swarm:
        receive = receiver(content(size - 1))

        async def receive_or_fail() -> Buffer:
            chunk: Buffer = await receive()
            if not chunk:
                raise Unavailable(Outage.CLIENT_GONE)
            return chunk

        with pytest.raises(Unavailable) as caught:
            await swarm.client.write(TENANT, receive_or_fail, size)
        assert caught.value.reason == "client_gone"
        await trio.sleep(5)
        stored = {key[0] for cell in swarm.cells for key in cell.shards}
        assert stored <= swarm.coordinator.abandoned
        assert swarm.open_uploads() == 0
        assert swarm.client.budget.free_bytes == 32 << 20


async def test_a_body_shorter_than_promised_is_refused(autojump_clock: MockClock) -> None:
    async with fake_swarm() as swarm:
        for size in (100, 3 * MIB):
            with pytest.raises(Refused) as caught:
                await swarm.client.write(TENANT, receiver(content(size - 1)), size)
            assert caught.value.reason == "body_too_short"


async def test_a_cancelled_write_abandons_its_segments(autojump_clock: MockClock) -> None:
    async with fake_swarm() as swarm:

        async def receive() -> Buffer:
            await trio.sleep(0.05)
            return bytes(100_000)

        with trio.move_on_after(2.0):
            await swarm.client.write(TENANT, receive, MAX_SINGLE_PUT_BYTES)
        await trio.sleep(3)
        assert swarm.coordinator.abandoned
        assert swarm.open_uploads() == 0
        assert swarm.client.budget.free_bytes == 32 << 20


async def test_segments_follow_one_another_in_one_object(autojump_clock: MockClock) -> None:
    async with fake_swarm() as swarm:
        size = SEGMENT_BYTES + 3 * MIB
        data = content(size)
        written = await swarm.write(data, chunk=256 * 1024)
        assert [s.segment_bytes for s in written.segments] == [SEGMENT_BYTES, 3 * MIB]
        manifest = await swarm.commit(written)
        assert await swarm.read(manifest) == data
        middle = (SEGMENT_BYTES - 5, SEGMENT_BYTES + 5)
        assert await swarm.read(manifest, *middle) == data[middle[0] : middle[1] + 1]


async def test_small_objects_cost_no_round_trip_of_their_own(autojump_clock: MockClock) -> None:
    async with fake_swarm() as swarm:
        await swarm.write(content(100))
        await trio.sleep(1)
        asked = len(swarm.coordinator.requests)
        for _ in range(20):
            await swarm.write(content(100))
        assert len(swarm.coordinator.requests) == asked
        for _ in range(100):
            await swarm.write(content(100))
        assert swarm.coordinator.count(m.WriteStart) <= 8


async def test_places_that_are_forgotten_are_not_written_to(autojump_clock: MockClock) -> None:
    async with fake_swarm() as swarm:
        await swarm.write(content(100))
        await trio.sleep(1)
        stocked = set(swarm.coordinator.granted)
        assert (await swarm.write(content(100))).segments[0].segment_id in stocked
        swarm.client.forget_places(TENANT)
        assert (await swarm.write(content(100))).segments[0].segment_id not in stocked


async def written_under_two_leases(swarm: FakeSwarm) -> tuple[Written, Written]:
    """Two writes; the lease of the first has ended before the second."""
    first = await swarm.write(content(100))
    swarm.coordinator.end_leases()
    await trio.sleep(200)
    second = await swarm.write(content(100))
    assert lease_of(second.segments[0].segment_id) > lease_of(first.segments[0].segment_id)
    return first, second


async def test_grants_too_old_or_of_an_ended_lease_are_not_used(
    autojump_clock: MockClock,
) -> None:
    async with fake_swarm() as swarm:
        _, second = await written_under_two_leases(swarm)
        await trio.sleep(301)
        before = set(swarm.coordinator.granted)
        third = await swarm.write(content(100))
        assert third.segments[0].segment_id not in before
        assert lease_of(third.segments[0].segment_id) == lease_of(second.segments[0].segment_id)


async def test_many_streams_share_a_small_budget(autojump_clock: MockClock) -> None:
    async with fake_swarm(budget_bytes=16 << 20) as swarm:
        swarm.cells[1].faults[m.ShardAppend] = stalling(0.05)
        swarm.cells[4].faults[m.ShardAppend] = stalling(0.02)
        data = content(2 * MIB + 5)
        done = 0

        async def one() -> None:
            nonlocal done
            written = await swarm.write(data)
            assert written.segments[0].durable.bit_count() >= 5
            done += 1

        async with trio.open_nursery() as nursery:
            for _ in range(30):
                nursery.start_soon(one)
        assert done == 30
        assert swarm.client.budget.free_bytes == 16 << 20


async def test_abandon_tells_the_coordinator(autojump_clock: MockClock) -> None:
    async with fake_swarm() as swarm:
        written = await swarm.write(content(100))
        await swarm.client.abandon(TENANT, written)
        await trio.sleep(1)
        assert swarm.coordinator.abandoned == {written.segments[0].segment_id}


async def test_a_lease_that_ended_takes_no_other_abandoned_segments_with_it(
    autojump_clock: MockClock,
) -> None:
    async with fake_swarm() as swarm:
        old, new = await written_under_two_leases(swarm)
        await swarm.client.abandon(TENANT, old)
        await swarm.client.abandon(TENANT, new)
        await trio.sleep(1)
        assert swarm.coordinator.abandoned == {new.segments[0].segment_id}


@pytest.mark.parametrize("size", [5000, 6 * MIB])
async def test_a_client_that_stops_ends_its_streams_quietly(
    size: int, autojump_clock: MockClock
) -> None:
    async with fake_swarm() as swarm:
        data = content(size)
        manifest = await swarm.commit(await swarm.write(data))

        async def stream() -> None:
            while True:
                await swarm.write(data)
                assert await swarm.read(manifest) == data

        for _ in range(3):
            swarm.nursery.start_soon(stream)
        await trio.sleep(0.3)
