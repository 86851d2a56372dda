"""The journal read from cells, without a coordinator: nothing is promised, appended or settled.

Source: docs/rescue.md, "What is read"; docs/journal.md.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import field
from typing import Final

import trio

from common.data_classes import dataclass
from common.errors import AlvearyError, Corrupt, PeerViolation, Unavailable
from common.format.journal import ChainEnd, end_in
from common.ports import Address, Store, World
from common.reasons import Outage
from common.rpc.peers import PeerPool
from common.state_files import read_whole, write_whole
from common.tasks import background
from common.wire.messages.base import Endpoint
from common.wire.messages.journal import JournalMembers, JournalState
from coordinator.journal.cells import JournalCell
from coordinator.journal.replay import catch_up
from coordinator.journal.settling import open_members
from coordinator.journal.snapshots import RESTORED_NAME, fetch_snapshot
from coordinator.policy.journal import Tail, best_first, quorum
from coordinator.store import journal, restoring
from rescue.kit import Kit

STORE_NAME: Final = "swarm.sqlite"
_DRAFT_NAME: Final = "swarm.draft.sqlite"
_DONE_NAME: Final = "swarm.read"
"""There once the store is whole."""
_AT_ONCE: Final = 32
CONNECTIONS_PER_CELL: Final = 2
_REASONS_SAID: Final = 5
_SHOWN_CHARACTERS: Final = 300
_TRIES: Final = 2
"""A swarm that is alive may replace a snapshot while it is read."""


def said(error: AlvearyError) -> str:
    """Return an error, which may be a cell's own words, as one line that is safe to show."""
    return _printable(str(error)[:_SHOWN_CHARACTERS])


def _printable(text: str) -> str:
    return "".join(each if each.isprintable() else "?" for each in text)


@dataclass(slots=True)
class Survey:
    """The answers of cells that were asked for their journal.

    ``asked``: by id. ``states``: of those that answered. ``silent``: why the others did not.
    """

    asked: dict[bytes, Endpoint] = field(default_factory=dict)
    states: dict[bytes, JournalState] = field(default_factory=dict)
    silent: dict[bytes, str] = field(default_factory=dict)

    def forget(self) -> None:
        """Forget all answers, so that everybody is asked again."""
        for each in (self.asked, self.states, self.silent):
            each.clear()

    async def ask(self, pool: PeerPool, kit: Kit, cells: Iterable[Endpoint]) -> None:
        """Ask cells that were not asked yet, or did not answer at another address."""
        known = [kit.where_now(each) for each in cells]
        new = {bytes(each.cell_id): each for each in known if not self._is_asked(each)}
        places = trio.CapacityLimiter(_AT_ONCE)

        async def ask(endpoint: Endpoint) -> None:
            cell_id = bytes(endpoint.cell_id)
            async with places:
                try:
                    state = await JournalCell(pool, endpoint, kit.rescue_pass).look()
                except AlvearyError as error:
                    self.silent[cell_id] = said(error)
                else:
                    self.states[cell_id] = state
                    self.silent.pop(cell_id, None)

        async with trio.open_nursery() as nursery:
            for each in new.values():
                self.asked[bytes(each.cell_id)] = each
                nursery.start_soon(ask, each)

    def _is_asked(self, cell: Endpoint) -> bool:
        cell_id = bytes(cell.cell_id)
        return cell_id in self.states or self.asked.get(cell_id) == cell


@dataclass(frozen=True, slots=True)
class ReadJournal:
    """The journal that a store was made of.

    ``source``: the cell that it was read from; None: it was read in an earlier run, and no cell has
    it now. ``members``: the cells that keep it, or None where no cell says so. ``answered``: how
    many of these have it whole, as far as is known. ``unusable``: by cell, why its journal was
    passed over.
    """

    store: Store
    end: ChainEnd
    source: bytes | None
    members: JournalMembers | None
    answered: int
    unusable: dict[bytes, str]

    @property
    def may_lack_newest(self) -> bool:
        """Return whether fewer than most of its cells answered with all that they acknowledged:
        the others may know of later commits."""
        return self.members is None or self.answered < quorum(len(self.members.members))


class JournalReading:
    """Reads the journal into a store of its own.

    Args:
        world: its directory gets the store, which a later run takes up.
        pool: running, with the kit's key.
    """

    def __init__(self, world: World, pool: PeerPool, kit: Kit) -> None:
        self.survey: Final = Survey()
        self._world = world
        self._pool = pool
        self._kit = kit
        self._unusable: dict[bytes, str] = {}

    async def run(self) -> ReadJournal:
        """Return the store with all commits that the reachable cells have.

        Raises:
            Unavailable: ``no_journal``: no cell that answers has one that this kit opens.
        """
        kit, survey = self._kit, self.survey
        for again in range(_TRIES):
            if again:
                survey.forget()
                self._unusable.clear()
            await survey.ask(self._pool, kit, kit.cells)
            members = self._members()
            if members is not None:
                await survey.ask(self._pool, kit, members.members)
                members = self._members()
            found = await self._read_best(members)
            if found is not None:
                return found
        raise Unavailable(
            Outage.NO_JOURNAL,
            answered=len(survey.states),
            asked=len(survey.asked),
            unusable=len(self._unusable),
            why="; ".join(
                sorted({*survey.silent.values(), *self._unusable.values()})[:_REASONS_SAID]
            ),
        )

    def _members(self) -> JournalMembers | None:
        """The newest list of members that a cell remembers."""
        newest: JournalMembers | None = None
        for cell_id, state in self.survey.states.items():
            if not state.members:
                continue
            try:
                named = open_members(self._kit.reader, state.members)
            except (Corrupt, PeerViolation) as error:
                self._unusable[cell_id] = said(error)
                continue
            if newest is None or (named.epoch, named.version) > (newest.epoch, newest.version):
                newest = named
        return newest

    async def _read_best(self, members: JournalMembers | None) -> ReadJournal | None:
        states = self.survey.states
        tails = best_first(
            Tail(cell_id, end_in(state.base), end_in(state.end), state.is_whole)
            for cell_id, state in states.items()
            if state.snapshot_id
        )
        for cell_id in states.keys() & _ids(members) - {each.cell_id for each in tails}:
            self._unusable.setdefault(cell_id, "it keeps the journal, and does not have it whole")
        kept = await self._kept()
        for tail in tails:
            if kept is not None and (kept.epoch, kept.sequence) >= (
                tail.end.epoch,
                tail.end.sequence,
            ):
                break
            try:
                await self._read(tail.cell_id, states[tail.cell_id])
            except AlvearyError as error:
                self._unusable[tail.cell_id] = said(error)
                continue
            return await self._opened(tail.cell_id, members)
        if kept is None:
            return None
        same = [tail.cell_id for tail in tails if tail.end == kept]
        return await self._opened(same[0] if same else None, members)

    async def _opened(self, source: bytes | None, members: JournalMembers | None) -> ReadJournal:
        # As for a coordinator that settles: a cell that lost records, or lies, is none of them.
        answered = len((self.survey.states.keys() & _ids(members)) - self._unusable.keys())
        store = await self._world.stores.open(STORE_NAME)
        row = await store.read(journal.load)
        return ReadJournal(store, row.end, source, members, answered, dict(self._unusable))

    async def _kept(self) -> ChainEnd | None:
        """The end of the journal that an earlier run has read whole; None if there was none."""
        if await read_whole(self._world.disk, _DONE_NAME) is None:
            return None
        store = await self._world.stores.open(STORE_NAME)
        try:
            return (await store.read(journal.load)).end
        finally:
            await store.close()

    async def _read(self, cell_id: bytes, state: JournalState) -> None:
        """Read a cell's journal; the store is there under its name once all of it was read."""
        world, reader = self._world, self._kit.reader
        cell = JournalCell(self._pool, self.survey.asked[cell_id], self._kit.rescue_pass)
        await fetch_snapshot(cell, state, reader, world.disk, world.workers)
        await world.stores.put(_DRAFT_NAME, RESTORED_NAME)
        store = await world.stores.open(_DRAFT_NAME)
        try:
            await catch_up(store, cell, end_in(state.end), reader)
        finally:
            await store.close()
        await world.stores.copy(_DRAFT_NAME, RESTORED_NAME, lambda sql: None)
        await world.stores.put(STORE_NAME, RESTORED_NAME)
        await write_whole(world.disk, _DONE_NAME, b"")
        await world.stores.discard(_DRAFT_NAME)


def _ids(members: JournalMembers | None) -> set[bytes]:
    return set() if members is None else {bytes(each.cell_id) for each in members.members}


def shown(cell: Endpoint) -> str:
    """Return a cell for people. Its host, which may be the cell's own words, is safe to show."""
    return f"{cell.cell_id.hex()[:16]} {_printable(str(Address(cell.host, cell.port)))}"


@asynccontextmanager
async def read_swarm(
    world: World, kit: Kit
) -> AsyncIterator[tuple[PeerPool, JournalReading, ReadJournal]]:
    """The swarm as its journal has it, in a store that is open for as long as the block lasts.

    Raises:
        Unavailable: ``no_journal``.
    """
    pool = PeerPool(
        world.network,
        kit.identity,
        connections_per_peer=CONNECTIONS_PER_CELL,
        chance=world.chance,
        log=world.log,
    )
    async with background() as nursery:
        await nursery.start(pool.run)
        reading = JournalReading(world, pool, kit)
        journal = await reading.run()
        try:
            cells = await journal.store.read(restoring.endpoints)
            await reading.survey.ask(pool, kit, cells)
            yield pool, reading, journal
        finally:
            with trio.CancelScope(shield=True):
                await journal.store.close()
