"""Coordinators that a test starts by hand, beside that of ``alveary up``."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

from e2e_swarm import BIN, clean_environment


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
