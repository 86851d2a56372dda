"""The exact margin of segments, and the query that counts them."""

import sqlite3
from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from coordinator.policy.margins import LackingKind, Margins, margins_of
from coordinator.policy.moves import FormerHolder, HeldRing, MoveReason
from coordinator.store import missing, rings
from coordinator.store.schema import migrate

CELLS = (1, 2, 3, 4, 5, 6)
RING = HeldRing(7, 4, CELLS, {})


def test_a_whole_ring_has_its_spare_and_one_without_segments_does_not_count() -> None:
    assert margins_of({7: RING}, [7], [], CELLS) == Margins(2)
    assert margins_of({7: RING}, [], [], ()) == Margins(None)
    assert margins_of({7: RING}, [7], [], CELLS[:4]) == Margins(0, bare_rings=1)
    assert margins_of({7: RING}, [7], [], CELLS[:3]) == Margins(-1, unreadable_rings=1)


def test_each_segment_is_judged_by_its_own_slots() -> None:
    kinds = [
        LackingKind(7, 0b000001, 0, 5),
        LackingKind(7, 0b000010, 0, 4),
        LackingKind(7, 0b110000, 0, 3),
        LackingKind(7, 0b111000, 0, 2),
        LackingKind(99, 0b111111, 0, 1),
    ]
    assert margins_of({7: RING}, [7], kinds, CELLS) == Margins(-1, unreadable=2, bare=3)
    assert margins_of({7: RING}, [7], kinds[:2], CELLS) == Margins(1)
    # Cell 2 is silent: the five that lack slot 0 have no spare left, the four lack it anyhow.
    found = margins_of({7: RING}, [7], kinds[:2], set(CELLS) - {2})
    assert found == Margins(0, bare=5)


def test_what_the_source_still_has_counts_while_the_source_can_be_read() -> None:
    ring = HeldRing(7, 4, CELLS, {0: FormerHolder(8, MoveReason.DRAIN)})
    kind = LackingKind(7, 0, 0b000001, 9)
    assert margins_of({7: ring}, [7], [kind], {*CELLS, 8}) == Margins(2)
    assert margins_of({7: ring}, [7], [kind], CELLS) == Margins(1)
    # A row that says so of a slot without a source is not believed.
    assert margins_of({7: RING}, [7], [kind], CELLS) == Margins(1)


ROWS = st.dictionaries(
    st.tuples(st.integers(0, 5), st.sampled_from([0, 1, 5, 62, 63])),
    st.booleans(),
    max_size=25,
)


@given(ROWS)
def test_the_query_counts_each_lacking_segment_once_by_its_slots(
    rows: dict[tuple[int, int], bool],
) -> None:
    sql = sqlite3.connect(":memory:")
    migrate(sql)
    for (segment, slot), lacks in rows.items():
        missing.note(sql, segment % 2, [(bytes([segment] * 16), slot)], 0, source_lacks=lacks)
    expected: dict[tuple[int, int, int], int] = {}
    for segment in {segment for segment, _ in rows}:
        own = {slot: lacks for (each, slot), lacks in rows.items() if each == segment}
        gone = sum(1 << slot for slot, lacks in own.items() if lacks)
        elsewhere = sum(1 << slot for slot, lacks in own.items() if not lacks)
        key = (segment % 2, gone, elsewhere)
        expected[key] = expected.get(key, 0) + 1
    found = missing.lacking_kinds(sql, 1000)
    assert {(each.ring, each.gone, each.elsewhere): each.segments for each in found} == expected
    widths = [(each.gone | each.elsewhere).bit_count() for each in found]
    assert widths == sorted(widths, reverse=True)
    assert missing.lacking_kinds(sql, 1) == found[:1]
    assert missing.count_all(sql) == len(rows)


def test_only_rings_that_hold_a_segment_are_used() -> None:
    sql = sqlite3.connect(":memory:")
    migrate(sql)
    sql.executemany(
        "INSERT INTO rings (ring, k, n, quorum, is_open, created_ms) VALUES (?, 4, 6, 5, 1, 0)",
        [(1,), (2,), (3,)],
    )
    sql.executemany(
        "INSERT INTO segments VALUES (?, 1, ?, 1, 1, 1, 1, x'', 1, 0)",
        [(bytes([a, b]), a) for a, b in product((1, 3), range(3))],
    )
    assert rings.used(sql) == {1, 3}
