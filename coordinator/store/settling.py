"""Settling: what of a cell's shards is owned, and what it shall delete.

The rule that keeps data safe stands in ``segments.py``; the rest of it is here: no shard is garbage
that a commit may still claim, or that the slot's holder has not got yet.

Source: docs/placement.md, "The life of a segment"; docs/decisions/0031-repair.md.
"""

from __future__ import annotations

from collections.abc import Sequence

from common.data_classes import dataclass
from common.ids import DIGEST_BYTES, SegmentId, lease_of
from common.ports import Sql
from common.wire.messages.base import ShardName
from common.wire.messages.membership import COMMITTED, GARBAGE, PENDING, HeldShard
from coordinator.store import deletes, homes, leases, missing


@dataclass(frozen=True, slots=True)
class Settled:
    """The verdicts on the shards that a cell holds: one of PENDING, COMMITTED, GARBAGE for each, as
    a byte. ``has_deletes``: others are to delete shards now; ``has_missing``: shards are missing
    that were not known to be. ``retain``: for each the unix second until which the cell is to keep
    it, or 0; empty where all are 0."""

    verdicts: bytes
    has_deletes: bool
    has_missing: bool
    retain: tuple[int, ...] = ()


def settle(
    sql: Sql,
    cell: int,
    shards: Sequence[HeldShard],
    now_ms: int,
    *,
    may_destroy: bool = True,
    kept_leases: int = 0,
) -> Settled:
    """Say of each shard that a cell holds whether it is owned, and note what that changes.

    Args:
        may_destroy: False: what would be garbage is pending.
        kept_leases: leases up to this number make no garbage, though they have ended.
    """
    verdicts = bytearray()
    retain: list[int] = []
    has_deletes = has_missing = False
    alive: dict[int, bool] = {}
    for shard in shards:
        row = sql.execute(
            "SELECT s.ring, s.roots, r.cell, q.cell, s.retain_until_s FROM segments s"
            " LEFT JOIN ring_slots r ON r.ring = s.ring AND r.slot = ?"
            " LEFT JOIN sources q ON q.ring = s.ring AND q.slot = ? WHERE s.segment_id = ?",
            (shard.slot, shard.slot, shard.segment_id),
        ).fetchone()
        if row is None:
            verdicts.append(_uncommitted(sql, shard.segment_id, alive, kept_leases))
            retain.append(0)
            continue
        ring, roots, holder, source, retain_until_s = row
        is_whole = roots[DIGEST_BYTES * shard.slot : DIGEST_BYTES * (shard.slot + 1)] == shard.root
        if holder == cell:
            verdicts.append(COMMITTED if is_whole else GARBAGE)
            if is_whole:
                has_deletes |= _filled(sql, shard, source)
            else:
                has_missing = True
                homes.lose(sql, cell, shard)
                missing.note(sql, ring, [(shard.segment_id, shard.slot)], now_ms)
        else:
            is_needed = source == cell and is_whole and missing.has(sql, shard)
            is_of_home, is_its_own, has_arrived = (
                (False, False, False) if is_needed else homes.settle(sql, cell, shard)
            )
            has_deletes |= has_arrived
            if is_needed or is_its_own:
                verdicts.append(COMMITTED)
            else:
                verdicts.append(PENDING if is_of_home else GARBAGE)
        retain.append(retain_until_s if verdicts[-1] == COMMITTED else 0)
    told = bytes(verdicts)
    if not may_destroy:
        told = told.replace(bytes([GARBAGE]), bytes([PENDING]))
    return Settled(told, has_deletes, has_missing, tuple(retain) if any(retain) else ())


def _uncommitted(sql: Sql, segment_id: SegmentId, alive: dict[int, bool], kept_leases: int) -> int:
    lease = lease_of(segment_id)
    if lease not in alive:
        # A number that was never given out says that this store is older than the shard (it was
        # restored from a copy): then nothing is garbage.
        alive[lease] = (
            lease <= kept_leases or leases.is_alive(sql, lease) or not leases.was_opened(sql, lease)
        )
    if not alive[lease]:
        return GARBAGE
    gone = sql.execute("SELECT 1 FROM abandoned WHERE segment_id = ?", (segment_id,))
    return GARBAGE if gone.fetchone() is not None else PENDING


def _filled(sql: Sql, shard: HeldShard, source: int | None) -> bool:
    """Take in that a slot's holder has its shard: the source's is not needed any more.

    Returns:
        Whether the source is to delete it.
    """
    if not missing.strike(sql, shard):
        return False
    if source is not None:
        deletes.queue(sql, source, ShardName(shard.segment_id, shard.slot))
    return source is not None
