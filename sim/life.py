"""The interface of a node to its simulated ports: whether its life goes on, and what it is to do.

The ports are made by the node (sim/world.py), so they know it by this protocol only.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Protocol

from common.ports import Buffer


class Life(Protocol):
    """A node with the life it is in. A port belongs to one life; the node has more."""

    @property
    def name(self) -> str:
        """The node's host name."""

    @property
    def life(self) -> int:
        """The number of the current life."""

    @property
    def chance(self) -> random.Random:
        """Draws of the node that decide no faults of its disk."""

    @property
    def disk_latency_s(self) -> float:
        """The most that one operation of a healthy disk or a commit takes now."""

    @property
    def lies(self) -> float:
        """Probability that a payload which the node serves is not what it should be."""

    def lie(self, parts: Sequence[Buffer]) -> Sequence[Buffer]:
        """Return what a hostile node sends in the place of ``parts``."""

    async def alive(self, life: int) -> None:
        """Return if that life goes on; a dead life's task waits here until it is cancelled."""

    async def step(self, life: int, event: str, latency_s: float = 0.0) -> None:
        """Pass a point at which the power may go; return after ``latency_s`` if it did not."""

    def mark(self, event: str, size: int) -> None:
        """Put an event into the trace's hash."""
