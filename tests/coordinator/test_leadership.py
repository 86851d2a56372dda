"""Of several processes on one store one leads, and only the current leader changes anything."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
import trio
from coordinator_rig import running
from trio.testing import MockClock

from common.errors import Refused
from common.wire import messages as m
from coordinator.store.leadership import BEAT_S, SILENT_S, Leadership
from coordinator.store.schema import migrate, next_number
from sim.stores import SimStores
from sim.world import SimWorld


def count(sql: Any) -> int:
    return next_number(sql, "sequence")


def everything(sql: Any) -> list[Any]:
    tables = ("counters", "leadership")
    return [sql.execute(f"SELECT * FROM {table}").fetchall() for table in tables]


class Processes:
    """Leaderships of processes with one store, each of which can be paused."""

    def __init__(self, world: SimWorld, store: Any, nursery: trio.Nursery) -> None:
        self.world = world
        self.store = store
        self.nursery = nursery

    def start(self, number: int, *, beating: bool = True) -> tuple[Leadership, trio.CancelScope]:
        log = self.world.node("coordinator").world.log
        leadership = Leadership(self.store, bytes([number]) * 16, log, is_shared=True)
        scope = trio.CancelScope()

        async def run() -> None:
            with scope:
                while True:
                    with suppress(Refused):
                        await leadership.keep()
                    await trio.sleep(BEAT_S)

        if beating:
            self.nursery.start_soon(run)
        return leadership, scope


@asynccontextmanager
async def one_store() -> AsyncIterator[Processes]:
    world = SimWorld(1)
    store = await world.node("coordinator").world.stores.open("store")
    await store.transact(migrate)
    async with trio.open_nursery() as nursery:
        yield Processes(world, store, nursery)
        nursery.cancel_scope.cancel()


async def test_one_of_two_leads_and_theother_takes_over_when_it_is_silent(
    autojump_clock: MockClock,
) -> None:
    async with one_store() as processes:
        first, _ = processes.start(1)
        await trio.sleep(1)
        second, second_scope = processes.start(2)
        await trio.sleep(100)
        assert (first.leads, second.leads) == (False, True)  # the newest
        await second.transact(count)
        with pytest.raises(Refused, match="not_leader"):
            await first.transact(count)
        second_scope.cancel()
        await trio.sleep(SILENT_S - 1)
        assert not first.leads
        with trio.fail_after(3 * BEAT_S):
            await first.wait()
        await first.transact(count)


async def test_a_leader_that_was_paused_changes_nothing(autojump_clock: MockClock) -> None:
    async with one_store() as processes:
        paused, paused_scope = processes.start(1)
        await trio.sleep(1)
        other, _ = processes.start(2, beating=False)
        paused_scope.cancel()
        await trio.sleep(SILENT_S)
        await other.transact(count)
        assert paused.leads  # so it thinks
        before = await processes.store.read(everything)
        with pytest.raises(Refused, match="not_leader"):
            await paused.transact(count)
        assert not paused.leads
        after = await processes.store.read(everything)
        assert after == before


async def test_a_leader_that_lives_is_not_taken_over_from(autojump_clock: MockClock) -> None:
    async with one_store() as processes:
        first, _ = processes.start(1)
        await trio.sleep(0.1)
        second, _ = processes.start(2)
        third, _ = processes.start(3)
        await trio.sleep(5000)
        assert [each.leads for each in (first, second, third)].count(True) == 1
        (epoch,) = await processes.store.read(
            lambda sql: sql.execute("SELECT epoch FROM leadership").fetchone()
        )
        assert epoch == 3


async def test_of_two_that_find_the_leader_silent_one_takes_over(autojump_clock: MockClock) -> None:
    async with one_store() as processes:
        first, _ = processes.start(1)
        second, _ = processes.start(2)
        await trio.sleep(1)
        third, scope = processes.start(3)
        await trio.sleep(100)
        assert third.leads
        scope.cancel()
        await trio.sleep(100)
        assert [each.leads for each in (first, second)].count(True) == 1


async def test_the_only_coordinator_leads_and_counts_no_beats(autojump_clock: MockClock) -> None:
    async with running() as rig:
        assert rig.one("SELECT count(*) FROM rings") > 0
        await trio.sleep(1000)
        assert rig.sql("SELECT epoch, beats FROM leadership") == [(1, 0)]
        await rig.restart()
        await rig.add_cell()
        await trio.sleep(100)
        assert rig.sql("SELECT epoch, beats FROM leadership") == [(2, 0)]


async def test_a_coordinator_of_a_shared_store_counts_beats_cells_and_renewals(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SimStores, "is_shared", True)
    async with running(write_lease_ttl_s=60) as rig:
        gateway = await rig.add_gateway()
        await gateway.make_bucket()
        await gateway.put(b"name")
        for _ in range(5):
            await trio.sleep(25)
            await gateway.call(m.LeaseRenew(gateway.lease))
        await trio.sleep(2)
        assert rig.one("SELECT renewals FROM leases") >= 4
        assert rig.one("SELECT epoch FROM leadership") == 1
        assert rig.one("SELECT beats FROM leadership") >= 20
        assert rig.one("SELECT min(heartbeats) FROM cells") >= 20
        # Another process takes over, and is gone.
        rig.sql("UPDATE leadership SET epoch = epoch + 1")
        beats = rig.one("SELECT beats FROM leadership")
        await trio.sleep(10)
        assert rig.one("SELECT beats FROM leadership") == beats
        await gateway.put(b"another")  # a coordinator that follows serves as well
        await trio.sleep(SILENT_S + 2 * BEAT_S)
        assert rig.one("SELECT epoch FROM leadership") == 3
        gateway.scope.cancel()
        await trio.sleep(200)
        assert rig.sql("SELECT * FROM leases") == []
        assert not rig.swarm.faults
