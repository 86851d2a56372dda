"""A seed decides everything: the same one gives the same run, in this process and in another."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sim.run import run_scenario
from sim.scenario import SCENARIOS

ROOT = Path(__file__).parent.parent.parent
RUN = """
import dataclasses, json, sys
from sim.run import run_scenario
from sim.scenario import SCENARIOS

for name, seed in json.loads(sys.argv[1]):
    report = run_scenario(dataclasses.replace(SCENARIOS[name], minutes=0.5), seed)
    report.real_s = 0
    print(json.dumps(dataclasses.asdict(report), default=repr))
"""
SAMPLE = [("small", 11), ("three-boxes", 12), ("everything", 13), ("crashes-small", 19)]
SAMPLE += [("lifecycle", 2), ("liars", 3), ("greedy", 3), ("older-store", 2)]


def short(name):
    return dataclasses.replace(SCENARIOS[name], minutes=0.5)


def in_a_process(runs, hash_seed):
    """The reports of short runs in another process, under another order of hashes."""
    done = subprocess.run(
        [sys.executable, "-c", RUN, json.dumps(runs)],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": str(hash_seed)},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_seed_repeats_in_one_process():
    first, second = (run_scenario(short("small"), 5) for _ in range(2))
    assert first.digest == second.digest
    assert (first.steps, first.virtual_s, first.counts, first.faults) == (
        second.steps,
        second.virtual_s,
        second.counts,
        second.faults,
    )
    assert [dataclasses.astuple(each) for each in first.events] == [
        dataclasses.astuple(each) for each in second.events
    ]


def test_another_seed_is_another_run():
    digests = {run_scenario(short("small"), seed).digest for seed in range(20, 22)}
    assert len(digests) == 2


@pytest.mark.timeout(300)
def test_seeds_repeat_in_another_process_under_another_order_of_hashes():
    once, again = (in_a_process(SAMPLE, hash_seed) for hash_seed in (1, 4242))
    assert len(once) == len(again) == len(SAMPLE)
    for one, two in zip(once, again, strict=True):
        assert one == two, one["scenario"]


def test_a_run_repeats_whatever_ran_before_it():
    (alone,) = in_a_process([("small", 31)], 0)
    run_scenario(short("crashes"), 30)
    assert run_scenario(short("small"), 31).digest == alone["digest"]
