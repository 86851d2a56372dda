"""Cells of one store that several coordinators share: one hears them, all know."""

from __future__ import annotations

import random
from typing import Any

import pytest
import trio
from coordinator_rig import facts
from trio.testing import MockClock

from common.errors import Unavailable
from common.ids import PeerId
from common.reasons import Outage
from coordinator.membership import Membership
from coordinator.placement import Placement
from coordinator.policy.health import CellState
from coordinator.policy.placement import Redundancy
from coordinator.shared_cells import SharedCells
from coordinator.store import cells, rings
from coordinator.store.schema import migrate
from sim.world import SimWorld

CLASS = Redundancy(1, 2, 2)
INTERVAL_S, TIMEOUT_S, LOST_AFTER_S = 5, 15.0, 900.0


class Process:
    """What one of the coordinators knows."""

    def __init__(self, store: Any, stored: list[cells.Cell]) -> None:
        self.store = store
        self.membership = Membership(stored, (), INTERVAL_S, TIMEOUT_S, LOST_AFTER_S)
        self.placement = Placement(self.membership, CLASS)
        self.shared = SharedCells(store, self.membership, self.placement)

    def hear(self, *numbers: int, port: int = 7000) -> None:
        for number in numbers:
            cell = self.membership.cells[number]
            now = trio.current_time()
            heard = self.membership.heard(cell, f"cell-{number}", port, facts(), now)
            self.placement.note_heard(heard, now)

    def states(self) -> list[CellState]:
        return list(self.membership.states(trio.current_time()).values())

    async def plan(self) -> None:
        self.placement.refresh(trio.current_time())
        (planned,) = self.placement.plan(random.Random(1))
        await self.store.transact(lambda sql: rings.apply(sql, planned.plan, CLASS, 0))


def join(sql: Any, number: int) -> int:
    cells.invite(sql, bytes([number]), "", f"owner-{number}", 1, 10, 0)
    return cells.join(sql, PeerId(bytes([number]) * 32), bytes([number]), "", "", 0)[0]


async def two_processes() -> tuple[Process, Process]:
    store = await SimWorld(1).node("coordinator").world.stores.open("store")
    await store.transact(migrate)
    for number in (1, 2):
        await store.transact(lambda sql, number=number: join(sql, number))
    now = trio.current_time()
    return tuple(
        [Process(store, await store.read(lambda sql: cells.load(sql, now))) for _ in range(2)]
    )


async def test_what_one_hears_is_alive_for_both_until_it_falls_silent(
    autojump_clock: MockClock,
) -> None:
    first, second = await two_processes()
    async with trio.open_nursery() as nursery:
        for process in (first, second):

            async def keep(process: Process = process) -> None:
                while True:
                    await process.shared.keep()

            nursery.start_soon(keep)
        for beat in range(20):
            first.hear(1)
            second.hear(2)
            await trio.sleep(INTERVAL_S)
            if beat:
                for process in (first, second):
                    assert process.states() == [CellState.ALIVE] * 2
        first.hear(1)
        for _ in range(3):
            second.hear(2)
            await trio.sleep(INTERVAL_S)
        second.hear(2)
        await trio.sleep(INTERVAL_S + 0.1)
        for process in (first, second):
            assert process.states() == [CellState.OFFLINE, CellState.ALIVE]
        nursery.cancel_scope.cancel()


async def test_a_cell_whose_connection_broke_here_lives_where_it_is_heard(
    autojump_clock: MockClock,
) -> None:
    first, second = await two_processes()
    first.hear(1)
    await first.shared.tell()
    await first.shared.learn()
    first.membership.disconnected(first.membership.cells[1])
    await first.shared.learn()
    assert first.states()[0] is CellState.SUSPECT  # by what it has counted itself, nothing is new
    second.hear(1, port=7007)
    await second.shared.tell()
    await first.shared.learn()
    assert first.states()[0] is CellState.ALIVE
    assert first.membership.endpoint(1).port == 7007


async def test_cells_and_rings_of_one_are_known_to_the_other(autojump_clock: MockClock) -> None:
    first, second = await two_processes()
    number = await first.store.transact(lambda sql: join(sql, 3))
    await first.shared.learn()
    first.hear(1, 2, number)
    await first.shared.tell()
    await first.plan()
    await second.shared.learn()
    assert set(second.membership.cells) == {1, 2, number}
    assert second.membership.rings
    second.hear(1)
    await second.shared.learn()
    second.placement.refresh(trio.current_time())
    assert second.placement.can_be_written
    await first.store.transact(lambda sql: cells.remove(sql, number, 1))
    await second.shared.learn()
    assert second.states()[2] is CellState.REMOVED


async def test_decisions_of_one_are_known_to_the_other(autojump_clock: MockClock) -> None:
    first, second = await two_processes()
    first.hear(1, 2)
    second.hear(1, 2)

    async def know() -> list[CellState]:
        await second.shared.learn()
        second.hear(1)
        return second.states()

    await first.store.transact(lambda sql: cells.drain(sql, 1, 1))
    assert await know() == [CellState.DRAINING, CellState.ALIVE]
    await first.store.transact(lambda sql: cells.suspend(sql, 1, "why"))
    await first.store.transact(lambda sql: cells.cancel_drain(sql, 1))
    assert await know() == [CellState.SUSPENDED, CellState.ALIVE]
    await first.store.transact(lambda sql: cells.resume(sql, 1))
    await first.store.transact(lambda sql: cells.announce_maintenance(sql, 2, 100, 1))
    assert await know() == [CellState.ALIVE, CellState.ALIVE]
    await trio.sleep(99)
    assert await know() == [CellState.ALIVE, CellState.MAINTENANCE]
    await first.store.transact(lambda sql: cells.announce_maintenance(sql, 2, 100, 2))
    await know()
    await trio.sleep(99)
    assert await know() == [CellState.ALIVE, CellState.MAINTENANCE], "it was announced again"
    await first.store.transact(lambda sql: cells.forget_windows(sql, [(2, 1)]))
    assert await know() == [CellState.ALIVE, CellState.MAINTENANCE], "that was the first window"
    await first.store.transact(lambda sql: cells.forget_windows(sql, [(2, 2)]))
    assert await know() == [CellState.ALIVE, CellState.OFFLINE]


async def test_a_heartbeat_that_could_not_be_counted_is_counted_later(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = await two_processes()
    await second.shared.learn()
    first.hear(1)

    async def fail(_work: Any) -> None:
        raise Unavailable(Outage.STORE_FAILED)

    with monkeypatch.context() as patched:
        patched.setattr(first.store, "transact", fail)
        with pytest.raises(Unavailable):
            await first.shared.tell()
    await first.shared.tell()
    await second.shared.learn()
    assert second.states()[0] is CellState.ALIVE
