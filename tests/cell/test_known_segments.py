"""The filter never denies a segment that the tables know, and spares look-ups of new ones."""

from __future__ import annotations

import random

from cell.storage.known_segments import KnownSegments
from common.ids import SegmentId, segment_id


def _segments(lease: int, count: int, seed: int = 0) -> list[SegmentId]:
    rng = random.Random(lease * 1000 + seed)
    return [segment_id(lease, rng.randbytes(10)) for _ in range(count)]


def test_what_was_added_is_never_denied() -> None:
    known = KnownSegments([], is_all=True)
    added = _segments(7, 2000)
    for each in added:
        known.add(each)
    assert all(known.may_have(each) for each in added)


def test_most_new_segments_need_no_look_up() -> None:
    known = KnownSegments(_segments(7, 2000), is_all=True)
    assert sum(map(known.may_have, _segments(7, 2000, seed=1))) < 20


def test_what_was_in_the_tables_at_the_start_is_never_denied() -> None:
    there = sorted(_segments(3, 500) + _segments(9, 500), reverse=True)
    known = KnownSegments(there, is_all=True)
    assert all(map(known.may_have, there))


def test_a_lease_that_was_not_read_to_its_end_is_always_looked_up() -> None:
    there = sorted(_segments(5, 3000) + _segments(6, 600) + _segments(9, 500), reverse=True)
    known = KnownSegments(there[:1000], is_all=False)
    assert all(map(known.may_have, there))
    assert all(map(known.may_have, _segments(6, 2000, seed=1)))
    assert sum(map(known.may_have, _segments(9, 2000, seed=1))) < 20
