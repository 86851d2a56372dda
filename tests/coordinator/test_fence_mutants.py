"""The tests of fences would see it: seeded bugs that ignore a fence, each found by one of them.

``python -m pytest -m slow tests/coordinator/test_fence_mutants.py`` tries all, some seconds each.
"""

from pathlib import Path

import pytest
from seeded_bug import FENCES, compile_all, load, run_tests

HERE = Path(__file__).parent
MUTANTS = load(FENCES)


def test_each_seeded_bug_applies():
    assert len(MUTANTS) == FENCES.read_text().count("[[mutant]]")
    compile_all(MUTANTS)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", MUTANTS)
def test_a_seeded_bug_is_found(name):
    done = run_tests(name, [HERE / "test_fences.py"])
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout[-2000:] + done.stderr
