"""The simulator would see it: seeded bugs, one at a time, each found by its seed.

A change of the product moves what a seed does, so a few seeds after the recorded one count too;
``make mutants`` looks for all of them from seed 1 on and writes down the first that finds each.
"""

import concurrent.futures
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from thoroughness import quick_or

from sim.mutants import with_table
from sim.mutation import MOST_SEEDS, Mutant, load_mutants
from sim.scenario import SCENARIOS
from sim.seeds import SeedJob, default_processes, run_seeds

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
LISTING = HERE / "mutants.toml"
MUTANTS = load_mutants(LISTING)
QUICK_MINUTES = 1.0
MORE_SEEDS = 4
RUNS_ALL = bool(os.environ.get("ALVEARY_ALL_MUTANTS"))


def is_quick(mutant: Mutant) -> bool:
    """Found without any fault, in seconds: every other one of these is in the default run."""
    return mutant.scenario == "calm" and mutant.minutes <= QUICK_MINUTES


QUICK = [each for each in MUTANTS if is_quick(each)]
CHOSEN = MUTANTS if RUNS_ALL else QUICK[:: quick_or(2, 1)]


def test_there_are_enough_mutants_and_each_applies() -> None:
    assert len(MUTANTS) >= 20
    assert len({each.name for each in MUTANTS}) == len(MUTANTS)
    for mutant in MUTANTS:
        for module in mutant.modules:
            compile(mutant.source(module), mutant.name, "exec")
        assert mutant.scenario in SCENARIOS
        assert 1 <= mutant.seed <= MOST_SEEDS


def run_mutant(mutant: Mutant) -> tuple[bool, str]:
    """Whether a process with the seeded bug finds it, and what it says."""
    last = mutant.seed + (MORE_SEEDS if not RUNS_ALL else MOST_SEEDS - mutant.seed)
    done = subprocess.run(
        [sys.executable, "-m", "sim.mutation", LISTING, mutant.name, str(mutant.seed), str(last)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=1500,
        check=False,
    )
    return done.returncode == 0, done.stdout + done.stderr[-2000:]


@pytest.mark.timeout(3600)
def test_every_mutant_is_found() -> None:
    with concurrent.futures.ThreadPoolExecutor(default_processes()) as pool:
        verdicts = list(pool.map(run_mutant, CHOSEN))
    missed = [words for is_found, words in verdicts if not is_found]
    assert not missed, "\n".join(missed)


@pytest.mark.timeout(900)
def test_the_product_itself_passes_the_seeds_that_find_the_mutants() -> None:
    chosen = sorted({(each.scenario, each.minutes, each.seed) for each in CHOSEN})
    jobs = [
        SeedJob(replace(SCENARIOS[name], minutes=minutes), seed) for name, minutes, seed in chosen
    ]
    failed = [
        f"{report.scenario} {report.minutes:g} {report.seed}: {report.violations[:2]}"
        for report in run_seeds(jobs, default_processes())
        if not report.holds
    ]
    assert not failed, "\n".join(failed)


def test_the_page_has_the_table_of_the_list() -> None:
    page = (ROOT / "docs" / "simulation.md").read_text()
    assert page == with_table(page, MUTANTS), "run make mutants"
