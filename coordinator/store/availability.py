"""Silence of cells in the store: by cell and day, for as many days as count. Functions of a
transaction.

Only silence and announced maintenance have rows: a cell that is always heard costs nothing. The
time that was watched is one counter.

Source: docs/placement.md, "Availability".
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from common.data_classes import dataclass
from common.ports import Sql
from coordinator.policy.availability import Absences, day_of, first_day
from coordinator.store.schema import counter_value

WATCHED: Final = "watched_s"


@dataclass(frozen=True, slots=True)
class AwayTime:
    """Seconds of a cell since it was last counted: silent, and such that count neither way."""

    cell: int
    silent_s: int
    excused_s: int


def count(sql: Sql, elapsed_s: int, absences: Iterable[AwayTime]) -> None:
    """Count time in which the swarm was watched, and who was absent in it."""
    watched_s: int = sql.execute(
        "UPDATE counters SET value = value + ? WHERE name = ? RETURNING value",
        (elapsed_s, WATCHED),
    ).fetchone()[0]
    day = day_of(watched_s)
    sql.executemany(
        "INSERT INTO absences (cell, day, silent_s, excused_s) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (cell, day) DO UPDATE SET silent_s = absences.silent_s + excluded.silent_s,"
        " excused_s = absences.excused_s + excluded.excused_s",
        [(each.cell, day, each.silent_s, each.excused_s) for each in absences],
    )
    if day != day_of(watched_s - elapsed_s):
        sql.execute("DELETE FROM absences WHERE day < ?", (first_day(watched_s),))


def load(sql: Sql) -> Absences:
    """The absences of the last days."""
    watched_s = counter_value(sql, WATCHED)
    return Absences(
        watched_s,
        {
            cell: (silent_s, excused_s)
            for cell, silent_s, excused_s in sql.execute(
                "SELECT cell, sum(silent_s), sum(excused_s) FROM absences WHERE day >= ?"
                " GROUP BY cell",
                (first_day(watched_s),),
            )
        },
    )
