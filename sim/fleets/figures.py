"""The fleets whose figures stand in docs/durability.md, and the file that keeps the figures.

Source: docs/durability.md, "Simulated fleets".
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from math import sqrt
from pathlib import Path
from typing import Final

from coordinator.policy.durability import HOURS_PER_YEAR, lazy_repair
from sim.fleets.engine import simulate
from sim.fleets.options import FleetOptions, Mending, Shocks
from sim.fleets.report import estimate

FIGURES: Final = Path(__file__).parent / "figures.json"
CLASSES: Final = ((1, 2), (2, 4), (3, 6), (4, 6), (6, 9), (8, 12), (10, 16))
OFTEN: Final = 5
"""Shocks are simulated so many times as often as they are taken to be, and what they add to the
losses is divided by it: in the years that can be simulated there would be next to none."""
SHOCKS: Final = Shocks(
    site_lost=1 / 200,
    site_dark=1 / 2,
    dark_h=4,
    stays_dead=0.01,
    batches=10,
    batch_fails=1 / 100,
    batch_dies=0.3,
)
SERVERS: Final = FleetOptions(4, 6, 200, 5, 10, 4 * HOURS_PER_YEAR, warm_up_years=0.5, replace_h=24)
HOMES: Final = FleetOptions(
    4,
    6,
    200,
    10,
    3,
    HOURS_PER_YEAR,
    warm_up_years=0.2,
    shape=0.8,
    replace_h=24,
    diurnal=0.2,
    outages=12,
    cell_bytes=1e12,
    mending=Mending(lost_h=12),
)
FLEETS: Final = {"servers": SERVERS, "homes": HOMES}
RUNS: Final = 4


@dataclass(frozen=True, slots=True)
class Figure:
    """The figures of one class in one fleet. Losses are per ring and year; ``exact`` is that of
    the exact chain with the repair time that the simulation had."""

    fleet: str
    k: int
    n: int
    exact: float
    alone: float
    alone_error: float
    shocked: float
    shocked_error: float
    rings_lost: int
    repair_h: float
    longest_queue_h: float
    moved_per_stored: float
    bits_per_s_of_cell: float
    unavailability: float


def often(shocks: Shocks) -> Shocks:
    """Return shocks that kill cells for good so many times as often; power cuts are as they are."""
    return replace(
        shocks, site_lost=OFTEN * shocks.site_lost, batch_fails=OFTEN * shocks.batch_fails
    )


def figure(fleet: str, k: int, n: int, *, runs: int) -> Figure:
    """Simulate one class in one fleet, with shocks and without.

    Args:
        fleet: of ``FLEETS``.
        k, n: the class.
        runs: of each, two or more.
    """
    options = replace(FLEETS[fleet], k=k, n=n)
    alone = [simulate(options, seed) for seed in range(runs)]
    shocked = [simulate(replace(options, shocks=often(SHOCKS)), seed) for seed in range(runs)]
    base = estimate([run.expected_per_ring_year for run in alone])
    more = estimate([run.expected_per_ring_year for run in shocked])
    repair_h = options.mending.lost_h + sum(run.fill_h for run in alone) / runs
    chain = lazy_repair(k, n, threshold=n, mttf_hours=options.mttf_h, repair_hours=repair_h)
    return Figure(
        fleet,
        k,
        n,
        chain.loss_per_year,
        base.mean,
        base.error,
        base.mean + max(0.0, more.mean - base.mean) / OFTEN,
        sqrt(base.error**2 + (more.error / OFTEN) ** 2),
        sum(run.rings_lost for run in alone + shocked),
        repair_h,
        max(run.longest_queue_h for run in shocked),
        mean([run.moved_per_stored for run in alone]),
        mean([run.bits_per_s_of_cell for run in alone]),
        1 - mean([run.availability for run in shocked]),
    )


def figure_of(job: tuple[str, int, int, int]) -> Figure:
    """Simulate one class in one fleet: fleet, k, n, runs, as a process of a pool gets them."""
    fleet, k, n, runs = job
    return figure(fleet, k, n, runs=runs)


def mean(values: Sequence[float]) -> float:
    """Return the mean of values."""
    return sum(values) / len(values)


def write(figures: Sequence[Figure]) -> None:
    """Write the file of figures."""
    FIGURES.write_text(json.dumps([asdict(each) for each in figures], indent=1) + "\n")


def read() -> list[Figure]:
    """Return the figures of the file."""
    return [Figure(**each) for each in json.loads(FIGURES.read_text())]
