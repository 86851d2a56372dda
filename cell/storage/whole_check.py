"""Reading a shard whole from the medium, and comparing it with its root.

Source: docs/repair.md, "Scrub".
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Final, TypeVar

from cell.storage.parts import StorageParts
from cell.storage.shards import Entry, ShardKey
from common import limits
from common.crypto.digest import ShardDigests
from common.errors import Corrupt, NotFound
from common.format.volume import leaves_bytes
from common.reasons import Absence, Damage

T = TypeVar("T")
MOVE_TRIES: Final = 3
"""Compaction moves a shard while it is read: not often twice."""


async def check_whole(
    storage: StorageParts, key: ShardKey, wait: Callable[[int], Awaitable[None]]
) -> int:
    """Read all units of a shard, and its leaves, and compare them with its root. What fails is
    quarantined.

    Args:
        wait: called before so many bytes are read.

    Returns:
        Bytes that were read.

    Raises:
        NotFound: ``no_such_shard``: it was deleted, too, while it was read.
        Corrupt: ``leaf_mismatch``, ``read_error``: it is bad, and will be reported as lost.
        Unavailable: ``store_failed``.
    """
    for _ in range(MOVE_TRIES):
        entry = await storage.index.find(key)
        if entry is None:
            raise NotFound(Absence.NO_SUCH_SHARD)
        if entry.bad:
            raise Corrupt(Damage.LEAF_MISMATCH)
        try:
            return await _check(storage, entry, wait)
        except NotFound:
            continue
        except Corrupt as error:
            now = await storage.index.find(key)
            if now is not None and (now.volume, now.offset) != (entry.volume, entry.offset):
                continue
            await storage.quarantine(key, entry, error.reason)
            raise
    # Its volume is gone, and compaction has not moved it.
    assert entry is not None
    await storage.quarantine(key, entry, "read_error")
    raise Corrupt(Damage.READ_ERROR)


async def _check(
    storage: StorageParts, entry: Entry, wait: Callable[[int], Awaitable[None]]
) -> int:
    unit_bytes, shard_bytes = entry.unit_bytes, entry.shard_bytes

    async def read(offset: int, size: int) -> bytes:
        async with storage.volumes.opened(entry.volume) as file:
            return await file.read(offset, size)

    async def single() -> None:
        data = await read(entry.data_offset, shard_bytes)
        _demand(ShardDigests.of(unit_bytes, shard_bytes, data).belong_to(entry.root))

    async def leaves() -> ShardDigests:
        size = leaves_bytes(unit_bytes, shard_bytes)
        digests = ShardDigests(unit_bytes, shard_bytes, await read(entry.leaves_offset, size))
        _demand(digests.belong_to(entry.root))
        return digests

    async def some(digests: ShardDigests, first: int, units: int, size: int) -> None:
        data = await read(entry.data_offset + first * unit_bytes, size)
        _demand(digests.hold(first, units, data))

    if shard_bytes <= unit_bytes:
        await wait(shard_bytes)
        await _read_twice(single)
        return shard_bytes
    digests = await _read_twice(leaves)
    units = max(1, limits.MAX_UNITS_PER_READ_BYTES // unit_bytes)
    for first in range(0, digests.units, units):
        size = min(units * unit_bytes, shard_bytes - first * unit_bytes)
        await wait(size)
        await _read_twice(partial(some, digests, first, units, size))
    return shard_bytes


def _demand(is_whole: bool) -> None:
    if not is_whole:
        raise Corrupt(Damage.LEAF_MISMATCH)


async def _read_twice(work: Callable[[], Awaitable[T]]) -> T:
    """Read; once more where the first time gave something else than was written."""
    with suppress(Corrupt):
        return await work()
    return await work()
