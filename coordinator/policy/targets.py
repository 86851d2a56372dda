"""The choice of a cell for one slot of a ring, among as many as a swarm has.

Pure. What decides about a few cells is drawn by chance: from all, or, where none of the drawn has
room, from those that had room when that was first asked. The free space of a cell never grows here.

Source: docs/placement.md, "Moves"; Mitzenmacher, "The Power of Two Choices in Randomized Load
Balancing" (IEEE TPDS 2001).
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Set
from functools import partial
from itertools import accumulate, islice
from typing import Final

from common.data_classes import dataclass
from common.ports import Chance
from coordinator.policy.fence import EVERYWHERE, Fence
from coordinator.policy.placement import CAPACITY_RATIO

CHOICES: Final = 16
"""Cells that fit, of which the best is taken."""
DRAWS: Final = 64
"""Cells drawn to find those: where a quarter of all fit, as many are found nearly always."""
RARE: Final = 4
"""The cells of a tier are listed by themselves where they are fewer than one in so many."""
FILLING_COST: Final = 4
"""A slot that a cell is still filling counts as so many more that it holds. A cell that joined
lately and holds nothing yet gets a few of a lost cell's slots, and the others are rebuilt elsewhere
at the same time."""
CROWDED_RATIO: Final = 2.0
"""A cell that holds so many times the mean of slots, for its capacity, gets others only where no
other cell fits: its loss would concern too many rings."""
FREE_SHARE_FLOOR: Final = 0.01
"""Free space counts as at least this share of the capacity, so that loads can be compared."""


@dataclass(frozen=True, slots=True)
class TargetCell:
    """A cell that takes slots. ``owner``: empty if the cell is its own owner. ``free_bytes``: for
    the slots that it gets. ``held``, ``filling``: slots that it holds, and those of them that it is
    still filling."""

    cell: int
    site: str
    owner: str
    capacity_bytes: int
    free_bytes: int
    held: int
    filling: int


class Surroundings:
    """The other slots of a ring: what a cell for one slot is judged against.

    Args:
        places: site and owner of each slot that stays.
        taken: cells that cannot get the slot.
        site_limit: slots that one site should have at most.
        owner_limit: likewise, one owner.
        fence: sites that the ring is kept on.
    """

    def __init__(
        self,
        places: Iterable[tuple[str, str]],
        taken: Collection[int],
        site_limit: int,
        owner_limit: int,
        fence: Fence = EVERYWHERE,
    ) -> None:
        self.fence = fence
        self.taken = frozenset(taken)
        self.site_limit = max(1, site_limit)
        self.owner_limit = max(1, owner_limit)
        self.sites: Counter[str] = Counter()
        self.owners: Counter[str] = Counter()
        for site, owner in places:
            self.sites[site] += 1
            if owner:
                self.owners[owner] += 1


@dataclass(frozen=True, slots=True)
class _Tier:
    """Cells that are equally good as places: those on ``sites`` and of ``owners``, or on (of) all
    but some that are crowded."""

    sites: Set[str] | None
    owners: Set[str] | None
    without_sites: Set[str]
    without_owners: Set[str]

    def has(self, site: str, owner: str) -> bool:
        """Return whether a cell of this site and owner is in the tier."""
        return (
            (site not in self.without_sites if self.sites is None else site in self.sites)
            and (owner not in self.without_owners if self.owners is None else owner in self.owners)
        )  # fmt: skip


def _levels(counts: Counter[str], limit: int) -> Iterator[tuple[Set[str] | None, Set[str]]]:
    """The names (of sites, of owners) by how crowded one more slot makes them: first all that stay
    within the limit (none named, the others to be left out), then the least crowded first."""
    crowded = {name for name, count in counts.items() if count >= limit}
    yield None, crowded
    for level in sorted({counts[name] for name in crowded}):
        yield {name for name in crowded if counts[name] == level}, set()


def _fenced(
    fence: Fence, levels: Iterable[tuple[Set[str] | None, Set[str]]]
) -> Iterator[tuple[Set[str] | None, Set[str]]]:
    """The levels of sites, of those within a fence only."""
    for sites, without in levels:
        if not fence:
            yield sites, without
        else:
            yield (fence - without if sites is None else fence & sites), set()


class Targets:
    """Cells that take slots, and the choice among them.

    Args:
        candidates: the cells.
        slots: those of all rings, also of cells that leave.
        chance: draws, and breaks ties.
        least_free_bytes: free space that a cell keeps.
    """

    def __init__(
        self, candidates: Iterable[TargetCell], slots: int, chance: Chance, least_free_bytes: int
    ) -> None:
        self._cells = {
            each.cell: each for each in candidates if each.free_bytes >= least_free_bytes
        }
        self._chance = chance
        self._least_free_bytes = least_free_bytes
        self._free = {cell: each.free_bytes for cell, each in self._cells.items()}
        self._held = {cell: each.held for cell, each in self._cells.items()}
        self._load = {
            cell: each.held + FILLING_COST * each.filling for cell, each in self._cells.items()
        }
        capacities = sorted(each.capacity_bytes for each in self._cells.values())
        median = max(1, capacities[len(capacities) // 2]) if capacities else 1
        self._weight = {
            cell: min(CAPACITY_RATIO, max(1 / CAPACITY_RATIO, each.capacity_bytes / median))
            for cell, each in self._cells.items()
        }
        total = sum(self._weight.values())
        self._most_held = CROWDED_RATIO * (slots / total + 1) if total else 0.0
        self._all = list(self._cells)
        self._by_site: dict[str, list[int]] = defaultdict(list)
        self._by_owner: dict[str, list[int]] = defaultdict(list)
        self._by_both: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
        """By site, then by owner."""
        for cell, each in self._cells.items():
            self._by_site[each.site].append(cell)
            self._by_owner[each.owner].append(cell)
            self._by_both[each.site][each.owner].append(cell)
        self._by_room: dict[int, tuple[list[int], list[int]]] = {}
        """Of a list in which it was hard to find room, by its identity: its cells, those with most
        free space first, and that space, negative, as bisect wants it."""
        self.scanned = 0
        """Cells that were looked at: the work done."""

    def choose(self, around: Surroundings, slot_bytes: int) -> int | None:
        """Return the cell for a slot, or None where there is none.

        A cell in ``around.taken``, outside of its fence, or without room is never chosen. Of the
        others: those on sites that stay within the limit, else on the sites exceeding it least; of
        these, those of owners that stay within it, else exceeding it least; of these, the one with
        the fewest slots for its free space among some that chance draws.

        Args:
            around: the other slots.
            slot_bytes: size of the shards of the slot.
        """
        for tier in self._tiers(around):
            cell = self._choose_in(tier, around, slot_bytes)
            if cell is not None:
                return cell
        return None

    def take(self, cell: int, slot_bytes: int) -> None:
        """Count a slot for a cell that was chosen."""
        self._free[cell] -= slot_bytes
        self._held[cell] += 1
        self._load[cell] += 1 + FILLING_COST

    def withdraw(self, cell: int) -> None:
        """Choose a cell no more."""
        self._free[cell] = -1

    def _tiers(self, around: Surroundings) -> Iterator[_Tier]:
        for sites, without_sites in _fenced(around.fence, _levels(around.sites, around.site_limit)):
            for owners, without_owners in _levels(around.owners, around.owner_limit):
                yield _Tier(sites, owners, without_sites, without_owners)

    def _lists(self, tier: _Tier) -> list[list[int]]:
        """Lists that have the cells of a tier among them."""
        if tier.sites is not None and tier.owners is not None:
            lists = [self._both(site, owner) for site in tier.sites for owner in tier.owners]
        elif tier.sites is not None:
            lists = [self._by_site.get(site, []) for site in tier.sites]
        elif tier.owners is not None:
            lists = [self._by_owner.get(owner, []) for owner in tier.owners]
        else:
            lists = [self._all]
        return [each for each in lists if each]

    def _exact_lists(self, tier: _Tier) -> list[list[int]]:
        """Lists that have the cells of a tier and no others, many of them perhaps."""
        sites = self._by_both if tier.sites is None else tier.sites & self._by_both.keys()
        return [
            each
            for site in sites
            for owner, each in self._by_both[site].items()
            if tier.has(site, owner)
        ]

    def _both(self, site: str, owner: str) -> list[int]:
        return self._by_both[site].get(owner, []) if site in self._by_both else []

    def _count(self, tier: _Tier, taken: Collection[int]) -> int:
        """The number of cells in a tier that are not taken, without a look at each."""
        count = sum(len(each) for each in self._lists(tier))
        if tier.sites is None:
            if tier.owners is None:
                count -= sum(len(self._by_site.get(site, ())) for site in tier.without_sites)
            else:
                count -= sum(
                    len(self._both(site, owner))
                    for site in tier.without_sites
                    for owner in tier.owners
                )
        if tier.owners is None:
            if tier.sites is None:
                count -= sum(len(self._by_owner.get(owner, ())) for owner in tier.without_owners)
                count += sum(
                    len(self._both(site, owner))
                    for site in tier.without_sites
                    for owner in tier.without_owners
                )
            else:
                count -= sum(
                    len(self._both(site, owner))
                    for site in tier.sites
                    for owner in tier.without_owners
                )
        for cell in taken:
            each = self._cells.get(cell)
            count -= each is not None and tier.has(each.site, each.owner)
        return count

    def _choose_in(self, tier: _Tier, around: Surroundings, slot_bytes: int) -> int | None:
        count = self._count(tier, around.taken)
        if count <= 0:
            return None
        lists = self._lists(tier)
        if count * RARE < sum(len(each) for each in lists):
            lists = self._exact_lists(tier)

        def fits(cell: int) -> bool:
            self.scanned += 1
            each = self._cells[cell]
            return (
                cell not in around.taken
                and tier.has(each.site, each.owner)
                and self._free[cell] - slot_bytes >= self._least_free_bytes
            )

        found: Collection[int] = ()
        if sum(len(each) for each in lists) > DRAWS:
            found = set(islice(filter(fits, self._draw(lists)), CHOICES))
            if not found:
                lists = [each for each in map(partial(self._roomy, slot_bytes), lists) if each]
                if sum(len(each) for each in lists) > DRAWS:
                    found = set(islice(filter(fits, self._draw(lists)), CHOICES))
        if not found:
            found = [cell for each in lists for cell in each if fits(cell)]
        return min(found, key=self._cost, default=None)

    def _roomy(self, slot_bytes: int, cells: list[int]) -> list[int]:
        """The cells of one of our lists that had room for a slot, and so may still have it."""
        known = self._by_room.get(id(cells))
        if known is None:
            ordered = sorted(cells, key=self._free.__getitem__, reverse=True)
            known = self._by_room[id(cells)] = ordered, [-self._free[cell] for cell in ordered]
        ordered, bounds = known
        return ordered[: bisect_right(bounds, -(slot_bytes + self._least_free_bytes))]

    def _draw(self, lists: list[list[int]]) -> Iterator[int]:
        bounds = list(accumulate(len(each) for each in lists))
        for _ in range(DRAWS):
            point = self._chance.randrange(bounds[-1])
            at = bisect_right(bounds, point)
            yield lists[at][point - bounds[at]]

    def _cost(self, cell: int) -> tuple[bool, float, float]:
        capacity = max(1, self._cells[cell].capacity_bytes)
        share = min(1.0, max(FREE_SHARE_FLOOR, self._free[cell] / capacity))
        weight = self._weight[cell]
        is_crowded = self._held[cell] >= self._most_held * weight
        return is_crowded, (self._load[cell] + 1) / (weight * share), self._chance.random()
