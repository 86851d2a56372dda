"""Data that is lost for good is counted, and not taken for data that is away."""

import pytest
from coordinator_rig import running

from common.wire import messages as m
from coordinator.journaled_store import STORE_NAME


async def lose(rig, segment_id, slots):
    for slot, cell in enumerate(rig.holders(segment_id)):
        if slot in slots:
            await cell.call(m.ShardsLost((m.ShardName(segment_id, slot),)))


async def missing(rig):
    return (await rig.operate("GET", "/v1/status"))["missing"]


@pytest.mark.fault("F13")
async def test_a_segment_with_fewer_than_k_shards_left_is_counted_as_lost(autojump_clock):
    async with running() as rig:
        gateway = await rig.add_gateway()
        await gateway.make_bucket()
        requests = [(await gateway.put(f"name-{number}".encode()))[0] for number in range(3)]
        segments = [each.segments[0].segment_id for each in requests]
        await lose(rig, segments[0], {0, 1})
        await lose(rig, segments[1], {0, 3, 5})
        told = await missing(rig)
        assert (told["segments_at_risk"], told["segments_lost"]) == (2, 1)
        assert "alveary_lost_segments 1.0" in (await rig.http("GET", "/metrics")).text
        place = (await gateway.get(b"name-1")).places[0]
        assert sum(bool(order) for order in place.orders) == 3


@pytest.mark.fault("F13")
async def test_shards_of_removed_cells_count_as_lost(autojump_clock):
    async with running() as rig:
        gateway = await rig.add_gateway()
        await gateway.make_bucket()
        requests = [(await gateway.put(f"name-{number}".encode()))[0] for number in range(3)]
        segment = requests[0].segments[0].segment_id
        holders = rig.holders(segment)
        await lose(rig, segment, {0, 1})
        rig.node.databases[STORE_NAME].connection.execute(
            "UPDATE cells SET removed_ms = 1 WHERE cell_id = ?", (holders[1].identity.peer_id,)
        )
        assert (await missing(rig))["segments_lost"] == 0
        for cell in holders[2:4]:
            rig.node.databases[STORE_NAME].connection.execute(
                "UPDATE cells SET removed_ms = 1 WHERE cell_id = ?", (cell.identity.peer_id,)
            )
        assert (await missing(rig))["segments_lost"] == 3  # every ring has all six cells
