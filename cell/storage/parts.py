"""What the parts of a cell's storage share, and the last step of writing a shard."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from cell.storage.index import Index
from cell.storage.locks import Holds
from cell.storage.shards import Entry, ShardKey
from cell.storage.space import SpaceKeeper
from cell.storage.volumes import Growing, Volumes
from cell.storage.writer import Writer
from common.errors import AlvearyError, Refused
from common.format.volume import (
    NO_DIGEST,
    Kind,
    RecordHeader,
    pack_record,
    padding_bytes,
    record_bytes_of,
)
from common.ids import DIGEST_BYTES
from common.limits import RECORD_ALIGNMENT_BYTES
from common.ports import Buffer, Log

_ZEROS: Final = bytes(RECORD_ALIGNMENT_BYTES)


@dataclass(frozen=True, slots=True)
class Storage:
    """The parts."""

    index: Index
    volumes: Volumes
    writer: Writer
    holds: Holds
    space: SpaceKeeper
    log: Log

    async def find_to_write(self, key: ShardKey, root: bytes) -> Entry | None:
        """The entry of a shard that is about to be written, by whoever holds it.

        Raises:
            Refused: ``shard_exists``: it is here, whole, with another root.
        """
        entry = await self.index.find(key)
        if entry is not None and not entry.bad and entry.root != root:
            raise Refused("shard_exists")
        return entry


class FinishedShard:
    """The last step of writing a shard: its header, and what happens once it is durable.

    Args:
        leaves: of all units.
        replaced: the bad entry that it takes the place of.
    """

    def __init__(
        self,
        storage: Storage,
        key: ShardKey,
        unit_bytes: int,
        shard_bytes: int,
        root: bytes,
        leaves: bytes,
        replaced: Entry | None,
    ) -> None:
        self._storage = storage
        self._key = key
        self._unit_bytes = unit_bytes
        self._shard_bytes = shard_bytes
        self._root = root
        self._leaves = leaves
        self._replaced = replaced
        self._sequence = storage.index.take_sequence()

    def build(
        self, volume: Growing, offset: int, *, data: memoryview | None = None
    ) -> Sequence[Buffer]:
        """Header and leaves; with ``data`` the whole record."""
        is_single = len(self._leaves) == DIGEST_BYTES
        header = RecordHeader(
            Kind.SHARD,
            volume.number,
            offset,
            self._sequence,
            record_bytes_of(self._unit_bytes, self._shard_bytes),
            volume.durable_below,
            *self._key,
            self._unit_bytes,
            self._shard_bytes,
            self._root,
            self._leaves if is_single else NO_DIGEST,
        )
        parts: list[Buffer] = [pack_record(volume.key, header)]
        if not is_single:
            parts.append(self._leaves)
        if data is not None:
            plain = len(data) + sum(map(len, parts))
            parts += [data, _ZEROS[: padding_bytes(plain)]]
        return parts

    def after(self, volume: Growing | None, offset: int, error: AlvearyError | None) -> None:
        """Durable or not: the shard may be changed by others again."""
        if error is None:
            assert volume is not None
            entry = Entry(
                volume.number,
                offset,
                self._sequence,
                self._unit_bytes,
                self._shard_bytes,
                self._root,
            )
            self._storage.index.add(self._key, entry, self._replaced)
        self._storage.holds.give_back(self._key)
