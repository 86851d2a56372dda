"""The simulated ports model what they say they model."""

import pytest
import trio

from common.errors import Unavailable
from common.ports import Address
from sim.world import SimWorld


async def _bytes_of(disk, path):
    file = await disk.open(path)
    return await file.read(0, await file.size())


async def test_a_power_cut_keeps_what_was_synced_and_may_lose_the_rest():
    outcomes = set()
    for seed in range(40):
        node = SimWorld(seed).node("a")
        disk = node.world.disk
        file = await disk.open("d/f", create=True)
        await file.write(0, [b"A" * 1024])
        await file.sync()
        await disk.sync_directory("d")
        await file.write(512, [b"B" * 1024])
        node.crash(power=True)
        after = await _bytes_of(node.world.disk, "d/f")
        assert after[:512] == b"A" * 512
        assert len(after) in (1024, 1536)
        outcomes.add(after)
    assert len(outcomes) >= 3


async def test_a_truncation_can_be_undone_by_a_power_cut():
    node = SimWorld(1).node("a")
    file = await node.world.disk.open("f", create=True)
    await file.write(0, [b"A" * 2000])
    await file.sync()
    await node.world.disk.sync_directory("")
    await file.truncate(100)
    node.crash(power=True)
    assert await _bytes_of(node.world.disk, "f") == b"A" * 2000


async def test_a_name_is_durable_only_after_its_directory_is_synced():
    survived = 0
    for seed in range(40):
        node = SimWorld(seed).node("a")
        file = await node.world.disk.open("d/f", create=True)
        await file.write(0, [b"x"])
        await file.sync()
        node.crash(power=True)
        survived += "f" in await node.world.disk.names("d")
    assert 0 < survived < 40


async def test_a_killed_process_loses_nothing_that_was_written():
    node = SimWorld(1).node("a")
    file = await node.world.disk.open("f", create=True)
    await file.write(0, [b"x" * 10])
    node.crash(power=False)
    assert await _bytes_of(node.world.disk, "f") == b"x" * 10


async def test_bytes_arrive_in_order_over_a_lossy_link(autojump_clock):
    swarm = SimWorld(3)
    swarm.internet.model.loss = 0.3
    swarm.internet.model.jitter_s = 0.05
    listener = await swarm.node("b").world.network.listen(Address("b", 0), identity=None)
    near = await swarm.node("a").world.network.connect(listener.address, pin=None)
    far = await listener.accept()
    got = bytearray()

    async def read():
        buffer = bytearray(1000)
        while count := await far.receive_into(memoryview(buffer)):
            got.extend(buffer[:count])

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        for number in range(100):
            await near.send([bytes([number]) * 77])
        await near.close()
    assert bytes(got) == b"".join(bytes([number]) * 77 for number in range(100))


async def test_a_crash_resets_connections_and_silences_the_old_life(autojump_clock):
    swarm = SimWorld(3)
    node = swarm.node("b")
    listener = await node.world.network.listen(Address("b", 0), identity=None)
    near = await swarm.node("a").world.network.connect(listener.address, pin=None)
    far = await listener.accept()
    node.crash(power=False)
    with pytest.raises(Unavailable, match="connection_lost"):
        await near.receive_into(memoryview(bytearray(1)))
    with trio.move_on_after(1000) as scope:
        await far.send([b"ghost"])
    assert scope.cancelled_caught
    with pytest.raises(Unavailable, match="connect_failed"):
        await swarm.node("a").world.network.connect(listener.address, pin=None)


async def test_a_partition_holds_bytes_back_until_it_heals(autojump_clock):
    swarm = SimWorld(3)
    listener = await swarm.node("b").world.network.listen(Address("b", 0), identity=None)
    near = await swarm.node("a").world.network.connect(listener.address, pin=None)
    far = await listener.accept()
    swarm.internet.block("a", "b")
    await near.send([b"held"])
    buffer = bytearray(10)
    with trio.move_on_after(60) as scope:
        await far.receive_into(memoryview(buffer))
    assert scope.cancelled_caught
    swarm.internet.heal()
    assert await far.receive_into(memoryview(buffer)) == 4


async def test_power_is_cut_just_before_the_step_asked_for(autojump_clock):
    node = SimWorld(3).node("a")
    node.cut_at_step = 2

    async def run():
        file = await node.world.disk.open("f", create=True)
        await file.write(0, [b"never"])

    with trio.move_on_after(1) as scope:
        await run()
    assert scope.cancelled_caught
    assert node.life == 1
    assert (
        "f" not in await node.world.disk.names("") or await _bytes_of(node.world.disk, "f") == b""
    )


async def test_a_store_that_is_not_durable_may_go_back_after_a_power_cut():
    counts = set()
    for seed in range(20):
        node = SimWorld(seed).node("a")
        store = await node.world.stores.open("index", durable=False)
        await store.transact(lambda sql: sql.execute("CREATE TABLE t (x)") and None)
        for _ in range(20):
            await store.transact(lambda sql: sql.execute("INSERT INTO t VALUES (1)") and None)
        node.crash(power=True)
        store = await node.world.stores.open("index", durable=False)
        tables = await store.read(
            lambda sql: sql.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        )
        counts.add(
            await store.read(lambda sql: sql.execute("SELECT count(*) FROM t").fetchone()[0])
            if tables
            else -1
        )
    assert len(counts) > 2


async def _after_a_failed_sync(seed, *, rewrite):
    node = SimWorld(seed).node("a")
    file = await node.world.disk.open("f", create=True)
    await file.write(0, [b"A" * 2048])
    await file.sync()
    await node.world.disk.sync_directory("")
    await file.write(0, [b"B" * 2048])
    node.platter.faults.sync_error = 1.0
    with pytest.raises(Unavailable, match="sync_failed"):
        await file.sync()
    node.platter.faults.sync_error = 0.0
    if rewrite:
        await file.write(0, [b"B" * 2048])
    await file.sync()
    node.crash(power=True)
    return await _bytes_of(node.world.disk, "f")


async def test_a_sync_after_a_failed_one_proves_nothing_of_what_was_not_written_anew():
    outcomes = {await _after_a_failed_sync(seed, rewrite=False) for seed in range(20)}
    assert len(outcomes) > 3
    rewritten = {await _after_a_failed_sync(seed, rewrite=True) for seed in range(20)}
    assert rewritten == {b"B" * 2048}


async def test_what_a_power_cut_left_of_a_file_whose_name_came_back_stays():
    """A file is written, its sync fails, it is removed; a power cut undoes the removal."""
    came_back = 0
    for seed in range(40):
        node = SimWorld(seed).node("a")
        file = await node.world.disk.open("d/f", create=True)
        await file.write(0, [b"A" * 2048])
        node.platter.faults.sync_error = 1.0
        with pytest.raises(Unavailable):
            await file.sync()
        node.platter.faults.sync_error = 0.0
        await node.world.disk.unlink("d/f")
        node.crash(power=True)
        if "f" in await node.world.disk.names("d"):
            came_back += 1
            left = await _bytes_of(node.world.disk, "d/f")
            await node.world.disk.sync_directory("d")
            node.crash(power=True)
            assert await _bytes_of(node.world.disk, "d/f") == left
    assert came_back > 5
