"""Redundancy classes for small swarms: what each survives, and which one to take.

Pure. Derived from all the ways in which the placement can put a ring's slots on sites, and all the
ways to lose boxes or sites. A *box* is a machine of one owner, with one cell.

Source: docs/durability.md, "Redundancy classes".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import combinations
from typing import Final

from common.data_classes import dataclass
from coordinator.policy.fallback import Spread, best_class
from coordinator.policy.placement import Redundancy, default_quorum, spread_limit

BOXES: Final = (3, 4, 5, 6, 9, 12)
SITES: Final = (1, 2, 3, 4, 5)
AFFORDABLE_STORED: Final = 2.0
"""Bytes kept for each byte stored that a recommended class may take."""
CHEAP_STORED: Final = 1.5
"""Below this a wider margin counts for more than less storage."""


def sites_of(boxes: int, sites: int) -> tuple[int, ...]:
    """Return the boxes on each site, spread as evenly as can be."""
    each, more = divmod(boxes, sites)
    return (each + 1,) * more + (each,) * (sites - more)


def spreads(redundancy: Redundancy, sizes: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """All ways to put a ring's slots on sites by the placement's rule.

    Args:
        redundancy: of the ring.
        sizes: cells on each site.

    Yields:
        The slots on each site; nothing where there are fewer cells than slots.
    """
    limit = spread_limit(sizes, redundancy.n, redundancy.n - redundancy.k)

    def place(site: int, left: int) -> Iterator[tuple[int, ...]]:
        if site == len(sizes):
            if not left:
                yield ()
            return
        for slots in range(min(sizes[site], limit, left) + 1):
            for rest in place(site + 1, left - slots):
                yield slots, *rest

    if sum(sizes) >= redundancy.n:
        yield from place(0, redundancy.n)


@dataclass(frozen=True, slots=True)
class Survived:
    """The most losses that are survived wherever they happen: all data is read, and new data can
    be written within seconds: in the class, or (``fallback``) in it or one that stands in for it.
    """

    reads_boxes: int
    writes_boxes: int
    reads_sites: int
    writes_sites: int
    fallback_boxes: int
    fallback_sites: int


def survived(redundancy: Redundancy, sizes: Sequence[int]) -> Survived:
    """Return what a class survives on sites of such sizes.

    Writes go on where every ring keeps its write quorum, or n cells are left, so that rings are
    made of them.
    """
    k, n, quorum = redundancy.k, redundancy.n, redundancy.quorum
    rings = tuple(spreads(redundancy, sizes))
    boxes = sum(sizes)
    if not rings:
        return Survived(0, 0, 0, 0, 0, 0)

    def survive(lost: int, keep: int, left: int) -> bool:
        """Return whether rings keep so many slots, or so many cells are left, whichever sites
        are lost."""
        for gone in combinations(range(len(sizes)), lost):
            most = max(sum(ring[site] for site in gone) for ring in rings)
            cells = boxes - sum(sizes[site] for site in gone)
            if n - most < keep and (not left or cells < left):
                return False
        return True

    def most_sites(keep: int, left: int) -> int:
        lost = 0
        while lost < len(sizes) and survive(lost + 1, keep, left):
            lost += 1
        return lost

    writes_boxes, writes_sites = max(n - quorum, boxes - n), most_sites(quorum, n)
    return Survived(
        n - k,
        writes_boxes,
        most_sites(k, 0),
        writes_sites,
        _most_with_fallback(redundancy, sizes, writes_boxes, boxes_left),
        _most_with_fallback(redundancy, sizes, writes_sites, sites_left),
    )


def boxes_left(sizes: Sequence[int], lost: int) -> set[tuple[int, ...]]:
    """Return what may be left of each site when so many boxes are lost."""
    left = {tuple(sizes)}
    for _ in range(lost):
        left = {
            (*each[:site], each[site] - 1, *each[site + 1 :])
            for each in left
            for site in range(len(sizes))
            if each[site]
        }
    return left


def sites_left(sizes: Sequence[int], lost: int) -> set[tuple[int, ...]]:
    """Return what may be left of each site when so many sites are lost."""
    return {
        tuple(0 if site in gone else size for site, size in enumerate(sizes))
        for gone in combinations(range(len(sizes)), lost)
    }


def _most_with_fallback(
    redundancy: Redundancy,
    sizes: Sequence[int],
    at_least: int,
    left: Callable[[Sequence[int], int], set[tuple[int, ...]]],
) -> int:
    def goes_on(each: tuple[int, ...]) -> bool:
        found = best_class(redundancy, _one_to_a_box(each), _one_to_a_box(sizes))
        return found is not None

    lost = at_least
    while (after := left(sizes, lost + 1)) and all(goes_on(each) for each in after):
        lost += 1
    return lost


def _one_to_a_box(sizes: Sequence[int]) -> Spread:
    return Spread(tuple(size for size in sizes if size), (1,) * sum(sizes))


@dataclass(frozen=True, slots=True)
class Recommendation:
    """The class to take for so many boxes on so many sites."""

    boxes: int
    sites: int
    redundancy: Redundancy
    survives: Survived

    @property
    def stored(self) -> float:
        """Bytes that cells keep for each byte stored."""
        return self.redundancy.n / self.redundancy.k


def candidates(boxes: int) -> Iterator[Redundancy]:
    """All classes that so many boxes can hold, and that keep a shard to spare when a write is
    acknowledged."""
    for n in range(2, boxes + 1):
        for k in range(1, n):
            if n / k <= AFFORDABLE_STORED:
                yield Redundancy(k, n, default_quorum(k, n))


def recommend(boxes: int, sites: int) -> Recommendation:
    """Return the class to take.

    The goals, in this order: any one box may be lost for reads, and for writes in the class; any
    one site for reads; any two boxes for reads; any one site for writes, in the class or a
    fallback. Among those that reach the same goals the one that takes least storage, where up to
    1.5 times count the same; then one in which writes go on without any one site; then the one with
    the widest margin for reads, then for writes, then the one that takes least storage.

    Args:
        boxes: with one cell each.
        sites: at most as many; the boxes are spread over them evenly.
    """
    sizes = sites_of(boxes, sites)

    def worth(each: Recommendation) -> tuple[object, ...]:
        of = each.survives
        return (
            of.reads_boxes >= 1 and of.writes_boxes >= 1,
            of.reads_sites >= 1,
            of.reads_boxes >= 2,
            of.fallback_sites >= 1,
            -max(each.stored, CHEAP_STORED),
            of.writes_sites >= 1,
            of.reads_boxes,
            of.writes_boxes,
            -each.stored,
        )

    return max(
        (
            Recommendation(boxes, sites, redundancy, survived(redundancy, sizes))
            for redundancy in candidates(boxes)
        ),
        key=worth,
    )


def recommended() -> tuple[Recommendation, ...]:
    """Return the table: every number of boxes on every number of sites."""
    return tuple(recommend(boxes, sites) for boxes in BOXES for sites in SITES if sites <= boxes)


def weaknesses(redundancy: Redundancy, boxes: Sequence[int]) -> tuple[str, ...]:
    """Return in words what a class does not survive when one box is lost; nothing when all goes on.

    Args:
        redundancy: the class.
        boxes: cells on each box. With fewer than n cells in all the class is judged as if it had
            the n it needs, one to a box.
    """
    k, n, quorum = redundancy.k, redundancy.n, redundancy.quorum
    sizes = list(boxes) if sum(boxes) >= n else [1] * n
    cells, largest = sum(sizes), max(sizes)
    slots = min(largest, spread_limit(sizes, n, n - k))
    found = []
    if slots > n - k:
        found.append(
            f"class {k}/{n} does not survive the loss of one box: it may hold {slots} of a ring's "
            f"{n} shards, and {n - k} may be lost; what lies there cannot be read meanwhile"
        )
    if slots > n - quorum and cells - largest < n:
        left = list(sizes)
        left.remove(largest)
        fallback = best_class(
            redundancy, Spread((sum(left),), tuple(left)), Spread((cells,), tuple(sizes))
        )
        what = f"with {cells} cells, class {k}/{n} cannot be written without one box: "
        enough = f"with {n + largest} cells or more, or with fewer data shards,"
        if fallback is None:
            found.append(f"{what}a write needs {quorum} durable shards ({enough} writes go on)")
        else:
            found.append(
                f"{what}new objects take class {fallback} meanwhile, which keeps "
                f"{fallback.n / fallback.k:.2f} bytes for each byte instead of {n / k:.2f} "
                f"({enough} they do not)"
            )
    return tuple(found)
