"""What a daemon asks of the kernel about its own process."""

from __future__ import annotations

import ctypes
import os
import signal
from typing import Final

from common.errors import Unavailable

_PR_SET_PDEATHSIG: Final = 1


def die_with_parent(parent_pid: int) -> None:
    """Have the kernel kill this process when its parent is gone, however the parent died.

    Args:
        parent_pid: the parent's process id, as the parent told it.

    Raises:
        Unavailable: ``parent_gone``: it died before this call; ``no_parent_signal``: the kernel
            refused.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise Unavailable("no_parent_signal", error=os.strerror(ctypes.get_errno()))
    # The parent may have died between its fork and the line above: then no signal will come.
    if os.getppid() != parent_pid:
        raise Unavailable("parent_gone")
