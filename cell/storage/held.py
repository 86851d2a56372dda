"""A record of how much a cell held: a small file beside its volumes and index, compared at each
start.

Volumes and index can be gone together, by a person's hand or with a file system, while the
identity is kept. Then nothing in them says that anything is missing; this file does.

Source: docs/operations.md, "What is missing".
"""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import Final

import trio

from cell.storage.shard_store import ShardStore
from common.data_classes import dataclass
from common.errors import Corrupt, Unavailable
from common.ports import Disk, Log
from common.reasons import Damage
from common.state_files import read_whole, write_whole

NAME: Final = "held"
VERSION: Final = 1
REFRESH_AFTER_S: Final = 600.0
"""Maximum age of the counts. The highest volume's number is kept at once: that is what decides."""
GROWN_AFTER_S: Final = 15.0
"""The same for a cell that holds more than twice what the file says, as a new one soon does."""


@dataclass(frozen=True, slots=True)
class Marker:
    """The contents of the file. ``lost_shards``: of volumes that were gone at an earlier start."""

    highest_volume: int = 0
    shards: int = 0
    live_bytes: int = 0
    lost_shards: int = 0

    def pack(self) -> bytes:
        """Return the file's bytes."""
        return json.dumps({"version": VERSION, **asdict(self)}).encode() + b"\n"

    @classmethod
    def unpack(cls, data: bytes) -> Marker:
        """Read the file's bytes.

        Raises:
            Corrupt: ``bad_held_file``.
        """
        try:
            content = json.loads(data)
            if content.pop("version") != VERSION:
                raise ValueError("version")
            marker = cls(**content)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise Corrupt(Damage.BAD_HELD_FILE) from error
        if any(type(each) is not int or each < 0 for each in asdict(marker).values()):
            raise Corrupt(Damage.BAD_HELD_FILE)
        return marker


class Held:
    """Compares what a cell held with what it has, and keeps the file true."""

    def __init__(self, disk: Disk, log: Log, marker: Marker) -> None:
        self.marker = marker
        self._disk = disk
        self._log = log
        self._written_at = trio.current_time()
        self._could_write = True

    @classmethod
    async def load(cls, disk: Disk, log: Log) -> Held:
        """Read the file; one that is damaged is reported and begun again."""
        try:
            data = await read_whole(disk, NAME)
            return cls(disk, log, Marker() if data is None else Marker.unpack(data))
        except Corrupt as error:
            log.error("held_unreadable", error=str(error))
            return cls(disk, log, Marker())

    async def compare(self, store: ShardStore) -> None:
        """Find out at a start whether volumes are gone that the index does not miss either."""
        held, highest = self.marker, store.volumes.highest_known
        if highest < held.highest_volume:
            self._log.error(
                "volumes_lost",
                shards=held.shards,
                live_bytes=held.live_bytes,
                highest_held=held.highest_volume,
                highest_found=highest,
            )
            lost = held.lost_shards + held.shards
            await self._write(Marker(highest_volume=highest, lost_shards=lost))
        store.lost_shards = self.marker.lost_shards

    async def update(self, store: ShardStore) -> None:
        """Keep what the cell holds now, if that is news."""
        highest = store.volumes.highest_known
        volumes = store.index.volumes.values()
        now = replace(
            self.marker,
            highest_volume=highest,
            shards=sum(each.shards for each in volumes),
            live_bytes=sum(each.shard_bytes for each in volumes),
        )
        has_grown = now.shards > 2 * self.marker.shards
        age_s = trio.current_time() - self._written_at
        is_old = age_s >= (GROWN_AFTER_S if has_grown else REFRESH_AFTER_S)
        if highest != self.marker.highest_volume or (is_old and now != self.marker):
            await self._write(now)

    async def _write(self, marker: Marker) -> None:
        self.marker = marker
        self._written_at = trio.current_time()
        try:
            await write_whole(self._disk, NAME, marker.pack())
            self._could_write = True
        except Unavailable as error:
            if self._could_write:
                self._log.warning("held_not_written", error=str(error))
            self._could_write = False
