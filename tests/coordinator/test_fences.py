"""Whatever a policy does with a ring, its slots stay within the fence of its storage class."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common import limits
from common.errors import Unavailable
from coordinator.policy.evening import plan_even
from coordinator.policy.fallback import Spread, best_class
from coordinator.policy.fence import EVERYWHERE, Fence, admits, within
from coordinator.policy.homes import HomeClass, HomeRing, whole_rings
from coordinator.policy.moves import (
    Filled,
    FormerHolder,
    HeldRing,
    MoveReason,
    PlaceView,
    RingSlot,
    plan_moves,
    plan_returns,
    targets_of,
)
from coordinator.policy.placement import (
    CellView,
    Chooser,
    Redundancy,
    RingView,
    domains_of,
    plan_rings,
)
from coordinator.policy.targets import Surroundings

TIB = 1024 * limits.GIB
CLASS = Redundancy(2, 4, 3)
SITES = ("bologna", "roma", "torino", "")

fences = st.frozensets(st.sampled_from(SITES[:3]), min_size=1)
places = st.lists(st.sampled_from(SITES), min_size=6, max_size=24)
chances = st.randoms(use_true_random=False)


def views(sites: list[str]) -> list[CellView]:
    return [CellView(n, site, "", TIB, TIB // 2, writable=True) for n, site in enumerate(sites)]


def cells_on(sites: list[str]) -> dict[int, PlaceView]:
    return {
        number: PlaceView(number, site, "", TIB, TIB // 2, writable=True, readable=True)
        for number, site in enumerate(sites)
    }


def held_rings(sites: list[str], fence: Fence, chance: random.Random) -> list[HeldRing]:
    """Rings that are within the fence, as many as are planned for these cells."""
    plan = plan_rings(views(sites), (), CLASS, chance, fence=fence)
    return [HeldRing(number, CLASS.k, ring, fence=fence) for number, ring in enumerate(plan.new)]


def test_a_fence_admits_its_sites_and_no_fence_admits_all() -> None:
    fence = frozenset({"bologna"})
    assert [admits(fence, site) for site in SITES] == [True, False, False, False]
    assert all(admits(EVERYWHERE, site) for site in SITES)
    everywhere = views(list(SITES))
    assert [each.site for each in within(fence, everywhere)] == ["bologna"]
    assert within(EVERYWHERE, everywhere) == everywhere


@given(places, fences, chances)
def test_rings_are_planned_within_the_fence(
    sites: list[str], fence: Fence, chance: random.Random
) -> None:
    inside = [each.cell for each in within(fence, views(sites))]
    elsewhere = RingView(7, (0, 1, 2, 3), 3, open=False)
    plan = plan_rings(views(sites), (elsewhere,), CLASS, chance, fence=fence)
    assert bool(plan.new or plan.reopen) is (len(inside) >= CLASS.n)
    assert {cell for ring in plan.new for cell in ring} <= set(inside)
    assert not plan.reopen or set(elsewhere.cells) <= set(inside)


@given(places, fences, chances)
def test_no_ring_outside_the_fence_is_chosen(
    sites: list[str], fence: Fence, chance: random.Random
) -> None:
    rings = [
        RingView(number, tuple(chance.sample(range(len(sites)), CLASS.n)), CLASS.quorum, open=True)
        for number in range(12)
    ]
    chooser = Chooser(rings, {each.cell: each for each in views(sites)}, 0, fence)
    inside = {each.cell for each in within(fence, views(sites))}
    if not len(chooser):
        assert all(len(inside & set(ring.cells)) < CLASS.quorum for ring in rings)
        return
    chosen = rings[chooser.choose(chance.random, CLASS.n)]
    assert len(inside & set(chosen.cells)) >= CLASS.quorum


@given(places, fences, chances, st.lists(st.sampled_from(SITES), max_size=5))
def test_a_cell_for_a_slot_is_within_the_fence_whatever_the_others_are(
    sites: list[str], fence: Fence, chance: random.Random, others: list[str]
) -> None:
    cells = cells_on(sites)
    around = Surroundings([(site, "") for site in others], (), 2, 2, fence)
    found = targets_of(cells, [], chance).choose(around, limits.GIB)
    assert (found is None) is not any(admits(fence, site) for site in sites)
    assert found is None or admits(fence, cells[found].site)


@settings(max_examples=200)
@given(places, fences, chances)
def test_moves_of_lost_and_draining_cells_stay_within_the_fence(
    sites: list[str], fence: Fence, chance: random.Random
) -> None:
    rings = held_rings(sites, fence, chance)
    cells = cells_on(sites)
    for number in chance.sample(sorted(cells), len(cells) // 3):
        leaves = chance.choice((MoveReason.LOST, MoveReason.DRAIN))
        cells[number] = replace(
            cells[number], writable=False, readable=leaves is MoveReason.DRAIN, leaves=leaves
        )
    plan = plan_moves(rings, cells, chance, limit=1000)
    assert all(admits(fence, cells[move.target].site) for move in plan.moves)
    free = {n for n, cell in cells.items() if cell.writable and admits(fence, cell.site)}
    for stuck in plan.nowhere:
        moved = {move.target for move in plan.moves if move.ring == stuck.ring}
        assert free <= {*rings[stuck.ring].cells, *moved}, "there was a place for it"


@given(places, fences, chances)
def test_a_slot_does_not_return_to_a_cell_outside_the_fence(
    sites: list[str], fence: Fence, chance: random.Random
) -> None:
    cells = cells_on(sites)
    for ring in held_rings(sites, fence, chance):
        others = [number for number in cells if number not in ring.cells]
        if not others:
            return
        former = chance.choice(others)
        moved = replace(ring, sources={0: FormerHolder(former, MoveReason.LOST)})
        plan = plan_returns([moved], cells, {RingSlot(ring.ring, 0): Filled(9, 10)})
        assert all(admits(fence, cells[move.target].site) for move in plan.back)


@settings(max_examples=300)
@given(places, fences, chances, st.booleans())
def test_evening_out_stays_within_the_fence(
    sites: list[str], fence: Fence, chance: random.Random, joined: bool
) -> None:
    early = sites[: len(sites) // 2] if joined else sites
    rings = held_rings(early, fence, chance)
    cells = cells_on(sites)
    if len(rings) > 1:  # one that is crowded as far as the fence allows
        inside = [n for n, cell in cells.items() if admits(fence, cell.site)]
        crowded = sorted(inside, key=lambda number: cells[number].site)[: CLASS.n]
        if len(crowded) == CLASS.n:
            rings[0] = replace(rings[0], cells=tuple(crowded))
    slot_bytes = {ring.ring: chance.randrange(TIB // 8) for ring in rings}
    plan = plan_even(rings, cells, slot_bytes, chance, limit=10)
    assert all(admits(fence, cells[move.target].site) for move in plan.moves)


def test_a_ring_on_the_only_site_of_its_fence_is_not_crowded() -> None:
    sites = ["bologna"] * 8 + ["roma"] * 8 + ["torino"] * 8
    rings = held_rings(sites, frozenset({"bologna"}), random.Random(1))
    even = dict.fromkeys(range(len(rings)), limits.GIB)
    assert plan_even(rings, cells_on(sites), even, random.Random(1), limit=10).moves == ()
    two = held_rings(sites, frozenset({"bologna", "roma"}), random.Random(1))
    lopsided = [replace(two[0], cells=(0, 1, 2, 8))]
    (move,) = plan_even(lopsided, cells_on(sites), {}, random.Random(1), limit=10).moves
    assert (move.source in (0, 1, 2), 8 < move.target < 16) == (True, True)
    crowded = [replace(two[0], cells=(0, 1, 2, 3), fence=frozenset({"bologna"}))]
    assert plan_even(crowded, cells_on(sites), {}, random.Random(1), limit=10).moves == ()


@given(places, fences, st.sampled_from([Redundancy(4, 6, 5), Redundancy(2, 4, 3)]))
def test_a_fallback_counts_only_cells_within_the_fence(
    sites: list[str], fence: Fence, configured: Redundancy
) -> None:
    spread = Spread.of(map(domains_of, views(sites)), fence)
    inside = within(fence, views(sites))
    assert spread.cells == len(inside)
    found = best_class(configured, spread, spread)
    assert found is None or found.n <= len(inside)
    assert (found == configured) is (len(inside) >= configured.n)


def test_a_segment_goes_home_to_rings_of_its_own_storage_class() -> None:
    here, there = HomeClass(1, 2, 4), HomeClass(2, 2, 4)
    rings = [
        HomeRing(1, here, (1, 2, 3, 4)),
        HomeRing(2, there, (5, 6, 7, 8)),
        HomeRing(3, here, (1, 2, 3, 9)),
    ]
    found = whole_rings(rings, set(range(1, 9)))
    assert found[here] == {1: (1, 2, 3, 4)}
    assert found[there] == {2: (5, 6, 7, 8)}


def test_a_fence_with_too_few_cells_has_no_rings() -> None:
    sites = ["bologna"] * 3 + ["roma"] * 12
    assert held_rings(sites, frozenset({"bologna"}), random.Random(1)) == []
    chooser = Chooser((), {each.cell: each for each in views(sites)}, 0, frozenset({"bologna"}))
    with pytest.raises(Unavailable) as refused:
        chooser.choose(random.random, CLASS.n)
    assert refused.value.fields == {"have": 3, "need": 4}
