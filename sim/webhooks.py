"""HTTP to the receivers of events, over the simulated network."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import httpx

from common.errors import Unavailable
from common.ports import Network
from common.reasons import Outage
from sim.http import SimTransport


class SimSender:
    """See :class:`common.ports.WebhookSender`.

    Args:
        network: gives that of the gateway's present life.
    """

    def __init__(self, network: Callable[[], Network]) -> None:
        self._network = network

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> int:
        """See :class:`common.ports.WebhookSender`."""
        async with httpx.AsyncClient(transport=SimTransport(self._network())) as http:
            try:
                answer = await http.post(url, headers=dict(headers), content=body)
            except httpx.TransportError as error:
                raise Unavailable(Outage.CONNECT_FAILED) from error
        return answer.status_code
