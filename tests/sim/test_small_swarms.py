"""Small swarms that lose a site or a box go on writing, and lose nothing of what they write then.

Source: docs/placement.md, "Fewer cells than the class needs".
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import combinations

import pytest
import trio
from trio.testing import MockClock

from common import limits
from coordinator.handlers.cells import SAVE_FACTS_EVERY_S
from sim.checkers.ownership import check_ownership
from sim.cluster import DOWN_S, Cluster, Shape
from sim.s3_client import S3Client
from sim.world import SimWorld

GRACE_S = 10.0
SMALL, LARGE = b"s" * 5000, bytes(range(256)) * (limits.MIB // 256) + b"more"


def part(cluster: Cluster, cells: Sequence[int]) -> None:
    """Cut the power of some cells, and the network of their site: they stay away."""
    away = [cluster.cells[number] for number in cells]
    for daemon in away:
        daemon.crash(power=True)
        for other in cluster.daemons:
            cluster.swarm.internet.block(daemon.node.name, other.node.name)
            cluster.swarm.internet.block(other.node.name, daemon.node.name)


def join_again(cluster: Cluster, cells: Sequence[int]) -> None:
    for daemon in (cluster.cells[number] for number in cells):
        for other in cluster.daemons:
            cluster.swarm.internet.unblock(daemon.node.name, other.node.name)
            cluster.swarm.internet.unblock(other.node.name, daemon.node.name)


async def write_for(client: S3Client, prefix: str, seconds: float) -> list[tuple[float, int]]:
    """Write small and large objects one after the other. Return when each began, and its status."""
    begin = trio.current_time()
    answers = []
    while (at := trio.current_time() - begin) < seconds:
        body = LARGE if len(answers) % 3 == 2 else SMALL
        answer = await client.request("PUT", f"/bucket/{prefix}-{len(answers)}", None, body)
        answers.append((at, answer.status_code))
        await trio.sleep(1)
    return answers


async def read_all(client: S3Client, prefix: str, answers: Sequence[tuple[float, int]]) -> None:
    for number, (_, status) in enumerate(answers):
        if status == 200:
            answer = await client.request("GET", f"/bucket/{prefix}-{number}")
            body = LARGE if number % 3 == 2 else SMALL
            assert (answer.status_code, answer.content) == (200, body), (prefix, number)


@asynccontextmanager
async def swarm(shape: Shape, seed: int) -> AsyncIterator[tuple[Cluster, S3Client]]:
    async with Cluster(SimWorld(seed), shape) as cluster:
        client = cluster.client()
        assert (await client.request("PUT", "/bucket")).status_code == 200
        yield cluster, client


async def wait_home(cluster: Cluster) -> None:
    """Wait until no segment is in a fallback."""
    with trio.fail_after(600):
        while (await cluster.operate("GET", "/v1/status"))["fallback_segments"]:  # noqa: ASYNC110  # virtual time
            await trio.sleep(5)  # over HTTP there is no event to wait for


async def written_as(cluster: Cluster) -> str:
    return str((await cluster.operate("GET", "/v1/status"))["written_as"])


@pytest.mark.timeout(300)
async def test_three_sites_write_on_without_one(autojump_clock: MockClock) -> None:
    site = 1
    async with swarm(Shape(cells=6, sites=3), 20) as (cluster, client):
        before = await write_for(client, "before", 5)
        assert {status for _, status in before} == {200}
        gone = (site, site + 3)
        part(cluster, gone)
        meanwhile = await write_for(client, "meanwhile", 30)
        late = [status for at, status in meanwhile if at >= GRACE_S]
        assert len(late) > 10
        assert set(late) == {200}
        assert await written_as(cluster) == "2/4"
        await read_all(client, "before", before)

        # What was written then survives whatever the class survives, of the cells that are left.
        last = [(at, status) for at, status in meanwhile[-6:]]
        for two in combinations([cell for cell in range(6) if cell not in gone], 2):
            part(cluster, two)
            for number, _ in enumerate(last, len(meanwhile) - len(last)):
                answer = await client.request("GET", f"/bucket/meanwhile-{number}")
                assert answer.status_code == 200, (two, number)
            join_again(cluster, two)
            await cluster.wait_all_up()
            await trio.sleep(40)  # a gateway forgives what failed

        join_again(cluster, gone)
        await cluster.wait_all_up()
        await trio.sleep(30)
        assert await written_as(cluster) == "4/6"
        again = await write_for(client, "again", 5)
        assert {status for _, status in again} == {200}
        written = (("before", before), ("meanwhile", meanwhile), ("again", again))
        for prefix, answers in written:
            await read_all(client, prefix, answers)

        # All of it goes back to the class, and what it was before goes.
        await wait_home(cluster)
        await trio.sleep(60)
        assert await check_ownership(cluster) == []
        for two in ((0, 1), (2, 5)):
            part(cluster, two)
            for prefix, answers in written:
                await read_all(client, prefix, answers)
            join_again(cluster, two)
            await cluster.wait_all_up()
            await trio.sleep(40)


@pytest.mark.timeout(300)
async def test_three_boxes_write_on_without_one(autojump_clock: MockClock) -> None:
    async with swarm(Shape(cells=3, redundancy="2/3"), 30) as (cluster, client):
        before = await write_for(client, "before", 3)
        part(cluster, [1])
        meanwhile = await write_for(client, "meanwhile", 30)
        late = [status for at, status in meanwhile if at >= GRACE_S]
        assert len(late) > 10
        assert set(late) == {200}
        assert await written_as(cluster) == "1/2"
        join_again(cluster, [1])
        await cluster.wait_all_up()
        await trio.sleep(30)
        assert await written_as(cluster) == "2/3"
        for lost in (0, 2):
            # What two boxes have is read from either.
            part(cluster, [lost])
            await read_all(client, "meanwhile", meanwhile)
            await read_all(client, "before", before)
            join_again(cluster, [lost])
            await cluster.wait_all_up()
            await trio.sleep(40)


@pytest.mark.timeout(300)
async def test_cells_that_start_serve_readers_while_nothing_can_be_committed(
    autojump_clock: MockClock,
) -> None:
    async with swarm(
        Shape(cells=4, redundancy="2/4", overrides={"coordinator": {"journal": "on"}}), 40
    ) as (cluster, client):
        for two in combinations(range(4), 2):  # for three pairs, most of the journal
            others = [daemon for number, daemon in enumerate(cluster.cells) if number not in two]
            # What the cells say of themselves is due to be saved by when they start.
            await write_for(client, "first", 3)
            await trio.sleep(SAVE_FACTS_EVERY_S / 2)
            written = await write_for(client, "then", 3)
            await trio.sleep(SAVE_FACTS_EVERY_S / 2 - 8)
            part(cluster, two)
            for daemon in others:
                daemon.crash(power=False)
            await trio.sleep(DOWN_S[1] + 10)
            await read_all(client, "then", written)
            join_again(cluster, two)
            await cluster.wait_all_up()
            await trio.sleep(SAVE_FACTS_EVERY_S)
