"""Places of segments in replies: which cells, and an order for each.

Source: docs/crypto.md, "Orders".
"""

from __future__ import annotations

from collections.abc import Sequence

import trio

from common import limits
from common.crypto.orders import Order, OrderAction
from common.ids import PeerId, SegmentId
from common.wire.messages.base import Endpoint
from common.wire.messages.writing import SegmentGrant, SegmentPlace
from coordinator.membership import Membership
from coordinator.orders import CellOrders
from coordinator.policy.placement import Redundancy
from coordinator.store.order_time import OrderTime
from coordinator.store.rings import Ring
from coordinator.store.segments import Stored


class ReplyPlaces:
    """The places of the segments of one reply, in a table that names each cell once.

    Args:
        caller: the one that the orders name.
        expires: the time at which the orders expire.
    """

    def __init__(
        self, membership: Membership, orders: CellOrders, caller: PeerId, expires: int
    ) -> None:
        self._membership = membership
        self._orders = orders
        self._caller = caller
        self._expires = expires
        self._rows: dict[int, int] = {}
        self._table: list[Endpoint] = []

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """The cells that the places refer to by their index."""
        return tuple(self._table)

    def _row(self, cell: int) -> int:
        found = self._rows.get(cell)
        if found is None:
            found = self._rows[cell] = len(self._table)
            self._table.append(self._membership.endpoint(cell))
        return found

    def grant(
        self, segment: SegmentId, ring: Ring, home: Redundancy, shard_bytes: int
    ) -> SegmentGrant:
        """Grant the slots of a ring for a new segment.

        Args:
            home: the home class of the segment.
            shard_bytes: the most that each cell may be sent.
        """
        orders = tuple(
            self._orders.issue(
                cell,
                Order(
                    OrderAction.PUT,
                    segment,
                    slot,
                    self._caller,
                    shard_bytes,
                    self._expires,
                    self._orders.epoch,
                ),
            )
            for slot, cell in enumerate(ring.cells)
        )
        rows = tuple(self._row(cell) for cell in ring.cells)
        k, n, quorum = ring.redundancy.k, ring.redundancy.n, ring.redundancy.quorum
        return SegmentGrant(
            segment, ring.ring, ring.revision, k, n, quorum, home.k, home.n, rows, orders
        )

    def stored(self, segment: Stored, action: OrderAction = OrderAction.GET) -> SegmentPlace:
        """Return where a segment is, with orders to read all shards that somebody has: those that a
        slot's holder lacks are where its source is."""
        ring = self._membership.rings[segment.ring]
        holders = [segment.missing.get(slot, cell) for slot, cell in enumerate(ring.cells)]
        orders = tuple(
            b""
            if holder is None
            else self._orders.issue(
                holder,
                Order(
                    action,
                    segment.segment_id,
                    slot,
                    self._caller,
                    0,
                    self._expires,
                    self._orders.epoch,
                ),
            )
            for slot, holder in enumerate(holders)
        )
        return SegmentPlace(
            segment.segment_id,
            ring.redundancy.k,
            ring.redundancy.n,
            segment.segment_bytes,
            segment.unit_bytes,
            segment.shard_bytes,
            segment.roots,
            tuple(
                self._row(cell if holder is None else holder)
                for holder, cell in zip(holders, ring.cells, strict=True)
            ),
            orders,
        )

    def at_home(self, segment: Stored, former: Ring, ring: Ring, roots: bytes) -> SegmentPlace:
        """Return where a segment is going to be, in its home class: nothing can be read there yet.

        Args:
            former: the ring where it is.
            ring: the ring where it is going to be.
            roots: of its shards there.
        """
        times = ring.redundancy.k // former.redundancy.k
        return SegmentPlace(
            segment.segment_id,
            ring.redundancy.k,
            ring.redundancy.n,
            segment.segment_bytes,
            segment.unit_bytes // times,
            segment.shard_bytes // times,
            roots,
            tuple(self._row(cell) for cell in ring.cells),
            (b"",) * len(ring.cells),
        )


class Places:
    """Names places to callers."""

    def __init__(self, membership: Membership, orders: CellOrders, order_time: OrderTime) -> None:
        self._membership = membership
        self._orders = orders
        self._order_time = order_time

    def reply_to(self, caller: PeerId) -> ReplyPlaces:
        """Return an empty table of places for a reply to a caller."""
        expires = self._order_time.expiry(trio.current_time(), limits.ORDER_LIFETIME_S)
        return ReplyPlaces(self._membership, self._orders, caller, expires)

    def stored(
        self, segments: Sequence[Stored], caller: PeerId
    ) -> tuple[tuple[SegmentPlace, ...], tuple[Endpoint, ...]]:
        """Return the places of stored segments, and the cells that these refer to."""
        if not segments:
            return (), ()  # no order is issued, so there is no order time to keep
        reply = self.reply_to(caller)
        return tuple(reply.stored(segment) for segment in segments), reply.endpoints
