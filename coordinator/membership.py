"""The swarm as this process knows it: its cells, its rings, and where to write next.

Source: docs/placement.md, "Choosing a ring".
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final

import trio

from common import limits
from common.crypto.orders import Order, OrderAction, cell_order_key, claimed_slot, issue, opened
from common.errors import NotFound, Refused
from common.ids import PeerId, SegmentId
from common.ports import Chance
from common.wire.messages.base import CellFacts, Endpoint
from coordinator.policy.health import CellEvent, CellState, count_needing
from coordinator.policy.placement import CellView, Chooser, Redundancy, RingPlan, plan_rings
from coordinator.store.cells import Cell
from coordinator.store.rings import Ring

RINGS_WEIGHED_PER_S: Final = 5_000
"""A chooser of more rings follows the cells' free space more slowly: a tenth of a core at most."""
CELLS_LOOKED_AT_PER_S: Final = 50_000
"""The same for looking at all cells, when their connections break one after another."""
CHEAP_LOOK_S: Final = 0.01


class Membership:
    """Cells by number and by key, rings, and a chooser that is renewed when they change.

    Args:
        cells, rings: what the store holds.
        redundancy: of new segments.
        swarm_secret: order keys derive from it.
        heartbeat_interval_s: of a swarm that is not too large for it.
        cell_timeout_s: silence after which a cell of such a swarm counts as gone.
    """

    def __init__(
        self,
        cells: Iterable[Cell],
        rings: Iterable[Ring],
        redundancy: Redundancy,
        swarm_secret: bytes,
        heartbeat_interval_s: int,
        cell_timeout_s: float,
    ) -> None:
        self.redundancy = redundancy
        self.cells: dict[int, Cell] = {}
        self.rings: dict[int, Ring] = {}
        self._by_id: dict[PeerId, Cell] = {}
        self._order_keys: dict[int, bytes] = {}
        self._secret = swarm_secret
        self._interval_s = heartbeat_interval_s
        self._timeout_s = cell_timeout_s
        self.changed = trio.Event()
        """Set once a cell is good for something else than when last refreshed."""
        self._views: dict[int, CellView] = {}
        self._writable: set[int] = set()
        self._change_seen = False
        self._looked_at = -math.inf
        self._weighed_at = -math.inf
        self._is_unweighed = False
        """The free space of cells is not what the chooser knows."""
        self._chooser_is_of_these_rings = False
        self._chooser = Chooser((), {}, limits.CELL_LEAST_FREE_BYTES)
        for cell in cells:
            self.add_cell(cell)
        self.set_rings(rings)

    def add_cell(self, cell: Cell) -> None:
        """A cell has joined (or was loaded)."""
        self.cells[cell.cell] = cell
        self._by_id[cell.cell_id] = cell
        self._order_keys[cell.cell] = cell_order_key(self._secret, cell.cell_id)

    @property
    def heartbeat_interval_s(self) -> int:
        """How often a cell of a swarm of this size is heard."""
        needed_s = -(-len(self.cells) // limits.HEARTBEATS_PER_S)
        return min(max(self._interval_s, needed_s), limits.MAX_HEARTBEAT_INTERVAL_S)

    @property
    def timeout_s(self) -> float:
        """Silence after which a cell counts as gone."""
        return self._timeout_s * self.heartbeat_interval_s / self._interval_s

    def set_rings(self, rings: Iterable[Ring]) -> None:
        """The rings are these now."""
        self.rings = {ring.ring: ring for ring in rings}
        self._views = {}
        self._chooser_is_of_these_rings = False

    def cell_of(self, peer_id: PeerId) -> Cell:
        """The cell with this key. Raises Refused ``not_a_cell``, ``cell_removed``."""
        cell = self._by_id.get(peer_id)
        if cell is None:
            raise Refused("not_a_cell")
        if cell.is_removed:
            raise Refused("cell_removed")
        return cell

    def find(self, text: str) -> Cell:
        """Return the one cell whose id, in hex, begins with ``text``.

        Raises:
            NotFound: ``no_such_cell``.
            Refused: ``ambiguous_cell``: several do; give more of it.
        """
        wanted = text.lower()
        found = [each for each in self.cells.values() if each.cell_id.hex().startswith(wanted)]
        if not wanted or not found:
            raise NotFound("no_such_cell")
        if len(found) > 1:
            raise Refused("ambiguous_cell", cells=len(found))
        return found[0]

    def knows(self, peer_id: PeerId) -> bool:
        """Whether the key is a cell's."""
        return peer_id in self._by_id

    def is_member(self, peer_id: PeerId) -> bool:
        """Whether the key is that of a cell which was not removed."""
        cell = self._by_id.get(peer_id)
        return cell is not None and not cell.is_removed

    def order_key(self, cell: int) -> bytes:
        """The key under which orders for this cell are made."""
        return self._order_keys[cell]

    def issue(self, cell: int, order: Order) -> bytes:
        """Return the order for a cell; an empty one for a removed cell, which is asked nothing."""
        if self.cells[cell].is_removed:
            return b""
        return issue(self._order_keys[cell], order)

    def check_granted(self, segment: SegmentId, ring: int, order: bytes, caller: PeerId) -> None:
        """Check that a segment was granted to a caller on a ring: grants are not remembered, but
        nobody else can have made an order to write one of its shards.

        Args:
            order: for any slot; it may have expired.

        Raises:
            Refused: ``not_granted``.
        """
        cells = self.rings[ring].cells if ring in self.rings else ()
        slot = claimed_slot(order)
        if slot >= len(cells):
            raise Refused("not_granted")
        try:
            granted = opened(self._order_keys[cells[slot]], order, caller=caller)
        except Refused as error:
            raise Refused("not_granted") from error
        if granted.action is not OrderAction.PUT or granted.segment_id != segment:
            raise Refused("not_granted")

    def check_removal(self, cell: Cell, now: float) -> None:
        """Check that what lies on the rings of a cell can be read without it.

        Raises:
            Refused: ``cell_is_needed``, with ``rings``: so many of its rings would have fewer than
                k readable cells left, which they have now.
        """
        rings = ((ring.cells, ring.redundancy.k) for ring in self.rings.values())
        needing = count_needing(cell.cell, rings, self.states(now))
        if needing:
            raise Refused("cell_is_needed", rings=needing)

    def removed(self, cell: Cell, now: float) -> None:
        """Take in that a cell was removed, durably."""
        cell.sees(CellEvent.REMOVED)
        self.refresh(now)

    def state(self, cell: Cell, now: float) -> CellState:
        """What a cell is good for now."""
        return cell.state(now, self.timeout_s)

    def states(self, now: float) -> dict[int, CellState]:
        """What each cell is good for now, by its number."""
        timeout_s = self.timeout_s
        return {number: cell.state(now, timeout_s) for number, cell in self.cells.items()}

    def endpoint(self, cell: int) -> Endpoint:
        """Where a cell was last."""
        known = self.cells[cell]
        return Endpoint(known.cell_id, known.address_host, known.address_port)

    def heard(self, cell: Cell, host: str, port: int, facts: CellFacts, now: float) -> bool:
        """Take in a heartbeat.

        Returns:
            Whether the store should know it now: the cell is new, or has moved.
        """
        is_new = cell.last_state is CellState.NEW
        moved = is_new or (cell.address_host, cell.address_port) != (host, port)
        if facts != cell.facts:
            self._is_unweighed = True
            if now >= self._next_weighing():
                self.changed.set()
        before = self.state(cell, now)
        cell.address_host, cell.address_port = host, port
        cell.hears(facts, now)
        if self.state(cell, now) is not before:
            self.changed.set()
        return moved

    def lost(self, cell: Cell, now: float) -> None:
        """The connection of a cell's last heartbeat broke: do not write to it from now on.

        Where many break at once and a look at all cells takes its time, one look does for many.
        """
        cell.sees(CellEvent.CONNECTION_BROKE)
        rest_s = len(self.cells) / CELLS_LOOKED_AT_PER_S
        if rest_s < CHEAP_LOOK_S or now - self._looked_at >= rest_s:
            self.refresh(now)
        else:
            self.changed.set()

    def _next_weighing(self) -> float:
        return self._weighed_at + len(self.rings) / RINGS_WEIGHED_PER_S

    def refresh(self, now: float) -> None:
        """Look at all cells again; renew the chooser where something has changed.

        A change of who can be written to counts at once. Free space alone changes with every
        heartbeat and matters little: the more rings there are, the longer it may wait.
        """
        self.changed = trio.Event()
        self._looked_at = now
        timeout_s = self.timeout_s
        views = {number: cell.view(now, timeout_s) for number, cell in self.cells.items()}
        if views == self._views:
            self._is_unweighed = False
            return
        writable = {number for number, view in views.items() if view.writable}
        if writable == self._writable and self._chooser_is_of_these_rings:
            if now < self._next_weighing():
                self._is_unweighed = True
                return
        elif writable != self._writable:
            self._writable = writable
            self._change_seen = False
            self.changed.set()
        self._views = views
        self._weighed_at = now
        self._is_unweighed = False
        self._chooser_is_of_these_rings = True
        self._chooser = Chooser(
            [ring.view() for ring in self.rings.values() if ring.redundancy == self.redundancy],
            views,
            limits.CELL_LEAST_FREE_BYTES,
        )

    def next_refresh(self, now: float) -> float:
        """When to look again unless something changes before: a cell that can be written to may be
        silent then, or the chooser has to follow the free space."""
        heard_at = min((self.cells[each].heard_at for each in self._writable), default=now)
        silent_at = heard_at + self.timeout_s
        return min(silent_at, self._next_weighing()) if self._is_unweighed else silent_at

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

    @property
    def can_be_written(self) -> bool:
        """Whether there is a ring for new segments, as last refreshed."""
        return len(self._chooser) > 0
