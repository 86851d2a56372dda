"""Wall clock, entropy and chance of the operating system."""

from __future__ import annotations

import os
import random
import time

from common.ports import Chance


class SystemClock:
    """The machine's time of day (a ``ports.WallClock``)."""

    def now(self) -> float:
        """Seconds since 1970-01-01 UTC."""
        return time.time()

    def utc_offset_s(self) -> int:
        """Seconds by which local time is ahead of UTC, summer time included."""
        return time.localtime().tm_gmtoff


def system_entropy(count: int) -> bytes:
    """``count`` unpredictable bytes of the kernel (a ``ports.Entropy``)."""
    return os.urandom(count)


def system_chance() -> Chance:
    """A generator for choice and jitter, seeded by the kernel; never for keys."""
    return random.Random(os.urandom(16))  # noqa: S311 - choice and jitter, by its contract
