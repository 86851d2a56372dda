"""A cell for a slot is chosen by a look at few cells, however many there are."""

import random
from collections import Counter

import pytest

from common.limits import GIB
from coordinator.policy.targets import DRAWS, Surroundings, TargetCell, Targets

COUNT = 20_000
LEAST = 1 * GIB


def targets_of(candidates, slots=0, seed=1):
    return Targets(candidates, slots, random.Random(seed), LEAST)


def candidate(number, site="", owner="", free=100 * GIB, held=0, filling=0):
    return TargetCell(number, site, owner, 100 * GIB, free, held, filling)


@pytest.mark.parametrize(
    ("site_of", "owner_of"),
    [
        (lambda number: f"{number % 300}", lambda number: f"{number % 2000}"),
        (lambda number: f"{number % 300}", lambda _: ""),
        (lambda _: "one", lambda _: "one"),
        (lambda number: f"{number % 2}", lambda _: "one"),
        (lambda number: "small" if number % 200 == 0 else f"{number % 2}", lambda _: ""),
        (lambda _: "one", lambda number: "small" if number % 200 == 0 else f"{number % 2}"),
    ],
    ids=["many", "no-owners", "one-of-each", "two-sites", "a-small-site", "a-small-owner"],
)
def test_few_cells_are_looked_at(site_of, owner_of):
    swarm = [candidate(number, site_of(number), owner_of(number)) for number in range(COUNT)]
    targets = targets_of(swarm)
    chance = random.Random(2)
    for _ in range(100):
        members = chance.sample(range(COUNT), 5)
        places = [(site_of(member), owner_of(member)) for member in members]
        cell = targets.choose(Surroundings(places, members, 2, 2), GIB)
        assert cell not in members
        targets.take(cell, GIB)
    assert targets.scanned <= 100 * 2 * DRAWS


def test_the_only_cell_with_room_is_found():
    swarm = [candidate(number, free=LEAST) for number in range(COUNT)]
    swarm[777] = candidate(777)
    targets = targets_of(swarm)
    around = Surroundings([], (), 2, 2)
    assert targets.choose(around, 50 * GIB) == 777
    targets.take(777, 50 * GIB)
    assert targets.choose(around, 50 * GIB) is None
    assert targets.choose(around, 49 * GIB) == 777
    targets.withdraw(777)
    assert targets.choose(around, 1) is None


@pytest.mark.parametrize("roomy", [0, 1, 30, 3000])
def test_few_cells_are_looked_at_where_few_have_room(roomy):
    every = COUNT // roomy if roomy else COUNT + 1
    swarm = [
        candidate(
            number,
            "small" if number % 200 == 0 else f"{number % 2}",
            free=100 * GIB if number and number % every == 0 else 2 * GIB,
        )
        for number in range(COUNT)
    ]
    targets = targets_of(swarm)
    around = Surroundings([("0", ""), ("0", ""), ("1", ""), ("1", ""), ("small", "")], (), 2, 2)
    with_room = [each.cell for each in swarm if each.free_bytes > 2 * GIB]
    for _ in range(100):
        cell = targets.choose(around, 10 * GIB)
        assert (cell in with_room) if with_room else (cell is None)
    assert targets.scanned <= 100 * 10 * DRAWS


def test_of_a_large_swarm_the_emptier_and_less_laden_are_chosen():
    swarm = [candidate(number, held=12 + 12 * (number % 2)) for number in range(COUNT)]
    targets = targets_of(swarm, slots=18 * COUNT)
    chosen = Counter()
    for _ in range(500):
        cell = targets.choose(Surroundings([], (), 2, 2), GIB)
        targets.take(cell, GIB)
        chosen[cell % 2] += 1
    assert chosen[0] > 490


def test_a_crowded_owner_is_better_than_a_crowded_site():
    places = [("a", ""), ("a", ""), ("b", "x"), ("b", "x"), ("c", "")]
    swarm = [candidate(1, "a", "y"), candidate(2, "c", "x")]
    assert targets_of(swarm).choose(Surroundings(places, (), 2, 2), 0) == 2
    # Of sites that are equally crowded, the owner decides.
    swarm = [candidate(1, "a", "x"), candidate(2, "b", "y")]
    assert targets_of(swarm).choose(Surroundings(places, (), 2, 2), 0) == 2


def test_a_cell_that_holds_twice_the_mean_is_the_last_choice():
    # Cell 0 has by far the most free space for what it holds.
    swarm = [candidate(0, held=25, free=100 * GIB)]
    swarm += [candidate(number, held=10, free=2 * GIB) for number in range(1, 10)]
    targets = targets_of(swarm, slots=115)
    around = Surroundings([], (), 10, 10)
    assert targets.choose(around, 0) != 0
    assert targets.choose(Surroundings([], range(1, 10), 10, 10), 0) == 0


def test_no_cells_give_no_choice():
    assert targets_of([]).choose(Surroundings([("a", "b")], (), 1, 1), 0) is None
