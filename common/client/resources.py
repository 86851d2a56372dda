"""What all streams of one process share.

Source: docs/data-path.md, "Memory".
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import trio

from common.client.abandons import Abandons
from common.client.budget import ByteBudget
from common.client.peers import PeerPool
from common.ports import Chance, Log, Workers
from common.protocol.slot_health import SlotHealth


class Background:
    """Tasks that outlive the stream that begins them, each of them for seconds at most.

    Args:
        nursery: theirs.
    """

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery: trio.Nursery | None = nursery

    def start(self, work: Callable[..., Awaitable[Any]], *args: object) -> bool:
        """Begin a task; False, and nothing is begun, while the client stops."""
        if self._nursery is None:
            return False
        self._nursery.start_soon(work, *args)
        return True

    def close(self) -> None:
        """Begin no more. To be called before the nursery can end."""
        self._nursery = None


@dataclass(slots=True)
class Resources:
    """Shared by all writes and reads of a :class:`common.client.objects.SwarmClient`."""

    pool: PeerPool
    health: SlotHealth
    workers: Workers
    budget: ByteBudget
    log: Log
    upload_numbers: Iterator[int]
    """Numbers of uploads to cells, never the same twice."""
    background: Background
    abandons: Abandons
    chance: Chance


class StripeHold:
    """What one stripe holds of the budget: its plaintext, kept to be replayed while ``kept``, and
    its units, until all slots took them. Everything was taken at once; this only gives back."""

    __slots__ = ("_budget", "_kept", "_plain_bytes", "_sending", "_unit_bytes")

    def __init__(self, budget: ByteBudget, plain_bytes: int, unit_bytes: int) -> None:
        self._budget = budget
        self._plain_bytes = plain_bytes
        self._unit_bytes = unit_bytes
        self._kept = True
        self._sending = True

    @staticmethod
    def cost(plain_bytes: int, unit_bytes: int) -> int:
        """What to take from the budget before the first byte of the stripe is received.

        Args:
            plain_bytes: plaintext of the stripe.
            unit_bytes: all n units together.
        """
        return plain_bytes + unit_bytes

    def encoded(self) -> None:
        """The plaintext is not needed any more. Called once more, it changes nothing."""
        if self._kept:
            self._kept = False
            self._budget.give(self._plain_bytes + (0 if self._sending else self._unit_bytes))

    def sent(self) -> None:
        """No slot needs its unit any more. While the plaintext is kept, the units' room is kept
        too, so that a replay takes nothing anew."""
        if self._sending:
            self._sending = False
            if not self._kept:
                self._budget.give(self._unit_bytes)

    def send_again(self) -> None:
        """A replay encodes the kept plaintext anew."""
        assert self._kept, "only what is kept can be replayed"
        self._sending = True
