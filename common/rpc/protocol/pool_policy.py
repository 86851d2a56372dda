"""Choice of the connection that takes a peer's next call, and of the time to retry a peer.

Source: docs/protocol.md, "Connections of a pool".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from common import limits
from common.limits import KIB

GATHER_CALLS: Final = 32
GATHER_BYTES: Final = 64 * KIB
"""Small calls share one connection while it has no more in flight and unsent than this: what goes
and comes in one piece costs both ends one system call and one wake-up."""


class Load(NamedTuple):
    """The load of one open connection."""

    calls_in_flight: int
    unsent_bytes: int


class Choice(NamedTuple):
    """``use``: index of the connection to use, None: wait for one. ``connect``: begin one more."""

    use: int | None
    connect: bool


def choose(loads: Sequence[Load], connecting: int, most: int, *, bulk: bool) -> Choice:
    """Gather small calls on the first connection; spread the others: the least loaded connection,
    and one more while all are busy.

    Nobody waits for a new connection while an open one can take the call.

    Args:
        loads: the open connections.
        connecting: how many are being made.
        most: connections per peer, at least 1.
        bulk: a large frame goes or comes.
    """
    if not loads:
        return Choice(use=None, connect=connecting == 0)
    first = loads[0]
    gathers = first.unsent_bytes <= GATHER_BYTES and first.calls_in_flight < GATHER_CALLS
    if gathers and not bulk:
        return Choice(use=0, connect=False)
    # Among equals the last, away from the small calls.
    use = min(
        range(len(loads)), key=lambda i: (loads[i].unsent_bytes, loads[i].calls_in_flight, -i)
    )
    busy = loads[use].calls_in_flight > 0
    return Choice(use=use, connect=busy and connecting == 0 and len(loads) < most)


def retry_delay_s(failures: int, chance: float) -> float:
    """Return how long callers of a peer fail at once after its ``failures``-th failed connect in a
    row.

    Doubles from RECONNECT_MIN_S to RECONNECT_MAX_S, of which a random half is taken off so that
    a swarm does not come back in step.

    Args:
        failures: at least 1.
        chance: 0 <= chance < 1.
    """
    longest: float = min(limits.RECONNECT_MAX_S, limits.RECONNECT_MIN_S * 2.0 ** min(failures, 16))
    return max(limits.RECONNECT_MIN_S, longest * (1 - chance / 2))
