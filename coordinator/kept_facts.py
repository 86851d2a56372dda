"""The addresses and facts of cells, kept in the store.

A heartbeat is answered without waiting for it: where most cells of the journal are away, nothing
can be committed, and a cell that starts then needs the answer, since it serves no reader without
the key of its orders. Only a cell's first address is waited for: no segment lies where a later life
of the coordinator would find nobody.

Source: docs/placement.md, "Rounds".
"""

from __future__ import annotations

from itertools import islice
from typing import Final, NamedTuple

from common import limits
from common.ports import Sql, Store
from common.wire.messages.base import CellFacts
from coordinator.store import cells

FACTS_S: Final = 5.0


class HeardFacts(NamedTuple):
    """The facts of a cell, and its address."""

    host: str
    port: int
    facts: CellFacts


class KeptFacts:
    """The facts of cells that are to be kept; the newest of each."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._due: dict[int, HeardFacts] = {}

    def note(self, cell: int, heard: HeardFacts) -> None:
        """Note what is to be kept of a cell."""
        self._due[cell] = heard

    async def keep(self) -> None:
        """Keep what is due.

        Raises:
            AlvearyError: the store takes nothing now. It stays due.
        """
        while self._due:
            some = islice(self._due.items(), limits.MAX_HEARTBEATS_PER_TRANSACTION)
            await self._keep(dict(some))

    async def keep_now(self, cell: int) -> None:
        """Keep what is due of one cell.

        Raises:
            AlvearyError: as :meth:`keep`.
        """
        if cell in self._due:
            await self._keep({cell: self._due[cell]})

    async def _keep(self, some: dict[int, HeardFacts]) -> None:
        def save(sql: Sql) -> None:
            for cell, heard in some.items():
                cells.save(sql, cell, heard.host, heard.port, heard.facts)

        await self._store.transact(save)
        for cell, heard in some.items():
            if self._due.get(cell) is heard:
                del self._due[cell]
