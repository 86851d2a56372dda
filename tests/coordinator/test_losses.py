"""What would be lost if a site or a box failed now."""

from __future__ import annotations

import random

from coordinator.policy.health import SURE, WRITABLE, CellState
from coordinator.policy.losses import Loss, LossTable, PlacedCell, PlacedRing, cells_on_boxes
from coordinator.policy.placement import Redundancy

CLASS = Redundancy(4, 6, 5)
SITES = ("Bologna", "Roma", "Torino")


def swarm(cells: int) -> dict[str, PlacedCell]:
    return {
        f"c{number}": PlacedCell(SITES[number % 3], f"h{number}", CellState.ALIVE)
        for number in range(cells)
    }


def test_a_site_of_two_cells_takes_the_margin_and_the_class() -> None:
    cells = swarm(6)
    ring = PlacedRing(4, 5, tuple(cells), True)
    losses = LossTable(cells, [ring], CLASS)
    assert (losses.of_nothing().margin, losses.of_nothing().writable) == (2, True)
    assert [(each.name, each.cells, each.margin, each.writable) for each in losses.of_sites()] == [
        (site, 2, 0, True) for site in SITES
    ]
    assert {each.fallback for each in losses.of_sites()} == {"2/4"}
    assert {(each.margin, each.writable) for each in losses.of_boxes()} == {(1, True)}


def test_cells_that_are_away_already_count_as_lost() -> None:
    cells = swarm(6)
    cells["c0"] = PlacedCell("Bologna", "h0", CellState.OFFLINE)
    cells["c1"] = PlacedCell("Roma", "h1", CellState.REMOVED)
    losses = LossTable(cells, [PlacedRing(4, 5, tuple(cells), True)], CLASS)
    assert (losses.of_nothing().margin, losses.of_nothing().writable) == (0, True)
    assert losses.of_nothing().fallback == "2/4"
    by_name = {each.name: each for each in losses.of_sites()}
    assert (by_name["Torino"].margin, by_name["Torino"].unreadable) == (-2, 1)
    assert by_name["Bologna"].margin == -1
    assert (by_name["Torino"].writable, by_name["Torino"].fallback) == (False, "")
    assert "h1" not in {each.name for each in losses.of_boxes()}


def test_a_read_only_cell_is_read_and_a_closed_ring_is_not_written() -> None:
    cells = swarm(3)
    cells["c0"] = PlacedCell("Bologna", "h0", CellState.READ_ONLY)
    ring = PlacedRing(1, 2, ("c0", "c1", "c2"), False)
    now = LossTable(cells, [ring], Redundancy(1, 3, 2)).of_nothing()
    assert (now.margin, now.writable) == (2, False)


def test_a_slot_that_lacks_shards_takes_margin_once_and_its_cell_no_more() -> None:
    cells = swarm(6)
    ring = PlacedRing(4, 5, tuple(cells), True, lacks=frozenset({0}))
    losses = LossTable(cells, [ring], CLASS)
    assert losses.of_nothing() == Loss("", 0, 1, 0, True)
    by_name = {each.name: each.margin for each in losses.of_boxes()}
    assert by_name == {"h0": 1, "h1": 0, "h2": 0, "h3": 0, "h4": 0, "h5": 0}
    assert {each.name: each.margin for each in losses.of_sites()} == {
        "Bologna": 0,
        "Roma": -1,
        "Torino": -1,
    }


def test_the_table_is_what_counting_each_loss_by_itself_gives() -> None:
    chance = random.Random(3)
    for _ in range(200):
        cells = {
            f"c{number}": PlacedCell(
                chance.choice((*SITES, "")), chance.choice(("", "h1", "h2")),
                chance.choice((*CellState, *[CellState.ALIVE] * 9)),
            )
            for number in range(9)
        }  # fmt: skip
        rings = []
        for _ in range(chance.randrange(5)):
            n = chance.randrange(1, 7)
            k = chance.randrange(1, n + 1)
            members = tuple(chance.sample(sorted(cells), n))
            lacks = frozenset(slot for slot in range(n) if chance.random() < 0.2)
            quorum = chance.randrange(k, n + 1)
            rings.append(PlacedRing(k, quorum, members, chance.random() < 0.7, lacks))
        for each in LossTable(cells, rings, CLASS).of_sites():
            left = {c: cell for c, cell in cells.items() if cell.site != each.name}
            sure = {c for c, cell in left.items() if cell.state in SURE}
            writable = {c for c, cell in left.items() if cell.state in WRITABLE}
            margins = [
                sum(c in sure for slot, c in enumerate(ring.cells) if slot not in ring.lacks)
                - ring.k
                for ring in rings
            ]
            assert each.margin == min(margins, default=0)
            assert each.unreadable == sum(margin < 0 for margin in margins)
            by_class = each.writable and not each.fallback
            assert by_class == (
                len(writable) >= 6
                or any(
                    ring.open and len(writable.intersection(ring.cells)) >= ring.quorum
                    for ring in rings
                )
            )
            if each.writable != by_class:
                k, n = (int(part) for part in each.fallback.split("/"))
                assert n - k == 2
                assert len(writable) >= n


def test_cells_of_a_host_are_one_box_and_others_boxes_of_their_own() -> None:
    assert sorted(cells_on_boxes(["a", "", "a", ""])) == [1, 1, 2]
