"""Storage classes of the swarm under a gateway in tests, and where the data of an object lies."""

from __future__ import annotations

from gateway_rig import Rig
from prometheus_client import CollectorRegistry, Counter

from common.wire import messages as m
from common.wire.messages.writing import Page
from coordinator.store import classes
from gateway.following import PageOfVersion, rewrite_page

HEADER = "x-amz-storage-class"
MAPPED = {"STANDARD_IA": "COLD", "ONEZONE_IA": "COLD", "REDUCED_REDUNDANCY": "THIN"}
"""Two names lead to one class; GLACIER_IR and INTELLIGENT_TIERING lead nowhere."""


def with_classes(rig: Rig, fence: tuple[str, ...] = ()) -> Rig:
    """Add the classes COLD and THIN, and the names that lead there.

    Args:
        fence: of COLD; the cell is on one of its sites.
    """
    if fence:
        rig.coordinators.sql.execute("UPDATE cells SET site = ?", (fence[0],))
    one = rig.coordinators.redundancy
    rig.coordinators.add_class("COLD", one, [[0]], fence)
    rig.coordinators.add_class("THIN", one, [[0]])
    for name, storage_class in MAPPED.items():
        classes.set_name(rig.coordinators.sql, name, storage_class)
    rig.coordinators.lease.held = 0
    return rig


def lies_in(rig: Rig, key: str, version_id: str | None = None) -> set[str]:
    """The storage classes of the segments of an object, or of one of its versions."""
    sql, where = rig.coordinators.sql, ""
    parameters: tuple[bytes, ...] = (key.encode(),)
    if version_id is not None:
        where, parameters = " AND version_id = ?", (*parameters, bytes.fromhex(version_id))
    row = sql.execute(
        f"SELECT sequence FROM versions WHERE dropped = 0 AND name = ?{where}"
        " ORDER BY sequence DESC",
        parameters,
    ).fetchone()
    packed = sql.execute("SELECT extents FROM pages WHERE owner = ?", row).fetchall()
    return {
        classes.name_of(sql, number)
        for (page,) in packed
        for extent in Page.unpack(page).extents
        for (number,) in sql.execute(
            "SELECT r.storage_class FROM segments s JOIN rings r ON r.ring = s.ring"
            " WHERE s.segment_id = ?",
            (extent.segment_id,),
        )
    }


async def follow(rig: Rig) -> int:
    """Write all again that is in another class than it is to be; the number of pages."""
    counter = Counter("rewritten", "Bytes", registry=CollectorRegistry())
    pages, after = 0, (0, 0)
    while True:
        lease = await rig.coordinators.lease.number()
        found = await rig.coordinators.ask(m.MisplacedList(lease, *after))
        for each in found.pages:
            bucket = await rig.backend.buckets.find(rig.tenant, each.bucket)
            page = PageOfVersion(bucket, each.name, each.version_id, each.number)
            await rewrite_page(rig.backend, page, each.storage_class, counter)
            pages += 1
        after = (found.last, found.last_number)
        if not found.more:
            return pages
