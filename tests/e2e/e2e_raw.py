"""Requests that no well-behaved client sends: raw bytes on a socket."""

from __future__ import annotations

import datetime
import hashlib
import hmac
import re
import socket
from dataclasses import dataclass
from urllib.parse import quote

from e2e_swarm import Swarm

EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()
UNSIGNED = "UNSIGNED-PAYLOAD"


@dataclass
class Answer:
    """A status, and the code of S3's error document (empty if there is none)."""

    status: int
    code: str
    head: bytes
    body: bytes


class RawClient:
    """Signs by the book, then sends whatever it is told to."""

    def __init__(self, swarm: Swarm, *, secret: str | None = None, key: str | None = None) -> None:
        self.port = swarm.port
        self.region = swarm.credentials["region"]
        self.access_key = key or swarm.credentials["access_key"]
        self.secret_key = secret or swarm.credentials["secret_key"]

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=30)

    def head(
        self,
        method: str,
        path: str,
        *,
        query: str = "",
        headers: dict[str, str] | None = None,
        length: int | None = 0,
        sha256: str = UNSIGNED,
        at: datetime.datetime | None = None,
    ) -> bytes:
        """A signed request's head. ``path`` and ``query`` are as sent (already encoded)."""
        moment = at or datetime.datetime.now(datetime.UTC)
        stamp = moment.strftime("%Y%m%dT%H%M%SZ")
        signed = {
            "host": f"127.0.0.1:{self.port}",
            "x-amz-content-sha256": sha256,
            "x-amz-date": stamp,
            **(headers or {}),
        }
        names = sorted(signed)
        canonical = "\n".join(
            [
                method,
                path,
                query,
                *(f"{name}:{signed[name].strip()}" for name in names),
                "",
                ";".join(names),
                sha256,
            ]
        )
        scope = f"{stamp[:8]}/{self.region}/s3/aws4_request"
        signature = self._signature(stamp, scope, canonical)
        signed["authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={self.access_key}/{scope}, "
            f"SignedHeaders={';'.join(names)}, Signature={signature}"
        )
        if length is not None:
            signed["content-length"] = str(length)
        target = f"{path}?{query}" if query else path
        lines = [
            f"{method} {target} HTTP/1.1",
            *(f"{name}: {value}" for name, value in signed.items()),
        ]
        return "\r\n".join([*lines, "", ""]).encode()

    def presigned(self, method: str, path: str, *, expires_s: int, at: datetime.datetime) -> str:
        """The target of a presigned URL."""
        stamp = at.strftime("%Y%m%dT%H%M%SZ")
        scope = f"{stamp[:8]}/{self.region}/s3/aws4_request"
        query = "&".join(
            [
                "X-Amz-Algorithm=AWS4-HMAC-SHA256",
                f"X-Amz-Credential={quote(f'{self.access_key}/{scope}', safe='')}",
                f"X-Amz-Date={stamp}",
                f"X-Amz-Expires={expires_s}",
                "X-Amz-SignedHeaders=host",
            ]
        )
        canonical = f"{method}\n{path}\n{query}\nhost:127.0.0.1:{self.port}\n\nhost\n{UNSIGNED}"
        return f"{path}?{query}&X-Amz-Signature={self._signature(stamp, scope, canonical)}"

    def _signature(self, stamp: str, scope: str, canonical: str) -> str:
        key = b"AWS4" + self.secret_key.encode()
        for part in scope.split("/"):
            key = hmac.digest(key, part.encode(), "sha256")
        digest = hashlib.sha256(canonical.encode()).hexdigest()
        text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{digest}"
        return hmac.new(key, text.encode(), "sha256").hexdigest()

    def send(self, *parts: bytes) -> Answer:
        """Send parts on a new connection and read one answer (or none)."""
        with self.connect() as stream:
            try:
                for part in parts:
                    stream.sendall(part)
            except (BrokenPipeError, ConnectionResetError):
                pass  # It answered early and closed; the answer may still be read.
            return read_answer(stream)

    def request(self, method: str, path: str, body: bytes = b"", **more: object) -> Answer:
        """A whole signed request."""
        return self.send(self.head(method, path, length=len(body), **more), body)


def read_answer(stream: socket.socket) -> Answer:
    """One answer; status 0 if the connection ended without one."""
    received = b""
    try:
        while b"\r\n\r\n" not in received:
            chunk = stream.recv(65536)
            if not chunk:
                return Answer(0, "", received, b"")
            received += chunk
        head, _, body = received.partition(b"\r\n\r\n")
        match = re.search(rb"\r\ncontent-length: *(\d+)", head, re.IGNORECASE)
        length = int(match[1]) if match else 0
        while len(body) < length:
            chunk = stream.recv(65536)
            if not chunk:
                break
            body += chunk
    except ConnectionResetError:
        return Answer(0, "", received, b"")
    code = re.search(rb"<Code>(\w+)</Code>", body)
    return Answer(int(head[9:12]), code[1].decode() if code else "", head, body)
