"""Orders live by a time of their own, whatever the clocks of coordinator and cells say."""

import pytest
import trio
from coordinator_rig import running

from common.crypto.orders import OrderAction, check
from common.errors import Refused
from common.limits import (
    CLOCK_OFF_S,
    ORDER_EXPIRY_GRACE_S,
    ORDER_LIFETIME_S,
    ORDER_TIME_AHEAD_S,
)
from coordinator.store.order_time import OrderTime, keep, start
from coordinator.store.schema import migrate
from sim.stores import connect_in_memory


@pytest.mark.fault("F9")
def test_order_time_never_goes_back_when_a_clock_does():
    sql = connect_in_memory()
    migrate(sql)
    first = OrderTime(start(sql, 1_000_000.9), 50.0)
    assert first.at(50.0) == 1_000_000
    assert first.at(80.5) == 1_000_030
    keep(sql, first.at(80.0))
    last = first.at(80.0 + 30)  # the next keeping was due when it died
    again = OrderTime(start(sql, 1_000_000.9 - 3600), 7.0)
    assert last <= again.at(7.0) <= last + ORDER_TIME_AHEAD_S
    assert start(sql, 2_000_000) == 2_000_000


def test_order_time_is_kept_only_while_orders_are_issued():
    order_time = OrderTime(100, 0.0)
    assert order_time.to_keep is None
    assert order_time.expiry(10.0, 900) == 1010
    assert order_time.to_keep == 110
    order_time.kept(110)
    assert order_time.to_keep is None


async def permitted(rig, gateway, grant, asked_at):
    """Check an order as a cell does that was told order time by its last heartbeat."""
    cell = rig.cells[0]
    reply = await cell.beat()
    slot = [each.cell_id for each in grant.endpoints].index(cell.identity.peer_id)
    at = grant.grants[0].cells.index(slot)
    return check(
        reply.order_key,
        grant.grants[0].orders[at],
        actions=[OrderAction.PUT],
        caller=gateway.identity.peer_id,
        now=reply.order_time + asked_at,
        seen_epoch=0,
    )


@pytest.mark.fault("F9")
@pytest.mark.parametrize("step_s", [-3600, 3600])
async def test_an_order_is_good_for_its_life_whatever_the_coordinators_clock_does(
    autojump_clock, step_s
):
    async with running() as rig:
        gateway = await rig.add_gateway()
        before = await gateway.grant()
        rig.node.clock_offset_s += step_s
        after = await gateway.grant()
        for grant in (before, after):
            await permitted(rig, gateway, grant, 0)
            await permitted(rig, gateway, grant, ORDER_LIFETIME_S - 10)
            with pytest.raises(Refused, match="order_expired"):
                await permitted(rig, gateway, grant, ORDER_LIFETIME_S + ORDER_EXPIRY_GRACE_S + 10)


@pytest.mark.fault("F9")
async def test_an_expired_order_stays_expired_when_the_clock_is_set_back_and_all_starts_again(
    autojump_clock,
):
    async with running() as rig:
        gateway = await rig.add_gateway()
        old = await gateway.grant()
        await trio.sleep(ORDER_LIFETIME_S + ORDER_EXPIRY_GRACE_S + 10)
        await gateway.open()
        with pytest.raises(Refused, match="order_expired"):
            await permitted(rig, gateway, old, 0)
        gateway.lease = 0
        await gateway.grant()
        await trio.sleep(40)  # order time is kept
        rig.node.clock_offset_s -= 7200
        await rig.restart()
        with pytest.raises(Refused, match="order_expired"):
            await permitted(rig, gateway, old, 0)
        await gateway.open()
        await permitted(rig, gateway, await gateway.grant(), 0)


@pytest.mark.fault("F9")
async def test_clocks_that_differ_are_logged_and_shown(autojump_clock):
    async with running() as rig:
        ahead, behind = rig.cells[:2]
        ahead.clock_ahead_s, behind.clock_ahead_s = 3600, -CLOCK_OFF_S - 1
        await trio.sleep(6)
        status = await rig.operate("GET", "/v1/status")
        assert status["clocks"]["cells_off"] == 2
        assert status["clocks"]["most_ahead_s"] == pytest.approx(3600, abs=1)
        assert status["clocks"]["most_behind_s"] == pytest.approx(CLOCK_OFF_S + 1, abs=1)
        shown = {each["cell_id"]: each["clock_ahead_s"] for each in status["cells"]}
        assert shown[ahead.identity.peer_id.hex()] == pytest.approx(3600, abs=1)
        metrics = (await rig.http("GET", "/metrics")).text
        assert "alveary_cells_clock_off 2.0" in metrics
        told = [e for e in rig.swarm.trace.events if e.event == "warning: cell_clock_off"]
        assert len(told) == 2
        ahead.clock_ahead_s = 0
        await trio.sleep(6)
        status = await rig.operate("GET", "/v1/status")
        assert status["clocks"]["cells_off"] == 1
