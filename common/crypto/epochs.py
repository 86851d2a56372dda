"""Marks of order epochs: the number of a coordinator's life on its store, authenticated.

Orders and answers of an earlier epoch than a cell has seen are refused by it. A coordinator sends
cells the mark of its epoch, and they send the latest to whichever coordinator answers later. So one
whose store was put back from an older copy learns what it has to go beyond. A mark is authenticated
under a key that only coordinators have: a cell can repeat one that it was sent, and cannot make one
up.

Source: docs/protocol.md, "Order epochs"; docs/crypto.md, "Key tree".
"""

from __future__ import annotations

import hmac
import struct
from typing import Final

from blake3 import blake3

from common import limits
from common.crypto.swarm_secret import derive
from common.errors import PeerViolation
from common.reasons import Violation

_BODY: Final = struct.Struct(">BxxxxxxxQ")
_MAC_BYTES: Final = 32
MARK_VERSION: Final = 1
MARK_BYTES: Final = _BODY.size + _MAC_BYTES


def epoch_key(swarm_secret: bytes) -> bytes:
    """The key of all marks of a swarm, 32 bytes.

    Args:
        swarm_secret: at least 32 random bytes that only coordinators have.
    """
    return derive(swarm_secret, b"alveary order epoch key v1")


def issue(key: bytes, epoch: int) -> bytes:
    """The mark of an epoch as MARK_BYTES bytes."""
    assert 0 < epoch <= limits.MAX_UINT
    body = _BODY.pack(MARK_VERSION, epoch)
    return body + blake3(body, key=key).digest()


def read(data: bytes) -> int:
    """Parse a mark, which the reader trusts only as far as the coordinator that sent it.

    Args:
        data: the mark, or nothing.

    Returns:
        The epoch; 0 for nothing.

    Raises:
        PeerViolation: ``bad_epoch_mark``: these are not the bytes of a mark.
    """
    if not data:
        return 0
    if len(data) != MARK_BYTES or data[0] != MARK_VERSION:
        raise PeerViolation(Violation.BAD_EPOCH_MARK)
    _, epoch = _BODY.unpack_from(data)
    if not 0 < epoch <= limits.MAX_UINT:
        raise PeerViolation(Violation.BAD_EPOCH_MARK)
    return int(epoch)


def is_genuine(key: bytes, data: bytes) -> bool:
    """Return whether a coordinator of this swarm issued these bytes."""
    if len(data) != MARK_BYTES or data[0] != MARK_VERSION:
        return False
    body = data[: _BODY.size]
    return hmac.compare_digest(blake3(body, key=key).digest(), data[_BODY.size :])
