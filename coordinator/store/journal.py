"""The place of this store in its journal, and the texts that the journal's records name by number.

Source: docs/journal.md, "Statements".
"""

from __future__ import annotations

from collections.abc import Iterable

from common.data_classes import dataclass
from common.format.journal import ChainEnd
from common.ports import Sql
from common.wire.messages.journal import JournalMembers


@dataclass(frozen=True, slots=True)
class JournalRow:
    """The journal as the store knows it. ``members``: None while none is kept. ``is_leased``: see
    :func:`is_leased`."""

    end: ChainEnd
    key_id: bytes
    members: JournalMembers | None
    is_leased: bool = False


def load(sql: Sql) -> JournalRow:
    """Load the place of the store in its journal."""
    sequence, epoch, digest, key_id, members = sql.execute(
        "SELECT sequence, epoch, digest, key_id, members FROM journal"
    ).fetchone()
    return JournalRow(
        ChainEnd(sequence, epoch, bytes(digest)),
        bytes(key_id),
        JournalMembers.unpack(members) if members else None,
        is_leased(sql),
    )


def move(sql: Sql, end: ChainEnd) -> None:
    """Note that the store has everything up to a point."""
    sql.execute("UPDATE journal SET sequence = ?, epoch = ?, digest = ?", end)


def set_members(sql: Sql, key_id: bytes, members: JournalMembers | None) -> None:
    """Note who keeps the journal, and the key that it is sealed under."""
    packed = b"" if members is None else members.pack()
    sql.execute("UPDATE journal SET key_id = ?, members = ?", (key_id, packed))


def is_leased(sql: Sql) -> bool:
    """Return whether coordinators of this store refuse requests without a lease: a standby follows
    the journal, or did once."""
    row = sql.execute("SELECT value FROM counters WHERE name = 'journal_leased'").fetchone()
    return row is not None


def set_leased(sql: Sql) -> None:
    """Note that requests are refused without a lease from now on."""
    sql.execute(
        "INSERT INTO counters (name, value) VALUES ('journal_leased', 1)"
        " ON CONFLICT (name) DO NOTHING"
    )


def forget(sql: Sql) -> None:
    """Note that nobody keeps the journal any more, and nobody follows it."""
    set_members(sql, b"", None)
    sql.execute("DELETE FROM counters WHERE name = 'journal_leased'")


def texts(sql: Sql) -> dict[int, str]:
    """The texts of statements by number."""
    return dict(sql.execute("SELECT number, text FROM journal_statements ORDER BY number"))


def define(sql: Sql, definitions: Iterable[tuple[int, str]]) -> None:
    """Give texts numbers."""
    sql.executemany(
        "INSERT INTO journal_statements (number, text) VALUES (?, ?)", list(definitions)
    )
