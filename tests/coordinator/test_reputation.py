"""Reputation: a cell is warned, then suspended, and recovers."""

from __future__ import annotations

import pytest

from coordinator.policy.audit import WORDS, Finding
from coordinator.policy.reputation import (
    WINDOW,
    Reputation,
    Thresholds,
    Trust,
    after,
    explain,
)

RULES = Thresholds(suspend_failures=3, recover_passes=30)
LETTERS = {"g": Trust.GOOD, "w": Trust.WARNED, "S": Trust.SUSPENDED}


def audited(
    outcomes: str, rules: Thresholds = RULES, known: Reputation | None = None
) -> Reputation:
    """The reputation after audits: ``.`` passed, ``x`` failed."""
    reputation = known or Reputation()
    for each in outcomes:
        finding = Finding.PASSED if each == "." else Finding.WRONG_UNIT
        reputation = after(reputation, finding, rules)
    return reputation


@pytest.mark.parametrize(
    ("outcomes", "trust"),
    [
        ("", "g"),
        ("." * 200, "g"),
        ("x", "w"),
        ("." * 100 + "x", "w"),
        ("xx", "w"),
        ("xxx", "S"),
        ("x" + "." * 20 + "x" + "." * 20 + "x", "S"),
        ("x" + "." * 29, "w"),
        ("x" + "." * 30, "g"),
        # Failures that are further apart than the audits that restore trust never add up.
        (("x" + "." * 30) * 5, "g"),
        # The first of three has left the window.
        ("x" + "." * 29 + "x" + "." * 29 + "x", "w"),
        ("xxx" + "." * 29, "S"),
        ("xxx" + "." * 30, "g"),
        ("xxx" + "." * 29 + "x" + "." * 29, "S"),
        # Suspended once, it stays so until enough have passed, whatever leaves the window.
        ("xxx" + ("." * 25 + "x") * 6, "S"),
        ("xxx" + "." * 30 + "x", "w"),
    ],
)
def test_what_follows_from_audits(outcomes: str, trust: str) -> None:
    assert audited(outcomes).trust is LETTERS[trust]


@pytest.mark.parametrize("failures", range(2, 8))
def test_a_cell_is_warned_before_it_is_suspended(failures: int) -> None:
    rules = Thresholds(suspend_failures=failures, recover_passes=10)
    seen = [audited("x" * count, rules).trust for count in range(1, failures + 1)]
    assert seen == [Trust.WARNED] * (failures - 1) + [Trust.SUSPENDED]


@pytest.mark.parametrize("finding", [each for each in Finding if each is not Finding.PASSED])
def test_whatever_was_found_counts_as_one_failure(finding: Finding) -> None:
    reputation = after(Reputation(), finding, RULES)
    assert (reputation.trust, reputation.failures, reputation.audits) == (Trust.WARNED, 1, 1)


def test_only_the_window_is_remembered() -> None:
    reputation = audited("x." * WINDOW)
    assert reputation.audits == WINDOW
    assert reputation.failures == WINDOW // 2
    assert reputation.recent < 1 << WINDOW


def test_an_owner_is_told_how_many_failed_and_why() -> None:
    text = explain(audited("..x.x"), Finding.NOT_HELD)
    assert text == f"2 of the last 5 audits failed: {WORDS[Finding.NOT_HELD]}"
    assert set(WORDS) == set(Finding)
