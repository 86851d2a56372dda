"""Segments of a fallback return to their class amid crashes, and after an older store."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from common.client import write_segment_small, write_segment_stream
from common.client.grants import Grant
from coordinator.journaled_store import STORE_NAME
from sim.checkers.ownership import check_ownership
from sim.cluster import Cluster, Shape
from sim.s3_client import S3Client
from sim.world import SimWorld

NAMES = [f"/bucket/object-{number}" for number in range(8)]
SHAPE = Shape(
    cells=6,
    sites=3,
    overrides={
        "coordinator": {"write_lease_ttl_s": 20, "delete_grace_s": 5, "inherited_lease_grace_s": 60}
    },
)


def body_of(name: str) -> bytes:
    size = 5000 if int(name.rpartition("-")[2]) % 2 else 1_100_000
    return (name.encode() * (size // len(name) + 1))[:size]


def isolate(cluster: Cluster, cells: tuple[int, ...], *, back: bool) -> None:
    internet = cluster.swarm.internet
    change = internet.unblock if back else internet.block
    for daemon in (cluster.cells[number] for number in cells):
        if not back:
            daemon.crash(power=True)
        for other in cluster.daemons:
            change(daemon.node.name, other.node.name)
            change(other.node.name, daemon.node.name)


async def fall_back_and_write(cluster: Cluster) -> S3Client:
    """Write objects while a site is away; on return it is about to come back."""
    client = cluster.client()
    assert (await client.request("PUT", "/bucket")).status_code == 200
    isolate(cluster, (0, 3), back=False)
    await trio.sleep(10)
    for name in NAMES:
        assert (await client.request("PUT", name, None, body_of(name))).status_code == 200
    assert await fallbacks(cluster) == len(NAMES)
    return client


async def fallbacks(cluster: Cluster) -> int:
    """The segments that are in a fallback."""
    told = (await cluster.operate("GET", "/v1/status"))["fallback_segments"]
    return sum(each["segments"] for each in told)


async def wait_home(cluster: Cluster) -> None:
    with trio.fail_after(3000):
        while await fallbacks(cluster):  # noqa: ASYNC110  # virtual time
            await trio.sleep(2)  # over HTTP there is no event to wait for


async def read_all(client: S3Client) -> None:
    for name in NAMES:
        answer = await client.request("GET", name)
        assert (answer.status_code, answer.content) == (200, body_of(name)), name


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", range(3))
async def test_crashes_on_the_way_lose_nothing_and_leave_nothing(
    seed: int, autojump_clock: MockClock
) -> None:
    swarm = SimWorld(40 + seed)
    async with Cluster(swarm, SHAPE) as cluster:
        client = await fall_back_and_write(cluster)
        isolate(cluster, (0, 3), back=True)
        chance = swarm.random("crashes")
        for _ in range(12):
            await trio.sleep(chance.uniform(0.5, 8))
            victim = chance.choice([*cluster.coordinators, *cluster.cells])
            victim.crash(power=chance.random() < 0.5)
        await cluster.wait_all_up()
        await read_all(client)
        await wait_home(cluster)
        await read_all(client)
        await trio.sleep(300)
        assert await check_ownership(cluster) == []
        isolate(cluster, (1, 2), back=False)
        await trio.sleep(20)
        await read_all(client)


@pytest.mark.fault("M1")
async def test_an_older_store_finds_what_went_home_after_it(autojump_clock: MockClock) -> None:
    """It does not know where the segments are; the cells do, and it knows their roots."""
    async with Cluster(SimWorld(50), SHAPE) as cluster:
        client = await fall_back_and_write(cluster)
        older = cluster.store_node.databases[STORE_NAME].connection.serialize()
        isolate(cluster, (0, 3), back=True)
        await wait_home(cluster)
        await trio.sleep(120)
        assert await check_ownership(cluster) == []
        for daemon in (*cluster.coordinators, *cluster.cells):
            daemon.crash(power=True)
        cluster.store_node.databases[STORE_NAME].connection.deserialize(older)
        await trio.sleep(30)
        await cluster.wait_all_up()
        await cluster.operate("POST", "/v1/store/accept", {})
        await wait_home(cluster)
        await read_all(client)
        await trio.sleep(300)
        assert await check_ownership(cluster) == []


async def test_roots_of_the_home_class_that_are_wrong_keep_a_segment_where_it_is(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A writer can only harm what it wrote itself, and that not either."""

    def wrong(grant: Grant, size: int, leaves: object) -> tuple[int, bytes]:
        return (0, b"") if grant.is_at_home else (grant.home_k, bytes(32) * grant.home_n)

    for module in (write_segment_small, write_segment_stream):
        monkeypatch.setattr(module, "home_roots", wrong)
    async with Cluster(SimWorld(51), SHAPE) as cluster:
        client = await fall_back_and_write(cluster)
        isolate(cluster, (0, 3), back=True)
        await trio.sleep(300)
        assert await fallbacks(cluster) == len(NAMES)
        await read_all(client)
        assert await check_ownership(cluster) == []
        for name in NAMES:
            assert (await client.request("DELETE", name)).status_code == 204
        await trio.sleep(300)
        assert await fallbacks(cluster) == 0
        assert await check_ownership(cluster) == []
