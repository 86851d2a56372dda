"""The class of new segments while too few cells are left for the configured one.

Pure. Fewer data shards, as many parity shards: what is written meanwhile costs more space and has
the same margin.

Source: docs/placement.md, "Fewer cells than the class needs".
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Final

from common.data_classes import dataclass
from coordinator.policy.fence import EVERYWHERE, Fence, admits
from coordinator.policy.placement import Redundancy, spread_limit

FALL_AFTER_S: Final = 2.0
"""A class is left when for so long only lesser ones could be written to: cells that only
reconnect, one after the other, do not change it."""


@dataclass(frozen=True, slots=True)
class Spread:
    """Cells by what they may be lost with: their numbers on each site, and of each owner."""

    sites: tuple[int, ...]
    owners: tuple[int, ...]

    @classmethod
    def of(cls, domains: Iterable[tuple[str, str]], fence: Fence = EVERYWHERE) -> Spread:
        """Return the spread of cells whose (site, owner) these are; of those within a fence."""
        found = [each for each in domains if admits(fence, each[0])]
        sites, owners = (Counter(each[which] for each in found).values() for which in (0, 1))
        return cls(tuple(sites), tuple(owners))

    @property
    def cells(self) -> int:
        """The number of cells."""
        return sum(self.sites)


@lru_cache(maxsize=16)
def fallbacks(redundancy: Redundancy) -> tuple[Redundancy, ...]:
    """Return the classes that may stand in for one, the one that takes least space first.

    Each tolerates as many losses, when all shards are durable and when only the quorum is. Its k
    divides that of the class, so that its segments can be put together to the class again.
    """
    k, spare, beyond = redundancy.k, redundancy.n - redundancy.k, redundancy.quorum - redundancy.k
    return tuple(
        Redundancy(each, each + spare, each + beyond)
        for each in range(k - 1, 0, -1)
        if k % each == 0
    )


def fits(redundancy: Redundancy, of: Redundancy, here: Spread, all_cells: Spread) -> bool:
    """Return whether rings of a fallback can be made.

    Args:
        redundancy: the fallback.
        of: the configured class.
        here: cells that can be written to.
        all_cells: the cells of the swarm. Where even these could not keep a ring of the configured
            class within n - k slots on a site (of an owner), the fallback need not either.
    """
    wanted = max(1, redundancy.n - redundancy.k)

    def is_spread(left: Sequence[int], known: Sequence[int]) -> bool:
        if sum(min(size, wanted) for size in left) >= redundancy.n:
            return True
        return spread_limit(known, of.n, wanted) > wanted

    return (
        here.cells >= redundancy.n
        and is_spread(here.sites, all_cells.sites)
        and is_spread(here.owners, all_cells.owners)
    )


def best_class(
    configured: Redundancy,
    here: Spread,
    all_cells: Spread,
    is_quorate: Callable[[Redundancy], bool] = lambda _: False,
) -> Redundancy | None:
    """Return the class that new segments can be written in: the configured one, else the fallback
    that takes least space; None if there is neither.

    Args:
        configured: the class.
        here: cells that can be written to.
        all_cells: the cells of the swarm.
        is_quorate: whether there is a ring of this class that still has a write quorum.
    """
    if here.cells >= configured.n or is_quorate(configured):
        return configured
    for each in fallbacks(configured):
        if fits(each, configured, here, all_cells) or is_quorate(each):
            return each
    return None


class WrittenClass:
    """The class of new segments over time.

    It falls when for FALL_AFTER_S only lesser ones could be written to, counting cells that may
    still be heard after the coordinator's start; it rises at once when cells that were heard do.

    Args:
        configured: the class.
        open_classes: the classes that have open rings in the store: a coordinator that starts goes
            on with the fallback that was written to.
    """

    def __init__(self, configured: Redundancy, open_classes: Iterable[Redundancy] = ()) -> None:
        self.configured = configured
        self.classes = (configured, *fallbacks(configured))
        """All of them, the configured one first."""
        self.decides_at = math.inf
        """The time to decide again, unless something changes before."""
        known = set(open_classes)
        self._rank = max(
            (rank for rank, each in enumerate(self.classes) if each in known), default=0
        )

    @property
    def now(self) -> Redundancy:
        """The class of new segments, as last decided."""
        return self.classes[self._rank]

    @property
    def has_fallen(self) -> bool:
        """Return whether it is not the configured one."""
        return self._rank > 0

    def decide(self, surely: Redundancy | None, hoped: Redundancy | None, now: float) -> bool:
        """Take in what can be written, and return whether the class is another now.

        Args:
            surely: the best class for the cells that were heard.
            hoped: the best class for these and those that may still be heard.
            now: monotonic time.
        """
        before = self._rank
        may_rise = before if surely is None else self.classes.index(surely)
        may_fall = before if hoped is None else self.classes.index(hoped)
        if may_rise < before:
            self._rank = may_rise
        elif may_fall <= before:
            self.decides_at = math.inf
        elif now >= self.decides_at:
            self._rank = may_fall
        else:
            self.decides_at = min(self.decides_at, now + FALL_AFTER_S)
        if self._rank != before:
            self.decides_at = math.inf
        return self._rank != before
