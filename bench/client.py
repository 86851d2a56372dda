"""An S3 client on one raw connection: no parsing beyond what it needs, no copies."""

from __future__ import annotations

import socket
from typing import Final

from bench.signing import EMPTY_SHA256, Signer

RECEIVE_BYTES: Final = 1 << 20
TIMEOUT_S: Final = 120.0


class RequestFailed(Exception):
    """The gateway answered with another status than the wanted one."""


class S3Connection:
    """One keep-alive connection to a gateway.

    Args:
        address: host and port.
        signer: of the access key to use.
    """

    def __init__(self, address: tuple[str, int], signer: Signer) -> None:
        self._signer = signer
        self._socket = socket.create_connection(address, timeout=TIMEOUT_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = memoryview(bytearray(RECEIVE_BYTES))

    def close(self) -> None:
        """Close it."""
        self._socket.close()

    def put(self, path: str, body: memoryview, payload_sha256: str) -> None:
        """PUT a body; return when it is acknowledged."""
        head = self._signer.head("PUT", path, len(body), payload_sha256)
        if len(body) <= 65536:
            self._socket.sendall(head + body)
        else:
            self._socket.sendall(head)
            self._socket.sendall(body)
        self._answer(200, None)

    def get(self, path: str, into: memoryview | None = None) -> int:
        """GET an object and return its length; its bytes go ``into`` a buffer or nowhere."""
        self._socket.sendall(self._signer.head("GET", path, 0, EMPTY_SHA256))
        return self._answer(200, into)

    def delete(self, path: str) -> None:
        """DELETE an object."""
        self._socket.sendall(self._signer.head("DELETE", path, 0, EMPTY_SHA256))
        self._answer(204, None)

    def _answer(self, wanted: int, into: memoryview | None) -> int:
        received = 0
        end = -1
        while end < 0:
            count = self._socket.recv_into(self._buffer[received:])
            if count == 0:
                raise RequestFailed("the gateway closed the connection")
            received += count
            end = bytes(self._buffer[:received]).find(b"\r\n\r\n")
        head = bytes(self._buffer[:end]).lower()
        status = int(head[9:12])
        length = 0
        for line in head.split(b"\r\n")[1:]:
            if line.startswith(b"content-length:"):
                length = int(line[15:])
        start = end + 4
        done = received - start
        if into is not None:
            into[:done] = self._buffer[start:received]
        while done < length:
            target = self._buffer if into is None else into[done:]
            count = self._socket.recv_into(target)
            if count == 0:
                raise RequestFailed(f"body cut at {done} of {length} bytes")
            done += count
        if status != wanted:
            raise RequestFailed(f"{status}: {bytes(self._buffer[start : start + 400])!r}")
        return length
