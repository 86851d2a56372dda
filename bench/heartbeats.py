"""``python -m bench.heartbeats``: what sessions and heartbeats of many cells cost a coordinator.

Options: ``--cells``, ``--come``, ``--interval``, ``--seconds``, ``--no-restart``. One real
coordinator in a process of its own; the cells are connections of this process that say what idle
cells say, over TLS, one session each. They are written into the store before, come, and beat for
some time. Then the coordinator is killed and started again: all come back at once, and it is
measured for how long that takes, and what memory their sessions take of a coordinator that knew the
cells before.
Cells have a machine each in a real swarm, which answers a handshake at once. Here one process plays
them all, so it makes at most CONNECTING connections at a time. 100,000 cells need as many open
files of either process (as root the limit is raised), memory for both, and a core for each:

    python -m bench.heartbeats --cells 100000 --interval 60 --seconds 300

The load of a larger swarm is the cost of one heartbeat, as many times as a coordinator asks for.
Where a machine allows fewer open files, a part of the cells comes as often as all of them would:

    python -m bench.heartbeats --cells 100000 --come 19000 --interval 11.4 --no-restart
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPConnection
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
from common.ports import ANY_KEY, Address, Sql
from common.rpc.peer_connection import PeerConnection
from common.system.clock import SystemClock, system_chance, system_entropy
from common.system.network import RealNetwork
from common.system.process import raise_open_files
from common.system.sqlite import SqliteStores
from common.wire.messages.base import CellFacts
from common.wire.messages.membership import Heartbeat
from coordinator.journaled_store import STORE_NAME
from coordinator.store import cells

CONNECTING: Final = 64
AT_ONCE: Final = 1_000
"""Cells that are written in one transaction."""
FACTS: Final = CellFacts(1000 * GIB, 1000 * GIB, 0, 100_000, 1000 * GIB, False)
"""Of a full cell: no rings are made, so the figures are those of sessions and heartbeats alone."""
SWARMS: Final = (1_000, 10_000, 100_000)
INTERVAL_S: Final = 5
"""Of a swarm that is not too large for it."""
RECONNECT_S: Final = limits.RECONNECT_MAX_S
CALLERS_OF_AN_ADDRESS: Final = 20_000
"""Cells that call one address of the coordinator: a connection has a port of its own among those of
its two addresses."""
API_EVERY_S: Final = 0.5


def interval_of(cells: int) -> int:
    """The seconds between two heartbeats of a cell in a swarm of so many."""
    needed_s = -(-cells // limits.HEARTBEATS_PER_S)
    return min(max(INTERVAL_S, needed_s), limits.MAX_HEARTBEAT_INTERVAL_S)


class MeasuredCoordinator:
    """A coordinator that can be killed and started again."""

    def __init__(self, data: Path, identities: list[KeyPair]) -> None:
        data.mkdir(parents=True)
        self.port = free_port()
        self.http = f"127.0.0.1:{free_port()}"
        self._data = data
        is_small = len(identities) <= CALLERS_OF_AN_ADDRESS
        settings = {
            "data": str(data),
            "listen": f"{'127.0.0.1' if is_small else '0.0.0.0'}:{self.port}",  # noqa: S104  # many callers' addresses
            "advertise": f"127.0.0.1:{self.port}",
            "http": self.http,
            "discovery": False,
            "log": str(data / "log"),
        }
        (data / "config.toml").write_text(tomli_w.dumps(settings))
        self._command = [sys.executable, "-P", "-m", "cli.main"]
        self._process = self._start()
        self._wait_ready()
        try:
            self.token = self._invite(len(identities))
        finally:
            self.stop()
        trio.run(_add_cells, data, self.token.secret, identities)
        self._process = self._start()
        self._wait_ready()

    @property
    def pid(self) -> int:
        """Its process now."""
        return self._process.pid

    async def restart(self) -> None:
        """Kill it, and start it again. Returns once it serves."""
        self._process.send_signal(signal.SIGKILL)
        self.stop()
        # By this thread: the daemon dies with the thread that started it.
        self._process = self._start()
        await trio.to_thread.run_sync(self._wait_ready)

    def stop(self) -> None:
        """End the process."""
        self._process.terminate()
        self._process.wait(60)
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _start(self) -> subprocess.Popen[bytes]:
        daemon = ["coordinator", "--data", str(self._data), "--parent-pid", str(os.getpid())]
        return subprocess.Popen([*self._command, *daemon], stdout=subprocess.PIPE)

    def _wait_ready(self) -> None:
        assert self._process.stdout is not None
        if not self._process.stdout.readline():
            raise RuntimeError("the coordinator did not start")

    def _invite(self, cells: int) -> JoinToken:
        invite = [*self._command, "invite", "--uses", str(cells), "--json"]
        invite += ["--operator", str(self._data / "operator.json")]
        answer = json.loads(subprocess.run(invite, capture_output=True, check=True).stdout)
        return decode_token(answer["token"], "cell")


async def _add_cells(data: Path, secret: bytes, identities: list[KeyPair]) -> None:
    """Let cells join, without the wire."""
    now_ms = int(time.time() * 1000)
    store = await SqliteStores(data).open(STORE_NAME)
    try:
        for first in range(0, len(identities), AT_ONCE):
            page = list(enumerate(identities[first : first + AT_ONCE], first))

            def join(sql: Sql, page: list[tuple[int, KeyPair]] = page) -> None:
                for number, identity in page:
                    site, owner = f"site-{number % 1000}", f"o-{number}"
                    cells.join(sql, identity.peer_id, secret, site, owner, now_ms)

            await store.transact(join)
    finally:
        await store.close()


@contextmanager
def running_coordinator(data: Path, identities: list[KeyPair]) -> Iterator[MeasuredCoordinator]:
    """Start a coordinator that knows these cells; it is stopped at the end."""
    coordinator = MeasuredCoordinator(data, identities)
    try:
        yield coordinator
    finally:
        coordinator.stop()


class OperatorProbe:
    """Requests of an operator at regular times, by a thread: the cells' turns do not delay it."""

    def __init__(self, coordinator: MeasuredCoordinator) -> None:
        self.answered = 0
        self.failed = 0
        self.longest_s = 0.0
        self._http = coordinator.http
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._ask, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ask no more."""
        self._ended.set()
        self._thread.join()

    def _ask(self) -> None:
        while not self._ended.wait(API_EVERY_S):
            begun = time.perf_counter()
            connection = HTTPConnection(self._http, timeout=30)
            try:
                connection.request("GET", "/healthz")
                connection.getresponse().read()
                self.answered += 1
            except OSError:
                self.failed += 1
            finally:
                connection.close()
            self.longest_s = max(self.longest_s, time.perf_counter() - begun)


class IdleCells:
    """Connections that behave like idle cells."""

    def __init__(
        self, coordinator: MeasuredCoordinator, identities: list[KeyPair], interval_s: float
    ) -> None:
        self.answered = 0
        self.failed = 0
        self.errors: Counter[str] = Counter()
        """The failures since the last figures, by their words."""
        self._coordinator = coordinator
        self._identities = identities
        self._count = len(identities)
        self._interval_s = interval_s
        self._network = RealNetwork()
        self._turns = trio.CapacityLimiter(CONNECTING)
        self._clock = SystemClock()
        self._chance = system_chance()
        self._back: set[int] = set()
        """Cells that were answered since the coordinator's start."""
        self._wanted_back = self._count
        self._are_back = trio.Event()

    async def run(self, seconds: float, restarts: bool) -> None:
        """Let all come, measure; restart the coordinator, measure again. Prints the figures."""
        async with trio.open_nursery() as nursery:
            for number in range(self._count):
                nursery.start_soon(self._live, number)
            await self._watch_return("first start")
            await self._settle()
            each = await self._measure(seconds, "before the restart")
            for count in SWARMS:
                beats = count / interval_of(count)
                print(f"{count} cells: {beats:.0f} heartbeats/s, {beats * each:.2f} CPU-s/s")
            if restarts:
                await self._coordinator.restart()
                await self._watch_return("restart")
                await self._settle()
                await self._measure(seconds, "after the restart")
            nursery.cancel_scope.cancel()

    async def _measure(self, seconds: float, when: str) -> float:
        """CPU seconds of one heartbeat."""
        pid = self._coordinator.pid
        before, begun = machine.cpu_seconds(pid), time.perf_counter()
        self.answered = self.failed = 0
        await trio.sleep(seconds)
        cpu = machine.cpu_seconds(pid) - before
        elapsed = time.perf_counter() - begun
        each = cpu / max(1, self.answered)
        self._tell_errors()
        print(
            f"{when}: {self.answered / elapsed:.0f} heartbeats/s, {self.failed} failed;"
            f" {cpu / elapsed:.3f} CPU-s/s, {each * 1000:.3f} ms each",
            flush=True,
        )
        return each

    async def _settle(self) -> None:
        """Wait until the coordinator has planned rings for those that came."""
        quiet = 0
        while quiet < 3:
            before = machine.cpu_seconds(self._coordinator.pid)
            await trio.sleep(self._interval_s)
            used = machine.cpu_seconds(self._coordinator.pid) - before
            quiet = quiet + 1 if used < self._interval_s / 2 else 0

    async def _watch_return(self, when: str) -> None:
        self.failed = 0
        pid = self._coordinator.pid
        without, _ = machine.memory_mib(pid)
        cpu, begun = machine.cpu_seconds(pid), time.perf_counter()
        self._back.clear()
        api = OperatorProbe(self._coordinator)
        for share in (0.5, 0.9, 0.99, 1.0):
            self._wanted_back = math.ceil(share * self._count)
            if len(self._back) < self._wanted_back:
                self._are_back = trio.Event()
                await self._are_back.wait()
            print(f"  {share:.0%} back after {time.perf_counter() - begun:.1f} s", flush=True)
        api.stop()
        cpu = machine.cpu_seconds(pid) - cpu
        memory, peak = machine.memory_mib(pid)
        self._tell_errors()
        print(
            f"{when}: {cpu / self._count * 1000:.2f} CPU-ms for each cell, {self.failed} failed"
            f" heartbeats; memory {without:.0f} MiB before, {memory:.0f} MiB after, at most"
            f" {peak:.0f} MiB: {(memory - without) * 1024 / self._count:.1f} KiB for each session;"
            f" this process, which plays the cells: {machine.memory_mib(os.getpid())[0]:.0f} MiB;"
            f" operators' API: {api.answered} answers, {api.failed} failed,"
            f" the longest after {api.longest_s:.2f} s",
            flush=True,
        )

    async def _live(self, number: int) -> None:
        await trio.sleep(self._chance.uniform(0, 1))
        while True:
            try:
                async with self._turns:
                    connection = await self._connect(number)
            except AlvearyError as error:
                self._note(error)
                await trio.sleep(self._chance.uniform(limits.RECONNECT_MIN_S, RECONNECT_S))
                continue
            async with trio.open_nursery() as nursery:
                nursery.start_soon(connection.run)
                await self._beat_until_lost(connection, number)

    async def _connect(self, number: int) -> PeerConnection:
        coordinator = self._coordinator
        host = f"127.0.0.{1 + number // CALLERS_OF_AN_ADDRESS}"
        stream = await self._network.connect(Address(host, coordinator.port), pin=ANY_KEY)
        assert stream.server_key is not None
        connection = PeerConnection(stream, stream.server_key)
        try:
            await connection.shake_hands(self._identities[number])
        except BaseException:
            await connection.close()
            raise
        return connection

    async def _beat_until_lost(self, connection: PeerConnection, number: int) -> None:
        pause_s = 0.0
        while True:
            now_ms = int(self._clock.now() * 1000)
            request = Heartbeat("127.0.0.1", 1 + number % 60_000, FACTS, (), (), now_ms)
            try:
                await connection.call(request)
            except AlvearyError as error:
                self._note(error)
                return
            self.answered += 1
            self._back.add(number)
            if len(self._back) >= self._wanted_back:
                self._are_back.set()
            # The first ones come all at once; from then on they are spread.
            pause_s = self._interval_s if pause_s else self._chance.uniform(0, self._interval_s)
            await trio.sleep(pause_s)

    def _tell_errors(self) -> None:
        for text, count in self.errors.most_common(5):
            print(f"  {count} times: {text}", file=sys.stderr)
        self.errors.clear()

    def _note(self, error: AlvearyError) -> None:
        self.failed += 1
        self.errors[str(error)] += 1


def _ask_for_open_files(wanted: int) -> None:
    """Raise the hard limit of open files, where the system lets this user; the coordinator inherits
    it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < wanted:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, wanted))


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="bench.heartbeats", description=__doc__)
    parser.add_argument("--cells", type=int, default=900)
    parser.add_argument(
        "--come", type=int, help="cells that come; the others are in the store only"
    )
    parser.add_argument("--interval", type=float, default=2.0)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--no-restart", action="store_true", help="measure once")
    options = parser.parse_args()
    print(machine.describe(), file=sys.stderr)
    come = options.cells if options.come is None else options.come
    _ask_for_open_files(come + 2 * limits.KEPT_OPEN_FILES)
    if raise_open_files() < come + limits.KEPT_OPEN_FILES:
        parser.error("the machine does not allow one process so many connections")
    identities = [KeyPair.generate(system_entropy) for _ in range(options.cells)]
    data = (Path(".bench") / f"heartbeats-{time.time_ns()}").absolute()
    try:
        with running_coordinator(data, identities) as coordinator:
            cells = IdleCells(coordinator, identities[:come], options.interval)
            trio.run(cells.run, options.seconds, not options.no_restart)
    finally:
        shutil.rmtree(data, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
