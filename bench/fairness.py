"""``python -m bench.fairness``: what a tenant notices of another one's flood, at one gateway.

A neighbour makes one request after another, alone and beside a tenant that floods the gateway from
many connections and does not heed SlowDown; an operator asks for the swarm's state meanwhile.

Options: ``--connections`` of the flood; ``--seconds`` of each measurement; ``--data`` where the
swarm lies.

Source: docs/operations.md, "Tenants that share a gateway".
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from dataclasses import asdict
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from bench.client import S3Connection
from bench.load import LoadJob
from bench.signing import UNSIGNED, Signer
from bench.swarm import RunningSwarm, running_swarm

CELLS: Final = 6
REDUNDANCY: Final = "4/6"
SIZE: Final = 4096
DISTINCT: Final = 16
WARM_UP_S: Final = 2.0
UNBOUNDED: Final = 1_000_000_000


def _command(data: Path, *words: str) -> Any:
    command = [sys.executable, "-P", "-m", "cli.main", *words, "--json", "--data", str(data)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def _start(job: LoadJob) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.load"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps(asdict(job)))
    process.stdin.close()
    return process


def _result(process: subprocess.Popen[str]) -> dict[str, Any]:
    assert process.stdout is not None
    answer: dict[str, Any] = json.loads(process.stdout.read())
    process.wait()
    return answer


def _quantile(sorted_s: list[float], part: float) -> float:
    """Milliseconds within which that part of all operations was done."""
    return 1000 * sorted_s[min(len(sorted_s) - 1, int(part * len(sorted_s)))]


class _Measuring:
    def __init__(self, swarm: RunningSwarm, data: Path, neighbour: tuple[str, str]) -> None:
        self._swarm = swarm
        self._data = data
        self._keys = {
            "flood": (swarm.access_key, swarm.secret_key),
            "neighbour": neighbour,
        }
        for who, (access_key, secret) in self._keys.items():
            host = f"{swarm.host}:{swarm.port}"
            connection = S3Connection(
                (swarm.host, swarm.port), Signer(host, swarm.region, access_key, secret)
            )
            connection.put(f"/{who}", memoryview(b""), UNSIGNED)
            connection.close()
            _result(_start(self._job(who, "put", 1, 60.0, DISTINCT)))

    def _job(
        self, who: str, kind: str, connections: int, seconds: float, operations: int = UNBOUNDED
    ) -> LoadJob:
        access_key, secret = self._keys[who]
        return LoadJob(
            self._swarm.host,
            self._swarm.port,
            self._swarm.region,
            access_key,
            secret,
            kind,
            f"/{who}/object",
            SIZE,
            connections,
            operations,
            DISTINCT,
            seconds,
            goes_on=who == "flood",
            shares_names=kind == "get",
        )

    def _ask_operators_api(self, seconds: float) -> float:
        """Ask for the swarm's state for so long; the longest answer, seconds."""
        access = json.loads((self._data / "coordinator" / "operator.json").read_text())
        address = urlsplit(access["url"])
        connection = HTTPConnection(str(address.hostname), address.port, timeout=60)
        headers = {"authorization": f"Bearer {access['token']}"}
        longest = 0.0
        until = time.perf_counter() + seconds
        while (began := time.perf_counter()) < until:
            connection.request("GET", "/v1/status", headers=headers)
            connection.getresponse().read()
            longest = max(longest, time.perf_counter() - began)
            time.sleep(0.2)
        connection.close()
        return longest

    def neighbour(self, kind: str, seconds: float, flood: int) -> str:
        """Measure the neighbour, and describe it in a line."""
        flooding = None
        if flood:
            flooding = _start(self._job("flood", kind, flood, seconds + 2 * WARM_UP_S))
            time.sleep(WARM_UP_S)
        began = time.perf_counter()
        running = _start(self._job("neighbour", kind, 1, seconds))
        asked_s = self._ask_operators_api(seconds / 2)
        times = _result(running)["latencies_s"]
        elapsed_s = time.perf_counter() - began
        line = (
            f"{kind} of 4 KiB beside {flood} connections: p50 {_quantile(times, 0.5):.1f} ms,"
            f" p99 {_quantile(times, 0.99):.1f} ms, {len(times) / elapsed_s:.0f}/s;"
            f" operators' API at most {1000 * asked_s:.0f} ms"
        )
        if flooding is not None:
            done = _result(flooding)
            did, refused = (done[each] / done["elapsed_s"] for each in ("operations", "refused"))
            line += f"; the flood {did:.0f}/s, {refused:.0f}/s refused"
        return line


def main() -> int:
    """Measure, and print a line for each measurement."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--connections", type=int, nargs="+", default=[64, 600])
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--data", type=Path)
    options = parser.parse_args()
    data = (options.data or Path(".bench") / f"{time.time_ns()}").absolute()
    try:
        with running_swarm(data, CELLS, REDUNDANCY) as swarm:
            _command(data, "tenant", "create", "neighbour")
            made = _command(data, "key", "create", "--tenant", "neighbour")
            time.sleep(WARM_UP_S)
            measuring = _Measuring(swarm, data, (made["access_key"], made["secret_key"]))
            for kind in ("get", "put"):
                for connections in (0, *options.connections):
                    print(measuring.neighbour(kind, options.seconds, connections), flush=True)
    finally:
        if options.data is None:
            shutil.rmtree(data, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
