"""An HTTP/1.1 server over the ports: keep-alive, bounded in memory, time and connections.

It moves bytes and decides nothing about requests: heads are parsed by :mod:`common.http.head`,
chunks by :mod:`common.http.chunks`, everything else is the handler's.

Source: RFC 9112; docs/architecture.md, "HTTP".
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import trio

from common import limits
from common.errors import AlvearyError, Unavailable
from common.http.body import Input, StreamBody
from common.http.head import BadHead, Head, parse_head
from common.http.pace import ClientPace
from common.http.records import Handler, HttpRequest, HttpResponse
from common.http.write import DateLine, has_body, response_head
from common.ports import Buffer, Listener, Log, Stream, WallClock
from common.reasons import Outage
from common.tasks import log_fault

_RELIEVE_EVERY_S: Final = 1.0
"""Interval at which answers that no client takes are looked for."""
_ACCEPT_PAUSE_S: Final = 0.1
"""After a failed accept (no file descriptors left), before the next try."""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """The time limits of a connection for its client, in seconds.

    ``idle_s``: for a request to begin. ``head_s``: from the first byte of a head to its last.
    ``body_s``: longest silence inside a body that is read. ``send_s``: longest standstill while an
    answer is taken, beside the time that its next piece takes at the least speed. ``linger_s``: how
    long a client that still sends is listened to after the last answer. ``least_bytes_per_s``: what
    a client must send or take on the long run; see :class:`common.http.pace.ClientPace`.
    """

    idle_s: float = limits.HTTP_IDLE_TIMEOUT_S
    head_s: float = limits.HTTP_HEAD_TIMEOUT_S
    body_s: float = limits.HTTP_BODY_TIMEOUT_S
    send_s: float = limits.HTTP_SEND_TIMEOUT_S
    linger_s: float = limits.HTTP_LINGER_S
    least_bytes_per_s: float = limits.HTTP_LEAST_BYTES_PER_S


@dataclass(slots=True)
class HttpFaultCounts:
    """Counts of connection faults since the start; for metrics.

    ``slow_heads``, ``slow_bodies``, ``slow_readers``: cut because the client was too slow.
    ``evicted``: closed between two requests or within a head, to make room for others. ``broken``:
    ended by a fault of ours.
    """

    slow_heads: int = 0
    slow_bodies: int = 0
    slow_readers: int = 0
    evicted: int = 0
    broken: int = 0


async def serve_http(
    listener: Listener,
    handler: Handler,
    *,
    log: Log,
    clock: WallClock,
    max_connections: int = limits.MAX_HTTP_CONNECTIONS,
    timeouts: Timeouts | None = None,
    counts: HttpFaultCounts | None = None,
    drain: trio.Event | None = None,
    secure: bool = False,
    wait_pressed: Callable[[], Awaitable[None]] | None = None,
) -> None:
    """Serve until cancelled or drained, and close the listener and all connections then.

    Requests of one connection are handled one after another, those of different connections at
    the same time. When all places are taken, the connection that has been without a whole request
    longest gives way; when there is none, new ones wait to be accepted.

    Args:
        listener: bound; plain or TLS.
        handler: answers a request. If it raises, the client gets an empty 500 and the log a line.
        log: gets a line per failure; never a target or a header, which may hold a signature.
        clock: for the ``date`` header.
        max_connections: open at the same time.
        timeouts: other than the product's.
        secure: whether the listener's streams are under TLS, for requests to say.
        counts: counted up here.
        drain: once set, the listener closes, connections without a request close, and each of the
            others closes with its next answer, which says so. Returns when all have ended: how
            long that may take is the caller's to bound.
        wait_pressed: waits until somebody waits for memory that answers hold; then clients that
            take nothing are cut sooner.
    """
    server = _Server(
        handler,
        log,
        DateLine(clock),
        timeouts or Timeouts(),
        counts or HttpFaultCounts(),
        secure=secure,
    )
    places = trio.Semaphore(max_connections)
    try:
        async with trio.open_nursery() as connections:
            async with trio.open_nursery() as accepting:
                if drain is not None:
                    accepting.start_soon(_cancel_when, drain, accepting.cancel_scope)
                if wait_pressed is not None:
                    accepting.start_soon(server.relieve, wait_pressed)
                await _accept(server, listener, places, connections)
                accepting.cancel_scope.cancel()
            server.begin_drain()
            await listener.close()
    finally:
        with trio.CancelScope(shield=True):
            await listener.close()


async def _cancel_when(event: trio.Event, scope: trio.CancelScope) -> None:
    await event.wait()
    scope.cancel()


async def _accept(
    server: _Server, listener: Listener, places: trio.Semaphore, connections: trio.Nursery
) -> None:
    """Take connections until the listener is closed."""
    while True:
        try:
            stream = await listener.accept()
        except Unavailable as error:
            if error.reason == Outage.LISTENER_CLOSED:
                return
            server.log.warning("http_accept_failed", reason=error.reason)
            await trio.sleep(_ACCEPT_PAUSE_S)
            continue
        if places.value == 0:
            server.evict_idlest()
        try:
            await places.acquire()
        except BaseException:
            with trio.CancelScope(shield=True):
                await stream.close()
            raise
        connections.start_soon(_serve_connection, server, stream, places)


async def _serve_connection(server: _Server, stream: Stream, places: trio.Semaphore) -> None:
    try:
        await server.serve_stream(stream)
    except Exception as error:
        # A fault of ours. It ends this connection, whose state is not known any more, and nothing
        # else: the others have no part in it.
        server.counts.broken += 1
        log_fault(server.log, "http_connection_broke", error, remote=stream.remote)
    finally:
        with trio.CancelScope(shield=True):
            await stream.close()
        places.release()


class _Server:
    """The state that all connections of one listener share."""

    def __init__(
        self,
        handler: Handler,
        log: Log,
        date: DateLine,
        timeouts: Timeouts,
        counts: HttpFaultCounts,
        *,
        secure: bool,
    ) -> None:
        self.handler = handler
        self.log = log
        self.date_line = date
        self.timeouts = timeouts
        self.counts = counts
        self.secure = secure
        self.is_draining = False
        self.waiting: dict[_Connection, None] = {}
        """Connections without a whole head of a request, the longest so first."""
        self.sending: dict[_Connection, float] = {}
        """Connections that wait for their client to take a piece of an answer, and since when."""

    def evict_idlest(self) -> None:
        """Close the connection that has been without a request longest, if any is."""
        for connection in self.waiting:
            self.counts.evicted += 1
            connection.give_up()
            del self.waiting[connection]
            return

    def begin_drain(self) -> None:
        """Close connections on which no request has begun, and each other one with its answer."""
        self.is_draining = True
        for connection in list(self.waiting):
            if connection.is_idle:
                connection.give_up()

    async def relieve(self, wait_pressed: Callable[[], Awaitable[None]]) -> None:
        """Cut clients that take nothing of their answers while others wait for memory."""
        while True:
            await wait_pressed()
            before = trio.current_time() - limits.HTTP_PRESSED_SEND_TIMEOUT_S
            for connection, since in list(self.sending.items()):
                if since <= before:
                    connection.cut_reader()
            await trio.sleep(_RELIEVE_EVERY_S)

    async def serve_stream(self, stream: Stream) -> None:
        """Serve one connection to its end. Its failures end here; they are nobody else's."""
        # One scope for the whole life of the connection: moving its deadline is much cheaper
        # than a scope per wait. While the handler runs it has none.
        with trio.CancelScope() as scope:
            connection = _Connection(self, stream, scope)
            try:
                while await connection.serve_one():
                    pass
            except AlvearyError as error:
                # The client is gone, or its TLS is broken: there is nobody to answer.
                self.log.info("http_connection_lost", reason=error.reason, remote=stream.remote)
            finally:
                self.waiting.pop(connection, None)
                self.sending.pop(connection, None)
        if scope.cancelled_caught and trio.current_time() >= scope.deadline:
            connection.count_timeout()


class _Connection:
    """One connection, serving request after request."""

    def __init__(self, server: _Server, stream: Stream, scope: trio.CancelScope) -> None:
        self._server = server
        self._stream = stream
        self._scope = scope
        self._input = Input(stream)
        self._has_idle_deadline = False
        timeouts = server.timeouts
        self._sending = ClientPace(timeouts.send_s, timeouts.least_bytes_per_s)
        self._is_sending = False
        self.is_idle = True
        """No byte of a request has come since the last answer."""

    def give_up(self) -> None:
        """Close the connection without a word."""
        self._scope.cancel()

    def cut_reader(self) -> None:
        """Cut a client that takes nothing while others wait for what it holds."""
        self._scope.deadline = trio.current_time()

    def count_timeout(self) -> None:
        """Count the timeout of a client by what it was waited for."""
        counts = self._server.counts
        if self._is_sending:
            counts.slow_readers += 1
            self._server.log.info("http_reader_too_slow", remote=self._stream.remote)
        elif not self.is_idle:
            counts.slow_heads += 1

    def _give_up_in(self, seconds: float) -> None:
        self._scope.deadline = trio.current_time() + seconds

    async def _send(self, parts: Sequence[Buffer]) -> None:
        """Send parts of an answer; cut the connection if they are taken too slowly."""
        self._is_sending = True
        for some, size in _sendable(parts):
            began = trio.current_time()
            self._scope.deadline = began + self._sending.allowance_s(size)
            self._server.sending[self] = began
            await self._stream.send(some)
            del self._server.sending[self]
            self._sending.moved(size, trio.current_time() - began)
        self._is_sending = False

    async def _send_whole(self, parts: Sequence[Buffer]) -> None:
        """Send an answer that is all at hand. Moving a deadline costs as much as parsing a head,
        so the one for taking it is also the one for the next request to begin."""
        self._give_up_in(self._server.timeouts.idle_s)
        self._has_idle_deadline = True
        self._is_sending = True
        await self._stream.send(parts)
        self._is_sending = False

    async def serve_one(self) -> bool:
        """Serve the next request.

        Returns:
            False: the connection is to be closed.

        Raises:
            AlvearyError: the connection broke.
        """
        server = self._server
        try:
            head = await self._receive_head()
        except BadHead as error:
            server.log.info("http_bad_head", reason=error.reason, remote=self._stream.remote)
            await self._send((self._empty_response(error.status),))
            await self._linger()
            return False
        if head is None:
            return False
        self._scope.deadline = math.inf
        self._has_idle_deadline = False
        body = StreamBody(
            self._input,
            head.length,
            expects_continue=head.expects_continue,
            pace=ClientPace(server.timeouts.body_s, server.timeouts.least_bytes_per_s),
            on_slow=self._body_too_slow,
        )
        path, _, query = head.target.partition(b"?")
        request = HttpRequest(
            head.method,
            head.target,
            path,
            query,
            head.headers,
            body,
            self._stream.remote,
            server.secure,
        )
        try:
            response = await server.handler(request)
        except Exception as error:
            if isinstance(error, Unavailable) and error.reason == Outage.CLIENT_GONE:
                return False
            response = self._failed(error, head)
        if server.is_draining or not (body.done or body.can_drain):
            head.keep_alive = False
        whole = await self._respond(head, response)
        if not whole:
            return False
        if not head.keep_alive:
            if not body.done:
                await self._linger()
            return False
        if not body.done:
            await body.drain()
        return True

    def _body_too_slow(self) -> None:
        self._server.counts.slow_bodies += 1

    def _failed(self, error: Exception, head: Head) -> HttpResponse:
        self._server.log.error(
            "http_handler_failed", method=head.method, error=type(error).__name__, detail=str(error)
        )
        head.keep_alive = False
        return HttpResponse(500)

    async def _receive_head(self) -> Head | None:
        """The next request's head; None when the client closed between two requests.

        Raises:
            BadHead: to be answered.
        """
        self.is_idle = not len(self._input)
        data = self._input.take_head()
        if data is None:
            data = await self._wait_for_head()
        self.is_idle = False
        return None if data is None else parse_head(data)

    async def _wait_for_head(self) -> bytes | None:
        server, timeouts = self._server, self._server.timeouts
        if self.is_idle and server.is_draining:
            return None
        server.waiting[self] = None
        try:
            if not self.is_idle:
                self._give_up_in(timeouts.head_s)
            elif not self._has_idle_deadline:
                self._give_up_in(timeouts.idle_s)
            while True:
                if not await self._input.receive_more():
                    return None
                data = self._input.take_head()
                if data is not None:
                    return data
                if self.is_idle:
                    self.is_idle = False
                    self._give_up_in(timeouts.head_s)
        finally:
            server.waiting.pop(self, None)

    def _empty_response(self, status: int) -> bytes:
        return response_head(
            status,
            [],
            date_line=self._server.date_line(),
            body_length=0,
            chunked=False,
            keep_alive=False,
        )

    async def _linger(self) -> None:
        """Listen to a client that may still be sending, so that it reads the answer before it is
        notified of the close: a reset would destroy an answer that it has not read yet."""
        self._give_up_in(self._server.timeouts.linger_s)
        await self._input.discard_all()

    async def _respond(self, head: Head, response: HttpResponse) -> bool:
        """Send an answer.

        Returns:
            False: it broke off, and the connection is to be cut.
        """
        body = response.body
        if not isinstance(body, bytes):
            try:
                return await self._respond_streaming(head, response, body)
            finally:
                close = getattr(body, "aclose", None)
                if close is not None:
                    await self._close_body(close)
        try:
            start = response_head(
                response.status,
                response.headers,
                date_line=self._server.date_line(),
                body_length=len(body) if response.status not in {204, 304} else None,
                chunked=False,
                keep_alive=head.keep_alive,
            )
        except ValueError as error:
            self._failed(error, head)
            await self._send((self._empty_response(500),))
            return False
        with_body = body and has_body(head.method, response.status)
        await self._send_whole((start, body) if with_body else (start,))
        return True

    async def _close_body(self, close: Callable[[], Awaitable[None]]) -> None:
        try:
            await close()
        except Exception as error:
            self._server.log.error("http_body_close_failed", error=type(error).__name__)

    async def _respond_streaming(
        self, head: Head, response: HttpResponse, body: AsyncIterator[Buffer]
    ) -> bool:
        sends_body = has_body(head.method, response.status)
        try:
            promised = _promised_length(response)
        except ValueError as error:
            self._failed(error, head)
            await self._send((self._empty_response(500),))
            return False
        chunked = promised is None and sends_body and head.chunks_understood
        if promised is None and sends_body and not chunked:
            head.keep_alive = False
        # The first piece is waited for before the head goes out: a failure up to here can still
        # be answered with a status, and head and piece go out together.
        try:
            start = response_head(
                response.status,
                response.headers,
                date_line=self._server.date_line(),
                body_length=None,
                chunked=chunked,
                keep_alive=head.keep_alive,
            )
            piece = await anext(body, None) if sends_body else None
        except Exception as error:
            self._failed(error, head)
            await self._send((self._empty_response(500),))
            return False
        if not sends_body:
            await self._send((start,))
            return True
        parts: list[Buffer] = [start]
        sent = 0
        while piece is not None:
            size = len(piece)
            sent += size
            if promised is not None and sent > promised:
                self._server.log.error("http_body_too_long", promised=promised)
                return False
            if size:
                parts += (b"%x\r\n" % size, piece, b"\r\n") if chunked else (piece,)
                await self._send(parts)
                parts = []
            self._scope.deadline = math.inf
            try:
                piece = await anext(body, None)
            except Exception as error:
                self._failed(error, head)
                return False
        if promised is not None and sent != promised:
            self._server.log.error("http_body_too_short", promised=promised, sent=sent)
            return False
        if chunked:
            parts.append(b"0\r\n\r\n")
        if parts:
            await self._send(parts)
        return True


def _sendable(parts: Sequence[Buffer]) -> Iterator[tuple[Sequence[Buffer], int]]:
    """Parts to be sent together, with their sizes: small ones at once, large ones in pieces."""
    size = sum(map(len, parts))
    if size <= limits.HTTP_SEND_BYTES:
        yield parts, size
        return
    together: list[Buffer] = []
    gathered = 0
    for part in parts:
        view = memoryview(part)
        while view:
            piece = view[: limits.HTTP_SEND_BYTES - gathered]
            view = view[len(piece) :]
            together.append(piece)
            gathered += len(piece)
            if gathered == limits.HTTP_SEND_BYTES:
                yield together, gathered
                together, gathered = [], 0
    if together:
        yield together, gathered


def _promised_length(response: HttpResponse) -> int | None:
    """Return the value of the handler's ``content-length``; None without one."""
    for name, value in response.headers:
        if name.lower() == b"content-length":
            return int(value)
    return None
