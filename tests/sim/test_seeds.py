"""Each test run simulates some of the swarms of ``make sim-ci``, and of those that once failed."""

import os
from collections.abc import Sequence
from dataclasses import replace

import pytest
from thoroughness import IS_THOROUGH

from sim.scenario import SCENARIOS
from sim.seeds import SeedJob, ci_jobs, default_processes, failed_seeds, how_to_replay, run_seeds

PROCESSES = int(os.environ.get("ALVEARY_SIM_PROCESSES", "0")) or default_processes()


def failures(jobs: Sequence[SeedJob]) -> list[str]:
    """Readable accounts of the runs in which something did not hold."""
    return [
        f"{report.scenario}, seed {report.seed}: {'; '.join(report.violations[:3])}\n"
        f"  operations {report.counts}\n  faults {report.faults}\n"
        f"  again: {how_to_replay(report)}"
        for report in run_seeds(jobs, PROCESSES)
        if not report.holds
    ]


@pytest.mark.timeout(900)
def test_everything_holds_in_a_sample_of_every_scenario() -> None:
    everything, jobs = ci_jobs(), ci_jobs(is_sample=not IS_THOROUGH)
    assert len(everything) >= 200
    assert len(jobs) >= 40
    assert {job.scenario.name for job in jobs} == {job.scenario.name for job in everything}
    assert not (found := failures(jobs)), "\n".join(found)


@pytest.mark.timeout(600)
def test_what_once_failed_holds() -> None:
    assert not (found := failures(failed_seeds(is_sample=not IS_THOROUGH))), "\n".join(found)


def test_an_idle_swarm_is_cheap_and_quiet() -> None:
    reports = list(run_seeds([SeedJob(replace(SCENARIOS["idle"], minutes=5), 1)], 1))
    assert [each.violations for each in reports] == [[]]
    assert reports[0].virtual_s > 300
