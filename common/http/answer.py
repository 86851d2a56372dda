"""Answers on their way to a client: whole ones at once, streams piece by piece.

Source: RFC 9112; docs/architecture.md, "HTTP".
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from typing import TypeAlias

import trio

from common import limits
from common.http.head import Head
from common.http.pace import ClientPace
from common.http.records import HttpResponse
from common.http.write import DateLine, has_body, response_head
from common.ports import Buffer, Log, Stream


class AnswerSender:
    """Sends the answers of one connection.

    Args:
        scope: of the connection; its deadline is moved here while an answer is sent.
        pace: what the client must take of an answer, and how fast.
        idle_s: for an answer that is all at hand, and the next request to begin.
        sending: the senders of all connections whose client is waited for, and since when.
    """

    def __init__(
        self,
        stream: Stream,
        scope: trio.CancelScope,
        date_line: DateLine,
        log: Log,
        sending: Sending,
        *,
        pace: ClientPace,
        idle_s: float,
    ) -> None:
        self._stream = stream
        self._scope = scope
        self._date_line = date_line
        self._log = log
        self._sending = sending
        self._pace = pace
        self._idle_s = idle_s
        self.is_sending = False
        """The client is waited for to take an answer."""
        self.has_idle_deadline = False
        """The deadline of the connection is that of the next request, too."""

    def cut(self) -> None:
        """Cut a client that takes nothing while others wait for what it holds."""
        self._scope.deadline = trio.current_time()

    def failed(self, error: Exception, head: Head) -> HttpResponse:
        """Log a failure of the handler; return what the client gets."""
        self._log.error(
            "http_handler_failed", method=head.method, error=type(error).__name__, detail=str(error)
        )
        head.keep_alive = False
        return HttpResponse(500)

    async def send_empty(self, status: int) -> None:
        """Send an answer without a body, after which the connection is to be closed."""
        start = response_head(
            status,
            [],
            date_line=self._date_line(),
            body_length=0,
            chunked=False,
            keep_alive=False,
        )
        await self._send((start,))

    async def respond(self, head: Head, response: HttpResponse) -> bool:
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
                date_line=self._date_line(),
                body_length=len(body) if response.status not in {204, 304} else None,
                chunked=False,
                keep_alive=head.keep_alive,
            )
        except ValueError as error:
            self.failed(error, head)
            await self.send_empty(500)
            return False
        with_body = body and has_body(head.method, response.status)
        await self._send_whole((start, body) if with_body else (start,))
        return True

    async def _close_body(self, close: Callable[[], Awaitable[None]]) -> None:
        try:
            await close()
        except Exception as error:
            self._log.error("http_body_close_failed", error=type(error).__name__)

    async def _respond_streaming(
        self, head: Head, response: HttpResponse, body: AsyncIterator[Buffer]
    ) -> bool:
        sends_body = has_body(head.method, response.status)
        try:
            promised = _promised_length(response)
        except ValueError as error:
            self.failed(error, head)
            await self.send_empty(500)
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
                date_line=self._date_line(),
                body_length=None,
                chunked=chunked,
                keep_alive=head.keep_alive,
            )
            piece = await anext(body, None) if sends_body else None
        except Exception as error:
            self.failed(error, head)
            await self.send_empty(500)
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
                self._log.error("http_body_too_long", promised=promised)
                return False
            if size:
                parts += (b"%x\r\n" % size, piece, b"\r\n") if chunked else (piece,)
                await self._send(parts)
                parts = []
            self._scope.deadline = math.inf
            try:
                piece = await anext(body, None)
            except Exception as error:
                self.failed(error, head)
                return False
        if promised is not None and sent != promised:
            self._log.error("http_body_too_short", promised=promised, sent=sent)
            return False
        if chunked:
            parts.append(b"0\r\n\r\n")
        if parts:
            await self._send(parts)
        return True

    async def _send(self, parts: Sequence[Buffer]) -> None:
        """Send parts of an answer; cut the connection if they are taken too slowly."""
        self.is_sending = True
        for some, size in _sendable(parts):
            began = trio.current_time()
            self._scope.deadline = began + self._pace.allowance_s(size)
            self._sending[self] = began
            await self._stream.send(some)
            del self._sending[self]
            self._pace.moved(size, trio.current_time() - began)
        self.is_sending = False

    async def _send_whole(self, parts: Sequence[Buffer]) -> None:
        """Send an answer that is all at hand. Moving a deadline costs as much as parsing a head,
        so the one for taking it is also the one for the next request to begin."""
        self._scope.deadline = trio.current_time() + self._idle_s
        self.has_idle_deadline = True
        self.is_sending = True
        await self._stream.send(parts)
        self.is_sending = False


Sending: TypeAlias = dict[AnswerSender, float]


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
