"""The order epoch that a cell has seen: it obeys no earlier coordinator, whatever crashed."""

import pytest
import trio
from cell_rig import shard_key
from test_cell_service import Rig

from cell.order_epoch import NAME, SeenEpoch
from common.crypto import epochs
from common.crypto.orders import OrderAction
from common.errors import NotFound, Refused, Unavailable
from common.wire.messages.cell import ShardOpen
from common.wire.messages.membership import GARBAGE, HeartbeatReply, SettleReply
from sim.world import SimWorld

KEY = epochs.epoch_key(b"s" * 32)


def mark(epoch):
    return epochs.issue(KEY, epoch)


class EpochRig(Rig):
    """A coordinator whose epoch the test says, and which answers what it is asked."""

    epoch = 5
    settle_epoch = None
    """Of the coordinator that answers questions about shards; None: the same."""

    async def _heartbeat(self, caller, request, payload):
        self.told_epoch = request.order_epoch
        reply = await super()._heartbeat(caller, request, payload)
        assert isinstance(reply, HeartbeatReply)
        return HeartbeatReply(
            **{
                each: getattr(reply, each)
                for each in ("order_key", "interval_s", "deletes", "order_time", "clock_ms")
            },
            run_id=b"r" * 16,
            order_epoch=mark(self.epoch),
        )

    async def _settle(self, caller, request, payload):
        reply = await super()._settle(caller, request, payload)
        return SettleReply(reply.verdicts, b"r" * 16, (), mark(self.settle_epoch or self.epoch))


@pytest.fixture
async def rig(autojump_clock, nursery):
    made = EpochRig(settle_after_s=1)
    await nursery.start(made.run)
    await made.start_cell()
    await trio.sleep(1)
    return made


def put_order(rig, key, epoch):
    return rig.order(OrderAction.PUT, key, 4, epoch=epoch)


@pytest.mark.fault("F4", "F14")
async def test_orders_of_an_earlier_coordinator_are_refused(rig, autojump_clock):
    key = shard_key(1)
    await rig.put(key, b"data", order=put_order(rig, key, 5))
    await rig.put(shard_key(2), b"data", order=put_order(rig, shard_key(2), 6))
    old = shard_key(3)
    with pytest.raises(Refused, match="order_superseded"):
        await rig.put(old, b"data", order=put_order(rig, old, 4))
    with pytest.raises(Refused, match="order_superseded"):
        await rig.call(ShardOpen(put_order(rig, old, 4), 1, 4, 4))
    for action in (OrderAction.GET, OrderAction.REBUILD):
        with pytest.raises(Refused, match="order_superseded"):
            await rig.read(key, order=rig.order(action, key, epoch=4))
        assert await rig.read(key, order=rig.order(action, key, epoch=5)) == b"data"


@pytest.mark.fault("F4", "F14")
async def test_a_later_coordinator_ends_the_orders_of_the_one_before(rig, autojump_clock):
    key = shard_key(1)
    await rig.put(key, b"data", order=put_order(rig, key, 5))
    rig.epoch = 9
    await trio.sleep(6)
    with pytest.raises(Refused, match="order_superseded"):
        await rig.read(key, order=rig.order(OrderAction.GET, key, epoch=8))
    assert await rig.read(key, order=rig.order(OrderAction.GET, key, epoch=9)) == b"data"
    await trio.sleep(6)
    assert epochs.read(rig.told_epoch) == 9


@pytest.mark.fault("F4", "F14")
async def test_an_order_of_a_later_coordinator_ends_nothing(rig, autojump_clock):
    """Only a coordinator's own answer counts: it can be shown to the next coordinator."""
    key = shard_key(1)
    await rig.put(key, b"data", order=put_order(rig, key, 99))
    assert await rig.read(key, order=rig.order(OrderAction.GET, key, epoch=5)) == b"data"


@pytest.mark.fault("F4", "F14")
@pytest.mark.parametrize("crashes", [False, True])
async def test_an_earlier_coordinator_has_nothing_deleted(rig, autojump_clock, crashes):
    key = shard_key(1)
    await rig.put(key, b"data", order=put_order(rig, key, 5))
    rig.epoch = 9
    await trio.sleep(6)
    if crashes:
        rig.cell.crash(power=True)
        rig.epoch = 8
        await rig.start_cell(
            token=None,
            coordinator="coordinator:7000",
            coordinator_id=rig.identity.peer_id.hex(),
            listen="cell:7000",
        )
    rig.epoch = 8
    rig.doomed, rig.verdicts = [key], {key: GARBAGE}
    await trio.sleep(100)
    assert rig.deleted == []
    assert (await rig.serving.store.facts()).shards == 1
    assert any(e.event == "error: coordinator_superseded" for e in rig.swarm.trace.events)
    if crashes:  # no order counts before a coordinator that counts has answered
        with pytest.raises(Unavailable, match="not_ready"):
            await rig.read(key, order=rig.order(OrderAction.GET, key, epoch=9))
    rig.epoch = 9
    await trio.sleep(20)
    assert rig.deleted == [key]
    with pytest.raises(NotFound):
        await rig.read(key, order=rig.order(OrderAction.GET, key, epoch=9))


@pytest.mark.fault("F4", "F14")
async def test_a_verdict_of_an_earlier_coordinator_is_none(rig, autojump_clock):
    key = shard_key(1)
    await rig.put(key, b"data", order=put_order(rig, key, 5))
    rig.epoch = 9
    await trio.sleep(6)
    # Heartbeats are answered by the later one, the question about the shard by the earlier one.
    rig.settle_epoch, rig.verdicts = 8, {key: GARBAGE}
    asked = len(rig.settled)
    await trio.sleep(60)
    assert len(rig.settled) > asked
    assert await rig.read(key, order=rig.order(OrderAction.GET, key, epoch=9)) == b"data"
    rig.settle_epoch = 9
    await trio.sleep(60)
    with pytest.raises(NotFound):
        await rig.read(key, order=rig.order(OrderAction.GET, key, epoch=9))


async def load(node):
    return await SeenEpoch.load(node.world.disk, node.world.log)


async def test_what_was_seen_is_durable_before_anything_is_done(autojump_clock):
    node = SimWorld(1).node("cell")
    seen = await load(node)
    assert (seen.epoch, seen.mark) == (0, b"")
    await seen._heard(mark(7))
    node.crash(power=True)
    again = await load(node)
    assert (again.epoch, again.mark) == (7, mark(7))
    with pytest.raises(Unavailable, match="coordinator_superseded"):
        await again._heard(mark(6))
    with pytest.raises(Unavailable, match="coordinator_superseded"):
        await again._heard(b"")
    await again._heard(mark(7))


async def test_an_answer_is_not_taken_if_a_later_coordinator_answers_while_it_is_written(
    autojump_clock,
):
    seen = await load(SimWorld(1).node("cell"))
    outcomes = {}

    async def hear(epoch):
        try:
            await seen._heard(mark(epoch))
            outcomes[epoch] = "taken"
        except Unavailable as error:
            outcomes[epoch] = error.reason

    async with trio.open_nursery() as nursery:
        await seen._writing.acquire()  # both come while the disk is at work
        nursery.start_soon(hear, 7)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(hear, 8)
        await trio.testing.wait_all_tasks_blocked()
        seen._writing.release()
    assert outcomes == {7: "coordinator_superseded", 8: "taken"}


async def test_a_cell_whose_disk_fails_goes_on_and_writes_the_epoch_later(autojump_clock):
    node = SimWorld(1).node("cell")
    seen = await load(node)
    await seen._heard(mark(3))
    node.platter.faults.refuses = "no_space"
    await seen._heard(mark(7))
    with pytest.raises(Unavailable, match="coordinator_superseded"):
        await seen._heard(mark(6))
    assert (await load(node)).epoch == 3
    node.platter.faults.refuses = ""
    await seen._heard(mark(7))
    assert (await load(node)).epoch == 7


@pytest.mark.parametrize("at", [0, 9, 40, 60])
async def test_a_damaged_file_counts_as_none(autojump_clock, at):
    node = SimWorld(1).node("cell")
    await (await load(node))._heard(mark(7))
    node.platter.inodes[NAME].content[at] ^= 1
    seen = await load(node)
    assert (seen.epoch, seen.mark) == (0, b"")
    await seen._heard(mark(8))
    assert (await load(node)).epoch == 8
