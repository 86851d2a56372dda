"""The place of this store in its journal, and the texts that the journal's records name by number.

Source: docs/journal.md, "Statements".
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from common.format.journal import ChainEnd
from common.ports import Sql
from common.wire.messages.journal import JournalMembers


@dataclass(frozen=True, slots=True)
class JournalRow:
    """The journal as the store knows it. ``members``: None while none is kept."""

    end: ChainEnd
    key_id: bytes
    members: JournalMembers | None


def load(sql: Sql) -> JournalRow:
    """Load the place of the store in its journal."""
    sequence, epoch, digest, key_id, members = sql.execute(
        "SELECT sequence, epoch, digest, key_id, members FROM journal"
    ).fetchone()
    return JournalRow(
        ChainEnd(sequence, epoch, bytes(digest)),
        bytes(key_id),
        JournalMembers.unpack(members) if members else None,
    )


def move(sql: Sql, end: ChainEnd) -> None:
    """Note that the store has everything up to a point."""
    sql.execute("UPDATE journal SET sequence = ?, epoch = ?, digest = ?", end)


def set_members(sql: Sql, key_id: bytes, members: JournalMembers | None) -> None:
    """Note who keeps the journal, and the key that it is sealed under."""
    packed = b"" if members is None else members.pack()
    sql.execute("UPDATE journal SET key_id = ?, members = ?", (key_id, packed))


def texts(sql: Sql) -> dict[int, str]:
    """The texts of statements by number."""
    return dict(sql.execute("SELECT number, text FROM journal_statements ORDER BY number"))


def define(sql: Sql, definitions: Iterable[tuple[int, str]]) -> None:
    """Give texts numbers."""
    sql.executemany(
        "INSERT INTO journal_statements (number, text) VALUES (?, ?)", list(definitions)
    )
