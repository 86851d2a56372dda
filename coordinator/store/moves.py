"""Moves of slots in the store: a slot gets another holder, and its former one becomes its source.

Source: docs/decisions/0031-repair.md.
"""

from __future__ import annotations

from common.data_classes import dataclass
from common.ports import Sql
from coordinator.policy.moves import FormerHolder, Move, MoveReason
from coordinator.store import deletes
from coordinator.store.schema import next_number


def begin(sql: Sql, move: Move, now_ms: int, *, is_source_gone: bool, keeps_source: bool) -> bool:
    """Make a cell the holder of a slot.

    Every segment of the ring is missing there from now on; new ones are written to it.

    Args:
        is_source_gone: the former holder was removed: it is asked nothing any more.
        keeps_source: the slot's source, if it has one, is read from on; what only the former
            holder has is to be rebuilt. Else the former holder is the source.

    Returns:
        False, and nothing is changed, if the slot is not held by the move's source, or if the
        target is in the ring already.
    """
    ring, slot = move.ring, move.slot
    held = dict(sql.execute("SELECT slot, cell FROM ring_slots WHERE ring = ?", (ring,)).fetchall())
    if held.get(slot) != move.source or move.target in held.values():
        return False
    keeps_source = keeps_source and _source(sql, ring, slot) is not None
    reign = _hand_over(sql, ring, slot, move.target)
    if not keeps_source:
        # What only the source of an earlier move has is found no more.
        sql.execute(
            "UPDATE missing_shards SET source_lacks = 1 WHERE ring = ? AND slot = ?", (ring, slot)
        )
        sql.execute("DELETE FROM sources WHERE ring = ? AND slot = ?", (ring, slot))
        if not is_source_gone:
            _add_source(sql, ring, slot, FormerHolder(move.source, move.reason), reign)
    sql.execute(
        "INSERT INTO missing_shards (segment_id, slot, ring, source_lacks, since_ms)"
        " SELECT segment_id, ?, ring, ?, ? FROM segments WHERE ring = ? ON CONFLICT DO NOTHING",
        (slot, int(is_source_gone or keeps_source), now_ms, ring),
    )
    sql.execute("DELETE FROM suspect_shards WHERE ring = ? AND slot = ?", (ring, slot))
    return True


def _hand_over(sql: Sql, ring: int, slot: int, cell: int) -> tuple[int, int]:
    """Make a cell the holder of a slot, and return the revisions from which and up to which the
    former one was.

    The cell keeps what it still has of the slot from an earlier time: it might else delete a shard
    that it has just said it holds.
    """
    next_number(sql, "plans")
    revision: int = sql.execute(
        "UPDATE rings SET revision = revision + 1 WHERE ring = ? RETURNING revision", (ring,)
    ).fetchone()[0]
    since: int = sql.execute(
        "SELECT since FROM ring_slots WHERE ring = ? AND slot = ?", (ring, slot)
    ).fetchone()[0]
    sql.execute(
        "UPDATE ring_slots SET cell = ?, since = ? WHERE ring = ? AND slot = ?",
        (cell, revision, ring, slot),
    )
    deletes.strike_slot(sql, cell, ring, slot)
    return since, revision


def _add_source(
    sql: Sql, ring: int, slot: int, source: FormerHolder, reign: tuple[int, int]
) -> None:
    sql.execute(
        "INSERT INTO sources (ring, slot, cell, since, until, reason) VALUES (?, ?, ?, ?, ?, ?)",
        (ring, slot, source.cell, *reign, source.reason),
    )


def _source(sql: Sql, ring: int, slot: int) -> FormerHolder | None:
    row = sql.execute(
        "SELECT cell, reason FROM sources WHERE ring = ? AND slot = ?", (ring, slot)
    ).fetchone()
    return None if row is None else FormerHolder(row[0], MoveReason(row[1]))


def give_back(sql: Sql, ring: int, slot: int, now_ms: int) -> bool:
    """Make the source of a slot its holder again, and the holder its source.

    What the holder has not got yet is where it was; what it has got, or what was written to it, is
    missing at the cell that takes the slot back.

    Returns:
        False, and nothing is changed, if the slot has no source.
    """
    source = _source(sql, ring, slot)
    if source is None:
        return False
    holder = sql.execute(
        "SELECT cell FROM ring_slots WHERE ring = ? AND slot = ?", (ring, slot)
    ).fetchone()[0]
    reign = _hand_over(sql, ring, slot, source.cell)
    sql.execute("DELETE FROM sources WHERE ring = ? AND slot = ?", (ring, slot))
    _add_source(sql, ring, slot, FormerHolder(holder, MoveReason.EVEN), reign)
    sql.execute(
        "INSERT INTO missing_shards (segment_id, slot, ring, source_lacks, since_ms)"
        " SELECT segment_id, ?, ring, 2, ? FROM segments WHERE ring = ? ON CONFLICT DO NOTHING",
        (slot, now_ms, ring),
    )
    sql.execute(
        "DELETE FROM missing_shards WHERE ring = ? AND slot = ? AND source_lacks = 0", (ring, slot)
    )
    sql.execute(
        "UPDATE missing_shards SET source_lacks = 0"
        " WHERE ring = ? AND slot = ? AND source_lacks = 2",
        (ring, slot),
    )
    return True


@dataclass(frozen=True, slots=True)
class OpenMove:
    """A slot whose holder may still lack shards that its source has. ``missing``: how many it
    lacks; ``segments``: of how many."""

    ring: int
    slot: int
    holder: int
    source: FormerHolder
    missing: int
    segments: int


def open_moves(sql: Sql) -> list[OpenMove]:
    """All moves that are not finished."""
    return [
        OpenMove(ring, slot, holder, FormerHolder(cell, MoveReason(reason)), missing, segments)
        for ring, slot, holder, cell, reason, missing, segments in sql.execute(
            "SELECT q.ring, q.slot, r.cell, q.cell, q.reason,"
            " (SELECT count(*) FROM missing_shards m WHERE m.ring = q.ring AND m.slot = q.slot),"
            " (SELECT count(*) FROM segments s WHERE s.ring = q.ring)"
            " FROM sources q JOIN ring_slots r ON r.ring = q.ring AND r.slot = q.slot"
        )
    ]


def finish(sql: Sql) -> list[int]:
    """Forget the sources of slots that miss nothing any more.

    Returns:
        The rings that they were of.
    """
    rows = sql.execute(
        "DELETE FROM sources WHERE NOT EXISTS (SELECT 1 FROM missing_shards m"
        " WHERE m.ring = sources.ring AND m.slot = sources.slot) RETURNING ring"
    ).fetchall()
    if rows:
        next_number(sql, "plans")
    return sorted({ring for (ring,) in rows})


def forget_source(sql: Sql, cell: int) -> list[int]:
    """Take in that a cell is removed: what it is the source of is found there no more.

    Returns:
        The rings that it was a source in.
    """
    slots = sql.execute(
        "DELETE FROM sources WHERE cell = ? RETURNING ring, slot", (cell,)
    ).fetchall()
    sql.executemany("UPDATE missing_shards SET source_lacks = 1 WHERE ring = ? AND slot = ?", slots)
    if slots:
        next_number(sql, "plans")
    return sorted({ring for ring, _ in slots})


@dataclass(frozen=True, slots=True)
class Hold:
    """The uses of a cell: slots that it holds, slots that it is the source of, shards that these
    still miss, and shards that it has yet to delete."""

    held_slots: int
    source_slots: int
    missing: int
    deletes: int

    @property
    def is_empty(self) -> bool:
        """Return whether nothing depends on the cell."""
        return not self.held_slots and not self.source_slots


def hold_of(sql: Sql, cell: int) -> Hold:
    """Count what depends on a cell."""

    def count(text: str) -> int:
        found: int = sql.execute(text, (cell,)).fetchone()[0]
        return found

    return Hold(
        count("SELECT count(*) FROM ring_slots WHERE cell = ?"),
        count("SELECT count(*) FROM sources WHERE cell = ?"),
        count(
            "SELECT count(*) FROM sources q JOIN missing_shards m"
            " ON m.ring = q.ring AND m.slot = q.slot WHERE q.cell = ?"
        ),
        count("SELECT count(*) FROM deletes WHERE cell = ?"),
    )
