"""Pace at which a coordinator looks at all cells, and weighs rings by free space again.

Pure. A change of which cells can be written to counts at once. Free space alone changes with every
heartbeat and matters little: the more rings there are, the longer it may wait.

Source: docs/placement.md, "Choosing a ring".
"""

from __future__ import annotations

import math
from typing import Final

RINGS_WEIGHED_PER_S: Final = 5_000
"""A chooser of more rings follows the cells' free space more slowly: a tenth of a core at most."""
CELLS_LOOKED_AT_PER_S: Final = 50_000
"""The same for looking at all cells, when their connections break one after another."""
CHEAP_LOOK_S: Final = 0.01


class RefreshPace:
    """Keeps looking at cells and weighing rings to a bounded share of the time.

    All times are seconds of one monotonic clock, given by the caller.
    """

    def __init__(self) -> None:
        self._looked_at = -math.inf
        self._weighed_at = -math.inf
        self._is_stale = False

    def looked(self, now: float) -> None:
        """Note that all cells were looked at."""
        self._looked_at = now

    def weighed(self, now: float) -> None:
        """Note that rings were weighed by the free space that there is now."""
        self._weighed_at = now
        self._is_stale = False

    def unchanged(self) -> None:
        """Note that the weights are those of the free space that there is, though they are old."""
        self._is_stale = False

    def free_space_changed(self) -> None:
        """Note that the weights are not those of the free space that there is."""
        self._is_stale = True

    def may_look(self, now: float, cells: int) -> bool:
        """Return whether to look at so many cells at once, rather than once for several changes."""
        rest_s = cells / CELLS_LOOKED_AT_PER_S
        return rest_s < CHEAP_LOOK_S or now - self._looked_at >= rest_s

    def may_weigh(self, now: float, rings: int) -> bool:
        """Return whether to weigh so many rings only because free space has changed."""
        return now >= self._next_weighing(rings)

    def next_look(self, changes_at: float, rings: int) -> float:
        """Return when to look again unless something else happens before.

        Args:
            changes_at: when the first of the cells may be in another state.
            rings: how many there are.
        """
        return min(changes_at, self._next_weighing(rings)) if self._is_stale else changes_at

    def _next_weighing(self, rings: int) -> float:
        return self._weighed_at + rings / RINGS_WEIGHED_PER_S
