"""An older copy of the coordinator's store is run for a while, and the newer one comes back."""

import pytest
import trio

from coordinator.journaled_store import STORE_NAME
from sim.checkers.ownership import check_ownership
from sim.cluster import Cluster, Shape
from sim.world import SimWorld

LEASE_S = 20
GRACE_S = 400
SHAPE = Shape(
    overrides={
        "coordinator": {
            "write_lease_ttl_s": LEASE_S,
            "delete_grace_s": 5,
            "inherited_lease_grace_s": GRACE_S,
        },
        "cell": {"settle_after_s": 5},
    }
)
NAMES = [f"/bucket/new-{number}" for number in range(10)]


def store_of(cluster):
    return cluster.store_node.databases[STORE_NAME].connection


async def swap(cluster, store, *also):
    """Kill the coordinator and start it with another copy of its store; returns the first."""
    before = store_of(cluster).serialize()
    for daemon in (cluster.coordinators[0], *also):
        daemon.crash(power=True)
    store_of(cluster).deserialize(store)
    await trio.sleep(30)
    await cluster.wait_all_up()
    return before


async def status(cluster):
    return (await cluster.operate("GET", "/v1/status"))["store"]


async def put_all(client, names, body):
    for name in names:
        answer = await client.request("PUT", name, None, body if name.count("/") > 1 else b"")
        assert answer.status_code == 200, answer.text


@pytest.fixture(params=["gateway lives", "gateway dies", "all die"])
def who_dies(request):
    return request.param


@pytest.fixture(params=[0, 25], ids=["at once", "after a while"])
def pause_s(request):
    return request.param


def dying(cluster, who):
    cells = cluster.cells if who == "all die" else []
    return [*(cluster.gateways if who != "gateway lives" else []), *cells]


@pytest.mark.fault("M1", "F4")
async def test_an_older_store_that_runs_for_a_while_destroys_nothing(
    who_dies, pause_s, autojump_clock
):
    async with Cluster(SimWorld(11), SHAPE) as cluster:
        client = cluster.client()
        await put_all(client, ["/bucket", "/bucket/old"], b"o" * 5000)
        older = store_of(cluster).serialize()
        await put_all(client, NAMES, b"n" * 5000)
        await trio.sleep(pause_s)
        newer = await swap(cluster, older, *dying(cluster, who_dies))
        await trio.sleep(6 * LEASE_S)
        # What was acknowledged within a heartbeat's interval of the swap may be known to nobody.
        if pause_s or who_dies == "gateway lives":
            assert (await status(cluster))["standing"] == "behind"
        await swap(cluster, newer, *dying(cluster, who_dies))
        await trio.sleep(6 * LEASE_S)
        assert (await status(cluster))["standing"] in ("current", "forked")
        for name in NAMES:
            answer = await client.request("GET", name)
            assert (answer.status_code, answer.content) == (200, b"n" * 5000), name
        if (await status(cluster))["standing"] == "forked":
            await cluster.operate("POST", "/v1/store/accept", {})
        await trio.sleep(2 * GRACE_S)
        assert (await status(cluster))["deletes"]
        assert await check_ownership(cluster) == []


@pytest.mark.fault("M1", "F4")
async def test_a_store_that_is_behind_acknowledges_nothing_and_says_what_to_do(autojump_clock):
    async with Cluster(SimWorld(12), SHAPE) as cluster:
        client = cluster.client()
        await put_all(client, ["/bucket", "/bucket/old"], b"o" * 5000)
        older = store_of(cluster).serialize()
        await put_all(client, NAMES, b"n" * 5000)
        await trio.sleep(12)
        await swap(cluster, older)
        assert (await client.request("GET", "/bucket/old")).status_code == 503
        assert (await client.request("GET", NAMES[0])).status_code == 503
        assert (await client.request("PUT", "/bucket/more", None, b"m")).status_code == 503
        told = await status(cluster)
        assert told["standing"] == "behind"
        assert "accept-store" in told["what_to_do"]
        assert 'store_standing{standing="behind"} 1.0' in await cluster.metrics(
            cluster.coordinators[0]
        )
        assert not told["deletes"]


@pytest.mark.fault("F5", "M1")
async def test_an_older_store_that_is_accepted_serves_again_and_stays_accepted(autojump_clock):
    async with Cluster(SimWorld(13), SHAPE) as cluster:
        client = cluster.client()
        await put_all(client, ["/bucket", "/bucket/old"], b"o" * 5000)
        older = store_of(cluster).serialize()
        await put_all(client, NAMES, b"n" * 5000)
        await trio.sleep(12)
        await swap(cluster, older)
        accepted = await cluster.operate("POST", "/v1/store/accept", {})
        assert accepted["runs_given_up"] == 1
        assert (await client.request("GET", "/bucket/old")).content == b"o" * 5000
        assert (await client.request("GET", NAMES[0])).status_code == 404
        await put_all(client, ["/bucket/more"], b"m" * 5000)
        cluster.coordinators[0].crash(power=True)
        await trio.sleep(30)
        assert (await status(cluster))["standing"] == "current"
        await trio.sleep(2 * GRACE_S)
        assert (await client.request("GET", "/bucket/more")).content == b"m" * 5000
        # Shards that cells knew to be owned before are not compared again (docs/operations.md).
        problems = await check_ownership(cluster)
        assert all(each.startswith(("shard without an owner", "... and")) for each in problems)


@pytest.mark.fault("F5")
async def test_a_coordinator_whose_store_is_gone_does_not_start_empty(autojump_clock):
    async with Cluster(SimWorld(14), SHAPE) as cluster:
        client = cluster.client()
        await put_all(client, ["/bucket", *NAMES], b"n" * 5000)
        cluster.coordinators[0].crash(power=True)
        store = cluster.store_node.databases.pop(STORE_NAME)
        await trio.sleep(60)
        assert not cluster.coordinators[0].is_up
        assert (await client.request("GET", NAMES[0])).status_code == 503
        cluster.store_node.databases[STORE_NAME] = store
        await trio.sleep(60)
        assert (await client.request("GET", NAMES[0])).status_code == 200


@pytest.mark.fault("F5")
async def test_an_empty_store_is_not_served_where_cells_know_a_swarm(autojump_clock):
    async with Cluster(SimWorld(14), SHAPE) as cluster:
        client = cluster.client()
        await put_all(client, ["/bucket", *NAMES], b"n" * 5000)
        await trio.sleep(12)
        cluster.coordinators[0].crash(power=True)
        node = cluster.store_node
        store = node.databases.pop(STORE_NAME)
        del node.platter.inodes["store.begun"]  # the directory was made again, with the old keys
        await trio.sleep(60)
        metrics = await cluster.metrics(cluster.coordinators[0])
        assert 'store_standing{standing="behind"} 1.0' in metrics
        assert (await client.request("GET", NAMES[0])).status_code == 503
        cluster.coordinators[0].crash(power=True)
        node.databases[STORE_NAME] = store
        await trio.sleep(60)
        assert (await client.request("GET", NAMES[0])).status_code == 200
