"""The round that keeps the charter of this process, of the store and of cells the same.

Source: docs/charter-format.md, "Where it lies".
"""

from __future__ import annotations

from typing import Final

import trio

from common.charter_book import CharterBook
from common.errors import AlvearyError
from common.ports import Address, Log
from common.rpc.peers import PeerPool
from common.wire.messages.base import CharterExchange, CharterShown
from coordinator.membership import Membership
from coordinator.store import charters
from coordinator.store.cells import Cell
from coordinator.store.history import NumberedStore

CHARTERS_S: Final = 5.0
TELLS_AT_ONCE: Final = 16
TELL_S: Final = 5.0
SILENT_S: Final = 120.0
"""A cell that has sent no heartbeat here for longer may follow a coordinator that was revoked."""


class ChartersRound:
    """Takes in the charter of the store, or puts a later one there; shows it to cells that do not
    come for it.

    Cells that send heartbeats here, and those that keep the journal, have it from there.

    Args:
        is_shared: other coordinators may put a charter into the store.
    """

    def __init__(
        self,
        store: NumberedStore,
        book: CharterBook,
        membership: Membership,
        pool: PeerPool,
        log: Log,
        *,
        is_shared: bool,
    ) -> None:
        self._store = store
        self._book = book
        self._membership = membership
        self._pool = pool
        self._log = log
        self._is_shared = is_shared
        self._compared = b""
        """The charter that the store is known to have."""
        self._told: dict[int, int] = {}
        """The revision that each silent cell was shown."""

    async def run(self) -> bool:
        """Do it once. Raises as :meth:`common.ports.Store.transact`.

        Returns:
            Whether there are more cells to be shown it.
        """
        await self._compare()
        return await self._tell()

    async def _compare(self) -> None:
        if self._book.shown == self._compared and not self._is_shared:
            return
        stored = await charters.take_stored(self._store, self._book, self._log)
        shown = self._book.shown
        if shown and shown != stored:
            await self._store.transact(lambda sql: charters.keep(sql, shown))
        self._compared = shown

    async def _tell(self) -> bool:
        now, revision = trio.current_time(), self._book.revision
        late = [
            cell
            for number, cell in self._membership.cells.items()
            if not cell.is_removed
            and cell.address_port
            and now - cell.heard_at > SILENT_S
            and self._told.get(number, 0) < revision
        ]
        async with trio.open_nursery() as nursery:
            for cell in late[:TELLS_AT_ONCE]:
                self._told[cell.cell] = revision
                nursery.start_soon(self._show, cell)
        return len(late) > TELLS_AT_ONCE

    async def _show(self, cell: Cell) -> None:
        address = Address(cell.address_host, cell.address_port)
        try:
            reply, _ = await self._pool.call(
                address, cell.cell_id, CharterExchange(self._book.shown), timeout_s=TELL_S
            )
        except AlvearyError as error:  # it is shown to the cell when that comes back
            self._log.info("charter_not_shown", cell=cell.cell_id.hex()[:12], error=str(error))
        else:
            assert isinstance(reply, CharterShown)
            await self._book.take(reply.charter)
