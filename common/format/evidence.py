"""Evidence of an audit: what was asked, what the cell answered and what followed, signed by the
coordinator.

Source: docs/repair.md, "Evidence".
"""

from __future__ import annotations

from typing import Annotated, Final

from common import limits
from common.crypto.identity import peer_id_of, signature_holds
from common.data_classes import dataclass
from common.errors import Corrupt, PeerViolation
from common.ids import PeerId
from common.ports import Identity
from common.reasons import Damage
from common.wire.messages.base import Digest, Id16, Label, Peer, Segment
from common.wire.records import Max, Record

EVIDENCE_VERSION: Final = 1
_DOMAIN: Final = b"alveary audit evidence v1\0"


@dataclass(frozen=True, slots=True)
class AuditEvidence(Record):
    """The facts of one audit.

    ``audited_ms``: unix milliseconds by the coordinator's clock. ``root``: of the shard, as
    committed by its writer. ``commitment``: the fresh root that the cell named; zeros: it named
    none. ``units``: what it was asked to open; ``opened``: BLAKE3 of each unit as it came, joined.
    ``leaves``, ``fresh_leaves``: as they came; empty where the audit passed. ``finding``: a word of
    docs/repair.md, "Findings".
    """

    version: int
    audit_id: Id16
    cell_id: Peer
    audited_ms: int
    segment_id: Segment
    slot: int
    unit_bytes: int
    shard_bytes: int
    root: Digest
    nonce: Digest
    commitment: Digest
    units: Annotated[tuple[int, ...], Max(limits.MAX_AUDIT_UNITS)]
    opened: Annotated[bytes, Max(32 * limits.MAX_AUDIT_UNITS)]
    leaves: Annotated[bytes, Max(32 * limits.MAX_STRIPES_PER_SEGMENT)]
    fresh_leaves: Annotated[bytes, Max(32 * limits.MAX_STRIPES_PER_SEGMENT)]
    finding: Label


def sign_evidence(identity: Identity, evidence: AuditEvidence) -> tuple[bytes, bytes]:
    """Return the bytes of evidence, and the coordinator's signature of them."""
    data = evidence.pack()
    assert len(data) <= limits.MAX_EVIDENCE_BYTES
    return data, identity.sign(_DOMAIN + data)


def is_signed_by(public_key: bytes, data: bytes, signature: bytes) -> bool:
    """Return whether a coordinator with this key signed the bytes of evidence."""
    return signature_holds(public_key, _DOMAIN + data, signature)


def read_evidence(
    data: bytes, signature: bytes, *, public_key: bytes, coordinator: PeerId
) -> AuditEvidence:
    """Return signed evidence. No coordinator needs to be asked.

    Args:
        public_key: of the one that signed, 32 raw bytes.
        coordinator: the id of a key that the swarm's charter names, or named.

    Raises:
        Corrupt: ``evidence_not_authentic``: that coordinator did not sign these bytes;
            ``evidence_not_understood``: they are of another version.
    """
    is_its_key = peer_id_of(public_key) == coordinator
    if not is_its_key or not is_signed_by(public_key, data, signature):
        raise Corrupt(Damage.EVIDENCE_NOT_AUTHENTIC)
    try:
        evidence = AuditEvidence.unpack(data)
    except PeerViolation as error:
        raise Corrupt(Damage.EVIDENCE_NOT_UNDERSTOOD) from error
    if evidence.version != EVIDENCE_VERSION:
        raise Corrupt(Damage.EVIDENCE_NOT_UNDERSTOOD)
    return evidence
