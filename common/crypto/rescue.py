"""Rescue passes: the word of the swarm's key that the holder of a key may read all that cells have.

With every coordinator gone, nobody issues orders. A pass was signed while there was one, and never
expires: cells let its holder read shards and the journal, and nothing else. It is not a bearer
token: it names a key, which the holder proves on each connection.

Source: docs/crypto.md, "Rescue passes"; docs/rescue.md.
"""

from __future__ import annotations

import struct
from typing import Final

from common.crypto.identity import (
    PUBLIC_KEY_BYTES,
    SIGNATURE_BYTES,
    KeyPair,
    peer_id_of,
    signature_holds,
)
from common.crypto.orders import OrderAction
from common.errors import Refused
from common.ids import PEER_ID_BYTES, PeerId, SegmentId
from common.reasons import Refusal

PASS_BYTES: Final = PUBLIC_KEY_BYTES + SIGNATURE_BYTES
_ORDER_VERSION: Final = 2
_ORDER: Final = struct.Struct(">BBBx16s")
RESCUE_ORDER_BYTES: Final = _ORDER.size + PASS_BYTES


def _signed(holder: PeerId) -> bytes:
    assert len(holder) == PEER_ID_BYTES
    return b"alveary rescue pass v1\0" + holder


def issue_pass(swarm_key: KeyPair, holder: PeerId) -> bytes:
    """Return a pass, PASS_BYTES bytes.

    Args:
        swarm_key: the swarm's, which cells pin.
        holder: the one who may read.
    """
    return swarm_key.public_key + swarm_key.sign(_signed(holder))


def pass_holds(rescue_pass: bytes, *, coordinator_id: PeerId, holder: PeerId) -> bool:
    """Return whether this swarm's key gave this pass to this holder.

    Args:
        rescue_pass: what a caller sent.
        coordinator_id: of the swarm's key.
        holder: who the caller proved to be.
    """
    public_key, signature = rescue_pass[:PUBLIC_KEY_BYTES], rescue_pass[PUBLIC_KEY_BYTES:]
    return (
        len(rescue_pass) == PASS_BYTES
        and peer_id_of(public_key) == coordinator_id
        and signature_holds(public_key, _signed(holder), signature)
    )


def rescue_order(rescue_pass: bytes, segment_id: SegmentId, slot: int) -> bytes:
    """Return what the holder of a pass shows in the place of an order to read a shard."""
    return _ORDER.pack(_ORDER_VERSION, OrderAction.GET, slot, segment_id) + rescue_pass


def is_rescue_order(order: bytes) -> bool:
    """Return whether this is in the place of an order, and not one."""
    return len(order) == RESCUE_ORDER_BYTES and order[0] == _ORDER_VERSION


def read_rescue_order(order: bytes) -> tuple[SegmentId, int, bytes]:
    """Read what :func:`rescue_order` made.

    Returns:
        Segment and slot of the shard, and the pass, which is not checked here.

    Raises:
        Refused: ``order_invalid``: it is nothing of the kind; ``order_wrong_action``.
    """
    if not is_rescue_order(order):
        raise Refused(Refusal.ORDER_INVALID)
    _, action, slot, segment_id = _ORDER.unpack_from(order)
    if action != OrderAction.GET:
        raise Refused(Refusal.ORDER_WRONG_ACTION)
    return SegmentId(segment_id), slot, order[_ORDER.size :]
