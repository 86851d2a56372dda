"""Versions that gateways are reading: not purged under their readers.

In memory only: after a restart the grace of what was dropped begins again, and is longer than the
time within which gateways name what they read.

Source: docs/placement.md, "The life of a segment".
"""

from __future__ import annotations

from collections.abc import Iterable

from common.ids import VersionId
from coordinator.store.leases import LeaseBook


class Readers:
    """The versions that each lease's gateway reads.

    Args:
        living: the living leases; readers of a lease that has ended no longer count.
    """

    def __init__(self, living: LeaseBook) -> None:
        self._living = living
        self._reading: dict[int, frozenset[VersionId]] = {}

    def name(self, lease: int, versions: Iterable[VersionId]) -> None:
        """Note that a gateway reads these versions now, and no others."""
        named = frozenset(versions)
        if named:
            self._reading[lease] = named
        else:
            self._reading.pop(lease, None)

    def held(self) -> frozenset[bytes]:
        """All versions that somebody reads."""
        for lease in [each for each in self._reading if each not in self._living]:
            del self._reading[lease]
        return frozenset().union(*self._reading.values())
