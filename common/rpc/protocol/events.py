"""The events that a connection reports to its shell: one class for each.

Source: docs/protocol.md, "Calls".
"""

from __future__ import annotations

from typing import TypeAlias

from common.data_classes import dataclass
from common.errors import AlvearyError
from common.ids import PeerId
from common.wire.messages.base import Reply, Request


@dataclass(slots=True)
class Greeted:
    """Caller: the answerer said HELLO, and showed a charter or nothing. Sign ``message`` and send
    the proof."""

    message: bytes
    charter: bytes = b""


@dataclass(slots=True)
class Accepted:
    """Caller: the proof holds; calls may begin."""


@dataclass(slots=True)
class Rejected:
    """Caller: the answerer will not have us (FAILURE instead of READY, or GOAWAY before it).
    The connection is closed."""

    error: AlvearyError


@dataclass(slots=True)
class Proved:
    """Answerer: the caller holds the key behind ``peer_id``, and showed a charter or nothing. Send
    READY."""

    peer_id: PeerId
    charter: bytes = b""


@dataclass(slots=True)
class Unproved:
    """Answerer: the proof does not hold. Send the refusal and close."""

    error: AlvearyError


@dataclass(slots=True)
class Called:
    """Answerer: a request to carry out and to answer exactly once."""

    call_id: int
    request: Request
    payload: memoryview
    size: int
    """Header and payload bytes of its frame."""


@dataclass(slots=True)
class CalledUnknown:
    """Answerer: a request of a code this version does not know. Answer with a failure."""

    call_id: int
    code: int


@dataclass(slots=True)
class Cancelled:
    """Answerer: nobody waits for this call any more. It is still to be answered, once."""

    call_id: int


@dataclass(slots=True)
class Answered:
    """Caller: the reply to a call."""

    call_id: int
    reply: Reply
    payload: memoryview


@dataclass(slots=True)
class Failed:
    """Caller: a call failed at the answerer."""

    call_id: int
    error: AlvearyError


@dataclass(slots=True)
class GoingAway:
    """The other side takes (or makes) no new calls; those begun are still answered, except when
    the error is a PeerViolation: then nothing more comes."""

    error: AlvearyError


Event: TypeAlias = (
    Greeted
    | Accepted
    | Rejected
    | Proved
    | Unproved
    | Called
    | CalledUnknown
    | Cancelled
    | Answered
    | Failed
    | GoingAway
)
