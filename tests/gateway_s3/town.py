"""A simulated swarm with two tenants on one gateway, one of which has slow clients."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx
import trio

from common.crypto.keys import TenantKey
from common.errors import Unavailable
from common.format.manifest import AccessKeyRecord, seal_access_key
from common.ids import TenantId
from common.limits import MIB
from common.ports import Address, Stream
from sim.cluster import CLIENT_TIMEOUT_S, S3_PORT, Cluster, Shape, write_file
from sim.http import SimTransport
from sim.s3_client import S3Client, SimCredentials
from sim.world import SimWorld

GATEWAY = "gateway-0"


def content(size: int) -> bytes:
    return (bytes(range(251)) * (size // 251 + 1))[:size]


@dataclass
class Town:
    """A swarm with two tenants on one gateway: a backlog's, and a bystander's."""

    cluster: Cluster
    backlog: S3Client
    bystander: S3Client
    nursery: trio.Nursery
    connect: Callable[[], S3Client]
    """Makes a client of the bystander with connections of its own."""

    async def open(self, method: str, path: str, headers: Mapping[str, str]) -> Stream:
        """A connection of the backlog on which one request has begun."""
        network = self.cluster.swarm.node("backlog").world.network
        stream = await network.connect(Address(GATEWAY, S3_PORT), pin=None)
        signed = self.backlog.sign(method, path, "", "UNSIGNED-PAYLOAD", {})
        lines = [f"{method} {path} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in {**headers, **signed}.items()]
        await stream.send([("\r\n".join(lines) + "\r\n\r\n").encode()])
        return stream

    async def drip(self, size: int, begin: bytes = b"") -> None:
        """Begin a PUT and send a byte every 5 s, for as long as the gateway takes them."""
        stream = await self.open("PUT", "/backlog/slow", {"content-length": str(size)})
        try:
            await stream.send([begin])
            while True:
                await trio.sleep(5)
                await stream.send([b"x"])
        except Unavailable:
            await stream.close()

    async def stall(self, path: str) -> None:
        """Begin a GET and read nothing."""
        await self.open("GET", path, {})

    async def works(self) -> tuple[float, float]:
        """Seconds of a PUT and a GET of 1 MiB of the bystander."""
        data = content(MIB)
        began = trio.current_time()
        answer = await self.bystander.request("PUT", "/bystander/key", body=data)
        assert answer.status_code == 200, answer.text
        put_s = trio.current_time() - began
        began = trio.current_time()
        answer = await self.bystander.request("GET", "/bystander/key")
        assert answer.content == data
        return put_s, trio.current_time() - began

    async def metrics(self) -> str:
        return await self.cluster.metrics(self.cluster.gateways[0])


@asynccontextmanager
async def town() -> AsyncIterator[Town]:
    async with Cluster(SimWorld(7), Shape()) as cluster, trio.open_nursery() as nursery:
        chance = cluster.swarm.random("bystander")
        tenant = TenantKey(TenantId(chance.randbytes(16)), chance.randbytes(32))
        await cluster.make_tenant("other", tenant.tenant_id, tenant.proof_key())
        secret = chance.randbytes(20).hex()
        record = AccessKeyRecord(secret=secret, created_ms=0)
        sealed = seal_access_key(tenant, "AKOTHER", record, chance.randbytes)
        await cluster.operate(
            "POST",
            "/v1/tenants/other/keys",
            {"access_key_id": "AKOTHER", "sealed": base64.b64encode(sealed).decode()},
        )
        file = {"name": "other", "tenant_id": tenant.tenant_id.hex(), "key": tenant.key.hex()}
        disk = cluster.gateways[0].node.world.disk
        await write_file(disk, "tenants/other.json", json.dumps(file).encode())
        node = cluster.swarm.node("bystander")

        def connect() -> S3Client:
            http = httpx.AsyncClient(
                transport=SimTransport(node.world.network), timeout=CLIENT_TIMEOUT_S
            )
            credentials = SimCredentials("AKOTHER", secret)
            return S3Client(http, f"{GATEWAY}:{S3_PORT}", credentials, node.world.clock)

        bystander = connect()
        place = Town(cluster, cluster.client(), bystander, nursery, connect)
        for client, bucket in ((place.backlog, "/backlog"), (bystander, "/bystander")):
            assert (await client.request("PUT", bucket)).status_code == 200
        await place.works()
        yield place
        nursery.cancel_scope.cancel()
