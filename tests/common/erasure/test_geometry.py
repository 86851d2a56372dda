"""Geometry: the arithmetic of stripes and units."""

import itertools

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from common.erasure.geometry import Geometry
from common.errors import PeerViolation
from common.limits import (
    AEAD_TAG_BYTES,
    MAX_SLOTS,
    MAX_STRIPES_PER_SEGMENT,
    SEGMENT_BYTES,
    STRIPE_SEALED_BYTES,
    UNIT_ALIGNMENT_BYTES,
)

codes = st.integers(1, MAX_SLOTS).flatmap(
    lambda k: st.tuples(st.just(k), st.integers(k, MAX_SLOTS))
)


def interesting_sizes(k):
    full = STRIPE_SEALED_BYTES // k // UNIT_ALIGNMENT_BYTES * UNIT_ALIGNMENT_BYTES
    plain = k * full - AEAD_TAG_BYTES
    edges = [0, plain, 2 * plain, 3 * plain, SEGMENT_BYTES]
    near = [edge + off for edge in edges for off in (-k - 1, -k, -17, -1, 0, 1, 16, 17, k, k + 1)]
    return sorted({size for size in near if 0 <= size <= SEGMENT_BYTES})


def hold(geometry, cut=0):
    """What must be true of every geometry."""
    k, stripes = geometry.k, range(geometry.stripes)
    assert 1 <= geometry.stripes <= MAX_STRIPES_PER_SEGMENT
    assert sum(map(geometry.plain_bytes, stripes)) == geometry.segment_bytes
    assert sum(map(geometry.unit_bytes_of, stripes)) == geometry.shard_bytes
    for stripe in stripes:
        padding = k * geometry.unit_bytes_of(stripe) - AEAD_TAG_BYTES - geometry.plain_bytes(stripe)
        assert 0 <= padding < (cut or k)
        assert padding == 0 or geometry.is_last(stripe)
        assert k * geometry.unit_bytes_of(stripe) <= STRIPE_SEALED_BYTES
        assert geometry.unit_bytes_of(stripe) >= 1
        start = geometry.stripe_start(stripe)
        if geometry.plain_bytes(stripe):
            assert geometry.stripe_at(start) == stripe
            assert geometry.stripe_at(start + geometry.plain_bytes(stripe) - 1) == stripe
    figures = (geometry.segment_bytes, geometry.unit_bytes, geometry.shard_bytes)
    assert Geometry.of(k, geometry.n, *figures) == geometry


@pytest.mark.parametrize("k", [1, 2, 3, 4, 8, 10, 13, 40, 64])
def test_every_byte_is_in_one_stripe_and_one_tag_and_padding_fill_the_units(k):
    for size in interesting_sizes(k):
        hold(Geometry.plan(k, 64, size))


@settings(max_examples=200, deadline=None)
@given(codes, st.integers(0, SEGMENT_BYTES))
def test_any_planned_geometry_holds_and_is_read_back(code, size):
    hold(Geometry.plan(*code, size))


def test_a_small_segment_is_one_small_stripe():
    assert Geometry.plan(4, 6, 4096) == Geometry(4, 6, 4096, 1028, 1, 1028)
    assert Geometry.plan(4, 6, 0) == Geometry(4, 6, 0, 4, 1, 4)
    assert Geometry.plan(16, 20, 0) == Geometry(16, 20, 0, 1, 1, 1)


def test_a_full_segment_has_full_stripes_and_a_small_last_one():
    geometry = Geometry.plan(4, 6, SEGMENT_BYTES)
    assert geometry.unit_bytes == 256 * 1024
    assert geometry.stripes == 65
    assert geometry.plain_bytes(0) == geometry.full_plain_bytes == 1024 * 1024 - 16
    assert geometry.plain_bytes(64) == 64 * 16
    assert geometry.unit_bytes_of(64) == (64 * 16 + 16) // 4


@pytest.mark.parametrize(
    "figures",
    [
        (0, 6, 4096, 1028),
        (7, 6, 4096, 1028),
        (4, 65, 4096, 1028),
        (-1, 6, 4096, 1028),
        (4, 6, -1, 1028),
        (4, 6, SEGMENT_BYTES + 1, 262144),
        (4, 6, 4096, 1027),
        (4, 6, 4096, 1028 + MAX_SLOTS // 4),
        (4, 6, 4096, 0),
        (4, 6, 4096, -1028),
        (4, 6, 0, 3),
        (4, 6, 0, 20),
        (16, 20, 1, 1),
        (4, 6, 4096, 4),
        (4, 6, 1 << 20, 262144 + 64),
        (4, 6, SEGMENT_BYTES, 262143),
        (4, 6, SEGMENT_BYTES, 64),
        (1, 1, SEGMENT_BYTES, 1 << 62),
    ],
)
def test_figures_that_no_writer_makes_are_a_violation(figures):
    _, _, _, unit = figures
    for shard in (unit, unit + 4, 1028, 0, -1, 2 * unit):
        with pytest.raises(PeerViolation, match="bad_geometry"):
            Geometry.of(*figures, shard)


@pytest.mark.parametrize("size", [4096, 3 << 20])
def test_a_shard_is_as_long_as_its_units(size):
    geometry = Geometry.plan(4, 6, size)
    figures = (4, 6, size, geometry.unit_bytes)
    assert Geometry.of(*figures, geometry.shard_bytes) == geometry
    for off in (-geometry.unit_bytes, -1, MAX_SLOTS // 4, geometry.unit_bytes, 1 << 62):
        with pytest.raises(PeerViolation, match="bad_geometry"):
            Geometry.of(*figures, geometry.shard_bytes + off)


@settings(max_examples=300, deadline=None)
@example(21, 21, 342, 21, 21)  # its only stripe would have more padding than any class makes
@given(
    st.integers(-2, 70),
    st.integers(-2, 70),
    st.integers(-10, 2**63),
    st.integers(-10, 2**63),
    st.integers(-10, 2**63),
)
def test_any_foreign_figures_are_a_sound_geometry_or_a_violation(k, n, segment, unit, shard):
    for figures in itertools.product(
        (k, 4), (n, 6), (segment, 4096), (unit, 1028, unit // 64 * 64), (shard, 1028, unit)
    ):
        try:
            geometry = Geometry.of(*figures)
        except PeerViolation:
            continue
        hold(geometry, MAX_SLOTS)


def test_a_segment_written_with_smaller_stripes_is_still_read():
    geometry = Geometry.of(4, 6, 1 << 20, 64 * 1024, 4 * 64 * 1024 + 20)
    hold(geometry)
    assert geometry.stripes == 5


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 7), st.integers(1, 8), st.integers(0, 4), st.integers(0, SEGMENT_BYTES))
def test_what_stands_in_for_a_class_is_cut_into_its_units(k, times, spare, size):
    """Its sealed stripes are those of the class, so its units can be put together to the class's:
    and an upload that was begun in one goes on in the other."""
    of_class = Geometry.plan(k * times, k * times + spare, size)
    geometry = Geometry.plan(k, k + spare, size, k * times)
    hold(geometry, k * times)
    assert geometry.is_cut_like(of_class)
    for stripe in range(of_class.stripes):
        assert geometry.unit_bytes_of(stripe) == times * of_class.unit_bytes_of(stripe)
