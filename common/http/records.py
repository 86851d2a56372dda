"""The request that an HTTP handler gets and the response that it returns.

Source: RFC 9110, RFC 9112; docs/architecture.md, "HTTP".
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import field
from typing import Protocol, TypeAlias

from common.data_classes import dataclass
from common.ports import Buffer

Headers: TypeAlias = list[tuple[bytes, bytes]]


class Body(Protocol):
    """The body of a request, read once, front to back."""

    @property
    def length(self) -> int | None:
        """Bytes that the head promises; None when it comes in chunks of unknown number."""

    async def receive(self) -> bytes | memoryview:
        """Wait for the next bytes of the body.

        The first call asks a client that said ``Expect: 100-continue`` to go on.

        Returns:
            A non-empty buffer that nobody else writes to, or ``b""`` at the end (also when called
            again).

        Raises:
            Unavailable: ``client_gone``: the connection broke.
            Refused: ``body_too_short`` (the client stopped sending before the end),
                ``body_timeout`` (silent for too long), ``bad_chunk`` (transfer coding broken).
        """


class BytesBody:
    """A body that is at hand: of a request without one, and of requests made by tests."""

    def __init__(self, data: Buffer = b"") -> None:
        self._data: Buffer = data
        self._length = len(data)

    @property
    def length(self) -> int | None:
        return self._length

    async def receive(self) -> bytes | memoryview:
        data, self._data = self._data, b""
        return data if isinstance(data, bytes) else memoryview(data)


@dataclass(slots=True)
class HttpRequest:
    """A request whose head was read whole and obeys RFC 9112.

    ``target`` is the request target as sent; ``path`` and ``query`` are its parts before and
    after the first ``?``, neither decoded. Header names are in lower case, in the order sent;
    values have no white space at their ends and no control characters but tabs. There is exactly
    one ``host`` header on HTTP/1.1; :meth:`add` is the one way to change them. ``secure``: it came
    over TLS.
    """

    method: str
    target: bytes
    path: bytes
    query: bytes
    headers: Headers
    body: Body = field(default_factory=BytesBody)
    remote: str = ""
    secure: bool = False
    _by_name: dict[bytes, list[bytes]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        for name, value in self.headers:
            self._by_name.setdefault(name, []).append(value)

    def header(self, name: bytes) -> bytes | None:
        """The first value of a header (name in lower case), or None."""
        values = self._by_name.get(name)
        return None if values is None else values[0]

    def all(self, name: bytes) -> Sequence[bytes]:
        """All values of a header (name in lower case), in the order sent."""
        return self._by_name.get(name, ())

    def add(self, name: bytes, value: bytes) -> None:
        """Add a header (name in lower case) behind the others."""
        self.headers.append((name, value))
        self._by_name.setdefault(name, []).append(value)


@dataclass(slots=True)
class HttpResponse:
    """The answer to a request.

    ``body`` is bytes, or an asynchronous iterator of non-empty buffers, which the server closes
    in every case. With an iterator, a ``content-length`` among the headers is a promise: when
    the iterator gives more or less, or raises, the connection is cut, so that the client sees a
    failure and never a short body. Without it the body goes in chunks.

    The server adds ``date``, ``server``, ``connection``, ``transfer-encoding`` and, for bytes,
    ``content-length`` (unless given: answers to HEAD say the length of what GET would send).

    ``pause_s``: seconds after it in which no other request of its connection is read, for a client
    that was asked to come later; the connection gives way to others meanwhile.
    """

    status: int
    headers: Headers = field(default_factory=list)
    body: bytes | AsyncIterator[Buffer] = b""
    pause_s: float = 0.0


Handler: TypeAlias = Callable[[HttpRequest], Awaitable[HttpResponse]]
