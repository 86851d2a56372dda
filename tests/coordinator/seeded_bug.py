"""A plugin of pytest: the bug that SEEDED_BUG names is in the product that the tests import."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

from sim.mutation import Change, Mutant, install

HERE = Path(__file__).parent
LISTING = HERE / "moves_mutants.toml"
AUDITS = HERE / "audit_mutants.toml"
FENCES = HERE / "fence_mutants.toml"
JOURNAL = HERE / "journal_mutants.toml"
STANDBY = HERE / "standby_mutants.toml"
RESCUE = HERE / "rescue_mutants.toml"


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


def compile_all(mutants):
    """Apply each seeded bug to the source of the product, and run nothing of it."""
    for mutant in mutants.values():
        for module in mutant.modules:
            compile(mutant.source(module), mutant.name, "exec")


def run_tests(name, tests):
    """Run tests in a process with a seeded bug, up to the first that fails."""
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "seeded_bug", *tests],
        cwd=HERE.parent.parent,
        env={**os.environ, "SEEDED_BUG": name, "PYTHONPATH": f"{HERE}:."},
        capture_output=True,
        text=True,
        check=False,
    )


if "SEEDED_BUG" in os.environ:
    listings = (LISTING, AUDITS, FENCES, JOURNAL, RESCUE, STANDBY)
    install(
        {name: each for listing in listings for name, each in load(listing).items()}[
            os.environ["SEEDED_BUG"]
        ]
    )
