"""smartctl, where this machine has it, on the disk under a directory.

It is a program of the system, run without a shell, for a bounded time, with bounded output. It is
never needed: most machines let only root ask a disk.

Source: docs/prediction.md, "Reports of cells".
"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import trio

from common import limits

SYSTEM_PATH: Final = "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"
"""A service's own PATH often lacks the folders of such programs."""
ARGUMENTS: Final = ("--json", "--health", "--attributes", "--nocheck=standby")
"""A disk that sleeps is left asleep."""
_DEPTH: Final = 4
"""Of devices on devices: LUKS on LVM on a partition has three."""
_READ_BYTES: Final = 65536


def device_of(directory: Path, sysfs: Path = Path("/sys")) -> str | None:
    """Return the path of the disk that a directory lies on, or None where it is none, or several.

    Args:
        directory: on a file system.
        sysfs: where Linux shows its devices.
    """
    try:
        number = directory.stat().st_dev
        entry = (sysfs / f"dev/block/{os.major(number)}:{os.minor(number)}").resolve(strict=True)
        for _ in range(_DEPTH):
            below = sorted((entry / "slaves").iterdir()) if (entry / "slaves").is_dir() else []
            if (entry / "partition").exists():
                entry = entry.parent
            elif len(below) == 1:
                entry = below[0].resolve(strict=True)
            elif below:
                return None
            else:
                return f"/dev/{entry.name}"
    except OSError:
        pass
    return None


class SmartctlReports:
    """A ``ports.DiskReports``.

    Args:
        directory: of the daemon's data.
        command: instead of smartctl on the disk, for tests.
    """

    def __init__(self, directory: Path, command: Sequence[str] = ()) -> None:
        self._directory = directory
        self._command = tuple(command)
        self._stuck: trio.Process | None = None
        """One that was killed and did not end."""

    def _find(self) -> tuple[str, ...]:
        if self._command:
            return self._command
        program = shutil.which("smartctl", path=SYSTEM_PATH)
        device = device_of(self._directory) if program is not None else None
        if program is None or device is None or not _is_block_device(device):
            return ()
        return (program, *ARGUMENTS, device)

    async def read(self) -> bytes:
        """See the port. While an earlier run hangs in the kernel no other is begun."""
        is_stuck = self._stuck is not None and self._stuck.returncode is None
        command = () if is_stuck else self._find()
        if not command:
            await trio.lowlevel.checkpoint()
            return b""
        try:
            process = await trio.lowlevel.open_process(
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
        except OSError:
            return b""
        found = b""
        try:
            with trio.move_on_after(limits.SMART_TIMEOUT_S) as scope:
                found = await _receive(process)
                await process.wait()
        finally:
            self._stuck = None if await _end(process) else process
        return b"" if scope.cancelled_caught else found


def _is_block_device(path: str) -> bool:
    try:
        return stat.S_ISBLK(Path(path).stat().st_mode)
    except OSError:
        return False


async def _receive(process: trio.Process) -> bytes:
    """Return what a process writes, or its beginning where that is too much."""
    assert process.stdout is not None
    found = bytearray()
    while len(found) <= limits.MAX_SMART_BYTES:
        part = await process.stdout.receive_some(_READ_BYTES)
        if not part:
            return bytes(found)
        found += part
    process.kill()
    return bytes(found[: limits.MAX_SMART_BYTES])


async def _end(process: trio.Process) -> bool:
    """End a process. Return whether it ended: one that waits for a broken disk in the kernel does
    not, whatever signal it gets, and the daemon must not wait for that."""
    with trio.CancelScope(shield=True):
        if process.returncode is None:
            process.kill()
        with trio.move_on_after(limits.SMART_END_S):
            await process.wait()
        if process.stdout is not None:
            await process.stdout.aclose()
    return process.returncode is not None
