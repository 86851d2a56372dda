"""Readings of the stores of nodes, past the nodes: what services would say of themselves is not
evidence.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any, Final

from cell.storage.recovery import INDEX_NAME
from common.crypto.identity import KeyPair
from coordinator.journaled_store import STORE_NAME
from coordinator.store import dialect
from sim.cluster import Cluster, SimDaemon
from sim.world import SimNode

MOST_SHOWN: Final = 5
"""Violations of one kind that a report shows."""

APART: Final = frozenset({"journal"})
"""Tables that say where a store is in its journal, which another one may have begun again."""

Shard = tuple[bytes, int]
"""A segment and a slot."""


def rows(node: SimNode, store: str, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
    """Run a query on a node's store directly, without going through the node."""
    return node.databases[store].connection.execute(sql, parameters).fetchall()


def store_rows(cluster: Cluster, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
    """Run a query on the coordinators' store."""
    return rows(cluster.store_node, STORE_NAME, sql, *parameters)


def has_store(cluster: Cluster) -> bool:
    """Return whether the coordinators' store is there: not while it is lost."""
    database = cluster.store_node.databases.get(STORE_NAME)
    return database is not None and bool(dialect.version(database.connection))


def index_rows(node: SimNode, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
    """Run a query on the index of a cell that has one (:func:`has_index`)."""
    return rows(node, INDEX_NAME, sql, *parameters)


def has_index(node: SimNode) -> bool:
    """Return whether a cell has an index: not before its first start has made one durably."""
    return INDEX_NAME in node.databases and bool(
        index_rows(node, "SELECT 1 FROM sqlite_master WHERE name = 'shards'")
    )


def retained_rows(node: SimNode) -> list[tuple[bytes, int, int]]:
    """Return the shards that a cell keeps, and until when, unix seconds."""
    if not index_rows(node, "SELECT 1 FROM sqlite_master WHERE name = 'retained'"):
        return []
    return index_rows(node, "SELECT segment_id, slot, until FROM retained")


def fails_index(node: SimNode) -> bool:
    """Return whether a cell that has an index cannot write it now."""
    return node.databases[INDEX_NAME].fail_commits > 0


def held_shards(node: SimNode) -> set[Shard]:
    """Return the shards in the index of a cell, good and bad."""
    return set(index_rows(node, "SELECT segment_id, slot FROM shards"))


def ring_holders(cluster: Cluster) -> dict[int, tuple[int, ...]]:
    """Return the cells of each ring, by slot, as the coordinators number them."""
    rings: dict[int, list[int]] = {}
    for ring, cell in store_rows(cluster, "SELECT ring, cell FROM ring_slots ORDER BY ring, slot"):
        rings.setdefault(ring, []).append(cell)
    return {ring: tuple(cells) for ring, cells in rings.items()}


def cell_id_of(daemon: SimDaemon) -> bytes:
    """The id of a cell, from its disk; empty when it has none yet."""
    inode = daemon.node.platter.inodes.get("identity.key")
    text = b"" if inode is None else bytes(inode.content)
    if not text:
        return b""
    return _peer_id(text)


@cache
def _peer_id(text: bytes) -> bytes:
    return KeyPair.from_private(bytes.fromhex(text.decode().strip())).peer_id


def is_read_only(daemon: SimDaemon) -> bool:
    """Return whether a cell that is up cannot write: what it finds is in memory then, and not in
    the tables of its index."""
    return bool(daemon.serving.store.writer.read_only_reason)


class StoreChanges:
    """Says whether the coordinators' store was written since it was last asked."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._seen: tuple[object, int] = (None, 0)

    def are_new(self) -> bool:
        """Return whether there is something to look at, which counts as looked at from now on."""
        # A store that was put in place of another has a connection of its own.
        connection = self._cluster.store_node.databases[STORE_NAME].connection
        before, self._seen = self._seen, (connection, connection.total_changes)
        return self._seen != before


class NewLives:
    """Finds cells that have come to life since they were last looked at."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._seen: dict[str, int] = {}

    def __iter__(self) -> Iterator[SimDaemon]:
        for daemon in self._cluster.cells:
            node = daemon.node
            if daemon.is_up and self._seen.get(node.name, 0) != node.life and has_index(node):
                self._seen[node.name] = node.life
                yield daemon


def differences(mine: Any, other: Any) -> list[str]:
    """Return the rows that one store has and another has not.

    Args:
        mine, other: their connections.
    """
    query = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
    found = []
    for (table,) in mine.execute(f"{query} ORDER BY name").fetchall():
        if table in APART:
            continue
        rows = [set(each.execute(f"SELECT * FROM {table}")) for each in (mine, other)]
        for row in list(rows[0] ^ rows[1])[:MOST_SHOWN]:
            whose = "lacks" if row in rows[0] else "has besides"
            found.append(f"the other store {whose} in {table}: {row!r:.200}")
    return found[:MOST_SHOWN]
