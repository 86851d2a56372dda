"""Availability: for how much of the time that a coordinator watched a cell it was heard.

Pure. Source: docs/placement.md, "Availability".
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import field
from typing import Final

from common.data_classes import dataclass

TARGET: Final = 0.9995
"""Of 30 days, 21.6 minutes of silence."""
DAYS: Final = 30
DAY_S: Final = 86400
"""Of watched time: while no coordinator runs, no day passes."""


@dataclass(frozen=True, slots=True)
class Availability:
    """The last DAYS of a cell, or of all cells of an owner: seconds in which it was watched, and
    seconds of these in which it was silent."""

    watched_s: int
    silent_s: int

    @property
    def ratio(self) -> float:
        """The part of the time in which it was heard; 1 where it was never watched."""
        return 1 - self.silent_s / self.watched_s if self.watched_s else 1.0

    @property
    def is_below_target(self) -> bool:
        """Return whether it was silent for longer than the target allows."""
        return self.ratio < TARGET


def first_day(watched_s: int) -> int:
    """Return the first of the last DAYS, the day that is running included.

    Args:
        watched_s: the time that coordinators of the swarm have watched it.
    """
    return max(0, day_of(watched_s) - DAYS + 1)


def day_of(watched_s: int) -> int:
    """Return the day to which the last watched second belongs."""
    return max(0, watched_s - 1) // DAY_S


def of_cell(watched_s: int, joined_at_s: int, silent_s: int, excused_s: int) -> Availability:
    """Return the availability of a cell.

    Args:
        watched_s: the time that coordinators of the swarm have watched it.
        joined_at_s: the same when the cell joined.
        silent_s: of the cell, since the first of the last DAYS.
        excused_s: likewise, time that counts neither way: announced maintenance.
    """
    begins_s = max(first_day(watched_s) * DAY_S, joined_at_s)
    own_s = max(0, watched_s - begins_s - excused_s)
    return Availability(own_s, min(silent_s, own_s))


@dataclass(frozen=True, slots=True)
class Absences:
    """The last DAYS of a swarm.

    ``watched_s``: the time that coordinators of the swarm have watched it, ever. ``by_cell``: the
    seconds in which cells were silent, and those that count neither way; a cell that is not there
    was always heard.
    """

    watched_s: int = 0
    by_cell: Mapping[int, tuple[int, int]] = field(default_factory=dict)

    def of(self, cell: int, joined_at_s: int) -> Availability:
        """Return the availability of a cell. Args as of :func:`of_cell`."""
        return of_cell(self.watched_s, joined_at_s, *self.by_cell.get(cell, (0, 0)))


def together(cells: Iterable[Availability]) -> Availability:
    """Return the availability of all cells of an owner."""
    listed = list(cells)
    return Availability(
        sum(each.watched_s for each in listed), sum(each.silent_s for each in listed)
    )


def of_owners(cells: Iterable[tuple[str, Availability]]) -> dict[str, Availability]:
    """Return the availability of all cells of each owner, the worst first.

    Args:
        cells: the owner of each, and its availability. Those that name none are left out.
    """
    by_owner: dict[str, list[Availability]] = defaultdict(list)
    for owner, each in cells:
        if owner:
            by_owner[owner].append(each)
    found = [(owner, together(listed)) for owner, listed in by_owner.items()]
    return dict(sorted(found, key=lambda each: (each[1].ratio, each[0])))


def countable(silence_s: float, counted_s: float, elapsed_s: int) -> int:
    """Return the whole seconds of a cell's silence that are to be counted now; what is left is
    counted next time.

    Args:
        silence_s: of the cell, since this process began.
        counted_s: what of it was counted.
        elapsed_s: since it was last counted.
    """
    return min(elapsed_s, max(0, int(silence_s - counted_s)))
