"""The addresses of a cell's coordinators, and calls to the one that answers.

Source: docs/protocol.md, "Cells and coordinators".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from common.errors import AlvearyError, OutcomeUnknown, Unavailable
from common.ids import PeerId
from common.ports import Address, Discovery, Log
from common.reasons import Outage
from common.rpc.peers import PeerPool
from common.wire.messages.base import Reply, Request

FIND_TIMEOUT_S: Final = 3.0
CALL_TIMEOUT_S: Final = 15.0


class Coordinators:
    """The coordinators of one swarm: all have one key.

    Args:
        addresses: to try, best first; without any they are looked for on the LAN.
        swarm: the swarm's name, for that.
    """

    def __init__(
        self,
        pool: PeerPool,
        discovery: Discovery,
        log: Log,
        addresses: Sequence[Address],
        key_id: PeerId,
        swarm: str,
    ) -> None:
        self._pool = pool
        self._discovery = discovery
        self._log = log
        self._addresses = list(addresses)
        self._is_found = not addresses
        self._key_id = key_id
        self._swarm = swarm

    async def call(self, request: Request) -> Reply:
        """Call the coordinator that answered last, or the next that can be reached. All requests
        of a cell may be repeated.

        Raises:
            Unavailable: none can be reached.
            AlvearyError: what the coordinator answers with.
        """
        failure: AlvearyError = Unavailable(Outage.NO_COORDINATOR)
        if not self._addresses:
            await self._find()
        for address in list(self._addresses):
            try:
                reply, _ = await self._pool.call(
                    address, self._key_id, request, timeout_s=CALL_TIMEOUT_S
                )
            except (Unavailable, OutcomeUnknown) as error:
                failure = error
                self._addresses.remove(address)
                self._addresses.append(address)
                continue
            return reply
        if self._is_found:
            self._addresses = []  # it may have moved
        if isinstance(failure, OutcomeUnknown):
            raise Unavailable(Outage.NO_COORDINATOR, cause=str(failure))
        raise failure

    async def _find(self) -> None:
        seen = await self._discovery.find(self._swarm, FIND_TIMEOUT_S)
        self._addresses = [each.address for each in seen]
        for address in self._addresses:
            self._log.info("coordinator_seen", address=str(address))
