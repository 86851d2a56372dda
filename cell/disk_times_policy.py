"""Quantiles of the time that a disk takes, over about the last day.

Pure. A histogram with buckets that grow by a constant ratio, whose counts decay: old ones are not
forgotten one by one, new ones weigh more. So it costs a few additions for each operation, and two
kilobytes in all.

Source: docs/prediction.md, "Reports of cells"; Cormode, Shkapenyuk, Srivastava, Xu, "Forward Decay"
    (ICDE 2009).
"""

from __future__ import annotations

from math import log
from typing import Final

FIRST_US: Final = 10.0
"""Quicker than this, it was no medium that answered; it is counted all the same."""
LAST_US: Final = 100e6
RATIO: Final = 1.1
"""Of two neighbouring buckets: a quantile is right within a tenth."""
BUCKETS: Final = int(log(LAST_US / FIRST_US) / log(RATIO)) + 1
HALF_LIFE_S: Final = 6 * 3600.0
"""A day ago counts a sixteenth."""
KNOWN_FROM_WEIGHT: Final = 30.0
"""With fewer operations, counted as much as they have decayed, a quantile is not known."""
REBASE_AT: Final = 2.0**40
"""Weights grow with time; then all are divided, so that they stay numbers of a sensible size."""


class DecayedQuantile:
    """A quantile of durations, of which later ones weigh more.

    Args:
        share: of the durations that are shorter, 0 to 1.
    """

    def __init__(self, share: float) -> None:
        self._share = share
        self._weights = [0.0] * BUCKETS
        self._began = 0.0
        self._is_empty = True

    def add(self, seconds: float, now: float) -> None:
        """Count a duration.

        Args:
            seconds: how long it took.
            now: monotonic seconds.
        """
        if self._is_empty:
            self._is_empty, self._began = False, now
        weight = self._growth(now)
        if weight > REBASE_AT:
            self._weights = [each / weight for each in self._weights]
            self._began, weight = now, 1.0
        self._weights[_bucket(1e6 * seconds)] += weight

    def microseconds(self, now: float) -> int | None:
        """Return the quantile, or None where too little was counted lately."""
        total = sum(self._weights)
        if self._is_empty or total < KNOWN_FROM_WEIGHT * self._growth(now):
            return None
        wanted = self._share * total
        for number, weight in enumerate(self._weights):
            wanted -= weight
            if wanted <= 0 and weight:
                return round(FIRST_US * RATIO**number)
        return round(LAST_US)

    def _growth(self, now: float) -> float:
        """The ratio of what an operation counts now to what one counted at the beginning."""
        return float(2.0 ** min(1000.0, (now - self._began) / HALF_LIFE_S))


def _bucket(microseconds: float) -> int:
    if microseconds <= FIRST_US:
        return 0
    return min(BUCKETS - 1, round(log(microseconds / FIRST_US) / log(RATIO)))
