"""``make bench``: one run, on this machine, of everything that docs/performance.md shows.

Options: ``--quick`` one short round; ``--write`` put the result into docs/performance.md;
``--data DIR`` where the swarm lies (a new directory below .bench if not given).
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from bench import machine
from bench.client import S3Connection
from bench.floor import OBJECT_BYTES, Floor, measure, median_floor
from bench.load import LoadJob
from bench.rebuild import measure_rebuild
from bench.report import Large, Small, render, write_page
from bench.signing import UNSIGNED, Signer
from bench.swarm import RunningSwarm, running_swarm
from common.limits import GIB, KIB, MIB

BUCKET: Final = "/bench"
SMALL_BYTES: Final = 4 * KIB
UNBOUNDED: Final = 1_000_000_000
MAX_READ_NAMES: Final = 64
"""Per connection; the cells then read from the page cache."""
SETTLE_S: Final = 1.0
"""Pause between measurements, so that deletes and syncs of one do not fall into the next."""


@dataclass(frozen=True, slots=True)
class BenchPlan:
    """The amount of measuring to do."""

    rounds: int
    large_operations: int
    small_seconds: float
    rebuild_objects: int


class Bench:
    """Runs jobs against a swarm and adds up what they cost."""

    def __init__(self, swarm: RunningSwarm, plan: BenchPlan) -> None:
        self._swarm = swarm
        self._plan = plan
        self._written: dict[int, int] = {}

    def run(self, **job: Any) -> tuple[dict[str, Any], float]:
        """Run one job in a client process.

        Returns:
            The client's result, and the CPU seconds of all daemons together.
        """
        swarm = self._swarm
        whole = LoadJob(
            host=swarm.host,
            port=swarm.port,
            region=swarm.region,
            access_key=swarm.access_key,
            secret_key=swarm.secret_key,
            **job,
        )
        time.sleep(SETTLE_S)
        before = sum(machine.cpu_seconds(pid) for pid in swarm.pids())
        done = subprocess.run(
            [sys.executable, "-P", "-m", "bench.load"],
            input=json.dumps(asdict(whole)),
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            env={"PYTHONPATH": str(Path(__file__).parent.parent)},
        )
        cpu = sum(machine.cpu_seconds(pid) for pid in swarm.pids()) - before
        result: dict[str, Any] = json.loads(done.stdout)
        return result, cpu

    def large(self, kind: str, connections: int, *, signed: bool = False) -> Large:
        """64 MiB objects; the operations of all connections together are the plan's."""
        operations = max(1, self._plan.large_operations // connections)
        result, cpu = self.run(
            kind=kind,
            prefix=f"{BUCKET}/large{connections}{'s' if signed else ''}",
            size=OBJECT_BYTES,
            connections=connections,
            operations=operations,
            distinct=operations,
            seconds=600.0,
            signed=signed,
        )
        moved = result["operations"] * OBJECT_BYTES
        return Large(
            kind=kind,
            connections=connections,
            signed=signed,
            mib_per_s=moved / MIB / result["elapsed_s"],
            cpu_s_per_gib=cpu / (moved / GIB),
            client_cpu_s_per_gib=result["cpu_s"] / (moved / GIB),
        )

    def small(self, kind: str, connections: int) -> Small:
        """4 KiB objects for the plan's seconds: PUT makes new ones, GET reads them in turn."""
        distinct = UNBOUNDED if kind == "put" else min(MAX_READ_NAMES, self._written[connections])
        result, cpu = self.run(
            kind=kind,
            prefix=f"{BUCKET}/small{connections}",
            size=SMALL_BYTES,
            connections=connections,
            operations=UNBOUNDED,
            distinct=distinct,
            seconds=self._plan.small_seconds,
        )
        if kind == "put":
            self._written[connections] = result["least"]
        times, count = result["latencies_s"], result["operations"]
        return Small(
            kind=kind,
            connections=connections,
            per_s=count / result["elapsed_s"],
            p50_ms=times[count // 2] * 1000,
            p99_ms=times[count * 99 // 100] * 1000,
            cpu_ms_each=cpu / count * 1000,
            client_cpu_ms_each=result["cpu_s"] / count * 1000,
        )

    def memory(self) -> dict[str, tuple[float, float]]:
        """Resident MiB now and at the peak, the largest process of each role."""
        return {
            role: (
                max(machine.memory_mib(pid)[0] for pid in self._swarm.pids(role)),
                max(machine.memory_mib(pid)[1] for pid in self._swarm.pids(role)),
            )
            for role in ("coordinator", "cell", "gateway")
        }


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def run_all(data: Path, plan: BenchPlan, redundancy: str, cells: int) -> str:
    """Measure everything and return the report."""
    k, n = (int(each) for each in redundancy.split("/"))
    floors: list[Floor] = []
    large: list[Large] = []
    small: list[Small] = []
    with running_swarm(data, cells, redundancy) as swarm:
        bench = Bench(swarm, plan)
        idle = bench.memory()
        signer = Signer(
            f"{swarm.host}:{swarm.port}", swarm.region, swarm.access_key, swarm.secret_key
        )
        connection = S3Connection((swarm.host, swarm.port), signer)
        connection.put(BUCKET, memoryview(b""), UNSIGNED)
        connection.close()
        for number in range(plan.rounds):
            _say(f"round {number + 1} of {plan.rounds}")
            floors.append(measure(k, n, data))
            for connections in (1, 4):
                for kind in ("put", "get"):
                    large.append(bench.large(kind, connections))
                    _say(str(large[-1]))
            large.append(bench.large("put", 1, signed=True))
            _say(str(large[-1]))
            for connections in (1, 32):
                for kind in ("put", "get"):
                    small.append(bench.small(kind, connections))
                    _say(str(small[-1]))
        loaded = bench.memory()
    _say("rebuild")
    rebuild = measure_rebuild(data / "rebuild", k, n, n + 1, plan.rebuild_objects)
    return render(
        where=machine.describe(),
        redundancy=redundancy,
        cells=cells,
        rounds=plan.rounds,
        floor=median_floor(floors),
        large=large,
        small=small,
        idle=idle,
        loaded=loaded,
        rebuild=rebuild,
    )


def main() -> int:
    """The command line of the benchmark."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--cells", type=int, default=6)
    parser.add_argument("--redundancy", default="4/6")
    options = parser.parse_args()
    plan = BenchPlan(1, 4, 3.0, 4) if options.quick else BenchPlan(3, 16, 5.0, 16)
    data = (options.data or Path(".bench") / f"{time.time_ns()}").absolute()
    data.mkdir(parents=True, exist_ok=True)
    try:
        report = run_all(data, plan, options.redundancy, options.cells)
    finally:
        if options.data is None:
            shutil.rmtree(data, ignore_errors=True)
    print(report)
    if options.write:
        write_page(Path("docs/performance.md"), report)
    return 0


if __name__ == "__main__":
    sys.exit(main())
