"""After convergence every shard has an owner, every owner its shard, and the accounts are right."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from typing import Final

from cell.storage.index_tables import BAD
from common.ids import DIGEST_BYTES, SegmentId, lease_of
from common.wire.messages.writing import Page
from coordinator.journaled_store import STORE_NAME
from coordinator.store.schema import counter_value
from sim.checkers.tables import (
    MOST_SHOWN,
    cell_id_of,
    has_index,
    index_rows,
    retained_rows,
    rows,
)
from sim.cluster import Cluster
from sim.world import SimNode

LEFTOVERS: Final = {
    "segments on a ring that no bucket is counted for, or of no bucket": "(SELECT ring, bucket FROM"
    " segments UNION SELECT s.ring, h.bucket FROM segments s JOIN shared_segments h"
    " ON h.segment_id = s.segment_id EXCEPT SELECT ring, bucket FROM bucket_rings)",
    "counts of segments of a bucket on a ring that are wrong": "bucket_rings b WHERE segments <>"
    " (SELECT count(*) FROM segments s WHERE s.ring = b.ring AND (s.bucket = b.bucket OR EXISTS"
    " (SELECT 1 FROM shared_segments h WHERE h.segment_id = s.segment_id"
    " AND h.bucket = b.bucket)))",
    "buckets that share segments that are none": "shared_segments WHERE segment_id NOT IN"
    " (SELECT segment_id FROM segments)",
    "pages without a version or a part": "pages WHERE owner NOT IN (SELECT sequence FROM versions)"
    " AND owner NOT IN (SELECT sequence FROM parts)",
    "accounts of buckets that are none": "bucket_usage WHERE bucket NOT IN"
    " (SELECT bucket FROM buckets)",
    "dropped versions": "versions WHERE dropped = 1",
    "versions that are replaced in buckets that keep none": "versions WHERE dropped = 0"
    " AND bucket IN (SELECT bucket FROM buckets WHERE versioning = 0)"
    " AND sequence NOT IN (SELECT sequence FROM current)",
    "names whose current version is not their latest": "current c WHERE sequence !="
    " (SELECT max(v.sequence) FROM versions v"
    " WHERE v.bucket = c.bucket AND v.name = c.name AND v.dropped = 0)",
    "latest versions that no name leads to": "versions v WHERE dropped = 0 AND delete_marker = 0"
    " AND sequence NOT IN (SELECT sequence FROM current) AND NOT EXISTS (SELECT 1 FROM versions n"
    " WHERE n.bucket = v.bucket AND n.name = v.name AND n.dropped = 0 AND n.sequence > v.sequence)",
    "names with more than one null version": "(SELECT 1 FROM versions"
    " WHERE dropped = 0 AND versioning != 1 GROUP BY bucket, name HAVING count(*) > 1)",
    "parts without their upload": "parts WHERE upload NOT IN (SELECT upload FROM uploads)",
    "shards missing of segments that are none": "missing_shards WHERE segment_id NOT IN"
    " (SELECT segment_id FROM segments)",
    "shards missing that nobody has filled": "missing_shards WHERE segment_id IN"
    " (SELECT segment_id FROM segments)",
    "slots with a source that they do not need": "sources",
}

Held = dict[tuple[bytes, int], tuple[bytes, int]]


def _some(problems: list[str]) -> list[str]:
    if len(problems) <= MOST_SHOWN:
        return problems
    return [*problems[:MOST_SHOWN], f"... and {len(problems) - MOST_SHOWN} more like it"]


async def check_ownership(cluster: Cluster, *, had_older_store: bool = False) -> list[str]:
    """Violations, readable; empty when coordinator and cells agree and nothing is left over.

    Args:
        had_older_store: an older store was in charge for a while, and gave out leases that the
            newer one does not know. What was written under them has no owner, and is kept until
            these numbers are given out again and have ended (docs/placement.md).
    """
    held: dict[bytes, Held] = {}
    retained: dict[bytes, set[tuple[bytes, int]]] = {}
    nodes: dict[bytes, SimNode] = {}
    for daemon in cluster.cells:
        if not has_index(daemon.node):
            continue  # it has not come to life yet
        cell_id = cell_id_of(daemon)
        nodes[cell_id] = daemon.node
        held[cell_id] = {
            (segment, slot): (root, state)
            for segment, slot, root, state in index_rows(
                daemon.node, "SELECT segment_id, slot, root, state FROM shards"
            )
        }
        retained[cell_id] = {
            (segment, slot)
            for segment, slot, until in retained_rows(daemon.node)
            if daemon.node.world.clock.now() < until
        }
    node = cluster.store_node
    return [
        *_some(
            _compare(node, held, retained, nodes, _last_lease(node) if had_older_store else None)
        ),
        *_some(_leftovers(node, held.keys())),
        *_some(_staying(cluster, node)),
        *_some(_accounts(node)),
    ]


def _last_lease(node: SimNode) -> int:
    return counter_value(node.databases[STORE_NAME].connection, "lease")


def _compare(
    node: SimNode,
    held: dict[bytes, Held],
    retained: dict[bytes, set[tuple[bytes, int]]],
    nodes: dict[bytes, SimNode],
    last_lease: int | None,
) -> list[str]:
    missing = set(rows(node, STORE_NAME, "SELECT segment_id, slot FROM missing_shards"))
    owned: dict[bytes, dict[tuple[bytes, int], bytes]] = {cell_id: {} for cell_id in held}
    problems = []
    for segment, roots, slot, cell_id in rows(
        node,
        STORE_NAME,
        "SELECT s.segment_id, s.roots, r.slot, c.cell_id FROM segments s"
        " JOIN ring_slots r ON r.ring = s.ring JOIN cells c ON c.cell = r.cell",
    ):
        root = roots[DIGEST_BYTES * slot : DIGEST_BYTES * (slot + 1)]
        if cell_id in owned:
            owned[cell_id][segment, slot] = root
        else:
            problems.append(f"slot {slot} of {segment.hex()} is held by a cell that is gone")
    going_home = dict(rows(node, STORE_NAME, "SELECT segment_id, roots FROM homes"))
    for cell_id, shards in held.items():
        for (segment, slot), (root, _) in shards.items():
            at = DIGEST_BYTES * slot
            if going_home.get(segment, b"")[at : at + DIGEST_BYTES] == root:
                continue  # made, or being made, for a segment that returns to its home class
            where = f"{nodes[cell_id].name} holds slot {slot} of {segment.hex()}"
            if (segment, slot) not in owned[cell_id]:
                if (segment, slot) in retained[cell_id]:
                    continue  # it went to another cell, and this one keeps it until its time
                if last_lease is not None and lease_of(SegmentId(segment)) > last_lease:
                    continue
                problems.append(f"shard without an owner: {where}")
            elif owned[cell_id][segment, slot] != root:
                problems.append(f"shard with another root than committed: {where}")
        for segment, slot in owned[cell_id]:
            has = shards.get((segment, slot))
            if (has is None or has[1] == BAD) and (segment, slot) not in missing:
                problems.append(
                    f"owner without a shard: {nodes[cell_id].name} lacks slot {slot} of"
                    f" {segment.hex()} and the coordinator does not know"
                )
    return problems


def _staying(cluster: Cluster, node: SimNode) -> list[str]:
    """Return which cells that should have left still hold slots."""
    problems = []
    for daemon in cluster.cells:
        if not daemon.is_draining or daemon.is_gone:
            continue
        held = rows(
            node,
            STORE_NAME,
            "SELECT count(*) FROM ring_slots r JOIN cells c ON c.cell = r.cell WHERE c.cell_id = ?",
            cell_id_of(daemon),
        )[0][0]
        if held:
            problems.append(f"{daemon.node.name} is drained and holds {held} slots")
    return problems


def _leftovers(node: SimNode, living: Collection[bytes]) -> list[str]:
    """Return the leftovers: queues that were not drained, and rows that no name leads to.

    Args:
        living: ids of the cells that are not gone, whose deletes are carried out.
    """
    problems = []
    for what, sql in LEFTOVERS.items():
        count = rows(node, STORE_NAME, f"SELECT count(*) FROM {sql}")[0][0]
        if count:
            problems.append(f"{count} {what}")
    dropped = rows(node, STORE_NAME, "SELECT count(*) FROM dropped")[0][0]
    if dropped:
        problems.append(f"{dropped} rows are left in dropped")
    deletes = rows(
        node,
        STORE_NAME,
        "SELECT c.cell_id FROM deletes d JOIN cells c ON c.cell = d.cell",
    )
    waiting = sum(cell_id in living for (cell_id,) in deletes)
    if waiting:
        problems.append(f"{waiting} rows are left in deletes")
    return problems


def _accounts(node: SimNode) -> list[str]:
    problems = []
    references: Counter[bytes] = Counter()
    for (packed,) in rows(node, STORE_NAME, "SELECT extents FROM pages"):
        references.update(extent.segment_id for extent in Page.unpack(packed).extents)
    counted = dict(rows(node, STORE_NAME, "SELECT segment_id, refs FROM segments"))
    if dict(references) != counted:
        problems.append(f"references {len(references)} are not those counted {len(counted)}")
    for bucket, objects, size in rows(
        node,
        STORE_NAME,
        "SELECT b.bucket, coalesce(u.objects, 0), coalesce(u.logical_bytes, 0) FROM buckets b"
        " LEFT JOIN bucket_usage u ON u.bucket = b.bucket AND u.tenant = b.tenant",
    ):
        used = rows(
            node,
            STORE_NAME,
            "SELECT count(*), coalesce(sum(size), 0) FROM versions"
            " WHERE dropped = 0 AND delete_marker = 0 AND bucket = ?",
            bucket,
        )[0]
        if used != (objects, size):
            problems.append(f"accounted {(objects, size)} objects and bytes, used {used}")
    for tenant, uploads in rows(node, STORE_NAME, "SELECT tenant, uploads FROM tenants"):
        begun = rows(
            node,
            STORE_NAME,
            "SELECT count(*) FROM uploads u JOIN buckets b ON b.bucket = u.bucket"
            " WHERE b.tenant = ?",
            tenant,
        )[0][0]
        if begun != uploads:
            problems.append(f"accounted {uploads} uploads in progress, there are {begun}")
    return problems
