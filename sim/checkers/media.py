"""Every record that a cell's index points to is on the cell's medium, byte for byte.

An index that is ahead of its volumes shows only when that shard is read, which may be years
later. So every shard of every healthy cell is looked at where it lies, after each start of a cell
and after convergence.
"""

from __future__ import annotations

from cell.storage.index_tables import BAD
from cell.storage.shards import Entry
from cell.storage.volumes import volume_path
from common.crypto.digest import ShardDigests
from common.errors import Corrupt
from common.format.volume import VOLUME_HEAD_BYTES, RecordKind, unpack_head, unpack_record
from sim.checkers.tables import MOST_SHOWN, NewLives, has_index, index_rows, is_read_only
from sim.cluster import Cluster
from sim.world import SimNode


class MediaWatch:
    """Looks at a cell's media whenever it has come to life again: its index may be behind its
    volumes, never ahead of them."""

    def __init__(self, cluster: Cluster) -> None:
        self._lives = NewLives(cluster)
        self.violations: list[str] = []

    def look(self) -> None:
        """Look at the cells that are up in a life that was not looked at yet."""
        for daemon in self._lives:
            if not is_read_only(daemon):
                node = daemon.node
                self.violations += [f"in life {node.life} {each}" for each in _missing(node)]


def check_media(cluster: Cluster) -> list[str]:
    """Shards that a healthy cell counts as good and that its volumes do not have, readable."""
    return [each for daemon in cluster.cells for each in _missing(daemon.node)][:MOST_SHOWN]


def _missing(node: SimNode) -> list[str]:
    if node.is_rotten or not has_index(node):
        return []
    return [
        f"{node.name} has no good bytes of slot {slot} of {segment.hex()}"
        for segment, slot, *facts in index_rows(
            node,
            "SELECT segment_id, slot, volume, offset, sequence, unit_bytes, shard_bytes, root"
            f" FROM shards WHERE state <> {BAD}",
        )
        if not _is_there(node, (segment, slot), Entry(*facts))
    ]


def _is_there(node: SimNode, name: tuple[bytes, int], entry: Entry) -> bool:
    inode = node.platter.inodes.get(volume_path(entry.volume))
    if inode is None:
        return False
    content = memoryview(inode.content)
    try:
        key = unpack_head(content[:VOLUME_HEAD_BYTES], volume=entry.volume)
        header = unpack_record(
            key,
            content[entry.offset : entry.leaves_offset],
            volume=entry.volume,
            offset=entry.offset,
        )
    except Corrupt:
        return False
    data = content[entry.data_offset : entry.data_offset + entry.shard_bytes]
    digests = ShardDigests.of(entry.unit_bytes, entry.shard_bytes, data)
    stored = bytes(content[entry.leaves_offset : entry.data_offset])
    return (
        header.kind is RecordKind.SHARD
        and (header.segment_id, header.slot, header.sequence) == (*name, entry.sequence)
        and digests.belong_to(entry.root)
        and (digests.units == 1 or stored.startswith(digests.leaves))
    )
