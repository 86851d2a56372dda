"""A journal begins on the cells that there are, and goes on where they change."""

from __future__ import annotations

from collections import Counter

import pytest
import trio
from journal_rig import (
    STORE,
    JournalRig,
    RigCell,
    dump,
    journal_rig,
    known_cell,
    put,
    wait_kept,
)
from trio.testing import MockClock

from common.errors import BadConfig, Unavailable
from common.wire.messages.base import Endpoint
from coordinator.journal import recovery_file
from coordinator.journal.keeper import KnownCell
from coordinator.journal.recovery_file import RECOVERY_NAME
from coordinator.journaled_store import forget_journal
from coordinator.recovery import recover
from coordinator.store import journal
from sim.replacing import replaced

pytestmark = pytest.mark.fault("F5")


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
