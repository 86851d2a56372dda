"""``python -m sim.fleets.large``: one fleet of any size, with the figures of its run.

Source: docs/durability.md, "A fleet of 100,000 cells".
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from dataclasses import replace

from sim.fleets.engine import simulate
from sim.fleets.figures import FLEETS, SHOCKS
from sim.fleets.options import Shocks
from sim.fleets.report import FleetReport


def described(report: FleetReport) -> str:
    """Return the figures of a run, for people."""
    return "\n".join(
        (
            f"rings                         {report.rings}",
            f"cells that died               {report.cells_died}",
            f"slots moved                   {report.slots_moved}",
            f"rings lost                    {report.rings_lost}",
            f"  a ring and year, counted    {report.lost_per_ring_year:.3g}",
            f"  a ring and year, expected   {report.expected_per_ring_year:.3g}",
            f"a slot is filled after        {report.fill_h:.0f} h",
            f"  the longest                 {report.longest_queue_h:.0f} h",
            f"moved a year for each TB      {report.moved_per_stored:.2f} TB",
            f"each cell, in and out         {report.bits_per_s_of_cell / 1e6:.2f} Mbit/s",
            f"unreadable                    {1 - report.availability:.2g}",
        )
    )


def main() -> None:
    """Simulate one fleet, on one core."""
    parser = argparse.ArgumentParser(prog="sim.fleets.large", description=main.__doc__)
    parser.add_argument("--fleet", choices=sorted(FLEETS), default="servers")
    parser.add_argument("--cells", type=int, default=100_000)
    parser.add_argument("--sites", type=int, default=1_000)
    parser.add_argument("--years", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--shocks", action="store_true", help="as often as they are taken to be")
    asked = parser.parse_args()
    options = replace(
        FLEETS[asked.fleet],
        cells=asked.cells,
        sites=asked.sites,
        years=asked.years,
        shocks=SHOCKS if asked.shocks else Shocks(),
    )
    begun = time.process_time()
    report = simulate(options, asked.seed)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    sys.stdout.write(described(report) + "\n")
    sys.stdout.write(f"{time.process_time() - begun:.0f} s of one core, {memory:.0f} MiB\n")


if __name__ == "__main__":
    main()
