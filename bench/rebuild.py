"""The cost of rebuilding the shards of a lost cell: what the daemons spend on it, and what one
process would have to spend on the same bytes.

The floor is the CPU of one process that reads k units for each, carries them over loopback, checks
their leaves, computes the missing unit, hashes it, and writes and syncs it: no TLS, no protocol.
"""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import time
import tomllib
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import tomli_w

from bench import machine
from bench.client import S3Connection
from bench.floor import loopback, read, write_and_sync
from bench.load import content
from bench.signing import UNSIGNED, Signer
from bench.swarm import RunningSwarm, running_swarm
from common.crypto.digest import leaf
from common.erasure.code import make_code
from common.erasure.geometry import Geometry
from common.limits import GIB, MIB

FLOOR_BYTES: Final = 64 * MIB
OBJECT_BYTES: Final = 64 * MIB
LOST_AFTER_S: Final = 5
POLL_S: Final = 0.1
TIMEOUT_S: Final = 900.0
SETTLE_S: Final = 3.0
LOST: Final = "cell-00"


@dataclass(frozen=True, slots=True)
class Rebuild:
    """A rebuild of a lost cell.

    ``shard_bytes``: what it held. ``cpu_s``: of all daemons. ``floor``: CPU seconds by primitive
    for FLOOR_BYTES.
    """

    shard_bytes: int
    elapsed_s: float
    cpu_s: float
    floor: dict[str, float]

    @property
    def cpu_s_per_gib(self) -> float:
        """CPU seconds of the daemons for a GiB of shards."""
        return self.cpu_s / (self.shard_bytes / GIB)

    @property
    def floor_s_per_gib(self) -> float:
        """CPU seconds of the floor for a GiB of shards."""
        return sum(self.floor.values()) / (FLOOR_BYTES / GIB)


def measure_floor(k: int, n: int, directory: Path) -> dict[str, float]:
    """CPU seconds, by primitive, of rebuilding FLOOR_BYTES of one slot in one process."""
    code = make_code(k, n)
    unit_bytes = Geometry.plan(k, n, OBJECT_BYTES).unit_bytes
    units = {slot: content(unit_bytes) for slot in range(1, k + 1)}
    count = FLOOR_BYTES // unit_bytes

    def rebuild() -> None:
        for _ in range(count):
            code.rebuild(units, unit_bytes, [0])

    def hash_units(of_each: int) -> None:
        for _ in range(count * of_each):
            leaf(units[1])

    path = directory / "rebuild-floor"
    steps: dict[str, Callable[[], object]] = {
        "write and fsync": lambda: write_and_sync(path, FLOOR_BYTES),
        "read k units from the page cache": lambda: [read(path, FLOOR_BYTES) for _ in range(k)],
        "loopback, k cells to the holder": lambda: loopback(k * FLOOR_BYTES),
        "BLAKE3, k units": lambda: hash_units(k),
        "compute": rebuild,
        "BLAKE3, the new unit": lambda: hash_units(1),
    }
    found = {}
    try:
        for name, work in steps.items():
            begun = time.process_time()
            work()
            found[name] = time.process_time() - begun
    finally:
        path.unlink(missing_ok=True)
    return found


def measure_rebuild(data: Path, k: int, n: int, cells: int, objects: int) -> Rebuild:
    """Start a swarm, write to it, take a cell away with its disk, and measure until every slot is
    filled again.

    Args:
        cells: more than n.
        objects: of OBJECT_BYTES.
    """
    coordinator = data / "coordinator"
    coordinator.mkdir(parents=True)
    floor = measure_floor(k, n, data)
    settings = {"heartbeat_interval_s": 1, "cell_timeout_s": 3, "lost_after_s": LOST_AFTER_S}
    (coordinator / "config.toml").write_text(tomli_w.dumps(settings))
    with running_swarm(data, cells, f"{k}/{n}") as swarm:
        _write(swarm, objects)
        time.sleep(SETTLE_S)
        lost = next(each for each in swarm.processes if each["name"] == LOST)
        left = [each for each in swarm.pids() if each != lost["pid"]]
        listen = tomllib.loads((data / LOST / "config.toml").read_text())["listen"]
        of_lost = (
            "FROM cells JOIN ring_slots USING (cell) JOIN segments USING (ring)"
            f" WHERE address_port = {int(listen.rpartition(':')[2])}"
        )
        held = _ask(coordinator, f"SELECT coalesce(sum(shard_bytes), 0) {of_lost}")
        os.kill(lost["pid"], signal.SIGKILL)
        shutil.rmtree(lost["data"])
        _wait(lambda: _ask(coordinator, "SELECT count(*) FROM sources") > 0)
        before = sum(machine.cpu_seconds(pid) for pid in left)
        begun = time.perf_counter()
        _wait(
            lambda: (
                not _ask(coordinator, f"SELECT count(*) {of_lost}")
                and not _ask(coordinator, "SELECT count(*) FROM missing_shards")
            )
        )
        elapsed = time.perf_counter() - begun
        cpu = sum(machine.cpu_seconds(pid) for pid in left) - before
    return Rebuild(held, elapsed, cpu, floor)


def _write(swarm: RunningSwarm, objects: int) -> None:
    signer = Signer(f"{swarm.host}:{swarm.port}", swarm.region, swarm.access_key, swarm.secret_key)
    connection = S3Connection((swarm.host, swarm.port), signer)
    connection.put("/rebuild", memoryview(b""), UNSIGNED)
    for number in range(objects):
        connection.put(f"/rebuild/{number}", content(OBJECT_BYTES), UNSIGNED)
    connection.close()


def _ask(coordinator: Path, query: str) -> int:
    """Ask the store of a running coordinator for a number."""
    path = coordinator / "coordinator.sqlite"
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)) as sql:
        row: Any = sql.execute(query).fetchone()
    return int(row[0])


def _wait(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError("the rebuild does not end")
        time.sleep(POLL_S)
