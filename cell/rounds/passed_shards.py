"""Memory of the shards that could not be filled now, so that others have their turn. Pure.

Source: docs/repair.md, "Filling".
"""

from __future__ import annotations

from typing import Final

from cell.storage.shards import ShardKey
from common import limits
from common.data_classes import dataclass
from common.ports import Chance

FIRST_PAUSE_S: Final = 15.0
LONGEST_PAUSE_S: Final = 1800.0
"""After the first failure a shard is left alone for FIRST_PAUSE_S, then twice as long each time."""


@dataclass(frozen=True, slots=True)
class _Pause:
    pause_s: float
    until: float


class PassedShards:
    """Shards that are left alone for a while: at most MAX_PASSED_SHARDS, of which the first to be
    due gives way to a new one.

    All times are seconds of one monotonic clock.

    Args:
        chance: jitter, so that what failed together is not tried together.
    """

    def __init__(self, chance: Chance) -> None:
        self._chance = chance
        self._all: dict[ShardKey, _Pause] = {}

    def __len__(self) -> int:
        return len(self._all)

    def add(self, key: ShardKey, now: float) -> None:
        """Leave a shard alone: for twice as long as the last time, if that was lately."""
        known = self._all.pop(key, None)
        pause_s = FIRST_PAUSE_S if known is None else min(2 * known.pause_s, LONGEST_PAUSE_S)
        if len(self._all) >= limits.MAX_PASSED_SHARDS:
            del self._all[min(self._all, key=lambda each: self._all[each].until)]
        self._all[key] = _Pause(pause_s, now + pause_s * self._chance.uniform(0.75, 1.25))

    def forget(self, key: ShardKey) -> None:
        """Begin with the shortest pause when the shard fails again."""
        self._all.pop(key, None)

    def has(self, key: ShardKey, now: float) -> bool:
        """Return whether a shard is to be left alone now."""
        known = self._all.get(key)
        return known is not None and now < known.until

    def names(self, now: float) -> list[ShardKey]:
        """Return the shards to be left alone now, and forget those that were due long ago."""
        for key in [key for key, each in self._all.items() if now > each.until + LONGEST_PAUSE_S]:
            del self._all[key]
        return [key for key, each in self._all.items() if now < each.until]
