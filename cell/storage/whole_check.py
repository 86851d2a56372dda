"""Reading a shard whole from the medium, and comparing it with its root.

Source: docs/repair.md, "Scrub".
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

from cell.storage.parts import StorageParts, read_twice
from cell.storage.shards import Entry, ShardKey
from common import limits
from common.crypto.digest import ShardDigests
from common.errors import Corrupt
from common.format.volume import leaves_bytes
from common.reasons import Damage


async def check_whole(
    storage: StorageParts, key: ShardKey, wait: Callable[[int], Awaitable[None]]
) -> None:
    """Read all units of a shard, and its leaves, and compare them with its root. What fails is
    quarantined.

    Args:
        wait: called before so many bytes are read.

    Raises:
        NotFound: ``no_such_shard``: it was deleted, too, while it was read.
        Corrupt: ``leaf_mismatch``, ``read_error``: it is bad, and will be reported as lost.
        Unavailable: ``store_failed``.
    """
    await storage.read_where_it_lies(key, partial(_check, storage, wait))


async def _check(
    storage: StorageParts, wait: Callable[[int], Awaitable[None]], entry: Entry
) -> None:
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
        await read_twice(single)
        return
    digests = await read_twice(leaves)
    units = max(1, limits.MAX_UNITS_PER_READ_BYTES // unit_bytes)
    for first in range(0, digests.units, units):
        size = min(units * unit_bytes, shard_bytes - first * unit_bytes)
        await wait(size)
        await read_twice(partial(some, digests, first, units, size))


def _demand(is_whole: bool) -> None:
    if not is_whole:
        raise Corrupt(Damage.LEAF_MISMATCH)
