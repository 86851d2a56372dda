"""Cells as policies see them, made again only where a cell has changed.

A look at all cells of a large swarm is made every second, and nearly all of them are as they were.
Views are immutable, so a worker may read them beside the event loop.

Source: docs/repair.md, "What planning costs".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Generic, TypeVar

from common.wire.messages.base import CellFacts
from coordinator.policy.hazard import Hazard
from coordinator.policy.health import READABLE, WRITABLE, CellState, leaves
from coordinator.policy.moves import MoveReason, PlaceView
from coordinator.store.cells import Cell

SHARE_OF_FAILING_DISKS: Final = 1 / 16
"""Of the free space of a cell that should be drained: its disk is better than no place."""

V = TypeVar("V")


class Views(Generic[V]):
    """The last view of each cell.

    Args:
        make: makes a view of what a cell reports, its state and its hazard.
    """

    def __init__(self, make: Callable[[Cell, CellState, Hazard | None], V]) -> None:
        self._make = make
        self._made: dict[int, tuple[V, CellFacts, CellState, Hazard | None]] = {}

    def of(self, cell: Cell, state: CellState, hazard: Hazard | None) -> V:
        """Return the view of a cell: the one from before if nothing has changed."""
        made = self._made.get(cell.cell)
        if (
            made is None
            or made[1] is not cell.facts
            or made[2] is not state
            or made[3] is not hazard
        ):
            view = self._make(cell, state, hazard)
            made = self._made[cell.cell] = view, cell.facts, state, hazard
        return made[0]


def place_view_of(cell: Cell, state: CellState, hazard: Hazard | None) -> PlaceView:
    """Return a cell as moves see it. One whose disk has signs of failing offers less of its free
    space."""
    departure = leaves(state)
    share = 1.0 if hazard is None else max(hazard.weight, SHARE_OF_FAILING_DISKS)
    return PlaceView(
        cell.cell,
        cell.site,
        cell.owner,
        cell.facts.capacity_bytes,
        int(share * cell.facts.free_bytes),
        writable=state in WRITABLE,
        readable=state in READABLE,
        leaves=None if departure is None else MoveReason(departure.value),
        barred=state is CellState.SUSPENDED,
    )
