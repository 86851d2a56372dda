"""The place and the turn of one request beside those of others: what it counts to, what it pays.

Source: docs/decisions/0049-fair-shares.md.
"""

from __future__ import annotations

from typing import Final

from common.errors import AlvearyError, Unavailable
from common.http.records import Body
from common.reasons import Outage
from common.rpc.fair_queue import Visit

STRANGERS: Final = "strangers"
"""The user of the queue to which requests count that are refused before it is known whose they are,
and those that nobody signs."""
REFUSAL_PAUSE_S: Final = 1.0
"""Time for which a connection is not read on that used more than its tenant's share: refusals cost,
too, and not every client heeds what it is asked."""


class PacedBody:
    """The body of a request, received at the rate of whose request it is."""

    def __init__(self, body: Body, visit: Visit) -> None:
        self._body = body
        self._visit = visit

    @property
    def length(self) -> int | None:
        return self._body.length

    async def receive(self) -> bytes | memoryview:
        data = await self._body.receive()
        await self._visit.pace(len(data))
        return data


async def in_line(visit: Visit, error: AlvearyError) -> AlvearyError:
    """Have a request that was refused before it was known whose it is wait in the line of all
    such requests, so that a flood of them has one share of the gateway.

    Returns:
        What to refuse it with.
    """
    try:
        await visit.enter(STRANGERS)
    except Unavailable as busy:
        return busy
    return error


async def pay(visit: Visit, size: int) -> None:
    """Let the user of a request pay for bytes of its answer, and wait for its rate."""
    visit.charge(size)
    await visit.pace(size)


def is_share_used(error: AlvearyError) -> bool:
    """Return whether a request is refused because its tenant has used its share."""
    return isinstance(error, Unavailable) and error.reason == Outage.SHARE_USED
