"""A download that takes longer than deleted objects are kept."""

import pytest
import trio

from common.ports import Address
from sim.checkers.ownership import check_ownership
from sim.cluster import S3_PORT, Cluster, Shape
from sim.world import SimWorld

SIZE = 12 * 1024 * 1024
STEP = 512 * 1024
SHAPE = Shape(overrides={"coordinator": {"delete_grace_s": 20, "write_lease_ttl_s": 120}})


async def download_slowly(cluster, client, path, meanwhile):
    """Read 512 KiB every 20 s; ``meanwhile`` runs after the first. Returns the body."""
    network = cluster.swarm.node("slow").world.network
    stream = await network.connect(Address("gateway-0", S3_PORT), pin=None)
    signed = client.sign("GET", path, "", "UNSIGNED-PAYLOAD", {})
    lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in signed.items())]
    await stream.send([("\r\n".join(lines) + "\r\n\r\n").encode()])
    received = bytearray()
    buffer = memoryview(bytearray(64 * 1024))
    wanted = STEP
    is_first = True
    while True:
        while len(received) < wanted:
            count = await stream.receive_into(buffer)
            if not count:
                return bytes(received).partition(b"\r\n\r\n")[2]
            received += buffer[:count]
            body = received.find(b"\r\n\r\n") + 4
            if len(received) - body >= SIZE:
                await stream.close()
                return bytes(received[body:])
        if is_first:
            await meanwhile()
            is_first = False
        wanted += STEP
        await trio.sleep(20)


@pytest.mark.fault("M7")
@pytest.mark.parametrize("method", ["PUT", "DELETE"])
async def test_a_slow_download_ends_well_though_its_object_was_replaced_or_deleted(
    method, autojump_clock
):
    data = bytes(range(256)) * (SIZE // 256)
    async with Cluster(SimWorld(5), SHAPE) as cluster:
        client = cluster.client()
        await client.request("PUT", "/bucket")
        assert (await client.request("PUT", "/bucket/key", None, data)).status_code == 200
        cluster.gateways[0].crash(power=True)  # one that holds no lease: it only reads
        await trio.sleep(30)
        await cluster.wait_all_up()
        other = cluster.client("other")

        async def change():
            assert (await other.request(method, "/bucket/key", None, b"")).status_code < 300

        begun = trio.current_time()
        got = await download_slowly(cluster, client, "/bucket/key", change)
        assert trio.current_time() - begun > 100
        assert len(got) == len(data), (len(got), trio.current_time() - begun)
        assert got == data
        await trio.sleep(400)
        assert await check_ownership(cluster) == []


@pytest.mark.fault("M7")
async def test_what_a_gateway_that_died_was_reading_is_deleted_in_the_end(autojump_clock):
    data = bytes(range(256)) * (SIZE // 256)
    async with Cluster(SimWorld(6), SHAPE) as cluster, trio.open_nursery() as nursery:
        client = cluster.client()
        await client.request("PUT", "/bucket")
        await client.request("PUT", "/bucket/key", None, data)

        async def change():
            await cluster.client("other").request("DELETE", "/bucket/key")
            await trio.sleep(60)
            cluster.gateways[0].crash(power=True)
            nursery.cancel_scope.cancel()

        nursery.start_soon(download_slowly, cluster, client, "/bucket/key", change)
        with trio.CancelScope(shield=True):
            await trio.sleep(600)
        assert await check_ownership(cluster) == []
