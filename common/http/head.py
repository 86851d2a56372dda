"""The head of an HTTP/1.1 request: parsed by llhttp in its strict mode, then checked again.

What two parsers may read differently is refused, not repaired: an ambiguous head is how a request
is smuggled past a proxy. Pure: bytes in, a record or a status out.

Source: RFC 9112, sections 3 (request line), 5 (fields), 6 (message body), 11.2 (smuggling).
"""

from __future__ import annotations

from typing import Final

import httptools

from common import limits
from common.data_classes import dataclass
from common.http.records import Headers

METHODS: Final = frozenset({"GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS", "PATCH"})
_HEAD_END: Final = b"\r\n\r\n"


class BadHead(Exception):
    """The head will not be answered but with this status, and the connection closed.

    Args:
        status: 400, 414, 431, 501 or 505.
        reason: one word for the log.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


@dataclass(slots=True)
class Head:
    """A request's head. ``length``: bytes of its body; None: the body comes in chunks."""

    method: str
    target: bytes
    headers: Headers
    length: int | None
    keep_alive: bool
    chunks_understood: bool
    """The client speaks HTTP/1.1, so that an answer may come in chunks."""
    expects_continue: bool


class _Events:
    """Collects llhttp's callbacks of one head."""

    __slots__ = ("headers", "surplus", "target", "whole")

    def __init__(self) -> None:
        self.headers: Headers = []
        self.target = b""
        self.whole = False
        self.surplus = False

    def on_url(self, url: bytes) -> None:
        self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value.strip(b" \t")))
        if len(self.headers) > limits.MAX_HTTP_HEADERS:
            raise BadHead(431, "too_many_headers")

    def on_headers_complete(self) -> None:
        self.surplus = self.whole
        self.whole = True


def head_end(data: bytearray, start: int, end: int, searched: int) -> int:
    """Return the length of the head that begins at ``data[start]``.

    Args:
        data: a buffer whose bytes ``start`` to ``end`` were received.
        start: where the request begins.
        end: where the received bytes end.
        searched: how many bytes from ``start`` an earlier call searched without a match.

    Returns:
        The number of bytes of the head with its empty line, or -1: not yet whole.

    Raises:
        BadHead: 431: too long.
    """
    found = data.find(_HEAD_END, start + max(0, searched - 3), end)
    length = end - start if found < 0 else found + 4 - start
    if length > limits.MAX_HTTP_HEADER_BLOCK_BYTES + limits.MAX_HTTP_TARGET_BYTES:
        raise BadHead(431, "head_too_long")
    return -1 if found < 0 else length


def parse_head(data: bytes) -> Head:
    """Parse a whole head: exactly the bytes that :func:`head_end` counted.

    Raises:
        BadHead: see there.
    """
    events = _Events()
    parser = httptools.HttpRequestParser(events)
    try:
        parser.feed_data(data)
    except httptools.HttpParserUpgrade:
        pass  # An offer that RFC 9110, 7.8 lets us ignore; CONNECT is not a method of ours.
    except httptools.HttpParserCallbackError as error:
        cause = error.__context__
        raise cause if isinstance(cause, BadHead) else BadHead(400, "bad_head") from error
    except httptools.HttpParserInvalidURLError as error:
        raise BadHead(400, "bad_target") from error
    except httptools.HttpParserInvalidMethodError as error:
        raise BadHead(501, "unknown_method") from error
    except httptools.HttpParserError as error:
        raise BadHead(400, "bad_head") from error
    if not events.whole or events.surplus:
        raise BadHead(400, "bad_head")
    # Looked at in the bytes: llhttp takes RTSP and ICE for HTTP.
    version = data[: data.find(b"\r\n")][-9:]
    if version not in {b" HTTP/1.1", b" HTTP/1.0"}:
        raise BadHead(505, "unknown_version")
    if len(events.target) > limits.MAX_HTTP_TARGET_BYTES:
        raise BadHead(414, "target_too_long")
    if len(data) - len(events.target) > limits.MAX_HTTP_HEADER_BLOCK_BYTES:
        raise BadHead(431, "head_too_long")
    method = parser.get_method().decode("ascii")
    if method not in METHODS:
        raise BadHead(501, "unknown_method")
    target = events.target
    if target[:1] != b"/" and not (target == b"*" and method == "OPTIONS"):
        raise BadHead(400, "target_not_a_path")
    if b"#" in target:
        raise BadHead(400, "bad_target")
    return _frame(method, target, events.headers, is_1_1=version == b" HTTP/1.1")


def _frame(method: str, target: bytes, headers: Headers, *, is_1_1: bool) -> Head:
    """Decide from the headers where the body ends and what becomes of the connection."""
    length: int | None = 0
    lengths = hosts = codings = 0
    expects = False
    keep_alive = is_1_1
    for name, value in headers:
        if name == b"content-length":
            lengths += 1
            if not value.isdigit() or len(value) > 19:
                raise BadHead(400, "bad_content_length")
            length = int(value)
        elif name == b"transfer-encoding":
            codings += 1
            if value.lower() != b"chunked":
                raise BadHead(501, "unknown_transfer_coding")
            length = None
        elif name == b"host":
            hosts += 1
        elif name == b"expect":
            # What else may be expected is nothing that there is; it may be ignored.
            expects = is_1_1 and value.lower() == b"100-continue"
        elif name == b"connection":
            options = {option.strip(b" \t").lower() for option in value.split(b",")}
            keep_alive = b"close" not in options and (keep_alive or b"keep-alive" in options)
    if lengths > 1 or codings > 1 or (lengths and codings) or (codings and not is_1_1):
        raise BadHead(400, "ambiguous_body_length")
    if hosts > 1 or (is_1_1 and not hosts):
        raise BadHead(400, "not_one_host")
    return Head(
        method=method,
        target=target,
        headers=headers,
        length=length,
        keep_alive=keep_alive,
        chunks_understood=is_1_1,
        expects_continue=expects,
    )
