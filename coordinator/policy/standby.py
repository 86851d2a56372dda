"""Conclusions of a standby from what the cells of the journal say: how far it may follow, and
whether the journal is free for another coordinator.

Pure. One cell may lie; most of them do not.

Source: docs/standby.md.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from common.data_classes import dataclass
from common.format.journal import ChainEnd
from coordinator.policy.journal import quorum


@dataclass(frozen=True, slots=True)
class WatchedCell:
    """A cell of the journal as it was looked at.

    ``promised``: the epoch that it promised. ``is_held``: it heard the coordinator of that lately.
    """

    promised: int
    base: ChainEnd
    end: ChainEnd
    is_whole: bool
    is_held: bool


@dataclass(frozen=True, slots=True)
class SettledRecords:
    """Records that no later coordinator can lose: all up to a number, in the journals of the cells
    that ``sources`` names, the longest first."""

    epoch: int
    sequence: int
    sources: tuple[bytes, ...]


def settled(
    members: Collection[bytes], cells: Mapping[bytes, WatchedCell]
) -> SettledRecords | None:
    """Return what most members have under one epoch, the latest of which that is so; None: nothing.

    Only records count that a cell has under the epoch that it promises: the coordinator of that
    epoch had settled all before its first record. A record that most cells have because a later
    coordinator began to copy it may still be replaced.

    Args:
        members: the cells that keep the journal.
        cells: those of them that answered.
    """
    by_epoch: dict[int, list[tuple[int, bytes]]] = {}
    for cell_id in members:
        cell = cells.get(cell_id)
        if cell is not None and cell.is_whole and cell.promised == cell.end.epoch > 0:
            by_epoch.setdefault(cell.promised, []).append((cell.end.sequence, cell_id))
    needed = quorum(len(members))
    for epoch in sorted(by_epoch, reverse=True):
        longest = sorted(by_epoch[epoch], reverse=True)
        if len(longest) >= needed:
            sequence = longest[needed - 1][0]
            return SettledRecords(epoch, sequence, tuple(each for _, each in longest[:needed]))
    return None


def is_free(members: Collection[bytes], cells: Mapping[bytes, WatchedCell]) -> bool:
    """Return whether most members would promise an epoch to another coordinator now."""
    free = [each for each in members if each in cells and not cells[each].is_held]
    return len(free) >= quorum(len(members))
