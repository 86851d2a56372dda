"""The queue of shards that cells are to delete, repeated with their heartbeats until they confirm.

A removed cell confirms nothing, so nothing is queued for it.

Source: docs/placement.md, "The life of a segment".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from common.ids import SegmentId
from common.ports import Sql
from common.wire.messages.base import ShardName

_QUEUE: Final = "INSERT INTO deletes (cell, segment_id, slot)"
_STAYS: Final = (
    "NOT EXISTS (SELECT 1 FROM cells c WHERE c.cell = {cell} AND c.removed_ms > 0)"
    " ON CONFLICT DO NOTHING"
)


def queue(sql: Sql, cell: int, shard: ShardName) -> None:
    """Let a cell delete a shard."""
    sql.execute(
        f"{_QUEUE} SELECT ?, ?, ? WHERE {_STAYS.format(cell='?')}",
        (cell, shard.segment_id, shard.slot, cell),
    )


def queue_on_ring(sql: Sql, segment_id: SegmentId, ring: int) -> None:
    """Let the holders and the sources of a ring's slots delete their shards of a segment."""
    for table in ("ring_slots", "sources"):
        sql.execute(
            f"{_QUEUE} SELECT h.cell, ?, h.slot FROM {table} h WHERE h.ring = ?"
            f" AND {_STAYS.format(cell='h.cell')}",
            (segment_id, ring),
        )


def queue_made(sql: Sql, segment_id: SegmentId, ring: int) -> None:
    """Let cells delete what they made of a segment for its home class, those of a ring aside."""
    sql.execute(
        f"{_QUEUE} SELECT m.cell, m.segment_id, m.slot"
        " FROM home_shards m WHERE m.segment_id = ? AND NOT EXISTS (SELECT 1 FROM ring_slots r"
        " WHERE r.ring = ? AND r.slot = m.slot AND r.cell = m.cell)"
        f" AND {_STAYS.format(cell='m.cell')}",
        (segment_id, ring),
    )


def strike(sql: Sql, cell: int, shards: Sequence[ShardName]) -> None:
    """Strike what a cell has deleted from its queue."""
    sql.executemany(
        "DELETE FROM deletes WHERE cell = ? AND segment_id = ? AND slot = ?",
        [(cell, shard.segment_id, shard.slot) for shard in shards],
    )


def strike_slot(sql: Sql, cell: int, ring: int, slot: int) -> None:
    """Strike the shards of a slot from the queue of a cell, which is to hold them now."""
    sql.execute(
        "DELETE FROM deletes WHERE cell = ? AND slot = ?"
        " AND segment_id IN (SELECT segment_id FROM segments WHERE ring = ?)",
        (cell, slot, ring),
    )


def queued(sql: Sql, cell: int, limit: int) -> list[ShardName]:
    """The first ``limit`` shards that a cell shall delete."""
    return [
        ShardName(SegmentId(segment_id), slot)
        for segment_id, slot in sql.execute(
            "SELECT segment_id, slot FROM deletes WHERE cell = ? LIMIT ?", (cell, limit)
        )
    ]


def forget_cell(sql: Sql, cell: int) -> None:
    """Forget the queue of a cell that is removed."""
    sql.execute("DELETE FROM deletes WHERE cell = ?", (cell,))
