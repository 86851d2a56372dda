"""``python -m bench.journal``: the cost of the journal on cells, in pairs.

Two swarms run side by side, one with a journal and one without. They are loaded in turn, a few
seconds at a time, so that what else the machine does meets both alike.

Options: ``--pairs``; ``--data`` where the swarms lie.

Source: docs/journal.md, "Cost".
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, TypeAlias

from bench.__main__ import BUCKET, Bench, BenchPlan
from bench.client import S3Connection
from bench.signing import UNSIGNED, Signer
from bench.swarm import RunningSwarm, running_swarm

CELLS: Final = 6
REDUNDANCY: Final = "4/6"
CONNECTIONS: Final = (1, 32)
SECONDS: Final = 4.0
KEPT_WITHIN_S: Final = 60.0
Figures: TypeAlias = "dict[tuple[str, int, str], list[float]]"
"""By kind, connections, and whether a journal is kept."""


def _status(data: Path) -> dict[str, Any]:
    command = [sys.executable, "-P", "-m", "cli.main", "status", "--json", "--data", str(data)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def _start(stack: ExitStack, data: Path, journal: str) -> tuple[RunningSwarm, Bench]:
    directory = data / "coordinator"
    directory.mkdir(parents=True)
    (directory / "config.toml").write_text(f'journal = "{journal}"\n')
    swarm = stack.enter_context(running_swarm(data, CELLS, REDUNDANCY))
    deadline = time.monotonic() + KEPT_WITHIN_S
    wanted = "kept" if journal == "on" else "off"
    while (told := _status(data)["journal"]["state"]) != wanted:
        assert time.monotonic() < deadline, told
        time.sleep(0.5)
    signer = Signer(f"{swarm.host}:{swarm.port}", swarm.region, swarm.access_key, swarm.secret_key)
    connection = S3Connection((swarm.host, swarm.port), signer)
    connection.put(BUCKET, memoryview(b""), UNSIGNED)
    connection.close()
    return swarm, Bench(swarm, BenchPlan(1, 4, SECONDS, 4))


def _journal_bytes(data: Path) -> list[int]:
    """Bytes of records and snapshots on each cell that keeps the journal."""
    sizes = [
        sum(each.stat().st_size for each in cell.glob("journal/*"))
        for cell in sorted(data.glob("cell-*"))
    ]
    return [each for each in sizes if each]


def _compare(size: str, unit: str, figures: Figures) -> None:
    """Print medians without and with a journal, and what it takes, pair by pair."""
    for (kind, connections, how), rates in figures.items():
        if how == "off":
            with_it = figures[kind, connections, "on"]
            pairs = [1 - each / plain for each, plain in zip(with_it, rates, strict=True)]
            name = f"{kind} {size}, {connections} connections"
            both = (
                f"{statistics.median(rates):.0f} without, {statistics.median(with_it):.0f} with it"
            )
            less = f"{statistics.median(pairs):.1%} less ({min(pairs):.1%} to {max(pairs):.1%})"
            print(f"{name}: {both}{unit}: {less}")


def main() -> int:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--data", type=Path)
    options = parser.parse_args()
    root = (options.data or Path(".bench") / f"{time.time_ns()}").absolute()
    small: Figures = {}
    cpu: Figures = {}
    large: Figures = {}
    try:
        with ExitStack() as stack:
            made = {how: _start(stack, root / how, how) for how in ("off", "on")}
            for _ in range(options.pairs):
                for connections in CONNECTIONS:
                    for how, (_, bench) in made.items():
                        for kind in ("put", "get"):
                            found = bench.small(kind, connections)
                            small.setdefault((kind, connections, how), []).append(found.per_s)
                            cpu.setdefault((kind, connections, how), []).append(
                                1000 / found.cpu_ms_each
                            )
                            print(how, found, file=sys.stderr, flush=True)
            status = _status(root / "on")
            written = int(status["objects"])
            sizes = _journal_bytes(root / "on")
            store = sum(e.stat().st_size for e in (root / "on/coordinator").glob("*.sqlite*"))
            for _ in range(options.pairs):
                for kind in ("put", "get"):
                    for how, (_, bench) in made.items():
                        whole = bench.large(kind, 1)
                        large.setdefault((kind, 1, how), []).append(whole.mib_per_s)
                        print(how, whole, file=sys.stderr, flush=True)
    finally:
        if options.data is None:
            shutil.rmtree(root, ignore_errors=True)
    _compare("4 KiB", "/s", small)
    _compare("4 KiB", " for each second of CPU of all daemons", cpu)
    _compare("64 MiB", " MiB/s", large)
    print(
        f"{written} objects: {sum(sizes) / len(sizes) / written:.0f} bytes an object on each of"
        f" {len(sizes)} cells; the store: {store / written:.0f}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
