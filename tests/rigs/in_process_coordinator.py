"""The real handlers of a coordinator over a store in memory, which misbehave where a test says so.

Without cells' heartbeats and rounds: the cells and rings are given. A test calls the handlers as
one gateway (:meth:`InProcessCoordinator.call`), or lets them serve on a simulated network.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from typing import Any, Final

import trio

from common import limits
from common.crypto.identity import KeyPair
from common.crypto.keys import TenantKey
from common.crypto.orders import cell_order_key, issue, opened
from common.errors import Unavailable
from common.ids import PeerId, SegmentId, TenantId
from common.ports import Address, Listener
from common.rpc.server import PeerServer
from common.wire import messages as m
from coordinator.handlers.of_gateways import gateway_handlers
from coordinator.hints import Queues
from coordinator.journaled_store import STORE_NAME
from coordinator.membership import Membership
from coordinator.orders import CellOrders
from coordinator.placement import Placement
from coordinator.policy.placement import Redundancy, RingPlan
from coordinator.readers import Readers
from coordinator.session import Caller, CoordinatorSession
from coordinator.store import cells, classes, deletes, leases, order_time, rings, tenants
from coordinator.store.leases import LeaseBook
from coordinator.store.order_epoch import OrderEpoch
from coordinator.store.order_time import OrderTime
from coordinator.store.schema import migrate
from sim.stores import Database, SimStore, connect_in_memory
from sim.world import SimNode

SWARM_SECRET: Final = bytes(32)
FREE: Final = m.CellFacts(1 << 40, 0, 1 << 40, 0, 0, False)
INVITE: Final = bytes(16)
LEASE_TTL_S: Final = 300
MAX_PER_TENANT: Final = 1000


@cache
def empty_store() -> bytes:
    """A store of this version in which nothing is, as a copy of its file."""
    connection = connect_in_memory()
    migrate(connection)
    return connection.serialize()


class InProcessCoordinator:
    """The handlers of one coordinator.

    Args:
        node: where it runs.
        members: the key and the address of each cell.
        ring_cells: the members, by index, on the slots of each ring.
        redundancy: of the rings.
        beside: another coordinator, whose store this one shares.
    """

    def __init__(
        self,
        node: SimNode,
        members: Sequence[m.Endpoint],
        ring_cells: Iterable[Sequence[int]],
        redundancy: Redundancy,
        *,
        beside: InProcessCoordinator | None = None,
    ) -> None:
        self.node = node
        self.identity = KeyPair.generate(node.world.entropy)
        self.redundancy = redundancy
        self.requests: list[m.Request] = []
        self.answered: list[m.Request] = []
        """Those requests that were not refused."""
        self.faults: dict[type[m.Request], Callable[[Any], Awaitable[None]]] = {}
        """What is done before a request of a type is answered; it may raise."""
        self.lie: Callable[[Any, Any], Any] | None = None
        """What a lying coordinator makes of a reply."""
        self.granted: list[SegmentId] = []
        self.pages_per_reply = limits.MAX_PAGES_PER_REPLY
        self.places_per_reply = limits.MAX_SEGMENTS_PER_GRANT
        """The most of each in a reply: a coordinator may give less than it was asked for."""
        if beside is None:
            node.databases[STORE_NAME] = Database(node.platter.chance, durable=True)
            node.databases[STORE_NAME].put_in_place(empty_store())
            self._begin_store(members, ring_cells)
        else:
            node.databases[STORE_NAME] = beside.node.databases[STORE_NAME]
        self._start()

    @property
    def sql(self) -> Any:
        """The store's connection."""
        return self.node.databases[STORE_NAME].connection

    def _begin_store(
        self, members: Sequence[m.Endpoint], ring_cells: Iterable[Sequence[int]]
    ) -> None:
        sql = self.sql
        sql.execute("BEGIN")
        cells.invite(sql, INVITE, "", "", len(members), 1, 0)
        numbers = []
        for each in members:
            number, _, _ = cells.join(sql, each.cell_id, INVITE, "", each.host, 0)
            cells.save(sql, number, each.host, each.port, FREE)
            numbers.append(number)
        plan = RingPlan(tuple(tuple(numbers[cell] for cell in ring) for ring in ring_cells), (), ())
        rings.apply(sql, plan, self.redundancy, 0)
        sql.execute("COMMIT")

    def _start(self) -> None:
        """Begin a life: nothing is known but what the store holds, and that every cell is well."""
        self._life = self.node.life
        world, sql, now = self.node.world, self.sql, trio.current_time()
        membership = Membership(cells.load(sql, now), rings.load(sql), 5, 20.0, 900.0)
        for cell in membership.cells.values():
            membership.heard(cell, cell.address_host, cell.address_port, FREE, now)
        placement = Placement(membership, self.redundancy, classes.load(sql))
        placement.refresh(now)
        self.book = LeaseBook(LEASE_TTL_S)
        self.book.load(leases.alive(sql), now)
        self.epoch = OrderEpoch(0, SWARM_SECRET, world.entropy, world.log, is_shared=False)
        self._handlers = gateway_handlers(
            SimStore(self.node, self.node.platter, self.node.databases[STORE_NAME], None),
            membership,
            placement,
            CellOrders(membership, SWARM_SECRET, self.epoch),
            OrderTime(order_time.start(sql, world.clock.now()), now),
            self.book,
            Readers(self.book, None),
            Queues(),
            world.clock,
            world.chance,
            world.entropy,
            lease_ttl_s=LEASE_TTL_S,
            reading_every_s=0,
            max_buckets_per_tenant=MAX_PER_TENANT,
            max_uploads_per_tenant=MAX_PER_TENANT,
        )

    def change_class(self, redundancy: Redundancy, ring_cells: Iterable[Sequence[int]]) -> None:
        """Write new segments in another class, on rings of these cells."""
        numbers = [cell.cell for cell in cells.load(self.sql, 0)]
        plan = RingPlan(tuple(tuple(numbers[cell] for cell in ring) for ring in ring_cells), (), ())
        rings.apply(self.sql, plan, redundancy, 0)
        self.redundancy = redundancy
        self._start()

    def add_class(
        self,
        name: str,
        redundancy: Redundancy,
        ring_cells: Iterable[Sequence[int]],
        sites: Iterable[str] = (),
    ) -> int:
        """Make a storage class with rings of these cells, fenced or not; its number."""
        made = classes.create(self.sql, name, redundancy, frozenset(sites))
        numbers = [cell.cell for cell in cells.load(self.sql, 0)]
        plan = RingPlan(tuple(tuple(numbers[cell] for cell in ring) for ring in ring_cells), (), ())
        rings.apply(self.sql, plan, redundancy, 0, made.number)
        self._start()
        return made.number

    def add_tenant(self, name: str, key: TenantKey) -> int:
        """Make a tenant; its number."""
        tenants.create(self.sql, name, key.tenant_id, key.proof_key(), 0)
        number, _ = tenants.proof_key(self.sql, key.tenant_id)
        return number

    def caller(self, peer_id: PeerId, acts_for: Iterable[TenantId] = ()) -> Caller:
        """A connection of a peer without a network, open for tenants."""
        numbers = {each: tenants.proof_key(self.sql, each)[0] for each in acts_for}
        return Caller(peer_id, "test", bytes(32), CoordinatorSession(numbers))

    def end_leases(self) -> None:
        """End every write lease, as a coordinator does with those that nobody renews."""
        leases.end_all(self.sql)
        self.book.ended(self.book.take_all())

    # --- answering ------------------------------------------------------------------------

    async def handle(self, caller: Caller, request: Any, payload: memoryview) -> Any:
        """Answer a request, with the faults and lies of the test."""
        self.requests.append(request)
        fault = self.faults.get(type(request))
        if fault is not None:
            await fault(request)
        reply = await self.answer(caller, request)
        self.answered.append(request)
        if isinstance(reply, m.Grants):
            self.granted += [grant.segment_id for grant in reply.grants]
        return self.said(request, reply)

    async def answer(self, caller: Caller, request: Any) -> Any:
        """The honest answer to a request that is not counted."""
        return await self._handlers[type(request)](caller, request, memoryview(b""))

    def said(self, request: Any, reply: Any) -> Any:
        """What this coordinator says in the place of an honest reply."""
        if isinstance(reply, m.ObjectRecord):
            reply = shortened(reply, self.pages_per_reply, self.places_per_reply)
        return reply if self.lie is None else self.lie(request, reply)

    def count(self, kind: type[m.Request]) -> int:
        """How many requests of a type have come."""
        return sum(1 for request in self.requests if type(request) is kind)

    @property
    def abandoned(self) -> set[SegmentId]:
        """The segments that cells are to delete: nothing is purged here, only abandoned."""
        return {
            shard.segment_id
            for cell in cells.load(self.sql, 0)
            for shard in deletes.queued(self.sql, cell.cell, 1 << 30)
        }

    @property
    def reported(self) -> list[m.BadShard]:
        """What readers have complained of."""
        reports = [each for each in self.requests if isinstance(each, m.ShardsReport)]
        return [shard for report in reports for shard in report.shards]

    async def serve(self, *, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
        """Serve on the simulated network for one life of the node."""
        if self.node.life != self._life:
            self._start()
        world = self.node.world
        listener = await world.network.listen(Address(self.node.name, 7000), identity=self.identity)
        server = PeerServer(
            self.identity,
            dict.fromkeys(self._handlers, self.handle),
            entropy=world.entropy,
            log=world.log,
            buffer_budget_bytes=64 << 20,
            new_session=CoordinatorSession,
        )
        task_status.started()
        await until_death(self.node, server, listener)


def shortened(record: m.ObjectRecord, pages: int, places: int) -> m.ObjectRecord:
    """A record with so many pages, and so many places of what is in them."""
    kept = record.pages[:pages]
    named = {extent.segment_id for placed in kept for extent in placed.page.extents}
    needed = [place for place in record.places if place.segment_id in named]
    return replace(record, pages=kept, places=tuple(needed[:places]))


def reissue(order: bytes, caller: PeerId, given: PeerId, wanted: PeerId, **changes: Any) -> bytes:
    """An order of this swarm changed, and made good again.

    Args:
        caller: whom it names.
        given: the cell that it is for.
        wanted: the cell that it is to be for.
        changes: of the fields of :class:`common.crypto.orders.Order`.
    """
    known = opened(cell_order_key(SWARM_SECRET, given), order, caller=caller)
    return issue(cell_order_key(SWARM_SECRET, wanted), known._replace(**changes))


async def until_death(node: SimNode, server: PeerServer[Any], listener: Listener) -> None:
    """Serve for one life of a node."""
    died = node.died

    async def cancel_at_death(scope: trio.CancelScope) -> None:
        await died.wait()
        scope.cancel()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(cancel_at_death, nursery.cancel_scope)
        with suppress_lost_listener():
            await server.serve(listener)


@contextmanager
def suppress_lost_listener() -> Iterator[None]:
    """Ignore that the listener went with its node."""
    try:
        yield
    except* Unavailable:
        pass
