"""The coordinator's beliefs about slots hold all the time, and not only at rest.

A slot that is not known to miss its shard has it, with the root that was committed; a source has
what its successor still misses, and is neither forgotten nor made to delete it before. The swarm
would get over each of these by comparisons and rebuilding, until one loss too many.

Cells whose disks rot or were emptied are not judged, nor those that cannot write; only where no
faults are drawn is it demanded that a shard is there.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import trio

from cell.rounds.filling import FilledShard, Filling
from cell.storage.index_tables import BAD
from common.ids import DIGEST_BYTES
from sim.checkers.tables import (
    MOST_SHOWN,
    Shard,
    StoreChanges,
    cell_id_of,
    fails_index,
    has_index,
    has_store,
    held_shards,
    index_rows,
    is_read_only,
    ring_holders,
    store_rows,
)
from sim.cluster import Cluster, SimDaemon
from sim.replacing import replaced

DOUBT_S: Final = 9.0
"""An index has in its tables what is durable within 5 s, and a write of it takes its time."""
STALE_S: Final = 20.0
"""An index whose store failed is written again 10 s later; until then it has what it had before."""
SURELY_HEARD_S: Final = 20.0
"""A cell that has been up for so long is one that a coordinator knows can be read."""
SOURCES_EVERY_S: Final = 5.0
FEWEST_COMPUTED: Final = 5

FORGOTTEN: Final = (
    "SELECT m.segment_id, m.slot FROM missing_shards m WHERE m.source_lacks = 0 AND NOT EXISTS"
    " (SELECT 1 FROM sources q WHERE q.ring = m.ring AND q.slot = m.slot)"
)
DELETED_EARLY: Final = (
    "SELECT m.segment_id, m.slot FROM sources q JOIN missing_shards m ON m.ring = q.ring"
    " AND m.slot = q.slot AND m.source_lacks = 0 JOIN deletes d ON d.cell = q.cell"
    " AND d.segment_id = m.segment_id AND d.slot = m.slot"
)
AT_SOURCES: Final = (
    "SELECT q.cell, m.segment_id, m.slot FROM sources q JOIN missing_shards m ON m.ring = q.ring"
    " AND m.slot = q.slot AND m.source_lacks = 0"
)


class FillWatch:
    """Looks at the coordinator's store, and at the indexes of the cells that it speaks of.

    Args:
        is_calm: nothing goes wrong but that cells go.
    """

    def __init__(self, cluster: Cluster, *, is_calm: bool) -> None:
        self.copied = 0
        self.computed = 0
        """Though the source was up and said to have the shard."""
        self._cluster = cluster
        self._is_calm = is_calm
        self._changes = StoreChanges(cluster)
        self._missing: set[Shard] = set()
        self._segments: dict[bytes, tuple[int, bytes]] = {}
        self._holders: dict[int, tuple[int, ...]] = {}
        self._daemons: dict[int, SimDaemon] = {}
        self._doubts: dict[Shard, float] = {}
        """Shards that should be at their holders, and since when that could have been seen."""
        self._source_doubts: dict[Shard, float] = {}
        self._at_sources: set[tuple[int, bytes, int]] = set()
        self._up_since: dict[str, tuple[int, float]] = {}
        """Of cells, by name: the life, and when it was seen first."""
        self._sources_at = 0.0
        self._found: dict[str, None] = {}

    def look(self) -> None:
        """Look at what has changed, and at what is still in doubt."""
        for daemon in self._cluster.cells:
            name, life = daemon.node.name, daemon.node.life
            if daemon.is_up and self._up_since.get(name, (-1, 0.0))[0] != life:
                self._up_since[name] = life, trio.current_time()
        if self._changes.are_new():
            self._take_in()
            if self._is_calm:
                self._find("is missing where it moved to, and its source is forgotten", FORGOTTEN)
                self._find("is to be deleted by its source, and still missing", DELETED_EARLY)
                self._look_for_dropped_sources()
        for shard, since in list(self._doubts.items()):
            if self._is_settled(shard, since):
                del self._doubts[shard]
        if self._is_calm and trio.current_time() >= self._sources_at:
            self._sources_at = trio.current_time() + SOURCES_EVERY_S
            self._look_at_sources()

    def violations(self) -> list[str]:
        """Return what did not hold, as readable text."""
        found = list(self._found)[:MOST_SHOWN]
        if self._is_calm and not self.copied and self.computed >= FEWEST_COMPUTED:
            found.append(f"{self.computed} shards were computed, none was copied from its source")
        return found

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Count inside the ``with`` how slots are filled."""
        run = Filling.run

        async def watched(filling: Filling) -> FilledShard:
            filled = await run(filling)
            if filled.copied_bytes:
                self.copied += 1
            elif filled.computed_bytes and self._could_be_copied(filled.key):
                self.computed += 1
            return filled

        with replaced(Filling, "run", watched):
            yield

    # --- the store -----------------------------------------------------------------------------

    def _rows(self, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
        return store_rows(self._cluster, sql, *parameters)

    def _find(self, what: str, sql: str) -> None:
        for segment, slot in self._rows(sql):
            self._found[f"slot {slot} of {segment.hex()} {what}"] = None

    def _take_in(self) -> None:
        """Note which shards should be at their holders since the last look."""
        now = trio.current_time()
        missing = set(self._rows("SELECT segment_id, slot FROM missing_shards"))
        segments = {
            segment: (ring, roots)
            for segment, ring, roots in self._rows("SELECT segment_id, ring, roots FROM segments")
        }
        holders = ring_holders(self._cluster)
        moved = {ring for ring, cells in holders.items() if self._holders.get(ring, cells) != cells}
        for segment, (ring, _) in segments.items():
            if segment in self._segments and ring not in moved:
                continue
            before = self._holders.get(ring) if segment in self._segments else None
            for slot, cell in enumerate(holders[ring]):
                if before is None or before[slot] != cell:
                    self._doubts[segment, slot] = now
        self._doubts |= dict.fromkeys(self._missing - missing, now)
        self._missing, self._segments, self._holders = missing, segments, holders

    # --- cells ---------------------------------------------------------------------------------

    def _daemon(self, cell: int) -> SimDaemon | None:
        if cell not in self._daemons:
            (cell_id,) = self._rows("SELECT cell_id FROM cells WHERE cell = ?", cell)[0]
            for each in self._cluster.cells:
                if cell_id_of(each) == cell_id:
                    self._daemons[cell] = each
        return self._daemons.get(cell)

    def _is_settled(self, shard: Shard, since: float) -> bool:
        """Return whether there is nothing to find out any more about a shard."""
        segment, slot = shard
        if shard in self._missing or segment not in self._segments:
            return True
        ring, roots = self._segments[segment]
        daemon = self._daemon(self._holders[ring][slot])
        if daemon is None or daemon.is_gone or daemon.is_emptied or daemon.node.is_rotten:
            return True
        now = trio.current_time()
        if not self._is_writing(daemon):
            self._doubts[shard] = now
            return False
        found = index_rows(
            daemon.node,
            "SELECT root, state FROM shards WHERE segment_id = ? AND slot = ?",
            segment,
            slot,
        )
        where = f"slot {slot} of {segment.hex()}"
        if found:
            root, state = found[0]
            if state == BAD or root == roots[DIGEST_BYTES * slot : DIGEST_BYTES * (slot + 1)]:
                return True
            if now - since < STALE_S:
                return False
            self._found[f"{daemon.node.name} was filled with another {where}"] = None
            return True
        if now - since < DOUBT_S:
            return False
        if self._is_calm:
            self._found[f"{daemon.node.name} lacks {where}, and that is not known"] = None
        return True

    def _look_at_sources(self) -> None:
        """Look whether sources have what they are said to have."""
        now = trio.current_time()
        wanted: dict[int, set[Shard]] = {}
        for cell, segment, slot in self._rows(AT_SOURCES):
            wanted.setdefault(cell, set()).add((segment, slot))
        before, self._source_doubts = self._source_doubts, {}
        for cell, shards in wanted.items():
            daemon = self._daemon(cell)
            if daemon is None or daemon.is_emptied or not self._is_writing(daemon):
                continue
            for shard in shards - held_shards(daemon.node):
                since = self._source_doubts[shard] = before.get(shard, now)
                if now - since >= DOUBT_S:
                    text = f"{daemon.node.name} deleted slot {shard[1]} of {shard[0].hex()}"
                    self._found[f"{text}, which is not where it moved to yet"] = None

    def _look_for_dropped_sources(self) -> None:
        """Look whether a source that could be read was replaced by a worse one, or by none.

        A move may be finished and the next one begun between two looks: then a former holder that
        can be read is the source. That it has the shard is what :meth:`_look_at_sources` looks at.
        """
        before, self._at_sources = self._at_sources, set(self._rows(AT_SOURCES))
        named = {(segment, slot): cell for cell, segment, slot in self._at_sources}
        for cell, segment, slot in before - self._at_sources:
            source = named.get((segment, slot))
            if (segment, slot) not in self._missing or (
                source is not None and self._is_readable(self._daemon(source))
            ):
                continue
            daemon = self._daemon(cell)
            holder = self._holders[self._segments[segment][0]][slot]
            if daemon is not None and self._is_readable(daemon) and holder != cell:
                text = f"{daemon.node.name} was dropped as the source of slot {slot}"
                self._found[f"{text} of {segment.hex()}, which is still missing"] = None

    def _is_readable(self, daemon: SimDaemon | None) -> bool:
        """Return whether a cell has been up for so long that each coordinator has heard it."""
        if daemon is None or daemon.is_emptied:
            return False
        life, since = self._up_since.get(daemon.node.name, (-1, 0.0))
        is_heard = trio.current_time() - since >= SURELY_HEARD_S
        return daemon.is_up and daemon.node.life == life and is_heard

    @staticmethod
    def _is_writing(daemon: SimDaemon) -> bool:
        node = daemon.node
        return daemon.is_up and has_index(node) and not (is_read_only(daemon) or fails_index(node))

    def _could_be_copied(self, shard: Shard) -> bool:
        segment, slot = shard
        if not has_store(self._cluster):
            return False
        for cell, *_ in self._rows(
            f"{AT_SOURCES} WHERE m.segment_id = ? AND m.slot = ?", segment, slot
        ):
            daemon = self._daemon(cell)
            return daemon is not None and daemon.is_up
        return False
