"""Slow and greedy clients of one tenant leave the others their gateway. In virtual time."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx
import pytest
import trio
from trio.testing import MockClock

from common import limits
from common.crypto.keys import TenantKey
from common.errors import Unavailable
from common.format.manifest import AccessKeyRecord, seal_access_key
from common.ids import TenantId
from common.limits import MIB
from common.ports import Address, Stream
from gateway_s3.app import REFUSAL_PAUSE_S
from sim.cluster import CLIENT_TIMEOUT_S, S3_PORT, Cluster, Shape, write_file
from sim.http import SimTransport
from sim.s3_client import S3Client, SimCredentials
from sim.world import SimWorld

GATEWAY = "gateway-0"
MOST_SLOWER = 2.0
"""What a backlog of another tenant may cost."""


def content(size: int) -> bytes:
    return (bytes(range(251)) * (size // 251 + 1))[:size]


@dataclass
class Town:
    """A swarm with two tenants on one gateway: a backlog's, and a bystander's."""

    cluster: Cluster
    backlog: S3Client
    bystander: S3Client
    nursery: trio.Nursery
    connect: Callable[[], S3Client]
    """Makes a client of the bystander with connections of its own."""

    async def open(self, method: str, path: str, headers: Mapping[str, str]) -> Stream:
        """A connection of the backlog on which one request has begun."""
        network = self.cluster.swarm.node("backlog").world.network
        stream = await network.connect(Address(GATEWAY, S3_PORT), pin=None)
        signed = self.backlog.sign(method, path, "", "UNSIGNED-PAYLOAD", {})
        lines = [f"{method} {path} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in {**headers, **signed}.items()]
        await stream.send([("\r\n".join(lines) + "\r\n\r\n").encode()])
        return stream

    async def drip(self, size: int, begin: bytes = b"") -> None:
        """Begin a PUT and send a byte every 5 s, for as long as the gateway takes them."""
        stream = await self.open("PUT", "/backlog/slow", {"content-length": str(size)})
        try:
            await stream.send([begin])
            while True:
                await trio.sleep(5)
                await stream.send([b"x"])
        except Unavailable:
            await stream.close()

    async def stall(self, path: str) -> None:
        """Begin a GET and read nothing."""
        await self.open("GET", path, {})

    async def works(self) -> tuple[float, float]:
        """Seconds of a PUT and a GET of 1 MiB of the bystander."""
        data = content(MIB)
        began = trio.current_time()
        answer = await self.bystander.request("PUT", "/bystander/key", body=data)
        assert answer.status_code == 200, answer.text
        put_s = trio.current_time() - began
        began = trio.current_time()
        answer = await self.bystander.request("GET", "/bystander/key")
        assert answer.content == data
        return put_s, trio.current_time() - began

    async def metrics(self) -> str:
        return await self.cluster.metrics(self.cluster.gateways[0])


@asynccontextmanager
async def town() -> AsyncIterator[Town]:
    async with Cluster(SimWorld(7), Shape()) as cluster, trio.open_nursery() as nursery:
        chance = cluster.swarm.random("bystander")
        tenant = TenantKey(TenantId(chance.randbytes(16)), chance.randbytes(32))
        await cluster.make_tenant("other", tenant.tenant_id, tenant.proof_key())
        secret = chance.randbytes(20).hex()
        record = AccessKeyRecord(secret=secret, created_ms=0)
        sealed = seal_access_key(tenant, "AKOTHER", record, chance.randbytes)
        await cluster.operate(
            "POST",
            "/v1/tenants/other/keys",
            {"access_key_id": "AKOTHER", "sealed": base64.b64encode(sealed).decode()},
        )
        file = {"name": "other", "tenant_id": tenant.tenant_id.hex(), "key": tenant.key.hex()}
        disk = cluster.gateways[0].node.world.disk
        await write_file(disk, "tenants/other.json", json.dumps(file).encode())
        node = cluster.swarm.node("bystander")

        def connect() -> S3Client:
            http = httpx.AsyncClient(
                transport=SimTransport(node.world.network), timeout=CLIENT_TIMEOUT_S
            )
            credentials = SimCredentials("AKOTHER", secret)
            return S3Client(http, f"{GATEWAY}:{S3_PORT}", credentials, node.world.clock)

        bystander = connect()
        place = Town(cluster, cluster.client(), bystander, nursery, connect)
        for client, bucket in ((place.backlog, "/backlog"), (bystander, "/bystander")):
            assert (await client.request("PUT", bucket)).status_code == 200
        await place.works()
        yield place
        nursery.cancel_scope.cancel()


async def _holds_up(place: Town, begin: Callable[[], Awaitable[None]], backlog: int) -> None:
    calm = await place.works()
    for _ in range(backlog):
        place.nursery.start_soon(begin)
    for _ in range(4):
        await trio.sleep(1.5)
        for beside, alone in zip(await place.works(), calm, strict=True):
            assert beside <= MOST_SLOWER * alone


@pytest.mark.incident(35)
@pytest.mark.fault("H2")
async def test_slow_bodies_of_a_tenant_leave_others_their_speed(autojump_clock: MockClock) -> None:
    async with town() as place:
        await _holds_up(place, lambda: place.drip(MIB), 26)
        waiting_s = limits.HTTP_BODY_TIMEOUT_S + limits.HTTP_LINGER_S
        await trio.sleep(waiting_s)
        assert "alveary_gateway_slow_bodies_total 26.0" in await place.metrics()


@pytest.mark.fault("H2")
@pytest.mark.parametrize("size", [MIB, 8 * MIB])
async def test_bodies_that_stop_late_leave_others_their_speed(
    size: int, autojump_clock: MockClock
) -> None:
    """Each of the backlog has nearly a stripe, or two stripes and some, in the gateway."""
    begin = content(min(size - 1000, 2 * MIB + 100_000))
    async with town() as place:
        await _holds_up(place, lambda: place.drip(size, begin), 60)


@pytest.mark.incident(35)
@pytest.mark.fault("H2")
async def test_readers_that_stall_leave_others_their_speed(autojump_clock: MockClock) -> None:
    async with town() as place:
        answer = await place.backlog.request("PUT", "/backlog/large", body=content(24 * MIB))
        assert answer.status_code == 200
        await _holds_up(place, lambda: place.stall("/backlog/large"), 70)
        piece_s = limits.HTTP_SEND_BYTES / limits.HTTP_LEAST_BYTES_PER_S
        await trio.sleep(limits.HTTP_SEND_TIMEOUT_S + piece_s + limits.BUDGET_WAIT_S)
        await trio.sleep(limits.HTTP_SEND_TIMEOUT_S + piece_s)
        text = await place.metrics()
        free = f"alveary_gateway_buffer_free_bytes {float(limits.GATEWAY_BUFFER_BUDGET_BYTES)}"
        assert free in text.replace("6.7108864e+07", "67108864.0")


@pytest.mark.fault("H2")
async def test_both_kinds_at_once_leave_others_their_speed(autojump_clock: MockClock) -> None:
    async with town() as place:
        answer = await place.backlog.request("PUT", "/backlog/large", body=content(24 * MIB))
        assert answer.status_code == 200
        for _ in range(40):
            place.nursery.start_soon(place.stall, "/backlog/large")
        begin = content(2 * MIB + 100_000)
        await _holds_up(place, lambda: place.drip(8 * MIB, begin), 40)


@pytest.mark.fault("H2")
async def test_who_gets_no_room_in_time_is_asked_to_come_later(autojump_clock: MockClock) -> None:
    async with town() as place:
        budget = place.cluster.gateways[0].serving.app._backend.budget
        held = budget.free_bytes
        assert budget.take_nowait(held)
        began = trio.current_time()
        answers = [
            await place.bystander.request("PUT", "/bystander/key", body=b"x"),
            await place.bystander.request("GET", "/bystander/key"),
        ]
        assert trio.current_time() - began < 2 * limits.BUDGET_WAIT_S + 1
        for answer in answers:
            assert answer.status_code == 503
            assert "<Code>SlowDown</Code>" in answer.text
            assert answer.headers["retry-after"] == "2"
        assert "alveary_gateway_buffer_refused_total 2.0" in await place.metrics()
        budget.give(held)
        await place.works()


@pytest.mark.fault("H2")
async def test_readers_that_stall_are_cut_when_their_own_tenant_needs_the_room(
    autojump_clock: MockClock,
) -> None:
    async with town() as place:
        for key, size in (("large", 24 * MIB), ("key", MIB)):
            answer = await place.backlog.request("PUT", f"/backlog/{key}", body=content(size))
            assert answer.status_code == 200
        for _ in range(70):
            place.nursery.start_soon(place.stall, "/backlog/large")
        await trio.sleep(1.5)
        began = trio.current_time()
        got = await place.backlog.request("GET", "/backlog/key")
        assert got.content == content(MIB)
        # Those that came before it have their turn first, in two rounds of half the budget.
        assert trio.current_time() - began < 2.5 * limits.HTTP_PRESSED_SEND_TIMEOUT_S


async def test_readers_that_stall_are_not_cut_early_while_nobody_waits(
    autojump_clock: MockClock,
) -> None:
    async with town() as place:
        answer = await place.backlog.request("PUT", "/backlog/large", body=content(24 * MIB))
        assert answer.status_code == 200
        for _ in range(5):
            place.nursery.start_soon(place.stall, "/backlog/large")
        await trio.sleep(4 * limits.HTTP_PRESSED_SEND_TIMEOUT_S)
        assert "alveary_gateway_slow_readers_total 0.0" in await place.metrics()


async def test_a_tenant_that_takes_all_connections_leaves_others_theirs(
    autojump_clock: MockClock,
) -> None:
    async with town() as place:
        answer = await place.backlog.request("PUT", "/backlog/large", body=content(2 * MIB))
        assert answer.status_code == 200
        calm = await place.works()
        for _ in range(limits.MAX_HTTP_CONNECTIONS + 50):
            place.nursery.start_soon(place.stall, "/backlog/large")
            await trio.sleep(0.01)
        place.bystander = place.connect()
        for beside, alone in zip(await place.works(), calm, strict=True):
            assert beside <= MOST_SLOWER * alone


async def test_who_used_its_share_is_not_read_from_for_a_second(
    autojump_clock: MockClock,
) -> None:
    async with town() as place:
        app = place.cluster.gateways[0].serving.app
        app._queue._most_of_one = 0
        began = trio.current_time()
        codes = [(await place.backlog.request("GET", "/backlog/none")).status_code for _ in "12345"]
        assert codes == [503] * 5
        assert trio.current_time() - began == pytest.approx(4 * REFUSAL_PAUSE_S, abs=0.1)
        app._queue._most_of_one = 10
        assert (await place.backlog.request("GET", "/backlog/none")).status_code == 404
