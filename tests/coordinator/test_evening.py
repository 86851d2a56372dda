"""Use evens out and rings spread, a few slots at a time, with no more data than that needs."""

import random
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common import limits
from coordinator.policy.evening import BAND, even_limit, plan_even
from coordinator.policy.moves import FormerHolder, HeldRing, MovePlan, MoveReason, PlaceView
from coordinator.policy.placement import CellView, Redundancy, plan_rings, spread_limit

LOST, DRAIN, EVEN = MoveReason.LOST, MoveReason.DRAIN, MoveReason.EVEN
GIB, TIB = limits.GIB, 1024 * limits.GIB


def cell_of(number, *, sites=3, site=None, owner="", capacity=TIB, **flags):
    place = f"site-{number % sites}" if site is None else site
    return PlaceView(
        number, place, owner, capacity, capacity, **{"writable": True, "readable": True, **flags}
    )


class Swarm:
    """Cells and rings with data, whose plans are carried out as they are made."""

    def __init__(self, cells, rings, slot_bytes, seed=1):
        self.cells = cells
        self.rings = {ring.ring: ring for ring in rings}
        self.slot_bytes = slot_bytes
        self.chance = random.Random(seed)
        self.moved_bytes = 0
        self._note_free()

    def _note_free(self):
        used = self.used()
        self.cells = {
            number: replace(cell, free_bytes=max(0, cell.capacity_bytes - used[number]))
            for number, cell in self.cells.items()
        }

    def used(self):
        used = Counter()
        for ring in self.rings.values():
            for cell in ring.cells:
                used[cell] += self.slot_bytes.get(ring.ring, 0)
        return used

    def deviations(self):
        """Bytes above the mean, by cell."""
        used = self.used()
        capacity = sum(cell.capacity_bytes for cell in self.cells.values())
        mean = sum(used.values()) / capacity
        return {
            number: used[number] - mean * cell.capacity_bytes for number, cell in self.cells.items()
        }

    def shares(self):
        return {
            number: each / self.cells[number].capacity_bytes
            for number, each in self.deviations().items()
        }

    def imbalance(self):
        deviations = self.deviations()
        return sum(
            each * each / self.cells[number].capacity_bytes for number, each in deviations.items()
        )

    def crowding(self):
        sites = Counter(cell.site for cell in self.cells.values())
        owners = Counter(cell.owner or str(cell.cell) for cell in self.cells.values())
        over_sites = over_owners = 0
        for ring in self.rings.values():
            n = len(ring.cells)
            site_limit = spread_limit(sites.values(), n, n - ring.k)
            owner_limit = spread_limit(owners.values(), n, n - ring.k)
            members = [self.cells[cell] for cell in ring.cells]
            on_site = Counter(cell.site for cell in members)
            of_owner = Counter(cell.owner for cell in members if cell.owner)
            over_sites += sum(max(0, count - site_limit) for count in on_site.values())
            over_owners += sum(max(0, count - owner_limit) for count in of_owner.values())
        return over_sites, over_owners

    def plan(self, limit=None):
        count = even_limit(len(self.cells)) if limit is None else limit
        return plan_even(
            list(self.rings.values()), self.cells, self.slot_bytes, self.chance, limit=count
        )

    def carry_out(self, moves):
        for move in moves:
            ring = self.rings[move.ring]
            assert ring.cells[move.slot] == move.source
            assert move.target not in ring.cells
            assert move.reason is EVEN
            holders = list(ring.cells)
            holders[move.slot] = move.target
            self.rings[move.ring] = replace(ring, cells=tuple(holders))
            self.moved_bytes += self.slot_bytes.get(move.ring, 0)
        self._note_free()

    def settle(self, most_rounds=2000):
        """Plan and carry out until nothing is left to do. Return the number of rounds."""
        for rounds in range(most_rounds):
            moves = self.plan().moves
            if not moves:
                return rounds
            self.carry_out(moves)
        raise AssertionError("never at rest")


def rings_on(cells, count, seed=1, k=4, n=6):
    """Rings of cells by chance, spread as placement does."""
    views = [
        CellView(each.cell, each.site, each.owner, each.capacity_bytes, each.capacity_bytes, True)
        for each in cells.values()
    ]
    redundancy = Redundancy(k, n, k + 1)
    rings, chance = [], random.Random(seed)
    while len(rings) < count:
        rings += plan_rings(views, [], redundancy, chance).new
    return [HeldRing(number, k, members) for number, members in enumerate(rings[:count])]


def test_an_even_swarm_is_left_alone():
    cells = {number: cell_of(number) for number in range(12)}
    swarm = Swarm(cells, rings_on(cells, 24), dict.fromkeys(range(24), 40 * GIB))
    assert max(map(abs, swarm.shares().values())) < BAND
    assert swarm.plan() == MovePlan()


def grown(before, after, count, share=0.5):
    """A swarm that has grown, its rings on the cells of before."""
    cells = {number: cell_of(number) for number in range(after)}
    rings = rings_on({number: cells[number] for number in range(before)}, count)
    slot_bytes = int(share * TIB * before / (count * 6))
    return Swarm(cells, rings, dict.fromkeys(range(count), slot_bytes))


def test_a_swarm_that_grows_from_6_to_60_cells_fills_the_new_ones_gradually():
    swarm = grown(6, 60, 60)
    assert swarm.plan().moves
    while moves := swarm.plan().moves:
        assert len(moves) <= even_limit(60) == 3
        for way in ("source", "target"):
            cells = [getattr(move, way) for move in moves]
            assert len(set(cells)) == len(cells)
        swarm.carry_out(moves)
    assert max(map(abs, swarm.shares().values())) <= BAND
    holders = {cell for ring in swarm.rings.values() for cell in ring.cells}
    assert len(holders) > 40
    # Each of the six had 45 % of a cell too much, and 35 % must go: 42 slots of 1/120.
    assert swarm.moved_bytes == 6 * 42 * swarm.slot_bytes[0]


def test_one_new_cell_of_many_gets_no_more_than_the_band_asks_for():
    swarm = grown(20, 21, 40)
    swarm.settle()
    used = swarm.used()[20]
    mean = sum(swarm.used().values()) / 21
    assert mean - BAND * TIB <= used <= mean
    assert swarm.moved_bytes == used


def crowded_swarm():
    """Rings made while there were two sites; a third has joined."""
    cells = {number: cell_of(number, sites=2) for number in range(8)}
    rings = rings_on(cells, 8)
    cells |= {number: cell_of(number, site="third") for number in range(8, 12)}
    return Swarm(cells, rings, dict.fromkeys(range(8), GIB))


def test_rings_follow_a_site_that_joined_later():
    swarm = crowded_swarm()
    assert swarm.crowding() == (16, 0)
    while swarm.crowding() != (0, 0):
        before = swarm.crowding()
        moves = swarm.plan().moves
        assert 1 <= len(moves) <= 2
        swarm.carry_out(moves)
        assert swarm.crowding() < before
    assert swarm.moved_bytes == 16 * GIB
    assert swarm.plan() == MovePlan()


def test_rings_follow_an_owner_that_joined_later():
    cells = {number: cell_of(number, site="", owner=f"owner-{number % 2}") for number in range(8)}
    rings = rings_on(cells, 8)
    cells |= {number: cell_of(number, site="", owner="third") for number in range(8, 12)}
    swarm = Swarm(cells, rings, {})
    assert swarm.crowding() == (0, 16)
    swarm.settle()
    assert swarm.crowding() == (0, 0)


def test_use_is_not_evened_out_where_that_would_crowd_a_site():
    # Every ring needs two slots on each site, and the third site has only two cells.
    cells = {number: cell_of(number, sites=2) for number in range(8)}
    cells |= {8: cell_of(8, site="third"), 9: cell_of(9, site="third")}
    rings = [
        HeldRing(
            number, 4, (number % 8, (number + 1) % 8, (number + 2) % 8, (number + 3) % 8, 8, 9)
        )
        for number in range(8)
    ]
    swarm = Swarm(cells, rings, dict.fromkeys(range(8), 100 * GIB))
    assert swarm.shares()[8] > BAND
    assert swarm.crowding() == (0, 0)
    assert swarm.plan() == MovePlan()


@pytest.mark.parametrize("reason", [LOST, DRAIN])
def test_nothing_is_evened_out_while_slots_are_to_be_rebuilt(reason):
    swarm = grown(6, 20, 60)
    assert swarm.plan().moves
    cell = swarm.cells[0]
    swarm.cells[0] = replace(cell, writable=False, readable=reason is DRAIN, leaves=reason)
    assert swarm.plan() == MovePlan()


def test_nothing_is_evened_out_while_slots_are_being_rebuilt():
    swarm = grown(6, 20, 60)
    swarm.rings[0] = replace(swarm.rings[0], sources={0: FormerHolder(19, LOST)})
    assert swarm.plan() == MovePlan()


def test_nothing_is_evened_out_by_a_coordinator_that_is_cut_off_from_most_cells():
    cells = {number: cell_of(number) for number in range(18)}
    rings = [HeldRing(number, 4, (0, 1, 2, 3, 4, 5)) for number in range(10)]
    rings += [HeldRing(number, 4, tuple(range(7, 13))) for number in range(10, 20)]
    rings += [HeldRing(number, 4, tuple(range(12, 18))) for number in range(20, 30)]
    swarm = Swarm(cells, rings, dict.fromkeys(range(30), 60 * GIB))
    assert {move.target for move in swarm.plan().moves} == {6}
    for number in range(7, 18):
        cell = swarm.cells[number]
        swarm.cells[number] = replace(cell, writable=False, readable=False, leaves=LOST)
    assert swarm.plan() == MovePlan()


def test_slots_that_have_nowhere_to_go_are_not_waited_for():
    swarm = grown(6, 20, 60)
    swarm.rings[999] = HeldRing(999, 10, tuple(range(20)))
    gone = replace(swarm.cells[19], writable=False, readable=False, leaves=LOST)
    swarm.cells[19] = gone
    moves = swarm.plan().moves
    assert moves
    assert all(move.ring != 999 for move in moves)


def test_a_large_swarm_evens_out_beside_a_few_repairs():
    swarm = grown(50, 150, 100)
    swarm.rings[0] = replace(swarm.rings[0], sources={0: FormerHolder(140, LOST)})
    assert swarm.plan().moves


def test_unfinished_moves_count_and_their_cells_and_rings_wait():
    swarm = grown(6, 60, 60)
    first = swarm.plan(limit=4).moves
    assert len(first) == 4
    for move in first[:2]:
        ring = swarm.rings[move.ring]
        holders = list(ring.cells)
        holders[move.slot] = move.target
        swarm.rings[move.ring] = replace(
            ring, cells=tuple(holders), sources={move.slot: FormerHolder(move.source, EVEN)}
        )
    assert swarm.plan(limit=2) == MovePlan()
    more = swarm.plan(limit=4).moves
    assert len(more) == 2
    busy = {cell for move in first[:2] for cell in (move.source, move.target)}
    assert not busy & {cell for move in more for cell in (move.source, move.target)}
    assert not {move.ring for move in first[:2]} & {move.ring for move in more}


@pytest.mark.parametrize(
    "change",
    [
        {"writable": False, "readable": False},
        {"writable": False},
        {"writable": False, "leaves": DRAIN},
    ],
)
def test_cells_that_cannot_take_slots_get_none(change):
    swarm = grown(6, 12, 60)
    for number in range(6, 11):
        swarm.cells[number] = replace(swarm.cells[number], **change)
    moves = swarm.plan(limit=10).moves
    assert {move.target for move in moves} == {11}


def test_a_cell_that_is_silent_gives_nothing():
    swarm = grown(6, 12, 60)
    for number in range(3):
        swarm.cells[number] = replace(swarm.cells[number], writable=False, readable=False)
    assert {move.source for move in swarm.plan(limit=10).moves} == {3, 4, 5}


@st.composite
def uneven_swarms(draw, most_sites=5, most_owners=4):
    k, n = draw(st.sampled_from([(1, 2), (2, 3), (4, 6), (3, 6)]))
    seed = draw(st.integers(0, 10_000))
    chance = random.Random(seed)
    count = draw(st.integers(n, 24))
    sites, owners = draw(st.integers(1, most_sites)), draw(st.integers(0, most_owners))
    cells = {
        number: cell_of(
            number,
            site=f"site-{chance.randrange(sites)}",
            owner=f"owner-{chance.randrange(owners)}" if owners and chance.random() < 0.7 else "",
            capacity=TIB * chance.choice([1, 1, 1, 2, 4]),
        )
        for number in range(count)
    }
    present = draw(st.integers(n, count))
    rings = [
        HeldRing(ring, k, tuple(chance.sample(range(present), n)))
        for ring in range(draw(st.integers(1, 40)))
    ]
    # No cell is over its capacity, whatever the rings.
    most = Counter(cell for ring in rings for cell in ring.cells)
    largest = int(0.9 * TIB / max(most.values()))
    slot_bytes = {ring.ring: chance.choice([0, largest // 10, largest, largest]) for ring in rings}
    return Swarm(cells, rings, slot_bytes, seed)


@settings(deadline=None, max_examples=150)
@given(uneven_swarms())
def test_plans_come_to_rest_and_never_make_anything_worse(swarm):
    for _ in range(1000):
        plan = swarm.plan()
        assert plan.nowhere == ()
        assert len(plan.moves) <= even_limit(len(swarm.cells))
        if not plan.moves:
            break
        crowding, imbalance = swarm.crowding(), swarm.imbalance()
        least_off = max(map(abs, swarm.shares().values()))
        swarm.carry_out(plan.moves)
        assert swarm.crowding() <= crowding
        if swarm.crowding() == crowding:
            assert swarm.imbalance() < imbalance
            assert max(map(abs, swarm.shares().values())) <= least_off + 1e-9
        for ring in swarm.rings.values():
            assert len(set(ring.cells)) == len(ring.cells)
    else:
        raise AssertionError("never at rest")


@settings(deadline=None, max_examples=150)
@given(uneven_swarms(most_sites=1, most_owners=0))
def test_no_more_data_is_moved_than_the_use_asks_for(swarm):
    largest = max(swarm.slot_bytes.values())
    deviations = swarm.deviations().items()
    beyond = {
        number: over
        for number, each in deviations
        if (over := abs(each) - BAND * swarm.cells[number].capacity_bytes) > 0
    }
    above = sum(over for number, over in beyond.items() if dict(deviations)[number] > 0)
    swarm.settle()
    # Every way to bring all into the band moves at least the larger of both sums.
    optimum = max(above, sum(beyond.values()) - above)
    assert swarm.moved_bytes <= 2 * optimum + len(beyond) * largest


@pytest.mark.parametrize("seed", range(5))
def test_a_swarm_at_rest_stays_so_while_use_changes_little(seed):
    swarm = grown(6, 60, 60)
    swarm.settle()
    # Some cells are at the edge of the band; now there is some room.
    swarm.slot_bytes = {ring: each * 4 // 5 for ring, each in swarm.slot_bytes.items()}
    assert swarm.plan() == MovePlan()
    chance = random.Random(seed)
    for _ in range(20):
        factors = {ring: chance.uniform(0.9, 1.1) for ring in swarm.slot_bytes}
        before = swarm.slot_bytes
        swarm.slot_bytes = {ring: int(each * factors[ring]) for ring, each in before.items()}
        assert swarm.plan() == MovePlan()
        swarm.slot_bytes = before
