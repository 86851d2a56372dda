"""A gateway says what it has, and what it can do, to operators and to balancers."""

import json

import httpx
import pytest
import trio
from coordinator_rig import facts, running

from common.crypto.keys import TenantKey
from common.ids import TenantId
from gateway_s3.config import GatewayConfig
from gateway_s3.service import serve
from sim.http import SimTransport


async def start_gateway(rig, *, has_tenant):
    node = rig.swarm.node("gateway")
    if has_tenant:
        tenant = TenantKey(tenant_id=TenantId(bytes(16)), key=bytes(32))
        file = await node.world.disk.open("tenants/t.json", create=True)
        content = {"tenant_id": tenant.tenant_id.hex(), "key": tenant.key.hex()}
        await file.write(0, [json.dumps(content).encode()])
    config = GatewayConfig.parse(
        {
            "data": "data",
            "s3": "gateway:9000",
            "http": "gateway:9001",
            "coordinator": ["coordinator:7000"],
            "coordinator_id": rig.serving.peer_id.hex(),
        }
    )
    await rig.nursery.start(serve, node.world, config)
    await trio.sleep(1)


async def ask(rig, path):
    network = rig.swarm.node("watcher").world.network
    async with httpx.AsyncClient(transport=SimTransport(network), timeout=60) as client:
        return await client.get(f"http://gateway:9001{path}")


@pytest.mark.fault("U1")
async def test_a_gateway_without_a_tenant_says_so(autojump_clock):
    async with running() as rig:
        await start_gateway(rig, has_tenant=False)
        ready = await ask(rig, "/readyz")
        assert (ready.status_code, ready.json()["reason"]) == (503, "no_tenants")
        assert (await ask(rig, "/healthz")).status_code == 200
        (told,) = (await rig.operate("GET", "/v1/status"))["gateways"]
        assert (told["s3"], told["tenants"]) == ("gateway:9000", 0)


@pytest.mark.fault("F7")
async def test_a_gateway_knows_that_the_swarm_cannot_be_written(autojump_clock):
    """It is ready all the same: what is there can be read."""
    async with running() as rig:
        await start_gateway(rig, has_tenant=True)
        ready = await ask(rig, "/readyz")
        assert (ready.status_code, ready.json()["writable"]) == (200, True)
        assert "alveary_gateway_writable 1.0" in (await ask(rig, "/metrics")).text
        for cell in rig.cells[:4]:
            cell.facts = facts(free=1000)
        await trio.sleep(7)
        ready = await ask(rig, "/readyz")
        assert (ready.status_code, ready.json()["writable"]) == (200, False)
        assert ready.json()["reason"] == "no_ring"
        assert "alveary_gateway_writable 0.0" in (await ask(rig, "/metrics")).text
        rig.scope.cancel()
        ready = await ask(rig, "/readyz")
        assert (ready.status_code, ready.json()["writable"]) == (503, False)
        assert (await ask(rig, "/healthz")).status_code == 200
