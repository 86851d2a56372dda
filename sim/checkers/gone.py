"""Shards that a healthy cell has confirmed as deleted stay deleted in its next life.

A comparison would clear it away, so nothing of it is seen at rest.
"""

from __future__ import annotations

from sim.checkers.tables import (
    MOST_SHOWN,
    NewLives,
    Shard,
    StoreChanges,
    cell_id_of,
    has_index,
    held_shards,
    is_read_only,
    store_rows,
)
from sim.cluster import Cluster


class GoneWatch:
    """Looks at what cells are to delete, and at what they have when they start again."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._changes = StoreChanges(cluster)
        self._lives = NewLives(cluster)
        self._queued: dict[bytes, set[Shard]] = {}
        """Of segments that are deleted, by cell: shards that it had."""
        self._gone: dict[bytes, set[Shard]] = {}
        """Those whose deletion was confirmed since."""
        self._found: dict[str, None] = {}

    def look(self) -> None:
        """Look at what has changed."""
        for daemon in self._lives:
            node = daemon.node
            if not node.is_rotten and not is_read_only(daemon):
                gone = self._gone.get(cell_id_of(daemon), set())
                for segment, slot in sorted(gone & held_shards(node)):
                    what = f"slot {slot} of {segment.hex()}"
                    self._found[f"{what} is on {node.name} again, which had deleted it"] = None
        # Afterwards: what a new life has confirmed by now may still be in the tables of its index.
        if self._changes.are_new():
            self._take_in()

    def violations(self) -> list[str]:
        """Return what came back, as readable text."""
        return list(self._found)[:MOST_SHOWN]

    def _take_in(self) -> None:
        daemons = {cell_id_of(each): each for each in self._cluster.cells if each.is_up}
        queued: dict[bytes, set[Shard]] = {}
        for cell_id, segment, slot in store_rows(
            self._cluster,
            "SELECT c.cell_id, d.segment_id, d.slot FROM deletes d JOIN cells c ON c.cell = d.cell"
            " WHERE d.segment_id NOT IN (SELECT segment_id FROM segments)",
        ):
            queued.setdefault(cell_id, set()).add((segment, slot))
        before, self._queued = self._queued, {}
        for cell_id, shards in queued.items():
            known = before.get(cell_id, set())
            new = shards - known
            if new and cell_id in daemons and has_index(daemons[cell_id].node):
                known = known | (new & held_shards(daemons[cell_id].node))
            self._queued[cell_id] = known & shards
        for cell_id, shards in before.items():
            self._gone.setdefault(cell_id, set()).update(shards - queued.get(cell_id, set()))
