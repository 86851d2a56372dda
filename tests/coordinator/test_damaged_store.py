"""A store that is damaged while it runs: nothing is answered from it once that shows."""

import pytest
import trio
from coordinator_rig import Gateway, Rig, running
from trio.testing import MockClock

from common.errors import NotFound, Unavailable
from coordinator.journaled_store import STORE_NAME
from coordinator.store_health import CHECK_EVERY_S


def flip(rig: Rig, share: float) -> None:
    """Damage the pages of the running store from a share of its length on."""
    connection = rig.node.databases[STORE_NAME].connection
    content = bytearray(connection.serialize())
    for page in range(int(len(content) * share) // 4096, len(content) // 4096):
        at = page * 4096
        content[at : at + 64] = bytes(byte ^ 0x5A for byte in content[at : at + 64])
    connection.deserialize(bytes(content))


async def full(rig: Rig) -> Gateway:
    gateway = await rig.add_gateway()
    await gateway.make_bucket()
    for cell in rig.cells:
        cell.beating = False
    for number in range(60):
        await gateway.put(f"name-{number}".encode())
    return gateway


@pytest.mark.fault("F14")
async def test_the_first_sign_of_damage_stops_all_answers(autojump_clock: MockClock) -> None:
    async with running() as rig:
        gateway = await full(rig)
        flip(rig, 0.1)
        with pytest.raises(Unavailable, match="store_damaged"):
            await gateway.put(b"more")
        for request in (gateway.get(b"name-1"), gateway.names(), gateway.open_lease()):
            with pytest.raises(Unavailable, match="store_damaged"):
                await request
        with pytest.raises(Unavailable, match="store_damaged"):
            await rig.cells[0].beat()
        health = await rig.http("GET", "/readyz")
        assert health.status_code == 503
        assert health.json()["reason"] == "store_damaged"
        told = await rig.http("GET", "/v1/status")
        assert (told.status_code, told.json()["error"]) == (503, "store_damaged")
        assert "backup" in told.json()["message"]
        assert "alveary_coordinator_store_damaged 1.0" in (await rig.http("GET", "/metrics")).text


@pytest.mark.fault("F14")
async def test_a_stored_record_that_cannot_be_read_is_damage(autojump_clock: MockClock) -> None:
    async with running() as rig:
        gateway = await full(rig)
        rig.sql("UPDATE pages SET extents = x'c1ff'")
        with pytest.raises(Unavailable, match="store_damaged"):
            await gateway.get(b"name-1")
        with pytest.raises(Unavailable, match="store_damaged"):
            await gateway.put(b"more")


@pytest.mark.fault("F14")
async def test_damage_that_no_request_meets_is_found_by_looking(autojump_clock: MockClock) -> None:
    async with running() as rig:
        gateway = await full(rig)
        root = rig.one("SELECT rootpage FROM sqlite_master WHERE name = 'access_keys_by_tenant'")
        connection = rig.node.databases[STORE_NAME].connection
        content = bytearray(connection.serialize())
        at = (root - 1) * connection.execute("PRAGMA page_size").fetchone()[0]
        content[at : at + 16] = b"\xa5" * 16
        connection.deserialize(bytes(content))
        await gateway.put(b"more")
        await trio.sleep(CHECK_EVERY_S + 1)
        await gateway.connect()
        with pytest.raises(Unavailable, match="store_damaged"):
            await gateway.open()


async def test_what_is_not_there_is_still_not_found_in_a_whole_store(
    autojump_clock: MockClock,
) -> None:
    async with running() as rig:
        gateway = await full(rig)
        with pytest.raises(NotFound):
            await gateway.get(b"nothing")
