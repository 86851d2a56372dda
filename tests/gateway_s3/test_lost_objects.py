"""An object that is lost for good is not answered with "try again"."""

import pytest
import trio

from coordinator.journaled_store import STORE_NAME
from sim.cluster import Cluster, Shape
from sim.world import SimWorld


@pytest.mark.fault("F13")
@pytest.mark.parametrize("size", [5000, 3_000_000])
async def test_an_object_that_is_lost_is_a_final_error_that_says_so(size, autojump_clock):
    async with Cluster(SimWorld(5), Shape()) as cluster:
        client = cluster.client()
        await client.request("PUT", "/bucket")
        assert (await client.request("PUT", "/bucket/key", None, bytes(size))).status_code == 200
        sql = cluster.store_node.databases[STORE_NAME].connection
        sql.execute(
            "INSERT INTO missing_shards SELECT segment_id, slot, ring_slots.ring, 1, 0"
            " FROM segments, ring_slots"
            " WHERE segments.ring = ring_slots.ring AND slot < 2"
        )
        assert (await client.request("GET", "/bucket/key")).content == bytes(size)
        sql.execute("INSERT INTO missing_shards SELECT segment_id, 4, ring, 1, 0 FROM segments")
        begun = trio.current_time()
        answer = await client.request("GET", "/bucket/key")
        assert answer.status_code == 500
        assert "data is lost" in answer.text
        assert "retry does not help" in answer.text
        assert trio.current_time() - begun < 1
