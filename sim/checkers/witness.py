"""A healthy cell never loses what it acknowledged, even if the swarm could tolerate the loss.

The swarm survives the loss of some shards and the cells report them, so a cell that acknowledges
too early does little harm to any one object. The witness looks at the coordinator's store all the
time: a slot that was durable, when its segment was committed or since, and is missing later with
the same holder has been lost. A slot that moves is missing at its new holder until that has it.
"""

from __future__ import annotations

from sim.checkers.tables import MOST_SHOWN, StoreChanges, cell_id_of, ring_holders, store_rows
from sim.cluster import Cluster


class Witness:
    """Remembers which slots of each segment missed their shard."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._missed: dict[bytes, set[int]] = {}
        self._holders: dict[int, tuple[int, ...]] = {}
        """The cells of each ring, as last looked at."""
        self._changes = StoreChanges(cluster)
        self._lost: dict[tuple[bytes, int], str] = {}

    def look(self) -> None:
        """Compare what is missing now with what was missing when last looked at."""
        if not self._changes.are_new():
            return
        cluster = self._cluster
        missing: dict[bytes, set[int]] = {}
        for segment, slot in store_rows(cluster, "SELECT segment_id, slot FROM missing_shards"):
            missing.setdefault(segment, set()).add(slot)
        before, self._holders = self._holders, ring_holders(cluster)
        for segment, ring in store_rows(cluster, "SELECT segment_id, ring FROM segments"):
            now = missing.get(segment, set())
            for slot in sorted(now - self._missed.get(segment, now)):
                if ring in before and before[ring][slot] == self._holders[ring][slot]:
                    self._judge(segment, slot)
            # A slot that is there again was acknowledged again.
            self._missed[segment] = now

    def _judge(self, segment: bytes, slot: int) -> None:
        if (segment, slot) in self._lost:
            return
        holder = store_rows(
            self._cluster,
            "SELECT c.cell_id FROM segments s JOIN ring_slots r ON r.ring = s.ring"
            " AND r.slot = ? JOIN cells c ON c.cell = r.cell WHERE s.segment_id = ?",
            slot,
            segment,
        )
        for daemon in self._cluster.cells:
            cell_id = cell_id_of(daemon)
            if (cell_id,) in holder:
                is_healthy = not (daemon.node.is_rotten or daemon.is_emptied)
                self._lost[segment, slot] = daemon.node.name if is_healthy else ""

    def violations(self) -> list[str]:
        """Return the losses of healthy cells, as readable text."""
        found = [
            f"{name} lost slot {slot} of {segment.hex()} that it had acknowledged"
            for (segment, slot), name in self._lost.items()
            if name
        ]
        return found[:MOST_SHOWN]
