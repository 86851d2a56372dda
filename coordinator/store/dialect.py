"""The differences between SQL engines, for SQLite.

All other files of the store keep to what SQLite and PostgreSQL both take: ``RETURNING``,
``ON CONFLICT``, ``count(*) FILTER``, parameters as bare ``?`` in the order of the values. A
:class:`common.ports.Sql` of an engine that numbers its parameters numbers them, and maps the two
types INTEGER (64 bits) and BLOB where they have other names.

Source: docs/placement.md, "What the store holds"; docs/decisions/0023-several-coordinators.md.
"""

from __future__ import annotations

from typing import Final

from common.ports import Sql

BY_KEY: Final = "WITHOUT ROWID"
"""At the end of a table that is laid out by its primary key; nothing where the engine has none."""
NUMBERED: Final = "INTEGER PRIMARY KEY AUTOINCREMENT"
"""The type of a primary key that the engine draws where none is given, and never draws twice."""
IS_SHARED: Final = False
"""True if several processes may have one store open: not a file in a directory that one holds."""
UNCHANGED: Final = ""
"""At the end of a SELECT: what it finds stays until the transaction ends (``FOR SHARE``). Nothing
where one transaction at a time writes."""
THEN_JOIN: Final = "CROSS JOIN"
"""A join that is carried out in the written order; plain ``JOIN`` where it need not be forced."""


def version(sql: Sql) -> int:
    """The version of the store's tables; 0 of a store that has none."""
    found: int = sql.execute("PRAGMA user_version").fetchone()[0]
    return found


def digest(sql: Sql) -> int:
    """The digest of the statements that made the store's tables; 0 if none was noted."""
    found: int = sql.execute("PRAGMA application_id").fetchone()[0]
    return found


def set_version(sql: Sql, number: int, digest: int) -> None:
    """Note the version of the store's tables, and a digest (31 bits) of what made them."""
    sql.execute(f"PRAGMA user_version = {number:d}")
    sql.execute(f"PRAGMA application_id = {digest:d}")


def store_bytes(sql: Sql) -> int:
    """The size of the database."""
    pages: int = sql.execute("PRAGMA page_count").fetchone()[0]
    page_bytes: int = sql.execute("PRAGMA page_size").fetchone()[0]
    return pages * page_bytes


def changes(sql: Sql) -> int:
    """Rows that this connection has changed so far."""
    count: int = sql.execute("SELECT total_changes()").fetchone()[0]
    return count
