"""The bytes of an answer's head. Pure."""

from __future__ import annotations

import http
from email.utils import formatdate
from typing import Final

from common.http.records import Headers
from common.ports import WallClock

STATUS_LINES: Final = {
    int(status): b"HTTP/1.1 %d %s\r\n" % (status, status.phrase.encode("ascii"))
    for status in http.HTTPStatus
}
_ADDED_BY_SERVER: Final = frozenset({b"date", b"server", b"connection", b"transfer-encoding"})


class DateLine:
    """The ``date`` and ``server`` lines, made once a second."""

    def __init__(self, clock: WallClock) -> None:
        self._clock = clock
        self._second = -1
        self._line = b""

    def __call__(self) -> bytes:
        second = int(self._clock.now())
        if second != self._second:
            self._second = second
            self._line = b"date: %s\r\nserver: Alveary\r\n" % formatdate(
                second, usegmt=True
            ).encode("ascii")
        return self._line


def has_body(method: str, status: int) -> bool:
    """Return whether an answer of this status to this method may have a body (RFC 9112, 6.3)."""
    return method != "HEAD" and status >= 200 and status not in {204, 304}


def response_head(
    status: int,
    headers: Headers,
    *,
    date_line: bytes,
    body_length: int | None,
    chunked: bool,
    keep_alive: bool,
) -> bytes:
    """The head of an answer, with its empty line.

    Args:
        status: 200..599.
        headers: the handler's; names in any case.
        date_line: from :class:`DateLine`.
        body_length: for ``content-length``; None: the handler's own, or none.
        chunked: the body will come in chunks.
        keep_alive: whether the connection stays open.

    Raises:
        ValueError: a header has a line end or NUL in it, is one of the server's own, or the
            status is unknown: a fault of the handler.
    """
    lines = [STATUS_LINES.get(status) or _unknown(status), date_line]
    for name, value in headers:
        lowered = name.lower()
        if lowered in _ADDED_BY_SERVER:
            raise ValueError(f"{lowered!r} is the server's to say")
        if lowered == b"content-length":
            body_length = None
        lines.append(b"%s: %s\r\n" % (name, value))
    if body_length is not None:
        lines.append(b"content-length: %d\r\n" % body_length)
    if chunked:
        lines.append(b"transfer-encoding: chunked\r\n")
    lines.append(b"connection: keep-alive\r\n\r\n" if keep_alive else b"connection: close\r\n\r\n")
    head = b"".join(lines)
    breaks = len(lines) + 2  # the date line is two, and the empty line one more
    if head.count(b"\n") != breaks or head.count(b"\r") != breaks or b"\0" in head:
        raise ValueError("a header holds a line end")
    return head


def _unknown(status: int) -> bytes:
    raise ValueError(f"unknown status {status}")
