"""Thousands of broken requests, and slow clients of all kinds: nothing is left of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
import trio
from thoroughness import quick_or
from town import GATEWAY, Town, content, town
from trio.testing import MockClock

from common import limits
from common.errors import Unavailable
from common.limits import MIB
from common.ports import Address, Buffer
from gateway_s3.app import App
from sim.cluster import S3_PORT

BROKEN = quick_or(140, 10_000)
AT_ONCE = 20
SLOW = quick_or(60, 1_000)
MOST_SLOWER = 2.0
STREAMING = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"


async def send(place: Town, *pieces: Buffer, reads: int = 0) -> None:
    """Connect, send, read so many bytes of the answer, and go."""
    network = place.cluster.swarm.node("backlog").world.network
    try:
        stream = await network.connect(Address(GATEWAY, S3_PORT), pin=None)
    except Unavailable:
        return
    try:
        for piece in pieces:
            await stream.send([piece])
        buffer = memoryview(bytearray(64 * 1024))
        while reads > 0:
            count = await stream.receive_into(buffer)
            if not count:
                break
            reads -= count
    except Unavailable:
        pass
    finally:
        await stream.close()


def head(
    place: Town, method: str, path: str, payload: str = "UNSIGNED-PAYLOAD", **more: str
) -> bytes:
    headers = {name.replace("_", "-"): value for name, value in more.items()}
    amz = {name: value for name, value in headers.items() if name.startswith("x-amz-")}
    signed = {**headers, **place.backlog.sign(method, path, "", payload, amz)}
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in signed.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def broken(place: Town) -> list[Callable[[], Awaitable[None]]]:
    """One of each kind."""
    put = head(place, "PUT", "/backlog/key", content_length=str(MIB))
    chunked = head(
        place,
        "PUT",
        "/backlog/key",
        STREAMING,
        x_amz_decoded_content_length="100",
        content_length="300",
    )
    get = head(place, "GET", "/backlog/large")
    form = b"POST /backlog HTTP/1.1\r\nHost: a\r\nContent-Length: 5000\r\n"
    form += b"Content-Type: multipart/form-data; boundary=b\r\n\r\n--b\r\nContent-Disp"
    go_on = head(place, "PUT", "/backlog/key", content_length="10", expect="100-continue")
    return [
        lambda: send(place),
        lambda: send(place, get[: len(get) // 2]),
        lambda: send(place, b"\x16\x03\x01 no HTTP \r\n\r\n", reads=1),
        lambda: send(place, b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", reads=1),
        lambda: send(place, put, content(MIB // 2)),
        lambda: send(place, put),
        lambda: send(place, chunked, b"64;chunk-signature=" + b"0" * 64 + b"\r\n" + b"a" * 100),
        lambda: send(place, chunked, b"zz\r\n", reads=1),
        lambda: send(place, get, reads=1),
        lambda: send(place, get, get, get),
        lambda: send(place, get.replace(b"Signature=", b"Signature=0"), reads=1),
        lambda: send(place, get.replace(b"Credential=", b"Credential=X"), reads=1),
        lambda: send(place, form),
        lambda: send(place, go_on, reads=1),
    ]


def held(place: Town) -> dict[str, float]:
    """What the gateway holds for its clients."""
    serving = place.cluster.gateways[0].serving
    app: App = serving.app
    backend = app._backend
    return {
        "running": app.running,
        "buffers": backend.budget.held_bytes,
        "gathered": backend.gathered.held_bytes,
        "chunks": backend.backlog.held_bytes,
        "hashes": backend.backlog.waiting_bytes,
        "in line": app._queue.waiting,
        "places": limits.MAX_S3_REQUESTS - app._queue._free_places,
        "turns": limits.MAX_S3_REQUESTS_AT_WORK - app._queue._free_turns,
    }


def connections(place: Town) -> int:
    """The ends of connections between the gateway and its broken client."""
    internet = place.cluster.swarm.internet
    ends = ("backlog", GATEWAY)
    return sum({pipe.source, pipe.target} == set(ends) for pipe in internet.pipes_of("backlog"))


@pytest.mark.incident(13, 22)
@pytest.mark.timeout(1200)
async def test_nothing_is_left_of_broken_requests(autojump_clock: MockClock) -> None:
    async with town() as place:
        answer = await place.backlog.request("PUT", "/backlog/large", body=content(2 * MIB))
        assert answer.status_code == 200
        await trio.sleep(limits.HTTP_IDLE_TIMEOUT_S + 60)
        tasks = trio.lowlevel.current_statistics().tasks_living
        done = 0
        while done < BROKEN:
            kinds = broken(place)
            async with trio.open_nursery() as nursery:
                for number in range(AT_ONCE):
                    nursery.start_soon(kinds[(done + number) % len(kinds)])
            done += AT_ONCE
        await place.works()
        await trio.sleep(limits.HTTP_IDLE_TIMEOUT_S + 300)
        assert held(place) == dict.fromkeys(held(place), 0)
        assert connections(place) == 0
        assert trio.lowlevel.current_statistics().tasks_living <= tasks + 8
        stored = await place.backlog.request("GET", "/backlog/large")
        assert stored.content == content(2 * MIB)


@pytest.mark.incident(35)
@pytest.mark.timeout(1200)
async def test_slow_heads_bodies_and_readers_together_leave_others_their_speed(
    autojump_clock: MockClock,
) -> None:
    async with town() as place:
        answer = await place.backlog.request("PUT", "/backlog/large", body=content(2 * MIB))
        assert answer.status_code == 200
        calm = await place.works()

        async def slow_head() -> None:
            network = place.cluster.swarm.node("backlog").world.network
            stream = await network.connect(Address(GATEWAY, S3_PORT), pin=None)
            try:
                for letter in head(place, "GET", "/backlog/large"):
                    await stream.send([bytes([letter])])
                    await trio.sleep(2)
            except Unavailable:
                pass
            await stream.close()

        kinds = (
            slow_head,
            lambda: place.drip(MIB),
            lambda: place.stall("/backlog/large"),
        )
        for number in range(SLOW):
            place.nursery.start_soon(kinds[number % len(kinds)])
            await trio.sleep(0.01)
        place.bystander = place.connect()
        for _ in range(5):
            await trio.sleep(2)
            for beside, alone in zip(await place.works(), calm, strict=True):
                assert beside <= MOST_SLOWER * alone
        await trio.sleep(limits.HTTP_IDLE_TIMEOUT_S + 300)
        assert held(place) == dict.fromkeys(held(place), 0)
