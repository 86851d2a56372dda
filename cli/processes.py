"""Child processes: one per daemon, watched, never restarted, gone when the supervisor is gone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import field
from pathlib import Path
from typing import Any, BinaryIO, Final

import trio

from cli.report import print_error
from common import limits
from common.data_classes import dataclass
from common.errors import Unavailable
from common.reasons import Outage

LOG_NAME: Final = "log"
LOG_TAIL_LINES: Final = 12


@dataclass(slots=True)
class DaemonProcess:
    """One daemon of a local swarm and, once it is started, its process.

    ``ready``: what it printed when it was; None until then. ``site``: where it is, if that is said.
    """

    name: str
    role: str
    data: Path
    site: str = ""
    process: subprocess.Popen[bytes] | None = None
    ready: dict[str, Any] | None = None
    gone: trio.Event = field(default_factory=trio.Event)

    @property
    def log_path(self) -> Path:
        """The file to which its standard error is appended."""
        return self.data / LOG_NAME

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self.process is not None
        return self.process.pid

    @property
    def is_running(self) -> bool:
        """Return whether it was started and has not ended."""
        return self.process is not None and not self.gone.is_set()

    def exit_text(self) -> str:
        """The way it ended: its exit code, or the signal's name."""
        code = self.process.poll() if self.process is not None else None
        if code is not None and code < 0:
            return signal.Signals(-code).name
        return f"exit code {code}"

    def log_tail(self) -> str:
        """The last lines of its log, indented."""
        try:
            with self.log_path.open("rb") as log:
                log.seek(max(0, log.seek(0, os.SEEK_END) - 8192))
                lines = log.read().decode("utf-8", "replace").splitlines()
        except OSError:
            return ""
        return "\n".join(f"    {line}" for line in lines[-LOG_TAIL_LINES:])

    def failure(self, what: str) -> Unavailable:
        """The error for this daemon: what happened, the end of its log, and where the rest is."""
        tail = self.log_tail()
        return Unavailable(
            Outage.DAEMON_FAILED,
            message=f"{self.name} {what}" + (f":\n{tail}\n" if tail else ""),
            log=str(self.log_path),
        )


def _spawn(daemon: DaemonProcess, config: Path, output: int) -> subprocess.Popen[bytes]:
    # -P: whatever directory we were started in must not shadow our packages.
    command = [sys.executable, "-P", "-m", "cli.main", daemon.role, "--config", str(config)]
    command += ["--parent-pid", str(os.getpid())]
    # Popen in this thread, not in a worker: the kernel's parent death signal goes by the thread.
    with _open_log(daemon) as log:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=log,
            # A group of its own: Ctrl-C reaches the supervisor alone, which stops all in order.
            process_group=0,
        )


@contextmanager
def _open_log(daemon: DaemonProcess) -> Iterator[BinaryIO | None]:
    """A daemon's log file; None, which is our own standard error, where it cannot be opened: a
    daemon must not stay down because its log cannot be written."""
    try:
        log = daemon.log_path.open("ab")
    except OSError as error:
        print_error(f"{daemon.name} logs here: cannot open {daemon.log_path}: {error.strerror}")
        yield None
        return
    with log:
        yield log


async def _read_ready(stream: trio.lowlevel.FdStream, daemon: DaemonProcess) -> dict[str, Any]:
    received = b""
    while b"\n" not in received:
        chunk = await stream.receive_some(4096)
        if not chunk or len(received) > limits.MAX_READY_LINE_BYTES:
            await daemon.gone.wait()
            raise daemon.failure(f"ended before it was ready ({daemon.exit_text()})")
        received += chunk
    ready = json.loads(received.partition(b"\n")[0])
    assert isinstance(ready, dict), "a daemon's ready line is a JSON object"
    return ready


class Processes:
    """Starts, watches and stops daemons.

    Args:
        nursery: in which the watchers run.
        on_death: called once for each daemon that ends without having been stopped.
    """

    def __init__(self, nursery: trio.Nursery, on_death: Callable[[DaemonProcess], None]) -> None:
        self._nursery = nursery
        self._on_death = on_death
        self._stopping: set[str] = set()

    async def start(
        self, daemon: DaemonProcess, config: Path, *, timeout_s: float
    ) -> dict[str, Any]:
        """Start a daemon and wait until it is ready.

        Returns:
            Its ready line: ``role``, ``peer_id`` and the addresses it listens at.

        Raises:
            Unavailable: ``daemon_failed``: it ended, or was not ready in time.
        """
        readable, writable = os.pipe2(os.O_CLOEXEC)
        try:
            daemon.process = _spawn(daemon, config, writable)
        except BaseException:
            os.close(readable)
            raise
        finally:
            os.close(writable)
        self._nursery.start_soon(self._watch, daemon, os.pidfd_open(daemon.pid))
        stream = trio.lowlevel.FdStream(readable)
        with trio.move_on_after(timeout_s):
            daemon.ready = await _read_ready(stream, daemon)
            self._nursery.start_soon(_drain, stream)
            return daemon.ready
        await stream.aclose()
        raise daemon.failure(f"was not ready within {timeout_s:g} s")

    async def _watch(self, daemon: DaemonProcess, handle: int) -> None:
        assert daemon.process is not None
        try:
            # The task that stops the daemons waits for this: it must see their end even when a
            # failure elsewhere has cancelled the nursery.
            with trio.CancelScope(shield=True):
                await trio.lowlevel.wait_readable(handle)
        finally:
            os.close(handle)
        daemon.process.wait()
        daemon.gone.set()
        if daemon.name not in self._stopping and daemon.ready is not None:
            self._on_death(daemon)

    async def stop(self, daemons: list[DaemonProcess], *, timeout_s: float) -> list[str]:
        """Ask daemons to stop, together; kill those that have not after the deadline.

        Returns:
            The names of those that had to be killed.
        """
        running = [daemon for daemon in daemons if daemon.is_running]
        for daemon in running:
            self._stopping.add(daemon.name)
            _signal(daemon, signal.SIGTERM)
        with trio.move_on_after(timeout_s):
            for daemon in running:
                await daemon.gone.wait()
        late = [daemon for daemon in running if daemon.is_running]
        for daemon in late:
            _signal(daemon, signal.SIGKILL)
        for daemon in late:
            await daemon.gone.wait()
        return [daemon.name for daemon in late]


def _signal(daemon: DaemonProcess, number: signal.Signals) -> None:
    assert daemon.process is not None
    daemon.process.send_signal(number)


async def _drain(stream: trio.lowlevel.FdStream) -> None:
    """Read and drop a daemon's standard output: it writes nothing more there, and must not block if
    it does."""
    async with stream:
        while await stream.receive_some(4096):
            pass
