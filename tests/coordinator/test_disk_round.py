"""What disks report reaches operators and placement."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import trio
from coordinator_rig import Rig, facts, running
from trio.testing import MockClock

from common.disk_facts import DiskFacts
from common.ids import PeerId
from coordinator.policy.hazard import Hazard
from coordinator.policy.health import CellState, Liveness
from coordinator.rounds.disks import DISKS_S
from coordinator.store.cells import Cell
from coordinator.views import place_view_of

ROUND_S = 30.0


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """An hour of heartbeats is much to simulate."""
    assert DISKS_S == 3600
    monkeypatch.setattr("coordinator.composition.DISKS_S", ROUND_S)


def test_slots_that_move_are_offered_less_of_the_space_of_a_failing_disk() -> None:
    free = 1 << 40
    cell = Cell(1, PeerId(bytes(32)), "", "", "", 0, facts(free), 0.0, Liveness.ALIVE)
    offered = [
        place_view_of(cell, CellState.ALIVE, hazard).free_bytes
        for hazard in (None, Hazard(0.03), Hazard(0.5), Hazard(4.0))
    ]
    assert offered == [free, free, free // 4, free // 16]


async def hazards(rig: Rig) -> dict[str, Any]:
    listed = (await rig.operate("GET", "/v1/status"))["cells"]
    return {each["owner"]: each["hazard"] for each in listed}


async def test_a_failing_disk_is_shown_after_a_round_and_gets_next_to_nothing_new(
    autojump_clock: MockClock,
) -> None:
    async with running(cells=7) as rig:
        well = DiskFacts(passed=1, reallocated=0, pending=0)
        for cell in rig.cells:
            cell.facts = replace(cell.facts, disk=well.pack())
        failing = rig.cells[0]
        failing.facts = replace(failing.facts, disk=DiskFacts(passed=0, pending=300).pack())
        await trio.sleep(ROUND_S + 30)
        found = await hazards(rig)
        assert found.pop("owner-0") == {
            "loss_within_days": 30,
            "loss": 0.2802,
            "advice": "drain",
            "reasons": [
                "the disk reports that it is failing",
                "300 sectors waiting for reallocation",
            ],
        }
        assert set(found.values()) == {None}
        await rig.restart()
        await trio.sleep(ROUND_S + 30)
        assert (await hazards(rig))["owner-0"]["advice"] == "drain"


async def states(rig: Rig) -> dict[str, str]:
    listed = (await rig.operate("GET", "/v1/status"))["cells"]
    return {each["owner"]: each["state"] for each in listed}


async def test_failing_disks_are_drained_one_at_a_time_where_the_operator_lets_them(
    autojump_clock: MockClock,
) -> None:
    async with running(cells=9, drain_failing_disks=True) as rig:
        for number, pending in ((0, 300), (1, 3000), (2, 1)):
            cell = rig.cells[number]
            disk = DiskFacts(passed=1 if number != 1 else 0, pending=pending)
            cell.facts = replace(cell.facts, disk=disk.pack())
        await trio.sleep(4 * ROUND_S)
        found = await states(rig)
        assert {owner for owner, state in found.items() if state == "draining"} == {"owner-1"}
        text = (await rig.http("GET", "/metrics")).text
        assert 'alveary_failing_disks{advice="drain"} 2.0' in text
        assert 'alveary_failing_disks{advice="fewer"} 1.0' in text


async def test_no_cell_is_drained_unasked(autojump_clock: MockClock) -> None:
    async with running(cells=7) as rig:
        cell = rig.cells[0]
        cell.facts = replace(cell.facts, disk=DiskFacts(passed=0).pack())
        await trio.sleep(ROUND_S + 30)
        assert "draining" not in (await states(rig)).values()
