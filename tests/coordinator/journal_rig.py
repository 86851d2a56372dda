"""Real journals of cells behind real servers on a simulated network, and what a coordinator does
with them, without the rest of either."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import trio
from journal_records import joined

from cell.journal_handlers import JournalHandlers
from cell.rescuers import Rescuers
from cell.session import CellSession
from cell.storage.journal import CellJournal
from common import limits
from common.charter_book import CharterBook
from common.crypto.charter import (
    Charter,
    CharteredCoordinator,
    founded,
    sign_charter,
    with_added,
)
from common.crypto.identity import KeyPair
from common.crypto.journal import JournalKey
from common.errors import Refused
from common.format.journal import BEGINNING, ChainEnd
from common.ports import Address, Sql
from common.rpc.peers import PeerPool
from common.rpc.server import PeerServer
from common.wire.messages.base import Endpoint
from common.wire.messages.journal import JournalMembers, JournalRead, SnapshotRead
from coordinator.journal.cells import JournalCell
from coordinator.journal.gate import JournalGate
from coordinator.journal.keeper import JournalKeeper, KnownCell
from coordinator.journal.opening import OpenedStore, StoreOpener
from coordinator.journal.recovery_file import Recovery, pack_recovery
from coordinator.journal.settling import BegunEpoch, EpochBeginning
from coordinator.policy.journal import JournalCandidate
from coordinator.secrets import Keys
from coordinator.store.schema import migrate
from sim.world import SimNode, SimWorld

PORT = 7000
STORE = "coordinator.sqlite"
SECRET = b"s" * 32
ALL_ENDED = 1 << 40
"""An epoch after all."""
PATIENCE_S = 30
"""More than cells wait for a coordinator that they have heard."""
KEY = JournalKey(SECRET)


class RigCell:
    """A cell that keeps a journal and nothing else."""

    def __init__(self, rig: JournalRig, number: int) -> None:
        self.rig = rig
        self.number = number
        self.node: SimNode = rig.swarm.node(f"cell-{number}")
        self.identity = KeyPair.generate(self.node.world.entropy)
        self.endpoint = Endpoint(self.identity.peer_id, self.node.name, PORT)
        self.journal: CellJournal
        self.charters: CharterBook
        self._scope = trio.CancelScope()

    async def start(self) -> None:
        """Begin a life."""
        world = self.node.world
        self.journal = await CellJournal.load(world.disk, world.log)
        swarm_key_id = self.rig.swarm_key.peer_id
        self.charters = await CharterBook.load(world.disk, world.log, swarm_key_id)
        handlers = JournalHandlers(self.journal, self.charters, Rescuers(swarm_key_id))
        server: PeerServer[CellSession] = PeerServer(
            self.identity,
            handlers.by_request(),
            entropy=world.entropy,
            log=world.log,
            buffer_budget_bytes=limits.CELL_BUFFER_BUDGET_BYTES,
            new_session=CellSession,
            recognise=handlers.recognise,
            reply_payload_bytes={
                JournalRead: limits.MAX_JOURNAL_APPEND_BYTES,
                SnapshotRead: limits.MAX_JOURNAL_APPEND_BYTES,
            },
            charters=self.charters,
        )
        address = Address(self.endpoint.host, self.endpoint.port)
        listener = await world.network.listen(address, identity=self.identity)
        self._scope = trio.CancelScope()

        async def serve() -> None:
            with self._scope:
                await server.serve(listener)

        self.rig.nursery.start_soon(serve)

    def stop(self) -> None:
        """Lose power."""
        self._scope.cancel()
        self.node.crash(power=True)

    @property
    def end(self) -> ChainEnd:
        """The point after its last record."""
        return ChainEnd(*(getattr(self.journal.state().end, name) for name in ChainEnd._fields))


class JournalRig:
    """Cells, and a coordinator's parts that keep the journal."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.nursery = nursery
        self.swarm = SimWorld(1)
        self.node = self.swarm.node("coordinator")
        entropy = self.node.world.entropy
        identity = KeyPair.generate(entropy)
        self.swarm_key = KeyPair.generate(entropy)
        self.charter = founded(self.swarm_key, "coordinator", identity.public_key)
        """The latest that was signed."""
        self.keys = Keys(identity, SECRET, "", self.book_of(self.node))
        self.cells: list[RigCell] = []
        self.pool: PeerPool
        self.runs = 0

    @property
    def members(self) -> JournalMembers:
        """All cells."""
        return JournalMembers(1, 1, tuple(each.endpoint for each in self.cells))

    def book_of(self, node: SimNode) -> CharterBook:
        """What a coordinator on a node knows of the others."""
        world = node.world
        return CharterBook(world.disk, world.log, self.swarm_key.peer_id, self.charter)

    def recovery(
        self, members: JournalMembers | None = None, swarm_key: KeyPair | None = None
    ) -> bytes:
        """The coordinator's own recovery file."""
        charter = self.keys.charters.charter
        members = members or self.members
        return pack_recovery(Recovery(self.keys.identity, SECRET, charter, members, swarm_key))

    def sign(self, coordinators: list[CharteredCoordinator]) -> Charter:
        """Sign the next charter."""
        self.charter = sign_charter(self.swarm_key, self.charter.revision + 1, coordinators)
        return self.charter

    def enrolment(self, name: str = "standby") -> bytes:
        """The recovery file of one more coordinator, which the charter names from now on."""
        identity = KeyPair.generate(self.node.world.entropy)
        charter = self.sign(with_added(self.charter, name, identity.public_key))
        return pack_recovery(Recovery(identity, SECRET, charter, self.members, is_enrolment=True))

    def run_id(self) -> bytes:
        """Of another process."""
        self.runs += 1
        return self.runs.to_bytes(16, "big")

    def client(self, cell: RigCell) -> JournalCell:
        """Calls to a cell."""
        return JournalCell(self.pool, cell.endpoint)

    async def settle(self, local: ChainEnd = BEGINNING, *, needs_all: bool = False) -> BegunEpoch:
        """Begin an epoch, as one that knows that all earlier coordinators have ended."""
        world = self.node.world
        settling = EpochBeginning(
            self.pool,
            KEY,
            world.entropy,
            world.log,
            local=local,
            run_id=self.run_id(),
            needs_all=needs_all,
            own_epoch=ALL_ENDED,
        )
        return await settling.run(self.members)

    async def pool_of(self, node: SimNode) -> PeerPool:
        """A pool of a node's own connections."""
        world = node.world
        pool = PeerPool(
            world.network,
            self.keys.identity,
            connections_per_peer=1,
            chance=world.chance,
            log=world.log,
            charters=self.keys.charters if node is self.node else self.book_of(node),
        )
        await self.nursery.start(pool.run)
        return pool

    @asynccontextmanager
    async def keeping(
        self,
        node: SimNode | None = None,
        *,
        recovered: JournalMembers | None = None,
        known: Callable[[], list[KnownCell]] | None = None,
        pool: PeerPool | None = None,
        where: Callable[[], dict[bytes, Endpoint]] | None = None,
    ) -> AsyncIterator[tuple[OpenedStore, JournalKeeper]]:
        """A store whose journal is kept, until the end of the block."""
        node = node or self.node
        gate = JournalGate(KEY, node.world.entropy)
        run_id = self.run_id()
        pool = pool or self.pool
        opener = StoreOpener(node.world, pool, STORE, gate, KEY, self.keys.swarm_id, run_id)
        opener.heard_at = where or dict
        opened = await opener.open(patience_s=PATIENCE_S, recovered=recovered)
        await opened.store.transact(migrate)
        keeper = JournalKeeper(
            node.world,
            pool,
            opener,
            opened,
            gate,
            KEY,
            self.keys,
            run_id,
            STORE,
            known or self.known,
        )
        async with trio.open_nursery() as nursery:
            nursery.start_soon(keeper.run)
            yield opened, keeper
            nursery.cancel_scope.cancel()
        await opened.store.close()

    def known(self) -> list[KnownCell]:
        """The cells, all fit."""
        return [known_cell(each) for each in self.cells]


def known_cell(
    cell: RigCell, *, is_fit: bool = True, stays: bool = True, site: str = ""
) -> KnownCell:
    """A cell as the coordinator knows it."""
    site = site or f"site-{cell.number}"
    candidate = JournalCandidate(bytes(cell.identity.peer_id), site, "", is_fit=is_fit, stays=stays)
    return KnownCell(candidate, cell.endpoint)


@asynccontextmanager
async def journal_rig(cells: int = 3) -> AsyncIterator[JournalRig]:
    """Run cells, and a coordinator's connections to them."""
    async with trio.open_nursery() as nursery:
        rig = JournalRig(nursery)
        rig.pool = await rig.pool_of(rig.node)
        rig.cells = [RigCell(rig, number) for number in range(cells)]
        for each in rig.cells:
            await each.start()
        yield rig
        nursery.cancel_scope.cancel()


def put(number: int) -> Callable[[Sql], int]:
    """A transaction whose rows name the number; it returns the sequence."""

    def work(sql: Sql) -> int:
        sql.executemany(
            "INSERT INTO deletes (cell, segment_id, slot) VALUES (?, ?, ?)",
            ((number, bytes([slot]) * 16, slot) for slot in range(3)),
        )
        found: int = sql.execute(
            "UPDATE counters SET value = value + 1 WHERE name = 'sequence' RETURNING value"
        ).fetchone()[0]
        return found

    return work


def refuse(sql: Sql) -> None:
    """A transaction that writes, and is refused."""
    put(1000)(sql)
    raise Refused.received("no")


async def wait_kept(keeper: JournalKeeper) -> None:
    while keeper.tell()["state"] != "kept":  # noqa: ASYNC110  # virtual time
        await trio.sleep(0.1)  # a poll in virtual time costs nothing


async def write(
    rig: JournalRig, cell: RigCell, epoch: int, after: ChainEnd, records: list[bytes]
) -> None:
    """Write records to one cell alone."""
    client = rig.client(cell)
    await client.begin(epoch, b"x" * 16)
    await client.append(epoch, after, joined(records))


def dump(node: SimNode) -> dict[str, list[tuple[object, ...]]]:
    """All rows of a node's store, but for its place in the journal."""
    sql: Sql = node.databases[STORE].connection
    names = sql.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
    return {
        name: sorted(sql.execute(f"SELECT * FROM {name}").fetchall(), key=repr)
        for (name,) in names.fetchall()
        if name != "journal"
    }
