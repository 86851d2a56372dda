"""A store of an older version whose journal is not settled: it becomes one of this version as any
other commit is made, through the journal, once most of the journal's cells answer.

What those cells have and the store lacks was written by the older version and is made again in its
tables, so the tables must not change before. Until then a coordinator listens, so that a
supervisor of cells and coordinators sees it start, says why nothing is served, and learns from
heartbeats where its cells are.

Source: docs/journal.md, "Settling".
"""

from __future__ import annotations

from functools import partial
from typing import Any, Final

import trio

from common import limits
from common.data_classes import dataclass
from common.errors import Unavailable
from common.http.health import health_app, json_response
from common.http.records import HttpRequest, HttpResponse
from common.http.server import serve_http
from common.ports import Listener, World
from common.reasons import Outage
from common.rpc.caller import Answer
from common.rpc.server import PeerServer
from common.wire.messages import COORDINATOR_REQUESTS
from common.wire.messages.base import Endpoint
from common.wire.messages.membership import Heartbeat
from coordinator.config import CoordinatorConfig
from coordinator.journaled_store import JournaledStore
from coordinator.metrics import CoordinatorMetrics
from coordinator.secrets import Keys
from coordinator.session import Caller, CoordinatorSession
from coordinator.store.schema import is_older, migrate
from coordinator.store_health import WatchedStore

RETRY_S: Final = 1.0
WHAT_TO_DO: Final = (
    "the store is of an older version, and is brought to this one once most of the cells that keep"
    " its journal answer: start them"
)


async def must_upgrade(journaled: JournaledStore) -> bool:
    """Return whether the store must be upgraded through its journal before it can be served."""
    return journaled.is_journaled and await journaled.store.read(is_older)


@dataclass(frozen=True, slots=True)
class Upgrade:
    """The upgrade of one opened store."""

    world: World
    config: CoordinatorConfig
    keys: Keys
    journaled: JournaledStore
    watched: WatchedStore
    metrics: CoordinatorMetrics

    async def run(self, native: Listener, http: Listener) -> None:
        """Answer on these listeners until the store is upgraded, or must be opened again. Raises as
        :meth:`coordinator.journal.keeper.JournalKeeper.run`."""
        world = self.world
        server: PeerServer[CoordinatorSession] = PeerServer(
            self.keys.identity,
            dict.fromkeys(COORDINATOR_REQUESTS, self._refuse),
            entropy=world.entropy,
            log=world.log,
            buffer_budget_bytes=limits.COORDINATOR_BUFFER_BUDGET_BYTES,
            new_session=CoordinatorSession,
            charters=self.keys.charters,
        )
        app = health_app(self.metrics.registry, self._health, otherwise=_unavailable)
        world.log.warning("store_upgrade_waits", what_to_do=WHAT_TO_DO)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.serve, native)
            nursery.start_soon(partial(serve_http, log=world.log, clock=world.clock), http, app)
            nursery.start_soon(self._migrate, nursery.cancel_scope)
            await self.journaled.run(trio.Event())
            nursery.cancel_scope.cancel()

    async def _migrate(self, scope: trio.CancelScope) -> None:
        await self.journaled.wait_kept()
        while True:
            try:
                found = await self.watched.transact(migrate)
            except Unavailable as error:  # the medium is full, or the store is opened again now
                self.world.log.warning("store_not_upgraded", error=str(error))
                await trio.sleep(RETRY_S)
            else:
                self.world.log.info("store_upgraded", before=found)
                scope.cancel()
                return

    async def _refuse(self, caller: Caller, request: Any, payload: memoryview) -> Answer:
        if isinstance(request, Heartbeat):
            place = Endpoint(caller.peer_id, request.address_host, request.address_port)
            self.journaled.note_place(place)
        raise Unavailable(Outage.JOURNAL_UNSETTLED)

    async def _health(self) -> dict[str, Any]:
        return {
            "ok": False,
            "role": "coordinator",
            "reason": Outage.JOURNAL_UNSETTLED,
            "what_to_do": WHAT_TO_DO,
            "journal": self.journaled.tell(),
        }


async def _unavailable(_: HttpRequest) -> HttpResponse:
    return json_response(503, {"error": Outage.JOURNAL_UNSETTLED, "message": WHAT_TO_DO})
