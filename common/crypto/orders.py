"""Orders: short-lived permissions that coordinators give callers for one shard on one cell.

An order is authenticated under the cell's own order key, so it is good on that cell only. It is not
a bearer token: it names the caller, and the cell knows the caller by its proof.

Source: docs/crypto.md, "Orders"; docs/protocol.md, "Orders".
"""

from __future__ import annotations

import hmac
import struct
from collections.abc import Collection
from enum import IntEnum
from typing import Final, NamedTuple

from blake3 import blake3

from common import limits
from common.crypto.swarm_secret import derive
from common.errors import Refused
from common.ids import PEER_ID_BYTES, SEGMENT_ID_BYTES, PeerId, SegmentId
from common.reasons import Refusal

_BODY: Final = struct.Struct(">BBBxQQQ16s32s")
_MAC_BYTES: Final = 32
ORDER_VERSION: Final = 1
ORDER_BYTES: Final = _BODY.size + _MAC_BYTES


class OrderAction(IntEnum):
    """The action that an order permits."""

    PUT = 1
    GET = 2
    REBUILD = 3
    """As GET, for a cell that fills a missing shard: nobody waits for it."""


_ACTIONS: Final = {action.value: action for action in OrderAction}


class Order(NamedTuple):
    """One permission. ``shard_bytes``: the most a PUT may store; else 0. ``expires``: order
    time in seconds. ``epoch``: order epoch of the coordinator."""

    action: OrderAction
    segment_id: SegmentId
    slot: int
    caller: PeerId
    shard_bytes: int
    expires: int
    epoch: int


def cell_order_key(swarm_secret: bytes, cell: PeerId) -> bytes:
    """The key of all orders for one cell, 32 bytes. Coordinators derive it and send it to the cell.

    Args:
        swarm_secret: at least 32 random bytes that only coordinators have.
        cell: the cell.
    """
    assert len(cell) == PEER_ID_BYTES
    return derive(swarm_secret, b"alveary cell order key v1", salt=cell)


def _mac(order_key: bytes, body: bytes) -> bytes:
    return blake3(body, key=order_key).digest()


def issue(order_key: bytes, order: Order) -> bytes:
    """The order as ORDER_BYTES bytes that the cell of this key will accept."""
    assert 0 <= order.slot < limits.MAX_SLOTS
    assert len(order.segment_id) == SEGMENT_ID_BYTES
    assert len(order.caller) == PEER_ID_BYTES
    body = _BODY.pack(
        ORDER_VERSION,
        order.action,
        order.slot,
        order.shard_bytes,
        order.expires,
        order.epoch,
        order.segment_id,
        order.caller,
    )
    return body + _mac(order_key, body)


def claimed_action(data: bytes) -> int:
    """The action that an order permits, if it is one: to see what to check it for. 0 for what is
    none."""
    return data[1] if len(data) == ORDER_BYTES else 0


def opened(order_key: bytes, data: bytes, *, caller: PeerId) -> Order:
    """The order in ``data`` if it was given to this caller for the cell of this key, at whatever
    time: it shows who calls, and permits nothing.

    Args:
        order_key: of the cell that the order is for.
        data: what the caller sent.
        caller: who the caller proved to be.

    Raises:
        Refused: ``order_invalid`` (not issued under this key: forged, changed, or for another
            cell), ``order_not_yours``.
    """
    if len(data) != ORDER_BYTES:
        raise Refused(Refusal.ORDER_INVALID)
    body = data[: _BODY.size]
    if not hmac.compare_digest(_mac(order_key, body), data[_BODY.size :]):
        raise Refused(Refusal.ORDER_INVALID)
    version, action_code, slot, shard_bytes, expires, epoch, segment, holder = _BODY.unpack(body)
    permitted = _ACTIONS.get(action_code)
    if version != ORDER_VERSION or permitted is None:
        raise Refused(Refusal.ORDER_INVALID)
    if not hmac.compare_digest(holder, caller):
        raise Refused(Refusal.ORDER_NOT_YOURS)
    return Order(permitted, SegmentId(segment), slot, PeerId(holder), shard_bytes, expires, epoch)


def check(
    order_key: bytes,
    data: bytes,
    *,
    actions: Collection[OrderAction],
    caller: PeerId,
    now: float,
    seen_epoch: int,
) -> Order:
    """The order in ``data`` if it permits one of these actions to this caller now.

    Args:
        order_key: of the cell that checks.
        data: what the caller sent.
        actions: any of them permits what the caller wants.
        caller: who the caller proved to be.
        now: order time in seconds, as the cell reckons it (docs/protocol.md, "Order time").
            ORDER_EXPIRY_GRACE_S are granted beyond the expiry.
        seen_epoch: the latest order epoch that the cell has seen.

    Raises:
        Refused: as :func:`opened`; ``order_wrong_action``, ``order_superseded`` (of an earlier
            coordinator) and ``order_expired``: get a new one.
    """
    order = opened(order_key, data, caller=caller)
    if order.action not in actions:
        raise Refused(Refusal.ORDER_WRONG_ACTION)
    if order.epoch < seen_epoch:
        raise Refused(Refusal.ORDER_SUPERSEDED, epoch=order.epoch, seen=seen_epoch)
    if now > order.expires + limits.ORDER_EXPIRY_GRACE_S:
        raise Refused(Refusal.ORDER_EXPIRED, expires=order.expires)
    return order
