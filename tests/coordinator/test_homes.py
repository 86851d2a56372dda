"""Segments that go from a fallback back to their home class, as the store has them."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator
from dataclasses import replace

import pytest
from coordinator_rig import page
from hypothesis import given
from hypothesis import strategies as st

from common.erasure.geometry import Geometry
from common.errors import Refused
from common.ids import BucketId, PeerId, TenantId, VersionId, segment_id
from common.wire import messages as m
from common.wire.messages.membership import COMMITTED, GARBAGE, PENDING
from coordinator.policy.homes import choose_ring, is_clear, rotated, seen_since
from coordinator.policy.moves import Move, MoveReason
from coordinator.policy.placement import Redundancy, RingPlan
from coordinator.store import (
    buckets,
    homes,
    leases,
    missing,
    moves,
    objects,
    purge,
    rings,
    segments,
    settling,
    tenants,
)
from coordinator.store.schema import migrate

TENANT_ID = TenantId(bytes(16))
WRITER = PeerId(bytes(32))
FORMER, HOME, OTHER = 1, 2, 3
"""A ring of the fallback on cells 1 to 4; of the home class, in which no cell has the same slot;
and one in which cell 1 has."""
SIZE = 5000
GEOMETRY, AT_HOME = Geometry.plan(2, 4, SIZE, 4), Geometry.plan(4, 6, SIZE)
HOME_CELLS = (2, 1, 4, 3, 5, 6)
ROOTS = b"".join(bytes([slot]) * 32 for slot in range(4))
HOME_ROOTS = b"".join(bytes([16 + slot]) * 32 for slot in range(6))


@pytest.fixture
def sql() -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    migrate(connection)
    tenants.create(connection, "tenant", TENANT_ID, bytes(32), 0)
    bucket = m.BucketCreate(TENANT_ID, BucketId(bytes(16)), "bucket", b"")
    buckets.create(connection, 1, bucket, 0, most_buckets=1)
    rings.apply(connection, RingPlan(((1, 2, 3, 4),), (), ()), Redundancy(2, 4, 3), 0)
    at_home = (HOME_CELLS, (1, 3, 2, 5, 4, 6))
    rings.apply(connection, RingPlan(at_home, (), ()), Redundancy(4, 6, 5), 0)
    assert leases.open_lease(connection, WRITER, 1, 0) == 1
    yield connection
    connection.close()


SEGMENT = segment_id(1, bytes(10))
NEW = m.NewSegment(
    SEGMENT,
    FORMER,
    0,
    SIZE,
    GEOMETRY.unit_bytes,
    GEOMETRY.shard_bytes,
    ROOTS,
    0b1111,
    4,
    HOME_ROOTS,
)


def commit(sql: sqlite3.Connection, segment: m.NewSegment = NEW) -> None:
    request = m.ObjectCommit(
        TENANT_ID,
        "bucket",
        b"name",
        VersionId(bytes(16)),
        SIZE,
        b"s",
        b"u",
        (page((segment.segment_id, 0, SIZE)),),
        (segment,),
        m.Condition(),
    )
    content = segments.check_content(request.pages, request.segments, request.size)
    objects.commit(sql, 1, WRITER, request, content, 0)


def make(sql: sqlite3.Connection, cell: int, slot: int, root: bytes | None = None) -> int:
    """Let a cell say that it has a shard of the home class."""
    held = m.HeldShard(SEGMENT, slot, root or bytes([16 + slot]) * 32, AT_HOME.shard_bytes)
    return settling.settle(sql, cell, [held], 0).verdicts[0]


def settle(sql: sqlite3.Connection, cell: int, slot: int) -> int:
    held = m.HeldShard(SEGMENT, slot, bytes([slot]) * 32, GEOMETRY.shard_bytes)
    return settling.settle(sql, cell, [held], 0).verdicts[0]


def ring_of(sql: sqlite3.Connection) -> int:
    return segments.stored(sql, [SEGMENT])[0].ring


def deletes(sql: sqlite3.Connection) -> set[tuple[int, int]]:
    """The shards of the segment that are to be deleted: cell and slot."""
    return set(sql.execute("SELECT cell, slot FROM deletes WHERE segment_id = ?", (SEGMENT,)))


def wanted(sql: sqlite3.Connection, cell: int) -> list[int]:
    return [each.slot for each in homes.wanted_of(sql, cell, 10)]


def test_a_segment_is_home_when_all_its_shards_are_made_and_not_before(
    sql: sqlite3.Connection,
) -> None:
    commit(sql)
    assert [each.segment_id for each in homes.of_ring(sql, chosen=False, limit=9)] == [SEGMENT]
    assert not missing.waits_for(sql, 5)
    assert homes.choose(sql, SEGMENT, HOME)
    for slot, cell in enumerate(HOME_CELLS):
        assert missing.waits_for(sql, cell)
        assert wanted(sql, cell) == [slot]
        assert ring_of(sql) == FORMER
        assert not deletes(sql)
        assert [settle(sql, holder, at) for at, holder in enumerate((1, 2, 3, 4))] == [1] * 4
        assert make(sql, cell, slot) == COMMITTED
        assert not missing.waits_for(sql, cell)
    (stored,) = segments.stored(sql, [SEGMENT])
    assert (stored.ring, stored.roots, stored.missing) == (HOME, HOME_ROOTS, {})
    figures = (stored.unit_bytes, stored.shard_bytes)
    assert figures == (AT_HOME.unit_bytes, AT_HOME.shard_bytes)
    assert deletes(sql) == {(1, 0), (2, 1), (3, 2), (4, 3)}
    assert [settle(sql, cell, slot) for slot, cell in enumerate((1, 2, 3, 4))] == [GARBAGE] * 4
    assert [make(sql, cell, slot) for slot, cell in enumerate(HOME_CELLS)] == [COMMITTED] * 6
    assert not homes.of_ring(sql, chosen=True, limit=9)


def test_no_cell_gets_a_second_shard_under_the_name_of_one_it_has(sql: sqlite3.Connection) -> None:
    commit(sql)
    assert not homes.choose(sql, SEGMENT, OTHER)
    (waiting,) = homes.of_ring(sql, chosen=False, limit=9)
    assert (waiting.ring, waiting.tries) == (0, 1)


def test_nor_under_the_name_of_one_that_it_is_to_delete(sql: sqlite3.Connection) -> None:
    commit(sql)
    sql.execute("INSERT INTO deletes (cell, segment_id, slot) VALUES (2, ?, 0)", (SEGMENT,))
    assert not homes.choose(sql, SEGMENT, HOME)
    sql.execute("DELETE FROM deletes")
    assert homes.choose(sql, SEGMENT, HOME)
    # Told to delete it while the others are being made: it may do so at any time.
    sql.execute("INSERT INTO deletes (cell, segment_id, slot) VALUES (2, ?, 0)", (SEGMENT,))
    for slot, cell in enumerate(HOME_CELLS):
        make(sql, cell, slot)
    assert ring_of(sql) == FORMER
    assert [each.tries for each in homes.of_ring(sql, chosen=False, limit=9)] == [2]


def test_a_source_of_a_move_keeps_its_name(sql: sqlite3.Connection) -> None:
    commit(sql)
    moves.begin(
        sql, Move(FORMER, 1, 2, 5, MoveReason.DRAIN), 0, is_source_gone=False, keeps_source=False
    )
    rings.apply(sql, RingPlan(((4, 2, 1, 6, 3, 5),), (), ()), Redundancy(4, 6, 5), 0)
    assert not homes.choose(sql, SEGMENT, 4)


def test_another_root_is_garbage_and_another_cell_waits(sql: sqlite3.Connection) -> None:
    commit(sql)
    assert make(sql, 6, 0) == PENDING, "it may have been made for a store that is newer"
    assert homes.choose(sql, SEGMENT, HOME)
    assert make(sql, 6, 0) == PENDING
    assert make(sql, 2, 0, bytes(32)) == GARBAGE
    assert wanted(sql, 2) == [0]
    for slot, cell in enumerate(HOME_CELLS):
        make(sql, cell, slot)
    assert ring_of(sql) == HOME
    assert (6, 0) in deletes(sql)
    assert not deletes(sql) & {(cell, slot) for slot, cell in enumerate(HOME_CELLS)}


def test_a_made_shard_that_is_lost_is_made_again(sql: sqlite3.Connection) -> None:
    commit(sql)
    homes.choose(sql, SEGMENT, HOME)
    for slot, cell in list(enumerate(HOME_CELLS))[:-1]:
        make(sql, cell, slot)
    missing.lost(sql, 5, [m.ShardName(SEGMENT, 4)], 0)
    assert make(sql, 6, 5) == COMMITTED
    assert ring_of(sql) == FORMER
    assert wanted(sql, 5) == [4]
    assert make(sql, 5, 4) == COMMITTED
    assert ring_of(sql) == HOME


def test_a_ring_that_changes_meanwhile_is_given_up(sql: sqlite3.Connection) -> None:
    commit(sql)
    homes.choose(sql, SEGMENT, HOME)
    move = Move(HOME, 5, 6, 7, MoveReason.LOST)
    moves.begin(sql, move, 0, is_source_gone=True, keeps_source=False)
    for slot, cell in enumerate((*HOME_CELLS[:5], 7)):
        make(sql, cell, slot)
    assert ring_of(sql) == FORMER
    assert not deletes(sql)
    (waiting,) = homes.of_ring(sql, chosen=False, limit=9)
    assert waiting.tries == 1
    assert waiting.made == {slot: {cell} for slot, cell in enumerate((*HOME_CELLS[:5], 7))}
    # What is made already is where it should be: nothing is made twice.
    assert homes.choose(sql, SEGMENT, HOME)
    assert all(not wanted(sql, cell) for cell in (*HOME_CELLS[:5], 7))
    assert homes.arrive(sql, SEGMENT)
    assert ring_of(sql) == HOME
    assert not homes.arrive(sql, SEGMENT)


def test_a_segment_that_is_deleted_on_its_way_leaves_nothing(sql: sqlite3.Connection) -> None:
    commit(sql)
    homes.choose(sql, SEGMENT, HOME)
    make(sql, 5, 4)
    objects.delete(sql, 1, m.ObjectsDelete(TENANT_ID, "bucket", (m.DeleteItem(b"name"),)), 0)
    while purge.purge(sql, purge.last_dropped(sql), frozenset()).more:
        pass
    assert deletes(sql) == {(1, 0), (2, 1), (3, 2), (4, 3), (5, 4)}
    for table in ("homes", "home_shards", "segments"):
        assert not sql.execute(f"SELECT 1 FROM {table}").fetchall()


def test_a_slot_that_missed_its_shard_misses_nothing_at_home(sql: sqlite3.Connection) -> None:
    commit(sql, replace(NEW, durable=0b0111))
    assert missing.of_segment(sql, SEGMENT) == {3: None}
    homes.choose(sql, SEGMENT, HOME)
    for slot, cell in enumerate(HOME_CELLS):
        make(sql, cell, slot)
    assert segments.stored(sql, [SEGMENT])[0].missing == {}


@pytest.mark.parametrize(
    "change",
    [
        {"home_k": 3},
        {"home_k": 2},
        {"home_k": 0},
        {"home_k": 64},
        {"home_roots": HOME_ROOTS[:-1]},
        {"home_roots": HOME_ROOTS[:-32]},
        {"home_roots": HOME_ROOTS + bytes(32)},
        {"home_roots": b""},
        {"unit_bytes": GEOMETRY.unit_bytes + 1, "shard_bytes": GEOMETRY.shard_bytes + 1},
    ],
)
def test_a_home_that_cannot_be_or_has_another_margin_is_refused(
    sql: sqlite3.Connection, change: dict[str, object]
) -> None:
    with pytest.raises(Refused, match="bad_segment"):
        commit(sql, replace(NEW, **change))


def test_a_segment_is_on_its_way_since_it_was_first_seen_and_forgotten_when_it_is_there() -> None:
    first, second = (SEGMENT, HOME), (segment_id(1, bytes([1] * 10)), HOME)
    seen = seen_since({}, [first], 10.0)
    seen = seen_since(seen, [first, second], 20.0)
    assert seen == {first: 10.0, second: 20.0}
    assert seen_since(seen, [second], 30.0) == {second: 20.0}
    assert seen_since(seen, [(SEGMENT, OTHER)], 30.0) == {(SEGMENT, OTHER): 30.0}


# --- which ring ---------------------------------------------------------------------------------


@given(st.permutations(range(8)), st.permutations(range(8)), st.integers(1, 7), st.randoms())
def test_there_is_always_an_order_of_cells_that_fits(
    former: list[int], ring: list[int], slots: int, chance: random.Random
) -> None:
    cells = rotated(former[:slots], ring)
    assert sorted(cells) == sorted(ring)
    assert is_clear(former[:slots], cells)
    chosen = choose_ring(former[:slots], {}, {1: tuple(ring), 2: cells}, chance)
    assert chosen == 2 or (chosen == 1 and is_clear(former[:slots], ring))


def test_the_ring_is_taken_where_most_is_made() -> None:
    rings_of_class = {7: (5, 6, 1, 2), 8: (6, 5, 2, 1), 9: (1, 5, 6, 2)}
    made = {0: {6}, 1: {5, 6}, 2: {2}}
    for seed in range(10):
        chance = random.Random(seed)
        assert choose_ring((1, 2), made, rings_of_class, chance) == 8
    assert choose_ring((5, 5), {}, {7: (5, 6, 1, 2)}, random.Random(1)) is None
