"""Orders for cells: issued, and known again.

Source: docs/crypto.md, "Orders".
"""

from __future__ import annotations

from contextlib import suppress

from common.crypto.orders import Order, OrderAction, cell_order_key, claimed_slot, issue, opened
from common.errors import Refused
from common.ids import PeerId, SegmentId
from common.reasons import Refusal
from coordinator.membership import Membership


class CellOrders:
    """Makes orders for cells, each under a key that this cell has from its heartbeats.

    Args:
        membership: the cells and rings.
        swarm_secret: the keys derive from it.
    """

    def __init__(self, membership: Membership, swarm_secret: bytes) -> None:
        self._membership = membership
        self._secret = swarm_secret
        self._keys: dict[int, bytes] = {}

    def key_of(self, cell: int) -> bytes:
        """Return the key under which orders for this cell are made."""
        key = self._keys.get(cell)
        if key is None:
            cell_id = self._membership.cells[cell].cell_id
            key = self._keys[cell] = cell_order_key(self._secret, cell_id)
        return key

    def issue(self, cell: int, order: Order) -> bytes:
        """Return the order for a cell; an empty one for a removed cell, which is asked nothing."""
        if self._membership.cells[cell].is_removed:
            return b""
        return issue(self.key_of(cell), order)

    def check_granted(self, segment: SegmentId, ring: int, order: bytes, caller: PeerId) -> None:
        """Check that a segment was granted to a caller on a ring: grants are not remembered, but
        nobody else can have made an order to write one of its shards.

        Args:
            segment: its id.
            ring: its ring.
            order: for any slot; it may have expired.
            caller: the one it names.

        Raises:
            Refused: ``not_granted``.
        """
        known = self._membership.rings.get(ring)
        slot = claimed_slot(order)
        if known is None or slot >= len(known.cells):
            raise Refused(Refusal.NOT_GRANTED)
        holders = [known.cells[slot]]
        if slot in known.sources:  # it may have been the holder when this was granted
            holders.append(known.sources[slot].cell)
        for holder in holders:
            with suppress(Refused):
                granted = opened(self.key_of(holder), order, caller=caller)
                if granted.action is OrderAction.PUT and granted.segment_id == segment:
                    return
        raise Refused(Refusal.NOT_GRANTED)
