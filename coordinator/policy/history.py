"""Check that a store is the one that its swarm knows, and not an older copy or a fork. Pure.

Source: docs/placement.md, "The store's history"; docs/decisions/0005-store-generation.md.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from enum import Enum

from common import limits
from common.crypto.positions import Position
from common.data_classes import dataclass


class Standing(Enum):
    """The standing of a store against what its swarm has seen."""

    CURRENT = "current"
    """It has everything that any cell or gateway has reported."""
    FORKED = "forked"
    """Another copy of it was run too. This one has more of what both had in common: it serves,
    and has nothing deleted until an operator has said which one counts."""
    BEHIND = "behind"
    """Newer transactions than its own were acknowledged: it serves nothing, and has nothing
    deleted."""


@dataclass(frozen=True, slots=True)
class CoordinatorRun:
    """A start of a coordinator on this store. ``begun``: the transaction that noted it.
    ``reached``: its last transaction, where other runs go on beside it; else it ends where the next
    one begins."""

    run: int
    run_id: bytes
    begun: int
    reached: int = 0


class Past:
    """The history that a store holds.

    Args:
        runs: all of them, the first first.
        accepted: runs whose loss an operator has accepted.
        own: of a store that several processes share, the run of this one: runs go on beside each
            other there. None: one run follows the other.
    """

    def __init__(
        self,
        runs: Iterable[CoordinatorRun],
        accepted: Collection[bytes],
        *,
        own: bytes | None = None,
    ) -> None:
        self.runs = tuple(runs)
        self.accepted = frozenset(accepted)
        self._begun = {each.run: each.begun for each in self.runs}
        self._own = own
        if own is None:
            self._ends = {
                each.run_id: later.begun - 1
                for each, later in zip(self.runs, self.runs[1:], strict=False)
            }
        else:
            self._ends = {each.run_id: max(each.begun, each.reached) for each in self.runs}
        self._ends.update(dict.fromkeys(self.accepted, limits.MAX_UINT))

    @property
    def current(self) -> CoordinatorRun | None:
        """The run that goes on in this process; None before it has begun."""
        if self._own is None:
            return self.runs[-1] if self.runs else None
        return next((each for each in reversed(self.runs) if each.run_id == self._own), None)

    def end(self, run_id: bytes, commit: int) -> int:
        """The last transaction of a run in this history; 0 if it is not in it.

        Args:
            run_id: the run.
            commit: the last durable transaction of the store.
        """
        if (current := self.current) is not None and run_id == current.run_id:
            return max(commit, self._ends.get(run_id, 0))
        return self._ends.get(run_id, 0)

    def has(self, position: Position, commit: int) -> bool:
        """Return whether the history goes at least as far as a position."""
        return position.commit <= self.end(position.run_id, commit)

    def begun(self, run: int, commit: int) -> int:
        """Return the transaction at which this history's own run of a number began, or would begin
        now."""
        return self._begun.get(run, commit + 1)


def judge(past: Past, commit: int, told: Collection[Position]) -> Standing:
    """Compare a store with what its swarm has seen.

    Two histories part where one coordinator's run was followed by a different one in each. The one
    that goes further before that point lacks nothing that was acknowledged before it; where both
    go equally far, the one with more transactions counts as the further one. This only decides
    which one may serve; neither may have anything deleted.

    Args:
        past: the store's history.
        commit: its last durable transaction.
        told: positions that peers have reported, genuine ones.

    Returns:
        The store's standing.
    """
    missing = [each for each in told if not past.has(each, commit)]
    if not missing:
        return Standing.CURRENT
    if any(past.end(each.run_id, commit) for each in missing):
        return Standing.BEHIND  # a run that it has went further than it knows
    first = min(missing, key=lambda each: each.run)
    ours = (past.begun(first.run, commit), commit)
    theirs = (first.begun, max(each.commit for each in missing))
    return Standing.FORKED if ours > theirs else Standing.BEHIND


def lacking(past: Past, commit: int, told: Collection[Position]) -> int:
    """Count the transactions that a store's swarm has seen and the store lacks: at least so many.

    Args:
        past: the store's history.
        commit: its last durable transaction.
        told: positions that peers have reported, genuine ones.

    Returns:
        Their number; 0 where the store is current.
    """
    missing = [each for each in told if not past.has(each, commit)]
    if not missing:
        return 0
    first = min(missing, key=lambda each: each.run)
    parted = past.end(first.run_id, commit) or min(first.begun, past.begun(first.run, commit)) - 1
    return max(each.commit for each in missing) - parted
