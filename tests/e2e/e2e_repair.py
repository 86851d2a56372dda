"""Clients that never rest, and what a swarm's store and its cells say about where shards are."""

from __future__ import annotations

import hashlib
import json
import random
import sqlite3
import threading
import time
import urllib.request
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import trio

from cell.storage.shard_store import ShardStore
from common.errors import Corrupt, NotFound
from common.ids import DIGEST_BYTES, SegmentId
from common.limits import VOLUME_BYTES
from common.system.world import open_world


@dataclass(frozen=True, slots=True)
class Operation:
    """A request of a client: when it was begun, and how it ended (``error``: empty if well)."""

    kind: str
    begun_at: float
    seconds: float
    error: str


@dataclass
class Load:
    """Threads that put objects and get them back, one request after the other.

    ``sizes``: of the objects, in turn. ``pause_s``: of each thread after each request. ``written``:
    digests of acknowledged objects by name.
    """

    make_client: Callable[[], Any]
    bucket: str
    sizes: tuple[int, ...] = (1000, 300_000)
    threads: int = 2
    pause_s: float = 0.2
    prefix: str = "load"
    operations: list[Operation] = field(default_factory=list)
    written: dict[str, str] = field(default_factory=dict)

    def __enter__(self) -> Load:
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [
            threading.Thread(target=self._work, args=(number,), daemon=True)
            for number in range(self.threads)
        ]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(120)

    def _work(self, number: int) -> None:
        chance = random.Random(f"{self.prefix}-{number}")
        with closing(self.make_client()) as s3:
            for count in range(1_000_000):
                name = f"{self.prefix}/{number}/{count}"
                body = chance.randbytes(self.sizes[count % len(self.sizes)])
                if self._do("put", partial(s3.put_object, Bucket=self.bucket, Key=name, Body=body)):
                    with self._lock:
                        self.written[name] = hashlib.sha256(body).hexdigest()
                    self._do("get", partial(_read, s3, self.bucket, name))
                if self._stop.wait(self.pause_s):
                    return

    def _do(self, kind: str, work: Callable[[], object]) -> bool:
        begun = time.monotonic()
        error = ""
        try:
            work()
        except Exception as caught:  # Whatever the client calls it.
            error = f"{type(caught).__name__}: {caught}"
        with self._lock:
            self.operations.append(Operation(kind, begun, time.monotonic() - begun, error))
        return not error

    def since(self, moment: float, kind: str = "") -> list[Operation]:
        """The requests that were begun from a moment on."""
        with self._lock:
            return [
                each
                for each in self.operations
                if each.begun_at >= moment and kind in ("", each.kind)
            ]

    def seconds(self, kind: str, since: float, until: float) -> list[float]:
        """The seconds that requests took that were begun in between."""
        return [each.seconds for each in self.since(since, kind) if each.begun_at < until]

    def wait_for(self, moment: float, count: int) -> None:
        """Wait until so many puts and as many gets that were begun from a moment on have ended."""
        deadline = time.monotonic() + 120
        while min(len(self.since(moment, kind)) for kind in ("put", "get")) < count:
            failed = [each for each in self.since(moment) if each.error]
            assert time.monotonic() < deadline, failed[:3] or "clients stand still"
            time.sleep(0.1)


def _read(s3: Any, bucket: str, name: str) -> bytes:
    body: bytes = s3.get_object(Bucket=bucket, Key=name)["Body"].read()
    return body


def unreadable(s3: Any, bucket: str, written: dict[str, str]) -> list[str]:
    """The names whose objects cannot be read, or are not what was written."""
    bad = []
    for name, digest in written.items():
        body = b""
        with suppress(Exception):
            body = _read(s3, bucket, name)
        if hashlib.sha256(body).hexdigest() != digest:
            bad.append(name)
    return bad


def operators_answer(coordinator: Path, path: str) -> dict[str, Any]:
    """What the operators' API says; much cheaper than a process of the command line."""
    access = json.loads((coordinator / "operator.json").read_text())
    request = urllib.request.Request(access["url"] + path)
    request.add_header("authorization", f"Bearer {access['token']}")
    with urllib.request.urlopen(request, timeout=30) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


# --- the store ------------------------------------------------------------------------------


def rows_of(coordinator: Path, query: str) -> list[tuple[Any, ...]]:
    """What a query of a coordinator's store gives; the coordinator may run meanwhile."""
    path = coordinator / "coordinator.sqlite"
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)) as sql:
        return sql.execute(query).fetchall()


def has_full_margin(coordinator: Path) -> bool:
    """Return whether every slot has its shards, and none has to be moved any more."""
    return rows_of(
        coordinator,
        "SELECT (SELECT count(*) FROM missing_shards), (SELECT count(*) FROM sources)",
    ) == [(0, 0)]


def bad_shards(coordinator: Path, cells: dict[str, Path]) -> tuple[int, list[str]]:
    """Read every shard that a store lists, whole, at the cell that should hold it.

    Args:
        cells: the data directory of each cell by its id (hex); none of them runs.

    Returns:
        How many shards there are, and those that are not there, not whole, or not what was
        committed.
    """
    wanted: dict[str, list[tuple[SegmentId, int, bytes]]] = {}
    for cell_id, segment_id, slot, roots in rows_of(
        coordinator,
        "SELECT cell_id, segment_id, slot, roots FROM segments"
        " JOIN ring_slots USING (ring) JOIN cells USING (cell)",
    ):
        root = roots[slot * DIGEST_BYTES : (slot + 1) * DIGEST_BYTES]
        wanted.setdefault(cell_id.hex(), []).append((SegmentId(segment_id), slot, root))
    bad = []
    for cell_id, shards in wanted.items():
        bad += trio.run(_bad_of_cell, cells.get(cell_id), shards)
    return sum(map(len, wanted.values())), bad


async def _bad_of_cell(data: Path | None, shards: list[tuple[SegmentId, int, bytes]]) -> list[str]:
    if data is None:
        return [f"{segment_id.hex()}:{slot} is at nobody" for segment_id, slot, _ in shards]
    bad = []
    async with open_world(data, "test", log_path=data / "log-of-test") as world:
        store = await ShardStore.open(
            world, capacity_bytes=None, reserve_bytes=0, volume_bytes=VOLUME_BYTES
        )
        async with trio.open_nursery() as nursery:
            nursery.start_soon(store.run)
            for segment_id, slot, root in shards:
                try:
                    entry = await store.index.find((segment_id, slot))
                    await store.check((segment_id, slot), _at_once)
                    if entry is None or entry.bad or entry.root != root:
                        bad.append(f"{segment_id.hex()}:{slot} is another")
                except (Corrupt, NotFound) as error:
                    bad.append(f"{segment_id.hex()}:{slot} {error}")
            nursery.cancel_scope.cancel()
    return bad


async def _at_once(_: int) -> None:
    return None
