"""Headers of the frames that carry no request or reply.

Source: docs/protocol.md, "Handshake" and "Calls".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final

from common import limits
from common.errors import BY_WIRE_CODE, AlvearyError, PeerViolation
from common.ids import PEER_ID_BYTES, TENANT_ID_BYTES, PeerId, TenantId
from common.reasons import Violation
from common.wire.records import Max, Record, Size

PROTOCOL_VERSION: Final = 1
PROOF_CONTEXT: Final = b"alveary native protocol 1: caller proof\0"
TENANT_CONTEXT: Final = b"alveary native protocol 1: tenant proof\0"


@dataclass(frozen=True, slots=True)
class Hello(Record):
    """First frame of a connection, from the answerer."""

    version: int
    """The newest protocol version it speaks."""
    nonce: Annotated[bytes, Size(32)]
    """Fresh for every connection."""
    max_calls: int
    """The number of calls that it takes at a time on this connection."""


@dataclass(frozen=True, slots=True)
class Proof(Record):
    """The caller's answer to a HELLO."""

    version: int
    """The version the connection will use."""
    public_key: Annotated[bytes, Size(32)]
    signature: Annotated[bytes, Size(64)]
    """Ed25519 over :func:`proof_message`."""


@dataclass(frozen=True, slots=True)
class Ready(Record):
    """The proof holds; calls may begin."""


@dataclass(frozen=True, slots=True)
class Failure(Record):
    """The reason why a call was not (or, for OutcomeUnknown, perhaps not) carried out; also used by
    GOAWAY."""

    wire_code: int
    reason: Annotated[str, Max(64)]
    facts: Annotated[str, Max(limits.MAX_FACTS_CHARACTERS)] = ""

    @classmethod
    def of(cls, error: AlvearyError) -> Failure:
        """Return the wire form of an error."""
        facts = ", ".join(f"{name}={value!r}" for name, value in error.fields.items())
        return cls(error.wire_code, error.reason[:64], facts[: limits.MAX_FACTS_CHARACTERS])

    def error(self) -> AlvearyError:
        """Return the error that it stands for, to be raised where the call was made.

        Raises:
            PeerViolation: ``bad_failure``: no such wire code.
        """
        kind = BY_WIRE_CODE.get(self.wire_code)
        if kind is None:
            raise PeerViolation(Violation.BAD_FAILURE, wire_code=self.wire_code)
        return kind.received(self.reason, {"facts": self.facts} if self.facts else None)


def proof_message(server_key: bytes, nonce: bytes) -> bytes:
    """Return the message that a caller signs: bound to this server's key and to this connection's
    nonce."""
    assert len(server_key) == len(nonce) == 32
    return PROOF_CONTEXT + server_key + nonce


def tenant_message(channel: bytes, caller: PeerId, tenant_id: TenantId) -> bytes:
    """Return the message that a caller signs with a tenant's key to act for the tenant: bound to
    the server's key and the nonce of one connection, and to the caller who proved its own key on
    it.

    Args:
        channel: the server's key and the connection's nonce, 64 bytes.
    """
    assert (len(channel), len(caller), len(tenant_id)) == (64, PEER_ID_BYTES, TENANT_ID_BYTES)
    return TENANT_CONTEXT + channel + caller + tenant_id
