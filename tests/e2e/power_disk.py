"""The test's side of power_cut_fs.py: starts it, orders it about, and cleans up after it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import trio
from power_fuse import unmount_if_mounted

ROOT: Final = Path(__file__).parents[2]
ORDER_TIMEOUT_S: Final = 20.0


class PowerDisk:
    """A medium, mounted at ``place`` between :meth:`mount` and :meth:`cut`.

    Args:
        place: an empty directory.
    """

    def __init__(self, place: Path) -> None:
        self.place = place
        self.frozen_at = ""
        """The change at which the power went, once it has."""
        self._frozen = trio.Event()
        self._is_over = False
        self._answers: tuple[trio.MemorySendChannel[Any], trio.MemoryReceiveChannel[Any]]
        self._answers = trio.open_memory_channel(1)
        self._process: trio.Process | None = None

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled; nothing stays mounted."""
        self._process = await trio.lowlevel.open_process(
            [sys.executable, str(Path(__file__).with_name("power_cut_fs.py")), str(self.place)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        assert self._process.stdin is not None
        try:
            task_status.started()
            await self._listen()
        finally:
            with trio.CancelScope(shield=True):
                await self.end()

    async def end(self) -> None:
        """Unmount, and end the file system's process. May be called again."""
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._is_over = True
        await self._process.stdin.aclose()  # tells it to end
        with trio.move_on_after(5):
            await self._process.wait()
        if self._process.returncode is None:
            self._process.kill()
            await self._process.wait()
        await self._process.stdout.aclose()
        unmount_if_mounted(self.place)

    async def _listen(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        text = b""
        while more := await self._received():
            *lines, text = (text + more).split(b"\n")
            for line in lines:
                told = json.loads(line)
                if "frozen" in told:
                    self.frozen_at = told["frozen"]
                    self._frozen.set()
                else:
                    await self._answers[0].send(told)
        assert self._is_over, "the file system's process died"

    async def _received(self) -> bytes:
        assert self._process is not None
        assert self._process.stdout is not None
        try:
            return bytes(await self._process.stdout.receive_some())
        except trio.ClosedResourceError:
            return b""

    async def _order(self, **order: object) -> dict[str, Any]:
        assert self._process is not None
        assert self._process.stdin is not None
        await self._process.stdin.send_all(json.dumps(order).encode() + b"\n")
        with trio.fail_after(ORDER_TIMEOUT_S):
            answer: dict[str, Any] = await self._answers[1].receive()
        assert answer["done"] == order["do"]
        return answer

    async def mount(self) -> None:
        """Mount it; nothing is cached from earlier."""
        self.frozen_at = ""
        self._frozen = trio.Event()
        await self._order(do="mount")

    async def cut_at(self, change: int, *, done: bool) -> None:
        """Let the power go at the ``change``-th change from now on.

        Args:
            done: the change is still carried out, but its caller never learns it.
        """
        await self._order(do="cut_at", change=change, done=done)

    async def fail_at(self, kind: str, change: int, error: str, onward: bool) -> None:
        """Let the ``change``-th change of a kind from now on fail, and all later ones if
        ``onward``.

        Args:
            kind: the beginning of its name, such as ``sync``; empty: any.
            error: ``EIO`` or ``ENOSPC``.
        """
        await self._order(do="fail_at", kind=kind, change=change, error=error, onward=onward)

    async def failed(self) -> int:
        """How many changes have failed since it was mounted."""
        return int((await self._order(do="facts"))["failed"])

    async def wait_frozen(self) -> None:
        """Wait until the power went by itself."""
        await self._frozen.wait()

    async def freeze(self) -> None:
        """Answer nothing any more."""
        await self._order(do="freeze")

    async def cut(self, seed: int) -> dict[str, Any]:
        """Unmount, and lose what was not synced, as the seed says. Frozen before."""
        return await self._order(do="cut", seed=seed)
