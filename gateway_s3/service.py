"""The gateway as a service on any world: the real one, or a simulated one.

Source: docs/architecture.md, "Where things are".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, replace
from functools import partial
from pathlib import PurePath
from typing import Any, Final

import trio

from common import limits
from common.charter_book import CharterBook
from common.client.object_client import SwarmClient
from common.data_classes import dataclass
from common.http.connection import HttpFaultCounts
from common.http.health import health_app
from common.http.server import serve_http
from common.ids import PeerId, TenantId
from common.known_coordinators import KnownCoordinators
from common.ports import Address, CertificateSource, Disk, WebhookSender, World
from common.rpc.fair_queue import FairQueue
from common.tasks import CountedLog, go_on
from common.wire.messages.writing import AccessKey, AccessKeyGet, RosterGet, RosterRecord
from gateway.access_log import AccessLogs
from gateway.bucket_cache import BucketCache
from gateway.bucket_owners import BucketOwners
from gateway.connections import SwarmConnections
from gateway.expiring import Expirer
from gateway.following import Follower
from gateway.key_rings import KeyRings
from gateway.names import IdentityNames
from gateway.notifying import Notifier
from gateway.rosters import Rosters
from gateway.tenants import Tenants
from gateway.webhooks import Webhooks
from gateway_s3.app import App
from gateway_s3.auth.access_keys import AccessKeys
from gateway_s3.backend import Backend
from gateway_s3.config import GatewayConfig
from gateway_s3.event_records import event_record
from gateway_s3.metrics import GatewayMetrics
from gateway_s3.presence import Presence
from gateway_s3.tls import ServerCertificate

DRAIN_S: Final = 10.0
"""Time for running requests to end after the S3 listener has closed."""


@dataclass(frozen=True, slots=True)
class RunningGateway:
    """A gateway that takes requests: where, and who it is to cells and coordinators.

    ``certificate``: of the S3 listener; None: it listens in the clear.
    """

    s3: Address
    http: Address | None
    peer_id: PeerId
    app: App
    stop: Stop
    certificate: ServerCertificate | None = None
    logs: AccessLogs | None = None

    def look_at_certificate(self) -> None:
        """Look at the certificate's files now, if there is one."""
        if self.certificate is not None:
            self.certificate.ask()

    async def drain(self) -> None:
        """Shut down gracefully: fail ``/readyz``, give load balancers the configured time to see
        it, then close the S3 listener, and every connection with the answer that it waits for.
        Answers that take longer than DRAIN_S are cut when the service is cancelled next."""
        self.stop.is_near = True
        await trio.sleep(self.stop.notice_s)
        self.stop.now.set()
        with trio.move_on_after(DRAIN_S):
            await self.stop.has_drained.wait()
        if self.logs is not None:
            with trio.move_on_after(DRAIN_S):
                await self.logs.flush()


@dataclass(slots=True)
class Stop:
    """The progress of a gateway's shutdown. ``notice_s``: between its announcement and the end of
    listening."""

    notice_s: float
    is_near: bool = False
    now: trio.Event = field(default_factory=trio.Event)
    has_drained: trio.Event = field(default_factory=trio.Event)


async def serve(
    world: World,
    config: GatewayConfig,
    tenants_disk: Disk | None = None,
    certificates: CertificateSource | None = None,
    *,
    webhooks_disk: Disk | None = None,
    sender: WebhookSender | None = None,
    task_status: trio.TaskStatus[RunningGateway] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve S3 until cancelled.

    Args:
        world: all ports.
        config: parsed.
        tenants_disk: rooted at the directory of tenant key files, where that does not lie in the
            daemon's own directory.
        certificates: for TLS at the S3 listener.
        webhooks_disk: as ``tenants_disk``, for receivers of events.
        sender: reaches receivers of events; None: none is notified.

    Raises:
        BadConfig: ``cannot_listen``; ``cannot_read``, ``bad_certificate``: the certificate.
    """
    metrics = GatewayMetrics()
    world = replace(world, log=CountedLog(world.log, metrics.registry))
    stop = Stop(config.drain_notice_s)
    tenants = Tenants(
        tenants_disk or world.disk, "." if tenants_disk is not None else config.tenants, world.log
    )
    await tenants.reload()
    charters = await CharterBook.load(world.disk, world.log, config.coordinator_id)
    connections = SwarmConnections(
        world,
        config.coordinator,
        charters,
        tenants.keys,
        budget_bytes=config.buffer_budget_bytes,
    )
    coordinators, swarm = connections.coordinators, connections.swarm
    buckets = BucketCache(coordinators.call)
    webhooks = None
    if sender is not None:
        path = "." if webhooks_disk is not None else config.webhooks
        webhooks = Webhooks(webhooks_disk or world.disk, path, world.log)
        await webhooks.reload()
    backend = Backend(
        coordinators=coordinators,
        swarm=swarm,
        buckets=buckets,
        owners=BucketOwners(coordinators.call, buckets, tenants.keys.get),
        key_rings=KeyRings(coordinators.call),
        names=IdentityNames(),
        workers=world.workers,
        entropy=world.entropy,
        clock=world.clock,
        log=world.log,
        metrics=metrics,
        region=config.region,
        domains=config.domains,
        budget=swarm.budget,
        gathered=swarm.gathered,
        lifecycle_day_ms=1000 * config.lifecycle_day_s,
        customer_keys_in_clear=config.customer_keys_in_clear,
        webhooks=webhooks,
        sender=sender,
    )

    async def ask_access_key(access_key_id: str) -> AccessKey:
        record: AccessKey = await coordinators.call(AccessKeyGet(access_key_id))
        return record

    async def ask_roster(tenant_id: TenantId) -> RosterRecord:
        record: RosterRecord = await coordinators.call(RosterGet(tenant_id))
        return record

    rosters = Rosters(ask_roster, world.disk, world.log)
    keys = AccessKeys(ask_access_key, tenants.keys.get, tenants.reload, world.log, rosters)
    queue = FairQueue(
        places=limits.MAX_S3_REQUESTS,
        at_work=limits.MAX_S3_REQUESTS_AT_WORK,
        patience_s=limits.S3_TURN_WAIT_S,
        most_of_one=config.tenant_requests,
        requests_per_s=config.tenant_requests_per_s or 0,
        bytes_per_s=config.tenant_bytes_per_s or 0,
    )
    logs = AccessLogs(backend, config.region, config.access_log_s, metrics)
    app = App(
        backend,
        keys,
        config.domains,
        config.signature_v2,
        website_domains=config.website_domains,
        queue=queue,
        logs=logs,
    )

    metrics.watch(
        "alveary_s3_requests_running", "Requests not yet answered whole", lambda: app.running
    )
    metrics.watch(
        "alveary_s3_hashes_waiting_bytes",
        "Bytes of bodies that wait to be hashed",
        lambda: backend.backlog.waiting_bytes,
    )
    metrics.watch(
        "alveary_gateway_buffer_free_bytes",
        "Free bytes of the budget of all streams",
        lambda: swarm.budget.free_bytes,
    )

    counts = HttpFaultCounts()
    _watch_limits(metrics, counts, swarm, queue)

    metrics.watch(
        "alveary_gateway_unreachable_peers",
        "Cells and coordinators that could not be reached when last tried",
        lambda: connections.pool.unreachable,
    )
    async with trio.open_nursery() as nursery:
        await connections.start(nursery)
        certificate = None
        if certificates is not None:
            certificate = ServerCertificate(certificates, world.clock, world.log)
        s3 = await world.network.listen(
            config.s3,
            identity=None,
            certificate=None if certificate is None else await certificate.read_first(),
        )
        secure = certificate is not None

        async def serve_s3() -> None:
            await serve_http(
                s3,
                app,
                log=world.log,
                clock=world.clock,
                counts=counts,
                drain=stop.now,
                secure=secure,
                wait_pressed=swarm.budget.wait_pressed,
            )
            stop.has_drained.set()

        nursery.start_soon(serve_s3)
        if certificate is not None:
            metrics.watch(
                "alveary_s3_certificate_end_seconds",
                "When the certificate of the S3 listener ends, Unix time",
                certificate.end,
            )
            nursery.start_soon(certificate.run, s3)
        elif not s3.address.is_loopback:
            world.log.warning(
                "s3_listens_in_the_clear",
                s3=str(s3.address),
                danger="names and contents can be read, and unsigned bodies changed, on the way",
                remedy="tls_certificate and tls_key, or a proxy with TLS before a loopback address",
            )
        known = KnownCoordinators(world.disk, world.log, coordinators.learn)
        await known.load()
        presence = Presence(
            coordinators,
            tenants.keys,
            str(PurePath(config.data, config.tenants)),
            world.log,
            str(s3.address),
            backend.space,
            known,
            charters,
            connections.hear_charter,
        )
        metrics.watch(
            "alveary_gateway_writable",
            "1 if objects could be written when a coordinator was last asked",
            lambda: presence.is_writable,
        )
        nursery.start_soon(presence.run)
        follower = Follower(backend, tenants.keys, metrics.rewritten_bytes)
        nursery.start_soon(go_on, "following", follower.run, world.log)
        nursery.start_soon(go_on, "access_logs", logs.run, world.log)
        expirer = Expirer(backend, tenants.keys, backend.lifecycle_day_ms, metrics)
        nursery.start_soon(go_on, "lifecycle", expirer.run, world.log)

        if webhooks is not None and sender is not None:
            notifier = Notifier(
                backend,
                tenants.keys,
                webhooks,
                sender,
                partial(event_record, region=config.region),
                metrics,
                world.chance.random,
            )
            nursery.start_soon(go_on, "notifying", notifier.run, world.log)

        async def facts() -> Mapping[str, Any]:
            if stop.is_near:
                return {"ok": False, "role": "gateway", "stopping": True}
            return await presence.facts()

        http_address: Address | None = None
        if config.http is not None:
            http = await world.network.listen(config.http, identity=None)
            http_address = http.address
            nursery.start_soon(
                lambda: serve_http(
                    http,
                    health_app(metrics.registry, facts),
                    log=world.log,
                    clock=world.clock,
                )
            )
        world.log.info("serving", s3=str(s3.address), tenants=len(tenants.keys))
        task_status.started(
            RunningGateway(
                s3.address, http_address, connections.identity.peer_id, app, stop, certificate, logs
            )
        )


def _watch_limits(
    metrics: GatewayMetrics, counts: HttpFaultCounts, swarm: SwarmClient, queue: FairQueue
) -> None:
    """Show how often clients met a limit of time, memory or requests."""
    metrics.watch(
        "alveary_s3_requests_waiting",
        "Requests that wait for their turn beside those of other tenants",
        lambda: queue.waiting,
    )
    metrics.watch_count(
        "alveary_s3_requests_turned_away",
        "Requests beyond the share or the rate of their tenant",
        lambda: queue.turned_away,
    )
    metrics.watch(
        "alveary_gateway_gathered_bytes",
        "Bytes of bodies that arrived before there was room for them",
        lambda: swarm.gathered.held_bytes,
    )
    metrics.watch(
        "alveary_gateway_buffer_waiting", "Streams that wait for room", lambda: swarm.budget.waiting
    )
    metrics.watch_count(
        "alveary_gateway_buffer_refused",
        "Streams that got no room in time",
        lambda: swarm.budget.refused,
    )
    metrics.watch_count(
        "alveary_gateway_slow_bodies", "Bodies that came too slowly", lambda: counts.slow_bodies
    )
    metrics.watch_count(
        "alveary_gateway_slow_heads", "Heads that came too slowly", lambda: counts.slow_heads
    )
    metrics.watch_count(
        "alveary_gateway_slow_readers",
        "Answers that were taken too slowly",
        lambda: counts.slow_readers,
    )
    metrics.watch_count(
        "alveary_gateway_evicted", "Idle connections that gave way", lambda: counts.evicted
    )
