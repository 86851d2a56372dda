"""The pace at which cells that leave get empty, looked at once a minute.

Source: docs/operations.md, "Cells that leave, rest, or are not trusted".
"""

from __future__ import annotations

from itertools import islice
from typing import Final

import trio

from common import limits
from common.ports import Store
from coordinator.membership import Membership
from coordinator.policy.pace import Pace
from coordinator.store.departures import left_of

DRAINS_S: Final = 60.0


class DrainsRound:
    """Watches the cells that leave."""

    def __init__(self, store: Store, membership: Membership) -> None:
        self._store = store
        self._membership = membership

    async def run(self) -> None:
        """Look at what is left of each cell that leaves."""
        members = self._membership
        leaving = list(islice(members.draining(), limits.MAX_DRAINS_SHOWN))
        paces = {number: members.drain_paces.get(number) or Pace() for number in leaving}
        members.drain_paces = paces
        if not leaving:
            return
        left = await self._store.read(
            lambda sql: {number: left_of(sql, number) for number in leaving}
        )
        now = trio.current_time()
        for number, pace in paces.items():
            pace.note(now, left[number].shards)
