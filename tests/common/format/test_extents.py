"""The arithmetic of segments, extents and pages, against a model of bytes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from common.format.extents import (
    ExtentRun,
    join_runs,
    page_bytes,
    pages_of_extents,
    runs_of_page,
    segment_sizes,
)
from common.ids import SegmentId
from common.limits import MAX_EXTENTS_PER_PAGE, SEGMENT_BYTES
from common.wire.messages.writing import Extent, Page

SEGMENTS = [SegmentId(bytes([index]) * 16) for index in range(4)]
MODEL = {
    segment: bytes((index * 64 + at) % 251 for at in range(40))
    for index, segment in enumerate(SEGMENTS)
}


@st.composite
def extents(draw: st.DrawFn) -> Extent:
    segment = draw(st.sampled_from(SEGMENTS))
    offset = draw(st.integers(0, 39))
    length = draw(st.integers(1, 40 - offset))
    return Extent(segment, offset, length, bytes(32), 0)


def bytes_of(of: list[Extent]) -> bytes:
    return b"".join(MODEL[e.segment_id][e.offset : e.offset + e.length] for e in of)


def runs_of(pages: tuple[Page, ...], first: int, last: int) -> list[ExtentRun]:
    runs: list[ExtentRun] = []
    start = 0
    for number, page in enumerate(pages):
        runs += runs_of_page(page, number, start, first, last)
        start += page_bytes(page)
    return runs


@given(data=st.data(), content=st.lists(extents(), min_size=1, max_size=12))
def test_a_range_is_cut_out_of_pages_exactly(data: st.DataObject, content: list[Extent]) -> None:
    whole = bytes_of(content)
    cuts = data.draw(st.integers(1, 4))
    pages = tuple(Page(tuple(content[at : at + cuts])) for at in range(0, len(content), cuts))
    first = data.draw(st.integers(0, len(whole) - 1))
    last = data.draw(st.integers(first, len(whole) + 5))
    runs = runs_of(pages, first, last)
    got = b"".join(MODEL[r.extent.segment_id][r.offset : r.offset + r.length] for r in runs)
    assert got == whole[first : last + 1]
    copied = join_runs(runs)
    assert bytes_of(copied) == got
    assert len(copied) <= len(runs)


def test_neighbours_in_one_segment_become_one_extent() -> None:
    one = Extent(SEGMENTS[0], 0, 40, bytes(32), 0)
    assert join_runs([ExtentRun(one, 0, 10, 0), ExtentRun(one, 10, 5, 1)]) == [
        Extent(SEGMENTS[0], 0, 15, bytes(32), 0)
    ]
    assert len(join_runs([ExtentRun(one, 0, 10, 0), ExtentRun(one, 11, 5, 1)])) == 2


def test_neighbours_that_were_sealed_by_two_tries_stay_two_extents() -> None:
    one = Extent(SEGMENTS[0], 0, 40, bytes(32), 3)
    other = Extent(SEGMENTS[0], 0, 40, bytes(32), 4)
    runs = [ExtentRun(one, 0, 10, 0), ExtentRun(other, 10, 5, 0)]
    assert [extent.number for extent in join_runs(runs)] == [3, 4]


def test_pages_hold_at_most_their_limit() -> None:
    many = [Extent(SEGMENTS[0], 0, 1, bytes(32), 0)] * (2 * MAX_EXTENTS_PER_PAGE + 1)
    assert [len(page.extents) for page in pages_of_extents(many)] == [
        MAX_EXTENTS_PER_PAGE,
        MAX_EXTENTS_PER_PAGE,
        1,
    ]
    assert pages_of_extents([]) == ()


@given(st.integers(0, 10 * SEGMENT_BYTES))
def test_segments_add_up_and_only_the_last_is_short(size: int) -> None:
    sizes = segment_sizes(size)
    assert sum(sizes) == size
    assert all(each == SEGMENT_BYTES for each in sizes[:-1])
    assert all(0 < each <= SEGMENT_BYTES for each in sizes)
