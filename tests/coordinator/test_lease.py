"""A coordinator answers only while no other can have taken over."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
import trio
from coordinator_rig import facts
from journal_rig import JournalRig, journal_rig, put, wait_kept
from trio.testing import MockClock

from common.errors import Refused, Unavailable
from common.wire.messages.membership import Heartbeat, HeartbeatReply, Settle
from coordinator.handlers.guards import guarded
from coordinator.journal.keeper import JournalKeeper
from coordinator.journal.lease import LEASE_S, RENEW_S, SUCCESSOR_WAIT_S, EpochLease
from coordinator.metrics import CoordinatorMetrics
from coordinator.policy.history import Standing
from sim.world import SimNode

pytestmark = pytest.mark.fault("M4")
WAITED_S = SUCCESSOR_WAIT_S - 0.001
A, B, C, D = (bytes([number]) * 32 for number in range(4))


def holds(keeper: JournalKeeper) -> bool:
    return keeper.lease.is_held(trio.current_time())


def cut_off(rig: JournalRig, node: SimNode, *, is_deaf: bool = False) -> None:
    """Cut a coordinator off from all cells. ``is_deaf``: they hear it, it does not hear them."""
    for cell in rig.cells:
        if not is_deaf:
            rig.swarm.internet.block(node.name, cell.node.name)
        rig.swarm.internet.block(cell.node.name, node.name)


def test_a_lease_counts_from_what_most_cells_of_each_group_have_confirmed() -> None:
    lease = EpochLease(is_enforced=True)
    assert lease.is_held(0.0)  # nobody keeps a journal
    lease.groups = ()
    assert not lease.is_held(0.0)
    lease.groups = [(A, B, C)]
    lease.confirm(A, 100.0)
    assert not lease.is_held(100.0)
    lease.confirm(B, 101.0)
    lease.confirm(B, 99.0)  # an answer that comes late
    assert lease.is_held(100.0 + LEASE_S - 0.01)
    assert not lease.is_held(100.0 + LEASE_S)
    lease.confirm(C, 103.0)
    assert lease.is_held(101.0 + LEASE_S - 0.01)
    lease.groups = [(A, B, C), (B, C, D)]
    assert lease.is_held(101.0 + LEASE_S - 0.01)
    lease.groups = [(A, B, C), (A, C, D)]
    assert not lease.is_held(101.0 + LEASE_S - 0.01)
    with pytest.raises(Unavailable, match="no_lease"):
        lease.check(200.0)
    EpochLease(is_enforced=False).check(200.0)


async def test_a_lease_is_held_for_as_long_as_most_cells_answer(autojump_clock: MockClock) -> None:
    async with journal_rig() as rig, rig.keeping() as (_, keeper):
        assert holds(keeper)  # the first journal is not kept yet
        await wait_kept(keeper)
        await trio.sleep(10 * LEASE_S)
        assert holds(keeper)
        rig.cells[0].stop()
        await trio.sleep(10 * LEASE_S)
        assert holds(keeper)
        rig.cells[1].stop()
        await trio.sleep(LEASE_S)
        assert not holds(keeper)
        keeper.lease.check(trio.current_time())  # nobody takes over by himself
        await rig.cells[1].start()
        with trio.fail_after(30):
            while not holds(keeper):  # noqa: ASYNC110 - a poll in virtual time costs nothing
                await trio.sleep(0.1)


@pytest.mark.parametrize("is_deaf", [False, True])
async def test_an_earlier_coordinator_has_no_lease_when_a_later_one_answers(
    autojump_clock: MockClock, is_deaf: bool
) -> None:
    async with journal_rig() as rig:
        other = rig.swarm.node("other")
        pool = await rig.pool_of(other)
        with trio.fail_after(300):
            async with rig.keeping() as (opened, keeper):
                await wait_kept(keeper)
                await keeper.enforce_lease()
                await opened.store.transact(put(1))
                cut_off(rig, rig.node, is_deaf=is_deaf)
                assert holds(keeper)
                began = trio.current_time()
                async with rig.keeping(other, recovered=rig.members, pool=pool) as (newer, later):
                    assert trio.current_time() - began >= WAITED_S
                    assert later.lease.is_enforced, "it was told by the journal"
                    assert not holds(keeper)
                    with pytest.raises(Unavailable, match="no_lease"):
                        keeper.lease.check(trio.current_time())
                    await wait_kept(later)
                    await trio.sleep(1)
                    assert holds(later)
                    await newer.store.transact(put(2))


async def test_a_confirmation_counts_from_when_it_was_asked_for(autojump_clock: MockClock) -> None:
    async with journal_rig() as rig, rig.keeping() as (_, keeper):
        await wait_kept(keeper)
        rig.swarm.internet.slow_nodes.update({cell.node.name: 2.0 for cell in rig.cells})
        await trio.sleep(LEASE_S)
        for _ in range(100):
            await trio.sleep(0.1)
            assert max(keeper.lease._confirmed.values()) <= trio.current_time() - 2.0
            assert holds(keeper)


async def test_an_earlier_coordinator_that_hears_of_the_later_one_stops_at_once(
    autojump_clock: MockClock,
) -> None:
    async with journal_rig() as rig:
        with pytest.RaisesGroup(Refused, flatten_subgroups=True):
            async with rig.keeping() as (_, keeper):
                await wait_kept(keeper)
                await rig.settle(keeper._recent.end)
                await trio.sleep(2 * RENEW_S)
        assert keeper.fenced is not None
        assert not holds(keeper)


async def test_a_restart_waits_for_no_lease_of_its_own_directory(autojump_clock: MockClock) -> None:
    async with journal_rig() as rig:
        async with rig.keeping() as (_, keeper):
            await wait_kept(keeper)
            await keeper.enforce_lease()
        for _ in range(2):
            began = trio.current_time()
            async with rig.keeping() as (_, keeper):
                await wait_kept(keeper)
                assert trio.current_time() - began < SUCCESSOR_WAIT_S / 2
                assert keeper.lease.is_enforced
        # Another coordinator was there meanwhile, and this one's store has its records, or not.
        other = rig.swarm.node("other")
        async with rig.keeping(other, recovered=rig.members) as (opened, keeper):
            await wait_kept(keeper)
            await opened.store.transact(put(1))
        began = trio.current_time()
        async with rig.keeping():
            assert trio.current_time() - began >= WAITED_S


async def test_a_restart_whose_own_epoch_cannot_be_read_waits_as_for_another_one(
    autojump_clock: MockClock,
) -> None:
    async with journal_rig() as rig:
        async with rig.keeping() as (_, keeper):
            await wait_kept(keeper)
            await keeper.enforce_lease()
        rig.node.platter.faults.read_error = 1.0
        began = trio.current_time()
        async with rig.keeping() as (_, keeper):
            rig.node.platter.faults.read_error = 0.0
            assert trio.current_time() - began >= WAITED_S
            await wait_kept(keeper)


async def test_a_copy_of_a_store_waits_though_no_later_epoch_was_promised(
    autojump_clock: MockClock,
) -> None:
    async with journal_rig() as rig:
        async with rig.keeping() as (_, keeper):
            await wait_kept(keeper)
            await keeper.enforce_lease()
        other = rig.swarm.node("other")
        database = rig.node.databases["coordinator.sqlite"]
        other.databases["coordinator.sqlite"] = database
        began = trio.current_time()
        async with rig.keeping(other):
            assert trio.current_time() - began >= WAITED_S


async def test_requests_are_refused_without_a_lease_and_heartbeats_are_not() -> None:
    reply = HeartbeatReply(bytes(32), 5, (), 0, 0)

    async def answer(caller: Any, request: Any, payload: memoryview) -> HeartbeatReply:
        return reply

    def check() -> None:
        raise Unavailable.received("no_lease")

    watched = SimpleNamespace(check_whole=lambda: None)
    past = SimpleNamespace(standing=Standing.CURRENT, hear=lambda seen: [])
    epoch = SimpleNamespace(passed_by=None, mark=lambda: b"")
    rest = (CoordinatorMetrics(), watched, None, past, epoch, check, None)
    handlers = guarded({Settle: answer, Heartbeat: answer}, *cast("Any", rest))
    caller = cast("Any", None)
    with pytest.raises(Unavailable, match="no_lease"):
        await handlers[Settle](caller, Settle(()), memoryview(b""))
    beat = Heartbeat("cell", 7000, facts(), ())
    assert await handlers[Heartbeat](caller, beat, memoryview(b"")) == reply
