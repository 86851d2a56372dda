"""Nothing of a storage class lies outside of its fence, and at rest all lies in the class of its
version: the one that was asked for, where the fence of its bucket admits that, or its bucket's."""

from __future__ import annotations

from common.wire.messages.writing import Page
from sim.checkers.tables import MOST_SHOWN, store_rows
from sim.cluster import Cluster


def outside_of_fences(cluster: Cluster) -> list[str]:
    """Return which slots, or sources of slots, are on a site that their class does not name."""
    return [
        f"slot {slot} of ring {ring}, {table}, is on {site or 'no site'}, outside of its fence"
        for table in ("ring_slots", "sources")
        for ring, slot, site in store_rows(
            cluster,
            f"SELECT r.ring, t.slot, c.site FROM rings r JOIN {table} t ON t.ring = r.ring"
            " JOIN cells c ON c.cell = t.cell WHERE r.storage_class IN"
            " (SELECT storage_class FROM class_sites) AND c.site NOT IN"
            " (SELECT site FROM class_sites f WHERE f.storage_class = r.storage_class)",
        )
    ][:MOST_SHOWN]


def not_followed(cluster: Cluster) -> list[str]:
    """Return what is still to be written again in another class, or is not known to be."""
    problems = []
    for table in ("misplaced_pages", "class_scans"):
        count = store_rows(cluster, f"SELECT count(*) FROM {table}")[0][0]
        if count:
            problems.append(f"{count} rows are left of {table}")
    # Parts of uploads that are not completed follow with the version that they become.
    class_of = dict(
        store_rows(
            cluster,
            "SELECT s.segment_id, r.storage_class FROM segments s JOIN rings r ON r.ring = s.ring",
        )
    )
    fences: dict[int, set[str]] = {}
    for number, site in store_rows(cluster, "SELECT storage_class, site FROM class_sites"):
        fences.setdefault(number, set()).add(site)
    removed = {
        number
        for (number,) in store_rows(
            cluster, "SELECT storage_class FROM storage_classes WHERE removed = 1"
        )
    }

    def wanted(own: int | None, of_bucket: int) -> int:
        sites = fences.get(of_bucket)
        is_within = sites is None or (own in fences and fences[own] <= sites)
        return of_bucket if own is None or own in removed or not is_within else own

    strange = {
        extent.segment_id
        for packed, own, of_bucket in store_rows(
            cluster,
            "SELECT p.extents, v.storage_class, b.storage_class FROM pages p"
            " JOIN versions v ON v.sequence = p.owner JOIN buckets b ON b.bucket = v.bucket",
        )
        for extent in Page.unpack(packed).extents
        if class_of[extent.segment_id] != wanted(own, of_bucket)
    }
    if strange:
        problems.append(f"{len(strange)} segments are not in the class of their version")
    return problems
