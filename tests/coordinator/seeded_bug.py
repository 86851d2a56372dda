"""A plugin of pytest: the bug that SEEDED_BUG names is in the product that the tests import."""

import os
import tomllib
from pathlib import Path

from sim.mutation import Change, Mutant, install

LISTING = Path(__file__).parent / "moves_mutants.toml"
AUDITS = Path(__file__).parent / "audit_mutants.toml"


def load(listing=LISTING):
    """The seeded bugs of a listing by name."""
    with listing.open("rb") as file:
        entries = tomllib.load(file)["mutant"]
    return {
        each["name"]: Mutant(
            each["name"],
            (Change(each["module"], each["old"], each["new"]),),
            scenario="",
            seed=0,
            minutes=0.0,
        )
        for each in entries
    }


if "SEEDED_BUG" in os.environ:
    install((load() | load(AUDITS))[os.environ["SEEDED_BUG"]])
