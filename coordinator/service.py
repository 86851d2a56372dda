"""The coordinator as a service on any world: the real one, or a simulated one.

Source: docs/architecture.md, "Where things are".
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Final

import trio

from common.data_classes import dataclass
from common.errors import BadConfig, Corrupt, Unavailable
from common.http.server import serve_http
from common.ids import PeerId
from common.ports import Address, Identity, Listener, Log, World
from common.reasons import Outage
from common.rpc.peers import PeerPool
from common.tasks import CountedLog, background, log_fault
from coordinator.api.addresses import advertised_url
from coordinator.api.app import Api
from coordinator.api.status import Status
from coordinator.composition import app_of, auditor_of, rounds_of, routes_of, server_of
from coordinator.config import CoordinatorConfig
from coordinator.connection_places import ConnectionPlaces, connection_places
from coordinator.journal.keeper import KnownCell, LaterPromises
from coordinator.journal.recovery_file import check_founds, enrol
from coordinator.journaled_store import (
    PATIENCE_S,
    STORE_NAME,
    JournaledStore,
    known_cells,
    open_store,
)
from coordinator.kept_facts import KeptFacts
from coordinator.membership import Membership
from coordinator.metrics import CoordinatorMetrics
from coordinator.parts import CoordinatorParts, load_parts
from coordinator.peers import pool_of
from coordinator.policy.classes import weaknesses
from coordinator.policy.history import Standing
from coordinator.policy.losses import cells_on_boxes
from coordinator.policy.placement import Redundancy
from coordinator.rounds.lease_ends import LeaseEndsRound
from coordinator.rounds.runner import run_rounds
from coordinator.secrets import Keys, load_keys, write_operator_file
from coordinator.shared_store import OtherCoordinators
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
from coordinator.store_health import WatchedStore
from coordinator.upgrading import Upgrade, must_upgrade

CLOSE_TIMEOUT_S: Final = 5.0
OPEN_AGAIN_S: Final = 1.0
ANSWER_S: Final = 1.0
TAKE_OVER_PATIENCE_S: Final = 10.0
"""Time for the journal's cells when a standby takes over; then it stands by again."""


@dataclass(frozen=True, slots=True)
class RunningCoordinator:
    """A coordinator that takes calls: where, and who it is. ``swarm_key_id``: whose charter names
    it."""

    native: Address
    http: Address
    peer_id: PeerId
    swarm_key_id: PeerId
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
            ``store_missing``; ``no_recovery_file``, ``bad_recovery_file``, ``not_enrolled``: of one
            that joins others; ``coordinator_revoked``, also later.
        Corrupt: ``store_corrupt``; ``journal_forked``, ``journal_diverged``.
        Unavailable: the data directory cannot be written, and holds no store to read.
    """
    metrics = CoordinatorMetrics()
    world = replace(world, log=CountedLog(world.log, metrics.registry))
    if config.standby:
        await prepare_standby(world.disk)
    elif world.stores.is_shared:
        await enrol(world.disk)
    else:
        await check_founds(world.disk)
    keys = await load_keys(world.disk, world.entropy, world.log)
    keys.check_not_revoked()
    pool = pool_of(world, keys)
    async with background() as nursery:
        await nursery.start(pool.run)
        keys.charters.watch(partial(_stop_if_revoked, keys, nursery.cancel_scope))
        await _serve_stores(world, config, keys, pool, metrics, task_status)
    keys.check_not_revoked()


def _stop_if_revoked(keys: Keys, scope: trio.CancelScope) -> None:
    """Stop a coordinator that nobody obeys any more, once it has answered who revoked it."""
    if not keys.charters.names(keys.identity.peer_id):
        scope.deadline = min(scope.deadline, trio.current_time() + ANSWER_S)


def _running(
    native: Address, http: Address, keys: Keys, role: CoordinatorRole
) -> RunningCoordinator:
    return RunningCoordinator(
        native, http, keys.identity.peer_id, keys.swarm_key_id, keys.operator_token, role
    )


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
    async with _listen(world, config.http, None) as http:
        await _write_operator_file(world, keys, advertised_url(http.address))
        async with background() as nursery:
            nursery.start_soon(standby.serve_http, http, places.http)
            world.log.info("standing_by", http=str(http.address))
            started.started(_running(config.listen, http.address, keys, role))
            await standby.run()
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
        serve_it = _upgrade if await must_upgrade(journaled) else partial(_serve, pool)
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
        started.started(_running(native.address, http.address, keys, role))
        await Upgrade(world, config, keys, journaled, watched, metrics).run(native, http)
    return replace(config, listen=native.address, http=http.address)


async def _serve(
    pool: PeerPool,
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

    Raises:
        BadConfig: ``store_too_new``: another coordinator has contracted the store meanwhile.
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
        place = None if advertised.is_wildcard else advertised
        others = OtherCoordinators(
            parts.store, parts.order_time, parts.history.run_id, place, world.log
        )
        standbys = Standbys(
            keys.charters,
            place,
            lambda: journaled.sequence,
            journaled.enforce_lease,
            others.addresses,
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
            others,
            keys.charters,
        )
        auditor = auditor_of(world, config, parts, metrics)
        await auditor.load()
        places = connection_places(world.open_files)
        _warn_of_places(world, places, len(parts.membership.cells))
        kept_facts = KeptFacts(parts.store)
        server = server_of(
            world,
            config,
            parts,
            status,
            metrics,
            auditor,
            places,
            standbys,
            journaled.check_lease,
            kept_facts,
        )
        lease_ends = LeaseEndsRound(
            parts.store, parts.leadership, parts.lease_book, parts.history, world.log
        )
        rounds = rounds_of(world, config, parts, lease_ends, auditor, kept_facts, others, pool)
        routes = routes_of(world, config, parts, status, lease_ends, standbys)
        api = Api(routes, parts.history, keys.operator_token, world.log)
        app = app_of(metrics, status, api)
        on_http = partial(serve_http, log=world.log, clock=world.clock, max_connections=places.http)
        refused: BadConfig | None = None
        async with trio.open_nursery() as nursery:

            async def end_if_refused() -> None:
                nonlocal refused
                refused = await others.wait_refused()
                nursery.cancel_scope.cancel()

            nursery.start_soon(end_if_refused)
            nursery.start_soon(server.serve, listener)
            nursery.start_soon(on_http, http, app)
            nursery.start_soon(run_rounds, rounds, world.log)
            nursery.start_soon(watched.run)
            nursery.start_soon(journaled.look_once_kept, watched.look)
            if config.discovery:
                nursery.start_soon(_advertise, world, advertised, config.swarm)
            world.log.info("serving", native=str(listener.address), http=str(http.address))
            started.started(_running(listener.address, http.address, keys, role))
            await journaled.run(parts.history.was_replaced)
            nursery.cancel_scope.cancel()
    if refused is not None:
        raise refused
    return replace(config, listen=listener.address, http=http.address)


def _cells_of_journal(parts: CoordinatorParts) -> list[KnownCell]:
    """Return the cells that may keep a journal; none while the store lacks what its swarm has seen:
    the journal that they have may be all that is left of it, and must not give way to this one."""
    if parts.history.standing is Standing.BEHIND:
        return []
    return known_cells(parts.membership, trio.current_time())


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
        await write_operator_file(world.disk, keys.operator_token, url)
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
