"""Audits in the store: the shards that may be asked about, reputation, evidence.

Source: docs/repair.md, "Audits".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeAlias

from common import limits
from common.data_classes import dataclass
from common.ids import DIGEST_BYTES, SegmentId
from common.ports import Sql
from common.wire.messages.base import ShardName
from coordinator.policy.audit import Finding, SampledShard, Subject
from coordinator.policy.reputation import Reputation, Thresholds, Trust, TrustRecord, after, explain
from coordinator.store import cells, missing
from coordinator.store.cells import Decisions

Start: TypeAlias = tuple[int, bytes]
"""A place in the shards of a cell: the index of a slot, and the segment behind which to go on."""
FIRST: Final[Start] = (0, b"")


def page(
    sql: Sql, slots: Sequence[tuple[int, int]], start: Start, limit: int
) -> tuple[list[SampledShard], Start | None]:
    """Shards that slots are not known to lack, by slot and segment.

    Args:
        slots: ring and slot of each.
        start: where to begin.
        limit: how many at most.

    Returns:
        The shards, and where to go on; None: that was all.
    """
    found: list[SampledShard] = []
    first, behind = start
    for index in range(first, len(slots)):
        ring, slot = slots[index]
        room = limit - len(found)
        rows = sql.execute(
            "SELECT s.segment_id, s.unit_bytes, s.shard_bytes FROM segments s"
            " WHERE s.ring = ? AND s.segment_id > ? AND NOT EXISTS (SELECT 1 FROM missing_shards m"
            " WHERE m.segment_id = s.segment_id AND m.slot = ?) ORDER BY s.segment_id LIMIT ?",
            (ring, behind, slot, room),
        ).fetchall()
        found += [
            SampledShard(SegmentId(segment_id), slot, unit_bytes, shard_bytes)
            for segment_id, unit_bytes, shard_bytes in rows
        ]
        if len(rows) == room:
            return found, (index, rows[-1][0])
        behind = b""
    return found, None


@dataclass(frozen=True, slots=True)
class AuditedShard:
    """A shard that a cell is to hold. ``is_missing``: it is known to lack it."""

    subject: Subject
    is_missing: bool


def find(sql: Sql, cell: int, segment_id: SegmentId, slot: int) -> AuditedShard | None:
    """A shard as committed; None if the cell is not to hold it."""
    row = sql.execute(
        "SELECT s.unit_bytes, s.shard_bytes, s.roots, m.slot FROM segments s"
        " JOIN ring_slots r ON r.ring = s.ring AND r.slot = ? AND r.cell = ?"
        " LEFT JOIN missing_shards m ON m.segment_id = s.segment_id AND m.slot = r.slot"
        " WHERE s.segment_id = ?",
        (slot, cell, segment_id),
    ).fetchone()
    if row is None:
        return None
    unit_bytes, shard_bytes, roots, missing_slot = row
    root = roots[DIGEST_BYTES * slot : DIGEST_BYTES * (slot + 1)]
    subject = Subject(segment_id, slot, unit_bytes, shard_bytes, root)
    return AuditedShard(subject, missing_slot is not None)


# --- reputation ---------------------------------------------------------------------------------


def load(sql: Sql) -> dict[int, TrustRecord]:
    """The reputation of each cell that was audited, by its number."""
    return {
        row[0]: _known(*row[1:])
        for row in sql.execute("SELECT cell, trust, recent, audits, reason FROM reputations")
    }


def _known(trust: str, recent: int, audits: int, reason: str) -> TrustRecord:
    return TrustRecord(Reputation(Trust(trust), recent, audits), reason)


def known_of(sql: Sql, cell: int) -> TrustRecord:
    """The reputation of a cell."""
    row = sql.execute(
        "SELECT trust, recent, audits, reason FROM reputations WHERE cell = ?", (cell,)
    ).fetchone()
    return TrustRecord() if row is None else _known(*row)


def forgive(sql: Sql, cell: int) -> None:
    """Forget what the audits of a cell found."""
    sql.execute("DELETE FROM reputations WHERE cell = ?", (cell,))


@dataclass(frozen=True, slots=True)
class Noted:
    """The consequences of an audit. ``decisions``: on the cell, where these have changed."""

    before: TrustRecord
    now: TrustRecord
    decisions: Decisions | None


def note(
    sql: Sql,
    cell: int,
    subject: Subject,
    finding: Finding,
    rules: Thresholds,
    evidence: tuple[bytes, bytes],
    now_ms: int,
) -> Noted | None:
    """Take in the result of an audit, with all that follows from it.

    Args:
        evidence: the record and the coordinator's signature of it.

    Returns:
        None if the cell is not to hold the shard any more: then the audit counts nothing. That the
        cell has reported its loss since it was asked makes no difference.

    Raises:
        Refused: ``cell_removed``.
    """
    found = find(sql, cell, subject.segment_id, subject.slot)
    if found is None or found.subject != subject:
        return None
    before = known_of(sql, cell)
    reputation = after(before.reputation, finding, rules)
    reason = before.reason
    if reputation.trust is Trust.GOOD:
        reason = ""
    elif finding is not Finding.PASSED:
        reason = explain(reputation, finding)
    now = TrustRecord(reputation, reason)
    sql.execute(
        "INSERT INTO reputations (cell, trust, recent, audits, reason) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT (cell) DO UPDATE SET trust = excluded.trust, recent = excluded.recent,"
        " audits = excluded.audits, reason = excluded.reason",
        (cell, reputation.trust.value, reputation.recent, reputation.audits, reason),
    )
    if finding is not Finding.PASSED:
        missing.lost(sql, cell, [ShardName(subject.segment_id, subject.slot)], now_ms)
    _keep(sql, cell, evidence)
    return Noted(before, now, _decide(sql, cell, before, now))


def _decide(sql: Sql, cell: int, before: TrustRecord, now: TrustRecord) -> Decisions | None:
    """Suspend a cell or take that back; not what an operator decided, who has the last word."""
    stands = cells.suspension_of(sql, cell)
    if now.reputation.trust is Trust.SUSPENDED:
        is_new = before.reputation.trust is not Trust.SUSPENDED and not stands
        is_ours = bool(stands) and stands == before.reason
        return cells.suspend(sql, cell, now.reason) if is_new or is_ours else None
    was_ours = before.reputation.trust is Trust.SUSPENDED and stands == before.reason
    return cells.resume(sql, cell) if was_ours and stands else None


# --- evidence -----------------------------------------------------------------------------------


def _keep(sql: Sql, cell: int, evidence: tuple[bytes, bytes]) -> None:
    sql.execute(
        "INSERT INTO audit_evidence (cell, evidence, signature) VALUES (?, ?, ?)",
        (cell, *evidence),
    )
    sql.execute(
        "DELETE FROM audit_evidence WHERE cell = ? AND number <= ("
        "SELECT number FROM audit_evidence WHERE cell = ? ORDER BY number DESC LIMIT 1 OFFSET ?)",
        (cell, cell, limits.AUDIT_EVIDENCE_KEPT),
    )


def evidence_of(sql: Sql, cell: int) -> list[tuple[bytes, bytes]]:
    """The evidence on a cell with its signatures, the newest first."""
    return [
        (evidence, signature)
        for evidence, signature in sql.execute(
            "SELECT evidence, signature FROM audit_evidence WHERE cell = ? ORDER BY number DESC",
            (cell,),
        )
    ]
