"""What the table of classes claims is true of every ring that the placement can make, and of no
more than that."""

from __future__ import annotations

import random
from collections import Counter
from itertools import combinations

import pytest

from coordinator.policy.classes import (
    AFFORDABLE_STORED,
    BOXES,
    SITES,
    Recommendation,
    recommended,
    sites_of,
    spreads,
    survived,
    weaknesses,
)
from coordinator.policy.fallback import Spread, best_class
from coordinator.policy.placement import (
    CellView,
    Chooser,
    Redundancy,
    RingView,
    default_quorum,
    plan_rings,
    spread_limit,
)

TABLE = recommended()


def name(each: Recommendation) -> str:
    return f"{each.boxes} boxes, {each.sites} sites"


def sites_by_cell(sizes: tuple[int, ...]) -> list[int]:
    return [site for site, size in enumerate(sizes) for _ in range(size)]


def all_rings(redundancy: Redundancy, sizes: tuple[int, ...]) -> list[frozenset[int]]:
    """Every set of n cells that keeps the limit for sites, counted cell by cell."""
    at = sites_by_cell(sizes)
    limit = spread_limit(sizes, redundancy.n, redundancy.n - redundancy.k)
    return [
        frozenset(ring)
        for ring in combinations(range(len(at)), redundancy.n)
        if max(Counter(at[cell] for cell in ring).values()) <= limit
    ]


def survives_reads(rings: list[frozenset[int]], k: int, losses: list[frozenset[int]]) -> bool:
    return all(len(ring - lost) >= k for ring in rings for lost in losses)


def survives_writes(
    rings: list[frozenset[int]], redundancy: Redundancy, cells: int, losses: list[frozenset[int]]
) -> bool:
    return all(
        cells - len(lost) >= redundancy.n
        or all(len(ring - lost) >= redundancy.quorum for ring in rings)
        for lost in losses
    )


def box_losses(cells: int, count: int) -> list[frozenset[int]]:
    return [frozenset(lost) for lost in combinations(range(cells), count)]


def site_losses(sizes: tuple[int, ...], count: int) -> list[frozenset[int]]:
    at = sites_by_cell(sizes)
    return [
        frozenset(cell for cell, site in enumerate(at) if site in gone)
        for gone in combinations(range(len(sizes)), count)
    ]


@pytest.mark.parametrize("row", TABLE, ids=name)
def test_a_row_survives_what_it_claims_and_no_more(row: Recommendation) -> None:
    redundancy, sizes = row.redundancy, sites_of(row.boxes, row.sites)
    rings = all_rings(redundancy, sizes)
    at = sites_by_cell(sizes)
    on_sites = [Counter(at[cell] for cell in ring) for ring in rings]
    every_site = range(row.sites)
    assert {tuple(each[site] for site in every_site) for each in on_sites} == set(
        spreads(redundancy, sizes)
    )
    claims = row.survives
    boxes = row.boxes
    for reads, losses in (
        (claims.reads_boxes, lambda count: box_losses(boxes, count)),
        (claims.reads_sites, lambda count: site_losses(sizes, count)),
    ):
        assert survives_reads(rings, redundancy.k, losses(reads))
        assert not survives_reads(rings, redundancy.k, losses(reads + 1))
    for writes, losses in (
        (claims.writes_boxes, lambda count: box_losses(boxes, count)),
        (claims.writes_sites, lambda count: site_losses(sizes, count)),
    ):
        assert survives_writes(rings, redundancy, boxes, losses(writes))
        assert not survives_writes(rings, redundancy, boxes, losses(writes + 1))


@pytest.mark.parametrize("row", TABLE, ids=name)
def test_a_row_goes_on_with_a_fallback_where_it_says_so_and_no_further(row: Recommendation) -> None:
    sizes = sites_of(row.boxes, row.sites)
    at = sites_by_cell(sizes)
    every_box = Spread(sizes, (1,) * row.boxes)

    def goes_on(lost: frozenset[int]) -> bool:
        left = Counter(at[cell] for cell in range(row.boxes) if cell not in lost)
        spread = Spread(tuple(left.values()), (1,) * left.total())
        return best_class(row.redundancy, spread, every_box) is not None

    of = row.survives
    for most, by_class, losses in (
        (of.fallback_boxes, of.writes_boxes, lambda count: box_losses(row.boxes, count)),
        (of.fallback_sites, of.writes_sites, lambda count: site_losses(sizes, count)),
    ):
        for count in range(by_class + 1, most + 1):
            assert all(goes_on(lost) for lost in losses(count))
        assert not all(goes_on(lost) for lost in losses(most + 1))


@pytest.mark.parametrize("row", TABLE, ids=name)
def test_the_placement_keeps_what_a_row_claims(row: Recommendation) -> None:
    redundancy, sizes = row.redundancy, sites_of(row.boxes, row.sites)
    at = sites_by_cell(sizes)
    cells = [CellView(cell, f"site-{at[cell]}", "", 100, 100, True) for cell in range(row.boxes)]
    counted = set(spreads(redundancy, sizes))
    for seed in range(3):
        chance = random.Random(seed)
        plan = plan_rings(cells, [], redundancy, chance)
        rings = [
            RingView(number, ring, redundancy.quorum, True) for number, ring in enumerate(plan.new)
        ]
        assert rings
        for ring in rings:
            on_site = Counter(at[cell] for cell in ring.cells)
            assert tuple(on_site[site] for site in range(row.sites)) in counted
        claims = row.survives
        for reads, lost in (
            *((True, lost) for lost in box_losses(row.boxes, claims.reads_boxes)),
            *((True, lost) for lost in site_losses(sizes, claims.reads_sites)),
            *((False, lost) for lost in box_losses(row.boxes, claims.writes_boxes)),
            *((False, lost) for lost in site_losses(sizes, claims.writes_sites)),
        ):
            if reads:
                assert all(len(set(ring.cells) - lost) >= redundancy.k for ring in rings)
                continue
            left = [cell for cell in cells if cell.cell not in lost]
            more = plan_rings(left, rings, redundancy, chance).new
            every = rings + [
                RingView(len(rings) + number, ring, redundancy.quorum, True)
                for number, ring in enumerate(more)
            ]
            assert Chooser(every, {cell.cell: cell for cell in left}, 1)


def test_the_table_has_every_number_of_boxes_and_sites() -> None:
    wanted = [(boxes, sites) for boxes in BOXES for sites in SITES if sites <= boxes]
    assert [(row.boxes, row.sites) for row in TABLE] == wanted


@pytest.mark.parametrize("row", TABLE, ids=name)
def test_a_recommended_class_survives_one_box_and_one_site(row: Recommendation) -> None:
    of = row.survives
    assert of.reads_boxes >= 1
    assert of.writes_boxes >= 1
    assert of.reads_boxes >= 2 or row.boxes == 3
    assert of.reads_sites >= 1 or row.sites == 1
    assert row.stored <= AFFORDABLE_STORED
    assert row.redundancy.quorum > row.redundancy.k
    assert not weaknesses(row.redundancy, [1] * row.boxes)


def test_the_sites_have_boxes_as_evenly_as_can_be() -> None:
    assert sites_of(5, 3) == (2, 2, 1)
    assert sites_of(9, 3) == (3, 3, 3)


def test_too_few_boxes_survive_nothing() -> None:
    found = survived(Redundancy(4, 6, 5), (5,))
    assert (found.reads_boxes, found.writes_boxes) == (0, 0)


@pytest.mark.parametrize("n", range(1, 7))
@pytest.mark.parametrize("k", range(1, 7))
def test_what_is_warned_of_is_what_one_box_costs(k: int, n: int) -> None:
    if k > n:
        return
    for quorum in range(k, n + 1):
        redundancy = Redundancy(k, n, quorum)
        for cells in range(n, n + 3):
            # A box with several cells is a site with as many: both are lost as one.
            for sizes in ((1,) * cells, *((each,) + (1,) * (cells - each) for each in (2, 3))):
                if sum(sizes) != cells or len(sizes) < 2:
                    continue
                rings = all_rings(redundancy, sizes)
                losses = site_losses(sizes, 1)
                text = "; ".join(weaknesses(redundancy, sizes))
                assert ("cannot be read" in text) != survives_reads(rings, k, losses)
                assert ("cannot be written" in text) != survives_writes(
                    rings, redundancy, cells, losses
                )


def test_three_cells_at_two_of_three_are_warned_about() -> None:
    redundancy = Redundancy(2, 3, default_quorum(2, 3))
    (text,) = weaknesses(redundancy, [1, 1, 1])
    assert "with 3 cells, class 2/3 cannot be written without one box" in text
    assert "new objects take class 1/2 meanwhile, which keeps 2.00 bytes" in text
    assert "4 cells or more" in text
    assert not weaknesses(redundancy, [1] * 4)
    # Before any cell has joined the class is judged by what it needs.
    assert weaknesses(redundancy, []) == (text,)
    assert not weaknesses(Redundancy(4, 6, 5), [])
