"""Segments: registered with a commit, counted by extents, deleted with their last extent.

The rule that keeps data safe: a segment is committed in the transaction that also finds its write
lease alive; a lease's end is durable before any cell learns that one of its shards is garbage.
No clock takes part in it.

Source: docs/placement.md, "The life of a segment".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from common import limits
from common.data_classes import dataclass
from common.erasure.geometry import Geometry
from common.errors import Corrupt, NotFound, PeerViolation, Refused
from common.ids import DIGEST_BYTES, PeerId, SegmentId, lease_of
from common.ports import Sql
from common.reasons import Absence, Damage, Refusal
from common.wire.messages.writing import NewSegment, Page
from coordinator.store import bucket_rings, deletes, homes, leases, missing


@dataclass(frozen=True, slots=True)
class Content:
    """The content that a commit brings, checked as far as it can be without the store.

    ``uses``: extents per segment. ``reach``: per segment, where its last extent ends.
    """

    pages: tuple[Page, ...]
    starts: tuple[int, ...]
    sizes: tuple[int, ...]
    uses: Mapping[SegmentId, int]
    reach: Mapping[SegmentId, int]
    segments: tuple[NewSegment, ...]

    @property
    def is_whole(self) -> bool:
        """Return whether every slot of its new segments has its shard."""
        return all(
            each.durable.bit_count() * DIGEST_BYTES == len(each.roots) for each in self.segments
        )

    @property
    def has_homes(self) -> bool:
        """Return whether any of its new segments is not in its home class."""
        return any(each.home_roots for each in self.segments)


def check_content(pages: tuple[Page, ...], segments: tuple[NewSegment, ...], size: int) -> Content:
    """Check the pages and segments of a commit against each other.

    Raises:
        Refused: ``bad_pages``, ``bad_segment``.
    """
    uses: Counter[SegmentId] = Counter()
    reach: dict[SegmentId, int] = {}
    starts: list[int] = []
    sizes: list[int] = []
    start = 0
    for page in pages:
        length = 0
        for extent in page.extents:
            if extent.length < 1:
                raise Refused(Refusal.BAD_PAGES, what="empty extent")
            end = extent.offset + extent.length
            uses[extent.segment_id] += 1
            if end > reach.get(extent.segment_id, 0):
                reach[extent.segment_id] = end
            length += extent.length
        if not length:
            raise Refused(Refusal.BAD_PAGES, what="empty page")
        starts.append(start)
        sizes.append(length)
        start += length
    if start != size or len(pages) > limits.MAX_PAGES_PER_OBJECT:
        raise Refused(Refusal.BAD_PAGES, what="size", size=size, pages_size=start)
    seen: set[SegmentId] = set()
    for segment in segments:
        if segment.segment_id in seen or segment.segment_id not in uses:
            raise Refused(Refusal.BAD_SEGMENT, what="not used, or twice")
        if reach[segment.segment_id] > segment.segment_bytes:
            raise Refused(Refusal.BAD_PAGES, what="extent beyond its segment")
        seen.add(segment.segment_id)
    return Content(pages, tuple(starts), tuple(sizes), uses, reach, segments)


def register(
    sql: Sql,
    tenant: int,
    bucket: int,
    writer: PeerId,
    owner: int,
    content: Content,
    now_ms: int,
) -> None:
    """Write the pages of a new owner and take its segments in (new ones) or share them.

    Args:
        bucket: of the owner.
        writer: whose leases the new segments must be of.
        owner: the sequence of a version or a part.

    Raises:
        NotFound: ``no_such_segment``: a shared segment is gone, or is not this tenant's.
        Refused: ``lease_ended``, ``not_lease_owner``, ``below_quorum``, ``segment_abandoned``,
            ``segment_exists``, ``bad_segment``, ``bad_pages``.
    """
    new = set()
    alive: set[int] = set()
    rings: dict[int, _RingNow] = {}
    on_rings = Counter[int]()
    for segment in content.segments:
        lease = lease_of(segment.segment_id)
        if lease not in alive:
            leases.check(sql, lease, writer)
            alive.add(lease)
        if segment.ring not in rings:
            rings[segment.ring] = _ring(sql, segment.ring)
        ring = rings[segment.ring]
        moved, at_sources = _moved_since(sql, segment.ring, segment.revision, ring.revision)
        _check_segment(segment, ring, moved & ~at_sources)
        _insert_segment(sql, tenant, bucket, segment, content.uses[segment.segment_id])
        on_rings[segment.ring] += 1
        if segment.home_roots:
            homes.note(sql, segment.segment_id, segment.home_k, segment.home_roots)
        _note_missing(sql, segment, ring.n, moved, at_sources, now_ms)
        new.add(segment.segment_id)
    for ring_number, count in on_rings.items():
        bucket_rings.add(sql, bucket, ring_number, count)
    for segment_id, uses in content.uses.items():
        if segment_id not in new:
            _share(sql, tenant, bucket, segment_id, uses, content.reach[segment_id])
    sql.executemany(
        "INSERT INTO pages (owner, number, start, size, extents) VALUES (?, ?, ?, ?, ?)",
        [
            (owner, number, start, size, page.pack())
            for number, (page, start, size) in enumerate(
                zip(content.pages, content.starts, content.sizes, strict=True)
            )
        ],
    )


@dataclass(frozen=True, slots=True)
class _RingNow:
    """The class and the revision of a ring."""

    k: int
    n: int
    quorum: int
    revision: int


def _ring(sql: Sql, ring: int) -> _RingNow:
    row = sql.execute("SELECT k, n, quorum, revision FROM rings WHERE ring = ?", (ring,)).fetchone()
    if row is None:
        raise Refused(Refusal.BAD_SEGMENT, what="no such ring")
    return _RingNow(*row)


def _moved_since(sql: Sql, ring: int, granted: int, revision: int) -> tuple[int, int]:
    """The slots that moved after a grant, under which shards went to their former holders.

    Args:
        granted: the ring's revision at the grant.
        revision: the ring's revision now.

    Returns:
        The slots that moved, as bits; those of them whose shard is at the slot's source now.
    """
    if granted == revision:
        return 0, 0
    if granted > revision:
        raise Refused(Refusal.BAD_SEGMENT, what="revision")
    moved = at_sources = 0
    for slot, was_holder in sql.execute(
        "SELECT r.slot, s.since <= ? AND ? < s.until FROM ring_slots r"
        " LEFT JOIN sources s ON s.ring = r.ring AND s.slot = r.slot"
        " WHERE r.ring = ? AND r.since > ?",
        (granted, granted, ring, granted),
    ):
        moved |= 1 << slot
        if was_holder:
            at_sources |= 1 << slot
    return moved, at_sources


def _check_segment(segment: NewSegment, ring: _RingNow, out_of_reach: int) -> None:
    try:
        Geometry.of(ring.k, ring.n, segment.segment_bytes, segment.unit_bytes, segment.shard_bytes)
    except PeerViolation as error:
        raise Refused(Refusal.BAD_SEGMENT, **error.fields) from error
    if segment.home_roots or segment.home_k:
        _check_home(segment, ring)
    if len(segment.roots) != DIGEST_BYTES * ring.n or segment.durable >> ring.n:
        raise Refused(Refusal.BAD_SEGMENT, what="roots or slots")
    durable = (segment.durable & ~out_of_reach).bit_count()
    if durable < ring.quorum:
        raise Refused(Refusal.BELOW_QUORUM, durable=durable, quorum=ring.quorum)


def _check_home(segment: NewSegment, ring: _RingNow) -> None:
    """Check that a segment can be brought into its home class, with the same margin."""
    k, rest = segment.home_k, len(segment.home_roots) % DIGEST_BYTES
    n = len(segment.home_roots) // DIGEST_BYTES
    if rest or k <= ring.k or k % ring.k or n - k != ring.n - ring.k:
        raise Refused(Refusal.BAD_SEGMENT, what="home")
    unit_bytes, unit_rest = divmod(ring.k * segment.unit_bytes, k)
    shard_bytes, shard_rest = divmod(ring.k * segment.shard_bytes, k)
    if unit_rest or shard_rest:
        raise Refused(Refusal.BAD_SEGMENT, what="home")
    try:
        Geometry.of(k, n, segment.segment_bytes, unit_bytes, shard_bytes)
    except PeerViolation as error:
        raise Refused(Refusal.BAD_SEGMENT, **error.fields) from error


def _insert_segment(sql: Sql, tenant: int, bucket: int, segment: NewSegment, uses: int) -> None:
    gone = sql.execute("SELECT 1 FROM abandoned WHERE segment_id = ?", (segment.segment_id,))
    if gone.fetchone() is not None:
        raise Refused(Refusal.SEGMENT_ABANDONED)
    inserted = sql.execute(
        "INSERT INTO segments"
        " (segment_id, tenant, ring, segment_bytes, unit_bytes, shard_bytes, refs, roots, bucket)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        (
            segment.segment_id,
            tenant,
            segment.ring,
            segment.segment_bytes,
            segment.unit_bytes,
            segment.shard_bytes,
            uses,
            segment.roots,
            bucket,
        ),
    )
    if inserted.rowcount != 1:
        raise Refused(Refusal.SEGMENT_EXISTS)


def _note_missing(
    sql: Sql, segment: NewSegment, n: int, moved: int, at_sources: int, now_ms: int
) -> None:
    at_holders = segment.durable & ~moved
    if at_holders == (1 << n) - 1:
        return
    at_sources &= segment.durable
    for source_lacks, slots in ((False, at_sources), (True, ~(at_holders | at_sources))):
        missing.note(
            sql,
            segment.ring,
            [(segment.segment_id, slot) for slot in range(n) if slots >> slot & 1],
            now_ms,
            source_lacks=source_lacks,
        )


def _share(
    sql: Sql, tenant: int, bucket: int, segment_id: SegmentId, uses: int, reach: int
) -> None:
    row = sql.execute(
        "UPDATE segments SET refs = refs + ? WHERE segment_id = ? AND tenant = ?"
        " RETURNING segment_bytes, bucket, ring",
        (uses, segment_id, tenant),
    ).fetchone()
    if row is None:
        raise NotFound(Absence.NO_SUCH_SEGMENT, segment_id=segment_id.hex())
    if reach > row[0]:
        raise Refused(Refusal.BAD_PAGES, what="extent beyond its segment")
    bucket_rings.share(sql, segment_id, row[1], row[2], bucket, uses)


def retain(sql: Sql, owner: int, until_ms: int) -> None:
    """Have cells keep the shards of all segments of an owner until a time, or longer where another
    version asks for more. Nothing makes it shorter again.

    Args:
        owner: the sequence of a version.
        until_ms: unix milliseconds.
    """
    until_s = -(-until_ms // 1000)
    kept = {
        extent.segment_id
        for (packed,) in sql.execute("SELECT extents FROM pages WHERE owner = ?", (owner,))
        for extent in Page.unpack(packed).extents
    }
    sql.executemany(
        "UPDATE segments SET retain_until_s = ? WHERE segment_id = ? AND retain_until_s < ?",
        [(until_s, segment_id, until_s) for segment_id in sorted(kept)],
    )


def release(sql: Sql, bucket: int, uses: Mapping[SegmentId, int]) -> int:
    """Take extents of a bucket away from segments; delete the segments that no extent is left of.

    Returns:
        How many segments were deleted.

    Raises:
        Corrupt: ``references_broken``: fewer references than extents; nothing may be deleted.
    """
    deleted = 0
    for segment_id, count in uses.items():
        row = sql.execute(
            "UPDATE segments SET refs = refs - ? WHERE segment_id = ? RETURNING refs, ring, bucket",
            (count, segment_id),
        ).fetchone()
        if row is None or row[0] < 0:
            raise Corrupt(Damage.REFERENCES_BROKEN, segment_id=segment_id.hex())
        refs, ring, first = row
        bucket_rings.release(sql, segment_id, first, ring, bucket, count, refs)
        if refs == 0:
            sql.execute("DELETE FROM segments WHERE segment_id = ?", (segment_id,))
            missing.forget(sql, segment_id)
            homes.forget(sql, segment_id)
            bury(sql, segment_id, ring)
            deleted += 1
    return deleted


def bury(sql: Sql, segment_id: SegmentId, ring: int) -> None:
    """Queue the deletion of all shards of a segment that is not committed (any more)."""
    # A late repeat of its commit must not bring it back. Once its lease has ended, that suffices.
    if leases.is_alive(sql, lease_of(segment_id)):
        sql.execute(
            "INSERT INTO abandoned (segment_id) VALUES (?) ON CONFLICT DO NOTHING", (segment_id,)
        )
    deletes.queue_on_ring(sql, segment_id, ring)


def abandon(sql: Sql, grants: Sequence[tuple[SegmentId, int]]) -> None:
    """Bury those of the granted segments (with their rings) that are not committed."""
    for segment_id, ring in grants:
        found = sql.execute("SELECT 1 FROM segments WHERE segment_id = ?", (segment_id,))
        if found.fetchone() is None:
            bury(sql, segment_id, ring)


@dataclass(frozen=True, slots=True)
class Stored:
    """A segment as the store has it. ``missing``: the slots whose holders lack their shards, each
    with the number of the cell that may have it in their stead, or None."""

    segment_id: SegmentId
    ring: int
    segment_bytes: int
    unit_bytes: int
    shard_bytes: int
    roots: bytes
    missing: Mapping[int, int | None]


def stored(sql: Sql, wanted: Sequence[SegmentId]) -> tuple[Stored, ...]:
    """Look up segments; those that are not committed are left out."""
    found = []
    for segment_id in wanted:
        row = sql.execute(
            "SELECT ring, segment_bytes, unit_bytes, shard_bytes, roots FROM segments"
            " WHERE segment_id = ?",
            (segment_id,),
        ).fetchone()
        if row is not None:
            ring, segment_bytes, unit_bytes, shard_bytes, roots = row
            lacking = missing.of_segment(sql, segment_id)
            found.append(
                Stored(segment_id, ring, segment_bytes, unit_bytes, shard_bytes, roots, lacking)
            )
    return tuple(found)
