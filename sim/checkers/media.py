"""What the index of a cell leads to is on its medium, byte for byte.

An index that is ahead of its volumes shows only to whoever reads that shard, which may be years
later. So after convergence every shard of every healthy cell is looked at where it lies.
"""

from __future__ import annotations

from cell.shards import Entry
from cell.volumes import volume_path
from common.crypto.digest import leaf, shard_root
from common.errors import Corrupt
from common.format.volume import VOLUME_HEAD_BYTES, Kind, unpack_head, unpack_record
from common.ids import DIGEST_BYTES
from sim.checkers.ownership import CELL_STORE, MOST_SHOWN, STATE_BAD, rows
from sim.cluster import Cluster
from sim.world import SimNode


def check_media(cluster: Cluster) -> list[str]:
    """Shards that a healthy cell counts as good and that its volumes do not have, readable."""
    problems = []
    for daemon in cluster.cells:
        node = daemon.node
        if node.is_rotten or CELL_STORE not in node.databases:
            continue
        problems += [
            f"{node.name} has no good bytes of slot {slot} of {segment.hex()}"
            for segment, slot, *facts in rows(
                node,
                CELL_STORE,
                "SELECT segment_id, slot, volume, offset, sequence, unit_bytes, shard_bytes, root"
                f" FROM shards WHERE state <> {STATE_BAD}",
            )
            if not _is_there(node, (segment, slot), Entry(*facts))
        ]
    return problems[:MOST_SHOWN]


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
    unit = entry.unit_bytes
    data = content[entry.data_offset : entry.data_offset + entry.shard_bytes]
    leaves = b"".join(leaf(data[at : at + unit]) for at in range(0, len(data), unit))
    stored = bytes(content[entry.leaves_offset : entry.data_offset])
    return (
        header.kind is Kind.SHARD
        and (header.segment_id, header.slot, header.sequence) == (*name, entry.sequence)
        and shard_root(unit, entry.shard_bytes, leaves) == entry.root
        and (len(leaves) == DIGEST_BYTES or stored.startswith(leaves))
    )
