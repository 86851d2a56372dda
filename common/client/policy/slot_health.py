"""One process's recent observations of the cells it talks to: their speed and their failures.

It is a hint for the order in which slots are tried, never a verdict: a cell that failed is tried
last, not never, and is forgiven after seconds. The coordinator learns by heartbeats, not by this.

Source: docs/data-path.md, "Slot health".
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

from common import limits
from common.data_classes import dataclass
from common.ids import PeerId

SUSPECT_S: Final = 2.0
"""A cell is suspect for so long after one failure; twice as long after each further one."""
LONGEST_SUSPECT_S: Final = 16.0
LATE_S: Final = 1.0
"""A cell that did not answer in time counts as slow for so long, then twice as long, ..."""
HUNG_S: Final = 4.0
"""A cell that a write was cut from is waited for no longer than a failed one for so long."""
LATENCY_WEIGHT: Final = 0.2
"""Share of the newest answer in the moving average (about the last ten count)."""
HEDGE_FLOOR_S: Final = 0.05
HEDGE_CEILING_S: Final = 2.0
HEDGE_FACTOR: Final = 3.0
SLOW_FACTOR: Final = 4.0
"""A cell that is typically so many times slower than the average of all is tried late."""
FIRST_GUESS_S: Final = 0.02


@dataclass(slots=True)
class _Cell:
    typical_s: float | None = None
    failures: int = 0
    suspect_until: float = 0.0
    times_late: int = 0
    late_until: float = 0.0
    times_cut: int = 0
    hung_until: float = 0.0


class SlotHealth:
    """Moving averages of latency and short memories of failure, per cell, bounded in number.

    All times are seconds of one monotonic clock, given by the caller.
    """

    def __init__(self) -> None:
        self._cells: OrderedDict[PeerId, _Cell] = OrderedDict()
        self._typical_s: float | None = None
        self._all_well_from = 0.0

    def succeeded(self, cell: PeerId, latency_s: float) -> None:
        """Note that a cell answered after ``latency_s`` seconds: it is healthy again."""
        known = self._cell(cell)
        known.failures = 0
        known.suspect_until = 0.0
        known.times_late = 0
        known.late_until = 0.0
        known.typical_s = _blend(known.typical_s, latency_s)
        self._typical_s = _blend(self._typical_s, latency_s)

    def answered(self, cell: PeerId) -> None:
        """Note that a cell did what takes its own time (a sync): it is healthy, and how long it
        took says nothing of its latency."""
        known = self._cells.get(cell)
        if known is not None:
            known.failures = 0
            known.suspect_until = 0.0
            known.times_cut = 0
            known.hung_until = 0.0

    def was_late(self, cell: PeerId, waited_s: float, now: float) -> None:
        """Note that a cell had not answered after ``waited_s``: it is at least that slow, not
        failed. For a short while, and longer each time in a row, it counts as slow whatever it was
        before."""
        known = self._cell(cell)
        known.typical_s = max(known.typical_s or 0.0, _blend(known.typical_s, waited_s))
        if now >= known.late_until:
            known.times_late += 1
            known.late_until = now + min(LATE_S * 2.0 ** (known.times_late - 1), LONGEST_SUSPECT_S)

    def was_cut(self, cell: PeerId, waited_s: float, now: float) -> None:
        """Note that a write's wait for a cell timed out: for a while others need not wait so long
        again to find that it hangs."""
        self.was_late(cell, waited_s, now)
        known = self._cell(cell)
        if now >= known.hung_until:
            known.times_cut += 1
            known.hung_until = now + min(HUNG_S * 2.0 ** (known.times_cut - 1), LONGEST_SUSPECT_S)
            self._all_well_from = max(self._all_well_from, known.hung_until)

    def failed(self, cell: PeerId, now: float) -> None:
        """Note that a call to a cell failed at ``now``. Failures while it is suspect already (calls
        that were in flight together) do not lengthen the suspicion."""
        known = self._cell(cell)
        if now < known.suspect_until:
            return
        known.failures += 1
        known.suspect_until = now + min(SUSPECT_S * 2.0 ** (known.failures - 1), LONGEST_SUSPECT_S)
        self._all_well_from = max(self._all_well_from, known.suspect_until)

    def suspects_none(self, now: float) -> bool:
        """Return whether surely no cell is suspect or hangs: a cheap check before each is
        checked."""
        return now >= self._all_well_from

    def is_suspect(self, cell: PeerId, now: float) -> bool:
        """Return whether the cell failed so recently that others should be tried first."""
        known = self._cells.get(cell)
        return known is not None and now < known.suspect_until

    def suspects(self, cells: Sequence[PeerId], now: float) -> frozenset[int]:
        """The positions of those among ``cells`` that failed or hung just now."""
        if self.suspects_none(now):
            return frozenset()
        return frozenset(
            at
            for at, cell in enumerate(cells)
            if self.is_suspect(cell, now) or self._hangs(cell, now)
        )

    def _hangs(self, cell: PeerId, now: float) -> bool:
        known = self._cells.get(cell)
        return known is not None and now < known.hung_until

    def is_slow(self, cell: PeerId, now: float) -> bool:
        """Return whether the cell was late just now or is typically much slower than cells are."""
        known = self._cells.get(cell)
        if known is None or known.typical_s is None:
            return False
        if now < known.late_until:
            return True
        return self._typical_s is not None and known.typical_s > max(
            HEDGE_FLOOR_S, SLOW_FACTOR * self._typical_s
        )

    def hedge_after_s(self, cell: PeerId) -> float:
        """Return the time to wait for this cell before a spare is asked too, in seconds.

        Three times what is typical for the cell, or for all cells where that is less: a cell that
        is always slow does not buy patience by it.
        """
        overall_s = FIRST_GUESS_S if self._typical_s is None else self._typical_s
        known = self._cells.get(cell)
        own_s = overall_s if known is None or known.typical_s is None else known.typical_s
        return min(max(HEDGE_FLOOR_S, HEDGE_FACTOR * min(own_s, overall_s)), HEDGE_CEILING_S)

    def penalty(self, cell: PeerId, now: float) -> int:
        """Return the rank of a cell in the order of tries: 0 healthy, 1 slow, 2 suspect."""
        if self.is_suspect(cell, now):
            return 2
        return 1 if self.is_slow(cell, now) else 0

    def _cell(self, cell: PeerId) -> _Cell:
        known = self._cells.get(cell)
        if known is None:
            if len(self._cells) >= limits.MAX_CELLS_REMEMBERED:
                self._cells.popitem(last=False)
            known = self._cells[cell] = _Cell()
        else:
            self._cells.move_to_end(cell)
        return known


def _blend(old: float | None, new: float) -> float:
    return new if old is None else old + LATENCY_WEIGHT * (new - old)
