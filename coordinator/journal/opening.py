"""The store opened with its journal settled, so that it has everything that was acknowledged.

Source: docs/journal.md, "Settling" and "Recovery".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

import trio

from common.crypto.journal import JournalKey
from common.data_classes import dataclass
from common.errors import (
    AlvearyError,
    Corrupt,
    NotFound,
    OutcomeUnknown,
    PeerViolation,
    Refused,
    Unavailable,
)
from common.format.journal import BEGINNING, ChainEnd
from common.ports import Address, Sql, Store, World
from common.reasons import Outage
from common.recording import unrecorded
from common.rpc.peers import PeerPool
from common.wire.messages.base import Endpoint
from common.wire.messages.journal import JournalMembers
from coordinator.journal.cells import NOWHERE
from coordinator.journal.gate import GateMode, JournalGate
from coordinator.journal.lease import note_own_epoch, own_epoch
from coordinator.journal.replay import replay
from coordinator.journal.settling import BegunEpoch, EpochBeginning
from coordinator.journal.snapshots import RESTORED_NAME, fetch_snapshot
from coordinator.store import dialect, journal
from coordinator.store.journal import JournalRow

SHORTEST_RETRY_S: Final = 0.125
RETRY_S: Final = 1.0
_NEW: Final = JournalRow(BEGINNING, b"", None)


@dataclass(frozen=True, slots=True)
class OpenedStore:
    """A store, and its journal's beginning epoch.

    ``settled``: None: no journal is kept, or its cells did not answer in time. ``commits``: made
    again from the journal. ``from_snapshot``: the store itself came from the cells.
    """

    store: Store
    row: JournalRow
    settled: BegunEpoch | None
    commits: int = 0
    from_snapshot: bool = False


def _row(sql: Sql) -> JournalRow:
    return journal.load(sql) if dialect.version(sql) else _NEW


class StoreOpener:
    """Opens a store that keeps a journal.

    Args:
        name: of the store.
        gate: every commit passes it.
        key_id: names the key of the journal; a store that knows another key begins a journal again.
        run_id: 16 bytes, of this process.
        at: where this coordinator takes calls.
        gives_way: whether it is left to the caller what to do where the journal's cells hear
            another coordinator; else that one is waited for.
    """

    def __init__(
        self,
        world: World,
        pool: PeerPool,
        name: str,
        gate: JournalGate,
        key: JournalKey,
        key_id: bytes,
        run_id: bytes,
        *,
        at: Address = NOWHERE,
        gives_way: bool = False,
    ) -> None:
        self._world = world
        self._pool = pool
        self._name = name
        self._gate = gate
        self._key = key
        self._key_id = key_id
        self._run_id = run_id
        self.heard_at: Callable[[], Mapping[bytes, Endpoint]] = dict
        """The places where cells were heard since this process began, by id."""
        self.at = at
        self._gives_way = gives_way

    async def open(
        self,
        *,
        patience_s: float,
        recovered: JournalMembers | None = None,
        needs_all: bool = False,
    ) -> OpenedStore:
        """Open the store, and settle its journal if its cells answer in time.

        Returns, where a lease of an earlier coordinator counts, once there is none.

        Args:
            patience_s: for the cells.
            recovered: who kept the journal of a store that is gone.
            needs_all: as of :class:`EpochBeginning`.

        Raises:
            Corrupt: ``store_corrupt``, ``journal_forked``, ``journal_diverged``.
            Unavailable: the store can be neither written nor read; ``journal_unsettled``: a store
                that is gone cannot be recovered now.
        """
        self._gate.mode = GateMode.OPEN
        store: Store = await self._world.stores.open(self._name, gate=self._gate)
        try:
            row = await store.read(_row)
            members = recovered or (row.members if row.key_id == self._key_id else None)
            if members is None:
                return OpenedStore(store, row, None)
            self._gate.mode = GateMode.HOLDING
            opened = OpenedStore(store, row, None)
            settled: BegunEpoch | None = None
            with trio.move_on_after(patience_s):
                settled = await self.settle_patiently(
                    row.end, members, needs_all=needs_all, is_leased=row.is_leased
                )
            if settled is not None:
                opened = await self._take_in_or_hold(store, row, settled)
                if opened.settled is not None:
                    await self.wait_alone(opened.row, settled)
            if opened.settled is None and recovered is not None:
                raise Unavailable(Outage.JOURNAL_UNSETTLED)
            return opened
        except BaseException:
            with trio.CancelScope(shield=True):
                await store.close()
            raise

    async def settle_patiently(
        self,
        local: ChainEnd,
        members: JournalMembers,
        *,
        needs_all: bool = False,
        is_leased: bool = False,
    ) -> BegunEpoch:
        """Begin an epoch, trying until enough cells answer. Raises as
        :meth:`EpochBeginning.run`, but for Unavailable ``journal_unsettled``.

        Args:
            is_leased: a standby follows, or did once. Where none does, nobody would take over from
                one who gave way, and what cells hear was this coordinator before its end.
        """
        said, attempted, pause_s = "", 0, SHORTEST_RETRY_S
        own = await own_epoch(self._world.disk, self._world.log)
        while True:
            settling = EpochBeginning(
                self._pool,
                self._key,
                self._world.entropy,
                self._world.log,
                local=local,
                run_id=self._run_id,
                needs_all=needs_all,
                own_epoch=own,
                heard_at=self.heard_at(),
                attempted=attempted,
                at=self.at,
            )
            try:
                return await settling.run(members)
            except Unavailable as error:
                is_held = error.reason == Outage.JOURNAL_HELD_ELSEWHERE
                if is_held and self._gives_way and is_leased:
                    raise
                if str(error) != said:
                    self._world.log.warning("journal_unsettled", error=str(error))
                said, attempted = str(error), settling.epoch
            await trio.sleep(pause_s)
            pause_s = min(2 * pause_s, RETRY_S)

    async def wait_alone(self, row: JournalRow, settled: BegunEpoch) -> None:
        """Wait until no earlier coordinator holds a lease, if leases count, and remember that the
        epoch is this directory's."""
        if row.is_leased:
            await trio.sleep_until(settled.alone_at)
        await note_own_epoch(self._world.disk, self._world.log, settled.epoch)

    async def _take_in_or_hold(
        self, store: Store, row: JournalRow, settled: BegunEpoch
    ) -> OpenedStore:
        """Bring the store to the journal's end; where a cell fails on the way, the store is read
        meanwhile, and the keeper has it opened again."""
        try:
            return await self._take_in(store, row, settled)
        except (Unavailable, OutcomeUnknown, Refused, NotFound, PeerViolation) as error:
            self._world.log.warning("journal_not_replayed", error=str(error))
            if isinstance(error, Unavailable) and error.reason == Outage.STORE_CLOSED:
                raise
            return OpenedStore(store, row, None)

    async def _take_in(self, store: Store, row: JournalRow, settled: BegunEpoch) -> OpenedStore:
        """Bring the store to the journal's end."""
        source = settled.source
        from_snapshot = source is not None and row.end.sequence < source.state.base.sequence
        if from_snapshot:
            assert source is not None
            world = self._world
            await fetch_snapshot(source.cell, source.state, self._key, world.disk, world.workers)
            await store.close()
            await world.stores.put(self._name, RESTORED_NAME)
            store = await world.stores.open(self._name, gate=self._gate)
        try:
            if from_snapshot:
                await store.transact(partial(self._note_members, settled.members))
            commits = await replay(store, settled, self._key)
            row = await store.read(journal.load)
        except AlvearyError as error:
            if not from_snapshot:
                raise
            await store.close()  # the one before is closed
            if isinstance(error, Corrupt):
                raise
            raise Unavailable(Outage.STORE_CLOSED) from error
        if source is not None:
            self._world.log.warning(
                "journal_replayed", commits=commits, from_snapshot=from_snapshot
            )
        return OpenedStore(store, row, settled, commits, from_snapshot)

    def _note_members(self, members: JournalMembers, sql: Sql) -> None:
        """Note who keeps the journal, which the first snapshot of all does not know: a store that
        gets no further than its snapshot must take the rest in later, not begin a new journal."""
        journal.set_members(unrecorded(sql), self._key_id, members)
