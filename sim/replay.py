"""Run trio so that a seed decides everything and repeats exactly.

Trio shuffles its run batches with a private generator and jumps virtual time when all tasks wait.
Both are reached through private names, so trio is pinned and ``tests/sim`` proves that a seed
repeats.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import trio
import trio._core._run as trio_run
import trio.testing

T = TypeVar("T")
_SWITCH: Final = "_ALLOW_DETERMINISTIC_SCHEDULING"


def run_seeded(seed: int, main: Callable[[], Awaitable[T]]) -> T:
    """Run ``main`` under virtual time with trio's scheduling decided by the seed.

    Args:
        seed: any integer; the same one gives the same run, also in another process.

    Returns:
        What ``main`` returns.
    """
    was_deterministic = trio_run._ALLOW_DETERMINISTIC_SCHEDULING
    setattr(trio_run, _SWITCH, True)
    trio_run._r.seed(seed)
    try:
        return trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    finally:
        setattr(trio_run, _SWITCH, was_deterministic)
