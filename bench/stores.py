"""``python -m bench.stores``: what the coordinator's store costs on each engine.

Options: ``--objects``, ``--cells``, ``--processes``, ``--seconds``, ``--postgresql URL``: of a
database whose schema ``coordinator`` is dropped; without it SQLite alone is measured.

For each engine: commits and lookups in a second through the store's own functions, at the numbers
of objects asked for, so that a cost that grows with them shows; bytes for each object of one
segment, and for each cell with its slots. On PostgreSQL also commits by several processes at once,
into a bucket each and into one bucket. No network and no gateway is part of it.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any, Final

import trio

from common import limits
from common.erasure.geometry import Geometry
from common.ids import (
    LEASE_ID_BYTES,
    SEGMENT_ID_BYTES,
    BucketId,
    PeerId,
    SegmentId,
    TenantId,
    VersionId,
    segment_id,
)
from common.ports import Sql, Store, Stores
from common.system.postgres import PostgresStores
from common.system.sqlite import SqliteStores
from common.wire.messages.base import CellFacts
from common.wire.messages.buckets import BucketCreate
from common.wire.messages.objects import Condition, ObjectCommit, ObjectGet
from common.wire.messages.writing import Extent, NewSegment, Page
from coordinator.policy.placement import Redundancy, RingPlan
from coordinator.store import buckets, cells, dialect, leases, objects, rings, segments, tenants
from coordinator.store.dialect import to_postgres
from coordinator.store.schema import migrate

STORE: Final = "coordinator.sqlite"
REDUNDANCY: Final = Redundancy(4, 6, 5)
SIZE: Final = 4096
SEALED_BYTES: Final = 320
SUMMARY_BYTES: Final = 120
"""Of a sealed manifest and a summary, as the gateway makes them of an object without metadata."""
WRITER: Final = PeerId(bytes(32))
TENANT: Final = TenantId(bytes(16))
CALLERS: Final = 64
"""Callers that wait at the same time: what is there at once shares a transaction."""
AT_ONCE: Final = 500
GEOMETRY: Final = Geometry.plan(REDUNDANCY.k, REDUNDANCY.n, SIZE, REDUNDANCY.k)


def bucket_of(number: int) -> str:
    """The name of a bucket."""
    return f"bucket-{number}"


async def prepare(store: Store, cell_count: int, bucket_count: int) -> tuple[int, int, list[int]]:
    """Make a store with cells, rings, a tenant and buckets.

    Returns:
        The tenant's number, a lease, and the rings.
    """
    await store.transact(migrate)
    chance = random.Random(1)
    numbers: list[int] = []
    for first in range(0, cell_count, AT_ONCE):
        count = min(AT_ONCE, cell_count - first)

        def add(sql: Sql, count: int = count) -> list[int]:
            made = []
            for _ in range(count):
                row = sql.execute(
                    "INSERT INTO cells (cell_id, site, owner, joined_ms, joined_at_s, facts)"
                    " VALUES (?, ?, ?, 0, 0, ?) RETURNING cell",
                    (os.urandom(32), "site", "owner", FACTS.pack()),
                ).fetchone()
                made.append(row[0])
                cells.save(sql, row[0], "cell.example.org", 7500, FACTS)
            return made

        numbers += await store.transact(add)
    of_rings = []
    for _ in range(max(1, cell_count // 2)):
        of_rings.append(tuple(chance.sample(numbers, REDUNDANCY.n)))
    made: list[int] = []
    for first in range(0, len(of_rings), AT_ONCE):
        plan = RingPlan(new=tuple(of_rings[first : first + AT_ONCE]), reopen=(), close=())
        added = await store.transact(
            lambda sql, plan=plan: rings.apply(sql, plan, REDUNDANCY, 0)  # type: ignore[misc]  # a default has no type
        )
        made += [each.ring for each in added]

    def begin(sql: Sql) -> tuple[int, int]:
        tenants.create(sql, "tenant", TENANT, bytes(32), 0)
        tenant = tenants.proof_key(sql, TENANT)[0]
        for number in range(bucket_count):
            request = BucketCreate(TENANT, BucketId(os.urandom(16)), bucket_of(number), b"settings")
            buckets.create(sql, tenant, request, 0, most_buckets=1000)
        return tenant, leases.open_lease(sql, WRITER, tenant, 0)

    tenant, lease = await store.transact(begin)
    return tenant, lease, made


FACTS: Final = CellFacts(1 << 40, 1 << 39, 0, 1000, 1 << 39, False)


class Committer:
    """Commits objects of one segment, and looks them up."""

    def __init__(
        self, store: Store, tenant: int, lease: int, on_rings: list[int], bucket: str
    ) -> None:
        self._store = store
        self._tenant = tenant
        self._lease = lease
        self._rings = on_rings
        self._bucket = bucket
        self._chance = random.Random(os.urandom(8))
        self.count = 0

    def _request(self, name: bytes) -> ObjectCommit:
        chance = self._chance
        segment = segment_id(self._lease, chance.randbytes(SEGMENT_ID_BYTES - LEASE_ID_BYTES))
        return ObjectCommit(
            tenant_id=TENANT,
            bucket=self._bucket,
            name=name,
            version_id=VersionId(chance.randbytes(16)),
            size=SIZE,
            sealed=chance.randbytes(SEALED_BYTES),
            summary=chance.randbytes(SUMMARY_BYTES),
            pages=(Page((Extent(segment, 0, SIZE, chance.randbytes(32), 0),)),),
            segments=(self._segment(segment),),
            condition=Condition(),
        )

    def _segment(self, segment: SegmentId) -> NewSegment:
        return NewSegment(
            segment,
            self._chance.choice(self._rings),
            0,
            SIZE,
            GEOMETRY.unit_bytes,
            GEOMETRY.shard_bytes,
            self._chance.randbytes(32 * REDUNDANCY.n),
            (1 << REDUNDANCY.n) - 1,
            0,
            b"",
        )

    async def commit(self) -> None:
        """Commit one more object."""
        self.count += 1
        request = self._request(b"%s/%012d" % (os.urandom(4).hex().encode(), self.count))
        content = segments.check_content(request.pages, request.segments, request.size)
        await self._store.transact(
            lambda sql: objects.commit(sql, self._tenant, WRITER, request, content, 0)
        )

    async def fill(self, count: int) -> None:
        """Commit so many objects in as few transactions as may be."""
        for first in range(0, count, AT_ONCE):
            some = [
                self._request(b"%08d/%s" % (first + number, os.urandom(4).hex().encode()))
                for number in range(min(AT_ONCE, count - first))
            ]
            contents = [
                segments.check_content(each.pages, each.segments, each.size) for each in some
            ]

            def work(sql: Sql, some: Any = some, contents: Any = contents) -> None:
                for request, content in zip(some, contents, strict=True):
                    objects.commit(sql, self._tenant, WRITER, request, content, 0)

            await self._store.transact(work)

    async def names(self, count: int) -> list[bytes]:
        """Some names that there are."""
        rows: list[bytes] = await self._store.read(
            lambda sql: [
                row[0] for row in sql.execute("SELECT name FROM current LIMIT ?", (count,))
            ]
        )
        self._chance.shuffle(rows)
        return rows

    async def look_up_one(self, names: Iterator[bytes]) -> None:
        """Read what a GET of the next name needs."""
        name = next(names)
        request = ObjectGet(TENANT, self._bucket, name, None, True, 0, SIZE)
        await self._store.read(lambda sql: objects.get(sql, self._tenant, request))


async def rate(work: Callable[[], Any], seconds: float) -> tuple[float, float]:
    """Have CALLERS do something for some seconds.

    Returns:
        How often it was done in a second, and the CPU milliseconds of this process for each.
    """
    done = 0
    began, cpu = time.perf_counter(), time.process_time()
    until = began + seconds

    async def call() -> None:
        nonlocal done
        while time.perf_counter() < until:
            await work()
            done += 1

    async with trio.open_nursery() as nursery:
        for _ in range(CALLERS):
            nursery.start_soon(call)
    took = time.perf_counter() - began
    return done / took, (time.process_time() - cpu) * 1000 / max(1, done)


class ServerTime:
    """CPU time of a PostgreSQL server's processes; none without its first process's number."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._began = 0.0

    def _now(self) -> float:
        ticks = 0
        for path in Path("/proc").glob("[0-9]*/stat") if self._pid else ():
            with suppress(OSError):
                fields = path.read_text().rpartition(")")[2].split()
                if int(fields[1]) == self._pid:
                    ticks += int(fields[11]) + int(fields[12])
        return ticks * 1000 / os.sysconf("SC_CLK_TCK")

    def start(self) -> None:
        """Count from now on."""
        self._began = self._now()

    def ms(self) -> float:
        """The CPU milliseconds since."""
        return self._now() - self._began


async def exchange(store: Store, engine: str, cell_count: int, server: ServerTime) -> None:
    """Measure what heartbeats of all cells cost where several coordinators share the store: one
    writes them, another one reads them."""
    known = await store.read(lambda sql: cells.load(sql, 0.0))
    server.start()
    cpu = time.process_time()
    some = limits.MAX_HEARTBEATS_PER_TRANSACTION
    for first in range(0, len(known), some):
        heard = known[first : first + some]
        await store.transact(partial(cells.count_heartbeats, heard=heard))
    written = ((time.process_time() - cpu) * 1000 + server.ms()) / cell_count
    server.start()
    cpu = time.process_time()
    await store.read(lambda sql: cells.load(sql, 0.0))
    learned = ((time.process_time() - cpu) * 1000 + server.ms()) / cell_count
    print(
        f"{engine}: {cell_count} cells: {written:.3f} CPU-ms to write a heartbeat,"
        f" {learned:.3f} CPU-ms to read a cell"
    )


async def size(store: Store) -> int:
    """The bytes of the database."""
    return await store.read(dialect.store_bytes)


async def measure(
    make: Callable[[], Stores],
    engine: str,
    counts: list[int],
    cell_count: int,
    seconds: float,
    server_pid: int = 0,
) -> None:
    """Measure one engine in this process."""
    store = await make().open(STORE)
    server = ServerTime(server_pid)
    await store.transact(migrate)
    empty = await size(store)
    tenant, lease, made = await prepare(store, cell_count, 1)
    with_cells = await size(store)
    print(f"{engine}: {(with_cells - empty) / cell_count:.0f} bytes for each cell and its slots")
    await exchange(store, engine, cell_count, server)
    committer = Committer(store, tenant, lease, made, bucket_of(0))
    there = 0
    for count in counts:
        await committer.fill(count - there)
        there = count
        names = await committer.names(2000)
        server.start()
        commits, commit_ms = await rate(committer.commit, seconds)
        commit_ms += server.ms() / max(1, committer.count)
        server.start()
        gets, get_ms = await rate(partial(committer.look_up_one, cycle(names)), seconds)
        get_ms += server.ms() / max(1.0, gets * seconds)
        there += committer.count
        committer.count = 0
        held = await size(store)
        print(
            f"{engine}: {there:>8} objects: {commits:.0f} commits/s ({commit_ms:.2f} CPU-ms),"
            f" {gets:.0f} lookups/s ({get_ms:.2f} CPU-ms),"
            f" {(held - with_cells) / there:.0f} bytes for each object with its segment"
        )
    await store.close()


async def commit_for(url: str, bucket: int, seconds: float) -> None:
    """One process of several: commit into a bucket, and print how many a second."""
    store = await PostgresStores(url, to_postgres, os.urandom).open(STORE)

    def look(sql: Sql) -> tuple[int, int, list[int]]:
        made = [row[0] for row in sql.execute("SELECT ring FROM rings LIMIT 1000")]
        lease = sql.execute("SELECT max(lease) FROM leases").fetchone()[0]
        return tenants.proof_key(sql, TENANT)[0], lease, made

    tenant, lease, made = await store.read(look)
    committer = Committer(store, tenant, lease, made, bucket_of(bucket))
    print("ready", flush=True)
    await trio.to_thread.run_sync(sys.stdin.readline)
    done, _ = await rate(committer.commit, seconds)
    print(json.dumps(done), flush=True)
    await store.close()


def together(url: str, processes: int, seconds: float, *, one_bucket: bool) -> float:
    """Commits in a second of several processes."""
    running = [
        subprocess.Popen(
            [
                sys.executable,
                *("-m", "bench.stores", "--url", url, "--seconds", str(seconds)),
                *("--bucket", str(0 if one_bucket else number)),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(processes)
    ]
    for each in running:
        assert each.stdout is not None
        assert each.stdout.readline() == "ready\n"
    for each in running:
        assert each.stdin is not None
        each.stdin.write("\n")
        each.stdin.flush()
    total = 0.0
    for each in running:
        said, _ = each.communicate()
        total += float(json.loads(said))
    return total


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--objects", default="1000,10000,100000")
    parser.add_argument("--cells", type=int, default=1000)
    parser.add_argument("--processes", default="1,2,4")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--postgresql", default="")
    parser.add_argument("--server-pid", type=int, default=0, help="of its first process")
    parser.add_argument("--url", default="", help=argparse.SUPPRESS)
    parser.add_argument("--bucket", type=int, default=0, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.url:
        trio.run(commit_for, given.url, given.bucket, given.seconds)
        return
    counts = [int(each) for each in given.objects.split(",")]
    with tempfile.TemporaryDirectory(prefix="alveary-bench-") as folder:
        trio.run(
            measure,
            lambda: SqliteStores(Path(folder)),
            "sqlite",
            counts,
            given.cells,
            given.seconds,
        )
    if not given.postgresql:
        print("PostgreSQL: none; name one with --postgresql")
        return
    url = given.postgresql
    stores = PostgresStores(url, to_postgres, os.urandom)
    trio.run(stores.discard, STORE)
    trio.run(
        measure,
        lambda: stores,
        "postgresql",
        counts,
        given.cells,
        given.seconds,
        given.server_pid,
    )
    trio.run(stores.discard, STORE)

    async def again() -> None:
        store = await stores.open(STORE)
        await prepare(store, given.cells, 16)
        await store.close()

    trio.run(again)
    for processes in (int(each) for each in given.processes.split(",")):
        for one_bucket in (False, True):
            done = together(url, processes, given.seconds, one_bucket=one_bucket)
            where = "one bucket" if one_bucket else "a bucket each"
            print(f"postgresql: {processes} processes, {where}: {done:.0f} commits/s")
    assert math.isfinite(done)


if __name__ == "__main__":
    main()
