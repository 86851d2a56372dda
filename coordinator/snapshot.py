"""Cells as plans of moves see them, copied at one time: what a worker reads beside the event loop.

Source: docs/repair.md, "What planning costs".
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from common.wire.messages.base import CellFacts
from coordinator.policy.hazard import Hazard
from coordinator.policy.health import READABLE, WRITABLE, CellState, leaves
from coordinator.policy.moves import MoveReason, PlaceView
from coordinator.store.cells import Cell

COPIED_AT_ONCE: Final = 2_000
"""Cells that are copied in one step of the event loop, about a millisecond."""
SHARE_OF_FAILING_DISKS: Final = 1 / 16
"""Of the free space of a cell that should be drained: its disk is better than no place."""


class KnownCell(NamedTuple):
    """What a view is made of: a few references, so that copying many costs little."""

    cell: int
    site: str
    owner: str
    facts: CellFacts
    state: CellState
    hazard: Hazard | None


def known_cell(cell: Cell, state: CellState, hazard: Hazard | None) -> KnownCell:
    """Copy what a view is made of."""
    return KnownCell(cell.cell, cell.site, cell.owner, cell.facts, state, hazard)


def view_of(cell: Cell, state: CellState, hazard: Hazard | None) -> PlaceView:
    """Return a cell as moves see it."""
    return _view(known_cell(cell, state, hazard))


def views_of(cells: Iterable[KnownCell]) -> dict[int, PlaceView]:
    """Return cells as moves see them, by number."""
    return {each.cell: _view(each) for each in cells}


def _view(known: KnownCell) -> PlaceView:
    """A cell whose disk has signs of failing offers less of its free space."""
    departure = leaves(known.state)
    hazard = known.hazard
    share = 1.0 if hazard is None else max(hazard.weight, SHARE_OF_FAILING_DISKS)
    return PlaceView(
        known.cell,
        known.site,
        known.owner,
        known.facts.capacity_bytes,
        int(share * known.facts.free_bytes),
        writable=known.state in WRITABLE,
        readable=known.state in READABLE,
        leaves=None if departure is None else MoveReason(departure.value),
    )
