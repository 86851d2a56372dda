"""Seeded bugs, one at a time, each found by one of the tests of its subject.

``python -m pytest -m slow tests/coordinator/test_seeded_bugs.py`` tries all, some seconds each;
``-k moves`` those of one subject.
"""

import pytest
from seeded_bug import LISTINGS, MUTANTS, TESTS, compile_all, run_tests

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
    done = run_tests(name, TESTS[subject])
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout[-2000:] + done.stderr
