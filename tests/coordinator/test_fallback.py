"""The class of new segments while too few cells are left: as safe, never safer than can be kept."""

from __future__ import annotations

import random
from collections import Counter
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coordinator.policy.fallback import (
    FALL_AFTER_S,
    Spread,
    WrittenClass,
    best_class,
    fallbacks,
    fits,
)
from coordinator.policy.placement import CellView, Redundancy, default_quorum, plan_rings

CLASS = Redundancy(4, 6, 5)
HALF, LEAST = Redundancy(2, 4, 3), Redundancy(1, 3, 2)


def spread(*sites: int) -> Spread:
    """Cells on sites, each of an owner of its own."""
    return Spread(tuple(size for size in sites if size), (1,) * sum(sites))


def of(k: int, n: int) -> Redundancy:
    return Redundancy(k, n, default_quorum(k, n))


@pytest.mark.parametrize(
    ("k", "n", "expected"),
    [
        (4, 6, ["2/4", "1/3"]),
        (2, 3, ["1/2"]),
        (2, 4, ["1/3"]),
        (3, 5, ["1/3"]),
        (6, 9, ["3/6", "2/5", "1/4"]),
        (8, 12, ["4/8", "2/6", "1/5"]),
        (1, 2, []),
        (2, 2, ["1/1"]),
    ],
)
def test_the_fallbacks_of_a_class(k: int, n: int, expected: list[str]) -> None:
    assert [str(each) for each in fallbacks(of(k, n))] == expected


def test_a_fallback_keeps_a_quorum_that_was_configured_as_far_from_k() -> None:
    assert fallbacks(Redundancy(4, 6, 6)) == (Redundancy(2, 4, 4), Redundancy(1, 3, 3))
    assert fallbacks(Redundancy(4, 6, 4)) == (Redundancy(2, 4, 2), Redundancy(1, 3, 1))


@pytest.mark.parametrize(
    ("configured", "here", "all_cells", "expected"),
    [
        # Six cells on three sites: one site gone, one cell gone more, two sites gone.
        ("4/6", (2, 2, 2), (2, 2, 2), "4/6"),
        ("4/6", (2, 2, 0), (2, 2, 2), "2/4"),
        ("4/6", (2, 1, 0), (2, 2, 2), "1/3"),
        ("4/6", (1, 1, 1), (2, 2, 2), "1/3"),
        ("4/6", (2, 2, 1), (2, 2, 2), "2/4"),
        ("4/6", (2, 0, 0), (2, 2, 2), None),
        # Three cells of one site that go with it are no ring of a swarm that has three sites ...
        ("4/6", (3, 0, 0), (3, 3, 3), None),
        ("4/6", (4, 1, 0), (4, 4, 4), "1/3"),
        # ... but of one that has only this site, or two, which the class itself has to crowd.
        ("4/6", (3,), (6,), "1/3"),
        ("4/6", (4,), (6,), "2/4"),
        ("4/6", (3, 1), (3, 3), "2/4"),
        # Three boxes.
        ("2/3", (1, 1, 0), (1, 1, 1), "1/2"),
        ("2/3", (1, 0, 0), (1, 1, 1), None),
        ("2/3", (2,), (3,), "1/2"),
        # Nothing to give up.
        ("1/2", (1,), (2,), None),
        # More sites than one has slots for.
        ("6/9", (1, 1, 1, 1, 1, 1, 1, 1), (1,) * 9, "3/6"),
        ("6/9", (1, 1, 1, 1, 1), (1,) * 9, "2/5"),
        ("6/9", (1, 1, 1, 1), (1,) * 9, "1/4"),
        ("6/9", (1, 1, 1), (1,) * 9, None),
    ],
)
def test_the_class_for_the_cells_that_are_left(
    configured: str, here: tuple[int, ...], all_cells: tuple[int, ...], expected: str | None
) -> None:
    k, n = (int(part) for part in configured.split("/"))
    found = best_class(of(k, n), spread(*here), spread(*all_cells))
    assert (None if found is None else str(found)) == expected


def test_the_owners_are_limited_as_sites_are() -> None:
    everything = Spread((2, 2, 2), (2, 2, 2))
    assert best_class(CLASS, Spread((2, 2), (2, 2)), everything) == HALF
    assert best_class(CLASS, Spread((2, 2), (3, 1)), everything) == LEAST
    assert best_class(CLASS, Spread((2, 2), (4,)), everything) is None
    assert best_class(CLASS, Spread((2, 2), (4,)), Spread((2, 2, 2), (6,))) == HALF


def test_a_class_whose_rings_have_a_quorum_stays() -> None:
    """It is left only when it cannot be written to: one cell that is away costs no class."""
    five = spread(2, 2, 1)
    assert best_class(CLASS, five, spread(2, 2, 2), lambda each: each == CLASS) == CLASS
    three = spread(2, 1)
    assert best_class(CLASS, three, spread(2, 2, 2), lambda each: each == HALF) == HALF


classes = st.tuples(st.integers(1, 12), st.integers(0, 5)).flatmap(
    lambda of_class: st.integers(of_class[0], sum(of_class)).map(
        lambda quorum: Redundancy(of_class[0], sum(of_class), quorum)
    )
)
cells = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 5)), min_size=1, max_size=16)


@given(classes, cells, st.randoms(use_true_random=False))
@settings(max_examples=300)
def test_a_fallback_never_has_less_margin_and_can_be_placed(
    configured: Redundancy, at: list[tuple[int, int]], chance: random.Random
) -> None:
    every = [
        CellView(number, f"site-{site}", f"owner-{owner}", 100, 100, True)
        for number, (site, owner) in enumerate(at)
    ]
    here = [view for view in every if chance.random() < 0.6]
    left = Spread.of((view.site, view.owner) for view in here)
    whole = Spread.of((view.site, view.owner) for view in every)
    found = best_class(configured, left, whole)
    if found is None:
        assert len(here) < configured.n
        return
    assert found.n - found.k == configured.n - configured.k
    assert found.quorum - found.k == configured.quorum - configured.k
    assert configured.k % found.k == 0
    assert found == configured or len(here) < configured.n
    # The best: every class that takes less space does not fit.
    for better in fallbacks(configured):
        if better.k > found.k:
            assert not fits(better, configured, left, whole)
    rings = plan_rings(here, [], found, chance).new
    assert rings
    for ring in rings:
        assert len(set(ring)) == found.n


@given(st.integers(1, 3), st.lists(st.integers(1, 4), min_size=2, max_size=5))
@settings(max_examples=100)
def test_where_the_class_survives_a_site_so_does_its_fallback(spare: int, sizes: list[int]) -> None:
    configured = of(4, 4 + spare)
    everything = spread(*sizes)
    if sum(min(size, spare) for size in sizes) < configured.n:
        return
    views = [
        CellView(number, f"site-{site}", "", 100, 100, True)
        for number, site in enumerate(site for site, size in enumerate(sizes) for _ in range(size))
    ]
    for lost in range(len(sizes)):
        here = [view for view in views if view.site != f"site-{lost}"]
        left = spread(*[size for site, size in enumerate(sizes) if site != lost])
        found = best_class(configured, left, everything)
        if found is None or found == configured:
            continue
        for ring in plan_rings(here, [], found, random.Random(1)).new:
            on_sites = Counter(views[cell].site for cell in ring)
            assert max(on_sites.values()) <= spare
            assert all(
                found.n - sum(views[cell].site == site for cell in ring) >= found.k
                for site in on_sites
            )
            assert all(len(set(ring) - set(two)) >= found.k for two in combinations(ring, spare))


# --- over time ----------------------------------------------------------------------------------


def test_it_falls_only_after_a_while_and_rises_at_once() -> None:
    written = WrittenClass(CLASS)
    assert not written.decide(HALF, HALF, 100.0)
    assert (written.now, written.decides_at) == (CLASS, 100.0 + FALL_AFTER_S)
    assert not written.decide(LEAST, LEAST, 101.0)
    assert written.decides_at == 100.0 + FALL_AFTER_S
    assert written.decide(HALF, HALF, 100.0 + FALL_AFTER_S)
    assert written.has_fallen
    assert written.now == HALF
    assert not written.decide(HALF, HALF, 200.0)
    assert written.decide(CLASS, CLASS, 200.0)
    assert written.now == CLASS
    assert not written.has_fallen


def test_cells_that_only_connect_anew_change_nothing() -> None:
    written = WrittenClass(CLASS)
    for at in range(0, 100, 10):
        assert not written.decide(None, None, at)
        assert not written.decide(LEAST, LEAST, at + 5.0)
        assert not written.decide(HALF, HALF, at + 6.0)
        assert not written.decide(CLASS, CLASS, at + 6.9)
    assert written.decides_at == float("inf")


def test_it_falls_further_and_rises_step_by_step() -> None:
    written = WrittenClass(CLASS, {HALF, CLASS})
    assert written.now == HALF
    assert not written.decide(LEAST, LEAST, 10.0)
    assert written.decide(LEAST, LEAST, 20.0)
    assert written.decide(HALF, HALF, 20.0)
    assert written.now == HALF


def test_without_any_class_it_stays_and_nobody_waits() -> None:
    written = WrittenClass(CLASS)
    assert not written.decide(HALF, HALF, 10.0)
    assert not written.decide(None, None, 11.0)
    assert not written.decide(None, None, 20.0)
    assert written.decides_at == float("inf")
    assert not written.decide(HALF, HALF, 20.0)
    assert written.decide(HALF, HALF, 20.0 + FALL_AFTER_S)


def test_a_coordinator_that_starts_goes_on_with_the_fallback_until_enough_cells_were_heard() -> (
    None
):
    """The cells that it has not heard yet are no reason to return, nor to fall further."""
    written = WrittenClass(CLASS, {CLASS, HALF})
    for at in range(60):
        assert not written.decide(None, CLASS, float(at))
        assert not written.decide(LEAST, CLASS, float(at))
    assert written.now == HALF
    assert written.decide(CLASS, CLASS, 60.0)
