"""A cell whose medium cannot be written starts, and what lies there is read."""

import pytest
import trio
from cell_rig import put, read_all, root_of, running, shard_data, shard_key

from cell.storage.volumes import volume_path
from cell.storage.writer import FIRST_PROBATION_S
from common.errors import NotFound, Unavailable
from sim.world import SimWorld

SIZE = 3000


async def fill(store, numbers):
    for number in numbers:
        await put(store, shard_key(number), shard_data(number, SIZE))


async def assert_holds(store, numbers, gone=()):
    for number in numbers:
        assert await read_all(store, shard_key(number)) == shard_data(number, SIZE)
    for number in gone:
        with pytest.raises(NotFound):
            await read_all(store, shard_key(number))


@pytest.mark.fault("F10")
@pytest.mark.parametrize("reason", ["no_space", "write_error"])
@pytest.mark.parametrize("rest_s", [0, 60])
@pytest.mark.parametrize("power", [False, True])
async def test_a_cell_on_a_medium_that_refuses_writes_starts_read_only(
    autojump_clock, reason, rest_s, power
):
    """Also what the index was not told yet is found, and what was deleted stays so."""
    node = SimWorld(1).node("cell")
    async with running(node) as store:
        for number in range(40):
            await fill(store, [number])
            await trio.sleep(10)  # a transaction for each: a power cut takes only the latest
        await store.delete([shard_key(0)])
        await trio.sleep(60)  # the tables know these
        await fill(store, range(40, 80))
        await store.delete([shard_key(1), shard_key(41)])
        await put(store, shard_key(0), shard_data(0, SIZE))
        await trio.sleep(rest_s)
    node.crash(power=power)
    node.platter.faults.refuses = reason
    held = [0, *range(2, 41), *range(42, 80)]
    async with running(node) as store:
        facts = await store.facts()
        assert facts.read_only
        assert facts.shards == len(held)
        await assert_holds(store, held, [1, 41])
        with pytest.raises(Unavailable, match="read_only"):
            await put(store, shard_key(99), b"new")
        await trio.sleep(600)
        await assert_holds(store, held, [1, 41])
    node.crash(power=power)
    async with running(node) as store:  # once more: nothing was changed by the first start
        await assert_holds(store, held, [1, 41])
        node.platter.faults.refuses = ""
        await trio.sleep(2 * FIRST_PROBATION_S)
        assert not (await store.facts()).read_only
        await put(store, shard_key(99), shard_data(99, SIZE))
        await trio.sleep(60)
        await assert_holds(store, [*held, 99], [1, 41])
    node.crash(power=power)
    async with running(node) as store:
        assert (await store.facts()).shards == len(held) + 1
        await assert_holds(store, [*held, 99], [1, 41])


@pytest.mark.fault("F10")
async def test_a_first_start_on_a_medium_that_refuses_writes_says_so(autojump_clock):
    node = SimWorld(1).node("cell")
    node.platter.faults.refuses = "no_space"
    with pytest.raises(Unavailable, match="store_failed"):
        async with running(node):
            pass


@pytest.mark.fault("F10")
async def test_an_unfinished_upload_is_not_taken_for_a_shard_at_a_read_only_start(autojump_clock):
    node = SimWorld(1).node("cell")
    data = shard_data(7, 4 * SIZE)
    async with running(node) as store:
        await put(store, shard_key(1), shard_data(1, SIZE))
        sending = await store.begin_upload(shard_key(7), SIZE, len(data))
        await sending.append(0, memoryview(data)[:SIZE])
        await put(store, shard_key(2), shard_data(2, SIZE))
    node.crash(power=False)
    node.platter.faults.refuses = "write_error"
    async with running(node) as store:
        await assert_holds(store, [1, 2], [7])
        node.platter.faults.refuses = ""
        await trio.sleep(4 * FIRST_PROBATION_S)
        await store.put(shard_key(7), SIZE, root_of(data, SIZE), memoryview(data))
        assert await read_all(store, shard_key(7)) == data


@pytest.mark.fault("F10", "F2")
async def test_a_volume_that_is_gone_is_missed_at_a_read_only_start_too(autojump_clock):
    node = SimWorld(1).node("cell")
    async with running(node) as store:
        await fill(store, range(40))
        await store.index.flush()
        entries = {number: await store.index.find(shard_key(number)) for number in range(40)}
        volumes = sorted({each.volume for each in entries.values()})
        assert len(volumes) > 1
    lost = [number for number, each in entries.items() if each.volume == volumes[0]]
    held = [number for number in entries if number not in lost]
    node.crash(power=False)
    del node.platter.inodes[volume_path(volumes[0])]
    node.platter.faults.refuses = "write_error"
    async with running(node) as store:
        assert (await store.facts()).shards == len(held)
        await assert_holds(store, held, gone=lost)
        node.platter.faults.refuses = ""
        await trio.sleep(2 * FIRST_PROBATION_S)
        await put(store, shard_key(99), shard_data(99, SIZE))
        assert sorted(await store.index.lost(100)) == [shard_key(number) for number in lost]
        await assert_holds(store, [*held, 99], gone=lost)
    node.crash(power=False)
    async with running(node) as store:
        assert sorted(await store.index.lost(100)) == [shard_key(number) for number in lost]
        await assert_holds(store, [*held, 99], gone=lost)
