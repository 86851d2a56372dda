"""The fleets whose figures stand in docs/durability.md, and the file that keeps the figures.

Source: docs/durability.md, "Simulated fleets".
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from math import sqrt
from pathlib import Path
from typing import Final

from common.data_classes import dataclass
from coordinator.policy.classes import recommended
from coordinator.policy.durability import HOURS_PER_YEAR, lazy_repair
from sim.fleets.engine import simulate
from sim.fleets.options import FleetOptions, Mending, Shocks
from sim.fleets.report import estimate

FIGURES: Final = Path(__file__).parent / "figures.json"
SMALL_FIGURES: Final = Path(__file__).parent / "small_figures.json"
"""Of the recommended classes."""
CLASSES: Final = ((1, 2), (2, 4), (3, 6), (4, 6), (6, 9), (8, 12), (10, 16))
OFTEN: Final = 5
"""Sites and batches that die are simulated so many times as often as they are taken to, and what
they add to the losses is divided by it: in the years that can be simulated there would be next to
none. Power cuts come as often as they are taken to."""
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
BOXES: Final = replace(SERVERS, cell_bytes=1e12, years=100)
"""Of a small swarm: few rings, so many years."""
RUNS: Final = 4


@dataclass(frozen=True, slots=True)
class Figure:
    """The figures of one class in one fleet. Losses are per ring and year; ``exact`` is that of
    the exact chain with the repair time that the simulation had, ``alone`` that of the simulation
    without shocks, ``shocked`` with them."""

    fleet: str
    cells: int
    sites: int
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


def figure(fleet: str, options: FleetOptions, *, runs: int) -> Figure:
    """Simulate a fleet without shocks, with power cuts, and with all shocks.

    Args:
        fleet: its name.
        runs: of each, two or more.
    """
    k, n = options.k, options.n
    cuts = replace(SHOCKS, site_lost=0.0, batch_fails=0.0)
    alone = [simulate(options, seed) for seed in range(runs)]
    cut = [simulate(replace(options, shocks=cuts), seed) for seed in range(runs)]
    shocked = [simulate(replace(options, shocks=often(SHOCKS)), seed) for seed in range(runs)]
    base = estimate([run.expected_per_ring_year for run in alone])
    dark = estimate([run.expected_per_ring_year for run in cut])
    more = estimate([run.expected_per_ring_year for run in shocked])
    repair_h = options.mending.lost_h + sum(run.fill_h for run in alone) / runs
    chain = lazy_repair(k, n, threshold=n, mttf_hours=options.mttf_h, repair_hours=repair_h)
    return Figure(
        fleet,
        options.cells,
        options.sites,
        k,
        n,
        chain.loss_per_year,
        base.mean,
        base.error,
        dark.mean + max(0.0, more.mean - dark.mean) / OFTEN,
        sqrt((dark.error * (1 - 1 / OFTEN)) ** 2 + (more.error / OFTEN) ** 2),
        sum(run.rings_lost for run in alone + cut + shocked),
        repair_h,
        max(run.longest_queue_h for run in shocked),
        mean([run.moved_per_stored for run in alone]),
        mean([run.bits_per_s_of_cell for run in alone]),
        1 - mean([run.availability for run in cut]),
    )


def jobs() -> list[tuple[str, FleetOptions]]:
    """All classes in all fleets."""
    return [
        (name, replace(options, k=k, n=n)) for name, options in FLEETS.items() for k, n in CLASSES
    ]


def small_jobs() -> list[tuple[str, FleetOptions]]:
    """The recommended class for each number of boxes on each number of sites."""
    return [
        (
            f"{row.boxes} boxes",
            replace(
                BOXES,
                k=row.redundancy.k,
                n=row.redundancy.n,
                cells=row.boxes,
                sites=row.sites,
            ),
        )
        for row in recommended()
    ]


def figure_of(job: tuple[str, FleetOptions, int]) -> Figure:
    """Simulate one fleet: its name, options and runs, as a process of a pool gets them."""
    fleet, options, runs = job
    return figure(fleet, options, runs=runs)


def mean(values: Sequence[float]) -> float:
    """Return the mean of values."""
    return sum(values) / len(values)


def write(figures: Sequence[Figure], path: Path = FIGURES) -> None:
    """Write a file of figures."""
    path.write_text(json.dumps([asdict(each) for each in figures], indent=1) + "\n")


def read(path: Path = FIGURES) -> list[Figure]:
    """Return the figures of a file."""
    return [Figure(**each) for each in json.loads(path.read_text())]
