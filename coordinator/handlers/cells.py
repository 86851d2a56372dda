"""Handlers of the requests of cells: joining, heartbeats, settling, reports of loss.

Source: docs/protocol.md, "Cells and coordinators".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final

import trio

from common import limits
from common.charter_book import CharterBook
from common.data_classes import dataclass
from common.ids import BucketId
from common.ports import Log, Sql, Store, WallClock
from common.rpc.caller import Answer
from common.wire.messages.base import CellFacts, Done, Request, ShardName
from common.wire.messages.membership import (
    PENDING,
    CellJoin,
    CellJoined,
    CoordinatorAddress,
    Heartbeat,
    HeartbeatReply,
    Settle,
    SettleReply,
    ShardsLost,
)
from coordinator.audits import Auditor
from coordinator.hints import LOOK_AGAIN_S, Queues
from coordinator.kept_facts import HeardFacts, KeptFacts
from coordinator.membership import Membership
from coordinator.orders import CellOrders
from coordinator.placement import Placement
from coordinator.policy.health import Liveness
from coordinator.policy.history import Standing
from coordinator.session import ByRequest, Caller
from coordinator.store import cells, deletes, missing, settling
from coordinator.store.cells import NO_FACTS, Cell
from coordinator.store.history import StoreHistory
from coordinator.store.order_time import OrderTime

SAVE_FACTS_EVERY_S: Final = 60.0
"""Maximum age of the facts in the store: they matter only until the first heartbeat."""


@dataclass(slots=True)
class _Stored:
    """A cell's rows in the store, as far as known, so that an idle heartbeat reads none."""

    facts: CellFacts
    """As last given to be saved."""
    saved_at: float
    work_read_at: float = -math.inf
    """The time at which its work was last looked for."""
    told: int = -1
    """The queues' count of hints when there was last found to be none."""


@dataclass(frozen=True, slots=True)
class _Work:
    """Work for a cell: shards to delete, and whether shards of it are missing or suspected."""

    deletes: Sequence[ShardName] = ()
    has_missing: bool = False

    def __bool__(self) -> bool:
        return bool(self.deletes) or self.has_missing


class CellHandlers:
    """Handlers of the requests of cells.

    Args:
        queues: of work for cells; notified of what is lost.
        kept_facts: keeps what cells say of themselves.
        swarm_name, swarm_id: sent to a cell that joins.
        coordinators: returns where the swarm's coordinators take calls.
        charters: who they are.
    """

    def __init__(
        self,
        store: Store,
        membership: Membership,
        placement: Placement,
        orders: CellOrders,
        history: StoreHistory,
        queues: Queues,
        order_time: OrderTime,
        auditor: Auditor,
        kept_facts: KeptFacts,
        clock: WallClock,
        log: Log,
        *,
        swarm_name: str,
        swarm_id: bytes,
        coordinators: Callable[[], tuple[CoordinatorAddress, ...]],
        charters: CharterBook,
    ) -> None:
        self._store = store
        self._membership = membership
        self._placement = placement
        self._orders = orders
        self._history = history
        self._queues = queues
        self._order_time = order_time
        self._auditor = auditor
        self._kept_facts = kept_facts
        self._clock = clock
        self._log = log
        self._name = swarm_name
        self._swarm_id = BucketId(swarm_id)
        self._coordinators = coordinators
        self._charters = charters
        self._heard_on: dict[int, Caller] = {}
        self._stored: dict[int, _Stored] = {}

    def by_request(self) -> ByRequest:
        """Return the handler of each request."""
        return {
            CellJoin: self.join,
            Heartbeat: self.heartbeat,
            Settle: self.settle,
            ShardsLost: self.lost,
        }

    def _now_ms(self) -> int:
        return int(self._clock.now() * 1000)

    def recognise(self, caller: Caller, _: Request) -> None:
        """Introduce a caller whose key is a cell's."""
        if self._membership.is_member(caller.peer_id):
            caller.introduce(caller.peer_id)

    async def join(self, caller: Caller, request: CellJoin, _: memoryview) -> Answer:
        """Take a cell into the swarm."""
        now_ms = self._now_ms()
        number, site, owner = await self._store.transact(
            lambda sql: cells.join(
                sql, caller.peer_id, request.token, request.site, request.owner, now_ms
            )
        )
        if not self._membership.knows(caller.peer_id):
            self._membership.add_cell(
                Cell(
                    cell=number,
                    cell_id=caller.peer_id,
                    site=site,
                    owner=owner,
                    address_host="",
                    address_port=0,
                    facts=NO_FACTS,
                    heard_at=trio.current_time(),
                    liveness=Liveness.NEW,
                    joined_at_s=self._membership.absences.watched_s,
                )
            )
            self._log.info("cell_joined", cell=caller.peer_id.hex()[:12], site=site, owner=owner)
        caller.introduce(caller.peer_id)
        return CellJoined(self._name, self._swarm_id)

    async def heartbeat(self, caller: Caller, request: Heartbeat, _: memoryview) -> Answer:
        """Take in the facts of a living cell, and hand out its deletes."""
        cell = self._membership.cell_of(caller.peer_id)
        now = trio.current_time()
        if request.facts.lost_shards > cell.facts.lost_shards:
            self._log.error(
                "cell_lost_volumes",
                cell=cell.cell_id.hex()[:12],
                owner=cell.owner,
                shards=request.facts.lost_shards,
            )
        stored = self._stored.get(cell.cell)
        if stored is None:
            stored = self._stored[cell.cell] = _Stored(cell.facts, now)
        is_first = not cell.address_host
        heard = self._membership.heard(
            cell, request.address_host, request.address_port, request.facts, now
        )
        self._watch(caller, cell)
        self._placement.note_heard(heard, now)
        if heard.has_moved or heard.was_silent:
            self._log.info("cell_heard", cell=cell.cell_id.hex()[:12], host=cell.address_host)
        self._compare_clocks(cell, request.clock_ms)
        history = self._history
        if heard.was_silent:
            stored.told = -1
        if heard.has_moved or (
            request.facts != stored.facts and now - stored.saved_at > SAVE_FACTS_EVERY_S
        ):
            stored.saved_at, stored.facts = now, request.facts
            self._kept_facts.note(
                cell.cell,
                HeardFacts(request.address_host, request.address_port, request.facts),
            )
        if is_first:
            await self._kept_facts.keep_now(cell.cell)
        work = await self._work(cell.cell, stored, request, now)
        is_behind = history.standing is Standing.BEHIND
        trust, trust_reason = self._membership.trust(cell)
        return HeartbeatReply(
            self._orders.key_of(cell.cell),
            self._membership.heartbeat_interval_s,
            tuple(work.deletes) if history.may_destroy(trio.current_time()) else (),
            order_time=self._order_time.at(trio.current_time()),
            clock_ms=self._now_ms(),
            position=b"" if is_behind else history.position(),
            ends=history.ends(request.seen),
            run_id=history.run_id,
            withdrawn=is_behind and not history.has_acknowledged,
            has_missing=work.has_missing and not is_behind,
            is_audit_due=self._auditor.heard(cell.cell, now),
            trust=trust.value,
            trust_reason=trust_reason[: limits.MAX_LABEL_CHARACTERS],
            coordinators=self._coordinators(),
            charter=self._charters.newer_than(request.charter_revision),
        )

    def _compare_clocks(self, cell: Cell, clock_ms: int) -> None:
        """Note how far a cell's clock is ahead of ours, and say so when that begins or ends to be
        much."""
        if not clock_ms:
            return
        was_off = cell.clock_is_off
        cell.clock_ahead_s = clock_ms / 1000 - self._clock.now()
        if cell.clock_is_off and not was_off:
            self._log.warning(
                "cell_clock_off", cell=cell.cell_id.hex()[:12], ahead_s=round(cell.clock_ahead_s)
            )
        elif was_off and not cell.clock_is_off:
            self._log.info("cell_clock_right", cell=cell.cell_id.hex()[:12])

    async def _work(self, number: int, stored: _Stored, request: Heartbeat, now: float) -> _Work:
        """Take in what a heartbeat says that is to be kept, and look for work for the cell."""
        told = self._queues.deletes.told + self._queues.missing.told

        def look(sql: Sql) -> _Work:
            queued = deletes.queued(sql, number, limits.MAX_DELETE_BATCH)
            return _Work(queued, missing.waits_for(sql, number))

        def note(sql: Sql) -> _Work:
            deletes.strike(sql, number, request.deleted)
            return look(sql)

        if request.deleted:
            work = await self._store.transact(note)
        elif told == stored.told and now - stored.work_read_at < LOOK_AGAIN_S:
            return _Work()
        else:
            work = await self._store.read(look)
        stored.work_read_at = now
        stored.told = -1 if work else told
        return work

    def _watch(self, caller: Caller, cell: Cell) -> None:
        """Notice at once when the connection that heartbeats come on breaks."""
        if self._heard_on.get(cell.cell) is caller:
            return
        self._heard_on[cell.cell] = caller
        if caller.session.heartbeats_of is None:
            caller.session.heartbeats_of = cell

    async def end_session(self, caller: Caller) -> None:
        """Suspect a cell whose heartbeats came on a connection that has ended."""
        cell = caller.session.heartbeats_of
        if cell is not None and self._heard_on.get(cell.cell) is caller:
            del self._heard_on[cell.cell]
            self._membership.disconnected(cell)
            self._placement.note_disconnected(trio.current_time())

    async def settle(self, caller: Caller, request: Settle, _: memoryview) -> Answer:
        """Say which of the cell's shards are owned."""
        cell = self._membership.cell_of(caller.peer_id).cell
        history = self._history
        if history.standing is Standing.BEHIND:
            return SettleReply(bytes([PENDING]) * len(request.shards), history.run_id)
        now_ms, now = self._now_ms(), trio.current_time()
        may_destroy, kept_leases = history.may_destroy(now), history.kept_leases(now)
        settled = await self._store.transact(
            lambda sql: settling.settle(
                sql,
                cell,
                request.shards,
                now_ms,
                may_destroy=may_destroy,
                kept_leases=kept_leases,
            )
        )
        if settled.has_deletes:
            self._queues.deletes.tell()
        if settled.has_missing:
            self._queues.missing.tell()
        return SettleReply(settled.verdicts, history.run_id, settled.retain)

    async def lost(self, caller: Caller, request: ShardsLost, _: memoryview) -> Answer:
        """Remember what a cell has lost."""
        cell = self._membership.cell_of(caller.peer_id)
        now_ms = self._now_ms()
        noted = await self._store.transact(
            lambda sql: missing.lost(sql, cell.cell, request.shards, now_ms)
        )
        if not noted:
            return Done()
        self._queues.missing.tell()
        self._log.warning("shards_lost", cell=cell.cell_id.hex()[:12], shards=noted)
        return Done()
