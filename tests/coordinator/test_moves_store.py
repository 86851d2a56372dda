"""Slots that move: what the store says of their shards before, in between and after."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

import pytest
from coordinator_rig import page

from common.erasure.geometry import Geometry
from common.errors import Refused
from common.ids import BucketId, PeerId, SegmentId, TenantId, VersionId, segment_id
from common.reasons import Refusal
from common.wire import messages as m
from common.wire.messages.membership import COMMITTED, GARBAGE
from coordinator.policy.moves import Move, MoveReason
from coordinator.policy.placement import Redundancy, RingPlan
from coordinator.store import (
    buckets,
    cells,
    leases,
    missing,
    moves,
    objects,
    rings,
    segments,
    settling,
    tenants,
)
from coordinator.store import deletes as queue
from coordinator.store.departures import Left, lacking_slots, left_of
from coordinator.store.schema import migrate

TENANT_ID = TenantId(bytes(16))
WRITER = PeerId(bytes(32))
GEOMETRY = Geometry.plan(4, 6, 4096)
ALL = 0b111111
RING = 1
OLD, NEW, THIRD = 1, 7, 8
"""The holder of slot 0, and cells that it moves to."""
ROOTS = b"".join(bytes([slot]) * 32 for slot in range(6))


@pytest.fixture
def sql() -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    migrate(connection)
    tenants.create(connection, "tenant", TENANT_ID, bytes(32), 0)
    buckets.create(
        connection,
        1,
        m.BucketCreate(TENANT_ID, BucketId(bytes(16)), "bucket", b""),
        0,
        most_buckets=1,
    )
    rings.apply(connection, RingPlan(((1, 2, 3, 4, 5, 6),), (), ()), Redundancy(4, 6, 5), 0)
    assert leases.open_lease(connection, WRITER, 1, 0) == 1
    yield connection
    connection.close()


def named(number: int) -> SegmentId:
    return segment_id(1, number.to_bytes(10, "big"))


def commit(
    sql: sqlite3.Connection, number: int, *, durable: int = ALL, revision: int = 0
) -> SegmentId:
    segment = m.NewSegment(
        named(number),
        RING,
        revision,
        4096,
        GEOMETRY.unit_bytes,
        GEOMETRY.shard_bytes,
        ROOTS,
        durable,
    )
    request = m.ObjectCommit(
        TENANT_ID,
        "bucket",
        b"name-%d" % number,
        VersionId(number.to_bytes(16, "big")),
        4096,
        b"s",
        b"u",
        (page((segment.segment_id, 0, 4096)),),
        (segment,),
        m.Condition(),
    )
    content = segments.check_content(request.pages, request.segments, request.size)
    objects.commit(sql, 1, WRITER, request, content, 0)
    return segment.segment_id


def move(
    sql: sqlite3.Connection,
    source: int = OLD,
    target: int = NEW,
    reason: MoveReason = MoveReason.DRAIN,
    *,
    gone: bool = False,
    keeps: bool = False,
) -> bool:
    return moves.begin(
        sql, Move(RING, 0, source, target, reason), 0, is_source_gone=gone, keeps_source=keeps
    )


def missing_of(sql: sqlite3.Connection, segment: SegmentId) -> dict[int, int | None]:
    return dict(segments.stored(sql, [segment])[0].missing)


def settle(sql: sqlite3.Connection, cell: int, segment: SegmentId, slot: int = 0) -> int:
    held = m.HeldShard(segment, slot, bytes([slot]) * 32, GEOMETRY.shard_bytes)
    return settling.settle(sql, cell, [held], 0).verdicts[0]


def deletes(sql: sqlite3.Connection, cell: int) -> list[SegmentId]:
    return [each.segment_id for each in queue.queued(sql, cell, 100)]


def test_a_moved_slot_is_read_from_its_source_until_the_new_holder_has_it(
    sql: sqlite3.Connection,
) -> None:
    segment = commit(sql, 1)
    assert move(sql)
    assert missing_of(sql, segment) == {0: OLD}
    assert settle(sql, OLD, segment) == COMMITTED
    assert not deletes(sql, OLD)
    assert not moves.finish(sql)
    assert settle(sql, NEW, segment) == COMMITTED
    assert missing_of(sql, segment) == {}
    assert deletes(sql, OLD) == [segment]
    assert settle(sql, OLD, segment) == GARBAGE
    assert moves.finish(sql) == [RING]
    assert moves.hold_of(sql, OLD).is_empty


def test_slots_that_lack_the_shard_of_some_segment_are_named_by_ring(
    sql: sqlite3.Connection,
) -> None:
    commit(sql, 1)
    assert missing.slots_lacking(sql, [RING, 99]) == {}
    commit(sql, 2, durable=ALL & ~0b10)
    commit(sql, 3, durable=ALL & ~0b10)
    commit(sql, 4, durable=ALL & ~0b100000)
    assert missing.slots_lacking(sql, [RING, 99]) == {RING: (1, 5)}
    assert missing.slots_lacking(sql, []) == {}


def test_a_removed_source_is_asked_for_nothing(sql: sqlite3.Connection) -> None:
    segment = commit(sql, 1)
    assert move(sql, reason=MoveReason.LOST, gone=True)
    assert missing_of(sql, segment) == {0: None}
    assert moves.open_moves(sql) == []


def test_no_cell_holds_two_slots_of_a_ring(sql: sqlite3.Connection) -> None:
    assert not move(sql, target=6)
    assert not move(sql, source=2)
    assert rings.load(sql)[0].cells == (1, 2, 3, 4, 5, 6)


@pytest.mark.parametrize("durable", [ALL, ALL & ~1])
def test_what_was_granted_before_a_move_is_at_the_source(
    sql: sqlite3.Connection, durable: int
) -> None:
    commit(sql, 1)
    assert move(sql)
    late = commit(sql, 2, durable=durable, revision=0)
    assert missing_of(sql, late) == {0: OLD if durable & 1 else None}
    assert missing_of(sql, commit(sql, 3, revision=1)) == {}


def test_what_was_granted_two_moves_ago_is_out_of_reach(sql: sqlite3.Connection) -> None:
    commit(sql, 1)
    assert move(sql)
    assert move(sql, NEW, THIRD)
    assert missing_of(sql, commit(sql, 2, revision=0)) == {0: None}
    assert missing_of(sql, commit(sql, 3, revision=1)) == {0: NEW}
    with pytest.raises(Refused) as refused:
        commit(sql, 4, durable=ALL & ~2, revision=0)
    assert refused.value.reason == Refusal.BELOW_QUORUM
    with pytest.raises(Refused):
        commit(sql, 5, revision=9)


def test_a_holder_that_is_lost_amid_its_move_leaves_the_source(sql: sqlite3.Connection) -> None:
    first, second = commit(sql, 1), commit(sql, 2)
    assert move(sql)
    assert settle(sql, NEW, first) == COMMITTED
    assert move(sql, NEW, THIRD, MoveReason.LOST, keeps=True)
    assert missing_of(sql, first) == {0: None}
    assert missing_of(sql, second) == {0: OLD}
    assert settle(sql, NEW, first) == GARBAGE
    # What was granted while the lost cell held the slot is with that cell, not at the source.
    assert missing_of(sql, commit(sql, 3, revision=0)) == {0: OLD}
    assert missing_of(sql, commit(sql, 4, revision=1)) == {0: None}
    with pytest.raises(Refused) as refused:
        commit(sql, 5, durable=ALL & ~2, revision=1)
    assert refused.value.reason == Refusal.BELOW_QUORUM


def test_a_source_that_is_replaced_is_found_no_more(sql: sqlite3.Connection) -> None:
    first, second = commit(sql, 1), commit(sql, 2)
    assert move(sql)
    assert settle(sql, NEW, first) == COMMITTED
    assert move(sql, NEW, THIRD, MoveReason.LOST)
    assert missing_of(sql, first) == {0: NEW}
    assert missing_of(sql, second) == {0: None}
    assert settle(sql, OLD, second) == GARBAGE


def test_a_slot_that_is_given_back_misses_what_it_was_away_for(sql: sqlite3.Connection) -> None:
    moved, waiting, never = commit(sql, 1), commit(sql, 2), commit(sql, 3, durable=ALL & ~1)
    assert move(sql, reason=MoveReason.LOST)
    new = commit(sql, 4, revision=1)
    assert settle(sql, NEW, moved) == COMMITTED
    assert deletes(sql, OLD) == [moved]
    assert moves.give_back(sql, RING, 0, 0)
    assert rings.load(sql)[0].cells[0] == OLD
    assert missing_of(sql, moved) == {0: NEW}
    assert missing_of(sql, new) == {0: NEW}
    assert missing_of(sql, waiting) == {}
    assert missing_of(sql, never) == {0: None}
    # It has the shard still, and says so before it hears that it should delete it.
    assert settle(sql, OLD, moved) == COMMITTED
    assert not deletes(sql, OLD)
    assert deletes(sql, NEW) == [moved]
    assert not moves.give_back(sql, 2, 0, 0)


def test_a_cell_that_gets_a_slot_again_is_not_told_to_delete_what_it_has_of_it(
    sql: sqlite3.Connection,
) -> None:
    """The reply that names a delete may say as well that shards are missing: the cell would say
    that it has the shard, and delete it then."""
    back, again, gone = commit(sql, 1), commit(sql, 2), commit(sql, 3)
    assert move(sql)
    assert [settle(sql, NEW, each) for each in (back, gone)] == [COMMITTED] * 2
    segments.release(sql, 1, {gone: 1})
    assert deletes(sql, OLD) == [back, gone]
    assert moves.give_back(sql, RING, 0, 0)
    assert deletes(sql, OLD) == [gone]
    assert settle(sql, OLD, back) == COMMITTED
    assert moves.finish(sql) == [RING]
    assert move(sql, OLD, THIRD)
    assert settle(sql, THIRD, again) == COMMITTED
    assert deletes(sql, OLD) == [again, gone]
    assert move(sql, THIRD, OLD, MoveReason.EVEN)
    assert deletes(sql, OLD) == [gone]


def test_a_deleted_segment_is_deleted_at_holders_and_sources(sql: sqlite3.Connection) -> None:
    segment = commit(sql, 1)
    assert move(sql)
    segments.release(sql, 1, {segment: 1})
    assert deletes(sql, OLD) == deletes(sql, NEW) == [segment]
    assert not missing.waits_for(sql, NEW)
    assert moves.finish(sql) == [RING]


def test_nothing_is_queued_for_a_removed_cell(sql: sqlite3.Connection) -> None:
    segment, other = commit(sql, 1), commit(sql, 2)
    assert move(sql, reason=MoveReason.LOST)
    sql.execute(
        "INSERT INTO cells (cell, cell_id, site, owner, joined_ms, joined_at_s, facts)"
        " VALUES (?, x'01', '', '', 0, 0, x'')",
        (OLD,),
    )
    cells.remove(sql, OLD, 1)
    assert settle(sql, NEW, segment) == COMMITTED
    segments.release(sql, 1, {other: 1})
    assert deletes(sql, OLD) == []
    assert deletes(sql, NEW) == [other]


def test_a_source_that_loses_its_shard_is_not_asked_for_it(sql: sqlite3.Connection) -> None:
    segment = commit(sql, 1)
    assert move(sql)
    assert missing.lost(sql, OLD, [m.ShardName(segment, 0)], 0) == 0
    assert missing_of(sql, segment) == {0: None}


def test_shards_are_filled_in_the_order_of_what_their_segments_lack(
    sql: sqlite3.Connection,
) -> None:
    whole, worse = commit(sql, 1), commit(sql, 2, durable=ALL & ~2)
    assert move(sql, reason=MoveReason.LOST)

    def rows(holders: int, sources: int) -> list[tuple[SegmentId, int]]:
        found = missing.of_slot(sql, RING, 0, holders=holders, sources=sources, limit=10)
        return [(row.segment_id, row.lacking) for row in found]

    assert rows(ALL, 0) == [(worse, 2), (whole, 1)]
    assert rows(ALL, 1) == [(worse, 1), (whole, 0)]
    # A slot that cannot be read lacks nothing more.
    assert rows(ALL & ~2, 0) == [(whole, 1), (worse, 1)]


def test_a_complaint_is_struck_by_the_holder_alone(sql: sqlite3.Connection) -> None:
    segment = commit(sql, 1)
    missing.suspect(sql, 1, [(segment, 0, "leaf_mismatch")], 0)
    name = m.ShardName(segment, 0)
    assert missing.suspects_of(sql, OLD, 10) == [name]
    missing.absolve_of(sql, 2, [name])
    assert missing.waits_for(sql, OLD)
    missing.absolve_of(sql, OLD, [name])
    assert not missing.waits_for(sql, OLD)


def test_what_a_cell_should_hold_comes_in_pages(sql: sqlite3.Connection) -> None:
    rings.apply(sql, RingPlan(((1, 2, 3, 4, 5, 7),), (), ()), Redundancy(4, 6, 5), 0)
    held = [commit(sql, number) for number in range(1, 6)]
    lacking = commit(sql, 6, durable=ALL & ~1)
    ring, after, found = 0, bytes(16), []
    while True:
        shards, ring, after = missing.expected(sql, OLD, ring, after, 2)
        assert len(shards) <= 2
        found += [each.segment_id for each in shards]
        if not ring:
            break
    assert found == held
    assert lacking not in found


def test_what_is_left_of_a_cell_that_leaves_is_counted_until_nothing_depends_on_it(
    sql: sqlite3.Connection,
) -> None:
    first, second = commit(sql, 1), commit(sql, 2)
    commit(sql, 3, durable=ALL & ~1)
    assert left_of(sql, OLD) == Left(1, 0, 2, 0), "what it never had is not there to be moved"
    assert lacking_slots(sql, OLD) == {(RING, 0)}
    assert move(sql)
    assert left_of(sql, OLD) == Left(0, 1, 3, 0)
    assert lacking_slots(sql, OLD) == set(), "it is in no ring"
    assert lacking_slots(sql, 2) == {(RING, 0)}
    assert settle(sql, NEW, first) == settle(sql, NEW, second) == COMMITTED
    assert left_of(sql, OLD) == Left(0, 1, 1, 2)
    assert settle(sql, NEW, named(3)) == COMMITTED
    assert not left_of(sql, OLD).is_empty
    assert moves.finish(sql) == [RING]
    assert left_of(sql, OLD) == Left(0, 0, 0, 3)
    assert left_of(sql, OLD).is_empty
    assert left_of(sql, NEW) == Left(1, 0, 3, 0)
