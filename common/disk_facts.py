"""The figures of a disk that foretell its loss, as a cell reports them. Pure.

Source: docs/prediction.md, "Reports of cells".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, fields
from typing import Final

from common import limits
from common.data_classes import dataclass

UNKNOWN: Final = -1
"""A figure that the disk does not give."""


@dataclass(frozen=True, slots=True)
class DiskFacts:
    """The figures of one disk; ``UNKNOWN`` where it does not give them.

    ``passed``: 1: the disk reports that it is well; 0: that it is failing. ``reallocated``,
    ``reported``, ``timeouts``, ``pending``, ``uncorrectable``: counts of SMART attributes 5, 187,
    188, 197 and 198. ``media_errors``, ``percentage_used``, ``spare``, ``spare_threshold``: of
    NVMe. ``temperature``: degrees Celsius. ``sync_us``, ``read_us``: microseconds that syncs and
    reads take, as the cell measured them. ``rotten``: shards that failed a check since the cell's
    start.
    """

    passed: int = UNKNOWN
    reallocated: int = UNKNOWN
    reported: int = UNKNOWN
    timeouts: int = UNKNOWN
    pending: int = UNKNOWN
    uncorrectable: int = UNKNOWN
    media_errors: int = UNKNOWN
    percentage_used: int = UNKNOWN
    spare: int = UNKNOWN
    spare_threshold: int = UNKNOWN
    temperature: int = UNKNOWN
    sync_us: int = UNKNOWN
    read_us: int = UNKNOWN
    rotten: int = UNKNOWN

    def pack(self) -> tuple[int, ...]:
        """Return the figures as they are sent: in the order of the fields, each one more than it
        is, so that 0 is unknown; empty where none is known."""
        packed = tuple(value + 1 for value in astuple(self))
        return packed if any(packed) else ()

    @classmethod
    def unpack(cls, packed: Sequence[int]) -> DiskFacts:
        """Return the figures that were sent; what is missing is unknown, what is more is newer than
        this program and left out."""
        names = [each.name for each in fields(cls)]
        known = zip(names, packed, strict=False)
        return cls(**{name: min(value, limits.MAX_DISK_FIGURE + 1) - 1 for name, value in known})
