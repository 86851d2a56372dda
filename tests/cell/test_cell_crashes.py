"""Power cuts and kills at every I/O step: old or new, never lost, never both, never resurrected."""

import pytest
import trio
from cell_rig import live, put, read_all, running, shard_data, shard_key, upload

from common.errors import NotFound
from sim.replay import run_seeded
from sim.stores import SNAPSHOT_EVERY
from sim.world import SimWorld

SMALL = 700


class History:
    """What was acknowledged. An operation under way leaves both outcomes open."""

    def __init__(self):
        self.must = {}
        self.open = {}

    def begin(self, key, data):
        self.open[key] = (self.must.get(key), data)

    def end(self, key):
        data = self.open.pop(key)[1]
        if data is None:
            self.must.pop(key, None)
        else:
            self.must[key] = data

    async def check(self, store):
        for number in range(64):
            key = shard_key(number)
            try:
                found = await read_all(store, key)
            except NotFound:
                found = None
            if key in self.open:
                assert found in self.open[key], f"shard {number} is neither old nor new"
            else:
                assert found == self.must.get(key), f"shard {number}"
            # What was found counts from now on.
            self.open.pop(key, None)
            if found is None:
                self.must.pop(key, None)
            else:
                self.must[key] = found

    def settle(self, key, found):
        self.open.pop(key, None)


async def do_put(store, history, number, size=SMALL):
    data = shard_data(number + size, size)
    history.begin(shard_key(number), data)
    await put(store, shard_key(number), data)
    history.end(shard_key(number))


async def do_upload(store, history, number, size=3000):
    data = shard_data(number + size, size)
    history.begin(shard_key(number), data)
    await upload(store, shard_key(number), data, 1000)
    history.end(shard_key(number))


async def do_delete(store, history, *numbers):
    keys = [shard_key(number) for number in numbers]
    for key in keys:
        history.begin(key, None)
    for key in await store.delete(keys):
        history.end(key)


async def do_compact(store, history, *_):
    store.writer.retire_active()
    while await store.compaction.step():
        pass


async def do_flush(store, history):
    await store.index.flush()


async def prepare(store, history):
    for number in range(6):
        await do_put(store, history, number)
    await do_upload(store, history, 6)
    await do_delete(store, history, 0, 1, 2, 5)
    await store.index.flush()


async def put_delete_put(store, history):
    await do_put(store, history, 10)
    await do_delete(store, history, 10)
    await do_put(store, history, 10, size=SMALL + 1)


async def upload_and_delete_old(store, history):
    await do_upload(store, history, 11)
    await do_delete(store, history, 3, 6)


async def two_at_once(store, history):
    async with trio.open_nursery() as nursery:
        nursery.start_soon(do_upload, store, history, 12)
        nursery.start_soon(do_put, store, history, 13)
        nursery.start_soon(do_delete, store, history, 4)


async def compact(store, history):
    await do_compact(store, history)
    await do_put(store, history, 14)


async def delete_and_compact(store, history):
    async with trio.open_nursery() as nursery:
        nursery.start_soon(do_compact, store, history)
        nursery.start_soon(do_delete, store, history, 3, 4)
    await do_compact(store, history)


async def put_over_deleted_and_compact(store, history):
    await do_put(store, history, 0, size=SMALL + 2)
    await do_flush(store, history)
    await do_compact(store, history)
    await do_delete(store, history, 0)


SEQUENCES = [
    put_delete_put,
    upload_and_delete_old,
    two_at_once,
    compact,
    delete_and_compact,
    put_over_deleted_and_compact,
]


async def run_to_cut(seed, sequence, cut, *, power):
    """One life that prepares, one that dies at step ``cut`` of the sequence."""
    node = SimWorld(seed).node("cell")
    history = History()

    async def first(store):
        await prepare(store, history)

    async def second(store):
        node.cut_at_step = node.steps + cut if power else None
        await sequence(store, history)
        node.cut_at_step = None

    assert await live(node, first)
    ended = await live(node, second)
    node.cut_at_step = None
    return node, history, ended


@pytest.mark.parametrize("without_index", [False, True])
@pytest.mark.parametrize("sequence", SEQUENCES)
async def test_a_power_cut_at_any_step_loses_nothing(autojump_clock, sequence, without_index):
    for cut in range(1, 200):
        for seed in (cut, cut + 1000):
            node, history, ended = await run_to_cut(seed, sequence, cut, power=True)
            if without_index:
                node.databases.clear()
            async with running(node) as store:
                await history.check(store)
                await do_put(store, history, 20)
                await do_delete(store, history, 13)
                await do_compact(store, history)
                await history.check(store)
            node.databases.clear()
            async with running(node) as store:
                await history.check(store)
        if ended:
            break
    else:
        raise AssertionError("the sequence never ended")


@pytest.mark.parametrize("seed", range(8))
async def test_an_index_from_between_a_copy_and_its_move_does_not_come_back(autojump_clock, seed):
    node = SimWorld(seed).node("cell")
    history = History()
    async with running(node) as store:
        for number in range(60):
            await do_put(store, history, number, 7000)
        await do_delete(store, history, *range(58))
        await store.holds.take([shard_key(58)])  # its copy becomes durable, and does not count yet
        async with trio.open_nursery() as nursery:
            nursery.start_soon(do_compact, store, history)
            await trio.sleep(1)
            for _ in range(SNAPSHOT_EVERY):
                store.index.volume_changed(store.writer.active.number)
                await store.index.flush()
            store.holds.give_back(shard_key(58))
        assert 1 not in store.index.volumes
        node.crash(power=True)
    async with running(node) as store:
        await history.check(store)


async def test_a_power_cut_at_any_step_of_a_start_loses_nothing(autojump_clock):
    for cut in range(1, 100):
        node, history, _ = await run_to_cut(cut, two_at_once, 7, power=True)
        if cut % 2:
            node.databases.clear()
        node.cut_at_step = node.steps + cut

        async def nothing(store):
            pass

        ended = await live(node, nothing)
        node.cut_at_step = None
        async with running(node) as store:
            await history.check(store)
        if ended:
            break
    else:
        raise AssertionError("the start never ended")


@pytest.mark.parametrize("seed", range(12))
def test_many_lives_with_every_kind_of_end(seed):
    async def main():
        node = SimWorld(seed).node("cell")
        chance = node.swarm.random("test")
        history = History()

        async def work(store):
            await history.check(store)
            node.cut_at_step = node.steps + chance.randrange(1, 60)
            while True:
                number = chance.randrange(20)
                match chance.randrange(6):
                    case 0 | 1 if shard_key(number) not in history.must:
                        await do_put(store, history, number, chance.randrange(1, 9000))
                    case 2 if shard_key(number) not in history.must:
                        await do_upload(store, history, number, chance.randrange(1, 30_000))
                    case 3 | 4:
                        await do_delete(store, history, number, (number + 1) % 20)
                    case 5:
                        await do_compact(store, history)

        for _ in range(25):
            assert not await live(node, work)
            node.cut_at_step = None
            if chance.randrange(4) == 0:
                node.databases.clear()
        async with running(node) as store:
            await history.check(store)

    run_seeded(seed, main)


async def test_a_kill_loses_not_even_what_was_not_acknowledged_in_volumes(autojump_clock):
    node = SimWorld(1).node("cell")
    history = History()
    async with running(node) as store:
        await prepare(store, history)
        sending = await store.begin_upload(shard_key(30), 1000, 5000)
        await sending.append(0, memoryview(bytes(1000)))
        await do_put(store, history, 31)
        node.crash(power=False)
    async with running(node) as store:
        await history.check(store)
        end = store.volumes.used_bytes
        await do_put(store, history, 32)
        assert store.volumes.used_bytes > end
        await history.check(store)


async def test_compaction_gives_room_back_and_drops_tombstones(autojump_clock):
    node = SimWorld(1).node("cell")
    history = History()
    async with running(node) as store:
        for number in range(60):
            await do_put(store, history, number, 7000)
        full = store.volumes.used_bytes
        await do_delete(store, history, *range(58))
        for _ in range(3):
            await do_compact(store, history)
        assert store.volumes.used_bytes < full / 6
        await do_delete(store, history, 58, 59)
        for _ in range(3):
            await do_compact(store, history)
        await history.check(store)
        facts = await store.facts()
        assert (facts.shards, facts.live_bytes) == (0, 0)
        assert store.volumes.used_bytes < 40_000
    node.databases.clear()
    async with running(node) as store:
        await history.check(store)
        assert (await store.facts()).shards == 0


async def test_counts_agree_with_a_rebuilt_index(autojump_clock):
    node = SimWorld(3).node("cell")
    history = History()
    async with running(node) as store:
        for number in range(40):
            await do_put(store, history, number, 3000)
        await do_delete(store, history, *range(0, 40, 3))
        await do_compact(store, history)
        facts = await store.facts()
        await store.index.flush()
        live_bytes = {n: each.live_bytes for n, each in store.index.volumes.items()}
    async with running(node) as store:
        again = await store.facts()
        assert (again.shards, again.live_bytes) == (facts.shards, facts.live_bytes)
        assert {n: each.live_bytes for n, each in store.index.volumes.items()} == live_bytes
    node.databases.clear()
    async with running(node) as store:
        rebuilt = await store.facts()
        assert (rebuilt.shards, rebuilt.live_bytes) == (facts.shards, facts.live_bytes)
