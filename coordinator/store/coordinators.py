"""The coordinators that have one store open: where each takes calls, and signs of their lives.

Source: docs/placement.md, "Several coordinators"; docs/decisions/0050-postgresql.md.
"""

from __future__ import annotations

from collections.abc import Iterable

from common.data_classes import dataclass
from common.errors import BadConfig
from common.ports import Address, Sql
from common.reasons import ConfigFault
from coordinator.store import schema


@dataclass(frozen=True, slots=True)
class StoredCoordinator:
    """A coordinator. ``address``: None: it does not say. ``beats``: its signs of life."""

    run_id: bytes
    address: Address | None
    beats: int


def begin(sql: Sql, run_id: bytes, swarm_id: bytes, address: Address | None) -> None:
    """Enter a coordinator that starts, in the place of one that was at its address.

    Raises:
        BadConfig: ``wrong_swarm``: those that were here before have another secret;
            ``store_too_new``.
    """
    # Again, in this transaction: from now on nothing is taken away that this one uses.
    schema.check_version(sql)
    row = sql.execute("SELECT swarm_id FROM coordinators LIMIT 1").fetchone()
    if row is not None and row[0] != swarm_id:
        raise BadConfig(
            ConfigFault.WRONG_SWARM,
            message="the store belongs to coordinators with another secret: `alveary coordinator"
            " add` makes the file for the directory of one more, before its first start",
        )
    host, port = ("", 0) if address is None else (address.host, address.port)
    if port:
        sql.execute("DELETE FROM coordinators WHERE host = ? AND port = ?", (host, port))
    sql.execute(
        "INSERT INTO coordinators (run_id, swarm_id, host, port, version) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT (run_id) DO UPDATE SET host = excluded.host, port = excluded.port",
        (run_id, swarm_id, host, port, schema.SCHEMA_VERSION),
    )


def beat(sql: Sql, run_id: bytes, address: Address | None) -> None:
    """Give a sign of life, with where calls are taken.

    Raises:
        BadConfig: ``store_too_new``: this one was taken for gone, and something that it uses away.
    """
    schema.check_version(sql)
    host, port = ("", 0) if address is None else (address.host, address.port)
    sql.execute(
        "UPDATE coordinators SET beats = beats + 1, host = ?, port = ? WHERE run_id = ?",
        (host, port, run_id),
    )


def forget(sql: Sql, run_ids: Iterable[bytes]) -> None:
    """Forget coordinators that are gone."""
    sql.executemany("DELETE FROM coordinators WHERE run_id = ?", [(each,) for each in run_ids])


def load(sql: Sql) -> list[StoredCoordinator]:
    """All coordinators."""
    return [
        StoredCoordinator(run_id, Address(host, port) if port else None, beats)
        for run_id, host, port, beats in sql.execute(
            "SELECT run_id, host, port, beats FROM coordinators ORDER BY run_id"
        )
    ]
