"""Operations on the coordinator's store.

Source: docs/operations.md, "Operator access".
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from common.ports import Store
from coordinator.api.routes import ApiRoute, Json
from coordinator.store.history import StoreHistory


class StoreOperations:
    """Accepts a store that is older than what its swarm has seen.

    Args:
        end_all_leases: so that what was written under them before a store was accepted is found to
            be garbage.
    """

    def __init__(
        self,
        store: Store,
        history: StoreHistory,
        end_all_leases: Callable[[], Awaitable[None]],
    ) -> None:
        self._store = store
        self._history = history
        self._end_all_leases = end_all_leases

    def routes(self) -> tuple[ApiRoute, ...]:
        """Return the table of these operations."""
        return (
            ApiRoute(
                "POST",
                "/v1/store/accept",
                "Accept this store as the one that counts: what it lacks is lost.",
                self._accept_store,
                {},
                when_behind=True,
            ),
        )

    async def _accept_store(self, _: Mapping[str, str], body: Json) -> Json:
        given_up = await self._history.accept(self._store)
        if given_up:
            await self._end_all_leases()
        return {**self._history.tell(), "runs_given_up": given_up}
