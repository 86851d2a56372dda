"""Audits in a whole swarm: a disk that rots unread is found, repaired, and the cell recovers."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock

from coordinator.journaled_store import STORE_NAME
from sim.cluster import Cluster, Shape
from sim.world import SimWorld

SHAPE = Shape(
    overrides={
        "coordinator": {
            "audit_interval_s": 20,
            "audit_traffic_ppm": 1_000_000_000,
            "audit_recover_passes": 20,
        },
        "cell": {"scrub_days": 365},
    }
)
OBJECTS = 10


async def audits_of(cluster: Cluster, number: int) -> dict[str, Any]:
    cell_id = cluster.cells[number].serving.peer_id.hex()
    answer: dict[str, Any] = await cluster.operate("GET", f"/v1/cells/{cell_id}/audits")
    return answer


def rows(cluster: Cluster, statement: str, *parameters: Any) -> list[Any]:
    connection = cluster.store_node.databases[STORE_NAME].connection
    return connection.execute(statement, parameters).fetchall()


async def rot(cluster: Cluster, number: int) -> int:
    """Change a byte of every second shard of a cell. Return how many."""
    cell = cluster.cells[number]
    names = rows(
        cluster,
        "SELECT s.segment_id, r.slot FROM segments s JOIN ring_slots r ON r.ring = s.ring"
        " JOIN cells c ON c.cell = r.cell WHERE c.cell_id = ? ORDER BY s.segment_id",
        cell.serving.peer_id,
    )
    for segment_id, slot in names[::2]:
        entry = await cell.serving.store.index.find((segment_id, slot))
        path = f"volumes/{entry.volume:08d}.vol"
        cell.node.platter.rot(path, entry.data_offset + entry.shard_bytes // 2)
    return len(names[::2])


@pytest.mark.timeout(300)
async def test_a_disk_that_rots_unread_is_found_by_audits(autojump_clock: MockClock) -> None:
    async with Cluster(SimWorld(3), SHAPE) as cluster:
        client = cluster.client()
        await client.request("PUT", "/bucket")
        for number in range(OBJECTS):
            answer = await client.request("PUT", f"/bucket/{number}", body=bytes(3_000_000))
            assert answer.status_code == 200
        rotten = await rot(cluster, 0)
        assert rotten == OBJECTS // 2
        trusts = []
        for _ in range(360):
            await trio.sleep(10)
            trust = (await audits_of(cluster, 0))["trust"]
            if trust not in trusts[-1:]:
                trusts.append(trust)
            if trusts[1:] and trust == "good":
                break
        assert trusts in (["good", "warned", "suspended", "good"], ["warned", "suspended", "good"])
        evidence = (await audits_of(cluster, 0))["evidence"]
        assert {each["finding"] for each in evidence} == {"passed", "lacks"}
        await trio.sleep(300)  # a suspended cell fills nothing; now it does
        assert not rows(cluster, "SELECT * FROM missing_shards")
        for number in range(1, 6):
            told = await audits_of(cluster, number)
            assert told["trust"] == "good"
            assert {each["finding"] for each in told["evidence"]} == {"passed"}
    assert not cluster.swarm.faults
