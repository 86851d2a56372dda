"""Statements of a transaction, recorded on their way to the store.

Whatever may change something is recorded; what only reads is not. The same statements with the
same parameters, run in the same order on the same store, make the same store again: no statement
draws a value or reads a clock.

Source: docs/journal.md, "Statements".
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from common.ports import Sql, SqlStatement


@lru_cache(maxsize=1024)
def only_reads(statement: str) -> bool:
    """Return whether a statement surely changes nothing."""
    first = statement.lstrip()[:6].upper()
    return first == "SELECT" or (first == "PRAGMA" and "=" not in statement)


class RecordingSql:
    """A :class:`common.ports.Sql` that records.

    ``plain``: the one beneath, for what is not to be recorded.
    """

    __slots__ = ("plain", "statements")

    def __init__(self, plain: Sql) -> None:
        self.plain = plain
        self.statements: list[SqlStatement] = []

    def execute(self, sql: str, parameters: Sequence[Any] = (), /) -> Any:
        """See :class:`common.ports.Sql`."""
        if not only_reads(sql):
            self.statements.append(SqlStatement(sql, tuple(parameters), False))
        return self.plain.execute(sql, parameters)

    def executemany(self, sql: str, parameters: Any, /) -> Any:
        """See :class:`common.ports.Sql`."""
        rows = [tuple(each) for each in parameters]
        self.statements.append(SqlStatement(sql, rows, True))
        return self.plain.executemany(sql, rows)


def unrecorded(sql: Sql) -> Sql:
    """Return the Sql beneath one that records; any other as it is."""
    return sql.plain if isinstance(sql, RecordingSql) else sql


def run(sql: Sql, statements: Sequence[SqlStatement]) -> None:
    """Run recorded statements."""
    for statement in statements:
        if statement.is_many:
            sql.executemany(statement.sql, statement.parameters)
        else:
            sql.execute(statement.sql, statement.parameters).fetchall()
