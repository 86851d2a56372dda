"""The journal on cells: what was acknowledged is on most of them, and a lost store comes back."""

from __future__ import annotations

from collections import Counter

import pytest
import trio
from journal_records import chain, joined
from journal_rig import KEY, STORE, JournalRig, RigCell, dump, journal_rig, known_cell
from trio.testing import MockClock

from common.errors import BadConfig, Corrupt, OutcomeUnknown, Refused, Unavailable
from common.format.journal import BEGINNING, ChainEnd, read_head
from common.ports import Sql, Store
from common.reasons import Outage
from common.wire.messages.base import Endpoint
from common.wire.messages.journal import JournalMembers
from coordinator.journal import opening, recovery_file
from coordinator.journal.commits import Assembly, open_record, pack_commit, seal_commit
from coordinator.journal.keeper import JournalKeeper, KnownCell
from coordinator.journal.recovery_file import RECOVERY_NAME, pack_recovery
from coordinator.journaled_store import forget_journal
from coordinator.recovery import recover
from coordinator.store import journal
from sim.replacing import replaced

pytestmark = pytest.mark.fault("F5")


def put(number: int):
    def work(sql: Sql) -> int:
        sql.executemany(
            "INSERT INTO deletes (cell, segment_id, slot) VALUES (?, ?, ?)",
            ((number, bytes([slot]) * 16, slot) for slot in range(3)),
        )
        found: int = sql.execute(
            "UPDATE counters SET value = value + 1 WHERE name = 'sequence' RETURNING value"
        ).fetchone()[0]
        return found

    return work


def refuse(sql: Sql) -> None:
    put(1000)(sql)
    raise Refused.received("no")


async def wait_kept(keeper: JournalKeeper) -> None:
    while keeper.tell()["state"] != "kept":  # noqa: ASYNC110  # virtual time
        await trio.sleep(0.1)  # a poll in virtual time costs nothing


async def write(rig: JournalRig, cell: RigCell, epoch: int, after: ChainEnd, records) -> None:
    client = rig.client(cell)
    await client.begin(epoch, b"x" * 16)
    await client.append(epoch, after, joined(records))


# --- settling ---------------------------------------------------------------------------------


async def test_a_tail_that_one_cell_has_is_on_most_before_it_counts(
    autojump_clock: MockClock,
) -> None:
    async with journal_rig() as rig:
        records = chain(5)
        for cell, count in zip(rig.cells, (2, 5, 3), strict=True):
            await write(rig, cell, 1, BEGINNING, records[:count])
        settled = await rig.settle()
        assert settled.source is not None
        assert settled.source.cell.cell_id == rig.cells[1].identity.peer_id
        held = [await each.journal.read(0) for each in rig.cells]
        whole = bytes(joined(records)) + settled.begun.record
        assert [each == whole for each in held].count(True) >= 2
        rig.cells[1].stop()
        again = await rig.settle()
        assert again.source is not None
        assert again.epoch > settled.epoch
        assert again.source.state.end.sequence == 6


async def test_the_journal_of_the_later_epoch_counts_though_it_is_shorter(
    autojump_clock: MockClock,
) -> None:
    async with journal_rig() as rig:
        settled = chain(2)
        stale = chain(6, after=settled[-1].end)
        mine = chain(1, epoch=2, after=settled[-1].end)
        await write(rig, rig.cells[0], 1, BEGINNING, settled + stale)
        await write(rig, rig.cells[1], 2, BEGINNING, settled + mine)
        await write(rig, rig.cells[2], 2, BEGINNING, settled + mine)
        found = await rig.settle(needs_all=True)
        assert found.begun.end.sequence == 4
        assert {each.end for each in rig.cells} == {found.begun.end}


@pytest.mark.fault("M4")
async def test_a_later_epoch_is_begun_and_an_earlier_coordinator_is_refused(
    autojump_clock: MockClock,
) -> None:
    refusals = []

    async def write_on(store: Store) -> None:
        try:
            await store.transact(put(3))
        except (Unavailable, OutcomeUnknown) as error:
            refusals.append(error.reason)

    async with journal_rig() as rig:
        other = rig.swarm.node("other")
        pool = await rig.pool_of(other)
        with pytest.RaisesGroup(Refused, flatten_subgroups=True):
            async with rig.keeping() as (opened, keeper):
                await wait_kept(keeper)
                await opened.store.transact(put(1))
                rig.swarm.internet.pause(rig.node.name)
                async with rig.keeping(other, recovered=rig.members, pool=pool) as (newer, later):
                    await wait_kept(later)
                    await newer.store.transact(put(2))
                rig.swarm.internet.resume(rig.node.name)
                rig.nursery.start_soon(write_on, opened.store)
                await trio.sleep_forever()
        assert keeper.fenced is not None
        assert refusals == ["store_unknown"]
        assert {row[0] for row in dump(other)["deletes"]} == {1, 2}


async def test_too_few_cells_settle_nothing(autojump_clock: MockClock) -> None:
    async with journal_rig() as rig:
        rig.cells[0].stop()
        rig.cells[1].stop()
        with pytest.raises(Unavailable, match="journal_unsettled"):
            await rig.settle()
        await rig.cells[1].start()
        await trio.sleep(10)
        await rig.settle()
        with pytest.raises(Unavailable, match="journal_unsettled"):
            await rig.settle(needs_all=True)


async def test_a_forged_record_is_found_and_its_cell_is_left_out(
    autojump_clock: MockClock,
) -> None:
    async with journal_rig() as rig:
        records = chain(3)
        for cell in rig.cells:
            await write(rig, cell, 1, BEGINNING, records)
        forged = chain(1, epoch=1, after=records[-1].end)[0]
        body = bytearray(forged.record)
        body[-1] ^= 1
        await rig.client(rig.cells[0]).append(1, records[-1].end, bytes(body))
        assert rig.cells[0].end.sequence == 4
        settled = await rig.settle()
        assert settled.source is not None
        assert settled.source.cell.cell_id != rig.cells[0].identity.peer_id
        assert settled.begun.end.sequence == 4
        for cell in rig.cells[1:]:
            assert cell.end == settled.begun.end


async def test_a_store_of_another_journal_is_not_mixed_with_it(autojump_clock: MockClock) -> None:
    async with journal_rig() as rig:
        for cell in rig.cells:
            await write(rig, cell, 1, BEGINNING, chain(5))
        with pytest.raises(Corrupt, match="journal_forked"):
            await rig.settle(chain(3)[-1].end)


async def test_one_cell_that_names_another_journal_stops_nothing(
    autojump_clock: MockClock,
) -> None:
    async with journal_rig() as rig:
        records = chain(3)
        await write(rig, rig.cells[0], 1, BEGINNING, chain(9))
        for cell in rig.cells[1:]:
            await write(rig, cell, 1, BEGINNING, records)
        settled = await rig.settle(records[-1].end, needs_all=True)
        assert settled.source is None
        assert settled.begun.end.sequence == 4


@pytest.mark.parametrize("claimed", [1, 2, 3, 4])
@pytest.mark.parametrize("epoch", [1, 7])
@pytest.mark.parametrize("has_store", [True, False])
async def test_one_cell_that_claims_an_end_that_its_records_do_not_have_stops_nothing(
    autojump_clock: MockClock, claimed: int, epoch: int, has_store: bool
) -> None:
    async with journal_rig() as rig:
        records = chain(3)
        for cell in rig.cells:
            await write(rig, cell, 1, BEGINNING, records)
        rig.cells[0].journal._end = ChainEnd(claimed, epoch, b"x" * 32)
        settled = await rig.settle(records[-1].end if has_store else BEGINNING)
        assert (settled.source is None) is has_store
        assert settled.begun.end.sequence == 4
        for cell in rig.cells[1:]:
            assert cell.end == settled.begun.end


async def test_cells_that_lost_what_the_store_has_are_filled_again(
    autojump_clock: MockClock,
) -> None:
    async with journal_rig() as rig:
        records = chain(5)
        for cell in rig.cells:
            await write(rig, cell, 1, BEGINNING, records[:2])
        settled = await rig.settle(records[-1].end)
        assert settled.is_behind_store
        assert settled.source is None


# --- a store whose journal is kept --------------------------------------------------------------


@pytest.mark.fault("M4")
async def test_a_commit_is_on_most_cells_before_it_is_acknowledged(
    autojump_clock: MockClock,
) -> None:
    async with journal_rig() as rig, rig.keeping() as (opened, keeper):
        await wait_kept(keeper)
        for number in range(5):
            await opened.store.transact(put(number))
            sequence = keeper.tell()["sequence"]
            assert [each.end.sequence >= sequence for each in rig.cells].count(True) >= 2
        rig.cells[0].stop()
        await opened.store.transact(put(10))
        rig.cells[1].stop()
        rig.nursery.start_soon(opened.store.transact, put(11))
        await trio.sleep(60)
        assert 11 not in {row[0] for row in dump(rig.node)["deletes"]}
        await rig.cells[1].start()
        await opened.store.transact(put(12))
        assert {11, 12} <= {row[0] for row in dump(rig.node)["deletes"]}


async def test_a_lost_store_comes_back_whole(autojump_clock: MockClock) -> None:
    async with journal_rig() as rig:
        async with rig.keeping() as (opened, keeper):
            await opened.store.transact(put(1))
            await wait_kept(keeper)
            for number in range(2, 30):
                await opened.store.transact(put(number))
            with pytest.raises(Refused):
                await opened.store.transact(refuse)
        before = dump(rig.node)
        content = pack_recovery(rig.keys, rig.members)
        assert bytes(rig.node.platter.inodes[RECOVERY_NAME].content) == pack_recovery(
            rig.keys, keeper._configured
        )
        fresh = rig.swarm.node("fresh")
        found = await recover(fresh.world, content, patience_s=30)
        assert found.cells == 3
        assert found.commits >= 28
        assert dump(fresh) == before


@pytest.mark.fault("M4", "F5")
async def test_a_recovery_that_gets_no_further_than_the_snapshot_is_taken_up_at_a_start(
    autojump_clock: MockClock,
) -> None:
    async def cut_short(*_: object) -> int:
        raise Unavailable(Outage.JOURNAL_FAILED)

    async with journal_rig() as rig:
        async with rig.keeping() as (opened, keeper):
            await opened.store.transact(put(1))
            await wait_kept(keeper)
            for number in range(2, 30):
                await opened.store.transact(put(number))
        before = dump(rig.node)
        fresh = rig.swarm.node("fresh")
        content = pack_recovery(rig.keys, rig.members)
        with replaced(opening, "replay", cut_short), pytest.raises(Unavailable):
            await recover(fresh.world, content, patience_s=30)
        async with rig.keeping(fresh) as (opened, keeper):
            assert opened.commits >= 28
            assert dump(fresh) == before
            await wait_kept(keeper)


async def test_a_store_that_lacks_its_last_commits_takes_them_in(
    autojump_clock: MockClock,
) -> None:
    async with journal_rig() as rig:
        async with rig.keeping() as (opened, keeper):
            await wait_kept(keeper)
            await opened.store.transact(put(1))
            older = rig.node.databases[STORE].copy()
            for number in range(2, 6):
                await opened.store.transact(put(number))
        newest = dump(rig.node)
        rig.node.databases[STORE].put_in_place(older)
        async with rig.keeping() as (opened, keeper):
            assert opened.commits == 4
            assert dump(rig.node) == newest
            await wait_kept(keeper)
            await opened.store.transact(put(7))


@pytest.mark.parametrize("leaves", [False, True])
async def test_another_cell_takes_the_place_of_one_that_goes(
    leaves: bool, autojump_clock: MockClock
) -> None:
    async with journal_rig(cells=4) as rig:
        gone: list[RigCell] = []

        def known() -> list[KnownCell]:
            return [
                known_cell(each, is_fit=each not in gone, stays=each not in gone)
                for each in rig.cells
            ]

        async with rig.keeping(known=known) as (opened, keeper):
            await wait_kept(keeper)
            first = {each["cell_id"] for each in keeper.tell()["cells"]}
            await opened.store.transact(put(1))
            gone += [each for each in rig.cells if each.identity.peer_id.hex() in first][:1]
            if not leaves:
                gone[0].stop()
            while {each["cell_id"] for each in keeper.tell()["cells"]} == first:  # noqa: ASYNC110  # virtual time
                await trio.sleep(1)  # a poll in virtual time costs nothing
            await opened.store.transact(put(2))
            assert gone[0].identity.peer_id.hex() not in {
                each["cell_id"] for each in keeper.tell()["cells"]
            }
            members = keeper._configured
        assert members is not None
        before = dump(rig.node)
        # The file is of before the change: the cells that stayed know who came.
        old = JournalMembers(
            members.epoch,
            1,
            tuple(e.endpoint for e in rig.cells if e.identity.peer_id.hex() in first),
        )
        fresh = rig.swarm.node("fresh")
        await recover(
            fresh.world, pack_recovery(rig.keys, old), patience_s=60, with_most=not leaves
        )
        assert dump(fresh) == before


async def test_a_cell_that_was_away_for_long_gets_a_snapshot(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("common.limits.MOST_RECENT_JOURNAL_BYTES", 3000)
    async with journal_rig() as rig, rig.keeping() as (opened, keeper):
        await wait_kept(keeper)
        rig.cells[2].stop()
        for number in range(40):
            await opened.store.transact(put(number))
        await rig.cells[2].start()
        while rig.cells[2].end.sequence < keeper.tell()["sequence"]:  # noqa: ASYNC110  # virtual time
            await trio.sleep(1)  # a poll in virtual time costs nothing
        assert rig.cells[2].journal.state().base.sequence > 30


async def test_records_stay_few_as_snapshots_follow(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("common.limits.LEAST_JOURNAL_RECORDS_BYTES", 20_000)
    async with journal_rig() as rig:
        async with rig.keeping() as (opened, keeper):
            await wait_kept(keeper)
            for number in range(2000):
                await opened.store.transact(put(number))
            await trio.sleep(5)
            for each in rig.cells:
                state = each.journal.state()
                assert state.base.sequence > 500
                assert state.end.sequence - state.base.sequence < 1500
        before = dump(rig.node)
        fresh = rig.swarm.node("fresh")
        await recover(fresh.world, pack_recovery(rig.keys, rig.members), patience_s=30)
        assert dump(fresh) == before


# --- commits as records -------------------------------------------------------------------------


def test_a_commit_that_is_long_is_several_records_and_half_of_one_is_none() -> None:
    entropy = iter(range(1 << 30))

    def bytes_of(count: int) -> bytes:
        return next(entropy).to_bytes(count, "big")

    commit = pack_commit(1, [], [], {}) + bytes(1_300_000)
    records = seal_commit(KEY, 3, BEGINNING, commit, bytes_of)
    assert len(records) == 3
    heads = [memoryview(each.record) for each in records]
    bodies = [open_record(KEY, read_head(each), each) for each in heads]
    assembly = Assembly()
    assert [whole for body in bodies for whole in assembly.take(3, body)] == [commit]
    cut = Assembly()
    assert [whole for body in bodies[:2] for whole in cut.take(3, body)] == []
    assert list(cut.take(4, b"\x02other")) == [b"other"]


# --- beginning --------------------------------------------------------------------------------


async def recovered(rig: JournalRig) -> dict[str, list[tuple[object, ...]]]:
    """The store that comes back from the recovery file that is there."""
    fresh = rig.swarm.node("fresh")
    content = bytes(rig.node.platter.inodes[RECOVERY_NAME].content)
    await recover(fresh.world, content, patience_s=60)
    return dump(fresh)


async def test_a_recovery_file_that_cannot_be_written_ends_no_coordinator(
    autojump_clock: MockClock,
) -> None:
    async def fail(*_: object) -> None:
        raise Unavailable.received("no_space")

    async with journal_rig() as rig:
        async with rig.keeping() as (_, keeper):
            await wait_kept(keeper)
        content = bytes(rig.node.platter.inodes.pop(RECOVERY_NAME).content)
        with replaced(recovery_file, "write_whole", fail):
            async with rig.keeping() as (opened, keeper):
                await wait_kept(keeper)
                await opened.store.transact(put(1))
        assert RECOVERY_NAME not in rig.node.platter.inodes
        async with rig.keeping() as (_, keeper):
            await wait_kept(keeper)
            await trio.sleep(1)
        assert bytes(rig.node.platter.inodes[RECOVERY_NAME].content) == content


async def test_a_journal_that_a_standby_follows_is_not_just_turned_off(
    autojump_clock: MockClock,
) -> None:
    async with journal_rig() as rig:
        async with rig.keeping() as (_, keeper):
            await wait_kept(keeper)
            await keeper.enforce_lease()
        store = await rig.node.world.stores.open(STORE)
        with pytest.raises(BadConfig, match="take over"):
            await forget_journal(store, without_standbys=False)
        store = await rig.node.world.stores.open(STORE)
        row = await store.read(journal.load)
        assert row.members is not None
        assert row.is_leased
        await forget_journal(store, without_standbys=True)
        row = await store.read(journal.load)
        assert row.members is None
        assert not row.is_leased
        await store.close()


async def test_what_was_committed_while_the_journal_was_off_is_in_the_next_one(
    autojump_clock: MockClock,
) -> None:
    async with journal_rig() as rig:
        async with rig.keeping() as (opened, keeper):
            await wait_kept(keeper)
            await opened.store.transact(put(1))
            await trio.sleep(1)  # until the cells that a commit need not wait for have it, too
        assert len({each.end for each in rig.cells}) == 1
        store = await rig.node.world.stores.open(STORE)
        await forget_journal(store, without_standbys=False)
        await store.transact(put(2))
        await store.close()
        async with rig.keeping() as (opened, keeper):
            await wait_kept(keeper)
            await opened.store.transact(put(3))
        assert {row[0] for row in dump(rig.node)["deletes"]} == {1, 2, 3}
        assert await recovered(rig) == dump(rig.node)


async def test_cells_that_join_one_after_the_other_keep_it_as_they_come(
    autojump_clock: MockClock,
) -> None:
    async with journal_rig(cells=6) as rig:
        sites = ("x", "x", "x", "y", "y", "z")
        joined: list[RigCell] = []

        def known() -> list[KnownCell]:
            return [known_cell(each, site=sites[each.number]) for each in joined]

        def keeps() -> dict[str, int]:
            names = {each.identity.peer_id.hex(): sites[each.number] for each in rig.cells}
            return dict(Counter(names[each["cell_id"]] for each in keeper.tell()["cells"]))

        async with rig.keeping(known=known) as (opened, keeper):
            joined += rig.cells[:2]
            await trio.sleep(30)
            assert keeper.tell()["state"] == "not kept"
            assert "it takes 3 cells, and 2 can be reached" in keeper.tell()["why"]
            await opened.store.transact(put(1))
            joined.append(rig.cells[2])
            await trio.sleep(30)
            assert (keeper.tell()["state"], keeps()) == ("kept", {"x": 3})
            assert "one site" in keeper.tell()["why"]
            joined.append(rig.cells[3])
            await trio.sleep(30)
            assert keeps() == {"x": 2, "y": 1}
            await opened.store.transact(put(2))
            joined += rig.cells[4:]
            await trio.sleep(60)
            assert keeps() == {"x": 2, "y": 2, "z": 1}
            assert keeper.tell()["why"] == ""
            await opened.store.transact(put(3))
        assert await recovered(rig) == dump(rig.node)


async def test_cells_that_do_not_answer_at_first_are_passed_over(
    autojump_clock: MockClock,
) -> None:
    async with journal_rig(cells=4) as rig:
        rig.cells[0].stop()
        async with rig.keeping() as (opened, keeper):
            await opened.store.transact(put(1))
            with trio.fail_after(60):
                await wait_kept(keeper)
            ids = {each["cell_id"] for each in keeper.tell()["cells"]}
            assert rig.cells[0].identity.peer_id.hex() not in ids
            await opened.store.transact(put(2))


async def test_a_beginning_whose_cells_go_begins_with_others(autojump_clock: MockClock) -> None:
    async with journal_rig(cells=5) as rig:
        there: list[RigCell] = rig.cells[:3]

        def known() -> list[KnownCell]:
            return [known_cell(each, is_fit=each in there, stays=each in there) for each in there]

        async with rig.keeping(known=known) as (opened, keeper):
            promise = keeper._promise

            async def promise_and_go(wanted: object) -> int:
                highest = await promise(wanted)
                for each in rig.cells[:2]:
                    each.stop()
                return highest

            keeper._promise = promise_and_go
            await trio.sleep(20)
            keeper._promise = promise
            assert keeper.tell()["state"] == "not kept"
            await opened.store.transact(put(1))
            there[:] = rig.cells[2:]
            with trio.fail_after(60):
                await wait_kept(keeper)
            await opened.store.transact(put(2))
        assert await recovered(rig) == dump(rig.node)


async def test_a_cell_that_no_longer_answers_is_replaced_and_not_before_others_can(
    autojump_clock: MockClock,
) -> None:
    async with journal_rig(cells=4) as rig:
        joined = rig.cells[:3]
        async with rig.keeping(known=lambda: [known_cell(each) for each in joined]) as (
            opened,
            keeper,
        ):
            await wait_kept(keeper)
            rig.cells[0].stop()
            await trio.sleep(300)
            await opened.store.transact(put(1))
            joined.append(rig.cells[3])
            await trio.sleep(30)
            assert {each["cell_id"] for each in keeper.tell()["cells"]} == {
                each.identity.peer_id.hex() for each in rig.cells[1:]
            }
            await opened.store.transact(put(2))


async def test_cells_that_all_moved_are_found_where_they_were_heard(
    autojump_clock: MockClock,
) -> None:
    async with journal_rig() as rig:
        async with rig.keeping() as (opened, keeper):
            await wait_kept(keeper)
            await opened.store.transact(put(1))
        for cell in rig.cells:
            cell.stop()
            cell.endpoint = Endpoint(cell.identity.peer_id, cell.node.name, 7005)
            await cell.start()
        where = {bytes(each.identity.peer_id): each.endpoint for each in rig.cells}
        async with rig.keeping(where=lambda: {}) as (opened, keeper):
            assert opened.settled is None
            keeper._opener.heard_at = lambda: where
            with trio.fail_after(30):
                await keeper.kept.wait()
            await opened.store.transact(put(2))
            await trio.sleep(10)
            assert set(keeper._configured.members) == set(where.values())
        # It is remembered, by the store and in the file.
        async with rig.keeping() as (opened, _):
            assert opened.settled is not None
        assert await recovered(rig) == dump(rig.node)
