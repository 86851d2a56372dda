"""Decision when a segment's write is done, which slots it still waits for, and which it cuts.

Pure. ``common/client/write_segment_stream.py`` and ``write_segment_small.py`` carry it out.

Source: docs/data-path.md, "Write quorum" and "Slow slots".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from enum import Enum
from typing import Final

from common.data_classes import dataclass

STRAGGLER_FLOOR_S: Final = 3.0
"""A slot that is cut misses its shard until it is rebuilt: a busy machine must not cost redundancy,
only a hung one."""
STRAGGLER_CEILING_S: Final = 5.0
STALL_S: Final = 3.0
"""Time that one slot may delay a segment before it is cut ..."""
STALL_SHARE: Final = 0.25
"""... and this share of the time spent on the segment so far."""
SUSPECT_STRAGGLER_S: Final = 0.1
"""Time for slots that failed or hung just before, when no other slot is waited for."""


class Verdict(Enum):
    """The next step for a segment."""

    WAIT = "wait"
    DONE = "done"
    """The quorum is durable and nobody is worth waiting for: cut who is still live."""
    LOST = "lost"
    """The quorum cannot be reached any more."""


@dataclass(slots=True)
class PutQuorum:
    """The slots of one segment being written: live at first, then durable or lost.

    Args:
        n: slots of the ring.
        quorum: how many must be durable before the segment counts, 1..n.
        suspects: slots whose cells failed or hung just now.
    """

    n: int
    quorum: int
    suspects: frozenset[int] = frozenset()
    durable: set[int] = field(default_factory=set)
    lost: set[int] = field(default_factory=set)
    quorum_at: float | None = None
    sent_at: float = 0.0

    def live(self) -> list[int]:
        """Slots neither durable nor lost, in order."""
        return [s for s in range(self.n) if s not in self.durable and s not in self.lost]

    def all_sent(self, now: float) -> None:
        """Note that the last stripe was handed to the slots: from here on the quorum's time is
        taken."""
        self.sent_at = now

    def slot_is_durable(self, slot: int, now: float) -> None:
        """Note that a slot acknowledged its shard. One that was cut before stays lost: its
        acknowledgement came too late to be distinguishable from a stale one."""
        if slot in self.lost:
            return
        self.durable.add(slot)
        if self.quorum_at is None and len(self.durable) >= self.quorum:
            self.quorum_at = now

    def slot_is_lost(self, slot: int) -> None:
        """Note that a slot failed or was cut. A durable one stays durable."""
        if slot not in self.durable:
            self.lost.add(slot)

    def verdict(self, now: float) -> tuple[Verdict, float | None]:
        """Return the next step; for WAIT also when to look again at the latest (None: at an
        event)."""
        if self.n - len(self.lost) < self.quorum:
            return Verdict.LOST, None
        if self.quorum_at is None:
            return Verdict.WAIT, None
        if len(self.durable) + len(self.lost) == self.n:
            return Verdict.DONE, None
        if self.suspects.issuperset(self.live()):
            deadline = self.quorum_at + SUSPECT_STRAGGLER_S
        else:
            deadline = self.quorum_at + straggler_allowance_s(self.quorum_at - self.sent_at)
        return (Verdict.DONE, None) if now >= deadline else (Verdict.WAIT, deadline)

    def durable_mask(self) -> int:
        """Bit i set: slot i is durable."""
        return sum(1 << slot for slot in self.durable)


def straggler_allowance_s(quorum_took_s: float) -> float:
    """Return how long the slots that missed the quorum may still take, in seconds: as long again as
    the quorum took, within bounds. A hung cell costs this once; then it is known to be late."""
    return min(max(quorum_took_s, STRAGGLER_FLOOR_S), STRAGGLER_CEILING_S)


def holding_back(backlogs: Mapping[int, int], quorum: int) -> list[int]:
    """The live slots that alone keep the oldest stripe in memory.

    They are the slots furthest behind, provided that at least ``quorum`` others are ahead of
    them: only then could the upload go on without them.

    Args:
        backlogs: by live slot, the stripes that are ready and it has not taken.
        quorum: slots that must be left.
    """
    most = max(backlogs.values(), default=0)
    behind = [slot for slot, backlog in backlogs.items() if backlog == most]
    return behind if most and len(backlogs) - len(behind) >= quorum else []


def stall_allowance_s(elapsed_s: float, *, suspect: bool) -> float:
    """Return how long one slot may delay an upload before it is cut, in seconds, all its stalls
    since the segment was begun together: so one slow slot makes an upload at most about a third
    longer, and one that was suspect from the start hardly at all."""
    return SUSPECT_STRAGGLER_S if suspect else STALL_S + STALL_SHARE * elapsed_s


def best_grant(penalties: Sequence[Sequence[int]], quorums: Sequence[int]) -> int | None:
    """Choose among grants by what is known of their cells.

    Args:
        penalties: per grant, per slot: :meth:`SlotHealth.penalty` (2 = suspect).
        quorums: per grant, the write quorum.

    Returns:
        The index of the first grant with the fewest suspect slots; None when none has enough
        slots beyond suspicion for its quorum.
    """
    best: int | None = None
    fewest = 0
    for index, (slots, quorum) in enumerate(zip(penalties, quorums, strict=True)):
        suspects = sum(1 for penalty in slots if penalty >= 2)
        if len(slots) - suspects < quorum or (best is not None and suspects >= fewest):
            continue
        best, fewest = index, suspects
        if not suspects:
            break
    return best
