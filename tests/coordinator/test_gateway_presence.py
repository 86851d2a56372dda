"""What a gateway hears when it reports itself."""

import trio
from coordinator_rig import running

from common import limits
from common.wire import messages as m


async def test_a_gateway_hears_how_many_bytes_of_objects_the_swarm_can_hold(autojump_clock):
    async with running(cells=3, redundancy="2/3") as rig:
        gateway = await rig.add_gateway("tenant")
        status = await rig.operate("GET", "/v1/status")
        space = status["space"]
        state = await gateway.call(m.GatewayPresence("127.0.0.1:9000", 1))
        assert state.capacity_bytes == space["capacity_bytes"] * 2 // 3 > 0
        assert state.free_bytes == space["free_bytes"] * 2 // 3 <= state.capacity_bytes


async def test_the_space_is_counted_once_for_all_gateways_for_some_time(autojump_clock):
    async with running(cells=3, redundancy="2/3") as rig:
        gateway = await rig.add_gateway("tenant")
        before = await gateway.call(m.GatewayPresence("127.0.0.1:9000", 1))
        await rig.add_cell()
        again = await gateway.call(m.GatewayPresence("127.0.0.1:9001", 1))
        assert again.capacity_bytes == before.capacity_bytes
        await trio.sleep(limits.GATEWAY_PRESENCE_INTERVAL_S)
        later = await gateway.call(m.GatewayPresence("127.0.0.1:9000", 1))
        assert later.capacity_bytes > before.capacity_bytes
