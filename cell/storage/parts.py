"""The common parts of a cell's storage, and the last step of writing a shard."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Final, TypeVar

from cell.storage.index import Index
from cell.storage.locks import ShardLocks
from cell.storage.shards import Entry, ShardKey
from cell.storage.space import SpaceKeeper
from cell.storage.volumes import Growing, Volumes
from cell.storage.writer import Writer
from common import limits
from common.crypto.digest import ShardDigests
from common.data_classes import dataclass
from common.errors import AlvearyError, Corrupt, NotFound, Refused
from common.format.volume import (
    NO_DIGEST,
    RecordHeader,
    RecordKind,
    pack_record,
    padding_bytes,
    record_bytes_of,
)
from common.ids import DIGEST_BYTES
from common.ports import Buffer, Log
from common.reasons import Absence, Damage, Refusal

T = TypeVar("T")
MOVE_TRIES: Final = 3
"""Compaction moves a shard while it is read: not often twice."""
_ZEROS: Final = bytes(limits.RECORD_ALIGNMENT_BYTES)


@dataclass(frozen=True, slots=True)
class StorageParts:
    """The parts."""

    index: Index
    volumes: Volumes
    writer: Writer
    holds: ShardLocks
    space: SpaceKeeper
    log: Log

    async def find_to_write(self, key: ShardKey, root: bytes) -> Entry | None:
        """Return the entry of a shard that the caller holds and is about to write.

        Raises:
            Refused: ``shard_exists``: it is here, whole, with another root.
        """
        entry = await self.index.find(key)
        if entry is not None and not entry.bad and entry.root != root:
            raise Refused(Refusal.SHARD_EXISTS)
        return entry

    async def read_where_it_lies(self, key: ShardKey, read: Callable[[Entry], Awaitable[T]]) -> T:
        """Read a shard: once more where compaction moved it meanwhile. What fails is quarantined.

        Raises:
            NotFound: ``no_such_shard``: it was deleted, too, while it was read.
            Corrupt: ``leaf_mismatch``, ``read_error``: it is bad, and will be reported as lost.
            AlvearyError: what else ``read`` raises.
        """
        for _ in range(MOVE_TRIES):
            entry = await self.index.find(key)
            if entry is None:
                raise NotFound(Absence.NO_SUCH_SHARD)
            if entry.bad:
                raise Corrupt(Damage.LEAF_MISMATCH)
            try:
                return await read(entry)
            except NotFound:
                continue
            except Corrupt as error:
                now = await self.index.find(key)
                if now is not None and (now.volume, now.offset) != (entry.volume, entry.offset):
                    continue
                await self.quarantine(key, entry, error.reason)
                raise
        # Its volume is gone, and compaction has not moved it.
        assert entry is not None
        await self.quarantine(key, entry, "read_error")
        raise Corrupt(Damage.READ_ERROR)

    async def quarantine(self, key: ShardKey, entry: Entry, reason: str) -> None:
        """Serve a shard that failed its check no more, and have it reported, unless it was
        replaced or deleted meanwhile."""
        self.log.error("shard_bad", segment=key[0], slot=key[1], volume=entry.volume, reason=reason)
        await self.holds.take([key])
        try:
            if await self.index.find(key) == entry:
                self.index.mark_bad(key, entry)
        finally:
            self.holds.give_back(key)


async def read_twice(read: Callable[[], Awaitable[T]]) -> T:
    """Read; once more where the first time gave something else than was written."""
    with suppress(Corrupt):
        return await read()
    return await read()


class FinishedShard:
    """The last step of writing a shard: its header, and what happens once it is durable.

    Args:
        digests: those of its units.
        replaced: the bad entry that it takes the place of.
    """

    def __init__(
        self,
        storage: StorageParts,
        key: ShardKey,
        digests: ShardDigests,
        root: bytes,
        replaced: Entry | None,
    ) -> None:
        self._storage = storage
        self._key = key
        self._digests = digests
        self._root = root
        self._replaced = replaced
        self._sequence = storage.index.take_sequence()

    def build(
        self, volume: Growing, offset: int, *, data: memoryview | None = None
    ) -> Sequence[Buffer]:
        """Header and leaves; with ``data`` the whole record."""
        digests = self._digests
        is_single = len(digests.leaves) == DIGEST_BYTES
        header = RecordHeader(
            RecordKind.SHARD,
            volume.number,
            offset,
            self._sequence,
            record_bytes_of(digests.unit_bytes, digests.shard_bytes),
            volume.durable_below,
            *self._key,
            digests.unit_bytes,
            digests.shard_bytes,
            self._root,
            digests.leaves if is_single else NO_DIGEST,
        )
        parts: list[Buffer] = [pack_record(volume.key, header)]
        if not is_single:
            parts.append(digests.leaves)
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
                self._digests.unit_bytes,
                self._digests.shard_bytes,
                self._root,
            )
            self._storage.index.add(self._key, entry, self._replaced)
        self._storage.holds.give_back(self._key)
