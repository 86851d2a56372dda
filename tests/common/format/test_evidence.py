"""Evidence of audits is verified without asking anybody."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from common import limits
from common.crypto.identity import KeyPair
from common.errors import Corrupt
from common.format.evidence import AuditEvidence, read_evidence, sign_evidence
from common.ids import PeerId
from common.reasons import Damage

VECTOR = json.loads((Path(__file__).parents[2] / "vectors" / "evidence.json").read_text())
PAIR = KeyPair.from_private(bytes.fromhex(VECTOR["private_key"]))
DATA, SIGNATURE = bytes.fromhex(VECTOR["evidence"]), bytes.fromhex(VECTOR["signature"])


def read(data: bytes, signature: bytes, pair: KeyPair = PAIR) -> AuditEvidence:
    return read_evidence(data, signature, public_key=pair.public_key, coordinator=PAIR.peer_id)


def test_frozen_evidence_is_read_and_made_again() -> None:
    evidence = read(DATA, SIGNATURE)
    assert repr(evidence) == VECTOR["record"]
    assert sign_evidence(PAIR, evidence) == (DATA, SIGNATURE)


def test_evidence_with_any_byte_changed_is_refused() -> None:
    for at in range(len(DATA)):
        changed = DATA[:at] + bytes([DATA[at] ^ 1]) + DATA[at + 1 :]
        with pytest.raises(Corrupt, match=Damage.EVIDENCE_NOT_AUTHENTIC):
            read(changed, SIGNATURE)
    for at in range(len(SIGNATURE)):
        changed = SIGNATURE[:at] + bytes([SIGNATURE[at] ^ 1]) + SIGNATURE[at + 1 :]
        with pytest.raises(Corrupt, match=Damage.EVIDENCE_NOT_AUTHENTIC):
            read(DATA, changed)


def test_evidence_that_somebody_else_signed_is_refused() -> None:
    stranger = KeyPair.from_private(bytes(32))
    data, signature = sign_evidence(stranger, read(DATA, SIGNATURE))
    with pytest.raises(Corrupt, match=Damage.EVIDENCE_NOT_AUTHENTIC):
        read(data, signature, stranger)
    with pytest.raises(Corrupt, match=Damage.EVIDENCE_NOT_AUTHENTIC):
        read_evidence(data, signature, public_key=PAIR.public_key, coordinator=PeerId(PAIR.peer_id))


def test_evidence_of_another_version_is_not_guessed_at() -> None:
    newer = replace(read(DATA, SIGNATURE), version=2)
    with pytest.raises(Corrupt, match=Damage.EVIDENCE_NOT_UNDERSTOOD):
        read(*sign_evidence(PAIR, newer))


def test_the_largest_evidence_fits_its_limit() -> None:
    most = limits.MAX_STRIPES_PER_SEGMENT
    large = replace(
        read(DATA, SIGNATURE),
        leaves=bytes(32 * most),
        fresh_leaves=bytes(32 * most),
        units=(limits.MAX_UINT,) * limits.MAX_AUDIT_UNITS,
        opened=bytes(32 * limits.MAX_AUDIT_UNITS),
        finding="x" * limits.MAX_LABEL_CHARACTERS,
    )
    assert len(sign_evidence(PAIR, large)[0]) <= limits.MAX_EVIDENCE_BYTES
