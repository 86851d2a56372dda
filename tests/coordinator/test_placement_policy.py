"""Rings are spread, balanced and few; a ring for a write is chosen by free space."""

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import Unavailable
from coordinator.policy.placement import (
    CellView,
    Chooser,
    Redundancy,
    RingView,
    default_quorum,
    plan_rings,
    ring_target,
    spread_limit,
)

CLASS = Redundancy(4, 6, 5)


def swarm_of(count, sites=3, owners=None, capacity=lambda _: 100):
    return [
        CellView(
            number,
            f"site-{number % sites}",
            f"owner-{number % owners}" if owners else f"owner-{number}",
            capacity(number),
            capacity(number),
            True,
        )
        for number in range(count)
    ]


class Rings:
    """Rings as a store would hold them."""

    def __init__(self, seed=1):
        self.rings = []
        self.chance = random.Random(seed)

    def plan(self, cells, redundancy=CLASS):
        plan = plan_rings(cells, self.rings, redundancy, self.chance)
        self.rings = [
            RingView(
                ring.ring,
                ring.cells,
                ring.quorum,
                (ring.open or ring.ring in plan.reopen) and ring.ring not in plan.close,
            )
            for ring in self.rings
        ]
        for cells_of_ring in plan.new:
            self.rings.append(RingView(len(self.rings), cells_of_ring, redundancy.quorum, True))
        return plan

    def open(self, cells):
        alive = {cell.cell for cell in cells}
        return [ring for ring in self.rings if ring.open and alive.issuperset(ring.cells)]

    def memberships(self, cells):
        counts = Counter(cell for ring in self.open(cells) for cell in ring.cells)
        return [counts[cell.cell] for cell in cells]


@pytest.mark.parametrize(
    ("k", "n", "quorum"),
    [(4, 6, 5), (8, 12, 10), (10, 16, 13), (2, 3, 3), (1, 2, 2), (1, 1, 1), (1, 3, 2), (4, 4, 4)],
)
def test_the_default_quorums(k, n, quorum):
    assert default_quorum(k, n) == quorum


@pytest.mark.parametrize(
    ("counts", "n", "wanted", "limit"),
    [
        ([2, 2, 2], 6, 2, 2),
        ([6], 6, 2, 6),
        ([5, 5], 6, 2, 3),
        ([4, 1, 1], 6, 2, 4),
        ([10, 10, 10], 6, 2, 2),
        ([1] * 6, 6, 0, 1),
    ],
)
def test_spread_is_as_wished_or_as_even_as_can_be(counts, n, wanted, limit):
    assert spread_limit(counts, n, wanted) == limit


@settings(deadline=None, max_examples=60)
@given(
    st.integers(1, 10),
    st.integers(0, 6),
    st.integers(0, 30),
    st.integers(1, 5),
    st.integers(1, 12),
    st.integers(0, 100),
)
def test_rings_are_of_n_distinct_cells_and_spread_where_they_can(k, m, extra, sites, owners, seed):
    redundancy = Redundancy(k, k + m, k)
    cells = swarm_of(k + m + extra, sites, owners)
    rings = Rings(seed)
    rings.plan(cells, redundancy)
    by_number = {cell.cell: cell for cell in cells}
    assert len(rings.rings) >= ring_target(len(cells), redundancy.n)
    sites_limit = spread_limit(
        Counter(cell.site for cell in cells).values(), redundancy.n, redundancy.n - k
    )
    for ring in rings.rings:
        assert len(set(ring.cells)) == redundancy.n
        if owners >= len(cells):  # owners do not stand in the way of sites
            counts = Counter(by_number[cell].site for cell in ring.cells)
            assert max(counts.values()) <= sites_limit
    assert plan_rings(cells, rings.rings, redundancy, rings.chance).new == ()


def test_no_ring_has_more_than_parity_on_one_site_or_host():
    cells = swarm_of(30, sites=5, owners=15)
    rings = Rings()
    rings.plan(cells)
    by_number = {cell.cell: cell for cell in cells}
    for ring in rings.rings:
        for domain in ("site", "owner"):
            counts = Counter(getattr(by_number[cell], domain) for cell in ring.cells)
            assert max(counts.values()) <= 2


def test_cells_are_in_equally_many_rings_and_hold_data_and_parity_evenly():
    cells = swarm_of(20, sites=5)
    rings = Rings()
    rings.plan(cells)
    counts = rings.memberships(cells)
    assert max(counts) - min(counts) <= 2
    data = Counter(cell for ring in rings.rings for cell in ring.cells[:4])
    assert max(data.values()) - min(data[cell.cell] for cell in cells) <= 2
    slots = Counter((cell, slot) for ring in rings.rings for slot, cell in enumerate(ring.cells))
    assert max(slots.values()) <= 8


def test_larger_cells_are_in_more_rings_but_none_in_all():
    def capacity(number):
        return 1000 if number == 0 else 200 if number % 2 else 100

    cells = swarm_of(30, capacity=capacity)
    rings = Rings()
    rings.plan(cells)
    counts = rings.memberships(cells)
    small = [count for cell, count in zip(cells, counts, strict=True) if cell.free_bytes == 100]
    large = [count for cell, count in zip(cells, counts, strict=True) if cell.free_bytes == 200]
    assert 1.6 < (sum(large) / len(large)) / (sum(small) / len(small)) < 2.4
    assert max(large) < counts[0] < len(rings.rings)


def test_too_few_cells_make_no_ring():
    assert plan_rings(swarm_of(5), [], CLASS, random.Random(1)).new == ()


def test_a_new_cell_gets_its_share_and_the_number_of_open_rings_stays_bounded():
    rings = Rings()
    for count in range(6, 40):
        cells = swarm_of(count)
        rings.plan(cells)
        target = ring_target(count, 6)
        assert target <= len(rings.open(cells)) <= target + target // 2
        assert min(rings.memberships(cells)) >= 10
    assert len(rings.rings) < 40 * 13


def test_when_a_site_is_gone_rings_of_the_rest_are_made_and_the_same_ones_next_time():
    cells = swarm_of(12, sites=3)
    rings = Rings()
    rings.plan(cells)
    rest = [cell for cell in cells if cell.site != "site-0"]
    assert rings.open(rest) == []
    assert rings.plan(rest).new
    assert min(rings.memberships(rest)) >= 10
    known = len(rings.rings)
    for _ in range(3):
        rings.plan(cells)
        assert len(rings.open(cells)) <= 1.5 * ring_target(12, 6)
        assert rings.plan(rest).new == ()
        assert min(rings.memberships(rest)) >= 10
    assert len(rings.rings) == known


def test_one_cell_of_many_that_comes_and_goes_changes_nothing():
    cells = swarm_of(40)
    rings = Rings()
    rings.plan(cells)
    for gone in range(5):
        plan = rings.plan([cell for cell in cells if cell.cell != gone])
        assert (plan.new, plan.reopen, plan.close) == ((), (), ())


def chooser_of(cells, rings, least=1):
    return Chooser(rings, {cell.cell: cell for cell in cells}, least)


def test_rings_are_chosen_in_proportion_to_their_fullest_cells_room():
    cells = [CellView(n, "", "", 100, 100 if n < 3 else 300, True) for n in range(6)]
    rings = [RingView(1, (0, 1, 2), 2, True), RingView(2, (3, 4, 5), 2, True)]
    chooser = chooser_of(cells, rings)
    chance = random.Random(1)
    counts = Counter(chooser.choose(chance.random, 3) for _ in range(4000))
    assert 2.5 < counts[2] / counts[1] < 3.5


def test_a_ring_that_lacks_a_cell_is_chosen_only_when_no_whole_one_is_left():
    def cells(*gone):
        return [CellView(n, "", "", 100, 100, n not in gone) for n in range(6)]

    rings = [RingView(1, (0, 1, 2), 2, True), RingView(2, (3, 4, 5), 2, True)]
    chance = random.Random(1)
    chooser = chooser_of(cells(0), rings)
    assert chooser.complete
    assert {chooser.choose(chance.random, 3) for _ in range(50)} == {2}
    chooser = chooser_of(cells(0, 3), rings)
    assert not chooser.complete
    assert {chooser.choose(chance.random, 3) for _ in range(50)} == {1, 2}
    chooser = chooser_of(cells(0, 1, 3), rings)
    assert {chooser.choose(chance.random, 3) for _ in range(50)} == {2}
    chooser = chooser_of(cells(0, 1, 3, 4), rings)
    with pytest.raises(Unavailable, match="no_ring") as failure:
        chooser.choose(chance.random, 3)
    assert failure.value.fields == {"have": 2, "need": 3}


def test_full_cells_and_closed_rings_are_not_written_to():
    cells = [CellView(n, "", "", 100, 5 if n == 0 else 100, True) for n in range(6)]
    rings = [RingView(1, (0, 1, 2), 3, True), RingView(2, (3, 4, 5), 3, False)]
    chooser = chooser_of(cells, rings, least=10)
    with pytest.raises(Unavailable, match="no_ring"):
        chooser.choose(random.Random(1).random, 3)
    chooser = chooser_of(cells, rings, least=1)
    assert chooser.choose(lambda: 0.999999, 3) == 1
