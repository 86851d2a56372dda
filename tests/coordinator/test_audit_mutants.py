"""The tests of audits would see it: seeded bugs, one at a time, each found by one of them.

``python -m pytest -m slow tests/coordinator/test_audit_mutants.py`` tries all, some seconds each.
"""

from pathlib import Path

import pytest
from seeded_bug import AUDITS, compile_all, load, run_tests

HERE = Path(__file__).parent
MUTANTS = load(AUDITS)
TESTS = [
    HERE / "test_audit_policy.py",
    HERE / "test_reputation.py",
    HERE / "test_audits.py",
    HERE.parent / "cell" / "test_cell_audit.py",
    HERE.parent / "common" / "format" / "test_evidence.py",
]


def test_each_seeded_bug_of_audits_applies():
    assert len(MUTANTS) == AUDITS.read_text().count("[[mutant]]")
    compile_all(MUTANTS)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", MUTANTS)
def test_a_seeded_bug_of_audits_is_found(name):
    done = run_tests(name, TESTS)
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout[-2000:] + done.stderr
