"""The gateway over the real coordinator and cells on simulated ports, driven over HTTP."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
import trio
from trio.testing import MockClock

from common.limits import GATEWAY_BUFFER_BUDGET_BYTES
from common.ports import Address
from gateway_s3.service import DRAIN_S
from sim.checkers.ownership import check_ownership
from sim.cluster import HTTP_PORT, S3_PORT, Cluster, Shape
from sim.http import SimTransport
from sim.s3_client import S3Client
from sim.world import SimWorld

MIB = 1024 * 1024
SETTLED_S = 300.0
"""Longer than write leases, grace periods and rounds of cells together, in virtual time."""


@asynccontextmanager
async def swarm(cells: int = 6) -> AsyncIterator[tuple[Cluster, S3Client]]:
    async with Cluster(SimWorld(7), Shape(cells=cells)) as cluster:
        client = cluster.client()
        made = await client.request("PUT", "/bucket")
        assert made.status_code == 200, made.text
        yield cluster, client


def content(size: int) -> bytes:
    return (bytes(range(251)) * (size // 251 + 1))[:size]


async def good(
    client: S3Client,
    method: str,
    path: str,
    query: dict[str, str] | None = None,
    body: bytes = b"",
    headers: dict[str, str] | None = None,
) -> httpx.Response:
    answer = await client.request(method, path, query, body, headers)
    assert answer.status_code < 300, answer.text
    return answer


def element(answer: httpx.Response, name: str) -> str:
    found = re.search(f"<{name}>([^<]*)</{name}>", answer.text)
    assert found is not None, answer.text
    return found[1].replace("&quot;", '"')


async def test_objects_of_all_sizes_live_and_die(autojump_clock: MockClock) -> None:
    async with swarm() as (cluster, client):
        for size in (0, 1, 4096, 70_000, 3_000_001):
            data = content(size)
            put = await good(client, "PUT", "/bucket/key", body=data)
            got = await good(client, "GET", "/bucket/key")
            assert got.content == data
            assert got.headers["etag"] == put.headers["etag"]
            head = await good(client, "HEAD", "/bucket/key")
            assert head.headers["content-length"] == str(size)
            if size > 10:
                part = await good(client, "GET", "/bucket/key", headers={"Range": "bytes=-10"})
                assert part.content == data[-10:]
        await good(client, "DELETE", "/bucket/key")
        assert (await client.request("GET", "/bucket/key")).status_code == 404
        await good(client, "DELETE", "/bucket")
        await trio.sleep(SETTLED_S)
        assert await check_ownership(cluster) == []


async def test_parts_copies_listings_and_conditions(autojump_clock: MockClock) -> None:
    async with swarm() as (cluster, client):
        upload = element(await good(client, "POST", "/bucket/a/whole", {"uploads": ""}), "UploadId")
        parts = [content(5 * MIB), content(6 * MIB)[::-1], b"end"]
        etags = []
        for number, data in enumerate(parts, 1):
            query = {"partNumber": str(number), "uploadId": upload}
            etags.append(
                (await good(client, "PUT", "/bucket/a/whole", query, data)).headers["etag"]
            )
        source = {
            "x-amz-copy-source": "/bucket/a/whole",
            "x-amz-copy-source-range": "bytes=100-6000099",
        }
        rows = "".join(
            f"<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>"
            for number, etag in enumerate(etags, 1)
        )
        document = f"<CompleteMultipartUpload>{rows}</CompleteMultipartUpload>".encode()
        query = {"uploadId": upload}
        done = await good(client, "POST", "/bucket/a/whole", query, document)
        assert (await good(client, "POST", "/bucket/a/whole", query, document)).text == done.text
        whole = b"".join(parts)
        assert (await good(client, "GET", "/bucket/a/whole")).content == whole
        second = await good(client, "GET", "/bucket/a/whole", {"partNumber": "2"})
        assert second.content == parts[1]

        upload = element(await good(client, "POST", "/bucket/b", {"uploads": ""}), "UploadId")
        query = {"partNumber": "1", "uploadId": upload}
        etag = element(await good(client, "PUT", "/bucket/b", query, headers=source), "ETag")
        document = (
            "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber>"
            f"<ETag>{etag}</ETag></Part></CompleteMultipartUpload>"
        ).encode()
        await good(client, "POST", "/bucket/b", {"uploadId": upload}, document)
        assert (await good(client, "GET", "/bucket/b")).content == whole[100:6000100]

        source = {"x-amz-copy-source": "/bucket/b"}
        await good(client, "PUT", "/bucket/c", headers=source | {"If-None-Match": "*"})
        again = await client.request("PUT", "/bucket/c", headers=source | {"If-None-Match": "*"})
        assert again.status_code == 412
        await good(client, "DELETE", "/bucket/b")
        await good(client, "DELETE", "/bucket/a/whole")
        await trio.sleep(SETTLED_S)
        later = cluster.client("client-1")
        assert (await good(later, "GET", "/bucket/c")).content == whole[100:6000100]
        listed = await good(later, "GET", "/bucket", {"list-type": "2", "delimiter": "/"})
        assert re.findall("<Key>(.*?)</Key>", listed.text) == ["c"]
        body = b"<Delete><Object><Key>c</Key></Object></Delete>"
        md5 = {"Content-MD5": base64.b64encode(hashlib.md5(body).digest()).decode()}
        await good(later, "POST", "/bucket", {"delete": ""}, body, md5)
        await trio.sleep(SETTLED_S)
        assert await check_ownership(cluster) == []


@pytest.mark.fault("B10")
async def test_six_completions_at_once_make_one_object(autojump_clock: MockClock) -> None:
    async with swarm() as (cluster, _):
        clients = [cluster.client(f"client-{number}") for number in range(6)]
        for key in ("a", "b", "c", "d"):
            path = f"/bucket/{key}"
            upload = element(await good(clients[0], "POST", path, {"uploads": ""}), "UploadId")
            query = {"partNumber": "1", "uploadId": upload}
            etag = (await good(clients[0], "PUT", path, query, b"x")).headers["etag"]
            document = (
                "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber>"
                f"<ETag>{etag}</ETag></Part></CompleteMultipartUpload>"
            ).encode()
            texts: list[str] = []

            async def repeat(client: S3Client) -> None:
                query = {"uploadId": upload}  # noqa: B023  (it ends within the round)
                answer = await good(client, "POST", path, query, document)  # noqa: B023  (it ends within the round)
                texts.append(answer.text)  # noqa: B023  (it ends within the round)

            async with trio.open_nursery() as nursery:
                for client in clients:
                    nursery.start_soon(repeat, client)
            assert len(texts) == 6
            assert len(set(texts)) == 1


async def test_wrong_digests_and_cut_uploads_leave_nothing(autojump_clock: MockClock) -> None:
    async with swarm() as (cluster, client):
        await good(client, "PUT", "/bucket/kept", body=b"kept")
        wrong = {"Content-MD5": base64.b64encode(bytes(16)).decode()}
        for size in (4096, 3 * MIB):
            answer = await client.request("PUT", "/bucket/kept", None, content(size), wrong)
            assert (answer.status_code, element(answer, "Code")) == (400, "BadDigest")
        for sent in (0, 1, 100_000, 3 * MIB):
            await cut_upload(cluster, client, "/bucket/kept", 8 * MIB, sent)
        assert (await good(client, "GET", "/bucket/kept")).content == b"kept"
        await trio.sleep(SETTLED_S)
        assert await check_ownership(cluster) == []
        facts = await gateway_facts(cluster)
        assert facts["alveary_gateway_buffer_free_bytes"] == GATEWAY_BUFFER_BUDGET_BYTES
        assert facts["alveary_s3_hashes_waiting_bytes"] == 0
        assert facts["alveary_s3_requests_running"] == 0


async def gateway_facts(cluster: Cluster) -> dict[str, float]:
    """The metrics without labels that a gateway shows, and that it says it is well."""
    network = cluster.swarm.node("watcher").world.network
    async with httpx.AsyncClient(transport=SimTransport(network)) as http:
        health = await http.get(f"http://gateway-0:{HTTP_PORT}/readyz")
        assert health.json()["ready"] is True
        text = (await http.get(f"http://gateway-0:{HTTP_PORT}/metrics")).text
    return {
        name: float(value)
        for name, value in (
            line.split(" ") for line in text.splitlines() if " " in line and line[0] != "#"
        )
        if "{" not in name
    }


async def cut_upload(
    cluster: Cluster, client: S3Client, path: str, promised: int, sent: int
) -> None:
    """Begin a PUT, send some of its body, and go."""
    network = cluster.swarm.node("rude").world.network
    stream = await network.connect(Address("gateway-0", S3_PORT), pin=None)
    headers = client.sign("PUT", path, "", "UNSIGNED-PAYLOAD", {})
    lines = [f"PUT {path} HTTP/1.1", f"content-length: {promised}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    await stream.send([("\r\n".join(lines) + "\r\n\r\n").encode(), bytes(sent)])
    await trio.sleep(1)
    await stream.close()


async def test_reads_go_on_when_two_cells_are_gone(autojump_clock: MockClock) -> None:
    async with swarm() as (cluster, client):
        data = content(2 * MIB)
        await good(client, "PUT", "/bucket/large", body=data)
        await good(client, "PUT", "/bucket/small", body=b"small")
        for daemon in cluster.cells[:2]:
            daemon.crash(power=True)
        assert (await good(client, "GET", "/bucket/large")).content == data
        assert (await good(client, "GET", "/bucket/small")).content == b"small"


async def test_requests_wait_for_a_coordinator_that_restarts(autojump_clock: MockClock) -> None:
    async with swarm() as (cluster, client):
        await good(client, "PUT", "/bucket/key", body=b"before")
        cluster.coordinators[0].crash(power=True)
        await cluster.wait_all_up()
        assert (await good(client, "GET", "/bucket/key")).content == b"before"
        await good(client, "PUT", "/bucket/key", body=b"after")
        assert (await good(client, "GET", "/bucket/key")).content == b"after"


async def test_a_gateway_that_restarts_serves_on(autojump_clock: MockClock) -> None:
    async with swarm() as (cluster, client):
        await good(client, "PUT", "/bucket/key", body=b"x")
        cluster.gateways[0].crash(power=True)
        await trio.sleep(1)
        await cluster.wait_all_up()
        other = cluster.client("client-1")
        assert (await good(other, "GET", "/bucket/key")).content == b"x"


@pytest.mark.fault("F11")
async def test_a_gateway_that_stops_says_so_first_and_ends_what_has_begun(
    autojump_clock: MockClock,
) -> None:
    shape = Shape(overrides={"gateway": {"drain_notice_s": 5}})
    async with Cluster(SimWorld(7), shape) as cluster:
        client, other = cluster.client(), cluster.client("client-1")
        data = content(6 * MIB)
        await good(client, "PUT", "/bucket")
        await good(client, "PUT", "/bucket/key", body=data)
        network = cluster.swarm.node("watcher").world.network
        serving = cluster.gateways[0].serving

        async def health() -> httpx.Response:
            async with httpx.AsyncClient(transport=SimTransport(network)) as http:
                return await http.get(f"http://gateway-0:{HTTP_PORT}/readyz")

        assert (await health()).status_code == 200
        reader = await network.connect(Address("gateway-0", S3_PORT), pin=None)
        headers = client.sign("GET", "/bucket/key", "", "UNSIGNED-PAYLOAD", {})
        lines = [f"{name}: {value}" for name, value in headers.items()]
        head = "\r\n".join(["GET /bucket/key HTTP/1.1", *lines]) + "\r\n\r\n"
        await reader.send([head.encode()])
        await trio.sleep(0.5)
        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serving.drain)
            await trio.sleep(1)
            told = await health()
            assert (told.status_code, told.json()["stopping"]) == (503, True)
            assert (await good(other, "GET", "/bucket/key")).content == data
            await trio.sleep(5)
            with pytest.raises(httpx.TransportError, match="refused"):
                await cluster.client("client-2").request("GET", "/bucket/key")
            assert (await health()).status_code == 503
            got = bytearray()
            buffer = memoryview(bytearray(65536))
            while count := await reader.receive_into(buffer):
                got += buffer[:count]
            assert got.endswith(data[-1000:])
        assert trio.current_time() - began < 5 + DRAIN_S


@pytest.mark.fault("F11")
async def test_a_client_that_does_not_read_does_not_keep_a_gateway_from_stopping(
    autojump_clock: MockClock,
) -> None:
    async with swarm() as (cluster, client):
        await good(client, "PUT", "/bucket/key", body=content(6 * MIB))
        network = cluster.swarm.node("watcher").world.network
        reader = await network.connect(Address("gateway-0", S3_PORT), pin=None)
        headers = client.sign("GET", "/bucket/key", "", "UNSIGNED-PAYLOAD", {})
        lines = [f"{name}: {value}" for name, value in headers.items()]
        head = "\r\n".join(["GET /bucket/key HTTP/1.1", *lines]) + "\r\n\r\n"
        await reader.send([head.encode()])
        await trio.sleep(1)
        began = trio.current_time()
        await cluster.gateways[0].serving.drain()
        assert trio.current_time() - began == pytest.approx(DRAIN_S)


@pytest.mark.fault("L")
async def test_buckets_and_uploads_beyond_the_limits_get_clear_errors(
    autojump_clock: MockClock,
) -> None:
    limits = {"max_buckets_per_tenant": 2, "max_uploads_per_tenant": 1}
    async with Cluster(SimWorld(7), Shape(overrides={"coordinator": limits})) as cluster:
        client = cluster.client()
        await good(client, "PUT", "/first")
        await good(client, "PUT", "/second")
        await good(client, "PUT", "/second")
        answer = await client.request("PUT", "/third")
        assert (answer.status_code, element(answer, "Code")) == (400, "TooManyBuckets")
        upload = element(await good(client, "POST", "/first/key", {"uploads": ""}), "UploadId")
        answer = await client.request("POST", "/second/key", {"uploads": ""})
        assert (answer.status_code, element(answer, "Code")) == (400, "InvalidRequest")
        assert "multipart uploads" in element(answer, "Message")
        await good(client, "DELETE", "/first/key", {"uploadId": upload})
        await good(client, "POST", "/second/key", {"uploads": ""})
