"""strace as a disk that errs: the N-th call of a kind fails, in each thread of a process.

Source: strace(1), "Tampering".
"""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import trio

CALLS: Final = (
    "write",
    "writev",
    "pwrite64",
    "pwritev",
    "pwritev2",
    "fsync",
    "fdatasync",
    "sync_file_range",
    "ftruncate",
    "fallocate",
)
ERRORS: Final = ("EIO", "ENOSPC")
_CALL: Final = re.compile(r"(\d+) +(\w+)\(\d+<([^>]*)>")
_INJECTED: Final = "(INJECTED)"


@dataclass(frozen=True, slots=True)
class Fault:
    """The ``number``-th ``call`` of each thread fails with ``error``; ``onward``: and all later."""

    call: str
    error: str
    number: int
    onward: bool = False

    def __str__(self) -> str:
        return f"{self.call}:{self.error}:{self.number}{'+' * self.onward}"

    def options(self) -> list[str]:
        """For strace."""
        return ["-e", f"trace={self.call}", "-e", f"inject={self.call}:error={self._rest()}"]

    def _rest(self) -> str:
        return f"{self.error}:when={self.number}{'+' * self.onward}"


WATCH: Final = ["-e", "trace=" + ",".join(CALLS)]
"""Options for looking only."""


def why_not() -> str:
    """Why nothing can be injected here; empty if it can."""
    if shutil.which("strace") is None:
        return "strace is missing"
    probe = ["strace", "-f", "-e", "inject=fsync:error=EIO:when=1", "true"]
    done = subprocess.run(probe, capture_output=True, text=True, check=False)
    return f"strace cannot inject here: {done.stderr.strip()}" if done.returncode else ""


def wrapper(trace: Path, options: Iterable[str]) -> list[str]:
    """What to put before a command to have it traced from its beginning. The command keeps its
    process id and its parent."""
    return ["strace", "-D", "-f", "-y", "-q", "--seccomp-bpf", "-o", str(trace), *options, "--"]


class Attached:
    """strace on a process that runs already; made by :meth:`to`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    @classmethod
    async def to(cls, pid: int, trace: Path, options: Iterable[str]) -> Attached:
        """Attach to all threads; the counts begin when this returns."""
        process = _trace(pid, trace, options)
        assert process.stderr is not None
        line = await trio.to_thread.run_sync(process.stderr.readline)
        attached = cls(process)
        if "attached" not in line:
            await attached.end()
            raise AssertionError(f"strace did not attach: {line}")
        return attached

    async def end(self) -> None:
        """Let the process go on without; nothing happens if it is gone."""
        assert self._process.stderr is not None
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
        await trio.to_thread.run_sync(self._process.wait)
        self._process.stderr.close()


def _trace(pid: int, trace: Path, options: Iterable[str]) -> subprocess.Popen[str]:
    command = ["strace", "-f", "-y", "-o", str(trace), *options, "-p", str(pid)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


async def come_true(condition: Callable[[], bool], limit_s: float) -> bool:
    """Look again and again whether something outside has happened, up to a limit.

    Returns:
        Whether it has.
    """
    with trio.move_on_after(limit_s):
        while not condition():  # noqa: ASYNC110 - other processes are only seen by looking
            await trio.sleep(0.02)
        return True
    return False


async def wait_complete(trace: Path, pid: int) -> None:
    """Wait until strace has written the end of a process that is gone."""
    pattern = re.compile(rf"^{pid} +\+\+\+ ", re.MULTILINE)
    assert await come_true(lambda: bool(pattern.search(trace.read_text())), 10)


def places(trace: Path, below: Path) -> dict[str, list[int]]:
    """At which numbers a call of each kind reaches a file below a directory, in any thread."""
    counts: Counter[tuple[str, str]] = Counter()
    found: defaultdict[str, set[int]] = defaultdict(set)
    for line in trace.read_text().splitlines():
        match = _CALL.match(line)
        if match is None:
            continue
        thread, call, path = match.groups()
        counts[thread, call] += 1
        if path.startswith(str(below)):
            found[call].add(counts[thread, call])
    return {call: sorted(numbers) for call, numbers in found.items()}


def injected(trace: Path) -> int:
    """How many calls failed by order."""
    return trace.read_text().count(_INJECTED)


def faults(places: dict[str, list[int]], *, onward: bool) -> list[Fault]:
    """A fault for every place and error."""
    return [
        Fault(call, error, number, onward)
        for call, numbers in sorted(places.items())
        for number in numbers
        for error in ERRORS
    ]
