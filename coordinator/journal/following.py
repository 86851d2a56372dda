"""A standby's store: kept close behind the journal by making its commits again.

It takes in only what no later coordinator can lose, so that it fits whichever journal is settled
next.

Source: docs/standby.md, "Following".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from functools import partial
from typing import Final

import trio

from common.crypto.journal import JournalKey
from common.data_classes import dataclass
from common.errors import AlvearyError, Corrupt, PeerViolation, Refused
from common.format.journal import BEGINNING, ChainEnd, end_in
from common.ports import Address, Sql, Store, World
from common.reasons import Damage, Refusal, Violation
from common.recording import unrecorded
from common.rpc.peers import PeerPool
from common.wire.messages.journal import JournalMembers, JournalState
from coordinator.journal.cells import JournalCell
from coordinator.journal.gate import GateMode, JournalGate
from coordinator.journal.replay import Replay
from coordinator.journal.settling import open_members
from coordinator.journal.snapshots import RESTORED_NAME, fetch_snapshot
from coordinator.policy.standby import SettledRecords, WatchedCell, is_free, settled
from coordinator.store import dialect, journal

LOOK_TIMEOUT_S: Final = 2.0
"""Time that one cell has to say what it has."""


@dataclass(frozen=True, slots=True)
class View:
    """The journal as its cells say it is.

    ``settled``: how far it may be followed; None: no epoch is on most cells. ``is_free``: most
    cells have not heard a coordinator for so long that they would promise an epoch to another one.
    ``active``: where the coordinator of the settled epoch takes calls; None: not known.
    """

    members: JournalMembers
    states: Mapping[bytes, JournalState]
    settled: SettledRecords | None
    is_free: bool
    active: Address | None


class JournalFollower:
    """Follows the journal with one store.

    Args:
        name: of the store.
        key_id: names the journal's key in the store.
        members: who kept the journal when last heard of.
    """

    def __init__(
        self,
        world: World,
        pool: PeerPool,
        name: str,
        key: JournalKey,
        key_id: bytes,
        members: JournalMembers,
    ) -> None:
        self.members = members
        self.is_leased = False
        """True if the store says that a coordinator without a lease answers nobody."""
        self._world = world
        self._pool = pool
        self._name = name
        self._key = key
        self._key_id = key_id
        self._gate = JournalGate(key, world.entropy)
        self._gate.mode = GateMode.HOLDING
        self._store: Store | None = None
        self._replay: Replay | None = None

    @property
    def at(self) -> ChainEnd:
        """The point up to which records were taken in."""
        return BEGINNING if self._replay is None else self._replay.at

    @property
    def has_store(self) -> bool:
        """Return whether there is a store: a snapshot was taken in once."""
        return self._replay is not None

    async def open(self) -> None:
        """Open the store, which may be empty. Raises as :meth:`common.ports.Stores.open`."""
        store: Store = await self._world.stores.open(self._name, gate=self._gate)
        self._store = store
        try:
            await self._load(store)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Close the store."""
        store, self._store, self._replay = self._store, None, None
        if store is not None:
            with trio.CancelScope(shield=True):
                await store.close()

    async def _load(self, store: Store) -> None:
        self._replay = None
        if not await store.read(dialect.version):
            return
        self._replay = await Replay.load(store, self._key)
        row = await store.read(journal.load)
        self.is_leased = row.is_leased
        if row.key_id == self._key_id and row.members is not None:
            self._learn(row.members)

    async def _load_again(self) -> None:
        """Begin again where the store is, whatever was done to it."""
        if self._store is None:
            await self.open()
        else:
            await self._load(self._store)

    def _learn(self, members: JournalMembers) -> None:
        if (members.epoch, members.version) > (self.members.epoch, self.members.version):
            self.members = members

    # --- looking --------------------------------------------------------------------------------

    async def look(self) -> View:
        """Ask all cells of the journal for what they have."""
        states: dict[bytes, JournalState] = {}

        async def ask(cell: JournalCell) -> None:
            try:
                states[cell.cell_id] = await cell.look(timeout_s=LOOK_TIMEOUT_S)
            except AlvearyError:
                return  # most of the others are enough

        members = self.members
        async with trio.open_nursery() as nursery:
            for endpoint in members.members:
                nursery.start_soon(ask, JournalCell(self._pool, endpoint))
        for state in states.values():
            try:
                self._learn(open_members(self._key, state.members))
            except (Corrupt, PeerViolation):
                continue  # none were set yet, or the cell lies
        ids = [bytes(each.cell_id) for each in members.members]
        cells = {cell_id: _watched(state) for cell_id, state in states.items()}
        found = settled(ids, cells)
        return View(members, states, found, is_free(ids, cells), _active(states, found))

    # --- following ------------------------------------------------------------------------------

    async def follow(self, view: View) -> int:
        """Bring the store up to what is settled, from whichever cell has it.

        Returns:
            The number of commits made.

        Raises:
            Corrupt: ``journal_forked``, ``journal_diverged``: the store does not fit the journal.
            AlvearyError: of the last cell that was asked; or of the store.
        """
        target = view.settled
        if target is None or (self.has_store and target.sequence <= self.at.sequence):
            return 0
        where = {bytes(each.cell_id): each for each in view.members.members}
        failures: list[AlvearyError] = []
        for cell_id in target.sources:
            cell, state = JournalCell(self._pool, where[cell_id]), view.states[cell_id]
            try:
                return await self._follow(cell, state, target)
            except AlvearyError as error:
                failures.append(error)
                await self._load_again()
        self._judge(failures)
        raise failures[-1]

    async def _follow(self, cell: JournalCell, state: JournalState, target: SettledRecords) -> int:
        if not self.has_store or self.at.sequence < state.base.sequence:
            await self._take_snapshot(cell, state)
        assert self._replay is not None
        count = 0
        while self._replay.at.sequence < target.sequence:
            data = await cell.read(self._replay.at.sequence)
            count += await self._replay.take(data, target.sequence)
        if not self.is_leased and self._store is not None:
            self.is_leased = await self._store.read(journal.is_leased)
        return count

    async def _take_snapshot(self, cell: JournalCell, state: JournalState) -> None:
        """Put a cell's snapshot in the place of the store."""
        if not state.snapshot_id:
            raise Refused(Refusal.JOURNAL_GAP, base=state.base.sequence)
        world = self._world
        await fetch_snapshot(cell, state, self._key, world.disk, world.workers)
        await self.close()
        await world.stores.put(self._name, RESTORED_NAME)
        await self.open()
        assert self._store is not None
        await self._store.transact(partial(_note_members, self._key_id, self.members))
        world.log.info("standby_took_snapshot", cell=cell.cell_id, sequence=state.base.sequence)

    def _judge(self, failures: list[AlvearyError]) -> None:
        """Conclude from what every cell's records did that the store does not fit.

        Raises:
            Corrupt: ``journal_forked``, ``journal_diverged``.
        """
        if not self.has_store:
            return
        for each in failures:
            if each.reason == Damage.JOURNAL_DIVERGED:
                raise each
        if all(_does_not_follow(each) for each in failures):
            raise Corrupt(Damage.JOURNAL_FORKED, sequence=self.at.sequence)


def _does_not_follow(error: AlvearyError) -> bool:
    return isinstance(error, PeerViolation) and error.reason == Violation.BAD_RECORD


def _note_members(key_id: bytes, members: JournalMembers, sql: Sql) -> None:
    journal.set_members(unrecorded(sql), key_id, members)


def _watched(state: JournalState) -> WatchedCell:
    return WatchedCell(
        state.epoch, end_in(state.base), end_in(state.end), state.is_whole, state.is_held
    )


def _active(states: Mapping[bytes, JournalState], found: SettledRecords | None) -> Address | None:
    """The place that most cells name of the coordinator of the settled epoch."""
    if found is None:
        return None
    named = Counter(
        (state.host, state.port)
        for state in states.values()
        if state.epoch == found.epoch and state.port
    )
    return Address(*named.most_common(1)[0][0]) if named else None
