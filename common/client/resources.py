"""What all streams of one process share.

Source: docs/data-path.md, "Memory".
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import trio

from common.client.budget import ByteBudget
from common.client.peers import PeerPool
from common.ports import Log, Workers
from common.protocol.slot_health import SlotHealth


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
    background: trio.Nursery
    """For what outlives the stream that begins it; everything in it ends by itself, soon."""


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
