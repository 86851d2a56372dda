"""The HTTP server over simulated streams: what it answers, keeps open, cuts and bounds."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import trio

from common import limits
from common.errors import Refused, Unavailable
from common.http.connection import HttpFaultCounts, Timeouts
from common.http.records import HttpRequest, HttpResponse
from common.http.server import serve_http
from common.ports import Address, Listener, Stream
from sim.world import SimNode, SimWorld

HOST = b"Host: a\r\n"


class Client:
    """A raw client: sends bytes, reads answers."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.data = bytearray()

    async def send(self, *parts: bytes) -> None:
        await self.stream.send(parts)

    async def more(self) -> bool:
        buffer = bytearray(65536)
        try:
            count = await self.stream.receive_into(memoryview(buffer))
        except Unavailable:
            return False
        self.data += buffer[:count]
        return count > 0

    async def head(self) -> tuple[int, dict[str, str]]:
        while b"\r\n\r\n" not in self.data:
            assert await self.more(), f"closed within a head: {bytes(self.data)!r}"
        raw, _, rest = bytes(self.data).partition(b"\r\n\r\n")
        self.data = bytearray(rest)
        first, *lines = raw.decode("latin-1").split("\r\n")
        pairs = [line.partition(": ") for line in lines]
        return int(first.split()[1]), {name.lower(): value for name, _, value in pairs}

    async def answer(self, *, body: bool = True) -> tuple[int, dict[str, str], bytes]:
        status, headers = await self.head()
        length = int(headers.get("content-length", "0")) if body else 0
        while len(self.data) < length:
            assert await self.more(), "closed within a body"
        found = bytes(self.data[:length])
        del self.data[:length]
        return status, headers, found

    async def status(self) -> int:
        return (await self.answer())[0]

    async def is_closed(self) -> bool:
        with trio.move_on_after(1000):
            return not await self.more()
        return False


class Site:
    """A server with one handler, and clients of it."""

    def __init__(self, listener: Listener, node: SimNode) -> None:
        self.listener = listener
        self.node = node
        self.ended = trio.Event()

    async def client(self) -> Client:
        network = self.node.swarm.node("client").world.network
        address = Address("server", self.listener.address.port)
        return Client(await network.connect(address, pin=None))


Handle = Callable[[HttpRequest], Awaitable[HttpResponse]]
Start = Callable[..., Awaitable[Site]]


@pytest.fixture
async def start(nursery: trio.Nursery) -> Start:
    async def begin(
        handler: Handle,
        *,
        max_connections: int = 100,
        timeouts: Timeouts | None = None,
        counts: HttpFaultCounts | None = None,
        drain: trio.Event | None = None,
        wrap: Callable[[Listener], object] = lambda listener: listener,
    ) -> Site:
        node = SimWorld(seed=1).node("server")
        world = node.world
        listener = await world.network.listen(Address("server", 0), identity=None)

        site = Site(listener, node)

        async def serve() -> None:
            await serve_http(
                wrap(listener),
                handler,
                log=world.log,
                clock=world.clock,
                max_connections=max_connections,
                timeouts=timeouts,
                counts=counts,
                drain=drain,
            )
            site.ended.set()

        nursery.start_soon(serve)
        return site

    return begin


async def whole(request: HttpRequest) -> bytes:
    found = bytearray()
    while piece := await request.body.receive():
        found += piece
    return bytes(found)


async def echo(request: HttpRequest) -> HttpResponse:
    body = await whole(request)
    return HttpResponse(200, [(b"x-path", request.path)], request.method.encode() + b" " + body)


async def refuse(_request: HttpRequest) -> HttpResponse:
    return HttpResponse(403, [], b"no")


async def test_requests_of_one_connection_are_answered_in_order(
    autojump_clock: object, start: Start
) -> None:
    client = await (await start(echo)).client()
    await client.send(
        b"GET /a?q HTTP/1.1\r\n" + HOST + b"\r\n"
        b"PUT /b HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\n\r\nabc"
        b"PUT /c HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"
        b"2;x=y\r\nde\r\n1\r\nf\r\n0\r\nTrailer: z\r\n\r\n"
        b"GET /d HTTP/1.1\r\n" + HOST + b"\r\n"
    )
    for path, body in [("/a", b"GET "), ("/b", b"PUT abc"), ("/c", b"PUT def"), ("/d", b"GET ")]:
        status, headers, found = await client.answer()
        assert (status, headers["x-path"], found) == (200, path, body)
        assert headers["server"] == "Alveary"
        assert headers["date"].endswith(" GMT")
        assert headers["connection"] == "keep-alive"


async def test_a_large_body_arrives_whole_in_pieces_that_are_nobody_elses(
    autojump_clock: object, start: Start
) -> None:
    body = bytes(range(256)) * 4096
    seen: list[bytes | memoryview] = []

    async def keep(request: HttpRequest) -> HttpResponse:
        assert request.body.length == len(body)
        while piece := await request.body.receive():
            seen.append(piece)
        return HttpResponse(200)

    client = await (await start(keep)).client()
    await client.send(b"PUT / HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\n\r\n" % len(body))
    for at in range(0, len(body), 100_000):
        await client.send(body[at : at + 100_000])
    assert await client.status() == 200
    assert b"".join(seen) == body
    assert max(map(len, seen)) <= limits.HTTP_READ_BYTES


async def test_a_head_may_come_byte_by_byte(autojump_clock: object, start: Start) -> None:
    client = await (await start(echo)).client()
    for byte in b"\r\nPUT /a HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nxy":
        await client.send(bytes([byte]))
    assert (await client.answer())[2] == b"PUT xy"


async def test_a_head_request_gets_the_length_and_no_body(
    autojump_clock: object, start: Start
) -> None:
    async def handler(request: HttpRequest) -> HttpResponse:
        return HttpResponse(200, [], b"12345")

    client = await (await start(handler)).client()
    await client.send((b"HEAD / HTTP/1.1\r\n" + HOST + b"\r\n") * 2)
    for _ in range(2):
        _, headers, _ = await client.answer(body=False)
        assert headers["content-length"] == "5"
    assert not client.data


@pytest.mark.parametrize("status", [204, 304])
async def test_an_answer_that_has_no_body_says_no_length(
    autojump_clock: object, start: Start, status: int
) -> None:
    async def handler(request: HttpRequest) -> HttpResponse:
        return HttpResponse(status, [(b"etag", b'"x"')])

    client = await (await start(handler)).client()
    await client.send((b"GET / HTTP/1.1\r\n" + HOST + b"\r\n") * 2)
    for _ in range(2):
        found, headers = await client.head()
        assert found == status
        assert "content-length" not in headers


async def test_continue_is_said_when_the_handler_reads(
    autojump_clock: object, start: Start
) -> None:
    client = await (await start(echo)).client()
    await client.send(
        b"PUT / HTTP/1.1\r\n" + HOST + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n"
    )
    assert (await client.head())[0] == 100
    await client.send(b"ab")
    assert (await client.answer())[2] == b"PUT ab"


@pytest.mark.parametrize("expectation", [b"", b"200-ok"])
async def test_an_unknown_expectation_is_ignored(
    autojump_clock: object, start: Start, expectation: bytes
) -> None:
    client = await (await start(echo)).client()
    await client.send(
        b"PUT / HTTP/1.1\r\n"
        + HOST
        + b"Expect: "
        + expectation
        + b"\r\nContent-Length: 2\r\n\r\nab"
    )
    assert (await client.answer())[2] == b"PUT ab"


async def test_without_reading_there_is_no_continue_and_the_connection_closes(
    autojump_clock: object,
    start: Start,
) -> None:
    client = await (await start(refuse)).client()
    await client.send(
        b"PUT / HTTP/1.1\r\n" + HOST + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n"
    )
    status, headers, _ = await client.answer()
    assert (status, headers["connection"]) == (403, "close")
    assert await client.is_closed()


async def test_continue_is_said_also_where_there_is_no_body(
    autojump_clock: object, start: Start
) -> None:
    head = b"PUT / HTTP/1.1\r\n" + HOST + b"Expect: 100-continue\r\nContent-Length: 0\r\n\r\n"
    client = await (await start(echo)).client()
    for _ in range(2):
        await client.send(head)
        assert (await client.head())[0] == 100
        assert (await client.answer())[2] == b"PUT "
    client = await (await start(refuse)).client()
    await client.send(head)
    status, headers, _ = await client.answer()
    assert (status, headers["connection"]) == (403, "close")


async def test_a_small_unread_body_is_drained_and_the_connection_kept(
    autojump_clock: object, start: Start
) -> None:
    client = await (await start(refuse)).client()
    for _ in range(2):
        await client.send(b"PUT / HTTP/1.1\r\n" + HOST + b"Content-Length: 50000\r\n\r\n")
        status, headers, _ = await client.answer()
        assert (status, headers["connection"]) == (403, "keep-alive")
        await client.send(b"x" * 50_000)


async def test_a_large_unread_body_may_be_sent_to_its_end_before_the_close(
    autojump_clock: object, start: Start
) -> None:
    client = await (await start(refuse)).client()
    await client.send(b"PUT / HTTP/1.1\r\n" + HOST + b"Content-Length: 9000000\r\n\r\n")
    for _ in range(9):
        await client.send(b"x" * 1_000_000)
    status, headers, body = await client.answer()
    assert (status, headers["connection"], body) == (403, "close", b"no")
    assert await client.is_closed()


@pytest.mark.incident(22)
@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nA: b\r\n c\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nA: b\x00\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\nA: b\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
        (b"GET / RTSP/1.0\r\nHost: a\r\n\r\n", 505),
        (b"GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET /#x HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", 501),
        (b"PROPFIND / HTTP/1.1\r\nHost: a\r\n\r\n", 501),
        (b"\x16\x03\x01\x02\x00\x01\r\n\r\n", 501),
        (b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n", 400),
        (b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\n", 400),
        (b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n", 400),
        (b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x1\r\n\r\n", 400),
        (b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n", 400),
        (
            b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            400,
        ),
        (
            b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n",
            400,
        ),
        (b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501),
        (b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, gzip\r\n\r\n", 400),
        (b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n", 400),
        (
            b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n",
            400,
        ),
        (b"PUT / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"GET /" + b"a" * limits.MAX_HTTP_TARGET_BYTES + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"A: b\r\n" * 100_000, 431),
        (b"GET / HTTP/1.1\r\nHost: a\r\nA: " + b"b" * 32_768 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"A: b\r\n" * limits.MAX_HTTP_HEADERS + b"\r\n", 431),
    ],
)
async def test_an_ambiguous_or_boundless_head_is_refused_and_the_connection_closed(
    autojump_clock: object, start: Start, nursery: trio.Nursery, request_bytes: bytes, status: int
) -> None:
    client = await (await start(echo)).client()
    nursery.start_soon(client.send, request_bytes)
    found, headers, body = await client.answer()
    assert (found, headers["connection"], body) == (status, "close", b"")
    assert await client.is_closed()


@pytest.mark.incident(36)
@pytest.mark.parametrize(
    "body",
    [
        b"2\r\nabc\r\n0\r\n\r\n",
        b"2\r\nabXX0\r\n\r\n",
        b"2\nab\r\n0\r\n\r\n",
        b"+2\r\nab\r\n0\r\n\r\n",
        b"0x2\r\nab\r\n0\r\n\r\n",
        b"\r\n2\r\nab\r\n0\r\n\r\n",
        b"ffffffffffffffffff\r\nab",
        b"2;" + b"x" * 5000,
        b"0\r\n folded: x\r\n\r\n",
        b"0\r\n" + b"a: b\r\n" * 5000,
    ],
)
async def test_broken_chunks_are_told_to_the_handler_and_nothing_follows(
    autojump_clock: object, start: Start, body: bytes
) -> None:
    reasons: list[str] = []

    async def handler(request: HttpRequest) -> HttpResponse:
        try:
            await whole(request)
        except Refused as error:
            reasons.append(error.reason)
            return HttpResponse(400)
        return HttpResponse(200)

    client = await (await start(handler)).client()
    await client.send(
        b"PUT / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n",
        body + b"GET /smuggled HTTP/1.1\r\n" + HOST + b"\r\n",
    )
    status, headers, _ = await client.answer()
    assert (status, headers["connection"], reasons) == (400, "close", ["bad_chunk"])
    assert await client.is_closed()
    assert not client.data


async def test_a_body_that_ends_early_or_falls_silent_is_told_to_the_handler(
    autojump_clock: object,
    start: Start,
) -> None:
    reasons: list[str] = []

    async def handler(request: HttpRequest) -> HttpResponse:
        try:
            await whole(request)
        except (Refused, Unavailable) as error:
            reasons.append(error.reason)
            return HttpResponse(400)
        return HttpResponse(200)

    site = await start(handler)
    head = b"PUT / HTTP/1.1\r\n" + HOST + b"Content-Length: 10\r\n\r\nabc"
    client = await site.client()
    await client.send(head)
    assert await client.status() == 400
    assert reasons == ["body_timeout"]
    client = await site.client()
    await client.send(head)
    await client.stream.close()
    await trio.sleep(1)
    assert reasons[1:] in (["body_too_short"], ["client_gone"])


async def test_a_failing_handler_gives_an_empty_500(autojump_clock: object, start: Start) -> None:
    async def handler(_request: HttpRequest) -> HttpResponse:
        raise RuntimeError("x")

    client = await (await start(handler)).client()
    await client.send(b"GET / HTTP/1.1\r\n" + HOST + b"\r\n")
    status, headers, body = await client.answer()
    assert (status, headers["connection"], body) == (500, "close", b"")


@pytest.mark.incident(19)
@pytest.mark.parametrize(
    "headers",
    [
        [(b"a", b"b\r\nset-cookie: x")],
        [(b"a", b"b\nc")],
        [(b"a\r\nb", b"c")],
        [(b"a", b"b\0")],
        [(b"connection", b"close")],
    ],
)
async def test_a_header_that_would_split_the_answer_is_not_sent(
    autojump_clock: object, start: Start, headers: list[tuple[bytes, bytes]]
) -> None:
    async def handler(_request: HttpRequest) -> HttpResponse:
        return HttpResponse(200, headers, b"x")

    client = await (await start(handler)).client()
    await client.send(b"GET / HTTP/1.1\r\n" + HOST + b"\r\n")
    status, found, body = await client.answer()
    assert (status, body) == (500, b"")
    assert "set-cookie" not in found


class Pieces:
    """A body of pieces that notes its closing, and fails at its end if asked to."""

    def __init__(self, *pieces: bytes, fails: bool = False) -> None:
        self.pieces = list(pieces)
        self.fails = fails
        self.closed = False

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        await trio.lowlevel.checkpoint()
        if self.pieces:
            return self.pieces.pop(0)
        if self.fails:
            raise RuntimeError("x")
        raise StopAsyncIteration

    async def aclose(self) -> None:
        self.closed = True


async def streamed(
    start: Start, body: Pieces, length: int | None, *, version: bytes = b"1.1", **server: Any
) -> Client:
    headers = [] if length is None else [(b"content-length", b"%d" % length)]

    async def handler(_request: HttpRequest) -> HttpResponse:
        return HttpResponse(200, headers, body)

    client = await (await start(handler, **server)).client()
    await client.send(b"GET / HTTP/" + version + b"\r\n" + HOST + b"\r\n")
    return client


async def test_a_streamed_body_of_the_promised_length_is_sent_and_closed(
    autojump_clock: object, start: Start
) -> None:
    body = Pieces(b"abc", b"defg")
    client = await streamed(start, body, 7)
    assert (await client.answer())[2] == b"abcdefg"
    await client.send(b"HEAD / HTTP/1.1\r\n" + HOST + b"\r\n")
    assert (await client.answer(body=False))[0] == 200
    assert body.closed


async def test_a_streamed_body_without_length_goes_in_chunks(
    autojump_clock: object, start: Start
) -> None:
    client = await streamed(start, Pieces(b"abc", b"defg"), None)
    _, headers = await client.head()
    assert headers["transfer-encoding"] == "chunked"
    while not client.data.endswith(b"0\r\n\r\n"):
        assert await client.more()
    assert client.data == b"3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n"


async def test_an_old_client_gets_a_body_that_ends_with_the_connection(
    autojump_clock: object, start: Start
) -> None:
    client = await streamed(start, Pieces(b"abc", b"defg"), None, version=b"1.0")
    _, headers = await client.head()
    assert headers["connection"] == "close"
    while await client.more():
        pass
    assert client.data == b"abcdefg"


@pytest.mark.parametrize(
    ("body", "length"),
    [
        (Pieces(b"abc"), 4),
        (Pieces(b"abc", b"de"), 4),
        (Pieces(b"abc", fails=True), 4),
        (Pieces(b"abc", fails=True), None),
    ],
)
async def test_a_streamed_body_that_breaks_off_cuts_the_connection(
    autojump_clock: object, start: Start, body: Pieces, length: int | None
) -> None:
    client = await streamed(start, body, length)
    await client.head()
    while await client.more():
        pass
    assert client.data in (b"abc", b"3\r\nabc\r\n")
    assert body.closed


async def test_a_body_that_fails_before_its_first_byte_is_a_500(
    autojump_clock: object, start: Start
) -> None:
    body = Pieces(fails=True)
    client = await streamed(start, body, 4)
    assert await client.status() == 500
    assert body.closed


@pytest.mark.incident(13)
async def test_a_client_that_goes_away_closes_the_body_it_was_sent(
    autojump_clock: object, start: Start
) -> None:
    body = Pieces(*[b"x" * 200_000] * 20)
    client = await streamed(start, body, 4_000_000)
    await client.head()
    await client.stream.close()
    await trio.sleep(1)
    assert body.closed


async def test_silent_clients_are_let_go(autojump_clock: object, start: Start) -> None:
    site = await start(echo, timeouts=Timeouts(idle_s=10, head_s=5))
    for sent, most in [(b"", 11), (b"GET / HTTP/1.1\r\n", 6)]:
        client = await site.client()
        if sent:
            await client.send(sent)
        began = trio.current_time()
        assert await client.is_closed()
        assert trio.current_time() - began <= most


async def test_a_client_that_takes_nothing_is_let_go(autojump_clock: object, start: Start) -> None:
    body = Pieces(*[b"x" * 200_000] * 20)
    await streamed(start, body, 4_000_000)
    piece_s = limits.HTTP_SEND_BYTES / limits.HTTP_LEAST_BYTES_PER_S
    await trio.sleep(limits.HTTP_SEND_TIMEOUT_S + piece_s + 1)
    assert body.closed


async def test_a_slow_but_steady_body_has_all_the_time_it_needs(
    autojump_clock: object, start: Start
) -> None:
    client = await (await start(echo)).client()
    piece = b"x" * limits.HTTP_LEAST_BYTES_PER_S
    await client.send(
        b"PUT / HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\n\r\n" % (200 * len(piece))
    )
    for number in range(10):
        await trio.sleep(limits.HTTP_BODY_TIMEOUT_S - 5 if number % 2 else 15)
        await client.send(piece * 20)
    assert (await client.answer())[2] == b"PUT " + piece * 200


@pytest.mark.fault("H2")
@pytest.mark.parametrize("coding", [b"Content-Length: 1000", b"Transfer-Encoding: chunked"])
async def test_a_body_of_a_byte_now_and_then_times_out(
    coding: bytes, autojump_clock: object, start: Start
) -> None:
    refusals = []

    async def handler(request: HttpRequest) -> HttpResponse:
        try:
            await whole(request)
        except Refused as error:
            refusals.append((error.reason, trio.current_time()))
        return HttpResponse(400)

    counts = HttpFaultCounts()
    site = await start(handler, counts=counts)
    client = await site.client()
    await client.send(b"PUT / HTTP/1.1\r\n" + HOST + coding + b"\r\n\r\n")
    async with trio.open_nursery() as nursery:

        async def drip() -> None:
            while True:
                await trio.sleep(5)
                await client.send(b"1\r\nx\r\n" if b"chunked" in coding else b"x")

        nursery.start_soon(drip)
        began = trio.current_time()
        assert await client.status() == 400
        nursery.cancel_scope.cancel()
    ((reason, at),) = refusals
    assert reason == "body_timeout"
    assert at - began <= limits.HTTP_BODY_TIMEOUT_S + 5
    assert counts.slow_bodies == 1


@pytest.mark.fault("H2")
async def test_trailers_without_end_time_out(autojump_clock: object, start: Start) -> None:
    site = await start(echo)
    client = await site.client()
    await client.send(b"PUT / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n")
    began = trio.current_time()

    async def go_on() -> None:
        while True:
            await trio.sleep(5)
            await client.send(b"a: b\r\n")

    with pytest.raises(Unavailable):
        await go_on()
    assert trio.current_time() - began < limits.HTTP_BODY_TIMEOUT_S + limits.HTTP_LINGER_S + 15


@pytest.mark.fault("H2")
async def test_a_reader_that_takes_a_little_now_and_then_is_cut(
    autojump_clock: object, start: Start
) -> None:
    body = Pieces(*[b"x" * 1_000_000] * 40)
    counts = HttpFaultCounts()
    client = await streamed(start, body, 40_000_000, counts=counts)
    async with trio.open_nursery() as nursery:

        async def sip() -> None:
            buffer = memoryview(bytearray(1000))
            while True:
                await trio.sleep(5)
                await client.stream.receive_into(buffer)

        nursery.start_soon(sip)
        await trio.sleep(600)
        nursery.cancel_scope.cancel()
    assert body.closed
    assert counts.slow_readers == 1


@pytest.mark.incident(35)
@pytest.mark.fault("H2")
async def test_heads_that_do_not_end_give_way_to_new_connections(
    autojump_clock: object, start: Start
) -> None:
    counts = HttpFaultCounts()
    site = await start(echo, max_connections=5, counts=counts)
    slow = [await site.client() for _ in range(5)]
    for client in slow:
        await client.send(b"GET / HTTP/1.1\r\nHo")
    await trio.sleep(1)
    began = trio.current_time()
    honest = await site.client()
    await honest.send(b"GET / HTTP/1.1\r\n" + HOST + b"\r\n")
    assert await honest.status() == 200
    assert trio.current_time() - began < 1
    assert await slow[0].is_closed()
    assert counts.evicted == 1


async def test_connections_that_wait_for_a_body_hold_little(
    autojump_clock: object, start: Start
) -> None:
    sizes = []

    async def handler(request: HttpRequest) -> HttpResponse:
        while piece := await request.body.receive():
            sizes.append(len(piece))
        return HttpResponse(200)

    client = await (await start(handler)).client()
    await client.send(b"PUT / HTTP/1.1\r\n" + HOST + b"Content-Length: 2000000\r\n\r\n")
    await client.send(bytes(2_000_000))
    assert await client.status() == 200
    assert sizes[0] <= limits.HTTP_FIRST_READ_BYTES
    assert max(sizes) == limits.HTTP_READ_BYTES


class BrokenStream:
    """A stream whose receiving has a bug."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    async def receive_into(self, buffer: memoryview) -> int:
        raise LookupError("a bug")

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)


class BreakingListener:
    """Every second connection it gives is broken."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._given = 0

    async def accept(self) -> Stream:
        stream = await self._listener.accept()
        self._given += 1
        return BrokenStream(stream) if self._given % 2 else stream

    def __getattr__(self, name: str) -> object:
        return getattr(self._listener, name)


@pytest.mark.fault("T")
async def test_a_bug_in_one_connection_ends_that_connection_only(
    autojump_clock: object, start: Start
) -> None:
    counts = HttpFaultCounts()
    site = await start(echo, counts=counts, wrap=BreakingListener)
    for number in range(1, 4):
        broken = await site.client()
        assert await broken.is_closed()
        client = await site.client()
        await client.send(b"GET / HTTP/1.1\r\n" + HOST + b"\r\n")
        assert await client.status() == 200
        assert counts.broken == number


@pytest.mark.fault("F11")
async def test_a_drained_server_answers_what_has_begun_and_says_close(
    autojump_clock: object, start: Start
) -> None:
    release = trio.Event()

    async def handler(_request: HttpRequest) -> HttpResponse:
        await release.wait()
        return HttpResponse(200, [], b"done")

    drain = trio.Event()
    site = await start(handler, drain=drain)
    idle, busy, within_head = [await site.client() for _ in range(3)]
    await busy.send(b"GET / HTTP/1.1\r\n" + HOST + b"\r\n")
    await within_head.send(b"GET / HTTP/1.1\r\n")
    await trio.sleep(1)
    drain.set()
    await trio.sleep(1)
    with pytest.raises(Unavailable):
        await site.client()
    assert await idle.is_closed()
    await within_head.send(HOST + b"\r\n")
    await trio.sleep(1)
    assert not site.ended.is_set()
    release.set()
    for client in (busy, within_head):
        status, headers, body = await client.answer()
        assert (status, headers["connection"], body) == (200, "close", b"done")
        assert await client.is_closed()
    await trio.sleep(1)
    assert site.ended.is_set()


@pytest.mark.fault("F11")
async def test_a_body_that_is_being_sent_ends_whole_in_a_drain(
    autojump_clock: object, start: Start
) -> None:
    drain = trio.Event()
    body = Pieces(*[b"x" * 400_000] * 10)
    client = await streamed(start, body, 4_000_000, drain=drain)
    await trio.sleep(1)
    drain.set()
    await trio.sleep(1)
    assert len((await client.answer())[2]) == 4_000_000
    assert await client.is_closed()


async def test_the_idlest_connection_gives_way_to_a_new_one(
    autojump_clock: object, start: Start
) -> None:
    site = await start(echo, max_connections=2)
    first, second = await site.client(), await site.client()
    for client in (first, second):
        await client.send(b"GET / HTTP/1.1\r\n" + HOST + b"\r\n")
        assert await client.status() == 200
        await trio.sleep(1)
    third = await site.client()
    await third.send(b"GET / HTTP/1.1\r\n" + HOST + b"\r\n")
    assert await third.status() == 200
    assert await first.is_closed()
    await second.send(b"GET / HTTP/1.1\r\n" + HOST + b"\r\n")
    assert await second.status() == 200


async def test_busy_connections_are_not_evicted_and_new_ones_wait(
    autojump_clock: object, start: Start
) -> None:
    release = trio.Event()

    async def handler(_request: HttpRequest) -> HttpResponse:
        await release.wait()
        return HttpResponse(200)

    site = await start(handler, max_connections=1)
    first, second = await site.client(), await site.client()
    for client in (first, second):
        await client.send(b"GET / HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n")
    await trio.sleep(5)
    release.set()
    assert await first.status() == 200
    assert await second.status() == 200


async def come_later(_request: HttpRequest) -> HttpResponse:
    return HttpResponse(503, [], b"later", pause_s=5.0)


async def test_after_a_refusal_with_a_pause_the_next_request_waits_for_its_end(
    autojump_clock: object, start: Start
) -> None:
    client = await (await start(come_later)).client()
    began = trio.current_time()
    for number in range(3):
        await client.send(b"GET / HTTP/1.1\r\n" + HOST + b"\r\n")
        assert await client.status() == 503
        assert trio.current_time() - began == pytest.approx(5.0 * number, abs=0.5)


async def test_a_connection_in_a_pause_gives_way_to_a_new_one_and_to_a_drain(
    autojump_clock: object, start: Start
) -> None:
    drain = trio.Event()
    site = await start(come_later, max_connections=1, drain=drain)
    began = trio.current_time()
    clients = []
    for _ in range(2):
        clients.append(await site.client())
        await clients[-1].send(b"GET / HTTP/1.1\r\n" + HOST + b"\r\n")
        assert await clients[-1].status() == 503
    assert await clients[0].is_closed()
    drain.set()
    assert await clients[1].is_closed()
    await site.ended.wait()
    assert trio.current_time() - began < 2.0


async def test_an_offer_to_upgrade_is_ignored(autojump_clock: object, start: Start) -> None:
    client = await (await start(echo)).client()
    await client.send(
        b"PUT / HTTP/1.1\r\n" + HOST + b"Connection: Upgrade\r\nUpgrade: h2c\r\n"
        b"Content-Length: 2\r\n\r\nab"
    )
    assert (await client.answer())[2] == b"PUT ab"
