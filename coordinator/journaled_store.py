"""The coordinator's store with its journal on cells, or without one.

Source: docs/journal.md; docs/architecture.md, "Where things are".
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import field
from typing import Any, Final

import trio

from common.crypto.journal import JournalKey
from common.data_classes import dataclass
from common.errors import BadConfig, Refused
from common.ports import Store, World
from common.reasons import ConfigFault
from common.rpc.peers import PeerPool
from common.wire.messages.base import Endpoint
from coordinator.config import CoordinatorConfig, JournalUse
from coordinator.journal.cells import NOWHERE
from coordinator.journal.gate import JournalGate
from coordinator.journal.keeper import REPLACE_AFTER_S, JournalKeeper, KnownCell, LaterPromises
from coordinator.journal.opening import StoreOpener
from coordinator.membership import Membership
from coordinator.policy.health import CellState, leaves
from coordinator.policy.journal import JournalCandidate
from coordinator.secrets import Keys
from coordinator.store import dialect, journal

STORE_NAME: Final = "coordinator.sqlite"
PATIENCE_S: Final = 2.0
"""Time that a start waits for the journal's cells; then it serves what can be read."""
RUN_ID_BYTES: Final = 16
NOT_KEPT: Final = {
    "state": "off",
    "why": 'journal = "off": with the coordinator\'s disk every object would be lost',
    "epoch": 0,
    "sequence": 0,
    "cells": [],
    "lease": {"enforced": False, "held": True},
}
NOT_NEEDED: Final = {
    **NOT_KEPT,
    "why": "the store is PostgreSQL: what it has is as safe as PostgreSQL's own replicas, archive"
    " of its write-ahead log and backups",
}


@dataclass(slots=True)
class JournaledStore:
    """An open store, and the keeper of its journal; None where none is kept."""

    store: Store
    keeper: JournalKeeper | None
    known_cells: Callable[[], list[KnownCell]] = list
    heard_at: dict[bytes, Endpoint] = field(default_factory=dict)
    """The places where cells were heard before the store could be served."""
    is_lease_noted: bool = False
    """True if the store says that requests are refused without a lease."""
    without: Mapping[str, Any] = field(default_factory=lambda: NOT_KEPT)
    """The answer to operators where no journal is kept."""

    @property
    def is_superseded(self) -> bool:
        """Return whether another coordinator is active."""
        return self.keeper is not None and (self.keeper.fenced is not None or self.keeper.gave_way)

    @property
    def epoch(self) -> int:
        """The epoch that was begun; 0: none yet."""
        return 0 if self.keeper is None else self.keeper.epoch

    @property
    def sequence(self) -> int:
        """The number of the journal's last record."""
        return 0 if self.keeper is None else self.keeper.sequence

    async def enforce_lease(self) -> None:
        """Have requests refused without a lease from now on, durably: a standby follows. Raises as
        :meth:`common.ports.Store.transact`."""
        if self.keeper is not None and not self.is_lease_noted:
            await self.keeper.enforce_lease()
            self.is_lease_noted = True

    def tell(self) -> dict[str, Any]:
        """The journal, for operators."""
        return dict(self.without) if self.keeper is None else self.keeper.tell()

    def where(self) -> dict[bytes, Endpoint]:
        """The last places of the cells."""
        known = {
            each.candidate.cell_id: each.endpoint
            for each in self.known_cells()
            if each.endpoint.port
        }
        return {**known, **self.heard_at}

    def check_lease(self) -> None:
        """Raise Unavailable ``no_lease`` where another coordinator may have taken over."""
        if self.keeper is not None:
            self.keeper.lease.check(trio.current_time())

    @property
    def is_journaled(self) -> bool:
        """True: commits have to pass a journal that is kept already."""
        return self.keeper is not None and self.keeper.lease.groups is not None

    def note_place(self, place: Endpoint) -> None:
        """Take in where a cell was heard, if it keeps the journal."""
        if self.keeper is not None and self.keeper.has_member(place.cell_id):
            self.heard_at[bytes(place.cell_id)] = place

    async def wait_kept(self) -> None:
        """Wait until commits may pass."""
        if self.keeper is not None and self.is_journaled:
            await self.keeper.kept.wait()

    async def look_once_kept(self, look: Callable[[], Awaitable[None]]) -> None:
        """Call ``look`` when commits may pass, where they could not at the start."""
        if self.keeper is not None:
            await self.keeper.kept.wait()
            await look()

    async def run(self, was_replaced: trio.Event) -> None:
        """Keep the journal until the store must be opened again, or another coordinator is active.
        Without a journal, until an older copy was put in the place of the store.
        Raises as :meth:`coordinator.journal.keeper.JournalKeeper.run`, but for ``journal_epoch``.
        """
        if self.keeper is None:
            await was_replaced.wait()
            return
        assert self.keeper is not None
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.keeper.run)
                await self.keeper.stale.wait()
                nursery.cancel_scope.cancel()
        except* Refused:
            if self.keeper.fenced is None:
                raise


async def open_store(
    world: World,
    config: CoordinatorConfig,
    keys: Keys,
    pool: PeerPool,
    *,
    patience_s: float = PATIENCE_S,
    later_promises: LaterPromises | None = None,
) -> JournaledStore:
    """Open the coordinator's store; where a journal is kept, with everything that the cells have.

    Args:
        patience_s: for the journal's cells.
        later_promises: of this process.

    Raises:
        BadConfig: as :func:`forget_journal`.
        Corrupt: ``store_corrupt``, ``journal_forked``, ``journal_diverged``.
        Unavailable: the store can be neither written nor read; ``journal_held_elsewhere``: another
            coordinator is active.
    """
    if config.journal is not JournalUse.ON:
        store: Store = await world.stores.open(STORE_NAME)
        is_alone = config.journal is JournalUse.OFF_WITHOUT_STANDBYS
        await forget_journal(store, without_standbys=is_alone)
        return JournaledStore(store, None, without=NOT_NEEDED if config.has_postgres else NOT_KEPT)
    key = JournalKey(keys.swarm_secret)
    gate = JournalGate(key, world.entropy)
    run_id = world.entropy(RUN_ID_BYTES)
    opener = StoreOpener(
        world,
        pool,
        STORE_NAME,
        gate,
        key,
        keys.swarm_id,
        run_id,
        at=config.place or NOWHERE,
        gives_way=True,
    )
    opened = await opener.open(patience_s=patience_s)
    made = JournaledStore(opened.store, None, is_lease_noted=opened.row.is_leased)
    opener.heard_at = made.where
    made.keeper = JournalKeeper(
        world,
        pool,
        opener,
        opened,
        gate,
        key,
        keys,
        run_id,
        STORE_NAME,
        lambda: made.known_cells(),  # noqa: PLW0108 - it is named later
        later_promises,
    )
    return made


async def forget_journal(store: Store, *, without_standbys: bool) -> None:
    """Note that the store goes on without the journal that it had: what is committed from now on is
    not in it, so it must not be taken up again.

    Args:
        without_standbys: no standby that has followed is left, as an operator says.

    Raises:
        BadConfig: ``standby_follows``: a standby would find that the journal's cells hear nobody,
            and take over beside this coordinator. The store is closed.
    """
    row = await store.read(lambda sql: journal.load(sql) if dialect.version(sql) else None)
    if row is None or row.members is None:
        return
    if row.is_leased and not without_standbys:
        await store.close()
        raise BadConfig(
            ConfigFault.STANDBY_FOLLOWS,
            message="a standby has followed the journal, and would take over when it is off: stop"
            f' every standby for good, and set journal = "{JournalUse.OFF_WITHOUT_STANDBYS}"',
        )
    await store.transact(journal.forget)


def known_cells(membership: Membership, now: float) -> list[KnownCell]:
    """The cells of the swarm, as those that may keep the journal."""
    states = membership.states(now)
    found = []
    for number, cell in membership.cells.items():
        state = states.get(number, CellState.REMOVED)
        candidate = JournalCandidate(
            bytes(cell.cell_id),
            cell.site,
            cell.owner,
            is_fit=state is CellState.ALIVE,
            stays=leaves(state) is None and state is not CellState.SUSPENDED,
            is_away=now - cell.heard_at > REPLACE_AFTER_S,
        )
        endpoint = Endpoint(cell.cell_id, cell.address_host, cell.address_port)
        found.append(KnownCell(candidate, endpoint))
    return found
