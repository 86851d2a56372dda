"""Segments: registered with a commit, counted by extents, deleted with their last extent.

The rule that keeps data safe: a segment is committed in the transaction that also finds its write
lease alive; a lease's end is durable before any cell learns that one of its shards is garbage.
No clock takes part in it.

Source: docs/placement.md, "The life of a segment".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from common import limits
from common.erasure.geometry import Geometry
from common.errors import Corrupt, NotFound, PeerViolation, Refused
from common.ids import DIGEST_BYTES, PeerId, SegmentId, lease_of
from common.ports import Sql
from common.reasons import Absence, Damage, Refusal
from common.wire.messages.base import ShardName
from common.wire.messages.membership import COMMITTED, GARBAGE, PENDING, HeldShard
from common.wire.messages.writing import NewSegment, Page
from coordinator.store import leases


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
    sql: Sql, tenant: int, writer: PeerId, owner: int, content: Content, now_ms: int
) -> None:
    """Write the pages of a new owner and take its segments in (new ones) or share them.

    Args:
        writer: whose leases the new segments must be of.
        owner: the sequence of a version or a part.

    Raises:
        NotFound: ``no_such_segment``: a shared segment is gone, or is not this tenant's.
        Refused: ``lease_ended``, ``not_lease_owner``, ``below_quorum``, ``segment_abandoned``,
            ``segment_exists``, ``bad_segment``, ``bad_pages``.
    """
    new = set()
    alive: set[int] = set()
    rings: dict[int, tuple[int, int, int]] = {}
    for segment in content.segments:
        lease = lease_of(segment.segment_id)
        if lease not in alive:
            leases.check(sql, lease, writer)
            alive.add(lease)
        if segment.ring not in rings:
            rings[segment.ring] = _ring(sql, segment.ring)
        _check_segment(segment, *rings[segment.ring])
        _insert_segment(sql, tenant, segment, content.uses[segment.segment_id])
        _note_missing(sql, segment, rings[segment.ring][1], now_ms)
        new.add(segment.segment_id)
    for segment_id, uses in content.uses.items():
        if segment_id not in new:
            _share(sql, tenant, segment_id, uses, content.reach[segment_id])
    sql.executemany(
        "INSERT INTO pages (owner, number, start, size, extents) VALUES (?, ?, ?, ?, ?)",
        [
            (owner, number, start, size, page.pack())
            for number, (page, start, size) in enumerate(
                zip(content.pages, content.starts, content.sizes, strict=True)
            )
        ],
    )


def _ring(sql: Sql, ring: int) -> tuple[int, int, int]:
    row = sql.execute("SELECT k, n, quorum FROM rings WHERE ring = ?", (ring,)).fetchone()
    if row is None:
        raise Refused(Refusal.BAD_SEGMENT, what="no such ring")
    k, n, quorum = row
    return k, n, quorum


def _check_segment(segment: NewSegment, k: int, n: int, quorum: int) -> None:
    try:
        geometry = Geometry.of(k, n, segment.segment_bytes, segment.unit_bytes)
    except PeerViolation as error:
        raise Refused(Refusal.BAD_SEGMENT, **error.fields) from error
    if geometry.shard_bytes != segment.shard_bytes:
        raise Refused(Refusal.BAD_SEGMENT, what="shard_bytes")
    if len(segment.roots) != DIGEST_BYTES * n or segment.durable >> n:
        raise Refused(Refusal.BAD_SEGMENT, what="roots or slots")
    durable = segment.durable.bit_count()
    if durable < quorum:
        raise Refused(Refusal.BELOW_QUORUM, durable=durable, quorum=quorum)


def _insert_segment(sql: Sql, tenant: int, segment: NewSegment, uses: int) -> None:
    gone = sql.execute("SELECT 1 FROM abandoned WHERE segment_id = ?", (segment.segment_id,))
    if gone.fetchone() is not None:
        raise Refused(Refusal.SEGMENT_ABANDONED)
    inserted = sql.execute(
        "INSERT INTO segments"
        " (segment_id, tenant, ring, segment_bytes, unit_bytes, shard_bytes, refs, roots)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        (
            segment.segment_id,
            tenant,
            segment.ring,
            segment.segment_bytes,
            segment.unit_bytes,
            segment.shard_bytes,
            uses,
            segment.roots,
        ),
    )
    if inserted.rowcount != 1:
        raise Refused(Refusal.SEGMENT_EXISTS)


def _note_missing(sql: Sql, segment: NewSegment, n: int, now_ms: int) -> None:
    if segment.durable == (1 << n) - 1:
        return
    note_missing(
        sql,
        [(segment.segment_id, slot) for slot in range(n) if not segment.durable >> slot & 1],
        now_ms,
    )


def note_missing(sql: Sql, shards: Iterable[tuple[bytes, int]], now_ms: int) -> None:
    """Remember that slots do not have their shards."""
    sql.executemany(
        "INSERT INTO missing_shards (segment_id, slot, since_ms) VALUES (?, ?, ?)"
        " ON CONFLICT DO NOTHING",
        [(segment_id, slot, now_ms) for segment_id, slot in shards],
    )


def _share(sql: Sql, tenant: int, segment_id: SegmentId, uses: int, reach: int) -> None:
    row = sql.execute(
        "UPDATE segments SET refs = refs + ? WHERE segment_id = ? AND tenant = ?"
        " RETURNING segment_bytes",
        (uses, segment_id, tenant),
    ).fetchone()
    if row is None:
        raise NotFound(Absence.NO_SUCH_SEGMENT, segment_id=segment_id.hex())
    if reach > row[0]:
        raise Refused(Refusal.BAD_PAGES, what="extent beyond its segment")


def release(sql: Sql, uses: Mapping[SegmentId, int]) -> int:
    """Take extents away from segments; delete the segments that no extent is left of.

    Returns:
        How many segments were deleted.

    Raises:
        Corrupt: ``references_broken``: fewer references than extents; nothing may be deleted.
    """
    deleted = 0
    for segment_id, count in uses.items():
        row = sql.execute(
            "UPDATE segments SET refs = refs - ? WHERE segment_id = ? RETURNING refs, ring",
            (count, segment_id),
        ).fetchone()
        if row is None or row[0] < 0:
            raise Corrupt(Damage.REFERENCES_BROKEN, segment_id=segment_id.hex())
        refs, ring = row
        if refs == 0:
            sql.execute("DELETE FROM segments WHERE segment_id = ?", (segment_id,))
            sql.execute("DELETE FROM missing_shards WHERE segment_id = ?", (segment_id,))
            sql.execute("DELETE FROM suspect_shards WHERE segment_id = ?", (segment_id,))
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
    sql.execute(
        "INSERT INTO deletes (cell, segment_id, slot)"
        " SELECT cell, ?, slot FROM ring_slots WHERE ring = ? ON CONFLICT DO NOTHING",
        (segment_id, ring),
    )


def abandon(sql: Sql, grants: Sequence[tuple[SegmentId, int]]) -> None:
    """Bury those of the granted segments (with their rings) that are not committed."""
    for segment_id, ring in grants:
        found = sql.execute("SELECT 1 FROM segments WHERE segment_id = ?", (segment_id,))
        if found.fetchone() is None:
            bury(sql, segment_id, ring)


def settle(
    sql: Sql,
    cell: int,
    shards: Sequence[HeldShard],
    now_ms: int,
    *,
    may_destroy: bool = True,
    kept_leases: int = 0,
) -> bytes:
    """Say of each shard that a cell holds whether it is owned, and note what that changes.

    Args:
        may_destroy: False: what would be garbage is pending.
        kept_leases: leases up to this number make no garbage, though they have ended.

    Returns:
        One of PENDING, COMMITTED, GARBAGE per shard, as a byte.
    """
    verdicts = bytearray()
    alive: dict[int, bool] = {}
    for shard in shards:
        row = sql.execute(
            "SELECT r.cell, s.roots FROM segments s"
            " LEFT JOIN ring_slots r ON r.ring = s.ring AND r.slot = ? WHERE s.segment_id = ?",
            (shard.slot, shard.segment_id),
        ).fetchone()
        if row is None:
            verdicts.append(_uncommitted(sql, shard.segment_id, alive, kept_leases))
        elif row[0] != cell:
            verdicts.append(GARBAGE)
        elif row[1][DIGEST_BYTES * shard.slot : DIGEST_BYTES * (shard.slot + 1)] == shard.root:
            verdicts.append(COMMITTED)
            sql.execute(
                "DELETE FROM missing_shards WHERE segment_id = ? AND slot = ?",
                (shard.segment_id, shard.slot),
            )
        else:
            verdicts.append(GARBAGE)
            note_missing(sql, [(shard.segment_id, shard.slot)], now_ms)
    if not may_destroy:
        return bytes(verdicts).replace(bytes([GARBAGE]), bytes([PENDING]))
    return bytes(verdicts)


def _uncommitted(sql: Sql, segment_id: SegmentId, alive: dict[int, bool], kept_leases: int) -> int:
    lease = lease_of(segment_id)
    if lease not in alive:
        # A number that was never given out says that this store is older than the shard (it was
        # restored from a copy): then nothing is garbage.
        alive[lease] = (
            lease <= kept_leases or leases.is_alive(sql, lease) or not leases.was_opened(sql, lease)
        )
    if not alive[lease]:
        return GARBAGE
    gone = sql.execute("SELECT 1 FROM abandoned WHERE segment_id = ?", (segment_id,))
    return GARBAGE if gone.fetchone() is not None else PENDING


def lost(sql: Sql, cell: int, shards: Sequence[ShardName], now_ms: int) -> None:
    """Note shards that the cell itself says it has lost; those not its own are passed over."""
    for shard in shards:
        row = sql.execute(
            "SELECT r.cell FROM segments s JOIN ring_slots r ON r.ring = s.ring AND r.slot = ?"
            " WHERE s.segment_id = ?",
            (shard.slot, shard.segment_id),
        ).fetchone()
        if row is not None and row[0] == cell:
            note_missing(sql, [(shard.segment_id, shard.slot)], now_ms)


def suspect(sql: Sql, tenant: int, shards: Sequence[tuple[bytes, int, str]], now_ms: int) -> None:
    """Remember a reader's complaints about shards of the tenant's own segments."""
    for segment_id, slot, reason in shards:
        sql.execute(
            "INSERT INTO suspect_shards (segment_id, slot, reason, since_ms)"
            " SELECT s.segment_id, r.slot, ?, ? FROM segments s"
            " JOIN ring_slots r ON r.ring = s.ring AND r.slot = ?"
            " WHERE s.segment_id = ? AND s.tenant = ? ON CONFLICT DO NOTHING",
            (reason, now_ms, slot, segment_id, tenant),
        )


def take_deletes(
    sql: Sql, cell: int, confirmed: Sequence[ShardName], limit: int
) -> list[ShardName]:
    """Strike what a cell has deleted from its queue and return the next of it."""
    sql.executemany(
        "DELETE FROM deletes WHERE cell = ? AND segment_id = ? AND slot = ?",
        [(cell, shard.segment_id, shard.slot) for shard in confirmed],
    )
    return queued_deletes(sql, cell, limit)


def queued_deletes(sql: Sql, cell: int, limit: int) -> list[ShardName]:
    """The first ``limit`` shards that a cell shall delete."""
    return [
        ShardName(SegmentId(segment_id), slot)
        for segment_id, slot in sql.execute(
            "SELECT segment_id, slot FROM deletes WHERE cell = ? LIMIT ?", (cell, limit)
        )
    ]
