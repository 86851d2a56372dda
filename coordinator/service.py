"""The coordinator as a service on any world: the real one, or a simulated one.

Source: docs/architecture.md, "Where things are".
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

import trio

from common import limits
from common.crypto.positions import RUN_ID_BYTES
from common.errors import AlvearyError, Unavailable
from common.http.health import health_app
from common.http.records import HttpRequest, HttpResponse
from common.http.server import serve_http
from common.ids import PeerId
from common.ports import Address, Log, Sql, World
from common.reasons import Outage
from common.rpc.caller import Answer
from common.rpc.server import PeerServer
from common.tasks import CountedLog, log_fault
from common.wire.messages.base import Request
from common.wire.messages.buckets import (
    BucketCreate,
    BucketDelete,
    BucketSettingsSet,
)
from common.wire.messages.membership import Heartbeat, Settle
from common.wire.messages.multipart import (
    PartCommit,
    UploadAbort,
    UploadComplete,
    UploadCreate,
)
from common.wire.messages.objects import (
    Committed,
    Deleted,
    GatewayPresence,
    ObjectCommit,
    ObjectsDelete,
)
from common.wire.messages.writing import (
    Lease,
)
from coordinator.api.addresses import advertised_url, is_wildcard
from coordinator.api.app import Api
from coordinator.api.cells import CellOperations
from coordinator.api.invites import InviteOperations
from coordinator.api.status import Status
from coordinator.api.store import StoreOperations
from coordinator.api.tenants import TenantOperations
from coordinator.config import CoordinatorConfig
from coordinator.handlers.cells import CellHandlers
from coordinator.handlers.of_gateways import gateway_handlers
from coordinator.handlers.requests import check_complete, merged
from coordinator.hints import Queues
from coordinator.membership import Membership
from coordinator.metrics import CoordinatorMetrics
from coordinator.orders import CellOrders
from coordinator.placement import Placement
from coordinator.policy.classes import weaknesses
from coordinator.policy.history import Standing
from coordinator.policy.losses import cells_on_boxes
from coordinator.policy.placement import Redundancy
from coordinator.readers import Readers
from coordinator.rounds import CoordinatorRounds
from coordinator.secrets import (
    Keys,
    check_store_is_there,
    load_keys,
    note_store_begun,
    write_operator_file,
)
from coordinator.session import Caller, CoordinatorSession, Handler
from coordinator.store import cells, dialect, history, leases, order_time, rings
from coordinator.store.history import Kept, NumberedStore, StoreHistory
from coordinator.store.leadership import Leadership
from coordinator.store.leases import LeaseBook
from coordinator.store.order_time import OrderTime
from coordinator.store.schema import migrate
from coordinator.store_health import WatchedStore

STORE_NAME: Final = "coordinator.sqlite"
_ANSWERED_WHEN_BEHIND: Final = frozenset({Heartbeat, Settle, GatewayPresence})
"""Cells are answered, so that they go on serving what they were ordered to; nothing else is said
by a store that lacks what its swarm has seen acknowledged."""
_POSITIONED: Final = (Committed, Deleted, Lease)
_CHANGES: Final = frozenset(
    {
        BucketCreate,
        BucketDelete,
        BucketSettingsSet,
        ObjectCommit,
        ObjectsDelete,
        PartCommit,
        UploadAbort,
        UploadComplete,
        UploadCreate,
    }
)
"""The requests whose result a caller may rely on once it is answered."""
CLOSE_TIMEOUT_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class RunningCoordinator:
    """A coordinator that takes calls: where, and who it is."""

    native: Address
    http: Address
    peer_id: PeerId
    operator_token: str


def _counted(metrics: CoordinatorMetrics, kind: type[Request], handler: Handler) -> Handler:
    async def handle(caller: Caller, request: Any, payload: memoryview) -> Answer:
        began = trio.current_time()
        outcome = "bug"
        try:
            answer = await handler(caller, request, payload)
            outcome = "done"
            return answer
        except AlvearyError as error:
            outcome = type(error).__name__
            raise
        except trio.Cancelled:
            outcome = "cancelled"
            raise
        finally:
            metrics.count(kind, outcome, trio.current_time() - began)

    return handle


def _of_history(
    watched: WatchedStore,
    store: NumberedStore,
    past: StoreHistory,
    kind: type[Request],
    handler: Handler,
) -> Handler:
    """Take in the positions that a request brings; answer it unless the store is behind or damaged;
    return the store's position with the answer."""

    async def handle(caller: Caller, request: Any, payload: memoryview) -> Answer:
        watched.check_whole()
        seen = getattr(request, "seen", ())
        if seen:
            news = past.hear(seen)
            if news:
                await store.transact(lambda sql: history.keep(sql, news))
        if past.standing is Standing.BEHIND and kind not in _ANSWERED_WHEN_BEHIND:
            raise Unavailable(Outage.STORE_BEHIND)
        answer = await handler(caller, request, payload)
        if kind in _CHANGES:
            past.has_acknowledged = True
        if isinstance(answer, _POSITIONED):
            return replace(answer, position=past.position())
        return answer

    return handle


async def serve(
    world: World,
    config: CoordinatorConfig,
    *,
    task_status: trio.TaskStatus[RunningCoordinator] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until cancelled.

    Raises:
        BadConfig: ``cannot_listen``, ``bad_secret_file``, ``store_too_new``,
            ``store_missing``.
        Corrupt: ``store_corrupt``.
        Unavailable: the data directory cannot be written, and holds no store to read.
    """
    metrics = CoordinatorMetrics()
    world = replace(world, log=CountedLog(world.log, metrics.registry))
    keys = await load_keys(world.disk, world.entropy)
    store = WatchedStore(await world.stores.open(STORE_NAME), world.disk, world.log)
    try:
        await _serve(world, config, keys, store, metrics, task_status)
    finally:
        with trio.CancelScope(shield=True, deadline=trio.current_time() + CLOSE_TIMEOUT_S):
            await store.close()


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


async def _note_store_begun(world: World) -> None:
    """Remember that there is a store. Where that cannot be written, it is tried at the next start:
    the cells know, too."""
    try:
        await note_store_begun(world.disk)
    except Unavailable as error:
        world.log.error("store_mark_not_written", error=str(error))


def _warn_of_class(log: Log, redundancy: Redundancy, membership: Membership) -> None:
    """Log in words what the class does not survive with the cells that there are."""
    known = [cell.owner for cell in membership.cells.values() if not cell.is_removed]
    for weakness in weaknesses(redundancy, cells_on_boxes(known)):
        log.warning("class_is_weak", what=weakness)


async def _serve(
    world: World,
    config: CoordinatorConfig,
    keys: Keys,
    plain: WatchedStore,
    metrics: CoordinatorMetrics,
    task_status: trio.TaskStatus[RunningCoordinator],
) -> None:
    # A store of this version is not written by that: one that can only be read is served, too.
    await plain.transact(migrate)
    await plain.probe()
    await plain.look()
    now = trio.current_time()

    def load(sql: Sql) -> tuple[list[cells.Cell], list[rings.Ring], list[leases.LivingLease]]:
        return cells.load(sql, now), rings.load(sql), leases.alive(sql)

    kept = await plain.read(Kept)
    await check_store_is_there(world.disk, is_empty=not kept.runs)
    known_cells, known_rings, living = await plain.read(load)
    membership = Membership(
        known_cells,
        known_rings,
        config.heartbeat_interval_s,
        config.cell_timeout_s,
    )
    placement = Placement(membership, config.redundancy_class())
    placement.refresh(now)
    _warn_of_class(world.log, placement.redundancy, membership)
    orders = CellOrders(membership, keys.swarm_secret)
    wall_s = world.clock.now()
    started_s = await plain.read(lambda sql: order_time.start(sql, wall_s))
    past = StoreHistory(
        kept,
        world.entropy(RUN_ID_BYTES),
        keys.swarm_secret,
        world.log,
        settled_at=now + max(membership.timeout_s, config.write_lease_ttl_s),
        inherited_until=now + config.inherited_lease_grace_s,
    )
    store = NumberedStore(plain, past, world.clock)
    if not plain.read_only_reason:
        await store.begin_run()
        await store.transact(lambda sql: order_time.keep(sql, started_s))
        await _note_store_begun(world)
    orders_until = OrderTime(started_s, trio.current_time())
    book = LeaseBook(config.write_lease_ttl_s)
    book.load(living, now)
    readers = Readers(book)
    listener = await world.network.listen(config.listen, identity=keys.identity)
    http = await world.network.listen(config.http, identity=None)
    advertise = config.advertise or config.listen
    advertised = Address(advertise.host, advertise.port or listener.address.port)
    await _write_operator_file(world, keys, advertised_url(http.address))
    queues = Queues()
    status = Status(config.swarm, plain, membership, placement, book, past)
    of_cells = CellHandlers(
        store,
        membership,
        placement,
        orders,
        past,
        queues.deletes,
        orders_until,
        world.clock,
        world.log,
        swarm_name=config.swarm,
        swarm_id=keys.swarm_id,
    )
    of_gateways = gateway_handlers(
        store,
        membership,
        placement,
        orders,
        orders_until,
        book,
        readers,
        queues,
        world.clock,
        world.chance,
        world.entropy,
        lease_ttl_s=config.write_lease_ttl_s,
        reading_every_s=-(-config.delete_grace_s // 4),
        max_buckets_per_tenant=config.max_buckets_per_tenant,
        max_uploads_per_tenant=config.max_uploads_per_tenant,
    )
    handlers = merged(of_cells.by_request(), status.gateways.by_request(), of_gateways)
    check_complete(handlers)
    server = PeerServer(
        keys.identity,
        {
            kind: _counted(metrics, kind, _of_history(plain, store, past, kind, handler))
            for kind, handler in handlers.items()
        },
        entropy=world.entropy,
        log=world.log,
        buffer_budget_bytes=limits.COORDINATOR_BUFFER_BUDGET_BYTES,
        new_session=CoordinatorSession,
        end_session=of_cells.end_session,
        recognise=of_cells.recognise,
    )
    rounds = CoordinatorRounds(
        store,
        Leadership(store, past.run_id, world.log, is_shared=dialect.IS_SHARED),
        membership,
        placement,
        book,
        past,
        readers,
        queues,
        orders_until,
        world.clock,
        world.chance,
        world.log,
        delete_grace_s=config.delete_grace_s,
    )
    invites = InviteOperations(
        store,
        world.clock,
        world.entropy,
        world.log,
        key_id=keys.identity.peer_id,
        swarm_name=config.swarm,
        advertised=None if is_wildcard(advertised) else advertised,
    )
    routes = (
        *invites.routes(),
        *CellOperations(store, membership, placement, status, world.clock, world.log).routes(),
        *TenantOperations(store, world.clock, world.log).routes(),
        *StoreOperations(store, past, rounds.end_all_leases).routes(),
    )
    api = Api(routes, past, keys.operator_token, world.log)
    app = health_app(metrics.registry, status.health, otherwise=api)

    async def answer(request: HttpRequest) -> HttpResponse:
        if request.path == b"/metrics":
            await status.measure(metrics)
        return await app(request)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.serve, listener)
        nursery.start_soon(lambda: serve_http(http, answer, log=world.log, clock=world.clock))
        nursery.start_soon(rounds.run)
        nursery.start_soon(plain.run)
        if config.discovery:
            nursery.start_soon(_advertise, world, advertised, config.swarm)
        world.log.info("serving", native=str(listener.address), http=str(http.address))
        task_status.started(
            RunningCoordinator(
                listener.address, http.address, keys.identity.peer_id, keys.operator_token
            )
        )
