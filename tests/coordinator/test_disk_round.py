"""What disks report reaches operators and placement."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import trio
from coordinator_rig import Rig, running
from trio.testing import MockClock

from common.disk_facts import DiskFacts
from coordinator.rounds.disks import DISKS_S


async def hazards(rig: Rig) -> dict[str, Any]:
    listed = (await rig.operate("GET", "/v1/status"))["cells"]
    return {each["owner"]: each["hazard"] for each in listed}


async def test_a_failing_disk_is_shown_within_an_hour_and_gets_next_to_nothing_new(
    autojump_clock: MockClock,
) -> None:
    async with running(cells=7) as rig:
        well = DiskFacts(passed=1, reallocated=0, pending=0)
        for cell in rig.cells:
            cell.facts = replace(cell.facts, disk=well.pack())
        failing = rig.cells[0]
        failing.facts = replace(failing.facts, disk=DiskFacts(passed=0, pending=300).pack())
        await trio.sleep(DISKS_S + 60)
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
        await trio.sleep(60)
        assert (await hazards(rig))["owner-0"]["advice"] == "drain"
