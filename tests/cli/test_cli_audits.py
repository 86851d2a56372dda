"""`alveary cell audits` shows evidence that it has verified."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cli.audits import describe, verified
from common.crypto.charter import CharteredCoordinator, sign_charter
from common.crypto.identity import KeyPair
from common.errors import Corrupt
from common.format.evidence import read_evidence
from common.reasons import Damage

VECTOR = json.loads((Path(__file__).parents[1] / "vectors" / "evidence.json").read_text())
PAIR = KeyPair.from_private(bytes.fromhex(VECTOR["private_key"]))
EVIDENCE = read_evidence(
    bytes.fromhex(VECTOR["evidence"]),
    bytes.fromhex(VECTOR["signature"]),
    public_key=PAIR.public_key,
    coordinator=PAIR.peer_id,
)


def answer(**changed: Any) -> dict[str, Any]:
    return {
        "cell_id": EVIDENCE.cell_id.hex(),
        "trust": "warned",
        "trust_reason": "1 of the last 7 audits failed: it answered with other bytes",
        "audits": 7,
        "failures": 1,
        "coordinator_id": PAIR.peer_id.hex(),
        "coordinator_public_key": PAIR.public_key.hex(),
        "charter": "",
        "evidence": [
            {"finding": "passed", "record": VECTOR["evidence"], "signature": VECTOR["signature"]}
        ],
        **changed,
    }


def test_what_is_shown_is_what_was_signed() -> None:
    text = describe(answer(), verified(answer()))
    assert "wrong_unit" in text  # whatever stands beside the record
    assert "2026-09-21 14:13:20" in text
    assert f"{EVIDENCE.segment_id.hex()}/3" in text
    assert "warned: 1 of the last 7 audits failed" in text
    assert "7 remembered, 1 failed" in text


@pytest.mark.parametrize(
    "changed",
    [
        {"cell_id": "00" * 32},
        {"coordinator_id": "00" * 32},
        {"coordinator_public_key": KeyPair.from_private(bytes(32)).public_key.hex()},
    ],
)
def test_evidence_on_another_cell_or_of_another_coordinator_is_refused(
    changed: dict[str, Any],
) -> None:
    with pytest.raises(Corrupt, match=Damage.EVIDENCE_NOT_AUTHENTIC):
        verified(answer(**changed))


SWARM_KEY = KeyPair.from_private(b"s" * 32)
OTHER = KeyPair.from_private(b"o" * 32)


def chartered(*keys: KeyPair, signer: KeyPair = SWARM_KEY, revoked: int = -1) -> dict[str, Any]:
    entries = [
        CharteredCoordinator(number, f"c{number}", each.public_key, number == revoked)
        for number, each in enumerate(keys, 1)
    ]
    charter = sign_charter(signer, 3, entries).data.hex()
    return answer(coordinator_id=SWARM_KEY.peer_id.hex(), charter=charter)


def test_evidence_of_any_coordinator_of_the_charter_holds_also_once_that_is_revoked() -> None:
    assert verified(chartered(OTHER, PAIR)) == [EVIDENCE]
    assert verified(chartered(OTHER, PAIR, revoked=2)) == [EVIDENCE]
    for found in (chartered(OTHER), chartered(OTHER, PAIR, signer=OTHER)):
        with pytest.raises(Corrupt, match=Damage.EVIDENCE_NOT_AUTHENTIC):
            verified(found)


def test_a_cell_that_was_never_audited_has_no_table() -> None:
    text = describe(answer(evidence=[], trust="good", trust_reason="", audits=0, failures=0), [])
    assert text.splitlines()[1:] == ["trust    good", "audits   0 remembered, 0 failed"]
