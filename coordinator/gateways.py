"""The gateways that are there, for operators: said by themselves, kept in memory only.

Source: docs/operations.md, "Metrics and health".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import trio

from common import limits
from common.data_classes import dataclass
from common.ids import PeerId
from common.rpc.caller import Answer
from common.wire.messages.membership import CoordinatorAddress
from common.wire.messages.objects import GatewayPresence, SwarmState
from coordinator.session import ByRequest, Caller


@dataclass(frozen=True, slots=True)
class _Gateway:
    s3: str
    tenants: int
    heard_at: float


class Gateways:
    """Takes presences, and lists them.

    Args:
        unwritable: why the swarm cannot be written; empty when it can be.
        space: bytes of objects that the swarm could hold, and that it can still take.
        coordinators: returns where the swarm's coordinators take calls.
        charter: returns the charter for a gateway that has one of a revision.
    """

    def __init__(
        self,
        unwritable: Callable[[], str],
        space: Callable[[], tuple[int, int]],
        coordinators: Callable[[], tuple[CoordinatorAddress, ...]],
        charter: Callable[[int], bytes],
    ) -> None:
        self._coordinators = coordinators
        self._charter = charter
        self._unwritable = unwritable
        self._space = space
        self._counted = (0, 0)
        self._counted_at = float("-inf")
        self._known: dict[PeerId, _Gateway] = {}

    def by_request(self) -> ByRequest:
        """Return the handler of each request."""
        return {GatewayPresence: self.hear}

    async def hear(self, caller: Caller, request: GatewayPresence, _: memoryview) -> Answer:
        """Remember a gateway, the longest silent one in its place where there are too many."""
        self._known.pop(caller.peer_id, None)
        if len(self._known) >= limits.MAX_GATEWAYS_SHOWN:
            del self._known[next(iter(self._known))]
        now = trio.current_time()
        self._known[caller.peer_id] = _Gateway(request.s3, request.tenants, now)
        reason = self._unwritable()
        if now >= self._counted_at + limits.GATEWAY_PRESENCE_INTERVAL_S:
            # Once for all gateways: every cell is asked what it has.
            self._counted, self._counted_at = self._space(), now
        charter = self._charter(request.charter_revision)
        return SwarmState(not reason, reason, *self._counted, self._coordinators(), charter)

    def tell(self, now: float) -> list[dict[str, Any]]:
        """Everything, JSON-like; those that are silent for long are forgotten."""
        for peer_id, each in list(self._known.items()):
            if now - each.heard_at > limits.GATEWAY_FORGOTTEN_AFTER_S:
                del self._known[peer_id]
        return [
            {
                "gateway_id": peer_id.hex(),
                "s3": each.s3,
                "tenants": each.tenants,
                "state": "silent"
                if now - each.heard_at > limits.GATEWAY_SILENT_AFTER_S
                else "alive",
                "last_seen_s": round(now - each.heard_at, 1),
            }
            for peer_id, each in self._known.items()
        ]
