"""The result of a simulated fleet.

Source: docs/durability.md, "Simulated fleets".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field, fields
from math import sqrt

from common.data_classes import dataclass
from coordinator.policy.durability import DAYS_PER_YEAR, HOURS_PER_YEAR
from sim.fleets.options import FleetOptions


@dataclass(slots=True)
class FleetReport:
    """The counts of one run.

    ``at_margin_h``: hours of rings by the shards that they could lose beyond. ``entered``: how
    often a ring came down to a margin; the first is margin 0, the nearest miss. ``expected_lost``:
    rings lost, as expected from the states that the run went through rather than counted: margin 0
    times the rate at which one more cell dies, and at each shock the probability that it takes
    more than the margin.
    """

    options: FleetOptions
    rings: int
    rings_lost: int = 0
    segments_lost: int = 0
    expected_lost: float = 0.0
    cells_died: int = 0
    cells_declared: int = 0
    slots_moved: int = 0
    taken_back: int = 0
    moved_bytes: float = 0.0
    unreadable_h: float = 0.0
    unreadable: int = 0
    filled: int = 0
    filled_h: float = 0.0
    longest_queue_h: float = 0.0
    at_margin_h: list[float] = field(default_factory=list)
    entered: list[int] = field(default_factory=list)

    def clear(self) -> None:
        """Count from now on."""
        fresh = FleetReport(self.options, self.rings)
        for each in fields(self):
            setattr(self, each.name, getattr(fresh, each.name))
        margins = self.options.n - self.options.k + 1
        self.at_margin_h = [0.0] * margins
        self.entered = [0] * margins

    @property
    def ring_years(self) -> float:
        """Years that were simulated, times rings."""
        return self.rings * self.options.years

    @property
    def lost_per_ring_year(self) -> float:
        """The loss rate, counted."""
        return self.rings_lost / self.ring_years

    @property
    def expected_per_ring_year(self) -> float:
        """The loss rate, as expected."""
        return self.expected_lost / self.ring_years

    @property
    def availability(self) -> float:
        """The share of the time in which a ring can be read."""
        return 1 - self.unreadable_h / (self.ring_years * HOURS_PER_YEAR)

    @property
    def fill_h(self) -> float:
        """Mean time from a move to the last segment of the slot."""
        return self.filled_h / self.filled if self.filled else 0.0

    @property
    def moved_per_stored(self) -> float:
        """Bytes that repair read and wrote in a year for each byte of user data."""
        options = self.options
        stored = options.cells * options.cell_bytes * options.k / options.n
        return self.moved_bytes / stored / options.years

    @property
    def bits_per_s_of_cell(self) -> float:
        """Mean bandwidth of a cell for repair, in and out."""
        options = self.options
        seconds = options.years * DAYS_PER_YEAR * 86400
        return 8 * self.moved_bytes / options.cells / seconds


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over independent runs, and its standard error."""

    mean: float
    error: float


def estimate(values: Sequence[float]) -> Estimate:
    """Return the mean of values of independent runs, and its standard error.

    Args:
        values: two or more.
    """
    count = len(values)
    mean = sum(values) / count
    variance = sum((value - mean) ** 2 for value in values) / (count - 1)
    return Estimate(mean, sqrt(variance / count))
