"""Headers of the frames that carry no request or reply.

Source: docs/protocol.md, "Handshake" and "Calls".
"""

from __future__ import annotations

from itertools import islice
from typing import Annotated, Final

from common import limits
from common.data_classes import dataclass
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
    charter: Annotated[bytes, Max(limits.MAX_CHARTER_BYTES)] = b""
    """The latest charter that it has seen; empty: none."""


@dataclass(frozen=True, slots=True)
class Proof(Record):
    """The caller's answer to a HELLO."""

    version: int
    """The version the connection will use."""
    public_key: Annotated[bytes, Size(32)]
    signature: Annotated[bytes, Size(64)]
    """Ed25519 over :func:`proof_message`."""
    charter: Annotated[bytes, Max(limits.MAX_CHARTER_BYTES)] = b""
    """The latest charter that the caller has seen; empty: none."""


@dataclass(frozen=True, slots=True)
class Ready(Record):
    """The proof holds; calls may begin."""


@dataclass(frozen=True, slots=True)
class Fact(Record):
    """A fact about a failure. ``number``: its value where that is a count; else ``text`` is."""

    name: Annotated[str, Max(limits.MAX_FACT_NAME_CHARACTERS)]
    text: Annotated[str, Max(limits.MAX_FACT_TEXT_CHARACTERS)] = ""
    number: int | None = None

    @classmethod
    def of(cls, name: str, value: object) -> Fact:
        """Return the wire form of a field of an error."""
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= limits.MAX_UINT:
            return cls(name, number=value)
        text = value.hex() if isinstance(value, bytes) else str(value)
        return cls(name, text[: limits.MAX_FACT_TEXT_CHARACTERS])


@dataclass(frozen=True, slots=True)
class Failure(Record):
    """The reason why a call was not (or, for OutcomeUnknown, perhaps not) carried out; also used by
    GOAWAY."""

    wire_code: int
    reason: Annotated[str, Max(64)]
    facts: Annotated[tuple[Fact, ...], Max(limits.MAX_FACTS)] = ()

    @classmethod
    def of(cls, error: AlvearyError) -> Failure:
        """Return the wire form of an error."""
        fields = islice(error.fields.items(), limits.MAX_FACTS)
        facts = tuple(
            Fact.of(name, value)
            for name, value in fields
            if len(name) <= limits.MAX_FACT_NAME_CHARACTERS
        )
        return cls(error.wire_code, error.reason[:64], facts)

    def error(self) -> AlvearyError:
        """Return the error that it stands for, to be raised where the call was made.

        Raises:
            PeerViolation: ``bad_failure``: no such wire code, or a name that is not an identifier.
        """
        kind = BY_WIRE_CODE.get(self.wire_code)
        if kind is None or not all(fact.name.isidentifier() for fact in self.facts):
            raise PeerViolation(Violation.BAD_FAILURE, wire_code=self.wire_code)
        fields = {
            fact.name: fact.text if fact.number is None else fact.number for fact in self.facts
        }
        return kind.received(self.reason, fields)


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
