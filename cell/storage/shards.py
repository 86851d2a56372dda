"""A cell's records of a stored shard and of a volume."""

from __future__ import annotations

from typing import TypeAlias

from common.data_classes import dataclass
from common.format.volume import HEADER_BYTES, VOLUME_HEAD_BYTES, data_offset, record_bytes_of
from common.ids import SegmentId

ShardKey: TypeAlias = tuple[SegmentId, int]
"""Segment id and slot: the name of a shard."""


@dataclass(frozen=True, slots=True)
class Entry:
    """The place of a shard and its digests. ``bad``: it failed a check and is not served."""

    volume: int
    offset: int
    sequence: int
    unit_bytes: int
    shard_bytes: int
    root: bytes
    bad: bool = False

    @property
    def record_bytes(self) -> int:
        """Bytes of the whole record."""
        return record_bytes_of(self.unit_bytes, self.shard_bytes)

    @property
    def leaves_offset(self) -> int:
        """Offset of its leaves in the volume, if it has several units."""
        return self.offset + HEADER_BYTES

    @property
    def data_offset(self) -> int:
        """Offset of its first unit in the volume."""
        return self.offset + data_offset(self.unit_bytes, self.shard_bytes)


@dataclass(slots=True)
class VolumeFacts:
    """The index's facts of a volume.

    ``watermark``: every record that begins below it is finished, durable and indexed.
    ``end_bytes``: size of the file. ``live_bytes``: of records that are needed (shards and
    tombstones). ``is_closed``: nothing will be written to it any more.
    """

    number: int
    watermark: int = VOLUME_HEAD_BYTES
    end_bytes: int = VOLUME_HEAD_BYTES
    live_bytes: int = 0
    shards: int = 0
    shard_bytes: int = 0
    is_closed: bool = False

    def count(self, entry: Entry, sign: int) -> None:
        """Add (1) or take away (-1) a live shard."""
        self.live_bytes += sign * entry.record_bytes
        self.shards += sign
        self.shard_bytes += sign * entry.shard_bytes

    @property
    def dead_bytes(self) -> int:
        """The bytes that compaction would free."""
        return self.end_bytes - VOLUME_HEAD_BYTES - self.live_bytes
