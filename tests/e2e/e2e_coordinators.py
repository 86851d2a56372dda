"""Coordinators that a test starts by hand, beside that of ``alveary up``."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from e2e_swarm import BIN, clean_environment

COMMITS = 'alveary_coordinator_requests_total{outcome="done",request="ObjectCommit"}'
LOOK_S = 1.0
LOOKS = 30
UNPAGED = (
    "SELECT count(*) FROM coordinator.versions v WHERE dropped = 0 AND size > 0 AND NOT EXISTS"
    " (SELECT 1 FROM coordinator.pages p WHERE p.owner = v.sequence)"
)
"""Objects on PostgreSQL that have lost their pages."""


class Coordinator:
    """One of several coordinators: that of ``alveary up``, or another one, started by hand."""

    def __init__(self, root: Path, *arguments: str, pid: int = 0) -> None:
        self.root = root
        self.pid = pid
        self._arguments = arguments
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, home: Path) -> dict[str, Any]:
        """Start it, and return what it says when it is ready."""
        self._process = subprocess.Popen(
            [str(BIN / "alveary"), "coordinator", *self._arguments],
            stdout=subprocess.PIPE,
            env=clean_environment(home),
        )
        self.pid = self._process.pid
        assert self._process.stdout is not None
        ready: dict[str, Any] = json.loads(self._process.stdout.readline())
        return ready

    def kill(self) -> None:
        """End it at once."""
        os.kill(self.pid, signal.SIGKILL)
        self.end()

    def end(self) -> None:
        """Leave no process behind."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


def _commits_of(root: Path) -> float:
    """The commits that a coordinator has carried out since its start; 0 while it does not say."""
    access = json.loads((root / "operator.json").read_text())
    try:
        with urllib.request.urlopen(access["url"] + "/metrics", timeout=5) as answer:
            lines = answer.read().decode().splitlines()
    except OSError:
        return 0.0
    return sum(float(each.rpartition(" ")[2]) for each in lines if each.startswith(COMMITS))


def most_asked(roots: Sequence[Path]) -> int:
    """Return which of several coordinators carries out the most commits now, under a load."""
    before = [_commits_of(each) for each in roots]
    for _ in range(LOOKS):
        time.sleep(LOOK_S)
        made = [_commits_of(root) - count for root, count in zip(roots, before, strict=True)]
        if max(made) > 0:
            return made.index(max(made))
    raise AssertionError("no coordinator is asked for anything")
