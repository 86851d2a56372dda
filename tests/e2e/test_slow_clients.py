"""1,000 slow clients beside a tenant that works: ``make hostile-test``."""

from __future__ import annotations

import json
import os
import selectors
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from e2e_raw import RawClient
from e2e_swarm import Swarm

SLOW = 1_000
ROUNDS = 3
REQUESTS = 600
MOST_SLOWER = 2.0
MIB = 1 << 20
TICK_S = 1.0
SETTLE_S = 10.0


class SlowClients:
    """Connections that send a byte a second of a head or a body, or read nothing of an answer; each
    is opened again when the gateway closes it."""

    def __init__(self, raw: RawClient, count: int) -> None:
        self._raw = raw
        self._count = count

    def _open(self, number: int) -> tuple[socket.socket, bytes]:
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(30)
        client.connect(("127.0.0.1", self._raw.port))
        if number % 3 == 0:
            return client, self._raw.head("GET", "/slow/large")
        if number % 3 == 1:
            client.sendall(self._raw.head("PUT", "/slow/key", length=MIB))
            return client, b"x" * 300
        client.sendall(self._raw.head("GET", "/slow/large"))
        return client, b""

    def run(self) -> None:
        """Until killed."""
        with selectors.DefaultSelector() as selector:
            rest: dict[socket.socket, bytes] = {}
            numbers: dict[socket.socket, int] = {}

            def begin(number: int) -> None:
                try:
                    client, left = self._open(number)
                except OSError:
                    return
                rest[client], numbers[client] = left, number
                if number % 3 != 2:
                    selector.register(client, selectors.EVENT_READ)

            for number in range(self._count):
                begin(number)
            print("open", flush=True)
            while True:
                until = time.monotonic() + TICK_S
                for client in list(rest):
                    try:
                        if rest[client]:
                            client.send(rest[client][:1])
                            rest[client] = rest[client][1:]
                    except OSError:
                        self._again(client, rest, numbers, selector, begin)
                for key, _ in selector.select(0):
                    client = key.fileobj
                    assert isinstance(client, socket.socket)
                    try:
                        ended = not client.recv(4096)
                    except OSError:
                        ended = True
                    if ended:
                        self._again(client, rest, numbers, selector, begin)
                time.sleep(max(0.0, until - time.monotonic()))

    def _again(
        self,
        client: socket.socket,
        rest: dict[socket.socket, bytes],
        numbers: dict[socket.socket, int],
        selector: selectors.BaseSelector,
        begin: Callable[[int], None],
    ) -> None:
        if client in selector.get_map():
            selector.unregister(client)
        client.close()
        del rest[client]
        begin(numbers.pop(client))


@contextmanager
def slow_clients(swarm: Swarm) -> Iterator[None]:
    """Have them in a process of their own, so that they slow down nobody here."""
    access = json.dumps({"port": swarm.port, "credentials": swarm.credentials})
    here = Path(__file__).parent
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(here), *sys.path])}
    process = subprocess.Popen(
        [sys.executable, __file__, access], env=environment, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        time.sleep(SETTLE_S)
        yield
    finally:
        process.kill()
        process.communicate()


def command(swarm: Swarm, *words: str) -> Any:
    line = [sys.executable, "-P", "-m", "cli.main", *words, "--json", "--data", str(swarm.root)]
    return json.loads(subprocess.run(line, capture_output=True, text=True, check=True).stdout)


def times_ms(client: RawClient) -> list[float]:
    """Of GETs and PUTs of a small object, one after another on connections of their own."""
    times = []
    for number in range(REQUESTS):
        began = time.perf_counter()
        if number % 2:
            answer = client.request("GET", "/others/key")
        else:
            answer = client.request("PUT", "/others/key", b"content")
        assert answer.status == 200, answer
        times.append(1000 * (time.perf_counter() - began))
    return times


def p99(times: list[float]) -> float:
    return sorted(times)[int(0.99 * len(times))]


@pytest.mark.slow
@pytest.mark.incident(35)
@pytest.mark.timeout(1200)
def test_a_thousand_slow_clients_leave_others_their_p99(swarm: Swarm, tmp_path: Path) -> None:
    slow = RawClient(swarm)
    assert slow.request("PUT", "/slow").status == 200
    assert slow.request("PUT", "/slow/large", b"y" * (8 * MIB)).status == 200
    command(swarm, "tenant", "create", "others")
    made = command(swarm, "key", "create", "--tenant", "others")
    time.sleep(3)
    others = RawClient(swarm, key=made["access_key"], secret=made["secret_key"])
    assert others.request("PUT", "/others").status == 200
    times_ms(others)
    alone: list[float] = []
    beside: list[float] = []
    for _ in range(ROUNDS):
        alone += times_ms(others)
        with slow_clients(swarm):
            beside += times_ms(others)
        time.sleep(SETTLE_S)
    print(f"p99 alone {p99(alone):.1f} ms, beside {SLOW} slow clients {p99(beside):.1f} ms")
    assert p99(beside) <= MOST_SLOWER * p99(alone)


if __name__ == "__main__":
    SlowClients(RawClient(SimpleNamespace(**json.loads(sys.argv[1]))), SLOW).run()  # type: ignore[arg-type]  # these two are all it reads
