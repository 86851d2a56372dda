"""Positions: how far the history of a coordinator's store had come, authenticated.

A coordinator sends its position to cells and gateways, which remember the furthest and send it to
whichever coordinator answers later. So a store that is older than what its swarm has seen is found
out. A position is authenticated under a key that only coordinators have: a cell or a gateway can
repeat a position that it was sent, and cannot make one up.

Source: docs/placement.md, "The store's history"; docs/protocol.md, "Positions".
"""

from __future__ import annotations

import hmac
import struct
from typing import Final

from blake3 import blake3

from common.crypto.swarm_secret import derive
from common.data_classes import dataclass
from common.errors import PeerViolation
from common.reasons import Violation

_BODY: Final = struct.Struct(">BxxxIQQ16s")
_MAC_BYTES: Final = 32
POSITION_VERSION: Final = 1
POSITION_BYTES: Final = _BODY.size + _MAC_BYTES
RUN_ID_BYTES: Final = 16


@dataclass(frozen=True, slots=True)
class Position:
    """A point of a store's history.

    ``run``: the coordinator's start, counted from 1. ``run_id``: drawn at that start, so that two
    copies of one store are distinguishable once both have been started. ``begun``: the number of
    the transaction that began the run. ``commit``: of the last durable transaction.
    """

    run: int
    run_id: bytes
    begun: int
    commit: int


def position_key(swarm_secret: bytes) -> bytes:
    """The key of all positions of a swarm, 32 bytes.

    Args:
        swarm_secret: at least 32 random bytes that only coordinators have.
    """
    return derive(swarm_secret, b"alveary store position key v1")


def issue(key: bytes, position: Position) -> bytes:
    """The position as POSITION_BYTES bytes."""
    assert len(position.run_id) == RUN_ID_BYTES
    body = _BODY.pack(
        POSITION_VERSION, position.run, position.begun, position.commit, position.run_id
    )
    return body + blake3(body, key=key).digest()


def read(data: bytes) -> Position:
    """Parse a position, which the reader trusts only as far as the coordinator that sent it.

    Raises:
        PeerViolation: ``bad_position``: these are not the bytes of a position.
    """
    if len(data) != POSITION_BYTES or data[0] != POSITION_VERSION:
        raise PeerViolation(Violation.BAD_POSITION)
    _, run, begun, commit, run_id = _BODY.unpack_from(data)
    return Position(run, run_id, begun, commit)


def is_genuine(key: bytes, data: bytes) -> bool:
    """Return whether a coordinator of this swarm issued these bytes."""
    if len(data) != POSITION_BYTES or data[0] != POSITION_VERSION:
        return False
    body = data[: _BODY.size]
    return hmac.compare_digest(blake3(body, key=key).digest(), data[_BODY.size :])
