"""The cell's rounds go on whatever one of them meets."""

from __future__ import annotations

import random

import pytest
import trio
from cell_rig import open_store
from trio.testing import MockClock

from cell.config import CellConfig
from cell.disk_watch import DiskWatch
from cell.order_epoch import SeenEpoch
from cell.owner_rules import OwnerRules
from cell.positions import Positions
from cell.rounds.heartbeat import HeartbeatRound
from cell.rounds.runner import run_rounds
from cell.storage.held import Held
from cell.timed_disk import DiskTimes
from common.charter_book import CharterBook
from common.ids import PeerId
from common.known_coordinators import KnownCoordinators
from common.ports import Address
from common.tasks import Round, every
from common.wire.messages.base import Request
from common.wire.messages.membership import Heartbeat, HeartbeatReply
from sim.world import SimWorld


class BreakingCoordinators:
    """Coordinators whose answers meet a bug, twice."""

    def __init__(self) -> None:
        self.heartbeats: list[float] = []

    async def call(self, request: Request) -> HeartbeatReply:
        assert isinstance(request, Heartbeat)
        self.heartbeats.append(trio.current_time())
        if len(self.heartbeats) <= 2:
            raise LookupError("a bug")
        return HeartbeatReply(b"k" * 32, 5, (), 1_800_000_000, 0)


@pytest.mark.fault("T")
async def test_heartbeats_go_on_after_a_bug(autojump_clock: MockClock) -> None:
    swarm = SimWorld(1)
    world = swarm.node("cell").world
    coordinators = BreakingCoordinators()
    heartbeat = HeartbeatRound(
        await open_store(swarm.node("cell")),
        coordinators,
        await Positions.load(world.disk, world.log),
        await SeenEpoch.load(world.disk, world.log),
        await Held.load(world.disk, world.log),
        DiskWatch(world.disk_reports, DiskTimes(), lambda: 0, is_used=True),
        await OwnerRules.load(CellConfig("."), disk=world.disk, clock=world.clock, log=world.log),
        KnownCoordinators(world.disk, world.log, lambda named: None),
        CharterBook(world.disk, world.log, PeerId(bytes(32))),
        address=Address("cell", 7000),
        clock=world.clock,
        log=world.log,
    )
    with trio.move_on_after(60):
        await run_rounds(
            [Round("heartbeat", heartbeat.run, every(5.0))], random.Random(1), world.log
        )
    assert heartbeat.last_heartbeat is not None
    assert len(coordinators.heartbeats) > 8
    assert len(swarm.faults) == 2
