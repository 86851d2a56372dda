"""Many seeds over several processes, and the file of seeds that once failed."""

from __future__ import annotations

import concurrent.futures
import json
import multiprocessing
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from common.data_classes import dataclass
from sim.run import Report, run_scenario
from sim.scenario import SCENARIOS, Scenario

FAILED_SEEDS: Final = Path(__file__).parent / "failed_seeds.json"
"""Seeds that found a bug of the product, replayed by ``make sim-ci``. A list of objects:
``scenario``, ``minutes``, ``seed``, ``found`` (what went wrong, in a sentence), ``fix`` (what was
changed) and ``every_run`` (``make test`` replays it, too)."""
CI_MINUTES: Final = 0.5
CI_SEEDS: Final[Mapping[str, range]] = {
    "small": range(1, 91),
    "crashes-small": range(1, 36),
    "network-small": range(1, 31),
    "disks-small": range(1, 31),
    "cuts-small": range(1, 11),
    "liars-small": range(1, 6),
    "calm": range(1, 6),
    "three-boxes": range(1, 6),
    "liars": range(1, 9),
    "greedy": range(1, 5),
    "older-store": range(1, 6),
    "churn-small": range(1, 16),
    "moves": range(1, 11),
    "moves-lies": range(1, 6),
    "flapping": range(1, 4),
    "hollow": range(1, 4),
    "classes": range(1, 6),
    "classes-calm": range(1, 4),
    "versions": range(1, 11),
    "lifecycle": range(1, 9),
    "lifecycle-calm": range(1, 4),
    "journal": range(1, 11),
    "journaled-small": range(1, 9),
    "journaled-boxes": range(1, 9),
    "takeover": range(1, 9),
}
"""The seeds that ``make sim-ci`` simulates: 326, short, because bugs show in the first minutes or
are rare."""
SAMPLED: Final = 8
"""``make test`` simulates the first of so many of them, of each scenario."""
WHOLE_IN_CI: Final = frozenset(
    {
        "liars",
        "greedy",
        "older-store",
        "churn-small",
        "moves",
        "moves-lies",
        "flapping",
        "hollow",
        "classes",
        "classes-calm",
        "journal",
    }
)
"""Scenarios in which something takes its time: not cut short."""


@dataclass(frozen=True, slots=True)
class SeedJob:
    """One seed of one scenario. ``keeps_events``: also those of a run in which all held."""

    scenario: Scenario
    seed: int
    keeps_events: bool = False


def _run(job: SeedJob) -> Report:
    report = run_scenario(job.scenario, job.seed)
    if report.holds and not job.keeps_events:
        report.events = []
    return report


def run_seeds(
    jobs: Iterable[SeedJob], processes: int, *, until_s: float | None = None
) -> Iterator[Report]:
    """Run jobs in worker processes; reports come as they finish.

    Args:
        jobs: may be endless; only a few are taken ahead.
        processes: how many run at once; 1 runs in this process.
        until_s: ``time.monotonic()`` after which no new job is begun.
    """

    def in_time() -> bool:
        return until_s is None or time.monotonic() < until_s

    waiting = iter(jobs)
    if processes == 1:
        for job in waiting:
            if not in_time():
                return
            yield _run(job)
        return
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(
        processes, mp_context=context, max_tasks_per_child=50
    ) as pool:
        running: set[concurrent.futures.Future[Report]] = set()
        exhausted = False
        while running or not exhausted:
            while not exhausted and len(running) < 2 * processes:
                following = next(waiting, None)
                if following is None or not in_time():
                    exhausted = True
                else:
                    running.add(pool.submit(_run, following))
            done, running = concurrent.futures.wait(
                running, return_when=concurrent.futures.FIRST_COMPLETED
            )
            for future in done:
                yield future.result()


def failed_seeds(*, is_sample: bool = False) -> list[SeedJob]:
    """The jobs of the file of failed seeds; of a sample those alone that every test run replays."""
    if not FAILED_SEEDS.exists():
        return []
    jobs = []
    for entry in json.loads(FAILED_SEEDS.read_text()):
        if is_sample and not entry["every_run"]:
            continue
        scenario = replace(SCENARIOS[entry["scenario"]], minutes=float(entry["minutes"]))
        jobs.append(SeedJob(scenario, int(entry["seed"])))
    return jobs


def ci_jobs(*, is_sample: bool = False) -> list[SeedJob]:
    """The jobs of :data:`CI_SEEDS`; of a sample one in :data:`SAMPLED` of each scenario."""
    return [
        SeedJob(
            SCENARIOS[name]
            if name in WHOLE_IN_CI
            else replace(SCENARIOS[name], minutes=CI_MINUTES),
            seed,
        )
        for name, seeds in CI_SEEDS.items()
        for seed in (seeds[: -(-len(seeds) // SAMPLED)] if is_sample else seeds)
    ]


def how_to_replay(report: Report) -> str:
    """The command that repeats a run."""
    return (
        f"python -m sim --scenario {report.scenario} --seed {report.seed}"
        f" --minutes {report.minutes:g} --pictures ."
    )


def default_processes() -> int:
    """One per core."""
    return os.cpu_count() or 1
