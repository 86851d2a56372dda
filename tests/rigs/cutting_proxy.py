"""A relay to a PostgreSQL server that loses connections in the middle of a commit, or stops in the
middle of what a client sends."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import Enum
from typing import Final

_COMMIT: Final = b"COMMIT\x00"


class Cut(Enum):
    """What becomes of a COMMIT."""

    NONE = "none"
    ANSWER_LOST = "answer lost"
    """The server commits; the client never hears so."""
    NOT_SENT = "not sent"
    """The server never sees it."""
    SLOW = "slow"
    """The server sees it half a second after the client has lost its connection."""
    LATE = "late"
    """The server sees it long after the client has lost its connection."""


class CuttingProxy:
    """The relay. ``cut``: of the next COMMIT; it is NONE again afterwards. ``stops_at``: bytes from
    which on nothing that this client sends comes through until ``goes_on`` is set, as of a process
    that is stopped between two writes."""

    def __init__(self, port: int) -> None:
        self.cut = Cut.NONE
        self.stops_at: bytes | None = None
        self.has_stopped = threading.Event()
        self.goes_on = threading.Event()
        self.cuts = 0
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._held: list[tuple[socket.socket, bytes]] = []
        self._open: list[socket.socket] = []

    def run(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._target))
            self._open += [client, server]
            threading.Thread(target=self._relay, args=(client, server), daemon=True).start()
            threading.Thread(target=self._pump, args=(server, client), daemon=True).start()

    def _relay(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while data := client.recv(65536):
                if self.stops_at is not None and self.stops_at in data:
                    before, self.stops_at = data.index(self.stops_at), None
                    server.sendall(data[:before])
                    self.has_stopped.set()
                    self.goes_on.wait()
                    data = data[before:]
                if self.cut is Cut.NONE or _COMMIT not in data:
                    server.sendall(data)
                    continue
                how, self.cut = self.cut, Cut.NONE
                self.cuts += 1
                if how is Cut.ANSWER_LOST:
                    self._close(client)
                    server.sendall(data)
                elif how is Cut.SLOW:
                    self._close(client)
                    threading.Event().wait(0.5)
                    server.sendall(data)
                    continue
                elif how is Cut.LATE:
                    self._held.append((server, data))
                    self._close(client)
                    return  # the server's side stays
                else:
                    self._close(client)
                break
        server.close()

    def let_late_ones_through(self) -> None:
        """Give the server what was held back, and read what it says to it."""
        for server, data in self._held:
            with suppress(OSError):
                server.sendall(data)
                server.settimeout(5)
                while server.recv(65536):
                    server.settimeout(0.5)

    @staticmethod
    def _close(client: socket.socket) -> None:
        with suppress(OSError):
            client.shutdown(socket.SHUT_RDWR)

    @staticmethod
    def _pump(server: socket.socket, client: socket.socket) -> None:
        with suppress(OSError):
            while data := server.recv(65536):
                client.sendall(data)
        CuttingProxy._close(client)

    def refuse(self) -> None:
        """Take no connection any more."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.refuse()
        self.goes_on.set()
        self._listener.close()
        for each in self._open:
            each.close()


@contextmanager
def cutting_proxy(port: int) -> Iterator[CuttingProxy]:
    """Run a relay to a port of this machine."""
    proxy = CuttingProxy(port)
    threading.Thread(target=proxy.run, daemon=True).start()
    try:
        yield proxy
    finally:
        proxy.close()
