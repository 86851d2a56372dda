"""Missing shards: what the holders of slots lack, and what readers complained of.

The rows are the queue of repair. A transaction that finds a shard missing adds one; the holder that
has stored the shard strikes it by settling.

Source: docs/decisions/0031-repair.md.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from common import limits
from common.data_classes import dataclass
from common.ids import DIGEST_BYTES, SegmentId
from common.ports import Sql
from common.wire.messages.base import ShardName
from common.wire.messages.membership import HeldShard
from coordinator.policy.margins import LackingKind


def note(
    sql: Sql,
    ring: int,
    shards: Iterable[tuple[bytes, int]],
    now_ms: int,
    *,
    source_lacks: bool = True,
) -> None:
    """Remember that the holders of slots lack their shards.

    Args:
        ring: of all these segments.
        shards: segment and slot.
        source_lacks: False if the source of the slot has it.
    """
    sql.executemany(
        "INSERT INTO missing_shards (segment_id, slot, ring, source_lacks, since_ms)"
        " VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        [(segment_id, slot, ring, int(source_lacks), now_ms) for segment_id, slot in shards],
    )


def has(sql: Sql, shard: HeldShard | ShardName) -> bool:
    """Return whether a slot is known to lack its shard."""
    row = sql.execute(
        "SELECT 1 FROM missing_shards WHERE segment_id = ? AND slot = ?",
        (shard.segment_id, shard.slot),
    ).fetchone()
    return row is not None


def strike(sql: Sql, shard: HeldShard | ShardName) -> bool:
    """Take in that a slot has its shard. Returns whether it was known to lack it."""
    struck = sql.execute(
        "DELETE FROM missing_shards WHERE segment_id = ? AND slot = ?",
        (shard.segment_id, shard.slot),
    )
    count: int = struck.rowcount
    return count > 0


def forget(sql: Sql, segment_id: SegmentId) -> None:
    """Forget what is known of the shards of a segment that is deleted."""
    sql.execute("DELETE FROM missing_shards WHERE segment_id = ?", (segment_id,))
    sql.execute("DELETE FROM suspect_shards WHERE segment_id = ?", (segment_id,))


def of_segment(sql: Sql, segment_id: SegmentId) -> dict[int, int | None]:
    """The slots of a segment that lack their shards, each with the cell that may have it in the
    holder's stead."""
    return dict(
        sql.execute(
            "SELECT m.slot, CASE WHEN m.source_lacks = 0 THEN q.cell END FROM missing_shards m"
            " LEFT JOIN sources q ON q.ring = m.ring AND q.slot = m.slot WHERE m.segment_id = ?",
            (segment_id,),
        ).fetchall()
    )


def lost(sql: Sql, cell: int, shards: Sequence[ShardName], now_ms: int) -> int:
    """Note shards that the cell itself says it lacks; those not its own are passed over.

    Returns:
        How many were noted.
    """
    noted = 0
    for shard in shards:
        sql.execute(
            "DELETE FROM home_shards WHERE segment_id = ? AND slot = ? AND cell = ?",
            (shard.segment_id, shard.slot, cell),
        )
        row = sql.execute(
            "SELECT s.ring, r.cell, q.cell FROM segments s"
            " LEFT JOIN ring_slots r ON r.ring = s.ring AND r.slot = ?"
            " LEFT JOIN sources q ON q.ring = s.ring AND q.slot = ? WHERE s.segment_id = ?",
            (shard.slot, shard.slot, shard.segment_id),
        ).fetchone()
        if row is None:
            continue
        ring, holder, source = row
        if holder == cell:
            note(sql, ring, [(shard.segment_id, shard.slot)], now_ms)
            absolve(sql, shard)
            noted += 1
        elif source == cell:
            sql.execute(
                "UPDATE missing_shards SET source_lacks = 1 WHERE segment_id = ? AND slot = ?",
                (shard.segment_id, shard.slot),
            )
    return noted


def suspect(sql: Sql, tenant: int, shards: Sequence[tuple[bytes, int, str]], now_ms: int) -> None:
    """Remember a reader's complaints about shards of the tenant's own segments."""
    for segment_id, slot, reason in shards:
        sql.execute(
            "INSERT INTO suspect_shards (segment_id, slot, ring, reason, since_ms)"
            " SELECT s.segment_id, r.slot, s.ring, ?, ? FROM segments s"
            " JOIN ring_slots r ON r.ring = s.ring AND r.slot = ?"
            " WHERE s.segment_id = ? AND s.tenant = ? ON CONFLICT DO NOTHING",
            (reason, now_ms, slot, segment_id, tenant),
        )


def absolve(sql: Sql, shard: ShardName) -> None:
    """Strike a complaint: its shard was found whole, or is known to be lost."""
    sql.execute(
        "DELETE FROM suspect_shards WHERE segment_id = ? AND slot = ?",
        (shard.segment_id, shard.slot),
    )


def absolve_of(sql: Sql, cell: int, shards: Sequence[ShardName]) -> None:
    """Strike complaints about shards that their holder has found whole."""
    for shard in shards:
        sql.execute(
            "DELETE FROM suspect_shards WHERE segment_id = ? AND slot = ? AND EXISTS ("
            "SELECT 1 FROM ring_slots r WHERE r.ring = suspect_shards.ring"
            " AND r.slot = suspect_shards.slot AND r.cell = ?)",
            (shard.segment_id, shard.slot, cell),
        )


# --- for holders --------------------------------------------------------------------------------


def waits_for(sql: Sql, cell: int) -> bool:
    """Return whether a cell has missing or suspected shards to look after, or shards to make for
    segments that return to their home class."""
    for table in ("missing_shards", "suspect_shards"):
        row = sql.execute(
            f"SELECT 1 FROM ring_slots r JOIN {table} m ON m.ring = r.ring AND m.slot = r.slot"
            " WHERE r.cell = ? LIMIT 1",
            (cell,),
        ).fetchone()
        if row is not None:
            return True
    row = sql.execute(
        "SELECT 1 FROM ring_slots r JOIN homes h ON h.ring = r.ring WHERE r.cell = ?"
        " AND NOT EXISTS (SELECT 1 FROM home_shards m WHERE m.segment_id = h.segment_id"
        " AND m.slot = r.slot AND m.cell = r.cell) LIMIT 1",
        (cell,),
    ).fetchone()
    return row is not None


@dataclass(frozen=True, slots=True)
class MissingRow:
    """A missing shard of a cell. ``lacking``: slots of the segment, counted among those that could
    be read, that cannot. ``source_lacks``: the slot's source does not have it either."""

    segment_id: SegmentId
    slot: int
    ring: int
    lacking: int
    source_lacks: bool


def of_slot(
    sql: Sql, ring: int, slot: int, *, holders: int, sources: int, limit: int
) -> list[MissingRow]:
    """The missing shards of a slot, those of segments that lack most first.

    Args:
        holders: the slots whose holders can be read, as bits.
        sources: the slots whose sources can be read, as bits.
        limit: how many at most.
    """
    return [
        MissingRow(SegmentId(segment_id), slot, ring, lacking, bool(source_lacks))
        for segment_id, source_lacks, lacking in sql.execute(
            "SELECT m.segment_id, m.source_lacks, (SELECT"
            " sum((CAST(? AS BIGINT) >> CAST(o.slot AS INT) & 1) - (1 - o.source_lacks)"
            " * (CAST(? AS BIGINT) >> CAST(o.slot AS INT) & 1))"
            " FROM missing_shards o WHERE o.segment_id = m.segment_id) AS lacking"
            " FROM missing_shards m WHERE m.ring = ? AND m.slot = ?"
            " ORDER BY lacking DESC, m.segment_id LIMIT ?",
            (holders, sources, ring, slot, limit),
        )
    ]


def count_of_slot(sql: Sql, ring: int, slot: int) -> int:
    """The number of shards that a slot misses."""
    found: int = sql.execute(
        "SELECT count(*) FROM missing_shards WHERE ring = ? AND slot = ?", (ring, slot)
    ).fetchone()[0]
    return found


def slots_lacking(sql: Sql, rings: Collection[int]) -> dict[int, tuple[int, ...]]:
    """Return the slots of which the holder lacks the shard of some segment, by ring; rings without
    such slots are left out.

    Args:
        rings: few enough to look at each.
    """
    found: dict[int, tuple[int, ...]] = {}
    for ring in rings:
        slots = sql.execute(
            "SELECT slot FROM ring_slots rs WHERE ring = ? AND EXISTS ("
            "SELECT 1 FROM missing_shards m WHERE m.ring = rs.ring AND m.slot = rs.slot)"
            " ORDER BY slot",
            (ring,),
        ).fetchall()
        if slots:
            found[ring] = tuple(row[0] for row in slots)
    return found


def count_all(sql: Sql) -> int:
    """The number of shards that all slots miss."""
    found: int = sql.execute("SELECT count(*) FROM missing_shards").fetchone()[0]
    return found


def lacking_kinds(sql: Sql, limit: int) -> list[LackingKind]:
    """Return the segments that lack shards, together by ring and by the slots that lack them;
    those that lack most first. Looks at all missing shards, once.

    Args:
        limit: how many kinds at most.
    """
    bits = (1 << limits.MAX_SLOTS) - 1
    return [
        LackingKind(ring, gone & bits, elsewhere & bits, segments)
        for ring, gone, elsewhere, segments in sql.execute(
            "SELECT ring, gone, elsewhere, count(*) FROM ("
            "SELECT max(ring) AS ring, count(*) AS slots,"
            " sum(source_lacks * (CAST(1 AS BIGINT) << CAST(slot AS INT))) AS gone,"
            " sum((1 - source_lacks) * (CAST(1 AS BIGINT) << CAST(slot AS INT))) AS elsewhere"
            " FROM missing_shards GROUP BY segment_id) AS lacking"
            " GROUP BY ring, gone, elsewhere ORDER BY max(slots) DESC LIMIT ?",
            (limit,),
        )
    ]


def suspects_of(sql: Sql, cell: int, limit: int) -> list[ShardName]:
    """Shards of a cell that readers complained of."""
    return [
        ShardName(SegmentId(segment_id), slot)
        for segment_id, slot in sql.execute(
            "SELECT m.segment_id, m.slot FROM ring_slots r"
            " JOIN suspect_shards m ON m.ring = r.ring AND m.slot = r.slot"
            " WHERE r.cell = ? LIMIT ?",
            (cell, limit),
        )
    ]


def expected(
    sql: Sql, cell: int, ring: int, after: bytes, limit: int
) -> tuple[list[HeldShard], int, bytes]:
    """A page of what a cell should hold, by ring and segment.

    Args:
        ring: to begin with.
        after: the segment behind which to begin in that ring.

    Returns:
        The shards, and where to go on: ring 0 where that was all.
    """
    found: list[HeldShard] = []
    for number, slot in sql.execute(
        "SELECT ring, slot FROM ring_slots WHERE cell = ? AND ring >= ? ORDER BY ring",
        (cell, ring),
    ).fetchall():
        behind = after if number == ring else b""
        room = limit - len(found)
        if room <= 0:
            return found, number, bytes(16)
        rows = sql.execute(
            "SELECT s.segment_id, s.shard_bytes, s.roots FROM segments s WHERE s.ring = ?"
            " AND s.segment_id > ? AND NOT EXISTS (SELECT 1 FROM missing_shards m"
            " WHERE m.segment_id = s.segment_id AND m.slot = ?) ORDER BY s.segment_id LIMIT ?",
            (number, behind, slot, room),
        ).fetchall()
        found += [
            HeldShard(
                SegmentId(segment_id),
                slot,
                roots[DIGEST_BYTES * slot : DIGEST_BYTES * (slot + 1)],
                shard_bytes,
            )
            for segment_id, shard_bytes, roots in rows
        ]
        if len(rows) == room:
            return found, number, rows[-1][0]
    return found, 0, bytes(16)
