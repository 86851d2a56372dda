"""A daemon's own process: what it asks of the kernel, and what it says to its starter."""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
from collections.abc import Mapping
from typing import Final

from common import limits
from common.errors import BadConfig, Unavailable
from common.ports import Log
from common.reasons import ConfigFault, Outage

_PR_SET_PDEATHSIG: Final = 1
_STANDARD_OUTPUT: Final = 1
PRIVATE_UMASK: Final = 0o077


def die_with_parent(parent_pid: int) -> None:
    """Have the kernel kill this process when its parent is gone, however the parent died.

    Args:
        parent_pid: the parent's process id, as the parent passed it.

    Raises:
        Unavailable: ``parent_gone``: it died before this call; ``no_parent_signal``: the kernel
            refused.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise Unavailable(Outage.NO_PARENT_SIGNAL, error=os.strerror(ctypes.get_errno()))
    # The parent may have died between its fork and the line above: then no signal will come.
    if os.getppid() != parent_pid:
        raise Unavailable(Outage.PARENT_GONE)


def keep_files_private() -> None:
    """Let no other user read what this process creates from now on: databases, logs, volumes."""
    os.umask(PRIVATE_UMASK)


def raise_open_files() -> int:
    """Raise the soft limit of open files to the hard one, MAX_OPEN_FILES at most.

    A shell's soft limit is 1,024 for the sake of programs that use select(2).

    Returns:
        The limit from now on, of this process and those that it starts.

    Raises:
        BadConfig: ``too_few_open_files``: the hard limit is below MIN_OPEN_FILES.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = limits.MAX_OPEN_FILES
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        wanted = limits.MAX_OPEN_FILES if soft == resource.RLIM_INFINITY else soft
    else:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    if wanted < limits.MIN_OPEN_FILES:
        raise BadConfig(
            ConfigFault.TOO_FEW_OPEN_FILES, allowed=wanted, needed=limits.MIN_OPEN_FILES
        )
    return wanted


def say_ready(log: Log, facts: Mapping[str, object]) -> None:
    """Print the ready line, for which the process's starter waits, on standard output.

    Args:
        log: gets a warning where it cannot be written; the daemon serves all the same.
        facts: JSON-like: ``role``, addresses, ``peer_id``.
    """
    line = json.dumps({"ready": True, **facts}) + "\n"
    try:
        # Past Python's buffer: what is left there would fail again at exit and change its code.
        os.write(_STANDARD_OUTPUT, line.encode())
    except OSError as error:
        log.warning("ready_line_not_written", error=error.strerror)
