"""Shards are put, read and deleted, over restarts, on a simulated disk."""

from contextlib import suppress

import pytest
import trio
from cell_rig import VOLUME_BYTES, put, read_all, root_of, running, shard_data, shard_key, upload

from cell.storage.volumes import volume_path
from cell.storage.writer import FIRST_PROBATION_S, LONGEST_PROBATION_S
from common import limits
from common.errors import Corrupt, NotFound, Refused, Unavailable
from common.format.volume import VOLUME_HEAD_BYTES
from sim.world import SimWorld


async def test_a_put_shard_reads_back_now_and_after_a_restart(autojump_clock):
    node = SimWorld(1).node("cell")
    small, large = shard_data(1, 700), shard_data(2, 5000)
    async with running(node) as store:
        await put(store, shard_key(1), small)
        await put(store, shard_key(2), large, unit_bytes=1024)
        await upload(store, shard_key(3), large, 999)
        for _ in range(2):
            assert await read_all(store, shard_key(1)) == small
            assert await read_all(store, shard_key(2)) == large
            assert await read_all(store, shard_key(3)) == large
    async with running(node) as store:
        assert await read_all(store, shard_key(1)) == small
        assert await read_all(store, shard_key(2)) == large
        assert await read_all(store, shard_key(3)) == large
        assert (await store.facts()).shards == 3


async def test_a_range_of_units_comes_with_all_leaves(autojump_clock):
    node = SimWorld(1).node("cell")
    data = shard_data(1, 2500)
    async with running(node) as store:
        await put(store, shard_key(1), data, unit_bytes=1000)
        entry, units, leaves = await store.read(shard_key(1), 1, 5, want_leaves=True)
        assert units == data[1000:]
        assert len(leaves) == 96
        assert entry.shard_bytes == 2500
        for first, count in ((3, 1), (0, 0), (1 << 62, 1)):
            with pytest.raises(Refused, match="bad_range"):
                await store.read(shard_key(1), first, count, want_leaves=False)
        with pytest.raises(NotFound, match="no_such_shard"):
            await store.read(shard_key(9), 0, 1, want_leaves=False)


async def test_a_put_is_idempotent_and_another_root_is_refused(autojump_clock):
    node = SimWorld(1).node("cell")
    data, other = shard_data(1, 700), shard_data(2, 700)
    async with running(node) as store:
        await put(store, shard_key(1), data)
        used = store.space.used_bytes
        await put(store, shard_key(1), data)
        await upload(store, shard_key(1), data, 700)
        assert store.volumes.used_bytes <= used
        with pytest.raises(Refused, match="shard_exists"):
            await put(store, shard_key(1), other)
        with pytest.raises(Refused, match="shard_exists"):
            await upload(store, shard_key(1), other, 700)
        with pytest.raises(Refused, match="shard_exists"):
            await store.begin_upload(shard_key(1), 100, 700)
        assert await read_all(store, shard_key(1)) == data


async def test_a_lie_about_the_root_keeps_nothing(autojump_clock):
    node = SimWorld(1).node("cell")
    data = shard_data(1, 3000)
    async with running(node) as store:
        with pytest.raises(Corrupt, match="root_mismatch"):
            await store.put(shard_key(1), 1000, bytes(32), memoryview(data))
        sending = await store.begin_upload(shard_key(1), 1000, 3000)
        for unit in range(3):
            await sending.append(unit, memoryview(data)[unit * 1000 : unit * 1000 + 1000])
        with pytest.raises(Corrupt, match="root_mismatch"):
            await sending.finish(bytes(32))
        sending.abort()
        with pytest.raises(NotFound):
            await read_all(store, shard_key(1))
        await put(store, shard_key(1), data, unit_bytes=1000)
        assert await read_all(store, shard_key(1)) == data


async def test_units_come_in_order_and_in_full(autojump_clock):
    node = SimWorld(1).node("cell")
    data = memoryview(shard_data(1, 2500))
    async with running(node) as store:
        sending = await store.begin_upload(shard_key(1), 1000, 2500)
        with pytest.raises(Refused, match="unit_out_of_order"):
            await sending.append(1, data[:1000])
        with pytest.raises(Refused, match="bad_unit_length"):
            await sending.append(0, data[:999])
        await sending.append(0, data[:1000])
        with pytest.raises(Refused, match="unit_out_of_order"):
            await sending.append(0, data[:1000])
        with pytest.raises(Refused, match="upload_incomplete"):
            await sending.finish(bytes(32))
        await sending.append(1, data[1000:2000])
        with pytest.raises(Refused, match="bad_unit_length"):
            await sending.append(2, data[:1000])
        await sending.append(2, data[2000:])
        with pytest.raises(Refused, match="bad_unit_length"):
            await sending.append(3, data[:0])
        await sending.finish(root_of(data, 1000))
        assert await read_all(store, shard_key(1)) == data


@pytest.mark.parametrize(
    ("unit_bytes", "shard_bytes"),
    [(0, 10), (10, 0), (1, 129), ((1 << 20) + 1, 10), (1 << 62, 1 << 62)],
)
async def test_impossible_shapes_are_refused(autojump_clock, unit_bytes, shard_bytes):
    node = SimWorld(1).node("cell")
    async with running(node) as store:
        with pytest.raises(Refused, match="bad_shape"):
            await store.begin_upload(shard_key(1), unit_bytes, shard_bytes)


async def test_a_deleted_shard_stays_gone_even_without_the_index(autojump_clock):
    node = SimWorld(1).node("cell")
    async with running(node) as store:
        for number in range(10):
            await put(store, shard_key(number), shard_data(number, 700))
        assert sorted(await store.delete([shard_key(3), shard_key(99)])) == [
            shard_key(3),
            shard_key(99),
        ]
        with pytest.raises(NotFound):
            await read_all(store, shard_key(3))
    node.databases.clear()
    async with running(node) as store:
        with pytest.raises(NotFound):
            await read_all(store, shard_key(3))
        for number in set(range(10)) - {3}:
            assert await read_all(store, shard_key(number)) == shard_data(number, 700)
        assert (await store.facts()).shards == 9
        await put(store, shard_key(3), shard_data(33, 600))
    node.databases.clear()
    async with running(node) as store:
        assert await read_all(store, shard_key(3)) == shard_data(33, 600)


async def test_volumes_are_rolled_and_all_are_read(autojump_clock):
    node = SimWorld(1).node("cell")
    async with running(node) as store:
        for number in range(40):
            await put(store, shard_key(number), shard_data(number, 8000))
        assert len(store.index.volumes) > 4
        assert all(each.end_bytes <= VOLUME_BYTES for each in store.index.volumes.values())
        await upload(store, shard_key(100), shard_data(100, 90_000), 1000)
    for _ in range(2):
        async with running(node) as store:
            for number in range(40):
                assert await read_all(store, shard_key(number)) == shard_data(number, 8000)
            assert await read_all(store, shard_key(100)) == shard_data(100, 90_000)
        node.databases.clear()


async def test_concurrent_puts_share_syncs(autojump_clock):
    node = SimWorld(1).node("cell")
    async with running(node) as store:
        await put(store, shard_key(0), b"x")
        before = node.steps
        async with trio.open_nursery() as nursery:
            for number in range(1, 101):
                nursery.start_soon(put, store, shard_key(number), shard_data(number, 100))
        assert node.steps - before < 30
        assert (await store.facts()).shards == 101


async def test_concurrent_puts_of_one_shard_store_it_once(autojump_clock):
    node = SimWorld(1).node("cell")
    data = shard_data(1, 500)
    async with running(node) as store:
        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(put, store, shard_key(1), data)
                nursery.start_soon(upload, store, shard_key(1), data, 500)
        assert (await store.facts()).shards == 1
        assert (await store.facts()).live_bytes == 500


async def test_a_rotten_unit_is_never_served_and_is_reported(autojump_clock):
    node = SimWorld(1).node("cell")
    data = shard_data(1, 3000)
    async with running(node) as store:
        await put(store, shard_key(1), data, unit_bytes=1000)
        await put(store, shard_key(2), data, unit_bytes=1000)
        entry = await store.index.find(shard_key(1))
        node.platter.rot(volume_path(entry.volume), entry.data_offset + 1500)
        assert (await store.read(shard_key(1), 0, 1, want_leaves=False))[1] == data[:1000]
        with pytest.raises(Corrupt, match="leaf_mismatch"):
            await store.read(shard_key(1), 1, 1, want_leaves=False)
        with pytest.raises(Corrupt, match="leaf_mismatch"):
            await store.read(shard_key(1), 0, 1, want_leaves=False)
        await store.index.flush()
        assert await store.index.lost(10) == [shard_key(1)]
        assert await read_all(store, shard_key(2)) == data
        # A repair may put it back.
        await put(store, shard_key(1), data, unit_bytes=1000)
        assert await read_all(store, shard_key(1)) == data


async def test_rotten_leaves_are_noticed(autojump_clock):
    node = SimWorld(1).node("cell")
    data = shard_data(1, 3000)
    async with running(node) as store:
        await put(store, shard_key(1), data, unit_bytes=1000)
        entry = await store.index.find(shard_key(1))
        node.platter.rot(volume_path(entry.volume), entry.leaves_offset + 5)
        with pytest.raises(Corrupt, match="leaf_mismatch"):
            await store.read(shard_key(1), 0, 1, want_leaves=True)


async def test_a_rotten_volume_head_costs_nothing(autojump_clock):
    node = SimWorld(1).node("cell")
    async with running(node) as store:
        await put(store, shard_key(1), b"hello")
    node.databases.clear()
    node.platter.rot(volume_path(1), 20)
    async with running(node) as store:
        assert await read_all(store, shard_key(1)) == b"hello"


async def test_a_rotten_header_hides_one_shard_only(autojump_clock):
    node = SimWorld(1).node("cell")
    async with running(node) as store:
        for number in range(5):
            await put(store, shard_key(number), shard_data(number, 3000))
        entry = await store.index.find(shard_key(2))
    node.databases.clear()
    node.platter.rot(volume_path(entry.volume), entry.offset + 9)
    async with running(node) as store:
        for number in (0, 1, 3, 4):
            assert await read_all(store, shard_key(number)) == shard_data(number, 3000)


async def test_a_failed_sync_seals_the_volume_and_is_not_retried(autojump_clock):
    node = SimWorld(1).node("cell")
    async with running(node) as store:
        await put(store, shard_key(1), b"one")
        node.platter.faults.sync_error = 1.0
        with pytest.raises(Unavailable, match="sync_failed"):
            await put(store, shard_key(2), b"two")
        node.platter.faults.sync_error = 0.0
        with pytest.raises(NotFound):
            await read_all(store, shard_key(2))
        assert await read_all(store, shard_key(1)) == b"one"
        await put(store, shard_key(2), b"two")
        await put(store, shard_key(3), b"three")
        assert (await store.index.find(shard_key(3))).volume == 2
        assert await read_all(store, shard_key(2)) == b"two"


async def test_without_any_volume_to_write_the_cell_is_read_only(autojump_clock):
    node = SimWorld(1).node("cell")
    async with running(node) as store:
        await put(store, shard_key(1), b"one")
        node.platter.faults.sync_error = 1.0
        for number in (2, 3):
            with pytest.raises(Unavailable):
                await put(store, shard_key(number), b"two")
        node.platter.faults.sync_error = 0.0
        with pytest.raises(Unavailable, match="read_only"):
            await put(store, shard_key(4), b"two")
        facts = await store.facts()
        assert facts.read_only
        assert facts.read_only_reason == "sync_failed"
        assert facts.free_bytes == 0
        assert await read_all(store, shard_key(1)) == b"one"
        await trio.sleep(FIRST_PROBATION_S + 1)
        assert not (await store.facts()).read_only
        await put(store, shard_key(4), b"two")
        assert await read_all(store, shard_key(4)) == b"two"


@pytest.mark.fault("F8")
@pytest.mark.parametrize("reason", ["write_error", "no_space"])
async def test_a_cell_whose_disk_refuses_a_new_volume_is_read_only_on_probation(
    autojump_clock, reason
):
    node = SimWorld(1).node("cell")
    async with running(node) as store:
        await put(store, shard_key(1), b"one")
        node.platter.faults.refuses = reason
        for number in (2, 3):  # the first seals the active volume, the second wants a new one
            with pytest.raises(Unavailable, match=reason):
                await put(store, shard_key(number), b"two")
        with pytest.raises(Unavailable, match="read_only"):
            await put(store, shard_key(4), b"two")
        facts = await store.facts()
        assert (facts.read_only, facts.read_only_reason, facts.free_bytes) == (True, reason, 0)
        assert await read_all(store, shard_key(1)) == b"one"
        await trio.sleep(FIRST_PROBATION_S + 1)
        assert (await store.facts()).read_only
        node.platter.faults.refuses = ""
        await trio.sleep(2 * FIRST_PROBATION_S + 1)
        assert not (await store.facts()).read_only
        await put(store, shard_key(4), b"two")


@pytest.mark.fault("F8")
async def test_room_made_on_a_full_disk_is_used_after_one_probation(autojump_clock):
    node = SimWorld(1).node("cell")
    async with running(node) as store:
        node.platter.faults.refuses = "no_space"
        with pytest.raises(Unavailable, match="no_space"):
            await put(store, shard_key(1), b"one")
        await trio.sleep(100 * LONGEST_PROBATION_S)
        assert (await store.facts()).read_only
        node.platter.faults.refuses = ""
        await trio.sleep(FIRST_PROBATION_S + 1)
        assert not (await store.facts()).read_only


@pytest.mark.fault("F8")
async def test_a_cell_whose_index_takes_no_more_says_that_it_is_read_only(autojump_clock):
    node = SimWorld(1).node("cell")
    async with running(node) as store:
        node.databases["index.sqlite"].fail_commits = 1.0
        refused = None
        for number in range(2 * limits.MAX_UNFLUSHED_CHANGES):
            try:
                await put(store, shard_key(number), b"one")
            except Unavailable as error:
                refused = error.reason
                break
        assert refused == "index_failed"
        assert (await store.facts()).read_only_reason == "index_failed"


async def test_a_disk_that_goes_on_failing_is_tried_ever_less_often(autojump_clock):
    node = SimWorld(1).node("cell")
    async with running(node) as store:
        await put(store, shard_key(1), b"one")
        node.platter.faults.sync_error = 1.0
        for number in (2, 3):
            with pytest.raises(Unavailable):
                await put(store, shard_key(number), b"two")
        before = node.steps
        await trio.sleep(100 * LONGEST_PROBATION_S)
        assert node.steps - before < 2_000
        assert (await store.facts()).read_only
        node.platter.faults.sync_error = 0.0
        await trio.sleep(LONGEST_PROBATION_S + 1)
        assert not (await store.facts()).read_only


async def put_until_full(store):
    for number in range(100):
        try:
            await put(store, shard_key(number), shard_data(number, 8000))
        except Unavailable:
            with pytest.raises(Unavailable, match="no_space"):
                await put(store, shard_key(number), shard_data(number, 8000))
            return number
    raise AssertionError("never full")


async def test_a_full_disk_refuses_writes_and_goes_on_reading_and_deleting(autojump_clock):
    node = SimWorld(1).node("cell", capacity_bytes=400_000)
    async with running(node, reserve_bytes=100_000) as store:
        kept = await put_until_full(store)
        assert 25 <= kept <= 37
        with pytest.raises(Unavailable, match="no_space"):
            await store.begin_upload(shard_key(200), 8000, 80_000)
        for number in range(kept):
            assert await read_all(store, shard_key(number)) == shard_data(number, 8000)
        gone = [shard_key(number) for number in range(0, kept - 2)]
        assert sorted(await store.delete(gone)) == gone
        while await store.compaction.step():
            pass
        await put(store, shard_key(300), shard_data(300, 8000))
        assert await read_all(store, shard_key(kept - 1)) == shard_data(kept - 1, 8000)


async def test_the_hosts_limit_is_kept(autojump_clock):
    node = SimWorld(1).node("cell")
    async with running(node, capacity_bytes=300_000) as store:
        await put_until_full(store)
        facts = await store.facts()
        assert facts.capacity_bytes == 300_000
        assert facts.used_bytes <= 300_000
        assert facts.free_bytes < 10_000


async def test_an_aborted_upload_gives_its_room_back(autojump_clock):
    node = SimWorld(1).node("cell")
    async with running(node) as store:
        await put(store, shard_key(1), b"one")
        end = store.volumes.used_bytes
        sending = await store.begin_upload(shard_key(2), 1000, 20_000)
        await sending.append(0, memoryview(bytes(1000)))
        sending.abort()
        sending.abort()
        assert store.volumes.used_bytes == end
        first = await store.begin_upload(shard_key(2), 1000, 20_000)
        await put(store, shard_key(3), b"three")
        first.abort()
        await put(store, shard_key(4), b"four")
    node.databases.clear()
    async with running(node) as store:
        assert (await store.facts()).shards == 3
        assert await read_all(store, shard_key(3)) == b"three"


async def test_a_failed_write_loses_nothing_that_was_there(autojump_clock):
    for seed in range(10):
        node = SimWorld(seed).node("cell")
        async with running(node) as store:
            await put(store, shard_key(1), b"one")
            node.platter.faults.write_error = 0.5
            done = {shard_key(1): b"one"}
            for number in range(2, 30):
                try:
                    await put(store, shard_key(number), shard_data(number, 2000))
                except Unavailable:
                    continue
                done[shard_key(number)] = shard_data(number, 2000)
            node.platter.faults.write_error = 0.0
            for key, data in done.items():
                assert await read_all(store, key) == data
        node.databases.clear()
        async with running(node) as store:
            for key, data in done.items():
                assert await read_all(store, key) == data


async def test_a_failed_write_is_void_after_a_power_cut_too(autojump_clock):
    """Its header may be back, and that of the next record must not say that it is whole."""
    for seed in range(60):
        node = SimWorld(seed).node("cell")
        async with running(node) as store:
            node.platter.faults.write_error = 0.5
            for number in range(6):
                with suppress(Unavailable):
                    await put(store, shard_key(number), shard_data(number, 2000))
            node.platter.faults.write_error = 0.0
            node.crash(power=True)
        async with running(node) as store:
            for number in range(6):
                if await store.index.find(shard_key(number)) is not None:
                    data = await read_all(store, shard_key(number))
                    assert data == shard_data(number, 2000)


async def test_a_shard_whose_data_looks_like_records_cannot_forge_any(autojump_clock):
    node = SimWorld(1).node("cell")
    async with running(node) as store:
        await put(store, shard_key(1), b"one")
        raw = bytes(node.platter.inodes[volume_path(1)].content)
        record = raw[VOLUME_HEAD_BYTES : VOLUME_HEAD_BYTES + 1024]
        await put(store, shard_key(2), record * 8)
        entry = await store.index.find(shard_key(2))
    node.databases.clear()
    node.platter.rot(volume_path(1), entry.offset + 9)  # so that a scan looks inside
    async with running(node) as store:
        assert (await store.facts()).shards == 1
        assert await read_all(store, shard_key(1)) == b"one"


async def test_an_index_that_could_not_be_written_is_written_later(autojump_clock):
    """Even if nothing changes any more: the change that was not written must not wait for one."""
    node = SimWorld(1).node("cell")
    async with running(node) as store:
        await put(store, shard_key(1), shard_data(1, 100))
        await trio.sleep(60)
        database = node.databases["index.sqlite"]
        database.fail_commits = 1.0
        await store.delete([shard_key(1)])
        await trio.sleep(60)
        assert database.connection.execute("SELECT count(*) FROM shards").fetchone() == (1,)
        database.fail_commits = 0.0
        await trio.sleep(60)
        assert database.connection.execute("SELECT count(*) FROM shards").fetchone() == (0,)


async def test_compaction_reports_a_shard_whose_header_is_rotten(autojump_clock):
    """A scan does not find it; the index knows that it should be there."""
    node = SimWorld(1).node("cell")
    async with running(node) as store:
        for number in range(5):
            await put(store, shard_key(number), shard_data(number, 3000))
        entry = await store.index.find(shard_key(2))
        node.platter.rot(volume_path(entry.volume), entry.offset + 9)
        store.writer.retire_active()
        await store.delete([shard_key(number) for number in (0, 1, 3)])
        await trio.sleep(300)
        assert await store.index.lost(10) == [shard_key(2)]
        assert volume_path(entry.volume) in node.platter.inodes
        with pytest.raises(Corrupt):
            await read_all(store, shard_key(2))
        store.index.reported([shard_key(2)])
        await trio.sleep(1200)
        assert volume_path(entry.volume) not in node.platter.inodes
        with pytest.raises(NotFound):
            await read_all(store, shard_key(2))
        assert await read_all(store, shard_key(4)) == shard_data(4, 3000)


async def test_a_shard_whose_volume_is_gone_is_reported_as_lost(autojump_clock):
    node = SimWorld(1).node("cell")
    async with running(node) as store:
        for number in (1, 2):
            await put(store, shard_key(number), shard_data(number, 1000))
        entry = await store.index.find(shard_key(1))
        await store.volumes.close()
        del node.platter.inodes[volume_path(entry.volume)]
        with pytest.raises(Corrupt, match="read_error"):
            await store.read(shard_key(1), 0, 1, want_leaves=False)
        with pytest.raises(Corrupt, match="read_error"):
            await store.check(shard_key(2), no_wait)
        assert sorted(await store.index.lost(10)) == [shard_key(1), shard_key(2)]


async def no_wait(size):
    await trio.lowlevel.checkpoint()


async def test_only_the_record_that_was_meant_is_deleted(autojump_clock):
    node = SimWorld(1).node("cell")
    async with running(node) as store:
        for number in (1, 2):
            await put(store, shard_key(number), shard_data(number, 1000))
        old = {key: (await store.index.find(key)).sequence for key in map(shard_key, (1, 2))}
        # The first is found bad, and written again.
        store.index.mark_bad(shard_key(1), await store.index.find(shard_key(1)))
        await put(store, shard_key(1), shard_data(1, 1000))
        assert await store.delete(list(old), sequences=old) == [shard_key(2)]
        assert await read_all(store, shard_key(1)) == shard_data(1, 1000)
        assert await store.index.find(shard_key(2)) is None
