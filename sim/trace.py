"""The events of a run, in order: hashed whole, the latest part kept for the timeline."""

from __future__ import annotations

import hashlib
from collections import deque
from typing import Final

from common.data_classes import dataclass

KEPT_EVENTS: Final = 20_000


@dataclass(frozen=True, slots=True)
class TraceEvent:
    """One line of the timeline. ``time_s`` is virtual time since the start of the run."""

    time_s: float
    node: str
    event: str
    facts: str


class Trace:
    """The hashed record of a run. Two runs of one seed have the same digest."""

    def __init__(self) -> None:
        self._hash = hashlib.blake2b(digest_size=16)
        self.count = 0
        self.events: deque[TraceEvent] = deque(maxlen=KEPT_EVENTS)

    def note(self, time_s: float, node: str, event: str, facts: str = "") -> None:
        """Record an event for people: hashed and kept."""
        self._hash.update(f"{time_s:.9f}|{node}|{event}|{facts}\n".encode())
        self.count += 1
        self.events.append(TraceEvent(time_s, node, event, facts))

    def mark(self, time_s: float, node: str, event: str, size: int) -> None:
        """Record a frequent event (bytes moved, a disk step): hashed only."""
        self._hash.update(f"{time_s:.9f}|{node}|{event}|{size}\n".encode())
        self.count += 1

    def digest(self) -> str:
        """Hex digest of everything recorded so far."""
        return self._hash.hexdigest()
