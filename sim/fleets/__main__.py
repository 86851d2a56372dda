"""``python -m sim.fleets``: simulate the fleets of docs/durability.md, and write down the figures.

Source: docs/durability.md, "Simulated fleets".
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys

from sim.fleets.figures import (
    FIGURES,
    RUNS,
    SMALL_FIGURES,
    figure_of,
    jobs,
    small_jobs,
    write,
)


def main() -> None:
    """Run all classes in all fleets, and the recommended ones of small swarms, over all
    processors."""
    parser = argparse.ArgumentParser(prog="sim.fleets", description=main.__doc__)
    parser.add_argument("--runs", type=int, default=RUNS, help="runs of each, 2 or more")
    parser.add_argument("--dry", action="store_true", help="do not write the figures down")
    parser.add_argument("--only", choices=("large", "small"), help="only these")
    asked = parser.parse_args()
    with multiprocessing.get_context("spawn").Pool() as pool:
        for kind, path, work in (
            ("large", FIGURES, jobs()),
            ("small", SMALL_FIGURES, small_jobs()),
        ):
            if asked.only not in (None, kind):
                continue
            found = []
            for each in pool.imap(figure_of, [(*job, asked.runs) for job in work]):
                sys.stdout.write(f"{each}\n")
                sys.stdout.flush()
                found.append(each)
            if not asked.dry:
                write(found, path)


if __name__ == "__main__":
    main()
