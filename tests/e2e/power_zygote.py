"""Starts cells quickly: a process that imports everything once and forks one for every life.

Most of a cell's start is importing. Each order comes over a socket as one message: the arguments of
`alveary` with the descriptors of the life's standard output and error, or a process id to be
reaped; the answer is a process id, or an exit code.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import cell.main  # imported for the lives to come
import cli.main
from common.system.process import die_with_parent

MESSAGE_BYTES: Final = 65536
ROOT: Final = Path(__file__).parents[2]

assert cell.main


class Life:
    """A process that a zygote began: what is used of :class:`subprocess.Popen`."""

    def __init__(self, zygote: Zygote, pid: int) -> None:
        self.pid = pid
        self._zygote = zygote
        self._descriptor = os.pidfd_open(pid)
        self._code: int | None = None

    def _has_ended(self, timeout_ms: int | None) -> bool:
        poll = select.poll()
        poll.register(self._descriptor, select.POLLIN)
        return bool(poll.poll(timeout_ms))

    def poll(self) -> int | None:
        """Its exit code if it has ended."""
        return self.wait() if self._code is not None or self._has_ended(0) else None

    def send_signal(self, number: int) -> None:
        """Signal it; it has not been waited for."""
        signal.pidfd_send_signal(self._descriptor, number)

    def wait(self) -> int:
        """Wait for its end; returns its exit code, negative for a signal."""
        if self._code is None:
            self._has_ended(None)
            self._code = self._zygote.reap(self.pid)
            os.close(self._descriptor)
        return self._code


class Zygote:
    """The test's side of it. May be used from several threads."""

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, __file__, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                env={**os.environ, "PYTHONPATH": str(ROOT)},
            )

    def _ask(self, order: object, descriptors: Sequence[int] = ()) -> int:
        with self._turn:
            socket.send_fds(self._socket, [json.dumps(order).encode()], descriptors)
            return int(json.loads(self._socket.recv(MESSAGE_BYTES)))

    def start(self, arguments: Sequence[str], output: int, error: int) -> Life:
        """Begin a life.

        Args:
            arguments: of `alveary`.
            output: a descriptor.
            error: a descriptor.
        """
        return Life(self, self._ask(list(arguments), [output, error]))

    def reap(self, pid: int) -> int:
        """Wait for the end of a life; returns its exit code, negative for a signal."""
        return self._ask(pid)

    def close(self) -> None:
        """End it; lives that still run end with it."""
        self._socket.close()
        self._process.wait(10)


def serve(orders: socket.socket) -> None:
    """Obey until the other side closes."""
    parent = os.getpid()
    while True:
        data, descriptors, _, _ = socket.recv_fds(orders, MESSAGE_BYTES, 2)
        if not data:
            return
        order = json.loads(data)
        if isinstance(order, int):
            _, status = os.waitpid(order, 0)
            orders.send(json.dumps(os.waitstatus_to_exitcode(status)).encode())
            continue
        pid = os.fork()
        if pid == 0:
            live(parent, order, descriptors)
        for descriptor in descriptors:
            os.close(descriptor)
        orders.send(json.dumps(pid).encode())


def live(parent: int, arguments: Sequence[str], descriptors: Sequence[int]) -> None:
    """Be `alveary` with these arguments, and end."""
    code = 1
    try:
        for target, descriptor in enumerate(descriptors, 1):
            os.dup2(descriptor, target)
        os.closerange(3, 256)
        die_with_parent(parent)
        sys.argv = ["alveary", *arguments]
        code = cli.main.main()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


if __name__ == "__main__":
    with socket.socket(fileno=int(sys.argv[1])) as channel:
        serve(channel)
