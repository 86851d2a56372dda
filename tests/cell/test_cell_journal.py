"""The journal that a cell keeps: what it acknowledged is there after any end, and it follows one
coordinator only."""

from __future__ import annotations

import pytest
import trio
from blake3 import blake3
from journal_records import chain, joined
from trio.testing import MockClock

from cell.storage.journal import DIRECTORY, STATE_NAME, CellJournal
from common import limits
from common.errors import Corrupt, NotFound, PeerViolation, Refused, Unavailable
from common.format.journal import BEGINNING
from sim.world import SimNode, SimWorld

RUN, OTHER_RUN = b"r" * 16, b"o" * 16
ID, NEXT_ID = b"i" * 16, b"n" * 16


@pytest.fixture
async def node() -> SimNode:
    return SimWorld(1).node("cell")


async def load(node: SimNode) -> CellJournal:
    return await CellJournal.load(node.world.disk, node.world.log)


async def begun(node: SimNode, epoch: int = 1) -> CellJournal:
    journal = await load(node)
    await journal.begin(epoch, RUN)
    return journal


def end_of(journal: CellJournal) -> int:
    return journal.state().end.sequence


async def write_snapshot(journal: CellJournal, snapshot_id: bytes, content: bytes) -> bytes:
    half = len(content) // 2
    await journal.write_snapshot(1, snapshot_id, 0, memoryview(content[:half]))
    await journal.write_snapshot(1, snapshot_id, half, memoryview(content[half:]))
    return blake3(content).digest()


async def test_records_are_read_as_they_were_appended(node: SimNode) -> None:
    journal = await begun(node)
    records = chain(5)
    await journal.append(1, BEGINNING, joined(records[:2]))
    await journal.append(1, records[1].end, joined(records[2:]))
    for _ in range(2):
        assert await journal.read(0) == joined(records)
        assert await journal.read(3) == joined(records[3:])
        assert await journal.read(5) == b""
        journal = await load(node)


@pytest.mark.fault("M4")
async def test_an_epoch_that_was_promised_survives_a_power_cut(node: SimNode) -> None:
    journal = await begun(node, epoch=7)
    node.crash(power=True)
    journal = await load(node)
    assert journal.state().epoch == 7
    for epoch, run in ((6, RUN), (7, OTHER_RUN)):
        with pytest.raises(Refused, match="journal_epoch"):
            await journal.begin(epoch, run)
    await journal.begin(7, RUN)
    with pytest.raises(Refused, match="journal_epoch"):
        await journal.append(6, BEGINNING, joined(chain(1)))
    with pytest.raises(Refused, match="journal_epoch"):
        await journal.configure(6, 1, b"members")


@pytest.mark.fault("M4")
async def test_nothing_is_promised_to_another_while_the_coordinator_is_heard(
    node: SimNode, autojump_clock: MockClock
) -> None:
    journal = await begun(node)
    assert journal.state().is_held
    for _ in range(3):
        await trio.sleep(limits.JOURNAL_HELD_S - 0.1)
        with pytest.raises(Refused, match="journal_held"):
            await journal.begin(2, OTHER_RUN)
        await journal.append(1, BEGINNING, joined([]))
    await trio.sleep(limits.JOURNAL_HELD_S)
    assert not journal.state().is_held
    state = await journal.begin(2, OTHER_RUN, host="other", port=7)
    assert (state.host, state.port, state.run_id) == ("other", 7, OTHER_RUN)
    assert state.has_waited
    assert state.is_held
    with pytest.raises(Refused, match="journal_epoch"):
        await journal.append(1, BEGINNING, joined(chain(1)))


@pytest.mark.fault("M4")
async def test_a_start_counts_as_a_call_of_the_coordinator(
    node: SimNode, autojump_clock: MockClock
) -> None:
    await begun(node)
    await trio.sleep(2 * limits.JOURNAL_HELD_S)
    node.crash(power=False)
    journal = await load(node)
    with pytest.raises(Refused, match="journal_held"):
        await journal.begin(2, OTHER_RUN)
    await trio.sleep(limits.JOURNAL_HELD_S)
    await journal.begin(2, OTHER_RUN)


async def test_a_coordinator_waits_neither_for_itself_nor_for_one_that_has_ended(
    node: SimNode, autojump_clock: MockClock
) -> None:
    journal = await begun(node, epoch=3)
    await journal.begin(4, RUN)
    with pytest.raises(Refused, match="journal_held"):
        await journal.begin(5, OTHER_RUN, succeeds=3)
    assert (await journal.begin(5, OTHER_RUN, succeeds=4)).epoch == 5


async def test_a_gap_is_refused_and_the_same_again_is_fine(node: SimNode) -> None:
    journal = await begun(node)
    records = chain(4)
    with pytest.raises(Refused, match="journal_gap"):
        await journal.append(1, records[0].end, joined(records[1:]))
    for _ in range(2):
        await journal.append(1, BEGINNING, joined(records))
    other = chain(2)  # the same numbers, and other records
    with pytest.raises(Refused, match="journal_gap"):
        await journal.append(1, other[0].end, joined(other[1:]))
    await journal.append(1, records[1].end, joined(records[2:3]))
    assert end_of(journal) == 4
    with pytest.raises(PeerViolation):
        await journal.append(1, records[3].end, joined(records[1:2]))


async def test_records_of_another_coordinator_that_were_not_settled_are_dropped(
    node: SimNode,
) -> None:
    journal = await begun(node)
    settled = chain(2)
    stale = chain(3, after=settled[-1].end)
    await journal.append(1, BEGINNING, joined(settled + stale))
    await journal.begin(2, OTHER_RUN, succeeds=1)
    mine = chain(1, epoch=2, after=settled[-1].end)
    await journal.append(2, settled[-1].end, joined(mine))
    for _ in range(2):
        assert await journal.read(0) == joined(settled + mine)
        assert journal.state().end.epoch == 2
        journal = await load(node)
    assert journal.state().is_whole


@pytest.mark.fault("F5")
async def test_a_snapshot_takes_the_place_of_what_is_before_it_and_of_nothing_else(
    node: SimNode,
) -> None:
    journal = await begun(node)
    records = chain(6)
    await journal.append(1, BEGINNING, joined(records))
    content = b"snapshot" * 1000
    digest = await write_snapshot(journal, ID, content)
    base = records[3].end
    with pytest.raises(Corrupt, match="root_mismatch"):
        await journal.keep(1, NEXT_ID, len(content), digest, base)
    await journal.keep(1, ID, len(content), digest, base)
    for _ in range(2):
        state = journal.state()
        assert (state.base.sequence, state.end.sequence, state.snapshot_id) == (4, 6, ID)
        assert await journal.read(4) == joined(records[4:])
        with pytest.raises(Refused, match="journal_gap"):
            await journal.read(3)
        assert await journal.read_snapshot(ID, 0) == content
        with pytest.raises(NotFound):
            await journal.read_snapshot(NEXT_ID, 0)
        node.crash(power=True)
        journal = await load(node)
    await journal.begin(1, RUN)
    digest = await write_snapshot(journal, NEXT_ID, b"older")
    with pytest.raises(Refused, match="journal_gap"):
        await journal.keep(1, NEXT_ID, 5, digest, records[1].end)


async def test_a_cell_that_missed_records_goes_on_from_a_snapshot(node: SimNode) -> None:
    journal = await begun(node)
    records = chain(6)
    await journal.append(1, BEGINNING, joined(records[:1]))
    digest = await write_snapshot(journal, ID, b"all")
    await journal.keep(1, ID, 3, digest, records[4].end)
    assert end_of(journal) == 5
    await journal.append(1, records[4].end, joined(records[5:]))
    assert end_of(await load(node)) == 6


async def test_a_broken_upload_of_a_snapshot_begins_again(node: SimNode) -> None:
    journal = await begun(node)
    await journal.write_snapshot(1, ID, 0, memoryview(b"abc"))
    with pytest.raises(Refused, match="journal_gap"):
        await journal.write_snapshot(1, ID, 2, memoryview(b"c"))
    digest = await write_snapshot(journal, ID, b"abcdef")
    await journal.keep(1, ID, 6, digest, chain(1)[0].end)
    names = await node.world.disk.names(DIRECTORY)
    assert not [each for each in names if each.startswith("incoming")]


@pytest.mark.fault("M4", "F5")
@pytest.mark.parametrize("step", range(1, 60, 2))
async def test_power_that_goes_at_any_step_takes_nothing_that_was_acknowledged(
    node: SimNode, step: int, autojump_clock: MockClock
) -> None:
    records = chain(9)
    stale = chain(2, after=records[3].end)
    acknowledged: list[int] = []
    journal = await begun(node)
    node.cut_at_step = node.steps + step

    async def work() -> None:
        await journal.append(1, BEGINNING, joined(records[:4] + stale))
        acknowledged.append(4)
        digest = await write_snapshot(journal, ID, b"snapshot")
        await journal.keep(1, ID, 8, digest, records[1].end)
        await journal.begin(2, OTHER_RUN, succeeds=1)
        mine = chain(3, epoch=2, after=records[3].end)
        await journal.append(2, records[3].end, joined(mine))
        acknowledged.append(7)

    with trio.move_on_after(100):
        await work()
    if node.cut_at_step is not None and node.steps < node.cut_at_step:
        node.crash(power=True)
    again = await load(node)
    assert again.state().is_whole
    assert end_of(again) >= max(acknowledged, default=0)
    base = again.state().base.sequence
    if max(acknowledged, default=0) == 7:
        assert again.state().end.epoch == 2
    assert await again.read(base) or end_of(again) == base


@pytest.mark.fault("F3")
async def test_a_failed_sync_is_not_trusted_and_not_repeated(node: SimNode) -> None:
    journal = await begun(node)
    records = chain(4)
    await journal.append(1, BEGINNING, joined(records[:2]))
    node.platter.faults.sync_error = 1.0
    with pytest.raises(Unavailable, match="sync_failed"):
        await journal.append(1, records[1].end, joined(records[2:3]))
    node.platter.faults.sync_error = 0.0
    await journal.append(1, records[1].end, joined(records[2:]))
    node.crash(power=True)
    again = await load(node)
    assert await again.read(0) == joined(records)
    assert "records-1" in await node.world.disk.names(DIRECTORY)


@pytest.mark.fault("F3", "M4")
async def test_records_whose_sync_failed_are_durable_before_a_later_life_counts_them(
    node: SimNode,
) -> None:
    journal = await begun(node)
    records = chain(3)
    await journal.append(1, BEGINNING, joined(records[:2]))
    node.platter.faults.sync_error = 1.0
    with pytest.raises(Unavailable, match="sync_failed"):
        await journal.append(1, records[1].end, joined(records[2:]))
    node.crash(power=False)
    journal = await load(node)
    for _ in range(2):
        with pytest.raises(Unavailable, match="sync_failed"):
            await journal.begin(1, RUN)
        with pytest.raises(Unavailable, match="sync_failed"):
            await journal.append(1, BEGINNING, joined(records))
    node.platter.faults.sync_error = 0.0
    counted = (await journal.begin(1, RUN)).end.sequence
    node.crash(power=True)
    assert end_of(await load(node)) == counted == 3


@pytest.mark.fault("M4", "F5")
@pytest.mark.parametrize("after_s", range(1, 40))
async def test_a_change_that_is_given_up_half_way_takes_no_later_record_along(
    node: SimNode, after_s: int, autojump_clock: MockClock
) -> None:
    records = chain(6)
    journal = await begun(node)
    await journal.append(1, BEGINNING, joined(records[:4]))
    digest = await write_snapshot(journal, ID, b"snapshot")
    node.platter.faults.latency_s = 2.0
    with trio.move_on_after(after_s):  # the connection goes
        await journal.keep(1, ID, 8, digest, records[1].end)
    node.platter.faults.latency_s = 0.0
    await journal.append(1, records[3].end, joined(records[4:]))
    node.crash(power=False)
    again = await load(node)
    assert again.state().is_whole
    assert end_of(again) == 6
    base = again.state().base.sequence
    assert await again.read(base) == joined(records[base:])


@pytest.mark.fault("F2")
@pytest.mark.parametrize("how", ["no_space", "write_error"])
async def test_a_medium_that_cannot_be_written_does_not_keep_a_cell_from_starting(
    node: SimNode, how: str
) -> None:
    journal = await begun(node)
    records = chain(3)
    await journal.append(1, BEGINNING, joined(records))
    await journal.write_snapshot(1, ID, 0, memoryview(b"half of a snapshot"))
    node.crash(power=False)
    node.platter.faults.refuses = how
    again = await load(node)
    assert again.state().is_whole
    assert await again.read(0) == joined(records)
    node.platter.faults.refuses = ""
    await again.append(1, records[2].end, joined(chain(1, after=records[2].end)))
    assert end_of(again) == 4


@pytest.mark.fault("F3")
async def test_a_cell_that_lost_what_it_acknowledged_says_so(node: SimNode) -> None:
    journal = await begun(node)
    at, records = BEGINNING, []
    for _ in range(12):
        records = chain(900, after=at)
        await journal.append(1, at, joined(records))
        at = records[-1].end
    content = node.platter.inodes[f"{DIRECTORY}/records-0"].content
    content[1000] ^= 1
    again = await load(node)
    assert not again.state().is_whole
    digest = await write_snapshot(await begun(node), ID, b"all")
    assert digest
    node.platter.inodes[STATE_NAME].content[3] ^= 1
    assert not (await load(node)).state().is_whole


async def test_who_keeps_the_journal_is_remembered(node: SimNode) -> None:
    journal = await begun(node)
    await journal.configure(1, 3, b"sealed members")
    state = (await load(node)).state()
    assert (state.members, state.members_version) == (b"sealed members", 3)
