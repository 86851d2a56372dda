"""The exchange of what coordinators on one store know of each other.

Each beats in a row of its own; a row that does not beat for long is of one that is gone. So each
names all to cells and gateways, which go to another one when theirs does not answer. How far the
others' histories have come, and the order time that they have reached, is read on the same way.

Source: docs/placement.md, "Several coordinators"; docs/decisions/0050-postgresql.md.
"""

from __future__ import annotations

from typing import Any, Final

import trio

from common.errors import BadConfig
from common.ports import Address, Log, Sql
from coordinator.store import coordinators, order_time, schema
from coordinator.store.coordinators import StoredCoordinator
from coordinator.store.history import NumberedStore
from coordinator.store.order_time import OrderTime

BEAT_S: Final = 3.0
SILENT_AFTER_S: Final = 10.0
FORGOTTEN_AFTER_S: Final = 3600.0
"""A coordinator that is silent for so long is named to nobody any more."""


class OtherCoordinators:
    """The coordinators on one store, as this one sees them.

    Args:
        run_id: of this one.
        own: where it takes calls; None: it does not say.
    """

    def __init__(
        self,
        store: NumberedStore,
        kept_time: OrderTime,
        run_id: bytes,
        own: Address | None,
        log: Log,
    ) -> None:
        self._store = store
        self._order_time = kept_time
        self._run_id = run_id
        self._own = own
        self._log = log
        self._refused: BadConfig | None = None
        self._is_refused = trio.Event()
        self._seen: dict[bytes, tuple[StoredCoordinator, float]] = {}
        """Each as it was when it last gave a sign of life, and when that was seen."""

    async def wait_refused(self) -> BadConfig:
        """Wait until the store is not for this version any more; return why."""
        await self._is_refused.wait()
        assert self._refused is not None
        return self._refused

    async def keep(self) -> None:
        """Beat, and look at the others: to be called every BEAT_S."""
        now = trio.current_time()
        gone = [
            run_id
            for run_id, (_, moved_at) in self._seen.items()
            if now - moved_at > FORGOTTEN_AFTER_S and run_id != self._run_id
        ]

        def beat(sql: Sql) -> None:
            coordinators.beat(sql, self._run_id, self._own)
            coordinators.forget(sql, gone)

        try:
            await self._store.transact(beat)
        except BadConfig as error:
            self._refused = error
            self._is_refused.set()
            raise
        await self._store.refresh()
        found, reached_s, is_to_contract = await self._store.read(
            lambda sql: (
                coordinators.load(sql),
                order_time.issued_elsewhere(sql),
                schema.is_to_contract(sql),
            )
        )
        if is_to_contract:
            steps = await self._store.transact(schema.contract)
            self._log.info("store_contracted", steps=steps)
        now = trio.current_time()
        self._order_time.catch_up(reached_s, now)
        self._seen = {each.run_id: (each, self._moved_at(each, now)) for each in found}

    def _moved_at(self, found: StoredCoordinator, now: float) -> float:
        before = self._seen.get(found.run_id)
        return now if before is None or before[0].beats != found.beats else before[1]

    def addresses(self) -> tuple[Address, ...]:
        """Return where the others take calls, those that live first."""
        now = trio.current_time()
        others = [
            (now - moved_at > SILENT_AFTER_S, each.address)
            for each, moved_at in self._seen.values()
            if each.run_id != self._run_id and each.address not in (None, self._own)
        ]
        return tuple(address for _, address in sorted(others, key=_first) if address is not None)

    def tell(self, now: float) -> list[dict[str, Any]]:
        """All coordinators on the store, JSON-like."""
        return [
            {
                "run_id": each.run_id.hex(),
                "address": "" if each.address is None else str(each.address),
                "heard_s": round(now - moved_at, 1),
                "state": "silent" if now - moved_at > SILENT_AFTER_S else "active",
                "is_this": each.run_id == self._run_id,
            }
            for each, moved_at in self._seen.values()
        ]


def _first(found: tuple[bool, Address | None]) -> bool:
    return found[0]
