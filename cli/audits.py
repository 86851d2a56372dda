"""``alveary cell audits``: what audits of a cell have found, with the evidence verified here.

Source: docs/repair.md, "Evidence".
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from cli.operators import access_options, ask
from cli.report import print_result, table
from common.crypto.charter import read_charter
from common.crypto.identity import peer_id_of
from common.errors import Corrupt, PeerViolation
from common.format.evidence import AuditEvidence, is_signed_by, read_evidence
from common.ids import PeerId
from common.reasons import Damage


def verified(answer: dict[str, Any]) -> list[AuditEvidence]:
    """Return the evidence of an answer, each record verified.

    Raises:
        Corrupt: ``evidence_not_authentic``, also of a record about another cell;
            ``evidence_not_understood``.
    """
    keys = _keys(answer)
    found = []
    for each in answer["evidence"]:
        record, signature = bytes.fromhex(each["record"]), bytes.fromhex(each["signature"])
        # Its coordinator may be another one than that which answers, and may be gone.
        signer = next((key for key in keys if is_signed_by(key, record, signature)), None)
        if signer is None:
            raise Corrupt(Damage.EVIDENCE_NOT_AUTHENTIC)
        evidence = read_evidence(
            record, signature, public_key=signer, coordinator=peer_id_of(signer)
        )
        if evidence.cell_id.hex() != answer["cell_id"]:
            raise Corrupt(Damage.EVIDENCE_NOT_AUTHENTIC)
        found.append(evidence)
    return found


def _keys(answer: dict[str, Any]) -> list[bytes]:
    """Return the keys that coordinators of the swarm have, or had before they were revoked.

    Raises:
        Corrupt: ``evidence_not_authentic``: the answer proves none.
    """
    swarm_key_id = PeerId(bytes.fromhex(answer["coordinator_id"]))
    if answer["charter"]:
        try:
            charter = read_charter(bytes.fromhex(answer["charter"]), swarm_key_id)
        except PeerViolation as error:
            raise Corrupt(Damage.EVIDENCE_NOT_AUTHENTIC) from error
        return [each.public_key for each in charter.coordinators]
    public_key = bytes.fromhex(answer["coordinator_public_key"])
    return [public_key] if peer_id_of(public_key) == swarm_key_id else []


def describe(answer: dict[str, Any], evidence: list[AuditEvidence]) -> str:
    """Return what audits of a cell have found, for people."""
    trust = f"trust    {answer['trust']}"
    if answer["trust_reason"]:
        trust += f": {answer['trust_reason']}"
    counts = f"audits   {answer['audits']} remembered, {answer['failures']} failed"
    rows = [
        [
            datetime.fromtimestamp(each.audited_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S"),
            each.finding,
            f"{each.segment_id.hex()}/{each.slot}",
            " ".join(map(str, each.units)),
        ]
        for each in evidence
    ]
    shown = table(["AUDITED (UTC)", "FINDING", "SHARD", "UNITS"], rows) if rows else ""
    return "\n".join(
        part for part in (f"cell {answer['cell_id'][:12]}", trust, counts, shown) if part
    )


@click.command()
@click.argument("cell_id", metavar="CELL")
@access_options
def audits(cell_id: str, operator: Path | None, data: Path | None, as_json: bool) -> None:
    """Show what audits of a cell have found; each record's signature is verified.

    CELL is its id, or the first digits of it.
    """
    answer = ask(operator, data, "GET", f"/v1/cells/{cell_id}/audits")
    evidence = verified(answer)
    print_result(answer, as_json=as_json, text=describe(answer, evidence))
