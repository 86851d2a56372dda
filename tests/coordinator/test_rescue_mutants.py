"""The tests of rescues would see it: seeded bugs, one at a time, each found by one of them.

``python -m pytest -m slow tests/coordinator/test_rescue_mutants.py`` tries all.
"""

from pathlib import Path

import pytest
from seeded_bug import RESCUE, compile_all, load, run_tests

HERE = Path(__file__).parent
MUTANTS = load(RESCUE)
TESTS = [
    HERE.parent / "common" / "format" / "test_journal_records.py",
    HERE / "test_restoring_store.py",
    HERE.parent / "rescue",
]


def test_each_seeded_bug_applies():
    assert len(MUTANTS) == RESCUE.read_text().count("[[mutant]]")
    compile_all(MUTANTS)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", MUTANTS)
def test_a_seeded_bug_is_found(name):
    done = run_tests(name, TESTS)
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout[-2000:] + done.stderr
