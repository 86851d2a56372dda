"""The gateway as a service on any world: the real one, or a simulated one.

Source: docs/architecture.md, "Gateway".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import trio

from common.client.directory import Directory
from common.client.objects import SwarmClient
from common.client.peers import PeerPool
from common.crypto.identity import KeyPair
from common.http.health import health_app
from common.http.server import serve_http
from common.ids import PeerId
from common.ports import Address, Disk, World
from common.wire.messages import AccessKey, AccessKeyGet
from gateway_s3.access_keys import AccessKeys
from gateway_s3.app import App
from gateway_s3.backend import Backend
from gateway_s3.bucket_cache import BucketCache
from gateway_s3.config import Config
from gateway_s3.metrics import Metrics
from gateway_s3.names import IdentityNames
from gateway_s3.presence import Presence
from gateway_s3.tenants import Tenants

CONNECTIONS_PER_PEER: Final = 2
"""Beside each other, so that a large frame on one does not hold up a small call."""
DRAIN_S: Final = 10.0
"""How long running requests may go on after the order to stop."""


@dataclass(frozen=True, slots=True)
class Serving:
    """A gateway that takes requests: where, and who it is to cells and coordinators."""

    s3: Address
    http: Address | None
    peer_id: PeerId
    app: App

    async def drain(self) -> None:
        """Take no new requests (503) and wait until the running ones are answered, at most
        DRAIN_S."""
        with trio.move_on_after(DRAIN_S):
            await self.app.drain()


async def serve(
    world: World,
    config: Config,
    tenants_disk: Disk | None = None,
    *,
    task_status: trio.TaskStatus[Serving] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve S3 until cancelled.

    Args:
        world: all ports.
        config: parsed.
        tenants_disk: rooted at the directory of tenant key files, where that does not lie in the
            daemon's own directory.

    Raises:
        BadConfig: ``cannot_listen``.
    """
    tenants = Tenants(
        tenants_disk or world.disk, "." if tenants_disk is not None else config.tenants, world.log
    )
    await tenants.reload()
    # Orders are bound to the caller's key, and no caller of old is of use: a fresh one each start.
    identity = KeyPair.generate(world.entropy)
    pool = PeerPool(
        world.network,
        identity,
        connections_per_peer=CONNECTIONS_PER_PEER,
        chance=world.chance,
        log=world.log,
    )
    coordinators = [(address, config.coordinator_id) for address in config.coordinator]
    directory = Directory(pool, coordinators, tenants.keys)
    swarm = SwarmClient(
        directory=directory,
        pool=pool,
        workers=world.workers,
        entropy=world.entropy,
        chance=world.chance,
        log=world.log,
        budget_bytes=config.buffer_budget_bytes,
    )
    metrics = Metrics()
    backend = Backend(
        directory=directory,
        swarm=swarm,
        buckets=BucketCache(directory.call),
        names=IdentityNames(),
        workers=world.workers,
        entropy=world.entropy,
        clock=world.clock,
        log=world.log,
        metrics=metrics,
        region=config.region,
        domains=config.domains,
    )

    async def ask_access_key(access_key_id: str) -> AccessKey:
        record: AccessKey = await directory.call(AccessKeyGet(access_key_id))
        return record

    keys = AccessKeys(ask_access_key, tenants.keys.get, tenants.reload, world.log)
    app = App(backend, keys, config.domains)

    metrics.watch(
        "alveary_s3_requests_running", "Requests not yet answered whole", lambda: app.running
    )
    metrics.watch(
        "alveary_s3_hashes_waiting_bytes",
        "Bytes of bodies that wait to be hashed",
        lambda: backend.crowd.waiting_bytes,
    )
    metrics.watch(
        "alveary_gateway_buffer_free_bytes",
        "Free bytes of the budget of all streams",
        lambda: swarm.budget.free_bytes,
    )

    async with trio.open_nursery() as nursery:
        await nursery.start(pool.run)
        await nursery.start(directory.run)
        await nursery.start(swarm.run)
        s3 = await world.network.listen(config.s3, identity=None)
        nursery.start_soon(lambda: serve_http(s3, app, log=world.log, clock=world.clock))
        presence = Presence(directory, tenants.keys, config.tenants, world.log, str(s3.address))
        nursery.start_soon(presence.run)
        http_address: Address | None = None
        if config.http is not None:
            http = await world.network.listen(config.http, identity=None)
            http_address = http.address
            nursery.start_soon(
                lambda: serve_http(
                    http,
                    health_app(metrics.registry, presence.facts),
                    log=world.log,
                    clock=world.clock,
                )
            )
        world.log.info("serving", s3=str(s3.address), tenants=len(tenants.keys))
        task_status.started(Serving(s3.address, http_address, identity.peer_id, app))
