"""A swarm for the length of a measurement: ``alveary up`` in a directory of its own."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

START_TIMEOUT_S: Final = 90.0
STOP_TIMEOUT_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class RunningSwarm:
    """A running swarm: S3 access and its processes."""

    host: str
    port: int
    region: str
    access_key: str
    secret_key: str
    processes: list[dict[str, Any]]

    def pids(self, role: str | None = None) -> list[int]:
        """Process ids of one role, or of all daemons."""
        return [int(each["pid"]) for each in self.processes if role in (None, each["role"])]


def free_port() -> int:
    """A TCP port on the loopback interface that nobody has now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@contextmanager
def running_swarm(data: Path, cells: int, redundancy: str) -> Iterator[RunningSwarm]:
    """Start a swarm in ``data`` and stop it at the end of the block."""
    port = free_port()
    command = [sys.executable, "-P", "-m", "cli.main", "up", "--data", str(data)]
    command += ["--cells", str(cells), "--redundancy", redundancy, "--s3", f"127.0.0.1:{port}"]
    command += ["--parent-pid", str(os.getpid())]
    supervisor = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not (data / "processes.json").exists():
            if supervisor.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("the swarm did not start")
            time.sleep(0.05)
        credentials = json.loads((data / "credentials.json").read_text())
        processes = json.loads((data / "processes.json").read_text())
        yield RunningSwarm(
            "127.0.0.1",
            port,
            credentials["region"],
            credentials["access_key"],
            credentials["secret_key"],
            processes,
        )
    finally:
        supervisor.send_signal(signal.SIGTERM)
        try:
            supervisor.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            supervisor.kill()
            supervisor.wait()
