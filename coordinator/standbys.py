"""The standbys that follow this coordinator: said by themselves, kept in memory only.

Source: docs/standby.md, "Finding the active one".
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

import trio

from common import limits
from common.charter_book import CharterBook
from common.data_classes import dataclass
from common.errors import Refused
from common.ids import PeerId
from common.ports import Address
from common.reasons import Refusal
from common.rpc.caller import Answer
from common.wire.messages.base import Request
from common.wire.messages.membership import CoordinatorAddress, StandbyHeard, StandbyPresence
from coordinator.session import ByRequest, Caller

PRESENCE_S: Final = 2.0
"""Interval at which a standby announces itself to the active coordinator."""
SILENT_AFTER_S: Final = 10.0
FORGOTTEN_AFTER_S: Final = 3600.0
"""A standby that is silent for so long is named to nobody any more."""


@dataclass(frozen=True, slots=True)
class _Standby:
    key_id: PeerId
    sequence: int
    behind: int
    heard_at: float


class Standbys:
    """Takes presences, and names the coordinators of the swarm.

    Args:
        charters: who the swarm's coordinators are.
        own: where this coordinator takes calls; None: it does not say.
        sequence: returns the number of the journal's last record.
        enforce_lease: has requests refused without a lease from now on: the first standby is there.
        active: returns where other active coordinators take calls.
    """

    def __init__(
        self,
        charters: CharterBook,
        own: Address | None,
        sequence: Callable[[], int],
        enforce_lease: Callable[[], Awaitable[None]],
        active: Callable[[], tuple[Address, ...]] = tuple,
    ) -> None:
        self._active = active
        self._charters = charters
        self._own = own
        self._sequence = sequence
        self._enforce_lease = enforce_lease
        self._known: dict[Address, _Standby] = {}

    def by_request(self) -> ByRequest:
        """Return the handler of each request."""
        return {StandbyPresence: self.hear}

    def recognise(self, caller: Caller, _: Request) -> None:
        """Introduce a standby."""
        if self._charters.names(caller.peer_id):
            caller.introduce(caller.peer_id)

    async def hear(self, caller: Caller, request: StandbyPresence, _: memoryview) -> Answer:
        """Remember a standby, the longest silent one in its place where there are too many."""
        if not self._charters.names(caller.peer_id):
            raise Refused(Refusal.NOT_A_COORDINATOR)
        await self._enforce_lease()
        address = Address(request.host, request.port)
        self._known.pop(address, None)
        if len(self._known) >= limits.MAX_COORDINATOR_ADDRESSES - 1:
            del self._known[next(iter(self._known))]
        behind = max(0, self._sequence() - request.sequence)
        self._known[address] = _Standby(
            caller.peer_id, request.sequence, behind, trio.current_time()
        )
        charter = self._charters.newer_than(request.charter_revision)
        return StandbyHeard(self.named(), charter)

    def addresses(self) -> tuple[Address, ...]:
        """Return where the swarm's coordinators take calls, this one first; none where it does not
        say where it does itself."""
        now = trio.current_time()
        for address, each in list(self._known.items()):
            is_revoked = not self._charters.names(each.key_id)
            if is_revoked or now - each.heard_at > FORGOTTEN_AFTER_S:
                del self._known[address]
        others = tuple(
            each for each in self._known if each.host and each.port and each != self._own
        )
        if self._own is None:
            return ()
        return (self._own, *self._active(), *others)[: limits.MAX_COORDINATOR_ADDRESSES]

    def named(self) -> tuple[CoordinatorAddress, ...]:
        """The same, for messages."""
        return tuple(CoordinatorAddress(each.host, each.port) for each in self.addresses())

    def tell(self, now: float) -> list[dict[str, Any]]:
        """Everything, JSON-like."""
        self.addresses()
        return [
            {
                "address": str(address) if address.port else "",
                "key_id": each.key_id.hex(),
                "sequence": each.sequence,
                "behind": each.behind,
                "heard_s": round(now - each.heard_at, 1),
                "follows": now - each.heard_at <= SILENT_AFTER_S,
            }
            for address, each in self._known.items()
        ]
