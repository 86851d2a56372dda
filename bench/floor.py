"""The floor: what one 64 MiB PUT and GET must cost on this machine, from primitives alone.

Each primitive is timed by itself, on one core, and the times are summed: no protocol, no HTTP, no
scheduling, no database. A program that overlaps them on two cores can be faster than the sum.
Loopback is plain TCP, timed from the first byte sent to the last one received.
"""

from __future__ import annotations

import hashlib
import os
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.load import content
from common import limits
from common.crypto.digest import leaf
from common.crypto.stream import StripeCipher
from common.erasure.code import make_code
from common.erasure.geometry import Geometry
from common.ids import SegmentId, TenantId
from common.limits import MIB

OBJECT_BYTES: Final = 64 * MIB
CHUNK_BYTES: Final = 256 * 1024


@dataclass(frozen=True, slots=True)
class Floor:
    """Seconds for 64 MiB, by primitive."""

    put: dict[str, float]
    get: dict[str, float]

    @property
    def put_s(self) -> float:
        """All steps of a PUT, one after another."""
        return sum(self.put.values())

    @property
    def get_s(self) -> float:
        """All steps of a GET, one after another."""
        return sum(self.get.values())


def _timed(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def loopback(total: int) -> float:
    """Seconds for so many bytes over plain TCP."""
    listener = socket.create_server(("127.0.0.1", 0))
    payload = memoryview(bytes(CHUNK_BYTES))
    target = memoryview(bytearray(CHUNK_BYTES))

    def receive() -> None:
        stream, _ = listener.accept()
        with stream:
            left = total
            while left:
                left -= stream.recv_into(target, min(left, CHUNK_BYTES))
            stream.sendall(b"!")

    thread = threading.Thread(target=receive)
    thread.start()
    with listener, socket.create_connection(listener.getsockname()) as stream:
        begin = time.perf_counter()
        for _ in range(total // CHUNK_BYTES):
            stream.sendall(payload)
        stream.sendall(payload[: total % CHUNK_BYTES])
        stream.recv(1)
        elapsed = time.perf_counter() - begin
    thread.join()
    return elapsed


def write_and_sync(path: Path, total: int) -> float:
    """Seconds for writing so many bytes to a new file and syncing it."""
    data = os.urandom(MIB)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        begin = time.perf_counter()
        for _ in range(total // MIB):
            os.write(handle, data)
        os.fdatasync(handle)
        return time.perf_counter() - begin
    finally:
        os.close(handle)


def read(path: Path, total: int) -> float:
    """Seconds for reading so many bytes of a file."""
    handle = os.open(path, os.O_RDONLY)
    target = bytearray(CHUNK_BYTES)
    try:
        begin = time.perf_counter()
        for at in range(0, total, CHUNK_BYTES):
            os.preadv(handle, [target], at)
        return time.perf_counter() - begin
    finally:
        os.close(handle)


def measure(k: int, n: int, directory: Path) -> Floor:
    """Time every primitive once.

    Args:
        directory: on the file system that the cells use.
    """
    geometry = Geometry.plan(k, n, OBJECT_BYTES)
    code = make_code(k, n)
    cipher = StripeCipher(os.urandom(32), TenantId(bytes(16)), SegmentId(bytes(16)))
    body = content(OBJECT_BYTES)
    unit = geometry.unit_bytes
    stripe_plain = k * unit - limits.AEAD_TAG_BYTES
    stripes = OBJECT_BYTES // stripe_plain
    # One buffer, reused, as a program with a bounded memory does.
    sealed = memoryview(bytearray(k * unit))
    opened = memoryview(bytearray(stripe_plain))
    stored = OBJECT_BYTES * n // k
    units = [sealed[at : at + unit] for at in range(0, len(sealed), unit)]
    units += code.encode(sealed, unit)

    def seal() -> None:
        for stripe in range(stripes):
            at = stripe * stripe_plain
            cipher.seal_into(stripe, False, body[at : at + stripe_plain], sealed)

    def encode() -> None:
        for _ in range(stripes):
            code.encode(sealed, unit)

    def hash_units(count: int) -> None:
        for _ in range(stripes):
            for each in units[:count]:
                leaf(each)

    def open_all() -> None:
        cipher.seal_into(0, False, body[:stripe_plain], sealed)
        for _ in range(stripes):
            cipher.open_into(0, False, sealed, opened)

    path = directory / "floor"
    try:
        put = {
            "MD5 of the body": _timed(lambda: hashlib.md5(body, usedforsecurity=False)),
            "seal": _timed(seal),
            "encode": _timed(encode),
            "BLAKE3, gateway": _timed(lambda: hash_units(n)),
            "BLAKE3, cells": _timed(lambda: hash_units(n)),
            "loopback, client to gateway": loopback(OBJECT_BYTES),
            "loopback, gateway to cells": loopback(stored),
            "write and fsync": write_and_sync(path, stored),
        }
        get = {
            "read from the page cache": read(path, OBJECT_BYTES),
            "loopback, cells to gateway": loopback(OBJECT_BYTES),
            "BLAKE3, gateway": _timed(lambda: hash_units(k)),
            "open": _timed(open_all),
            "loopback, gateway to client": loopback(OBJECT_BYTES),
        }
    finally:
        path.unlink(missing_ok=True)
    return Floor(put=put, get=get)


def median_floor(floors: list[Floor]) -> Floor:
    """The median of each primitive over several measurements."""

    def middle(samples: list[dict[str, float]]) -> dict[str, float]:
        return {
            name: sorted(each[name] for each in samples)[len(samples) // 2] for name in samples[0]
        }

    return Floor(
        put=middle([each.put for each in floors]), get=middle([each.get for each in floors])
    )
