"""Segments that were written in a fallback, and their return to the home class.

The writer has committed the roots of the shards that a segment has in its home class. A ring of
that class is chosen for it; each holder there makes its shard of what the segment is now, and
settles it. When all of them have, the segment is theirs, in the transaction that takes in the last.
Until then it is read where it was written; what has been made stays named here.

Source: docs/decisions/0032-fewer-cells.md.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping

from common.data_classes import dataclass
from common.ids import DIGEST_BYTES, SegmentId
from common.ports import Sql
from common.wire.messages.base import ShardName
from common.wire.messages.membership import HeldShard
from coordinator.store import bucket_rings, deletes, missing


@dataclass(frozen=True, slots=True)
class Homing:
    """A segment that is not in its home class. ``former``: its ring. ``ring``: of the home class,
    that it is to go to; 0: none is chosen yet. ``made``: the cells that have made the shard of a
    slot. ``tries``: the number of rings that it did not get to."""

    segment_id: SegmentId
    k: int
    n: int
    former: int
    ring: int
    revision: int
    tries: int
    made: Mapping[int, frozenset[int]]


def note(sql: Sql, segment_id: SegmentId, home_k: int, home_roots: bytes) -> None:
    """Remember the home class of a segment that is committed in another."""
    sql.execute(
        "INSERT INTO homes (segment_id, k, n, roots) VALUES (?, ?, ?, ?)",
        (segment_id, home_k, len(home_roots) // DIGEST_BYTES, home_roots),
    )


def of_ring(sql: Sql, *, chosen: bool, limit: int, without: Collection[int] = ()) -> list[Homing]:
    """The segments that are on their way home, or those that are still to go, those first that
    were tried least.

    Args:
        without: storage classes, by number, whose segments have to wait.
    """
    # PostgreSQL takes no empty list; no class has this number.
    waiting = ", ".join(str(int(number)) for number in (-1, *without))
    rows = sql.execute(
        "SELECT h.segment_id, h.k, h.n, s.ring, h.ring, h.revision, h.tries FROM homes h"
        " JOIN segments s ON s.segment_id = h.segment_id JOIN rings r ON r.ring = s.ring"
        f" WHERE h.ring {'>' if chosen else '='} 0 AND r.storage_class NOT IN ({waiting})"
        " ORDER BY h.tries, h.segment_id LIMIT ?",
        (limit,),
    ).fetchall()
    return [
        Homing(SegmentId(segment), k, n, former, ring, revision, tries, _made(sql, segment))
        for segment, k, n, former, ring, revision, tries in rows
    ]


def _made(sql: Sql, segment_id: bytes) -> dict[int, frozenset[int]]:
    made: dict[int, set[int]] = defaultdict(set)
    for slot, cell in sql.execute(
        "SELECT slot, cell FROM home_shards WHERE segment_id = ?", (segment_id,)
    ):
        made[slot].add(cell)
    return {slot: frozenset(cells) for slot, cells in made.items()}


def choose(sql: Sql, segment_id: SegmentId, ring: int) -> bool:
    """Let a segment go to a ring of its home class.

    Returns:
        Whether it may: no cell of the ring may have, or be about to delete, a shard of the segment
        in the class that it was written in under the same slot.
    """
    sql.execute(
        "UPDATE homes SET ring = ?, revision = (SELECT revision FROM rings WHERE ring = ?)"
        " WHERE segment_id = ? AND ring = 0",
        (ring, ring, segment_id),
    )
    if _is_in_the_way(sql, segment_id, ring):
        give_up(sql, segment_id)
        return False
    return True


def _is_in_the_way(sql: Sql, segment_id: SegmentId, ring: int) -> bool:
    """Return whether a cell of a ring has to do with another shard of a name that it is to have."""
    row = sql.execute(
        "SELECT 1 FROM ring_slots t JOIN segments s ON s.segment_id = ? WHERE t.ring = ? AND ("
        " EXISTS (SELECT 1 FROM ring_slots o"
        "  WHERE o.ring = s.ring AND o.slot = t.slot AND o.cell = t.cell)"
        " OR EXISTS (SELECT 1 FROM sources q"
        "  WHERE q.ring = s.ring AND q.slot = t.slot AND q.cell = t.cell)"
        " OR EXISTS (SELECT 1 FROM deletes d WHERE d.cell = t.cell"
        "  AND d.segment_id = s.segment_id AND d.slot = t.slot)) LIMIT 1",
        (segment_id, ring),
    ).fetchone()
    return row is not None


def give_up(sql: Sql, segment_id: SegmentId) -> None:
    """Let a segment go to another ring, after all others that wait."""
    sql.execute("UPDATE homes SET ring = 0, tries = tries + 1 WHERE segment_id = ?", (segment_id,))


# --- for holders --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class HomeShard:
    """A shard that a cell is to make: of a segment on its way to a ring of its home class."""

    segment_id: SegmentId
    slot: int
    ring: int
    k: int
    n: int
    roots: bytes


def wanted_of(sql: Sql, cell: int, limit: int) -> list[HomeShard]:
    """The shards that a cell is to make."""
    return [
        HomeShard(SegmentId(segment_id), *rest)
        for segment_id, *rest in sql.execute(
            "SELECT h.segment_id, r.slot, h.ring, h.k, h.n, h.roots FROM ring_slots r"
            " JOIN homes h ON h.ring = r.ring WHERE r.cell = ? AND NOT EXISTS ("
            "SELECT 1 FROM home_shards m WHERE m.segment_id = h.segment_id AND m.slot = r.slot"
            " AND m.cell = r.cell) ORDER BY h.segment_id LIMIT ?",
            (cell, limit),
        )
    ]


def settle(sql: Sql, cell: int, shard: HeldShard) -> tuple[bool, bool, bool]:
    """Take in that a cell has a shard that is not one of the class its segment was written in.

    Returns:
        Whether it is one of the home class; whether the cell is to hold it there; whether the
        segment is in its home class now, and what it was before is to be deleted.
    """
    row = sql.execute(
        "SELECT roots, ring FROM homes WHERE segment_id = ?", (shard.segment_id,)
    ).fetchone()
    if row is None:
        return False, False, False
    roots, ring = row
    if roots[DIGEST_BYTES * shard.slot : DIGEST_BYTES * (shard.slot + 1)] != shard.root:
        return False, False, False
    sql.execute(
        "INSERT INTO home_shards (segment_id, slot, cell) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
        (shard.segment_id, shard.slot, cell),
    )
    holder = sql.execute(
        "SELECT cell FROM ring_slots WHERE ring = ? AND slot = ?", (ring, shard.slot)
    ).fetchone()
    if holder is None or holder[0] != cell:
        return True, False, False
    return True, True, arrive(sql, shard.segment_id)


def arrive(sql: Sql, segment_id: SegmentId) -> bool:
    """Bring a segment into its home class if all shards there are made. Return whether it is."""
    row = sql.execute(
        "SELECT h.k, h.n, h.roots, h.ring, h.revision, t.revision, s.ring, f.k, s.unit_bytes,"
        " s.shard_bytes FROM homes h JOIN segments s ON s.segment_id = h.segment_id"
        " JOIN rings t ON t.ring = h.ring JOIN rings f ON f.ring = s.ring"
        " WHERE h.segment_id = ?",
        (segment_id,),
    ).fetchone()
    if row is None:
        return False
    k, n, roots, ring, revision, now_revision, former, former_k, unit_bytes, shard_bytes = row
    (made,) = sql.execute(
        "SELECT count(*) FROM ring_slots r JOIN home_shards m ON m.segment_id = ?"
        " AND m.slot = r.slot AND m.cell = r.cell WHERE r.ring = ?",
        (segment_id, ring),
    ).fetchone()
    if made < n:
        return False
    if revision != now_revision or _is_in_the_way(sql, segment_id, ring):
        give_up(sql, segment_id)
        return False
    sql.execute(
        "UPDATE segments SET ring = ?, unit_bytes = ?, shard_bytes = ?, roots = ?"
        " WHERE segment_id = ?",
        (ring, former_k * unit_bytes // k, former_k * shard_bytes // k, roots, segment_id),
    )
    bucket_rings.move(sql, segment_id, former, ring)
    missing.forget(sql, segment_id)
    deletes.queue_on_ring(sql, segment_id, former)
    forget(sql, segment_id, ring)
    return True


def lose(sql: Sql, cell: int, shard: HeldShard | ShardName) -> None:
    """Take in that a cell has lost a shard of a home class, if it was one."""
    sql.execute(
        "DELETE FROM home_shards WHERE segment_id = ? AND slot = ? AND cell = ?",
        (shard.segment_id, shard.slot, cell),
    )


def forget(sql: Sql, segment_id: SegmentId, ring: int = 0) -> None:
    """Forget the way of a segment that has arrived, or is deleted; delete what was made for it on
    other cells than those of its ring."""
    deletes.queue_made(sql, segment_id, ring)
    sql.execute("DELETE FROM home_shards WHERE segment_id = ?", (segment_id,))
    sql.execute("DELETE FROM homes WHERE segment_id = ?", (segment_id,))
