"""The coordinator's rounds go on whatever one of them meets."""

from __future__ import annotations

import pytest
import trio
from coordinator_rig import running
from trio.testing import MockClock


@pytest.mark.fault("T")
async def test_rings_are_made_after_a_round_met_a_bug(autojump_clock: MockClock) -> None:
    async with running(cells=0) as rig:
        rig.sql("ALTER TABLE rings RENAME TO hidden")
        for _ in range(6):
            await rig.add_cell()
        await trio.sleep(20)
        assert any("round_broke" in each for each in rig.swarm.faults)
        rig.sql("ALTER TABLE hidden RENAME TO rings")
        await trio.sleep(60)
        assert rig.one("SELECT count(*) FROM rings") > 0
        text = (await rig.http("GET", "/metrics")).text
        assert 'alveary_log_lines_total{event="round_broke",level="error"}' in text
