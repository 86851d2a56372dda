"""The end of a journal is settled among its cells, whatever some of them have lost or claim."""

from __future__ import annotations

import pytest
import trio
from journal_records import chain, joined
from journal_rig import (
    dump,
    journal_rig,
    put,
    wait_kept,
    write,
)
from trio.testing import MockClock

from common.errors import Corrupt, OutcomeUnknown, Refused, Unavailable
from common.format.journal import BEGINNING, ChainEnd
from common.ports import Store

pytestmark = pytest.mark.fault("F5")


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
