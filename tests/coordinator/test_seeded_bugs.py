"""Seeded bugs, one at a time, each found by one of the tests of its subject.

``python -m pytest -m slow tests/coordinator/test_seeded_bugs.py`` tries all, some seconds each;
``-k moves`` those of one subject. As a program it writes the table of docs/simulation.md.
"""

import re
import sys
from pathlib import Path

import pytest
from seeded_bug import FOUND_BY, LISTINGS, MUTANTS, OF_REPAIR, TESTS, compile_all, run_tests

from sim.mutation import load_mutants

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "simulation.md"
TABLE = re.compile("(<!-- table: bugs that tests find -->\n)(.*?)(<!-- end -->)", re.DOTALL)
BUGS = [(subject, name) for subject in LISTINGS for name in MUTANTS[subject]]


@pytest.mark.parametrize("subject", LISTINGS)
def test_each_seeded_bug_applies(subject):
    assert len(MUTANTS[subject]) == LISTINGS[subject].read_text().count("[[mutant]]")
    compile_all(MUTANTS[subject])


def test_each_seeded_bug_has_a_name_of_its_own():
    assert len({name for _, name in BUGS}) == len(BUGS)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("subject", "name"), BUGS)
def test_a_seeded_bug_is_found(subject, name):
    test = FOUND_BY[subject].get(name)
    done = run_tests(name, [ROOT / test] if test else TESTS[subject])
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout[-2000:] + done.stderr


@pytest.mark.parametrize("subject", OF_REPAIR)
def test_each_seeded_bug_of_repair_names_a_test_that_there_is(subject):
    assert FOUND_BY[subject].keys() == MUTANTS[subject].keys()
    for found_by in FOUND_BY[subject].values():
        path, _, name = found_by.partition("::")
        assert re.search(rf"^(async )?def {name}\(", (ROOT / path).read_text(), re.MULTILINE), (
            found_by
        )


def row(subject, name, scenario):
    """One row of the table."""
    place, test = MUTANTS[subject][name].modules[0], FOUND_BY[subject][name].rpartition("::")[2]
    return f"| {name.replace('-', ' ')} | `{place}` | {scenario} | `{test}` |"


def table():
    """The seeded bugs of repair, each with what finds it, as a table of Markdown."""
    listing = load_mutants(ROOT / "tests" / "sim" / "mutants.toml")
    scenarios = {mutant.name: mutant.scenario for mutant in listing}
    head = [
        "| What is broken | Where | Also by a seed of | Found by |",
        "| --- | --- | --- | --- |",
    ]
    rows = [
        row(subject, name, scenarios.get(name, "-"))
        for subject in OF_REPAIR
        for name in MUTANTS[subject]
    ]
    return "\n".join([*head, *rows]) + "\n"


def test_the_page_says_what_finds_each_seeded_bug_of_repair():
    found = TABLE.search(PAGE.read_text())
    assert found is not None
    assert found[2] == table(), f"run {Path(__file__).name} as a program"


def write_page():
    page = PAGE.read_text()
    PAGE.write_text(TABLE.sub(lambda found: found[1] + table() + found[3], page))


if __name__ == "__main__":
    sys.exit(write_page())
