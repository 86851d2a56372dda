"""The pace of work of which only what is left is known, and the time that it takes at that pace.

Pure. Source: docs/operations.md, "Cells that leave, rest, or are not trusted".
"""

from __future__ import annotations

from collections import deque
from itertools import pairwise
from typing import Final

SAMPLES: Final = 16
"""Of one a minute: a quarter of an hour, so that neither one pause nor one burst decides."""
WATCHED_S: Final = SAMPLES * 60.0
"""Time for which work that gets no less is left alone before it is called stuck."""


class Pace:
    """The pace of some work, from what was left of it when it was looked at.

    Args:
        samples: looks that are remembered; together about a quarter of an hour.
    """

    def __init__(self, samples: int = SAMPLES) -> None:
        self._samples: deque[tuple[float, int]] = deque(maxlen=samples)

    def note(self, now: float, left: int) -> None:
        """Take in how much is left.

        Args:
            now: seconds of a monotonic clock.
            left: in any unit.
        """
        self._samples.append((now, left))

    @property
    def left(self) -> int | None:
        """The work that was left at the last look; None before that."""
        return self._samples[-1][1] if self._samples else None

    def left_s(self) -> float | None:
        """Return in how many seconds the work will be done; None where nothing gets less, or
        too little was seen to say."""
        if len(self._samples) < 2:
            return None
        (first_at, first), (last_at, last) = self._samples[0], self._samples[-1]
        if last >= first or last_at <= first_at:
            return None
        return last * (last_at - first_at) / (first - last)

    def per_s(self) -> float | None:
        """Return how much of it is done in a second, since there was most left; None where nothing
        was seen to get less."""
        if not self._samples:
            return None
        last_at, last = self._samples[-1]
        most_at, most = max(self._samples, key=lambda sample: (sample[1], sample[0]))
        return (most - last) / (last_at - most_at) if last < most else None

    @property
    def is_stuck(self) -> bool:
        """True when nothing got less while it was watched, which was long enough to say so."""
        if not self.left:
            return False
        watched_s = self._samples[-1][0] - self._samples[0][0]
        return watched_s >= WATCHED_S * (SAMPLES - 1) / SAMPLES and not any(
            later < earlier for (_, earlier), (_, later) in pairwise(self._samples)
        )
