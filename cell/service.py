"""The cell as a service on any world: the real one, or a simulated one.

Source: docs/architecture.md, "Where things are".
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, Final

import trio

from cell.config import CellConfig
from cell.handlers import Handlers
from cell.identity import load_identity
from cell.metrics import CellMetrics
from cell.positions import Positions
from cell.rounds import CellRounds
from cell.session import CellSession
from cell.storage.held import Held
from cell.storage.shard_store import ShardStore
from common import limits
from common.errors import AlvearyError, BadConfig, Refused
from common.format.token import ROLE_CELL, JoinToken, decode_token
from common.http.health import health_app
from common.http.records import HttpRequest, HttpResponse
from common.http.server import serve_http
from common.ids import PeerId
from common.ports import Address, Listener, World
from common.reasons import ConfigFault
from common.rpc.coordinators import Coordinator, Coordinators, finder_on_lan
from common.rpc.peers import PeerPool
from common.rpc.server import PeerServer
from common.state_files import read_whole, write_whole
from common.tasks import CountedLog, go_on
from common.wire.messages.cell import ShardRead
from common.wire.messages.membership import CellJoin, CellJoined

JOINED_NAME: Final = "joined"
JOIN_RETRY_S: Final = 2.0
COORDINATOR_TIMEOUT_S: Final = 15.0
"""Time that one coordinator may take to answer."""


@dataclass(frozen=True, slots=True)
class RunningCell:
    """A cell that takes calls: where, and who it is."""

    native: Address
    http: Address | None
    peer_id: PeerId
    store: ShardStore


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
    identity = await load_identity(world.disk, world.entropy)
    store = await ShardStore.open(
        world,
        capacity_bytes=config.capacity,
        reserve_bytes=config.reserve_bytes,
        volume_bytes=config.volume_bytes,
    )
    held = await Held.load(world.disk, world.log)
    await held.compare(store)
    pool = PeerPool(
        world.network, identity, connections_per_peer=1, chance=world.chance, log=world.log
    )
    coordinators = _coordinators(world, config, token, pool)
    listener = await world.network.listen(config.listen, identity=identity)
    address = config.advertise or config.listen
    rounds = CellRounds(
        store,
        coordinators,
        await Positions.load(world.disk, world.log),
        held,
        address=Address(address.host, address.port or listener.address.port),
        settle_after_s=config.settle_after_s,
        clock=world.clock,
        chance=world.chance,
        log=world.log,
    )
    handlers = Handlers(store, rounds.order_time, lambda: rounds.order_key, metrics)
    server = PeerServer(
        identity,
        handlers.by_request(),
        entropy=world.entropy,
        log=world.log,
        buffer_budget_bytes=limits.CELL_BUFFER_BUDGET_BYTES,
        new_session=CellSession,
        end_session=handlers.end_session,
        recognise=handlers.recognise,
        reply_payload_bytes={ShardRead: limits.MAX_UNITS_PER_READ_BYTES},
    )
    http = None
    if config.http is not None:
        http = await world.network.listen(config.http, identity=None)
    async with _closing(listener, http), trio.open_nursery() as nursery:
        nursery.start_soon(store.run)
        await nursery.start(pool.run)
        nursery.start_soon(server.serve, listener)
        nursery.start_soon(go_on, "idle_uploads", handlers.run, world.log)
        if http is not None:
            nursery.start_soon(_serve_http, http, world, store, rounds, handlers, metrics)
        await _join(world, config, token, coordinators)
        nursery.start_soon(rounds.run)
        task_status.started(
            RunningCell(
                listener.address,
                None if http is None else http.address,
                identity.peer_id,
                store,
            )
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


def _coordinators(
    world: World, config: CellConfig, token: JoinToken | None, pool: PeerPool
) -> Coordinators:
    """Return the client of the coordinators, from the configuration and, where that is silent, the
    token."""
    addresses = list(config.coordinator)
    if not addresses and token is not None:
        addresses = [Address(each.host, each.port) for each in token.coordinators]
    key_id = config.coordinator_id
    if key_id is None and token is not None:
        key_id = token.coordinator_id
    if key_id is None:
        raise BadConfig(ConfigFault.NO_COORDINATOR_ID, key="coordinator_id")
    swarm = "" if token is None else token.swarm
    known = [Coordinator(address, key_id) for address in addresses]
    find = finder_on_lan(world.discovery, swarm, key_id, world.log)
    return Coordinators(
        pool, known, world.log, timeout_s=COORDINATOR_TIMEOUT_S, is_patient=False, find=find
    )


async def _join(
    world: World, config: CellConfig, token: JoinToken | None, coordinators: Coordinators
) -> None:
    """Have the swarm take this cell, once in its life."""
    if await read_whole(world.disk, JOINED_NAME) is not None:
        return
    if token is None:
        raise BadConfig(ConfigFault.NOT_JOINED, key="token")
    request = CellJoin(token.secret, config.site, config.owner)
    told = ""
    while True:
        try:
            reply = await coordinators.call(request)
            break
        except Refused:
            raise
        except AlvearyError as error:
            if str(error) != told:
                world.log.warning("join_failed", error=str(error))
            told = str(error)
            await trio.sleep(JOIN_RETRY_S)
    assert isinstance(reply, CellJoined)
    text = f"{reply.swarm}\n{reply.swarm_id.hex()}\n"
    await write_whole(world.disk, JOINED_NAME, text.encode())
    world.log.info("joined", swarm=reply.swarm)


async def _serve_http(
    listener: Listener,
    world: World,
    store: ShardStore,
    rounds: CellRounds,
    handlers: Handlers,
    metrics: CellMetrics,
) -> None:
    """Health and metrics."""

    async def health() -> Mapping[str, Any]:
        facts = await store.facts()
        since = -1.0
        if rounds.last_heartbeat is not None:
            since = trio.current_time() - rounds.last_heartbeat
        metrics.update(
            facts,
            open_uploads=handlers.open_uploads,
            volumes_removed=store.compaction.removed,
            seconds_since_heartbeat=since,
            clock_ahead_seconds=rounds.clock_ahead_s,
        )
        reason = facts.read_only_reason
        if not reason and facts.free_bytes < limits.CELL_LEAST_FREE_BYTES:
            reason = "full"
        if not reason and rounds.order_key is None:
            reason = "no_coordinator"
        return {
            "ok": not reason,
            "role": "cell",
            "writable": not reason,
            "reason": reason,
            "read_only": facts.read_only,
            "shards": facts.shards,
            "lost_shards": facts.lost_shards,
            "used_bytes": facts.used_bytes,
            "free_bytes": facts.free_bytes,
            "medium_free_bytes": facts.medium_free_bytes,
            "seconds_since_heartbeat": round(since, 1),
            "clock_ahead_s": round(rounds.clock_ahead_s, 1),
        }

    app = health_app(metrics.registry, health)

    async def handle(request: HttpRequest) -> HttpResponse:
        if request.path == b"/metrics":
            await health()  # brings the numbers up to date
        return await app(request)

    await serve_http(listener, handle, log=world.log, clock=world.clock)
