"""The pace of work of which only what is left is known, and the time that it takes at that pace.

Pure. Source: docs/operations.md, "Cells that leave, rest, or are not trusted".
"""

from __future__ import annotations

from collections import deque
from typing import Final

SAMPLES: Final = 16
"""Of one a minute: a quarter of an hour, so that neither one pause nor one burst decides."""


class Pace:
    """The pace of some work, from what was left of it when it was looked at."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int]] = deque(maxlen=SAMPLES)

    def note(self, now: float, left: int) -> None:
        """Take in how much is left.

        Args:
            now: seconds of a monotonic clock.
            left: in any unit.
        """
        self._samples.append((now, left))

    def left_s(self) -> float | None:
        """Return in how many seconds the work will be done; None where nothing gets less, or
        too little was seen to say."""
        if len(self._samples) < 2:
            return None
        (first_at, first), (last_at, last) = self._samples[0], self._samples[-1]
        if last >= first or last_at <= first_at:
            return None
        return last * (last_at - first_at) / (first - last)
