"""The tests of standbys would see it: seeded bugs, one at a time, each found by one of them.

``python -m pytest -m slow tests/coordinator/test_standby_mutants.py`` tries all.
"""

from pathlib import Path

import pytest
from seeded_bug import STANDBY, compile_all, load, run_tests

HERE = Path(__file__).parent
MUTANTS = load(STANDBY)
TESTS = [
    HERE / "test_standby_policy.py",
    HERE / "test_standby.py",
    HERE / "test_journal.py",
    HERE.parent / "cell" / "test_cell_journal.py",
]


def test_each_seeded_bug_applies():
    assert len(MUTANTS) == STANDBY.read_text().count("[[mutant]]")
    compile_all(MUTANTS)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", MUTANTS)
def test_a_seeded_bug_is_found(name):
    done = run_tests(name, TESTS)
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout[-2000:] + done.stderr
