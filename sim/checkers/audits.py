"""Audits find who cheats, and nobody else: what the signed evidence of a run says."""

from __future__ import annotations

from collections import Counter
from typing import Final

from common.format.evidence import AuditEvidence
from common.ids import PeerId
from coordinator.policy.audit import Finding
from sim.checkers.tables import store_rows
from sim.cluster import Cluster

_HONEST: Final = frozenset({Finding.PASSED, Finding.LACKS, Finding.UNANSWERED})
"""Findings on a cell that does what it can: its disk may rot, and its network may fail."""


def check_audits(cluster: Cluster, hollow: PeerId) -> list[str]:
    """Violations, readable.

    Args:
        hollow: the cell that had none of its shards when it committed.
    """
    found = [
        AuditEvidence.unpack(data)
        for (data,) in store_rows(cluster, "SELECT evidence FROM audit_evidence")
    ]
    of_hollow = Counter(each.finding for each in found if each.cell_id == hollow)
    violations = []
    if of_hollow[Finding.PASSED]:
        violations.append(f"a cell that held nothing passed {of_hollow[Finding.PASSED]} audits")
    if not of_hollow:
        violations.append("a cell that held nothing was never audited")
    return violations + [
        f"an audit of an honest cell found {each.finding}"
        for each in found
        if each.cell_id != hollow and each.finding not in _HONEST
    ]
