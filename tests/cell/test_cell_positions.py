"""How far a cell's coordinator has come: what the cell has on its disk when it ends."""

import pytest
import trio
from trio.testing import MockClock

from cell.positions import LAST_WRITE_S, WRITE_EVERY_S, Positions
from common.crypto.positions import Position, issue
from common.wire.messages.membership import HeartbeatReply
from sim.world import SimNode, SimWorld


def position(commit: int) -> bytes:
    return issue(bytes(32), Position(1, b"r" * 16, 1, commit))


async def load(node: SimNode) -> Positions:
    return await Positions.load(node.world.disk, node.world.log)


async def hear(positions: Positions, commit: int) -> None:
    reply = HeartbeatReply(b"k" * 32, 5, (), 1_800_000_000, 0, position(commit))
    await positions.heard((), reply, trio.current_time())


async def heard_twice(node: SimNode) -> Positions:
    """What has heard of a run, and at once of a further point of it: too soon to be written."""
    positions = await load(node)
    await hear(positions, 100)
    await hear(positions, 101)
    assert (await load(node)).packed() == (position(100),)
    return positions


@pytest.mark.fault("M1", "F4")
async def test_a_cell_that_is_asked_to_end_writes_what_it_has_heard(
    autojump_clock: MockClock,
) -> None:
    node = SimWorld(1).node("cell")
    positions = await heard_twice(node)
    await positions.write_last()
    node.crash(power=True)
    assert (await load(node)).packed() == (position(101),)


@pytest.mark.fault("M1", "F4")
async def test_the_last_write_waits_for_one_that_is_under_way(autojump_clock: MockClock) -> None:
    node = SimWorld(1).node("cell")
    positions = await heard_twice(node)
    await trio.sleep(WRITE_EVERY_S)
    node.platter.faults.stalled_until = trio.current_time() + 1
    async with trio.open_nursery() as nursery:
        nursery.start_soon(hear, positions, 102)
        await trio.sleep(0.5)
        positions._known.note(position(103))
        nursery.start_soon(positions.write_last)
    node.crash(power=True)
    assert (await load(node)).packed() == (position(103),)


@pytest.mark.fault("M1", "F4", "D")
async def test_a_disk_that_stalls_does_not_keep_a_cell_from_its_end(
    autojump_clock: MockClock,
) -> None:
    node = SimWorld(1).node("cell")
    positions = await heard_twice(node)
    node.platter.faults.stalled_until = trio.current_time() + 600
    began = trio.current_time()
    await positions.write_last()
    assert trio.current_time() - began == pytest.approx(LAST_WRITE_S)
