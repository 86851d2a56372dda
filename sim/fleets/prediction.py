"""``python -m sim.fleets.prediction``: evaluate predictions, and write down the figures of
docs/prediction.md.

Source: docs/prediction.md, "Evaluation".
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Final

from sim.fleets.disks import Worth, evaluate

PREDICTIONS: Final = Path(__file__).parent / "prediction.json"
DISKS: Final = 5_000


def read() -> dict[str, dict[str, Worth]]:
    """Return the figures of the file: by population and rule."""
    told = json.loads(PREDICTIONS.read_text())
    return {
        population: {rule: Worth(**worth) for rule, worth in rules.items()}
        for population, rules in told.items()
    }


def main() -> None:
    """Evaluate all rules in all populations."""
    parser = argparse.ArgumentParser(prog="sim.fleets.prediction", description=main.__doc__)
    parser.add_argument("--disks", type=int, default=DISKS, help="of each population")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    found = evaluate(arguments.disks, arguments.seed)
    told = {
        population: {rule: asdict(worth) for rule, worth in rules.items()}
        for population, rules in found.items()
    }
    PREDICTIONS.write_text(json.dumps(told, indent=1) + "\n")
    sys.stdout.write(PREDICTIONS.read_text())


if __name__ == "__main__":
    main()
