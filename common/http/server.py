"""An HTTP/1.1 server over the ports: keep-alive, bounded in memory, time and connections.

It accepts connections and makes room for them; requests are read and handled one after another by
:mod:`common.http.connection`, answers are sent by :mod:`common.http.answer`. All of it moves bytes
and decides nothing about requests: heads are parsed by :mod:`common.http.head`, chunks by
:mod:`common.http.chunks`, everything else is the handler's.

Source: RFC 9112; docs/architecture.md, "HTTP".
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import trio

from common import limits
from common.errors import AlvearyError, Unavailable
from common.http.connection import HttpConnection, HttpFaultCounts, HttpServerState, Timeouts
from common.http.records import Handler
from common.http.write import DateLine
from common.ports import Listener, Log, Stream, WallClock
from common.reasons import Outage
from common.tasks import log_fault

_RELIEVE_EVERY_S: Final = 1.0
"""Interval at which answers that no client takes are looked for."""
RELIEVED_AT_ONCE: Final = 4
"""Answers that are cut then, those that stand still longest first: as many others begin in their
place, and all at once would hold up everybody."""
_ACCEPT_PAUSE_S: Final = 0.1
"""After a failed accept (no file descriptors left), before the next try."""


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
    server = HttpServerState(
        handler,
        log,
        DateLine(clock),
        timeouts or Timeouts(),
        counts or HttpFaultCounts(),
        secure,
    )
    places = trio.Semaphore(max_connections)
    try:
        async with trio.open_nursery() as connections:
            async with trio.open_nursery() as accepting:
                if drain is not None:
                    accepting.start_soon(_cancel_when, drain, accepting.cancel_scope)
                if wait_pressed is not None:
                    accepting.start_soon(_relieve, server, wait_pressed)
                await _accept(server, listener, places, connections)
                accepting.cancel_scope.cancel()
            _begin_drain(server)
            await listener.close()
    finally:
        with trio.CancelScope(shield=True):
            await listener.close()


async def _cancel_when(event: trio.Event, scope: trio.CancelScope) -> None:
    await event.wait()
    scope.cancel()


async def _accept(
    server: HttpServerState, listener: Listener, places: trio.Semaphore, connections: trio.Nursery
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
            _evict_idlest(server)
        try:
            await places.acquire()
        except BaseException:
            with trio.CancelScope(shield=True):
                await stream.close()
            raise
        connections.start_soon(_serve_connection, server, stream, places)


async def _serve_connection(
    server: HttpServerState, stream: Stream, places: trio.Semaphore
) -> None:
    try:
        await _serve_stream(server, stream)
    except Exception as error:
        # A fault of ours. It ends this connection, whose state is not known any more, and nothing
        # else: the others have no part in it.
        server.counts.broken += 1
        log_fault(server.log, "http_connection_broke", error, remote=stream.remote)
    finally:
        with trio.CancelScope(shield=True):
            await stream.close()
        places.release()


def _evict_idlest(server: HttpServerState) -> None:
    """Close the connection that has been without a request longest, if any is."""
    for connection in server.waiting:
        server.counts.evicted += 1
        connection.give_up()
        del server.waiting[connection]
        return


def _begin_drain(server: HttpServerState) -> None:
    """Close connections on which no request has begun, and each other one with its answer."""
    server.is_draining = True
    for connection in list(server.waiting):
        if connection.is_idle:
            connection.give_up()


async def _relieve(server: HttpServerState, wait_pressed: Callable[[], Awaitable[None]]) -> None:
    """Cut clients that take nothing of their answers while others wait for memory."""
    while True:
        await wait_pressed()
        before = trio.current_time() - limits.HTTP_PRESSED_SEND_TIMEOUT_S
        stalled = [answers for answers, since in server.sending.items() if since <= before]
        for answers in stalled[:RELIEVED_AT_ONCE]:
            answers.cut()
        await trio.sleep(_RELIEVE_EVERY_S)


async def _serve_stream(server: HttpServerState, stream: Stream) -> None:
    """Serve one connection to its end. Its failures end here; they are nobody else's."""
    # One scope for the whole life of the connection: moving its deadline is much cheaper
    # than a scope per wait. While the handler runs it has none.
    with trio.CancelScope() as scope:
        connection = HttpConnection(server, stream, scope)
        try:
            while await connection.serve_one():
                pass
        except AlvearyError as error:
            # The client is gone, or its TLS is broken: there is nobody to answer.
            server.log.info("http_connection_lost", reason=error.reason, remote=stream.remote)
        finally:
            server.waiting.pop(connection, None)
            server.sending.pop(connection.answers, None)
    if scope.cancelled_caught and trio.current_time() >= scope.deadline:
        connection.count_timeout()
