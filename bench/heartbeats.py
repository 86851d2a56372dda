"""``python -m bench.heartbeats``: what the heartbeats of many cells cost a coordinator.

Options: ``--cells``, ``--interval``, ``--seconds``. One real coordinator in a process of its own;
the cells are connections of this process that say what idle cells say, over TLS. As one listener
takes MAX_CONNECTIONS_PER_LISTENER of them, each beats for several cells.
A coordinator asks for HEARTBEATS_PER_S at most, however large the swarm, so the load of 10,000 and
of 100,000 cells is the cost of one heartbeat, so many times.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import tomli_w
import trio

from bench import machine
from bench.swarm import free_port
from common import limits
from common.crypto.identity import KeyPair
from common.errors import AlvearyError
from common.format.token import JoinToken, decode_token
from common.limits import GIB
from common.ports import Address
from common.rpc.peers import PeerPool
from common.system.clock import SystemClock, system_chance, system_entropy
from common.system.log import LineLog
from common.system.network import RealNetwork
from common.wire.messages.base import CellFacts
from common.wire.messages.membership import CellJoin, Heartbeat

AT_ONCE: Final = 32
"""Cells that join at the same time."""
FACTS: Final = CellFacts(1000 * GIB, 400 * GIB, 600 * GIB, 40_000, 400 * GIB, False)
SWARMS: Final = (1_000, 10_000, 100_000)
INTERVAL_S: Final = 5
"""Of a swarm that is not too large for it."""


@dataclass(slots=True)
class MeasuredCoordinator:
    """A running coordinator."""

    pid: int
    address: Address
    token: JoinToken


@contextmanager
def running_coordinator(data: Path, cells: int) -> Iterator[MeasuredCoordinator]:
    """Start a coordinator that has invited so many cells; it is stopped at the end."""
    data.mkdir(parents=True)
    address = Address("127.0.0.1", free_port())
    settings = {
        "data": str(data),
        "listen": str(address),
        "http": f"127.0.0.1:{free_port()}",
        "discovery": False,
        "log": str(data / "log"),
    }
    (data / "config.toml").write_text(tomli_w.dumps(settings))
    command = [sys.executable, "-P", "-m", "cli.main"]
    process = subprocess.Popen(
        [*command, "coordinator", "--data", str(data), "--parent-pid", str(os.getpid())],
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        if not process.stdout.readline():
            raise RuntimeError("the coordinator did not start")
        invite = [*command, "invite", "--uses", str(cells), "--json"]
        invite += ["--operator", str(data / "operator.json")]
        answer = json.loads(subprocess.run(invite, capture_output=True, check=True).stdout)
        yield MeasuredCoordinator(process.pid, address, decode_token(answer["token"], "cell"))
    finally:
        process.terminate()
        process.wait(60)
        if process.stdout is not None:
            process.stdout.close()


class IdleCells:
    """Connections that behave like idle cells."""

    def __init__(self, coordinator: MeasuredCoordinator, count: int, interval_s: float) -> None:
        self.answered = 0
        self.failed = 0
        self._coordinator = coordinator
        self._count = count
        self._interval_s = interval_s
        self._network = RealNetwork()
        self._clock = SystemClock()
        self._chance = system_chance()
        self._log = LineLog("bench", write=lambda line: None)
        self._joined = 0
        self._all_joined = trio.Event()
        self._turns = trio.CapacityLimiter(AT_ONCE)

    async def run(self, seconds: float) -> tuple[float, float]:
        """Let all join, then measure. Returns CPU seconds and seconds."""
        async with trio.open_nursery() as nursery:
            for number in range(self._count):
                nursery.start_soon(self._live, number)
            await self._all_joined.wait()
            await trio.sleep(2 * self._interval_s)
            before, begun = machine.cpu_seconds(self._coordinator.pid), time.perf_counter()
            self.answered = 0
            await trio.sleep(seconds)
            cpu = machine.cpu_seconds(self._coordinator.pid) - before
            elapsed = time.perf_counter() - begun
            nursery.cancel_scope.cancel()
        return cpu, elapsed

    async def _live(self, number: int) -> None:
        coordinator = self._coordinator
        identity = KeyPair.generate(system_entropy)
        pool = PeerPool(
            self._network, identity, connections_per_peer=1, chance=self._chance, log=self._log
        )
        async with trio.open_nursery() as nursery:
            await nursery.start(pool.run)
            key = coordinator.token.coordinator_id
            async with self._turns:
                join = CellJoin(coordinator.token.secret, f"site-{number % 1000}", f"o-{number}")
                await pool.call(coordinator.address, key, join)
            await self._beat(pool, number)
            self._joined += 1
            if self._joined == self._count:
                self._all_joined.set()
            await trio.sleep(self._chance.uniform(0, self._interval_s))
            due = trio.current_time()
            while True:
                await self._beat(pool, number)
                due = max(due + self._interval_s, trio.current_time())
                await trio.sleep_until(due)

    async def _beat(self, pool: PeerPool, number: int) -> None:
        request = Heartbeat(
            "127.0.0.1", 1 + number % 60_000, FACTS, (), (), int(self._clock.now() * 1000)
        )
        key = self._coordinator.token.coordinator_id
        try:
            await pool.call(self._coordinator.address, key, request)
            self.answered += 1
        except AlvearyError:
            self.failed += 1


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="bench.heartbeats", description=__doc__)
    parser.add_argument("--cells", type=int, default=900)
    parser.add_argument("--interval", type=float, default=2.0)
    parser.add_argument("--seconds", type=float, default=60.0)
    options = parser.parse_args()
    print(machine.describe(), file=sys.stderr)
    data = (Path(".bench") / f"heartbeats-{time.time_ns()}").absolute()
    try:
        with running_coordinator(data, options.cells) as coordinator:
            cells = IdleCells(coordinator, options.cells, options.interval)
            cpu, elapsed = trio.run(cells.run, options.seconds)
            memory, _ = machine.memory_mib(coordinator.pid)
    finally:
        shutil.rmtree(data, ignore_errors=True)
    rate, each = cells.answered / elapsed, cpu / max(1, cells.answered)
    print(
        f"{options.cells} connections: {rate:.0f} heartbeats/s, {cells.failed} failed;"
        f" {cpu / elapsed:.3f} CPU-s/s, {each * 1000:.3f} ms each, {memory:.0f} MiB"
    )
    for count in SWARMS:
        heartbeats = min(limits.HEARTBEATS_PER_S, count / INTERVAL_S)
        print(f"{count} cells: {heartbeats:.0f} heartbeats/s, {heartbeats * each:.2f} CPU-s/s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
