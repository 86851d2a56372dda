"""Slots leave lost and draining cells, to cells that keep rings spread; nothing else moves."""

import random
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common import limits
from coordinator.policy.moves import (
    Filled,
    FormerHolder,
    HeldRing,
    Move,
    MovePlan,
    MoveReason,
    PlaceView,
    RingSlot,
    can_be_filled,
    kept_source,
    may_leave_barred,
    plan_moves,
    plan_returns,
    spare_of,
    still_holds,
)

LOST, DRAIN, EVEN = MoveReason.LOST, MoveReason.DRAIN, MoveReason.EVEN
TIB = 1024 * limits.GIB


def cell_of(number, site=None, owner="", capacity=TIB, free=None, **flags):
    return PlaceView(
        number,
        f"site-{number % 3}" if site is None else site,
        owner,
        capacity,
        capacity // 2 if free is None else free,
        **{"writable": True, "readable": True, **flags},
    )


def lost(cell):
    return replace(cell, writable=False, readable=False, leaves=LOST)


def silent(cell):
    return replace(cell, writable=False, readable=False)


def draining(cell):
    return replace(cell, writable=False, leaves=DRAIN)


def swarm_of(count, **changes):
    """Cells on three sites by number; by number, what is different about some."""
    cells = {number: cell_of(number) for number in range(count)}
    for name, change in changes.items():
        number = int(name.removeprefix("c"))
        cells[number] = change(cells[number])
    return cells


def plan(rings, cells, *, limit=1000, seed=1, **kwargs):
    return plan_moves(rings, cells, random.Random(seed), limit=limit, **kwargs)


def carried_out(rings, moves, cells):
    """Rings after the moves, whose slots are still to be filled."""
    by_number = {ring.ring: ring for ring in rings}
    for move in moves:
        ring = by_number[move.ring]
        assert ring.cells[move.slot] == move.source
        holders, sources = list(ring.cells), dict(ring.sources)
        sources[move.slot] = kept_source(ring, move, cells)
        holders[move.slot] = move.target
        by_number[move.ring] = replace(ring, cells=tuple(holders), sources=sources)
    return list(by_number.values())


def filled_up(rings):
    """Rings whose slots have been filled."""
    return [replace(ring, sources={}) for ring in rings]


RING = HeldRing(1, 4, (0, 1, 2, 3, 4, 5))


def test_slots_of_a_lost_cell_go_to_one_outside_the_ring():
    assert plan([RING], swarm_of(7, c3=lost)) == MovePlan((Move(1, 3, 3, 6, LOST),))


@pytest.mark.parametrize("change", [silent, lambda cell: replace(cell, writable=False)])
def test_cells_that_are_silent_or_full_keep_their_slots(change):
    assert plan([RING], swarm_of(12, c3=change, c1=change)) == MovePlan()


def test_without_a_cell_outside_the_ring_there_is_nowhere_to_go():
    assert plan([RING], swarm_of(6, c3=lost)) == MovePlan(nowhere=(RingSlot(1, 3),))
    assert plan([RING], swarm_of(7, c3=lost, c6=silent)) == MovePlan(nowhere=(RingSlot(1, 3),))
    assert plan([RING], swarm_of(7, c3=lost, c6=draining)) == MovePlan(nowhere=(RingSlot(1, 3),))


def test_nothing_moves_where_too_few_are_left_to_rebuild_from():
    gone = {"c3": lost, "c4": lost, "c5": lost}
    assert plan([RING], swarm_of(20, **gone)) == MovePlan()
    # A source that can be read makes it possible again, and so does one cell that comes back.
    being_filled = replace(RING, sources={5: FormerHolder(6, DRAIN)})
    assert len(plan([being_filled], swarm_of(20, **gone, c6=draining)).moves) == 3
    assert len(plan([RING], swarm_of(20, c3=lost, c4=lost)).moves) == 2
    assert len(plan([RING], swarm_of(20, **gone, c0=draining)).moves) == 1


def test_rings_with_the_least_spare_go_first():
    cells = swarm_of(20, c0=lost, c7=lost, c8=silent, c13=lost)
    whole = HeldRing(1, 4, (0, 1, 2, 3, 4, 5))
    two_gone = HeldRing(2, 4, (6, 7, 8, 9, 10, 11))
    unfinished = HeldRing(
        3, 4, (12, 13, 14, 15, 16, 17), {0: FormerHolder(8, EVEN), 3: FormerHolder(8, LOST)}
    )
    rings = [whole, two_gone, unfinished]
    assert [spare_of(ring, cells) for ring in rings] == [1, 0, -1]
    assert [move.ring for move in plan(rings, cells).moves] == [3, 2, 1]
    assert [move.ring for move in plan(rings, cells, limit=2).moves] == [3, 2]


def test_slots_of_lost_cells_go_before_those_of_draining_ones():
    cells = swarm_of(20, c0=draining, c1=lost, c6=draining, c7=silent, c12=lost)
    rings = [
        RING,
        HeldRing(2, 4, (6, 7, 8, 9, 10, 11)),
        HeldRing(3, 4, (12, 13, 14, 15, 16, 17)),
    ]
    moved = [(move.ring, move.slot) for move in plan(rings, cells).moves]
    assert set(moved[:2]) == {(1, 1), (3, 0)} or moved[0] == (1, 1) or moved[0] == (3, 0)
    assert moved.index((1, 1)) < moved.index((1, 0))
    assert moved.index((3, 0)) < moved.index((2, 0))


def test_a_draining_cell_that_is_silent_is_waited_for():
    cells = swarm_of(7, c3=lambda cell: draining(silent(cell)))
    assert plan([RING], cells) == MovePlan()


def test_a_slot_that_is_being_filled_moves_on_only_if_its_holder_is_lost():
    ring = replace(RING, sources={3: FormerHolder(6, LOST)})
    gone = {"c6": lost}
    assert plan([ring], swarm_of(9, c3=draining, **gone)) == MovePlan()
    (move,) = plan([ring], swarm_of(9, c3=lost, **gone)).moves
    assert (move.slot, move.source) == (3, 3)
    assert move.target in (7, 8)


def test_a_slot_never_goes_to_an_unfinished_source_of_its_ring():
    ring = replace(RING, sources={0: FormerHolder(6, EVEN)})
    assert plan([ring], swarm_of(7, c3=lost)) == MovePlan(nowhere=(RingSlot(1, 3),))


def test_the_source_that_can_be_read_is_kept():
    ring = replace(RING, sources={3: FormerHolder(6, DRAIN)})
    move = Move(1, 3, 3, 7, LOST)
    assert kept_source(ring, move, swarm_of(8, c3=lost, c6=draining)) == FormerHolder(6, DRAIN)
    assert kept_source(ring, move, swarm_of(8, c3=lost, c6=lost)) == FormerHolder(3, LOST)
    assert kept_source(RING, move, swarm_of(8, c3=lost)) == FormerHolder(3, LOST)


def test_a_lost_holder_gives_its_slot_back_to_a_source_that_is_whole():
    ring = replace(RING, sources={3: FormerHolder(6, EVEN)})
    cells = swarm_of(9, c3=lost)
    assert plan([ring], cells) == MovePlan()
    returns = plan_returns([ring], cells, {RingSlot(1, 3): Filled(0, 10)})
    assert returns.back == (Move(1, 3, 3, 6, LOST),)


@pytest.mark.parametrize(
    ("missing", "returns"), [(10, True), (6, True), (5, False), (4, False), (0, False)]
)
@pytest.mark.parametrize("reason", [LOST, DRAIN])
def test_a_cell_that_comes_back_gets_the_slot_where_less_is_missing_there(missing, returns, reason):
    ring = replace(RING, sources={3: FormerHolder(6, reason)})
    result = plan_returns([ring], swarm_of(9), {RingSlot(1, 3): Filled(missing, 10)})
    assert result.back == ((Move(1, 3, 3, 6, EVEN),) if returns else ())
    assert result.stay == (() if returns else (RingSlot(1, 3),))


@pytest.mark.parametrize("change", [lost, silent, draining])
def test_nothing_returns_to_a_cell_that_is_not_whole(change):
    ring = replace(RING, sources={3: FormerHolder(6, LOST)})
    result = plan_returns([ring], swarm_of(9, c6=change), {RingSlot(1, 3): Filled(10, 10)})
    assert (result.back, result.stay) == ((), ())


def test_a_ring_that_is_named_twice_is_decided_once():
    ring = replace(RING, sources={3: FormerHolder(6, LOST), 4: FormerHolder(7, LOST)})
    filled = {RingSlot(1, 3): Filled(9, 10), RingSlot(1, 4): Filled(1, 10)}
    result = plan_returns([ring, ring], swarm_of(9), filled)
    assert result.back == (Move(1, 3, 3, 6, EVEN),)
    assert result.stay == (RingSlot(1, 4),)


def test_a_slot_that_was_moved_for_evenness_does_not_return():
    ring = replace(RING, sources={3: FormerHolder(6, EVEN)})
    result = plan_returns([ring], swarm_of(9), {RingSlot(1, 3): Filled(10, 10)})
    assert (result.back, result.stay) == ((), ())


def test_what_was_given_back_is_not_given_back_again():
    cells = swarm_of(9)
    ring = replace(RING, sources={3: FormerHolder(6, LOST)})
    back = plan_returns([ring], cells, {RingSlot(1, 3): Filled(8, 10)}).back
    (ring,) = carried_out([ring], back, cells)
    assert ring.cells[3] == 6
    assert plan_returns([ring], cells, {RingSlot(1, 3): Filled(2, 10)}).back == ()


def test_a_return_does_not_crowd_a_site():
    # The other slots of the ring are 2, 1, 2; cell 6 is on site 0, which has two already.
    cells = swarm_of(9)
    ring = HeldRing(1, 4, (0, 3, 1, 4, 2, 5), {5: FormerHolder(6, LOST)})
    assert plan_returns([ring], cells, {RingSlot(1, 5): Filled(9, 10)}).back == ()


@pytest.mark.parametrize("bytes_free", [0, limits.CELL_LEAST_FREE_BYTES - 1])
def test_a_cell_without_room_gets_nothing(bytes_free):
    cells = swarm_of(8, c3=lost, c6=lambda cell: replace(cell, free_bytes=bytes_free))
    assert plan([RING], cells).moves == (Move(1, 3, 3, 7, LOST),)


def test_a_cell_gets_no_more_than_it_has_room_for():
    room = 100 + limits.CELL_LEAST_FREE_BYTES
    cells = swarm_of(7, c3=lost, c6=lambda cell: replace(cell, free_bytes=room))
    rings = [replace(RING, ring=number) for number in range(5)]
    result = plan(rings, cells, slot_bytes=dict.fromkeys(range(5), 40))
    assert len(result.moves) == 2
    assert len(result.nowhere) == 3


def test_slots_of_one_cell_spread_over_many_although_one_is_new():
    cells = swarm_of(20, c0=lost)
    rings = [
        HeldRing(number, 4, (0, *(1 + (number * 5 + each) % 18 for each in range(5))))
        for number in range(12)
    ]
    rings += [
        HeldRing(number, 4, tuple(1 + (number * 7 + each) % 18 for each in range(6)))
        for number in range(100, 126)
    ]
    targets = Counter(move.target for move in plan(rings, cells).moves)
    assert sum(targets.values()) == 12
    assert 2 <= targets[19] <= 6  # the new one
    assert max(targets.values()) <= 6


def test_emptier_cells_get_more():
    def free_of(number):
        return TIB // 10 if number % 2 else TIB * 9 // 10

    cells = {number: cell_of(number, site="", free=free_of(number)) for number in range(46)}
    cells |= {number: draining(cells[number]) for number in range(6)}
    rings = [HeldRing(number, 4, (0, 1, 2, 3, 4, 5)) for number in range(20)]
    targets = Counter(move.target % 2 for move in plan(rings, cells).moves)
    assert targets[0] > 3 * targets[1]


def places_of(numbers, cells):
    sites = Counter(cells[number].site for number in numbers)
    owners = Counter(cells[number].owner for number in numbers if cells[number].owner)
    return sites, owners


@st.composite
def states_of_swarm(draw):
    """A swarm with rings, some of whose cells are lost, draining, silent or full, and some of
    whose slots are being filled."""
    k, parity = draw(st.sampled_from([(1, 1), (2, 1), (4, 2), (3, 3), (8, 4)]))
    n = k + parity
    count = draw(st.integers(n, 3 * n))
    sites, owners = draw(st.integers(1, 6)), draw(st.integers(0, 5))
    seed = draw(st.integers(0, 10_000))
    chance = random.Random(seed)
    change_odds = draw(st.sampled_from([0.0, 0.1, 0.3]))
    cells = {}
    for number in range(count):
        cell = cell_of(
            number,
            site=f"site-{chance.randrange(sites)}",
            owner=f"owner-{chance.randrange(owners)}" if owners and chance.random() < 0.8 else "",
            capacity=TIB * chance.choice([1, 1, 2, 8]),
            free=chance.choice([0, 1, 50, 500]) * limits.GIB,
        )
        if chance.random() < change_odds:
            full = replace(cell, writable=False)
            cell = chance.choice([lost(cell), lost(cell), draining(cell), silent(cell), full])
        cells[number] = cell
    rings = []
    for ring in range(draw(st.integers(1, 12))):
        members = chance.sample(range(count), min(count, n + 2))
        sources = {}
        for extra in members[n:]:
            if chance.random() < 0.2:
                sources[chance.randrange(n)] = FormerHolder(extra, chance.choice(list(MoveReason)))
        rings.append(HeldRing(ring, k, tuple(members[:n]), sources))
    return rings, cells, seed


@settings(deadline=None, max_examples=300)
@given(states_of_swarm(), st.integers(1, 40))
def test_no_two_slots_of_a_ring_meet_and_only_what_must_move_moves(state, limit):
    rings, cells, seed = state
    result = plan(rings, cells, limit=limit, seed=seed)
    assert len(result.moves) <= limit
    assert len({(move.ring, move.slot) for move in result.moves}) == len(result.moves)
    before = {ring.ring: ring for ring in rings}
    for move in result.moves:
        assert cells[move.source].leaves is move.reason
        assert cells[move.target].writable
        assert cells[move.target].leaves is None
        assert cells[move.target].free_bytes >= limits.CELL_LEAST_FREE_BYTES
        former = before[move.ring].sources.values()
        assert move.target not in {source.cell for source in former}
        assert move.reason is LOST or move.slot not in before[move.ring].sources
    for ring in carried_out(rings, result.moves, cells):
        assert len(set(ring.cells)) == len(ring.cells)
    for slot in result.nowhere:
        assert cells[before[slot.ring].cells[slot.slot]].leaves is not None


@settings(deadline=None, max_examples=300)
@given(states_of_swarm())
def test_sites_and_owners_are_crowded_only_where_every_cell_would_crowd_them(state):
    rings, cells, seed = state
    rings = rings[:1]
    (ring,) = rings
    limit = len(ring.cells) - ring.k
    for move in plan(rings, cells, seed=seed, limit=1).moves:
        others = [
            cell
            for slot, cell in enumerate(ring.cells)
            if slot != move.slot and cells[cell].leaves is None
        ]
        taken = {*ring.cells, *(source.cell for source in ring.sources.values())}
        sites, owners = places_of(others, cells)
        for slot, source in ring.sources.items():
            holder = cells[ring.cells[slot]]
            former = cells[source.cell]
            if holder.leaves and former.leaves is None and former.readable and former.writable:
                sites[former.site] += 1
                owners[former.owner] += bool(former.owner)

        def excess(cell, sites=sites, owners=owners):
            over_owner = max(0, owners[cell.owner] + 1 - limit) if cell.owner else 0
            return max(0, sites[cell.site] + 1 - limit), over_owner

        possible = [
            excess(cell)
            for number, cell in cells.items()
            if number not in taken
            and cell.writable
            and cell.leaves is None
            and cell.free_bytes >= limits.CELL_LEAST_FREE_BYTES
        ]
        assert excess(cells[move.target]) == min(possible)


@settings(deadline=None, max_examples=200)
@given(states_of_swarm())
def test_a_plan_that_was_carried_out_is_not_made_again(state):
    rings, cells, seed = state
    result = plan(rings, cells, seed=seed)
    after = carried_out(rings, result.moves, cells)
    again = plan(after, cells, seed=seed + 1)
    assert again.moves == ()
    assert set(again.nowhere) <= set(result.nowhere)
    for ring in filled_up(after):
        for slot, cell in enumerate(ring.cells):
            is_stuck = RingSlot(ring.ring, slot) in result.nowhere
            is_waited_for = cells[cell].leaves is not None and (
                slot in after[ring.ring].sources
                or not cells[cell].readable
                or not can_be_filled(ring, cells)
            )
            assert cells[cell].leaves is None or is_stuck or is_waited_for


@settings(deadline=None, max_examples=60)
@given(states_of_swarm(), st.integers(1, 3))
def test_a_few_moves_at_a_time_end_where_all_at_once_do(state, limit):
    rings, cells, seed = state
    slots = sum(len(ring.cells) for ring in rings)
    for turn in range(slots + 1):
        moves = plan(rings, cells, seed=seed + turn, limit=limit).moves
        if not moves:
            break
        rings = carried_out(rings, moves, cells)
    assert plan(rings, cells, seed=seed).moves == ()


@settings(deadline=None, max_examples=100)
@given(states_of_swarm())
def test_cells_that_come_and_go_below_the_lost_time_move_nothing(state):
    rings, cells, seed = state
    present = {number: replace(cell, leaves=None) for number, cell in cells.items()}
    assert plan(rings, present, seed=seed) == MovePlan()


@settings(deadline=None, max_examples=100)
@given(states_of_swarm(), st.integers(0, 3))
def test_the_same_snapshot_and_chance_give_the_same_plan(state, shift):
    rings, cells, seed = state
    assert plan(rings, cells, seed=seed + shift) == plan(iter(rings), cells, seed=seed + shift)


def test_a_move_holds_as_long_as_nothing_has_changed_that_it_rests_on():
    cells = swarm_of(9, c3=lost)
    (move,) = plan([RING], cells).moves
    other = swarm_of(9, c3=lost, c0=draining, c8=silent)
    assert still_holds(move, RING, RING, cells)
    assert still_holds(move, RING, RING, other | {move.target: cells[move.target]})


@pytest.mark.parametrize("change", [lost, silent, draining])
def test_a_move_to_a_cell_that_takes_nothing_any_more_does_not_hold(change):
    cells = swarm_of(9, c3=lost)
    (move,) = plan([RING], cells).moves
    cells[move.target] = change(cells[move.target])
    assert not still_holds(move, RING, RING, cells)


def test_a_move_from_a_cell_that_came_back_or_of_another_ring_does_not_hold():
    cells = swarm_of(9, c3=lost)
    (move,) = plan([RING], cells).moves
    assert not still_holds(move, RING, RING, swarm_of(9))
    assert not still_holds(move, RING, None, cells)
    assert not still_holds(move, RING, replace(RING, cells=(0, 1, 2, 3, 4, 8)), cells)
    assert not still_holds(move, RING, replace(RING, sources={0: FormerHolder(7, DRAIN)}), cells)


def test_a_move_for_another_reason_than_planned_does_not_hold():
    (move,) = plan([RING], swarm_of(9, c3=draining)).moves
    assert not still_holds(move, RING, RING, swarm_of(9, c3=lost))


def test_a_move_that_evens_out_holds_while_its_source_stays():
    move = Move(1, 3, 3, 7, EVEN)
    assert still_holds(move, RING, RING, swarm_of(9))
    assert not still_holds(move, RING, RING, swarm_of(9, c3=draining))
    assert not still_holds(move, RING, RING, swarm_of(9, c3=lost))


def suspended(cell):
    return replace(cell, writable=False, barred=True)


def test_a_slot_leaves_a_suspended_cell_only_if_it_lacks_shards_there():
    cells = swarm_of(7, c3=suspended)
    assert plan([RING], cells) == MovePlan()
    assert plan([RING], cells, lacking={1: (2,)}) == MovePlan()
    (move,) = plan([RING], cells, lacking={1: (2, 3)}).moves
    assert move == Move(1, 3, 3, 6, DRAIN)
    assert still_holds(move, RING, RING, cells)
    assert not still_holds(move, RING, RING, swarm_of(7))
    (moved,) = carried_out([RING], [move], cells)
    assert moved.sources == {3: FormerHolder(3, DRAIN)}
    assert plan([moved], cells, lacking={1: (3,)}) == MovePlan()


def test_a_slot_that_a_suspended_cell_was_to_fill_moves_on():
    ring = replace(RING, sources={3: FormerHolder(7, LOST)})
    cells = swarm_of(9, c3=suspended, c7=silent)
    (move,) = plan([ring], cells, lacking={1: (3,)}).moves
    assert (move.slot, move.reason) == (3, DRAIN)
    assert move.target in (6, 8)


def test_slots_leave_suspended_cells_while_these_are_few():
    assert may_leave_barred(0, 3)
    assert may_leave_barred(1, 3)
    assert not may_leave_barred(2, 9)
    assert may_leave_barred(12, 100)
    assert not may_leave_barred(13, 100)


def test_nothing_moves_from_a_suspended_cell_where_it_could_not_be_rebuilt():
    cells = swarm_of(9, c3=suspended, c0=silent, c1=silent, c2=silent)
    assert plan([RING], cells, lacking={1: (3,)}) == MovePlan()
