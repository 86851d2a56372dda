"""Orders for cells: issued, and known again.

Source: docs/crypto.md, "Orders".
"""

from __future__ import annotations

from common.crypto.orders import Order, OrderAction, cell_order_key, issue, opened
from common.errors import Refused
from common.ids import PeerId, SegmentId
from common.reasons import Refusal
from coordinator.membership import Membership
from coordinator.store.order_epoch import OrderEpoch


class CellOrders:
    """Makes orders for cells, each under a key that this cell has from its heartbeats.

    Args:
        membership: the cells and rings.
        swarm_secret: the keys derive from it.
        epoch: of this coordinator; all orders name it.
    """

    def __init__(self, membership: Membership, swarm_secret: bytes, epoch: OrderEpoch) -> None:
        self._membership = membership
        self._secret = swarm_secret
        self._epoch = epoch
        self._keys: dict[PeerId, bytes] = {}

    def key_of(self, cell: int) -> bytes:
        """Return the key under which orders for this cell are made."""
        return self._key_for(self._membership.cells[cell].cell_id)

    def _key_for(self, cell_id: PeerId) -> bytes:
        key = self._keys.get(cell_id)
        if key is None:
            key = self._keys[cell_id] = cell_order_key(self._secret, cell_id)
        return key

    @property
    def epoch(self) -> int:
        """Return the order epoch of this coordinator."""
        return self._epoch.epoch

    def issue(self, cell: int, order: Order) -> bytes:
        """Return the order for a cell; an empty one for a removed cell, which is asked nothing."""
        if self._membership.cells[cell].is_removed:
            return b""
        return issue(self.key_of(cell), order)

    def check_granted(
        self, segment: SegmentId, ring: int, order: bytes, cell: PeerId, caller: PeerId
    ) -> None:
        """Check that a segment was granted to a caller: grants are not remembered, but nobody else
        can have made an order to write one of its shards.

        Args:
            segment: its id.
            ring: its ring.
            order: for any slot; it may have expired.
            cell: the cell that the order is for, whether it holds that slot now or not.
            caller: the one that the order names.

        Raises:
            Refused: ``not_granted``.
        """
        if ring not in self._membership.rings or not self._membership.knows(cell):
            raise Refused(Refusal.NOT_GRANTED)
        try:
            granted = opened(self._key_for(cell), order, caller=caller)
        except Refused as error:
            raise Refused(Refusal.NOT_GRANTED) from error
        if granted.action is not OrderAction.PUT or granted.segment_id != segment:
            raise Refused(Refusal.NOT_GRANTED)
