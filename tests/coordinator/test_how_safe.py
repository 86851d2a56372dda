"""A coordinator warns of a weak class, and its status says what would survive which loss."""

from __future__ import annotations

import pytest
import trio
from coordinator_rig import Rig, running
from trio.testing import MockClock

from cli.durability import Assumptions, swarm_now

ASSUMED = Assumptions(4, 24, None, 4)
LOGGED = 'alveary_log_lines_total{event="class_is_weak",level="warning"} '


async def warnings(rig: Rig) -> int:
    text = (await rig.http("GET", "/metrics")).text
    return int(float(text.partition(LOGGED)[2].partition("\n")[0] or 0))


@pytest.mark.parametrize(
    ("redundancy", "cells", "at_first", "later"),
    [("4/6", 6, 0, 0), ("2/3", 3, 1, 1), ("2/3", 4, 1, 0), ("2/2", 2, 2, 2)],
)
async def test_a_coordinator_warns_of_a_weak_class_at_its_start(
    autojump_clock: MockClock, redundancy: str, cells: int, at_first: int, later: int
) -> None:
    async with running(cells=cells, redundancy=redundancy) as rig:
        assert await warnings(rig) == at_first
        await rig.restart()
        assert await warnings(rig) == later


async def test_two_cells_of_one_host_are_lost_together(autojump_clock: MockClock) -> None:
    async with running(cells=0, redundancy="2/3") as rig:
        for owner in ("a", "a", "b", "b"):
            (await rig.add_cell(owner=owner)).beating = False
        await trio.sleep(1)
        await rig.restart()
        assert await warnings(rig) == 2


async def test_status_says_what_the_loss_of_a_site_would_do(autojump_clock: MockClock) -> None:
    async with running(cells=0) as rig:
        _, empty = swarm_now(await rig.operate("GET", "/v1/status"), ASSUMED)
        assert "no ring yet: it takes 6 cells" in empty
        for site in ("Bologna", "Roma", "Torino") * 2:
            await rig.add_cell(site=site)
        await trio.sleep(10)
        result, text = swarm_now(await rig.operate("GET", "/v1/status"), ASSUMED)
        assert "now: everything can be read, least margin 2" in text
        assert (
            "if site Bologna fails now: nothing lost, margin 0; writes go on in class 2/4" in text
        )
        assert "if box owner-0 fails now: nothing lost, margin 1; writes go on" in text
        assert [each["margin"] for each in result["sites"]] == [0, 0, 0]
        rig.cells[1].beating = False
        await trio.sleep(30)
        result, text = swarm_now(await rig.operate("GET", "/v1/status"), ASSUMED)
        assert result["now"]["margin"] == 1
        assert "if site Torino fails now: " in text
        assert "CANNOT BE READ without it" in text.partition("if site Torino")[2].split("\n")[0]
