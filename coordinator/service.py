"""The coordinator as a service on any world: the real one, or a simulated one.

Source: docs/architecture.md, "Where things are".
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

import trio

from common import limits
from common.errors import AlvearyError, Corrupt, Unavailable
from common.http.health import health_app
from common.http.records import Handler, HttpRequest, HttpResponse
from common.http.server import serve_http
from common.ids import PeerId
from common.ports import Address, Identity, Listener, Log, World
from common.reasons import Outage
from common.rpc.fair_queue import FairQueue
from common.rpc.peers import PeerPool
from common.rpc.server import PeerServer
from common.tasks import CountedLog, Round, every, log_fault
from common.wire.messages.base import Request
from coordinator.api.addresses import advertised_url
from coordinator.api.app import Api
from coordinator.api.audits import AuditOperations
from coordinator.api.cells import CellOperations
from coordinator.api.classes import ClassOperations
from coordinator.api.decisions import DecisionOperations
from coordinator.api.invites import InviteOperations
from coordinator.api.quotas import QuotaOperations
from coordinator.api.routes import ApiRoute
from coordinator.api.status import Status
from coordinator.api.store import StoreOperations
from coordinator.api.tenants import TenantOperations
from coordinator.audits import Auditor
from coordinator.config import CoordinatorConfig
from coordinator.connection_places import ConnectionPlaces, connection_places
from coordinator.handlers.audit import AuditHandlers
from coordinator.handlers.cells import CellHandlers
from coordinator.handlers.guards import guarded
from coordinator.handlers.of_gateways import gateway_handlers
from coordinator.handlers.places import Places
from coordinator.handlers.repair import RepairHandlers
from coordinator.handlers.requests import check_complete, merged
from coordinator.journal.keeper import KnownCell, LaterPromises
from coordinator.journaled_store import (
    PATIENCE_S,
    STORE_NAME,
    JournaledStore,
    known_cells,
    open_store,
)
from coordinator.membership import Membership
from coordinator.metrics import CoordinatorMetrics
from coordinator.parts import CoordinatorParts, load_parts
from coordinator.policy.audit_book import AuditBook
from coordinator.policy.classes import weaknesses
from coordinator.policy.history import Standing
from coordinator.policy.losses import cells_on_boxes
from coordinator.policy.placement import Redundancy
from coordinator.rounds.audits import AUDITS_S, AuditsRound
from coordinator.rounds.availability import AVAILABILITY_S, AvailabilityRound
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
from coordinator.rounds.runner import run_rounds
from coordinator.secrets import Keys, load_keys, write_operator_file
from coordinator.session import ByRequest, Caller, CoordinatorSession
from coordinator.shared_cells import SharedCells
from coordinator.standby import (
    UNFIT,
    CoordinatorRole,
    Standby,
    become_active,
    become_standby,
    discard_copy,
    is_standby,
    prepare_standby,
)
from coordinator.standbys import Standbys
from coordinator.store.leadership import BEAT_S
from coordinator.store_health import WatchedStore
from coordinator.upgrading import Upgrade, must_upgrade

CLOSE_TIMEOUT_S: Final = 5.0
OPEN_AGAIN_S: Final = 1.0
TAKE_OVER_PATIENCE_S: Final = 10.0
"""Time for the journal's cells when a standby takes over; then it stands by again."""


@dataclass(frozen=True, slots=True)
class RunningCoordinator:
    """A coordinator that takes calls: where, and who it is."""

    native: Address
    http: Address
    peer_id: PeerId
    operator_token: str
    role: CoordinatorRole
    """Changes while it runs."""


async def serve(
    world: World,
    config: CoordinatorConfig,
    *,
    task_status: trio.TaskStatus[RunningCoordinator] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until cancelled.

    Raises:
        BadConfig: ``cannot_listen``, ``bad_secret_file``, ``store_too_new``, ``store_unreleased``,
            ``store_missing``; ``no_recovery_file``, ``bad_recovery_file``: of a standby.
        Corrupt: ``store_corrupt``; ``journal_forked``, ``journal_diverged``.
        Unavailable: the data directory cannot be written, and holds no store to read.
    """
    metrics = CoordinatorMetrics()
    world = replace(world, log=CountedLog(world.log, metrics.registry))
    if config.standby:
        await prepare_standby(world.disk)
    keys = await load_keys(world.disk, world.entropy)
    pool = PeerPool(
        world.network,
        keys.identity,
        connections_per_peer=1,
        chance=world.chance,
        log=world.log,
    )
    failure: AlvearyError | None = None
    async with trio.open_nursery() as nursery:
        await nursery.start(pool.run)
        try:
            await _serve_stores(world, config, keys, pool, metrics, task_status)
        except AlvearyError as error:
            failure = error
            nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure


class _StartedOnce:
    """Says the first time that the coordinator answers, as whatever it is then."""

    def __init__(self, task_status: trio.TaskStatus[RunningCoordinator]) -> None:
        self.is_told = False
        self._task_status = task_status

    def started(self, serving: RunningCoordinator) -> None:
        if not self.is_told:
            self.is_told = True
            self._task_status.started(serving)


async def _serve_stores(
    world: World,
    config: CoordinatorConfig,
    keys: Keys,
    pool: PeerPool,
    metrics: CoordinatorMetrics,
    task_status: trio.TaskStatus[RunningCoordinator],
) -> None:
    """Open the store and serve it; again, whenever its journal has more than it. Stand by, while
    another coordinator is active."""
    role = CoordinatorRole()
    later_promises = LaterPromises()
    started = _StartedOnce(task_status)
    while True:
        stood_by = await is_standby(world.disk)
        try:
            if stood_by:
                config = await _stand_by(world, config, keys, pool, metrics, role, started)
            served = await _open_and_serve(
                world,
                config,
                keys,
                pool,
                metrics,
                role,
                started,
                later_promises,
                stood_by=stood_by,
            )
            config = served or config
        except Unavailable as error:
            if error.reason == Outage.JOURNAL_HELD_ELSEWHERE:
                await _give_way(world, stood_by=stood_by)
                continue
            if not started.is_told:
                raise
            world.log.error("store_not_opened_again", error=str(error))
        except Corrupt as error:
            if not stood_by or error.reason not in UNFIT:
                raise
            await discard_copy(world, STORE_NAME, error)
        await trio.sleep(OPEN_AGAIN_S)


async def _give_way(world: World, *, stood_by: bool) -> None:
    """Become a standby: the journal's cells hear another coordinator."""
    if not stood_by:
        world.log.warning("stands_by", why="another coordinator is active")
        await become_standby(world.disk)


@asynccontextmanager
async def _listen(
    world: World, address: Address, identity: Identity | None
) -> AsyncIterator[Listener]:
    """Listen until the end of the block, however that comes: it may be listened there again."""
    listener = await world.network.listen(address, identity=identity)
    try:
        yield listener
    finally:
        with trio.CancelScope(shield=True):
            await listener.close()


async def _stand_by(
    world: World,
    config: CoordinatorConfig,
    keys: Keys,
    pool: PeerPool,
    metrics: CoordinatorMetrics,
    role: CoordinatorRole,
    started: _StartedOnce,
) -> CoordinatorConfig:
    """Follow the active coordinator until there is none.

    Returns:
        The configuration to go on with, as of :func:`_serve`.
    """
    role.name = "standby"
    metrics.is_active.set(0)
    standby = Standby(world, pool, keys, metrics, config.swarm, STORE_NAME, config.place)
    places = connection_places(world.open_files)
    failure: AlvearyError | None = None
    async with _listen(world, config.http, None) as http:
        await _write_operator_file(world, keys, advertised_url(http.address))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(standby.serve_http, http, places.http)
            world.log.info("standing_by", http=str(http.address))
            started.started(
                RunningCoordinator(
                    config.listen, http.address, keys.identity.peer_id, keys.operator_token, role
                )
            )
            try:
                await standby.run()
            except AlvearyError as error:
                failure = error
            nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure
    return replace(config, http=http.address)


async def _open_and_serve(
    world: World,
    config: CoordinatorConfig,
    keys: Keys,
    pool: PeerPool,
    metrics: CoordinatorMetrics,
    role: CoordinatorRole,
    started: _StartedOnce,
    later_promises: LaterPromises,
    *,
    stood_by: bool,
) -> CoordinatorConfig | None:
    """Open the store, and serve it until it must be opened again, or another coordinator is active.
    A standby serves it only if the journal is settled.

    Returns:
        As of :func:`_serve`; None: it was not served.
    """
    patience_s = TAKE_OVER_PATIENCE_S if stood_by else PATIENCE_S
    journaled = await open_store(
        world, config, keys, pool, patience_s=patience_s, later_promises=later_promises
    )
    watched = WatchedStore(journaled.store, world.disk, world.log)
    try:
        if stood_by:
            if not journaled.epoch:
                return None
            world.log.warning("took_over", epoch=journaled.epoch)
        await become_active(world.disk)
        role.name = "active"
        metrics.is_active.set(1)
        metrics.standby_behind_s.set(0)
        serve_it = _upgrade if await must_upgrade(journaled) else _serve
        config = await serve_it(world, config, keys, journaled, watched, metrics, role, started)
        if journaled.is_superseded:
            await _give_way(world, stood_by=False)
    finally:
        with trio.CancelScope(shield=True, deadline=trio.current_time() + CLOSE_TIMEOUT_S):
            await watched.close()
    return config


async def _upgrade(
    world: World,
    config: CoordinatorConfig,
    keys: Keys,
    journaled: JournaledStore,
    watched: WatchedStore,
    metrics: CoordinatorMetrics,
    role: CoordinatorRole,
    started: _StartedOnce,
) -> CoordinatorConfig:
    """Bring the store to this version, as :func:`_serve` serves it."""
    async with (
        _listen(world, config.listen, keys.identity) as native,
        _listen(world, config.http, None) as http,
    ):
        await _write_operator_file(world, keys, advertised_url(http.address))
        started.started(
            RunningCoordinator(
                native.address, http.address, keys.identity.peer_id, keys.operator_token, role
            )
        )
        await Upgrade(world, config, keys, journaled, watched, metrics).run(native, http)
    return replace(config, listen=native.address, http=http.address)


async def _serve(
    world: World,
    config: CoordinatorConfig,
    keys: Keys,
    journaled: JournaledStore,
    watched: WatchedStore,
    metrics: CoordinatorMetrics,
    role: CoordinatorRole,
    started: _StartedOnce,
) -> CoordinatorConfig:
    """Serve until cancelled, or until the store must be opened again.

    Returns:
        The configuration to go on with: it names the ports that are used.
    """
    parts = await load_parts(world, config, keys, watched)
    journaled.known_cells = partial(_cells_of_journal, parts)
    _warn_of_class(world.log, parts.placement.redundancy, parts.membership)
    async with (
        _listen(world, config.listen, keys.identity) as listener,
        _listen(world, config.http, None) as http,
    ):
        advertise = config.advertise or config.listen
        advertised = Address(advertise.host, advertise.port or listener.address.port)
        await _write_operator_file(world, keys, advertised_url(http.address))
        standbys = Standbys(
            keys.identity.peer_id,
            None if advertised.is_wildcard else advertised,
            lambda: journaled.sequence,
            journaled.enforce_lease,
        )
        status = Status(
            config.swarm,
            watched,
            parts.membership,
            parts.placement,
            parts.lease_book,
            parts.history,
            journaled.tell,
            standbys,
        )
        auditor = _auditor(world, config, parts, metrics)
        await auditor.load()
        places = connection_places(world.open_files)
        _warn_of_places(world, places, len(parts.membership.cells))
        server = _server(
            world, config, parts, status, metrics, auditor, places, standbys, journaled.check_lease
        )
        lease_ends = LeaseEndsRound(
            parts.store, parts.leadership, parts.lease_book, parts.history, world.log
        )
        rounds = _rounds(world, config, parts, lease_ends, auditor)
        routes = _routes(world, config, parts, status, lease_ends, standbys)
        api = Api(routes, parts.history, keys.operator_token, world.log)
        app = _app(metrics, status, api)
        on_http = partial(serve_http, log=world.log, clock=world.clock, max_connections=places.http)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.serve, listener)
            nursery.start_soon(on_http, http, app)
            nursery.start_soon(run_rounds, rounds, world.log)
            nursery.start_soon(watched.run)
            nursery.start_soon(journaled.look_once_kept, watched.look)
            if config.discovery:
                nursery.start_soon(_advertise, world, advertised, config.swarm)
            world.log.info("serving", native=str(listener.address), http=str(http.address))
            started.started(
                RunningCoordinator(
                    listener.address, http.address, keys.identity.peer_id, keys.operator_token, role
                )
            )
            await journaled.run()
            nursery.cancel_scope.cancel()
    return replace(config, listen=listener.address, http=http.address)


def _cells_of_journal(parts: CoordinatorParts) -> list[KnownCell]:
    """Return the cells that may keep a journal; none while the store lacks what its swarm has seen:
    the journal that they have may be all that is left of it, and must not give way to this one."""
    if parts.history.standing is Standing.BEHIND:
        return []
    return known_cells(parts.membership, trio.current_time())


def _auditor(
    world: World, config: CoordinatorConfig, parts: CoordinatorParts, metrics: CoordinatorMetrics
) -> Auditor:
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


def _server(
    world: World,
    config: CoordinatorConfig,
    parts: CoordinatorParts,
    status: Status,
    metrics: CoordinatorMetrics,
    auditor: Auditor,
    places: ConnectionPlaces,
    standbys: Standbys,
    check_lease: Callable[[], None],
) -> PeerServer[CoordinatorSession]:
    of_cells = CellHandlers(
        parts.store,
        parts.membership,
        parts.placement,
        parts.orders,
        parts.history,
        parts.queues,
        parts.order_time,
        auditor,
        world.clock,
        world.log,
        swarm_name=config.swarm,
        swarm_id=parts.keys.swarm_id,
        coordinators=standbys.named,
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
        guarded(handlers, metrics, parts.watched, parts.store, parts.history, check_lease, queue),
        entropy=world.entropy,
        log=world.log,
        buffer_budget_bytes=limits.COORDINATOR_BUFFER_BUDGET_BYTES,
        new_session=CoordinatorSession,
        end_session=of_cells.end_session,
        recognise=recognise,
        max_connections=places.native,
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


def _rounds(
    world: World,
    config: CoordinatorConfig,
    parts: CoordinatorParts,
    lease_ends: LeaseEndsRound,
    auditor: Auditor,
) -> list[Round]:
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
        delete_grace_s=config.delete_grace_s,
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
    of_shared_store = [
        Round("leadership", leadership.keep, every(BEAT_S)),
        Round("shared_cells", shared_cells.keep, every(0.0)),
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
        Round("order_time", order_time.run, every(limits.ORDER_TIME_KEPT_EVERY_S)),
    ]


def _routes(
    world: World,
    config: CoordinatorConfig,
    parts: CoordinatorParts,
    status: Status,
    lease_ends: LeaseEndsRound,
    standbys: Standbys,
) -> tuple[ApiRoute, ...]:
    clock, log = world.clock, world.log
    invites = InviteOperations(
        parts.store,
        clock,
        world.entropy,
        log,
        key_id=parts.keys.identity.peer_id,
        swarm_name=config.swarm,
        advertised=standbys.addresses,
    )
    return (
        *invites.routes(),
        *CellOperations(parts, world, status).routes(),
        *DecisionOperations(parts, world, status).routes(),
        *AuditOperations(parts.store, parts.membership, parts.keys.identity).routes(),
        *ClassOperations(parts, log).routes(),
        *QuotaOperations(parts, log).routes(),
        *TenantOperations(parts.store, clock, log).routes(),
        *StoreOperations(parts.store, parts.history, lease_ends.end_all).routes(),
    )


def _app(metrics: CoordinatorMetrics, status: Status, api: Api) -> Handler:
    """Return the handler of HTTP requests: metrics, health, and the operators' API."""
    app = health_app(metrics.registry, status.health, otherwise=api)

    async def answer(request: HttpRequest) -> HttpResponse:
        if request.path == b"/metrics":
            await status.measure(metrics)
        return await app(request)

    return answer


async def _advertise(world: World, address: Address, swarm: str) -> None:
    """Be found on the LAN; where that does not work, tokens with an address still do."""
    try:
        await world.discovery.advertise(address, swarm)
    except Unavailable as error:
        world.log.warning("not_advertised", error=str(error))
    except Exception as error:
        log_fault(world.log, "advertising_broke", error)


async def _write_operator_file(world: World, keys: Keys, url: str) -> None:
    """Write the operator's file, and log the URL if that fails: the store may be readable all the
    same."""
    try:
        await write_operator_file(world.disk, keys, url)
    except Unavailable as error:
        world.log.error("operator_file_not_written", url=url, error=str(error))


def _warn_of_places(world: World, places: ConnectionPlaces, cells: int) -> None:
    """Log that cells may be left without a connection."""
    needed = places.needed(cells)
    if places.native < needed:
        world.log.warning(
            "few_connections", places=places.native, needed=needed, open_files=world.open_files
        )


def _warn_of_class(log: Log, redundancy: Redundancy, membership: Membership) -> None:
    """Log in words what the class does not survive with the cells that there are."""
    known = [cell.owner for cell in membership.cells.values() if not cell.is_removed]
    for weakness in weaknesses(redundancy, cells_on_boxes(known)):
        log.warning("class_is_weak", what=weakness)
