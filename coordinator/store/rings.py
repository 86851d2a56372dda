"""Rings in the store: loaded, and changed by a plan. Functions of a transaction."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import field
from typing import Final

from common.data_classes import dataclass
from common.ports import Sql
from coordinator.policy.fence import EVERYWHERE, Fence
from coordinator.policy.homes import HomeClass, HomeRing
from coordinator.policy.moves import FormerHolder, HeldRing, MoveReason
from coordinator.policy.placement import Redundancy, RingPlan, RingView
from coordinator.policy.storage_classes import STANDARD
from coordinator.store import classes
from coordinator.store.schema import next_number

_NONE: Final[Mapping[int, FormerHolder]] = {}


@dataclass(frozen=True, slots=True)
class Ring:
    """A ring: which cell holds each slot. ``revision`` counts the slots that were moved;
    ``sources``: by slot, the former holder that the holder still takes shards from.
    ``storage_class``: by number; ``fence``: of that class."""

    ring: int
    redundancy: Redundancy
    cells: tuple[int, ...]
    open: bool
    revision: int = 0
    sources: Mapping[int, FormerHolder] = field(default_factory=dict)
    storage_class: int = STANDARD
    fence: Fence = EVERYWHERE
    view: RingView = field(init=False, compare=False, repr=False)
    """The ring as placement sees it: made once, since every look at all rings wants it."""
    held: HeldRing = field(init=False, compare=False, repr=False)
    """The ring as moves see it, likewise."""

    def __post_init__(self) -> None:
        view = RingView(self.ring, self.cells, self.redundancy.quorum, self.open)
        object.__setattr__(self, "view", view)
        held = HeldRing(self.ring, self.redundancy.k, self.cells, self.sources, self.fence)
        object.__setattr__(self, "held", held)

    def home(self) -> HomeRing:
        """The ring as segments see it that return to their home class."""
        home = HomeClass(self.storage_class, self.redundancy.k, self.redundancy.n)
        return HomeRing(self.ring, home, self.cells)


def load(sql: Sql) -> list[Ring]:
    """All rings, by number."""
    return _load(sql, "")


def load_some(sql: Sql, numbers: Iterable[int]) -> list[Ring]:
    """Some rings, by number."""
    return [ring for number in numbers for ring in _load(sql, f"WHERE ring = {number:d}")]


def _load(sql: Sql, where: str) -> list[Ring]:
    cells: dict[int, list[int]] = defaultdict(list)
    for ring, cell in sql.execute(f"SELECT ring, cell FROM ring_slots {where} ORDER BY ring, slot"):
        cells[ring].append(cell)
    sources: dict[int, dict[int, FormerHolder]] = defaultdict(dict)
    for ring, slot, cell, reason in sql.execute(
        f"SELECT ring, slot, cell, reason FROM sources {where}"
    ):
        sources[ring][slot] = FormerHolder(cell, MoveReason(reason))
    fences = classes.fences(sql)
    return [
        Ring(
            ring,
            Redundancy(k, n, quorum),
            tuple(cells[ring]),
            bool(is_open),
            revision,
            sources.get(ring, _NONE),
            storage_class,
            fences.get(storage_class, EVERYWHERE),
        )
        for ring, k, n, quorum, is_open, revision, storage_class in sql.execute(
            "SELECT ring, k, n, quorum, is_open, revision, storage_class FROM rings"
            f" {where} ORDER BY ring"
        )
    ]


def apply(
    sql: Sql,
    plan: RingPlan,
    redundancy: Redundancy,
    now_ms: int,
    storage_class: int = STANDARD,
) -> list[Ring]:
    """Carry out a plan for a storage class and return the rings it added."""
    next_number(sql, "plans")
    for is_open, numbers in ((1, plan.reopen), (0, plan.close)):
        sql.executemany(
            "UPDATE rings SET is_open = ? WHERE ring = ?", [(is_open, ring) for ring in numbers]
        )
    added = []
    fence = classes.fences(sql).get(storage_class, EVERYWHERE)
    for cells in plan.new:
        number = sql.execute(
            "INSERT INTO rings (k, n, quorum, is_open, created_ms, storage_class)"
            " VALUES (?, ?, ?, 1, ?, ?) RETURNING ring",
            (redundancy.k, redundancy.n, redundancy.quorum, now_ms, storage_class),
        ).fetchone()[0]
        sql.executemany(
            "INSERT INTO ring_slots (ring, slot, cell) VALUES (?, ?, ?)",
            [(number, slot, cell) for slot, cell in enumerate(cells)],
        )
        added.append(
            Ring(number, redundancy, cells, True, storage_class=storage_class, fence=fence)
        )
    return added


def segments_of(sql: Sql, ring: int) -> int:
    """The number of segments on a ring."""
    found: int = sql.execute("SELECT count(*) FROM segments WHERE ring = ?", (ring,)).fetchone()[0]
    return found


def used(sql: Sql) -> set[int]:
    """The rings that hold a segment."""
    return {
        ring
        for (ring,) in sql.execute(
            "SELECT ring FROM rings r WHERE EXISTS (SELECT 1 FROM segments s WHERE s.ring = r.ring)"
        )
    }


def slot_bytes(sql: Sql) -> dict[int, int]:
    """The size of the shards of one slot, by ring. Looks at all segments."""
    return dict(sql.execute("SELECT ring, sum(shard_bytes) FROM segments GROUP BY ring").fetchall())


def slot_bytes_of(sql: Sql, numbers: Iterable[int]) -> dict[int, int]:
    """The size of the shards of one slot, of some rings."""
    return {
        number: sql.execute(
            "SELECT coalesce(sum(shard_bytes), 0) FROM segments WHERE ring = ?", (number,)
        ).fetchone()[0]
        for number in numbers
    }
