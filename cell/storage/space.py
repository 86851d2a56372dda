"""The space that a cell may still write: the owner's limit, and what the file system has."""

from __future__ import annotations

from typing import Final

import trio

from cell.storage.index import Index
from cell.storage.volumes import Volumes
from common.errors import Unavailable
from common.limits import MIB
from common.ports import Disk
from common.reasons import Outage

REFRESH_AFTER_S: Final = 5.0
REFRESH_AFTER_BYTES: Final = 16 * MIB
"""Others write to the same file system, too."""


class SpaceKeeper:
    """Room for new shards.

    Args:
        capacity_bytes: the owner's limit; None: none but the file system.
        reserve_bytes: free space of the file system that shards never take.
    """

    def __init__(
        self,
        disk: Disk,
        index: Index,
        volumes: Volumes,
        capacity_bytes: int | None,
        reserve_bytes: int,
    ) -> None:
        self._disk = disk
        self._index = index
        self._volumes = volumes
        self._limit_bytes = capacity_bytes
        self._reserve_bytes = reserve_bytes
        self._total_bytes = 0
        self._file_system_free_bytes = 0
        self.medium = b""
        """Names the file system."""
        self._table_bytes = 0
        self._refreshed = -1e9
        self._taken_since = 0

    @property
    def capacity_bytes(self) -> int:
        """The owner's limit, or the whole file system."""
        if self._limit_bytes is None:
            return self._total_bytes
        return min(self._limit_bytes, self._total_bytes)

    @property
    def medium_total_bytes(self) -> int:
        """The whole file system."""
        return self._total_bytes

    @property
    def used_bytes(self) -> int:
        """Bytes of volumes and index."""
        return self._volumes.used_bytes + self._table_bytes

    @property
    def medium_free_bytes(self) -> int:
        """The bytes that the file system can still take, the reserve included: for compaction."""
        return max(0, self._file_system_free_bytes - self._taken_since)

    @property
    def free_bytes(self) -> int:
        """The bytes that shards can still take."""
        return max(
            0,
            min(
                self.capacity_bytes - self.used_bytes,
                self.medium_free_bytes - self._reserve_bytes,
            ),
        )

    async def refresh(self) -> None:
        """Ask the file system and the tables."""
        space = await self._disk.space()
        self._table_bytes = await self._index.table_bytes()
        self.medium = space.medium
        self._total_bytes = space.total_bytes
        self._file_system_free_bytes = space.free_bytes
        self._taken_since = 0
        self._refreshed = trio.current_time()

    async def take(self, amount: int) -> None:
        """Make sure that ``amount`` bytes may be written.

        Raises:
            Unavailable: ``no_space``.
        """
        if (
            self._taken_since + amount > REFRESH_AFTER_BYTES
            or amount > self.free_bytes
            or trio.current_time() > self._refreshed + REFRESH_AFTER_S
        ):
            await self.refresh()
        if amount > self.free_bytes:
            raise Unavailable(Outage.NO_SPACE, wanted_bytes=amount, free_bytes=self.free_bytes)
        self._taken_since += amount
