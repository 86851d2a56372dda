"""The pace of a cell's background work: what fills, checks and serves rebuilds leaves most of the
medium to readers and writers. Pure: times are arguments.

Source: docs/repair.md, "Budget".
"""

from __future__ import annotations

from typing import Final

BUSY_S: Final = 1.0
"""A cell counts as busy for so long after it has served a reader or writer."""
BUSY_SHARE: Final = 0.125
"""The share of its bandwidth that background work has while the cell is busy: 8 MiB/s by default.
With twice as much, the slowest of a hundred requests took three times as long during a rebuild."""


class BackgroundPace:
    """Two lanes over one bandwidth. The urgent lane has all of it; the other has a share while the
    cell is busy, and the rest of what the urgent one leaves.

    Each piece of work may begin once the pieces before it have had their time, so the bandwidth is
    exceeded by one piece at most. All times are seconds of one monotonic clock.

    Args:
        bytes_per_s: at least 1.
    """

    def __init__(self, bytes_per_s: int) -> None:
        assert bytes_per_s >= 1
        self._bytes_per_s = bytes_per_s
        self._busy_until = float("-inf")
        self._free_at = float("-inf")
        self._share_free_at = float("-inf")

    def served(self, now: float) -> None:
        """Note that a reader or writer was served."""
        self._busy_until = now + BUSY_S

    def wait_s(self, now: float, *, is_urgent: bool) -> float:
        """Return the seconds after which a piece of work may begin; 0: now."""
        free_at = self._free_at if is_urgent else max(self._free_at, self._share_free_at)
        return max(0.0, free_at - now)

    def began(self, size: int, now: float) -> None:
        """Note that a piece of so many bytes begins, of either lane."""
        took_s = size / self._bytes_per_s
        self._free_at = max(now, self._free_at) + took_s
        if now < self._busy_until:
            took_s /= BUSY_SHARE
        self._share_free_at = max(now, self._share_free_at) + took_s
