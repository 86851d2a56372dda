"""The ring that a segment goes to when it returns to its home class.

Pure. Source: docs/decisions/0032-fewer-cells.md.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence, Set

from common.data_classes import dataclass
from common.ids import SegmentId
from common.ports import Chance


@dataclass(frozen=True, slots=True)
class HomeClass:
    """The class that a segment is to be in: its storage class, by number, and k and n of that."""

    storage_class: int
    k: int
    n: int


@dataclass(frozen=True, slots=True)
class HomeRing:
    """A ring, with the cell of each slot."""

    ring: int
    home: HomeClass
    cells: tuple[int, ...]


def whole_rings(
    rings: Iterable[HomeRing], writable: Collection[int]
) -> dict[HomeClass, dict[int, tuple[int, ...]]]:
    """Return the rings that segments may go to, by their class: all their cells can be written to.

    Those of one storage class are within its fence, and so is what goes to them.
    """
    found: dict[HomeClass, dict[int, tuple[int, ...]]] = defaultdict(dict)
    for ring in rings:
        if all(cell in writable for cell in ring.cells):
            found[ring.home][ring.ring] = ring.cells
    return found


def is_clear(former: Sequence[int], ring: Sequence[int]) -> bool:
    """Return whether no cell has the same slot in both rings: it cannot
    hold two shards of one name.

    Args:
        former: the cell of each slot where the segment is.
        ring: the cell of each slot where it would be.
    """
    return all(before != after for before, after in zip(former, ring, strict=False))


def choose_ring(
    former: Sequence[int],
    made: Mapping[int, Set[int]],
    rings: Mapping[int, tuple[int, ...]],
    chance: Chance,
) -> int | None:
    """Return the ring that a segment goes to: where most of its shards are made already, by chance
    among equals; None if none fits.

    Args:
        former: the cell of each slot where the segment is.
        made: by slot, the cells that have made its shard of the home class.
        rings: of the home class, by number, whose cells can all be written to.
    """
    fitting = [
        (sum(cell in made.get(slot, ()) for slot, cell in enumerate(cells)), chance.random(), ring)
        for ring, cells in sorted(rings.items())
        if is_clear(former, cells)
    ]
    return max(fitting)[2] if fitting else None


def rotated(former: Sequence[int], ring: Sequence[int]) -> tuple[int, ...]:
    """Return the cells of a ring in an order that fits; there is one, as ``former`` has fewer."""
    assert len(former) < len(ring)
    turned = (tuple(ring[by:]) + tuple(ring[:by]) for by in range(len(ring)))
    return next(cells for cells in turned if is_clear(former, cells))


def seen_since(
    known: Mapping[tuple[SegmentId, int], float], going: Iterable[tuple[SegmentId, int]], now: float
) -> dict[tuple[SegmentId, int], float]:
    """Return when each of the segments that are on their way was first seen on it.

    Args:
        known: the same of an earlier look; those that have arrived since are forgotten.
        going: segments, each with the ring that it goes to.
        now: the time of this look.
    """
    return {each: known.get(each, now) for each in going}
