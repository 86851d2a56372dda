"""Coordinators: found, opened for tenants, retried with care; and the write lease."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import trio
from fake_swarm import TENANT, failing, fake_swarm, stalling
from trio.testing import MockClock

from common.client.coordinators import CoordinatorClient
from common.errors import OutcomeUnknown, Refused, Unavailable
from common.ids import TenantId
from common.ports import Address
from common.reasons import Outage, Refusal
from common.wire import messages as m
from coordinator.store import leases


def both_ways(change: Callable[[str, str], None]) -> None:
    change("gateway", "coordinator")
    change("coordinator", "gateway")


GET = m.ObjectGet(TENANT.tenant_id, "bucket", b"name", None, False, 0, 0)
DELETE = m.ObjectsDelete(TENANT.tenant_id, "bucket", ())


async def test_a_tenant_is_opened_once_per_connection(autojump_clock: MockClock) -> None:
    async with fake_swarm() as swarm:
        for _ in range(5):
            await swarm.coordinators.call(GET)
        assert swarm.coordinator.count(m.TenantOpen) == 1
        assert swarm.coordinator.count(m.ObjectGet) == 5


async def test_a_tenant_that_the_coordinator_forgot_is_opened_again(
    autojump_clock: MockClock,
) -> None:
    async with fake_swarm() as swarm:
        await swarm.coordinators.call(GET)
        forgetful = [True]

        async def forget_once(request: Any) -> None:
            if forgetful:
                forgetful.clear()
                raise Refused(Refusal.TENANT_NOT_OPEN)

        swarm.coordinator.faults[m.ObjectGet] = forget_once
        await swarm.coordinators.call(GET)
        assert swarm.coordinator.count(m.TenantOpen) == 2


async def test_a_tenant_without_a_key_is_refused_here(autojump_clock: MockClock) -> None:
    async with fake_swarm() as swarm:
        stranger = m.ObjectGet(TenantId(b"x" * 16), "bucket", b"name", None, False, 0, 0)
        with pytest.raises(Refused) as caught:
            await swarm.coordinators.call(stranger)
        assert caught.value.reason == "no_such_tenant"


async def test_another_coordinator_is_asked_when_one_is_gone(autojump_clock: MockClock) -> None:
    async with fake_swarm() as swarm:
        live = (Address("coordinator", 7000), swarm.coordinator.identity.peer_id)
        gone = (Address("nobody", 7000), swarm.coordinator.identity.peer_id)
        coordinators = CoordinatorClient(
            swarm.pool, [gone, live], {TENANT.tenant_id: TENANT}, swarm.node.world.log
        )
        begun = trio.current_time()
        await coordinators.call(GET)
        await coordinators.call(GET)
        assert trio.current_time() - begun < 0.5


async def test_calls_wait_for_a_coordinator_that_starts_again(autojump_clock: MockClock) -> None:
    async with fake_swarm() as swarm:
        await swarm.coordinators.call(GET)
        swarm.coordinator.node.crash(power=False)
        async with trio.open_nursery() as nursery:

            async def start_again() -> None:
                await trio.sleep(2)
                await nursery.start(swarm.coordinator.serve)

            nursery.start_soon(start_again)
            await swarm.coordinators.call(GET)
            nursery.cancel_scope.cancel()


async def test_calls_wait_for_a_standby_to_take_over(autojump_clock: MockClock) -> None:
    async with fake_swarm() as swarm:
        live = (Address("coordinator", 7000), swarm.coordinator.identity.peer_id)
        other = (Address("nobody", 7000), swarm.coordinator.identity.peer_id)
        coordinators = CoordinatorClient(
            swarm.pool, [other, live], {TENANT.tenant_id: TENANT}, swarm.node.world.log
        )
        await coordinators.call(GET)
        swarm.coordinator.node.crash(power=False)
        async with trio.open_nursery() as nursery:

            async def take_over() -> None:
                await trio.sleep(14)
                await nursery.start(swarm.coordinator.serve)

            nursery.start_soon(take_over)
            await coordinators.call(GET)
            nursery.cancel_scope.cancel()


async def test_a_coordinator_that_stays_away_is_an_error_within_seconds(
    autojump_clock: MockClock,
) -> None:
    async with fake_swarm() as swarm:
        swarm.coordinator.node.crash(power=False)
        begun = trio.current_time()
        with pytest.raises(Unavailable):
            await swarm.coordinators.call(GET)
        assert 4 < trio.current_time() - begun < 10


@pytest.mark.fault("F12")
@pytest.mark.parametrize("connected", [False, True])
@pytest.mark.parametrize("request_", [GET, DELETE], ids=["asking", "changing"])
async def test_a_coordinator_that_hangs_holds_a_request_for_ten_seconds_and_the_next_for_two(
    autojump_clock: MockClock, connected: bool, request_: m.Request
) -> None:
    async with fake_swarm() as swarm:
        if connected:
            await swarm.coordinators.call(GET)
        both_ways(swarm.sim.internet.block)
        for most_s in (10.5, 2.5, 2.5):
            begun = trio.current_time()
            with pytest.raises((Unavailable, OutcomeUnknown)):
                await swarm.coordinators.call(request_)
            assert trio.current_time() - begun <= most_s
        told = [e for e in swarm.sim.trace.events if e.event == "warning: no_coordinator_answers"]
        assert len(told) == 1
        swarm.sim.internet.heal()
        await trio.sleep(3)
        await swarm.coordinators.call(request_)
        both_ways(swarm.sim.internet.block)
        begun = trio.current_time()
        with pytest.raises((Unavailable, OutcomeUnknown)):
            await swarm.coordinators.call(request_)
        assert trio.current_time() - begun > 9, "patient again"


@pytest.mark.fault("F12")
async def test_a_slow_coordinator_that_lives_has_time_for_what_it_has_begun(
    autojump_clock: MockClock,
) -> None:
    async with fake_swarm() as swarm:
        swarm.coordinator.faults[m.ObjectsDelete] = stalling(20)
        await swarm.coordinators.call(DELETE)


@pytest.mark.fault("F12")
async def test_a_hanging_coordinator_of_two_leaves_time_to_ask_the_other(
    autojump_clock: MockClock,
) -> None:
    async with fake_swarm() as swarm:
        live = (Address("coordinator", 7000), swarm.coordinator.identity.peer_id)
        hung = (Address("cell-0", 7000), swarm.cells[0].identity.peer_id)
        coordinators = CoordinatorClient(
            swarm.pool, [hung, live], {TENANT.tenant_id: TENANT}, swarm.node.world.log
        )
        swarm.isolate(0)
        begun = trio.current_time()
        await coordinators.call(GET)
        assert trio.current_time() - begun < 5


async def test_what_must_not_be_done_twice_is_not_repeated(autojump_clock: MockClock) -> None:
    async with fake_swarm() as swarm:
        await swarm.coordinators.call(GET)
        seen = 0

        async def cut(request: Any) -> None:
            nonlocal seen
            seen += 1
            if seen == 1:
                swarm.sim.internet.cut("gateway", "coordinator")
                await trio.sleep(1)

        swarm.coordinator.faults[m.ObjectGet] = cut
        swarm.coordinator.faults[m.ObjectsDelete] = cut
        await swarm.coordinators.call(GET)
        assert seen == 2
        seen = 0
        with pytest.raises(OutcomeUnknown):
            await swarm.coordinators.call(DELETE)
        assert seen == 1
    assert m.BucketCreate.idempotency is m.Idempotency.ONCE
    assert m.ObjectCommit.idempotency is m.Idempotency.REPEATABLE


async def test_no_ring_is_said_at_once(autojump_clock: MockClock) -> None:
    async with fake_swarm() as swarm:
        swarm.coordinator.faults[m.ObjectGet] = failing(Unavailable(Outage.NO_RING))
        begun = trio.current_time()
        with pytest.raises(Unavailable) as caught:
            await swarm.coordinators.call(GET)
        assert caught.value.reason == "no_ring"
        assert trio.current_time() - begun < 1


@pytest.mark.parametrize("is_first", [False, True])
async def test_no_ring_is_said_soon_where_a_standby_is_known(
    is_first: bool, autojump_clock: MockClock
) -> None:
    async with fake_swarm() as swarm:
        swarm.coordinator.faults[m.ObjectGet] = failing(Unavailable(Outage.NO_RING))
        live = (Address("coordinator", 7000), swarm.coordinator.identity.peer_id)
        standby = (Address("nobody", 7000), swarm.coordinator.identity.peer_id)
        coordinators = CoordinatorClient(
            swarm.pool,
            [live, standby] if is_first else [standby, live],
            {TENANT.tenant_id: TENANT},
            swarm.node.world.log,
        )
        begun = trio.current_time()
        with pytest.raises(Unavailable) as caught:
            await coordinators.call(GET)
        assert caught.value.reason == "no_ring"
        assert trio.current_time() - begun < 1
        assert not any("no_coordinator_answers" in e.event for e in swarm.sim.trace.events)


async def test_the_lease_is_opened_when_needed_and_kept_alive(autojump_clock: MockClock) -> None:
    async with fake_swarm() as swarm:
        await trio.sleep(1000)
        assert swarm.coordinator.count(m.LeaseRenew) == 0
        assert await swarm.coordinators.lease.number() == 1
        await trio.sleep(1000)
        assert await swarm.coordinators.lease.number() == 1
        assert 9 <= swarm.coordinator.count(m.LeaseRenew) <= 12


async def test_no_renewal_of_an_idle_gateway_is_refused(autojump_clock: MockClock) -> None:
    async with fake_swarm() as swarm:
        await swarm.coordinators.lease.number()
        await trio.sleep(1000)
        # An idle connection is closed between two renewals, and a new one is open for no tenant.
        assert swarm.coordinator.count(m.TenantOpen) > 1
        assert swarm.coordinator.count(m.LeaseRenew) > 8
        assert swarm.coordinator.requests == swarm.coordinator.answered


async def test_a_lease_that_ended_is_replaced(autojump_clock: MockClock) -> None:
    async with fake_swarm() as swarm:
        assert await swarm.coordinators.lease.number() == 1
        for _ in range(6):
            leases.open_lease(swarm.coordinator.sql, swarm.identity.peer_id, 1, 0)
        swarm.coordinator.end_leases()
        await trio.sleep(150)
        assert not swarm.coordinators.lease.is_current(1)
        assert await swarm.coordinators.lease.number() == 8
        swarm.coordinators.lease.has_ended(8)
        assert await swarm.coordinators.lease.number() == 9


async def test_a_lease_is_not_trusted_beyond_its_life(autojump_clock: MockClock) -> None:
    async with fake_swarm() as swarm:
        lease = await swarm.coordinators.lease.number()
        swarm.coordinator.faults[m.LeaseRenew] = stalling(10_000)
        await trio.sleep(290)
        assert swarm.coordinators.lease.is_current(lease)
        await trio.sleep(10)
        assert not swarm.coordinators.lease.is_current(lease)
