"""The cell as a service on any world: the real one, or a simulated one.

Source: docs/architecture.md, "Where things are".
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Final

import trio

from cell.background_turns import BackgroundTurns
from cell.config import CellConfig, SmartUse
from cell.disk_watch import DISK_WATCH_S, DiskWatch
from cell.handlers import Handlers
from cell.health import CellHealth
from cell.identity import load_identity
from cell.joining import coordinator_id_of, coordinators_of, join
from cell.journal_handlers import JournalHandlers
from cell.metrics import CellMetrics
from cell.order_epoch import SeenEpoch
from cell.owner_rules import OWNER_RULES_S, OwnerRules
from cell.positions import Positions
from cell.rescuers import Rescuers
from cell.rounds.audit import AUDIT_RETRY_S, AuditRound
from cell.rounds.compare import COMPARE_RETRY_S, CompareRound
from cell.rounds.filling import ShardFiller
from cell.rounds.heartbeat import HeartbeatRound
from cell.rounds.rebuild import RebuildRound
from cell.rounds.report_lost import REPORT_EVERY_S, ReportLostRound
from cell.rounds.runner import run_rounds
from cell.rounds.scrub import SCRUB_RETRY_S, ScrubRound
from cell.rounds.settle import SETTLE_EVERY_S, SettleRound
from cell.rounds.settling import Settling
from cell.session import Caller, CellSession
from cell.storage.held import Held
from cell.storage.journal import CellJournal
from cell.storage.shard_store import ShardStore
from cell.timed_disk import DiskTimes, TimedDisk
from common import limits
from common.charter_book import CharterBook
from common.client.fetch_units import FetchContext
from common.client.policy.slot_health import SlotHealth
from common.data_classes import dataclass
from common.format.token import ROLE_CELL, JoinToken, decode_token
from common.http.server import serve_http
from common.ids import PeerId
from common.known_coordinators import KnownCoordinators
from common.ports import Address, Identity, Listener, World
from common.rpc.coordinators import Coordinator, Coordinators
from common.rpc.peers import PeerPool
from common.rpc.server import PeerServer
from common.tasks import CountedLog, Round, every, go_on
from common.wire.messages.base import Request
from common.wire.messages.cell import ShardRead
from common.wire.messages.journal import JournalRead, SnapshotRead

FETCH_PATIENCE_S: Final = 5.0
"""Patience with a cell that does not answer a rebuild's read, before another is asked too: it may
be busy with readers, and of what two cells read for one rebuild half is wasted."""


@dataclass(frozen=True, slots=True)
class RunningCell:
    """A cell that takes calls: where, and who it is."""

    native: Address
    http: Address | None
    peer_id: PeerId
    store: ShardStore
    positions: Positions

    async def end(self) -> None:
        """Make durable what the cell knows and has not written, before it is stopped."""
        await self.positions.write_last()


@dataclass(frozen=True, slots=True)
class _Parts:
    """The parts of a cell, before it takes calls."""

    identity: Identity
    store: ShardStore
    held: Held
    pool: PeerPool
    coordinators: Coordinators
    positions: Positions
    seen_epoch: SeenEpoch
    background: BackgroundTurns
    owner_rules: OwnerRules
    disk_watch: DiskWatch
    journal: JournalHandlers
    rescuers: Rescuers
    known: KnownCoordinators
    charters: CharterBook


async def serve(
    world: World,
    config: CellConfig,
    *,
    task_status: trio.TaskStatus[RunningCell] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until cancelled. Ready once it listens and the swarm has taken the cell.

    Raises:
        BadConfig: ``cannot_listen``, ``not_joined`` (a first start needs a token), ``bad_token``,
            ``no_coordinator_id``.
        Refused: the coordinator does not take the cell.
        Unavailable: the data directory cannot be written.
    """
    metrics = CellMetrics()
    world = replace(world, log=CountedLog(world.log, metrics.registry))
    token = decode_token(config.token, ROLE_CELL) if config.token else None
    parts = await _load(world, config, token)
    listener = await world.network.listen(config.listen, identity=parts.identity)
    heartbeat = _heartbeat(world, config, parts, listener.address)
    handlers = Handlers(
        parts.store,
        heartbeat.order_time,
        lambda: heartbeat.order_key,
        parts.seen_epoch,
        metrics,
        parts.background,
        parts.owner_rules,
        parts.rescuers,
    )
    server = _server(world, parts, handlers)
    app = CellHealth(parts.store, heartbeat, handlers, parts.owner_rules, metrics).app()
    http = None
    if config.http is not None:
        http = await world.network.listen(config.http, identity=None)
    async with _closing(listener, http), trio.open_nursery() as nursery:
        nursery.start_soon(parts.store.run)
        await nursery.start(parts.pool.run)
        nursery.start_soon(server.serve, listener)
        nursery.start_soon(go_on, "idle_uploads", handlers.run, world.log)
        if http is not None:
            on_http = partial(serve_http, log=world.log, clock=world.clock)
            nursery.start_soon(on_http, http, app)
        await join(world, config, token, parts.coordinators)
        rounds = _rounds(world, config, parts, heartbeat, metrics)
        nursery.start_soon(run_rounds, rounds, world.chance, world.log)
        task_status.started(
            RunningCell(
                listener.address,
                None if http is None else http.address,
                parts.identity.peer_id,
                parts.store,
                parts.positions,
            )
        )


async def _load(world: World, config: CellConfig, token: JoinToken | None) -> _Parts:
    """Take up what the data directory holds."""
    identity = await load_identity(world.disk, world.entropy)
    times = DiskTimes()
    store = await ShardStore.open(
        replace(world, disk=TimedDisk(world.disk, times)),
        capacity_bytes=config.capacity,
        reserve_bytes=config.reserve_bytes,
        volume_bytes=config.volume_bytes,
    )
    held = await Held.load(world.disk, world.log)
    await held.compare(store)
    coordinator_id = coordinator_id_of(config, token)
    charters = await CharterBook.load(world.disk, world.log, coordinator_id)
    pool = PeerPool(
        world.network,
        identity,
        connections_per_peer=1,
        chance=world.chance,
        log=world.log,
        charters=charters,
    )
    seen_epoch = await SeenEpoch.load(world.disk, world.log)
    coordinators = coordinators_of(world, config, token, pool, seen_epoch)
    known = KnownCoordinators(
        world.disk,
        world.log,
        lambda named: coordinators.learn([Coordinator(each, coordinator_id) for each in named]),
    )
    await known.load()
    positions = await Positions.load(world.disk, world.log)
    owner_rules = await OwnerRules.load(config, disk=world.disk, clock=world.clock, log=world.log)
    background = BackgroundTurns(config.repair_bandwidth, owner_rules.check_quiet)
    disk_watch = DiskWatch(
        world.disk_reports,
        times,
        lambda: store.index.marked_bad,
        is_used=config.smart is SmartUse.AUTO,
    )
    rescuers = Rescuers(coordinator_id)
    return _Parts(
        identity,
        store,
        held,
        pool,
        coordinators,
        positions,
        seen_epoch,
        background,
        owner_rules,
        disk_watch,
        JournalHandlers(await CellJournal.load(world.disk, world.log), charters, rescuers),
        rescuers,
        known,
        charters,
    )


def _heartbeat(
    world: World, config: CellConfig, parts: _Parts, listening: Address
) -> HeartbeatRound:
    advertised = config.advertise or config.listen
    return HeartbeatRound(
        parts.store,
        parts.coordinators,
        parts.positions,
        parts.seen_epoch,
        parts.held,
        parts.disk_watch,
        parts.owner_rules,
        parts.known,
        parts.charters,
        address=Address(advertised.host, advertised.port or listening.port),
        clock=world.clock,
        log=world.log,
    )


def _rounds(
    world: World,
    config: CellConfig,
    parts: _Parts,
    heartbeat: HeartbeatRound,
    metrics: CellMetrics,
) -> list[Round]:
    store, coordinators = parts.store, parts.coordinators
    settling = Settling(store, coordinators, parts.positions, world.log)
    settle = SettleRound(store, settling, settle_after_s=config.settle_after_s, clock=world.clock)
    report_lost = ReportLostRound(store, coordinators, world.log)
    compare = CompareRound(
        store,
        coordinators,
        heartbeat,
        settling,
        metrics,
        every_s=config.compare_every_s,
        chance=world.chance,
        log=world.log,
    )
    scrub = ScrubRound(
        store,
        parts.background,
        metrics,
        period_s=config.scrub_days * 86400.0,
        disk=world.disk,
        clock=world.clock,
        log=world.log,
    )
    rebuild = RebuildRound(
        store,
        coordinators,
        heartbeat,
        settling,
        _filler(world, parts),
        parts.background,
        parts.owner_rules,
        metrics,
        world.chance,
        world.log,
    )
    audits = AuditRound(store, coordinators, heartbeat, metrics, world.log)
    return [
        Round("heartbeat", heartbeat.run, heartbeat.pause_s),
        Round("settle", settle.run, every(SETTLE_EVERY_S)),
        Round("report_lost", report_lost.run, every(REPORT_EVERY_S)),
        Round("rebuild", rebuild.run, rebuild.pause_s),
        Round("compare", compare.run, every(COMPARE_RETRY_S)),
        Round("scrub", scrub.run, every(SCRUB_RETRY_S)),
        Round("disk_watch", parts.disk_watch.run, every(DISK_WATCH_S)),
        Round("owner_rules", parts.owner_rules.run, every(OWNER_RULES_S)),
        Round("audits", audits.run, every(AUDIT_RETRY_S)),
    ]


def _filler(world: World, parts: _Parts) -> ShardFiller:
    """Return what fills slots. Bad shards that it meets are reported by nobody: the cells that
    serve them notice for themselves."""
    context = FetchContext(
        parts.pool,
        SlotHealth(),
        world.workers,
        lambda place, slot, reason: world.log.info(
            "unit_not_usable", segment=place.segment_id, slot=slot, reason=reason
        ),
        least_patience_s=FETCH_PATIENCE_S,
    )
    return ShardFiller(
        parts.store, context, parts.background, parts.owner_rules, world.chance, world.log
    )


def _server(world: World, parts: _Parts, handlers: Handlers) -> PeerServer[CellSession]:
    def recognise(caller: Caller, request: Request) -> None:
        parts.journal.recognise(caller, request)
        handlers.recognise(caller, request)

    return PeerServer(
        parts.identity,
        {**handlers.by_request(), **parts.journal.by_request()},
        entropy=world.entropy,
        log=world.log,
        buffer_budget_bytes=limits.CELL_BUFFER_BUDGET_BYTES,
        new_session=CellSession,
        end_session=handlers.end_session,
        recognise=recognise,
        reply_payload_bytes={
            ShardRead: limits.MAX_UNITS_PER_READ_BYTES,
            JournalRead: limits.MAX_JOURNAL_APPEND_BYTES,
            SnapshotRead: limits.MAX_JOURNAL_APPEND_BYTES,
        },
        turns={ShardRead: handlers.turn},
        charters=parts.charters,
    )


@asynccontextmanager
async def _closing(*listeners: Listener | None) -> AsyncIterator[None]:
    try:
        yield
    finally:
        with trio.CancelScope(shield=True):
            for listener in listeners:
                if listener is not None:
                    await listener.close()
