"""Versions that gateways are reading: not purged under their readers.

A coordinator that has its store for itself keeps them in memory: after a restart the grace of what
was dropped begins again, and is longer than the time within which gateways name what they read. On
a store that several share they stand there, for the one that purges.

Source: docs/placement.md, "The life of a segment".
"""

from __future__ import annotations

from collections.abc import Iterable

from common.ids import VersionId
from common.ports import Store
from coordinator.store import leases
from coordinator.store.leases import LeaseBook


class Readers:
    """The versions that each lease's gateway reads.

    Args:
        living: the living leases; readers of a lease that has ended no longer count.
        shared: the store, if others have it open; None: none has.
    """

    def __init__(self, living: LeaseBook, shared: Store | None) -> None:
        self._living = living
        self._shared = shared
        self._reading: dict[int, frozenset[VersionId]] = {}

    async def name(self, lease: int, versions: Iterable[VersionId]) -> None:
        """Note that a gateway reads these versions now, and no others.

        Raises:
            AlvearyError: as :meth:`common.ports.Store.transact`: it is not noted for others.
        """
        named = frozenset(versions)
        if self._shared is None:
            if named:
                self._reading[lease] = named
            else:
                self._reading.pop(lease, None)
            return
        # Another coordinator may have written what it heard of the same gateway since.
        if named or self._reading.get(lease) != named:
            await self._shared.transact(lambda sql: leases.set_reading(sql, lease, sorted(named)))
        self._reading[lease] = named

    def held(self) -> frozenset[bytes]:
        """All versions that somebody reads, as far as this process knows."""
        for lease in [each for each in self._reading if each not in self._living]:
            del self._reading[lease]
        return frozenset().union(*self._reading.values())
