"""The journal on cells: what was acknowledged is on most of them, and a lost store comes back."""

from __future__ import annotations

import pytest
import trio
from journal_rig import (
    KEY,
    STORE,
    RigCell,
    dump,
    journal_rig,
    known_cell,
    put,
    refuse,
    wait_kept,
)
from trio.testing import MockClock

from common.errors import Refused, Unavailable
from common.format.journal import BEGINNING, read_head
from common.reasons import Outage
from common.wire.messages.journal import JournalMembers
from coordinator.journal import opening
from coordinator.journal.commits import Assembly, open_record, pack_commit, seal_commit
from coordinator.journal.keeper import KnownCell
from coordinator.journal.recovery_file import RECOVERY_NAME
from coordinator.recovery import recover
from sim.replacing import replaced

pytestmark = pytest.mark.fault("F5")


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
        content = rig.recovery()
        assert bytes(rig.node.platter.inodes[RECOVERY_NAME].content) == rig.recovery(
            keeper._configured
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
        content = rig.recovery()
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
        await recover(fresh.world, rig.recovery(old), patience_s=60, with_most=not leaves)
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
        await recover(fresh.world, rig.recovery(), patience_s=30)
        assert dump(fresh) == before


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
