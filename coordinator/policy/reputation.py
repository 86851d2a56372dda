"""Reputation of cells: what follows from the results of their audits.

Pure. A cell is warned before it is suspended, and trusted again once enough audits in a row have
passed. Being away counts nothing.

Source: docs/repair.md, "Reputation".
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from common.data_classes import dataclass
from coordinator.policy.audit import WORDS, Finding

WINDOW: Final = 60
"""Audits that are remembered: one bit each in an integer of the store."""
_MASK: Final = (1 << WINDOW) - 1


class Trust(StrEnum):
    """The trust in a cell."""

    GOOD = "good"
    WARNED = "warned"
    """Lately an audit failed: nothing follows from it yet."""
    SUSPENDED = "suspended"
    """It gets no new shards; what it holds is read from it."""


@dataclass(frozen=True, slots=True)
class Thresholds:
    """The operator's rules.

    ``suspend_failures``: failures among the audits remembered that suspend; at least 2, so that a
    cell is warned first. ``recover_passes``: audits in a row that restore trust; at most WINDOW.
    """

    suspend_failures: int = 3
    recover_passes: int = 30


@dataclass(frozen=True, slots=True)
class Reputation:
    """The latest audits of a cell.

    ``recent``: one bit for each, the latest the lowest; 1: failed. ``audits``: how many.
    """

    trust: Trust = Trust.GOOD
    recent: int = 0
    audits: int = 0

    @property
    def failures(self) -> int:
        """Of the audits remembered."""
        return self.recent.bit_count()


@dataclass(frozen=True, slots=True)
class TrustRecord:
    """A reputation, with the reason of a warning or suspension; empty: there is none."""

    reputation: Reputation = Reputation()
    reason: str = ""


def after(known: Reputation, finding: Finding, rules: Thresholds) -> Reputation:
    """Return a cell's reputation after one more audit."""
    recent = (known.recent << 1 | (finding is not Finding.PASSED)) & _MASK
    audits = min(known.audits + 1, WINDOW)
    if not recent:
        return Reputation(Trust.GOOD, 0, audits)
    has_recovered = audits >= rules.recover_passes and not recent % (1 << rules.recover_passes)
    if has_recovered:
        return Reputation(Trust.GOOD, 0, rules.recover_passes)
    trust = known.trust
    if trust is Trust.WARNED and recent.bit_count() >= rules.suspend_failures:
        trust = Trust.SUSPENDED
    elif trust is Trust.GOOD:
        trust = Trust.WARNED
    return Reputation(trust, recent, audits)


def explain(reputation: Reputation, last_failure: Finding) -> str:
    """Return the reason of a warning or suspension, for the cell's owner.

    Args:
        last_failure: what the last audit that failed found.
    """
    return (
        f"{reputation.failures} of the last {reputation.audits} audits failed:"
        f" {WORDS[last_failure]}"
    )
