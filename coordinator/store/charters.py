"""The swarm's charter, in the store so that it is as durable as commits are.

Source: docs/charter-format.md, "Where it lies".
"""

from __future__ import annotations

from common.charter_book import CharterBook
from common.errors import PeerViolation, Refused
from common.ports import Log, Sql, Store
from common.reasons import Refusal


def load(sql: Sql) -> bytes:
    """Return the charter; empty: there is none."""
    row = sql.execute("SELECT charter FROM charters").fetchone()
    return b"" if row is None else bytes(row[0])


def keep(sql: Sql, charter: bytes) -> None:
    """Put a charter in the place of the one before it."""
    sql.execute("DELETE FROM charters")
    sql.execute("INSERT INTO charters (charter) VALUES (?)", (charter,))


def replace(sql: Sql, before: bytes, charter: bytes) -> None:
    """Put a charter in the place of the one that its signer has seen; the same again is fine.

    Raises:
        Refused: ``charter_changed``: somebody else was first.
    """
    found = load(sql)
    if found == charter:
        return
    if found not in (b"", before):
        raise Refused(Refusal.CHARTER_CHANGED)
    keep(sql, charter)


async def take_stored(store: Store, book: CharterBook, log: Log) -> bytes:
    """Take in the charter of a store, which another coordinator may have put there.

    Returns:
        It, whatever it is. Raises as :meth:`common.ports.Store.read`.
    """
    stored: bytes = await store.read(load)
    try:
        await book.take(stored)
    except PeerViolation:  # the swarm's key was replaced since
        log.warning("charter_of_another_swarm")
    return stored
