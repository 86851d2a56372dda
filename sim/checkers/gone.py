"""Shards that a healthy cell has confirmed as deleted stay deleted in its next life.

A comparison would clear it away, so nothing of it is seen at rest.
"""

from __future__ import annotations

from typing import Final

from cell.storage.recovery import INDEX_NAME
from coordinator.service import STORE_NAME
from sim.checkers.media import began_read_only
from sim.checkers.ownership import cell_id_of, has_index, rows
from sim.cluster import Cluster, SimDaemon

MOST_SHOWN: Final = 5

Shard = tuple[bytes, int]


class GoneWatch:
    """Looks at what cells are to delete, and at what they have when they start again."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._changes = -1
        self._queued: dict[bytes, set[Shard]] = {}
        """Of segments that are deleted, by cell: shards that it had."""
        self._gone: dict[bytes, set[Shard]] = {}
        """Those whose deletion was confirmed since."""
        self._lives: dict[str, int] = {}
        self._found: dict[str, None] = {}

    def look(self) -> None:
        """Look at what has changed."""
        daemons = {cell_id_of(each): each for each in self._cluster.cells if each.is_up}
        for cell_id, daemon in daemons.items():
            node = daemon.node
            if self._lives.get(node.name, 0) != node.life and has_index(node):
                self._lives[node.name] = node.life
                if not node.is_rotten and not began_read_only(daemon):
                    for segment, slot in sorted(self._gone.get(cell_id, set()) & _held(daemon)):
                        what = f"slot {slot} of {segment.hex()}"
                        self._found[f"{what} is on {node.name} again, which had deleted it"] = None
        # Afterwards: what a new life has confirmed by now may still be in the tables of its index.
        connection = self._cluster.store_node.databases[STORE_NAME].connection
        if connection.total_changes != self._changes:
            self._changes = connection.total_changes
            self._take_in(daemons)

    def violations(self) -> list[str]:
        """Return what came back, as readable text."""
        return list(self._found)[:MOST_SHOWN]

    def _take_in(self, daemons: dict[bytes, SimDaemon]) -> None:
        queued: dict[bytes, set[Shard]] = {}
        for cell_id, segment, slot in rows(
            self._cluster.store_node,
            STORE_NAME,
            "SELECT c.cell_id, d.segment_id, d.slot FROM deletes d JOIN cells c ON c.cell = d.cell"
            " WHERE d.segment_id NOT IN (SELECT segment_id FROM segments)",
        ):
            queued.setdefault(cell_id, set()).add((segment, slot))
        before, self._queued = self._queued, {}
        for cell_id, shards in queued.items():
            known = before.get(cell_id, set())
            new = shards - known
            if new and cell_id in daemons and has_index(daemons[cell_id].node):
                known = known | (new & _held(daemons[cell_id]))
            self._queued[cell_id] = known & shards
        for cell_id, shards in before.items():
            self._gone.setdefault(cell_id, set()).update(shards - queued.get(cell_id, set()))


def _held(daemon: SimDaemon) -> set[Shard]:
    return set(rows(daemon.node, INDEX_NAME, "SELECT segment_id, slot FROM shards"))
