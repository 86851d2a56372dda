"""The figures of disks in the store: by cell and day, for as many days as count. Functions of a
transaction.

Only cells that report figures have rows. Days are those of the time that coordinators watched, as
those of silence are: no clock has a part in them.

Source: docs/prediction.md, "History".
"""

from __future__ import annotations

from collections.abc import Iterable

from common.data_classes import dataclass
from common.disk_facts import UNKNOWN, DiskFacts
from common.ports import Sql
from coordinator.policy.availability import DAY_S, day_of, first_day
from coordinator.policy.hazard import DiskDay
from coordinator.store.availability import WATCHED
from coordinator.store.schema import counter_value


@dataclass(frozen=True, slots=True)
class DiskFigures:
    """The figures of a cell now. ``disk``: as its heartbeat sends them."""

    cell: int
    disk: tuple[int, ...]
    lost_shards: int


def note(sql: Sql, cells: Iterable[DiskFigures]) -> None:
    """Keep the figures of cells as those of this day, and forget the days that are too old."""
    watched_s = counter_value(sql, WATCHED)
    rows = [
        (each.cell, day_of(watched_s), ",".join(map(str, each.disk)), each.lost_shards)
        for each in cells
    ]
    sql.executemany(
        "INSERT INTO disk_days (cell, day, figures, lost_shards) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (cell, day) DO UPDATE SET figures = excluded.figures,"
        " lost_shards = excluded.lost_shards",
        rows,
    )
    first = first_day(watched_s)
    sql.executemany(
        "DELETE FROM disk_days WHERE cell = ? AND day < ?", [(row[0], first) for row in rows]
    )


def days_of(sql: Sql, cells: Iterable[int]) -> dict[int, tuple[DiskDay, ...]]:
    """Return the days of cells, in order of time; of a cell without figures there are none."""
    watched_s = counter_value(sql, WATCHED)
    today, first = day_of(watched_s), first_day(watched_s)
    found = {}
    for cell in cells:
        rows = sql.execute(
            "SELECT d.day, d.figures, d.lost_shards, coalesce(a.silent_s, 0)"
            " FROM disk_days d LEFT JOIN absences a ON a.cell = d.cell AND a.day = d.day"
            " WHERE d.cell = ? AND d.day >= ? ORDER BY d.day",
            (cell, first),
        ).fetchall()
        found[cell] = tuple(
            DiskDay(
                day,
                DiskFacts.unpack([int(each) for each in figures.split(",") if each]),
                lost_shards,
                up_percent=100 * (1 - silent_s / DAY_S) if day < today else UNKNOWN,
            )
            for day, figures, lost_shards, silent_s in rows
        )
    return found
