"""The space of the swarm, as a coordinator last said it."""

from __future__ import annotations

from common.data_classes import dataclass


@dataclass(slots=True)
class SwarmSpace:
    """Bytes of objects. ``capacity_bytes``: 0 while no coordinator has said it."""

    capacity_bytes: int = 0
    free_bytes: int = 0

    @property
    def used_bytes(self) -> int:
        """The bytes that are not free."""
        return max(0, self.capacity_bytes - self.free_bytes)
