"""The sealed key rings of tenants. Functions of a transaction.

A ring is replaced whole, by compare-and-set on its revision: what it held before is nowhere in the
store's tables any more.

Source: docs/crypto.md, "Named keys".
"""

from __future__ import annotations

from common.errors import Refused
from common.ports import Sql
from common.reasons import Refusal
from common.wire.messages.key_rings import SealedKeyRing


def get(sql: Sql, tenant: int) -> SealedKeyRing:
    """The key ring of a tenant; of revision 0 where there is none."""
    row = sql.execute(
        "SELECT revision, sealed FROM key_rings WHERE tenant = ?", (tenant,)
    ).fetchone()
    return SealedKeyRing(0, b"") if row is None else SealedKeyRing(row[0], row[1])


def replace(sql: Sql, tenant: int, revision: int, sealed: bytes) -> None:
    """Put a key ring in the place of the one before it; the same again is fine.

    Args:
        revision: of the new one.

    Raises:
        Refused: ``key_ring_changed``: the one there is not of the revision before.
    """
    found = get(sql, tenant)
    if (found.revision, found.sealed) == (revision, sealed):
        return
    if found.revision != revision - 1:
        raise Refused(Refusal.KEY_RING_CHANGED, revision=found.revision)
    sql.execute("DELETE FROM key_rings WHERE tenant = ?", (tenant,))
    sql.execute(
        "INSERT INTO key_rings (tenant, revision, sealed) VALUES (?, ?, ?)",
        (tenant, revision, sealed),
    )
