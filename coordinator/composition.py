"""The parts of a coordinator that serves, put together: handlers, rounds, and operators' routes.

Source: docs/architecture.md, "Where things are".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from common import limits
from common.http.health import health_app
from common.http.records import Handler, HttpRequest, HttpResponse
from common.ports import World
from common.rpc.fair_queue import FairQueue
from common.rpc.peers import PeerPool
from common.rpc.server import PeerServer
from common.tasks import Round, every
from common.wire.messages.base import Request
from coordinator.api.app import Api
from coordinator.api.audits import AuditOperations
from coordinator.api.cells import CellOperations
from coordinator.api.classes import ClassOperations
from coordinator.api.coordinators import CharterOperations
from coordinator.api.decisions import DecisionOperations
from coordinator.api.invites import InviteOperations
from coordinator.api.quotas import QuotaOperations
from coordinator.api.routes import ApiRoute
from coordinator.api.status import Status
from coordinator.api.store import StoreOperations
from coordinator.api.tenants import TenantOperations
from coordinator.audits import Auditor
from coordinator.config import CoordinatorConfig
from coordinator.connection_places import ConnectionPlaces
from coordinator.handlers.audit import AuditHandlers
from coordinator.handlers.cells import CellHandlers
from coordinator.handlers.guards import guarded
from coordinator.handlers.of_gateways import gateway_handlers
from coordinator.handlers.places import Places
from coordinator.handlers.repair import RepairHandlers
from coordinator.handlers.requests import check_complete, merged
from coordinator.kept_facts import FACTS_S, KeptFacts
from coordinator.metrics import CoordinatorMetrics
from coordinator.parts import CoordinatorParts
from coordinator.policy.audit_book import AuditBook
from coordinator.rounds.audits import AUDITS_S, AuditsRound
from coordinator.rounds.availability import AVAILABILITY_S, AvailabilityRound
from coordinator.rounds.charters import CHARTERS_S, ChartersRound
from coordinator.rounds.classes import CLASSES_S, ClassesRound
from coordinator.rounds.disks import DISKS_S, DiskRound
from coordinator.rounds.drains import DRAINS_S, DrainsRound
from coordinator.rounds.homes import HOMES_S, HomesRound
from coordinator.rounds.lease_ends import LEASE_ENDS_S, LeaseEndsRound
from coordinator.rounds.lease_renewals import LEASE_RENEWALS_S, LeaseRenewalsRound
from coordinator.rounds.order_time import OrderTimeRound
from coordinator.rounds.outlook import OutlookRound
from coordinator.rounds.purge import PURGE_S, PurgeRound
from coordinator.rounds.repair import REPAIR_S, RepairRound
from coordinator.rounds.rings import REFRESH_S, RingsRound
from coordinator.session import ByRequest, Caller, CoordinatorSession
from coordinator.shared_cells import SharedCells
from coordinator.shared_store import BEAT_S as COORDINATORS_S
from coordinator.shared_store import OtherCoordinators
from coordinator.standbys import Standbys
from coordinator.store.leadership import BEAT_S

OVERLAP_S: Final = 10
"""On a shared store what was dropped is numbered before its transaction ends, and is seen as much
later: longer than PostgreSQL lets one last that is waited for."""


def auditor_of(
    world: World, config: CoordinatorConfig, parts: CoordinatorParts, metrics: CoordinatorMetrics
) -> Auditor:
    """Return what audits the cells, by the configured rules."""
    return Auditor(
        world,
        parts.store,
        parts.keys.identity,
        parts.membership,
        parts.placement,
        parts.queues,
        metrics,
        parts.history,
        AuditBook(traffic_ppm=config.audit_traffic_ppm, least_s=config.audit_interval_s),
        config.audit_rules(),
    )


def server_of(
    world: World,
    config: CoordinatorConfig,
    parts: CoordinatorParts,
    status: Status,
    metrics: CoordinatorMetrics,
    auditor: Auditor,
    places: ConnectionPlaces,
    standbys: Standbys,
    check_lease: Callable[[], None],
    kept_facts: KeptFacts,
) -> PeerServer[CoordinatorSession]:
    """Return the server of cells, gateways, and standbys."""
    of_cells = CellHandlers(
        parts.store,
        parts.membership,
        parts.placement,
        parts.orders,
        parts.history,
        parts.queues,
        parts.order_time,
        auditor,
        kept_facts,
        world.clock,
        world.log,
        swarm_name=config.swarm,
        swarm_id=parts.keys.swarm_id,
        coordinators=standbys.named,
        charters=parts.keys.charters,
    )

    def recognise(caller: Caller, request: Request) -> None:
        of_cells.recognise(caller, request)
        standbys.recognise(caller, request)

    of_repair = RepairHandlers(
        parts.store,
        parts.membership,
        Places(parts.membership, parts.orders, parts.order_time),
    )
    handlers = merged(
        of_cells.by_request(),
        of_repair.by_request(),
        AuditHandlers(auditor, parts.membership, world.entropy).by_request(),
        status.gateways.by_request(),
        standbys.by_request(),
        _of_gateways(world, config, parts),
    )
    check_complete(handlers)
    queue = FairQueue(
        places=limits.MAX_TENANT_CALLS,
        at_work=limits.MAX_TENANT_CALLS_AT_WORK,
        patience_s=limits.TENANT_CALL_TURN_WAIT_S,
        requests_per_s=config.tenant_requests_per_s or 0,
    )
    metrics.watch(queue)
    return PeerServer(
        parts.keys.identity,
        guarded(
            handlers,
            metrics,
            parts.watched,
            parts.store,
            parts.history,
            parts.order_epoch,
            check_lease,
            queue,
        ),
        entropy=world.entropy,
        log=world.log,
        buffer_budget_bytes=limits.COORDINATOR_BUFFER_BUDGET_BYTES,
        new_session=CoordinatorSession,
        end_session=of_cells.end_session,
        recognise=recognise,
        max_connections=places.native,
        charters=parts.keys.charters,
    )


def _of_gateways(world: World, config: CoordinatorConfig, parts: CoordinatorParts) -> ByRequest:
    return gateway_handlers(
        parts.store,
        parts.membership,
        parts.placement,
        parts.orders,
        parts.order_time,
        parts.lease_book,
        parts.readers,
        parts.queues,
        world.clock,
        world.chance,
        world.entropy,
        lease_ttl_s=config.write_lease_ttl_s,
        reading_every_s=-(-config.delete_grace_s // 4),
        max_buckets_per_tenant=config.max_buckets_per_tenant,
        max_uploads_per_tenant=config.max_uploads_per_tenant,
    )


def rounds_of(
    world: World,
    config: CoordinatorConfig,
    parts: CoordinatorParts,
    lease_ends: LeaseEndsRound,
    auditor: Auditor,
    kept_facts: KeptFacts,
    others: OtherCoordinators,
    pool: PeerPool,
) -> list[Round]:
    """Return all periodic work."""
    leadership = parts.leadership
    rings = RingsRound(parts, world)
    shared_cells = SharedCells(parts.store, parts.membership, parts.placement)
    renewals = LeaseRenewalsRound(parts.store, parts.lease_book)
    purge = PurgeRound(
        parts.store,
        leadership,
        parts.history,
        parts.readers,
        parts.queues,
        delete_grace_s=config.delete_grace_s + (OVERLAP_S if leadership.is_shared else 0),
    )
    repair = RepairRound(parts, world)
    outlook = OutlookRound(parts.store, world.workers, parts.membership, repair)
    availability = AvailabilityRound(parts.store, leadership, parts.membership, parts.history)
    disks = DiskRound(
        parts.store,
        leadership,
        parts.membership,
        parts.history,
        world.clock,
        world.log,
        drains=config.drain_failing_disks,
    )
    returning = HomesRound(parts, world)
    following = ClassesRound(parts.store, leadership, parts.history, parts.queues.classes)
    order_time = OrderTimeRound(parts.store, parts.order_time)
    chartered = ChartersRound(
        parts.store,
        parts.keys.charters,
        parts.membership,
        pool,
        world.log,
        is_shared=leadership.is_shared,
    )
    of_shared_store = [
        Round("leadership", leadership.keep, every(BEAT_S)),
        Round("shared_cells", shared_cells.keep, every(0.0)),
        Round("coordinators", others.keep, every(COORDINATORS_S)),
    ]
    return [
        Round("refresh", rings.run, every(REFRESH_S)),
        *(of_shared_store if leadership.is_shared else ()),
        Round("leases", lease_ends.run, every(LEASE_ENDS_S)),
        Round("renewals", renewals.run, every(LEASE_RENEWALS_S)),
        Round("purge", purge.run, every(PURGE_S)),
        Round("repair", repair.run, every(REPAIR_S)),
        Round("audits", AuditsRound(auditor).run, every(AUDITS_S)),
        Round("classes", following.run, every(CLASSES_S)),
        Round("homes", returning.run, every(HOMES_S)),
        Round("availability", availability.run, every(AVAILABILITY_S)),
        Round("disks", disks.run, every(DISKS_S)),
        Round("outlook", outlook.run, outlook.pause_s),
        Round("drains", DrainsRound(parts.store, parts.membership).run, every(DRAINS_S)),
        Round("facts", kept_facts.keep, every(FACTS_S)),
        Round("charters", chartered.run, every(CHARTERS_S)),
        Round("order_time", order_time.run, every(limits.ORDER_TIME_KEPT_EVERY_S)),
    ]


def routes_of(
    world: World,
    config: CoordinatorConfig,
    parts: CoordinatorParts,
    status: Status,
    lease_ends: LeaseEndsRound,
    standbys: Standbys,
) -> tuple[ApiRoute, ...]:
    """Return the operators' operations."""
    clock, log = world.clock, world.log
    invites = InviteOperations(
        parts.store,
        clock,
        world.entropy,
        log,
        key_id=parts.keys.swarm_key_id,
        swarm_name=config.swarm,
        advertised=standbys.addresses,
    )
    return (
        *invites.routes(),
        *CharterOperations(
            parts.store, parts.keys.charters, parts.keys.identity.peer_id, log
        ).routes(),
        *CellOperations(parts, world, status).routes(),
        *DecisionOperations(parts, world, status).routes(),
        *AuditOperations(parts.store, parts.membership, parts.keys).routes(),
        *ClassOperations(parts, log).routes(),
        *QuotaOperations(parts, log).routes(),
        *TenantOperations(parts.store, clock, log).routes(),
        *StoreOperations(parts.store, parts.history, lease_ends.end_all).routes(),
    )


def app_of(metrics: CoordinatorMetrics, status: Status, api: Api) -> Handler:
    """Return the handler of HTTP requests: metrics, health, and the operators' API."""
    app = health_app(metrics.registry, status.health, otherwise=api)

    async def answer(request: HttpRequest) -> HttpResponse:
        if request.path == b"/metrics":
            await status.measure(metrics)
        return await app(request)

    return answer
