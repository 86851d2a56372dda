"""A coordinator whose store cannot be written reads on, and says so."""

import dataclasses

import pytest
import trio
from coordinator_rig import BUCKET, Gateway, Rig, facts, running
from trio.testing import MockClock

from common.errors import Unavailable
from common.limits import COORDINATOR_LEAST_FREE_BYTES
from common.wire import messages as m
from coordinator.api.status import space_of
from coordinator.store_health import LOOK_EVERY_S


async def make_object(rig: Rig) -> Gateway:
    gateway = await rig.add_gateway()
    await gateway.make_bucket()
    await gateway.put(b"kept")
    return gateway


@pytest.mark.fault("F10")
async def test_a_coordinator_on_a_full_disk_starts_and_answers_reads(
    autojump_clock: MockClock,
) -> None:
    async with running() as rig:
        gateway = await make_object(rig)
        rig.node.platter.faults.refuses = "no_space"
        await rig.restart()
        await trio.sleep(10)
        await gateway.open()
        assert (await gateway.get(b"kept", bucket=BUCKET)).size == 100
        with pytest.raises(Unavailable):
            await gateway.make_bucket("another")
        rig.node.platter.faults.refuses = ""
        await trio.sleep(60)
        await gateway.open()
        await gateway.make_bucket("another")


@pytest.mark.fault("F7")
async def test_a_coordinator_whose_disk_is_full_is_alive_and_not_ready(
    autojump_clock: MockClock,
) -> None:
    async with running() as rig:
        gateway = await make_object(rig)
        assert (await rig.http("GET", "/readyz")).status_code == 200
        rig.node.platter.faults.refuses = "no_space"
        with pytest.raises(Unavailable):
            await gateway.make_bucket("another")
        ready = await rig.http("GET", "/readyz")
        assert (ready.status_code, ready.json()["writable"]) == (503, False)
        assert ready.json()["reason"] == "store_failed"
        assert (await rig.http("GET", "/healthz")).status_code == 200
        status = await rig.operate("GET", "/v1/status")
        assert (status["writable"], status["reason"]) == (False, "store_not_writable")
        assert status["coordinator"]["store_writable"] is False
        metrics = (await rig.http("GET", "/metrics")).text
        assert "alveary_coordinator_store_writable 0.0" in metrics
        assert "alveary_writable 0.0" in metrics
        rig.node.platter.faults.refuses = ""
        await trio.sleep(10)  # tried again by itself
        assert (await rig.http("GET", "/readyz")).status_code == 200
        assert (await rig.operate("GET", "/v1/status"))["writable"] is True


@pytest.mark.fault("F7")
async def test_a_coordinator_with_little_space_is_not_ready_before_a_write_fails(
    autojump_clock: MockClock,
) -> None:
    async with running() as rig:
        rig.node.platter.capacity_bytes = COORDINATOR_LEAST_FREE_BYTES
        await trio.sleep(LOOK_EVERY_S + 1)
        ready = await rig.http("GET", "/readyz")
        assert (ready.status_code, ready.json()["reason"]) == (503, "low_space")


@pytest.mark.fault("F15", "U1")
async def test_gateways_and_what_they_have_are_in_status(autojump_clock: MockClock) -> None:
    async with running() as rig:
        gateway = await rig.add_gateway()
        state = await gateway.call(m.GatewayPresence("127.0.0.1:9000", 0))
        assert state.writable
        (told,) = (await rig.operate("GET", "/v1/status"))["gateways"]
        assert told["gateway_id"] == gateway.identity.peer_id.hex()
        assert (told["s3"], told["tenants"], told["state"]) == ("127.0.0.1:9000", 0, "alive")
        await trio.sleep(60)
        (told,) = (await rig.operate("GET", "/v1/status"))["gateways"]
        assert told["state"] == "silent"
        await trio.sleep(600)
        assert (await rig.operate("GET", "/v1/status"))["gateways"] == []


@pytest.mark.fault("F2")
async def test_shards_of_silent_cells_are_counted(autojump_clock: MockClock) -> None:
    async with running(cells=7) as rig:
        rig.cells[0].facts = dataclasses.replace(facts(), shards=321)
        await trio.sleep(6)
        assert (await rig.operate("GET", "/v1/status"))["missing"]["silent_shards"] == 0
        rig.cells[0].beating = False
        await trio.sleep(20)
        assert (await rig.operate("GET", "/v1/status"))["missing"]["silent_shards"] == 321
        assert "alveary_silent_shards 321.0" in (await rig.http("GET", "/metrics")).text


@pytest.mark.fault("F15")
def test_space_that_cells_share_is_counted_once() -> None:
    own = m.CellFacts(100, 10, 90, 1, 1, False)
    shared = dataclasses.replace(own, medium=b"a", medium_total_bytes=200, medium_free_bytes=120)
    assert space_of([own, own]) == {"capacity_bytes": 200, "used_bytes": 20, "free_bytes": 180}
    assert space_of([shared] * 6) == {"capacity_bytes": 200, "used_bytes": 60, "free_bytes": 120}
    other = dataclasses.replace(shared, medium=b"b")
    assert space_of([shared, other]) == {"capacity_bytes": 200, "used_bytes": 20, "free_bytes": 180}
