"""Operations on audits: the evidence on a cell.

Source: docs/repair.md, "Evidence".
"""

from __future__ import annotations

from collections.abc import Mapping

from common.format.evidence import AuditEvidence
from common.ports import Store
from coordinator.api.routes import ApiRoute, Json
from coordinator.membership import Membership
from coordinator.secrets import Keys
from coordinator.store import audits


class AuditOperations:
    """Reports what audits of cells have found."""

    def __init__(self, store: Store, membership: Membership, keys: Keys) -> None:
        self._store = store
        self._membership = membership
        self._keys = keys

    def routes(self) -> tuple[ApiRoute, ...]:
        """Return the table of these operations."""
        return (
            ApiRoute(
                "GET",
                "/v1/cells/{cell_id}/audits",
                "The latest audits of a cell, with signed evidence.",
                self._tell,
                {},
            ),
        )

    async def _tell(self, names: Mapping[str, str], body: Json) -> Json:
        cell = self._membership.find(names["cell_id"])
        known, found = await self._store.read(
            lambda sql: (audits.known_of(sql, cell.cell), audits.evidence_of(sql, cell.cell))
        )
        trust, reason = self._membership.trust(cell)
        return {
            "cell_id": cell.cell_id.hex(),
            "trust": trust.value,
            "trust_reason": reason,
            "audits": known.reputation.audits,
            "failures": known.reputation.failures,
            "coordinator_id": self._keys.swarm_key_id.hex(),
            "coordinator_public_key": self._keys.identity.public_key.hex(),
            "charter": self._keys.charters.shown.hex(),
            "evidence": [_row(*each) for each in found],
        }


def _row(data: bytes, signature: bytes) -> Json:
    evidence = AuditEvidence.unpack(data)
    return {
        "finding": evidence.finding,
        "audited_ms": evidence.audited_ms,
        "segment_id": evidence.segment_id.hex(),
        "slot": evidence.slot,
        "record": data.hex(),
        "signature": signature.hex(),
    }
