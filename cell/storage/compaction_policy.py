"""Choice of the volume to compact next. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from common.data_classes import dataclass
from common.limits import KIB, MIB

DEAD_PART: Final = 0.5
"""Of a volume's bytes. At a half, a byte is copied at most once for each byte given back."""
SCARCE_DEAD_PART: Final = 0.1
"""The same when space is scarce: more copying for less room."""
SCARCE_FREE_PART: Final = 0.05
"""Free part of the capacity below which space is scarce."""
SPARE_BYTES: Final = 4 * MIB
"""Bytes of the file system that must stay free while copying."""
RETIRED_BYTES_WORTH_IT: Final = 64 * KIB
"""Dead bytes of an active volume below which it is never retired. Beginning another one takes room,
too, which is dead from the start: without a least gain a full cell would begin and remove volumes
forever."""


@dataclass(frozen=True, slots=True)
class VolumeView:
    """A volume: bytes of all its records, and of those that are needed.

    ``is_closed``: nothing is written to it any more. ``is_active``: new records go to it. A volume
    that is neither has unfinished uploads. ``is_excluded``: compacting it failed or must wait.
    """

    number: int
    record_bytes: int
    live_bytes: int
    is_closed: bool
    is_active: bool
    is_excluded: bool = False

    @property
    def dead_bytes(self) -> int:
        """The bytes that compaction frees."""
        return self.record_bytes - self.live_bytes


@dataclass(frozen=True, slots=True)
class CompactionPlan:
    """The next step. ``retire``: begin a new active volume first, so that the volume can be closed.
    ``volume``: copy what is needed of it, and remove it."""

    retire: bool = False
    volume: int | None = None


def plan(
    volumes: Sequence[VolumeView], *, capacity_bytes: int, free_bytes: int, medium_free_bytes: int
) -> CompactionPlan:
    """Choose the volume that gives back the most for its copying.

    Args:
        volumes: all.
        capacity_bytes: what the cell may use.
        free_bytes: what shards can still take.
        medium_free_bytes: what the file system can still take, reserve included.
    """
    is_scarce = free_bytes < capacity_bytes * SCARCE_FREE_PART
    least = SCARCE_DEAD_PART if is_scarce else DEAD_PART
    worthy = [
        each
        for each in volumes
        if not each.is_excluded
        and each.record_bytes
        and each.dead_bytes > least * each.record_bytes
        and (each.live_bytes == 0 or each.live_bytes + SPARE_BYTES <= medium_free_bytes)
    ]
    closed = [each for each in worthy if each.is_closed]
    if closed:
        best = max(closed, key=lambda each: (each.dead_bytes / each.record_bytes, -each.number))
        return CompactionPlan(volume=best.number)
    total = sum(each.record_bytes for each in volumes)
    for each in worthy:
        # A small volume is left to fill up first, unless it is much of what there is.
        enough = (
            each.dead_bytes >= RETIRED_BYTES_WORTH_IT
            if is_scarce
            else each.dead_bytes >= SPARE_BYTES and each.dead_bytes * 4 > total
        )
        if each.is_active and enough:
            return CompactionPlan(retire=True)
    return CompactionPlan()
