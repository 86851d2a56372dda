"""Data that would be lost if a site or a box failed now.

Pure: a snapshot of cells and rings goes in.

Source: docs/durability.md, "The swarm as it is".
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence

from common.data_classes import dataclass
from coordinator.policy.fallback import Spread, best_class
from coordinator.policy.health import SURE, WRITABLE, CellState
from coordinator.policy.placement import Redundancy


@dataclass(frozen=True, slots=True)
class PlacedCell:
    """A cell: where it is, and its state. Without a site it is on the one site of all that name
    none; without an owner it is a box of its own."""

    site: str
    owner: str
    state: CellState


@dataclass(frozen=True, slots=True)
class PlacedRing:
    """A ring: the cell of each slot. ``open``: it takes new segments. ``lacks``: slots whose cells
    lack the shard of some segment; taken as if one segment lacked them all."""

    k: int
    quorum: int
    cells: tuple[str, ...]
    open: bool
    lacks: frozenset[int] = frozenset()

    @property
    def keepers(self) -> tuple[str, ...]:
        """The cells of the slots whose shards are all there."""
        return tuple(cell for slot, cell in enumerate(self.cells) if slot not in self.lacks)


@dataclass(frozen=True, slots=True)
class Loss:
    """The state of a swarm after a loss.

    ``margin``: the least, over all rings, of the shards that may be lost beyond it; negative where
    a ring cannot be read any more. ``unreadable``: such rings. ``writable``: new segments can be
    placed; ``fallback``: in this class, since too few cells are left for the configured one.
    """

    name: str
    cells: int
    margin: int
    unreadable: int
    writable: bool
    fallback: str = ""


class LossTable:
    """The losses of a swarm, from one snapshot.

    Args:
        cells: by id.
        rings: that hold or take segments.
        redundancy: the class of new segments.
    """

    def __init__(
        self, cells: Mapping[str, PlacedCell], rings: Sequence[PlacedRing], redundancy: Redundancy
    ) -> None:
        self._cells = cells
        self._redundancy = redundancy
        self._all_cells = self._spread(
            each for each, cell in cells.items() if cell.state is not CellState.REMOVED
        )
        self._writable = {each for each, cell in cells.items() if cell.state in WRITABLE}
        readable = {each for each, cell in cells.items() if cell.state in SURE}
        self._readable = readable
        self._margins = [sum(each in readable for each in ring.keepers) - ring.k for ring in rings]
        self._least_margin = min(self._margins, default=0)
        # What each open ring has beyond its write quorum; closed rings are not written to.
        self._spares = [
            sum(each in self._writable for each in ring.cells) - ring.quorum if ring.open else -1
            for ring in rings
        ]
        self._rings_of: dict[str, list[int]] = defaultdict(list)
        self._kept_by: dict[str, list[int]] = defaultdict(list)
        for number, ring in enumerate(rings):
            for each in ring.cells:
                self._rings_of[each].append(number)
            for each in ring.keepers:
                self._kept_by[each].append(number)

    def of_nothing(self) -> Loss:
        """Return the state of the swarm as it is."""
        return self._of("", ())

    def of_sites(self) -> list[Loss]:
        """Return what the loss of each site would do, the worst first."""
        return self._of_domains({each: cell.site for each, cell in self._cells.items()})

    def of_boxes(self) -> list[Loss]:
        """Return what the loss of each box would do, the worst first; a box of one cell that names
        no owner has the cell's id for its name."""
        return self._of_domains({each: cell.owner or each for each, cell in self._cells.items()})

    def _of_domains(self, domains: Mapping[str, str]) -> list[Loss]:
        members: dict[str, list[str]] = defaultdict(list)
        for each, domain in domains.items():
            if self._cells[each].state is not CellState.REMOVED:
                members[domain].append(each)
        found = [self._of(domain, lost) for domain, lost in members.items()]
        return sorted(found, key=lambda loss: (loss.margin, loss.writable, loss.name))

    def _of(self, name: str, lost: Collection[str]) -> Loss:
        lost_readable = Counter(
            ring for each in lost if each in self._readable for ring in self._kept_by[each]
        )
        lost_writable = Counter(
            ring for each in lost if each in self._writable for ring in self._rings_of[each]
        )
        touched = {ring: self._margins[ring] - count for ring, count in lost_readable.items()}
        quorate = sum(spare >= 0 for spare in self._spares) - sum(
            0 <= self._spares[ring] < count for ring, count in lost_writable.items()
        )
        left = len(self._writable) - sum(each in self._writable for each in lost)
        fallback = None
        if not quorate and left < self._redundancy.n and self._margins:
            here = self._spread(self._writable.difference(lost))
            fallback = best_class(self._redundancy, here, self._all_cells)
        return Loss(
            name,
            len(lost),
            min([self._least_margin, *touched.values()]),
            sum(margin < 0 for margin in self._margins)
            + sum(margin < 0 <= self._margins[ring] for ring, margin in touched.items()),
            quorate > 0 or left >= self._redundancy.n or fallback is not None,
            str(fallback or ""),
        )

    def _spread(self, cells: Iterable[str]) -> Spread:
        known = self._cells
        return Spread.of((known[each].site, known[each].owner or f"\0{each}") for each in cells)


def cells_on_boxes(owners: Iterable[str]) -> list[int]:
    """Return the number of cells on each box, from the owner that each cell names (or none)."""
    counts = Counter(owner or f"\0{number}" for number, owner in enumerate(owners))
    return list(counts.values())
