"""``python -m sim.fleets``: simulate the fleets of docs/durability.md, and write down the figures.

Source: docs/durability.md, "Simulated fleets".
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys

from sim.fleets.figures import CLASSES, FLEETS, RUNS, figure_of, write


def main() -> None:
    """Run all classes in all fleets, over all processors."""
    parser = argparse.ArgumentParser(prog="sim.fleets", description=main.__doc__)
    parser.add_argument("--runs", type=int, default=RUNS, help="runs of each, 2 or more")
    parser.add_argument("--dry", action="store_true", help="do not write the figures down")
    arguments = parser.parse_args()
    jobs = [(fleet, k, n, arguments.runs) for fleet in FLEETS for k, n in CLASSES]
    found = []
    with multiprocessing.get_context("spawn").Pool() as pool:
        for each in pool.imap(figure_of, jobs):
            sys.stdout.write(f"{each}\n")
            sys.stdout.flush()
            found.append(each)
    if not arguments.dry:
        write(found)


if __name__ == "__main__":
    main()
