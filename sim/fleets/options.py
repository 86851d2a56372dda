"""The options of a simulated fleet: how its cells live and die, and how it is repaired.

Source: docs/durability.md, "Simulated fleets".
"""

from __future__ import annotations

from dataclasses import field

from common.data_classes import dataclass
from coordinator.policy.placement import Redundancy, default_quorum


@dataclass(frozen=True, slots=True)
class Shocks:
    """Failures that strike many cells at once. Rates are per year; 0 is never.

    ``site_lost``: of each site: fire, flood, theft; every cell of it is lost. ``site_dark``: of
    each site: a power cut of ``dark_h`` hours on average, after which each cell stays dead with
    the probability ``stays_dead``. ``batch_fails``: of each of ``batches`` series of boxes, spread
    over all sites: each cell of it dies with the probability ``batch_dies``, within
    ``batch_spread_h`` hours.
    """

    site_lost: float = 0.0
    site_dark: float = 0.0
    dark_h: float = 4.0
    stays_dead: float = 0.01
    batches: int = 1
    batch_fails: float = 0.0
    batch_dies: float = 0.3
    batch_spread_h: float = 0.0


@dataclass(frozen=True, slots=True)
class Mending:
    """The way of a fleet to repair.

    ``together``: one exponential time of mean ``repair_h`` for each ring, which begins when fewer
    than ``threshold`` shards are left and ends with all of them there: the model of the exact
    chain. Else each holder fills its own slots, one after the other: a cell counts as lost after
    ``lost_h`` hours of silence, plans are made every ``round_h``, and a cell reads
    ``rate_bytes_per_s`` for repair at most.
    """

    together: bool = False
    threshold: int = 0
    repair_h: float = 24.0
    lost_h: float = 0.25
    round_h: float = 1 / 60
    rate_bytes_per_s: float = 50e6 / 8


@dataclass(frozen=True, slots=True)
class FleetOptions:
    """A fleet.

    ``mttf_h``: mean life of a cell; ``shape`` of the Weibull distribution, 1: exponential. A dead
    cell's place is taken by an empty one after ``replace_h``. ``outages``: of a cell, a year, of
    ``outage_h`` on average. ``diurnal``: share of the cells that are off every night, for
    ``night_h``. ``cell_bytes``: kept on each cell on average.
    """

    k: int
    n: int
    cells: int
    sites: int
    years: float
    mttf_h: float
    warm_up_years: float = 0.0
    """Years before the others, in which nothing is counted: a new fleet is whole."""
    shape: float = 1.0
    replace_h: float = 0.0
    outages: float = 0.0
    outage_h: float = 1.0
    diurnal: float = 0.0
    night_h: float = 8.0
    cell_bytes: float = 4e12
    draws_targets: bool = False
    """Slots go to cells that chance draws, instead of where the coordinator's planner says."""
    segments: int = 0
    """Placed on the rings by the chooser; 0: one for each ring."""
    shocks: Shocks = field(default_factory=Shocks)
    mending: Mending = field(default_factory=Mending)

    @property
    def redundancy(self) -> Redundancy:
        """The class of every ring."""
        return Redundancy(self.k, self.n, default_quorum(self.k, self.n))
