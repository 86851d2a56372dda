"""Dependence of data on a cell that leaves or is to be removed. Functions of a transaction.

Source: docs/operations.md, "Cells that leave, rest, or are not trusted".
"""

from __future__ import annotations

from common.data_classes import dataclass
from common.ports import Sql
from coordinator.store.moves import hold_of


@dataclass(frozen=True, slots=True)
class Left:
    """The work that is left before a cell is empty.

    ``held_slots``: slots that have not moved yet; ``moving_slots``: slots that have, and whose new
    holders still fill. ``shards``: of both, that are not elsewhere yet. ``deletes``: shards that it
    has yet to delete, which needs nobody.
    """

    held_slots: int
    moving_slots: int
    shards: int
    deletes: int

    @property
    def is_empty(self) -> bool:
        """Return whether nothing depends on the cell."""
        return not self.held_slots and not self.moving_slots


def left_of(sql: Sql, cell: int) -> Left:
    """Count what is left of a cell to move."""
    hold = hold_of(sql, cell)
    held: int = sql.execute(
        "SELECT count(*) FROM ring_slots r JOIN segments s ON s.ring = r.ring WHERE r.cell = ?",
        (cell,),
    ).fetchone()[0]
    lacking: int = sql.execute(
        "SELECT count(*) FROM ring_slots r JOIN missing_shards m"
        " ON m.ring = r.ring AND m.slot = r.slot WHERE r.cell = ?",
        (cell,),
    ).fetchone()[0]
    return Left(hold.held_slots, hold.source_slots, held - lacking + hold.missing, hold.deletes)


def lacking_slots(sql: Sql, cell: int) -> set[tuple[int, int]]:
    """The slots of a cell's rings that lack a shard of some segment, each with its ring."""
    return {
        (ring, slot)
        for ring, slot in sql.execute(
            "SELECT q.ring, q.slot FROM ring_slots r JOIN ring_slots q ON q.ring = r.ring"
            " WHERE r.cell = ? AND EXISTS (SELECT 1 FROM missing_shards m"
            " WHERE m.ring = q.ring AND m.slot = q.slot)",
            (cell,),
        )
    }
