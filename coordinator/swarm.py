"""The swarm as this process knows it: its cells, its rings, and where to write next.

Source: docs/placement.md, "Choosing a ring".
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from common.crypto.orders import cell_order_key
from common.errors import Refused
from common.ids import PeerId
from common.ports import Chance
from common.wire.messages import CellFacts, Endpoint
from coordinator.cells import Cell, CellState
from coordinator.placement_policy import CellView, Chooser, Redundancy, RingPlan, plan_rings
from coordinator.rings import Ring

LEAST_FREE_BYTES: Final = 32 * 1024 * 1024
"""A cell with less is not written to: it could not take two shards of a full segment at 4/6."""
RINGS_WEIGHED_PER_S: Final = 5_000
"""A chooser of more rings follows the cells' free space more slowly: a tenth of a core at most."""


class Swarm:
    """Cells by number and by key, rings, and a chooser that is renewed when they change.

    Args:
        cells, rings: what the store holds.
        redundancy: of new segments.
        swarm_secret: order keys derive from it.
        cell_timeout_s: silence after which a cell counts as gone.
    """

    def __init__(
        self,
        cells: Iterable[Cell],
        rings: Iterable[Ring],
        redundancy: Redundancy,
        swarm_secret: bytes,
        cell_timeout_s: float,
    ) -> None:
        self.redundancy = redundancy
        self.cells: dict[int, Cell] = {}
        self.rings: dict[int, Ring] = {}
        self._by_id: dict[PeerId, Cell] = {}
        self._order_keys: dict[int, bytes] = {}
        self._secret = swarm_secret
        self._timeout_s = cell_timeout_s
        self._views: dict[int, CellView] = {}
        self._writable: set[int] = set()
        self._change_seen = False
        self._weighed_at = 0.0
        self._chooser_is_of_these_rings = False
        self._chooser = Chooser((), {}, LEAST_FREE_BYTES)
        for cell in cells:
            self.add_cell(cell)
        self.set_rings(rings)

    def add_cell(self, cell: Cell) -> None:
        """A cell has joined (or was loaded)."""
        self.cells[cell.cell] = cell
        self._by_id[cell.cell_id] = cell
        self._order_keys[cell.cell] = cell_order_key(self._secret, cell.cell_id)

    def set_rings(self, rings: Iterable[Ring]) -> None:
        """The rings are these now."""
        self.rings = {ring.ring: ring for ring in rings}
        self._views = {}
        self._chooser_is_of_these_rings = False

    def cell_of(self, peer_id: PeerId) -> Cell:
        """The cell with this key. Raises Refused ``not_a_cell``."""
        cell = self._by_id.get(peer_id)
        if cell is None:
            raise Refused("not_a_cell")
        return cell

    def knows(self, peer_id: PeerId) -> bool:
        """Whether the key is a cell's."""
        return peer_id in self._by_id

    def order_key(self, cell: int) -> bytes:
        """The key under which orders for this cell are made."""
        return self._order_keys[cell]

    def state(self, cell: Cell, now: float) -> CellState:
        """What a cell is good for now."""
        return cell.state(now, self._timeout_s)

    def endpoint(self, cell: int) -> Endpoint:
        """Where a cell was last."""
        known = self.cells[cell]
        return Endpoint(known.cell_id, known.address_host, known.address_port)

    def refresh(self, now: float) -> None:
        """Look at all cells again; renew the chooser where something has changed.

        A change of who can be written to counts at once. Free space alone changes with every
        heartbeat and matters little: the more rings there are, the longer it may wait.
        """
        views = {number: cell.view(now, self._timeout_s) for number, cell in self.cells.items()}
        if views == self._views:
            return
        writable = {number for number, view in views.items() if view.writable}
        if writable == self._writable and self._chooser_is_of_these_rings:
            wait_s = len(self.rings) / RINGS_WEIGHED_PER_S
            if now - self._weighed_at < wait_s:
                return
        elif writable != self._writable:
            self._writable = writable
            self._change_seen = False
        self._views = views
        self._weighed_at = now
        self._chooser_is_of_these_rings = True
        self._chooser = Chooser(
            [ring.view() for ring in self.rings.values() if ring.redundancy == self.redundancy],
            views,
            LEAST_FREE_BYTES,
        )

    @property
    def change_unseen(self) -> bool:
        """Whether other cells can be written to than when the last plan was made."""
        return not self._change_seen

    def change_seen(self) -> None:
        """A plan is made for the cells as they are."""
        self._change_seen = True

    def change_not_seen(self) -> None:
        """The plan could not be carried out: make one again."""
        self._change_seen = False

    def plan(self, chance: Chance) -> RingPlan:
        """Which rings to add, reopen and close for the cells as last refreshed."""
        return plan_rings(
            [view for view in self._views.values() if view.writable],
            [ring.view() for ring in self.rings.values() if ring.redundancy == self.redundancy],
            self.redundancy,
            chance,
        )

    def choose(self, chance: Chance) -> Ring:
        """A ring for a new segment. Raises Unavailable ``no_ring``."""
        return self.rings[self._chooser.choose(chance.random, self.redundancy.n)]

    def writable_cells(self) -> int:
        """How many cells can be written to, as last refreshed."""
        return len(self._writable)


def heard(cell: Cell, host: str, port: int, facts: CellFacts, now: float) -> bool:
    """Take in a heartbeat.

    Returns:
        Whether the store should know it now: the cell is new, or has moved.
    """
    moved = not cell.known or (cell.address_host, cell.address_port) != (host, port)
    cell.address_host, cell.address_port = host, port
    cell.facts = facts
    cell.heard_at = now
    cell.known = True
    cell.suspect = False
    return moved
