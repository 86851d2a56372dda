"""What a WebhookSender promises, asked of the real one and of the simulated one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import trio

from common import limits
from common.errors import Unavailable
from common.http.records import HttpRequest, HttpResponse
from common.http.server import serve_http
from common.ports import Address, WebhookSender
from common.system.network import RealNetwork
from common.system.webhooks import HttpxSender
from sim.webhooks import SimSender
from sim.world import SimWorld

both = pytest.mark.parametrize("kind", ["real", "simulated"])


@asynccontextmanager
async def receiver(
    kind: str, handler: Callable[[HttpRequest], Awaitable[HttpResponse]]
) -> AsyncIterator[tuple[WebhookSender, str]]:
    """A sender, and the address of a receiver that it can reach."""
    node = SimWorld(seed=1).node("node")
    network = node.world.network if kind == "simulated" else RealNetwork()
    sender: WebhookSender = SimSender(lambda: network) if kind == "simulated" else HttpxSender()
    host = "node" if kind == "simulated" else "127.0.0.1"
    port = 8080 if kind == "simulated" else 0
    listener = await network.listen(Address(host, port), identity=None)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(
            lambda: serve_http(listener, handler, log=node.world.log, clock=node.world.clock)
        )
        try:
            yield sender, f"http://{listener.address}/hook?a=b"
        finally:
            if isinstance(sender, HttpxSender):
                await sender.close()
        nursery.cancel_scope.cancel()
    await listener.close()


@both
@pytest.mark.parametrize("status", [200, 204, 301, 404, 500])
async def test_a_message_arrives_as_it_was_sent_and_the_status_is_returned(
    kind: str, status: int
) -> None:
    came: list[tuple[str, bytes, bytes | None, bytes]] = []

    async def handle(request: HttpRequest) -> HttpResponse:
        body = b""
        while piece := await request.body.receive():
            body += bytes(piece)
        came.append((request.method, request.target, request.header(b"webhook-id"), body))
        elsewhere = [(b"location", b"/elsewhere")] if status == 301 else []
        return HttpResponse(status, elsewhere, b"" if status == 204 else b"text")

    async with receiver(kind, handle) as (sender, url):
        for _ in range(2):
            assert await sender.post(url, {"webhook-id": "1"}, b"body") == status
    assert came == [("POST", b"/hook?a=b", b"1", b"body")] * 2


@both
async def test_a_receiver_that_is_not_there_is_unavailable(kind: str) -> None:
    async def handle(request: HttpRequest) -> HttpResponse:
        raise AssertionError(request)

    async with receiver(kind, handle) as (sender, url):
        pass
    with pytest.raises(Unavailable):
        await sender.post(url, {}, b"body")


async def test_no_more_of_an_answer_is_read_than_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_WEBHOOK_ANSWER_BYTES", 10_000)
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 8000
            yield b"x" * 8000

    async def handle(request: HttpRequest) -> HttpResponse:
        return HttpResponse(200, [], endless())

    async with receiver("real", handle) as (sender, url):
        with trio.fail_after(20):
            assert await sender.post(url, {}, b"") == 200
    assert sent < 64 << 20
