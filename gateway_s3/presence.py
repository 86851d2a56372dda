"""A gateway says that it is there, and hears whether the swarm can be written.

Source: docs/operations.md, "Metrics and health".
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import trio

from common import limits
from common.charter_book import CharterBook
from common.client.coordinators import CoordinatorClient
from common.crypto.keys import TenantKey
from common.errors import AlvearyError
from common.ids import TenantId
from common.known_coordinators import KnownCoordinators
from common.ports import Log
from common.wire.messages.objects import GatewayPresence, SwarmState
from gateway_s3.swarm_space import SwarmSpace

ANSWER_TIMEOUT_S: Final = 2.0


class Presence:
    """Reports this gateway to the coordinator, and the coordinator's state to operators.

    Args:
        tenants: the keys at hand; may grow.
        tenants_path: where their files lie, for the log.
        s3: where the gateway listens for clients.
        space: gets what the coordinator says of the swarm's.
        known: gets the coordinators that it names.
        charters: who the swarm's coordinators are.
        hear_charter: asks another peer for the charter that it has.
    """

    def __init__(
        self,
        coordinators: CoordinatorClient,
        tenants: Mapping[TenantId, TenantKey],
        tenants_path: str,
        log: Log,
        s3: str,
        space: SwarmSpace,
        known: KnownCoordinators,
        charters: CharterBook,
        hear_charter: Callable[[], Awaitable[None]],
    ) -> None:
        self._coordinators = coordinators
        self._tenants = tenants
        self._tenants_path = tenants_path
        self._log = log
        self._s3 = s3
        self._space = space
        self._known = known
        self._charters = charters
        self._hear_charter = hear_charter
        self._last = ""
        self.is_writable = False
        """True if objects could be written when a coordinator was last asked."""

    async def run(self) -> None:
        """Report at an interval, until cancelled; log what has changed."""
        while True:
            await self.facts()
            await self._ask_others()
            await trio.sleep(limits.GATEWAY_PRESENCE_INTERVAL_S)

    async def _ask_others(self) -> None:
        """Hear from another peer of coordinators that were revoked."""
        with trio.move_on_after(ANSWER_TIMEOUT_S):
            try:
                await self._hear_charter()
            except AlvearyError as error:
                self._log.info("charter_not_heard", error=str(error))

    async def facts(self) -> Mapping[str, Any]:
        """Return the gateway's facts for its readiness: ``ok`` is whether it can answer clients,
        at least with what they read."""
        tenants = len(self._tenants)
        state: SwarmState | None = None
        reason = "no_coordinator"
        with trio.move_on_after(ANSWER_TIMEOUT_S):
            try:
                request = GatewayPresence(self._s3, tenants, self._charters.revision)
                state = await self._coordinators.call(request, timeout_s=ANSWER_TIMEOUT_S)
                assert state is not None
                await self._charters.take(state.charter)
                reason = state.reason
                self._space.capacity_bytes = state.capacity_bytes
                self._space.free_bytes = state.free_bytes
                await self._known.note(state.coordinators)
            except AlvearyError as error:
                reason = error.reason
        is_reachable = state is not None
        if not tenants:  # whatever else is wrong: nobody can be served, and only a person can help
            reason = "no_tenants"
        self._say(reason)
        self.is_writable = state is not None and state.writable and tenants > 0
        return {
            "ok": is_reachable and tenants > 0,
            "role": "gateway",
            "tenants": tenants,
            "writable": self.is_writable,
            "reason": reason,
        }

    def _say(self, reason: str) -> None:
        if reason == self._last:
            return
        if reason == "no_tenants":
            self._log.error("no_tenants", directory=self._tenants_path)
        elif reason:
            self._log.warning("swarm_not_writable", reason=reason)
        else:
            self._log.info("swarm_writable", after=self._last)
        self._last = reason
