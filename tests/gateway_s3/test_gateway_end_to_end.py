"""The gateway over the real coordinator and cells on simulated ports, driven over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from trio.testing import MockClock

from sim.cluster import Cluster, Shape
from sim.s3_client import S3Client
from sim.world import SimSwarm


@asynccontextmanager
async def swarm(cells: int = 6) -> AsyncIterator[tuple[Cluster, S3Client]]:
    async with Cluster(SimSwarm(7), Shape(cells=cells)) as cluster:
        client = cluster.client()
        made = await client.request("PUT", "/bucket")
        assert made.status_code == 200, made.text
        yield cluster, client


async def test_an_object_lives_and_dies(autojump_clock: MockClock) -> None:
    async with swarm() as (_, client):
        for size in (0, 1, 4096, 70_000, 3_000_001):
            data = bytes(range(251)) * (size // 251 + 1)
            data = data[:size]
            put = await client.request("PUT", "/bucket/key", body=data)
            assert put.status_code == 200, put.text
            got = await client.request("GET", "/bucket/key")
            assert got.status_code == 200
            assert got.content == data
            assert got.headers["etag"] == put.headers["etag"]
            head = await client.request("HEAD", "/bucket/key")
            assert head.headers["content-length"] == str(size)
