"""Rings in the store: loaded, and changed by a plan. Functions of a transaction."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from common.ports import Sql
from coordinator.policy.placement import Redundancy, RingPlan, RingView
from coordinator.store.schema import next_number


@dataclass(frozen=True, slots=True)
class Ring:
    """A ring: which cell holds each slot. Its cells never change; ``open`` may."""

    ring: int
    redundancy: Redundancy
    cells: tuple[int, ...]
    open: bool

    def view(self) -> RingView:
        """The ring as placement sees it."""
        return RingView(self.ring, self.cells, self.redundancy.quorum, self.open)


def load(sql: Sql) -> list[Ring]:
    """All rings, by number."""
    cells: dict[int, list[int]] = defaultdict(list)
    for ring, cell in sql.execute("SELECT ring, cell FROM ring_slots ORDER BY ring, slot"):
        cells[ring].append(cell)
    return [
        Ring(ring, Redundancy(k, n, quorum), tuple(cells[ring]), bool(is_open))
        for ring, k, n, quorum, is_open in sql.execute(
            "SELECT ring, k, n, quorum, is_open FROM rings ORDER BY ring"
        )
    ]


def apply(sql: Sql, plan: RingPlan, redundancy: Redundancy, now_ms: int) -> list[Ring]:
    """Carry out a plan and return the rings it added."""
    next_number(sql, "plans")
    for is_open, numbers in ((1, plan.reopen), (0, plan.close)):
        sql.executemany(
            "UPDATE rings SET is_open = ? WHERE ring = ?", [(is_open, ring) for ring in numbers]
        )
    added = []
    for cells in plan.new:
        number = sql.execute(
            "INSERT INTO rings (k, n, quorum, is_open, created_ms) VALUES (?, ?, ?, 1, ?)"
            " RETURNING ring",
            (redundancy.k, redundancy.n, redundancy.quorum, now_ms),
        ).fetchone()[0]
        sql.executemany(
            "INSERT INTO ring_slots VALUES (?, ?, ?)",
            [(number, slot, cell) for slot, cell in enumerate(cells)],
        )
        added.append(Ring(number, redundancy, cells, True))
    return added
