"""One connection of a client, which is served request after request.

Source: RFC 9112; docs/architecture.md, "HTTP".
"""

from __future__ import annotations

import math
from dataclasses import field

import trio

from common import limits
from common.data_classes import dataclass
from common.errors import Unavailable
from common.http.answer import AnswerSender, Sending
from common.http.body import Input, StreamBody
from common.http.head import BadHead, Head, parse_head
from common.http.pace import ClientPace
from common.http.records import Handler, HttpRequest
from common.http.write import DateLine
from common.ports import Log, Stream
from common.reasons import Outage


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


@dataclass(slots=True)
class HttpServerState:
    """The state that all connections of one listener share."""

    handler: Handler
    log: Log
    date_line: DateLine
    timeouts: Timeouts
    counts: HttpFaultCounts
    secure: bool
    is_draining: bool = False
    waiting: dict[HttpConnection, None] = field(default_factory=dict)
    """Connections without a whole head of a request, the longest so first."""
    sending: Sending = field(default_factory=dict)
    """Connections that wait for their client to take a piece of an answer, and since when."""


class HttpConnection:
    """One connection, serving request after request."""

    def __init__(self, server: HttpServerState, stream: Stream, scope: trio.CancelScope) -> None:
        self._server = server
        self._stream = stream
        self._scope = scope
        self._input = Input(stream)
        timeouts = server.timeouts
        self.answers = AnswerSender(
            stream,
            scope,
            server.date_line,
            server.log,
            server.sending,
            pace=ClientPace(timeouts.send_s, timeouts.least_bytes_per_s),
            idle_s=timeouts.idle_s,
        )
        self.is_idle = True
        """No byte of a request has come since the last answer."""

    def give_up(self) -> None:
        """Close the connection without a word."""
        self._scope.cancel()

    def count_timeout(self) -> None:
        """Count the timeout of a client by what it was waited for."""
        counts = self._server.counts
        if self.answers.is_sending:
            counts.slow_readers += 1
            self._server.log.info("http_reader_too_slow", remote=self._stream.remote)
        elif not self.is_idle:
            counts.slow_heads += 1

    def _give_up_in(self, seconds: float) -> None:
        self._scope.deadline = trio.current_time() + seconds

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
            await self.answers.send_empty(error.status)
            await self._linger()
            return False
        if head is None:
            return False
        self._scope.deadline = math.inf
        self.answers.has_idle_deadline = False
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
            response = self.answers.failed(error, head)
        if server.is_draining or not (body.done or body.can_drain):
            head.keep_alive = False
        whole = await self.answers.respond(head, response)
        if not whole:
            return False
        if not head.keep_alive:
            if not body.done:
                await self._linger()
            return False
        if not body.done:
            await body.drain()
        if response.pause_s:
            await self._pause(response.pause_s)
        return True

    def _body_too_slow(self) -> None:
        self._server.counts.slow_bodies += 1

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
            elif not self.answers.has_idle_deadline:
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

    async def _pause(self, seconds: float) -> None:
        """Read nothing for a while."""
        self.is_idle = not len(self._input)
        self._server.waiting[self] = None
        try:
            await trio.sleep(seconds)
        finally:
            self._server.waiting.pop(self, None)

    async def _linger(self) -> None:
        """Listen to a client that may still be sending, so that it reads the answer before it is
        notified of the close: a reset would destroy an answer that it has not read yet."""
        self._give_up_in(self._server.timeouts.linger_s)
        await self._input.discard_all()
