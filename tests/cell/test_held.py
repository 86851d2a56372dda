"""A cell that lost its volumes, index and all, says so."""

import pytest
from cell_rig import put, running, shard_data, shard_key

from cell.storage.held import NAME, Held, Marker
from common.errors import Corrupt
from sim.world import SimWorld


async def compare(node, store):
    held = await Held.load(node.world.disk, node.world.log)
    await held.compare(store)
    return held


def lose_everything(node):
    for path in list(node.platter.inodes):
        if path.startswith("volumes/"):
            del node.platter.inodes[path]
    node.databases.clear()


@pytest.mark.fault("F2")
async def test_a_cell_that_lost_its_volumes_says_so_at_each_start(autojump_clock):
    node = SimWorld(1).node("cell")
    async with running(node) as store:
        held = await compare(node, store)
        for number in range(30):
            await put(store, shard_key(number), shard_data(number, 8000))
        await held.update(store)
        assert held.marker.shards == 30
    async with running(node) as store:
        await compare(node, store)
        assert (await store.facts()).lost_shards == 0
    lose_everything(node)
    for _ in range(2):
        async with running(node) as store:
            held = await compare(node, store)
            assert (await store.facts()).lost_shards == 30
            await put(store, shard_key(99), shard_data(99, 8000))  # it goes on
            await held.update(store)


@pytest.mark.fault("F2")
async def test_volumes_that_compaction_removed_are_not_lost(autojump_clock):
    node = SimWorld(1).node("cell")
    async with running(node) as store:
        held = await compare(node, store)
        for number in range(30):
            await put(store, shard_key(number), shard_data(number, 8000))
        await held.update(store)
        await store.delete([shard_key(number) for number in range(30)])
        while await store.compaction.step():
            pass
    async with running(node) as store:
        await compare(node, store)
        assert (await store.facts()).lost_shards == 0


@pytest.mark.fault("F2")
async def test_a_file_that_cannot_be_written_stops_nobody(autojump_clock):
    node = SimWorld(1).node("cell")
    async with running(node) as store:
        held = await compare(node, store)
        await put(store, shard_key(1), b"one")
        node.platter.faults.refuses = "no_space"
        await held.update(store)


def test_a_marker_reads_back_and_anything_else_is_refused():
    marker = Marker(3, 4, 5, 6)
    assert Marker.unpack(marker.pack()) == marker
    for data in (b"", b"[]", b"{}", b'{"version": 2}', b'{"version": 1, "shards": -1}', b"\xff"):
        with pytest.raises(Corrupt):
            Marker.unpack(data)
    with pytest.raises(Corrupt):
        Marker.unpack(b"[" * 4096)
    assert NAME == "held"
