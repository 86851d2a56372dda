"""A cell's storage on a simulated node, life after life."""

import random
from contextlib import asynccontextmanager

import trio

from cell.storage.shard_store import ShardStore
from common.crypto.digest import leaf, shard_root

VOLUME_BYTES = 64 * 1024


def shard_key(number, slot=0):
    return number.to_bytes(16, "big"), slot


def shard_data(number, size):
    return random.Random(number).randbytes(size)


def root_of(data, unit_bytes):
    leaves = b"".join(leaf(data[at : at + unit_bytes]) for at in range(0, len(data), unit_bytes))
    return shard_root(unit_bytes, len(data), leaves)


async def open_store(node, **options):
    given = {"capacity_bytes": None, "reserve_bytes": 0, "volume_bytes": VOLUME_BYTES, **options}
    return await ShardStore.open(node.world, **given)


@asynccontextmanager
async def running(node, **options):
    """A store that works for the length of the block."""
    store = await open_store(node, **options)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(store.run)
        yield store
        nursery.cancel_scope.cancel()


async def live(node, work, **options):
    """Run ``work(store)`` until it ends or the node dies; whether it ended."""
    died = node.died
    ended = False
    async with trio.open_nursery() as nursery:

        async def watch():
            await died.wait()
            nursery.cancel_scope.cancel()

        async def main():
            nonlocal ended
            store = await open_store(node, **options)
            nursery.start_soon(store.run)
            await work(store)
            ended = True
            nursery.cancel_scope.cancel()

        nursery.start_soon(watch)
        nursery.start_soon(main)
    return ended


async def put(store, key, data, unit_bytes=None):
    unit_bytes = unit_bytes or len(data)
    await store.put(key, unit_bytes, root_of(data, unit_bytes), memoryview(data))


async def upload(store, key, data, unit_bytes):
    sending = await store.begin_upload(key, unit_bytes, len(data))
    for unit, at in enumerate(range(0, len(data), unit_bytes)):
        await sending.append(unit, memoryview(data)[at : at + unit_bytes])
    await sending.finish(root_of(data, unit_bytes))


async def read_all(store, key):
    entry, data, _ = await store.read(key, 0, 1, want_leaves=False)
    units = -(-entry.shard_bytes // entry.unit_bytes)
    if units > 1:
        _, data, _ = await store.read(key, 0, units, want_leaves=False)
    return data
