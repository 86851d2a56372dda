"""What the wall clock, entropy and chance promise, asked of the real and the simulated ones."""

from __future__ import annotations

import pytest
import trio

from common.ports import Chance, Entropy, WallClock
from common.system.clock import SystemClock, system_chance, system_entropy
from sim.replay import run_seeded
from sim.world import SimWorld

BOTH = ["real", "simulated"]


@pytest.fixture(params=BOTH)
async def clock(request: pytest.FixtureRequest) -> WallClock:
    if request.param == "simulated":
        return SimWorld(seed=1).node("node").world.clock
    return SystemClock()


@pytest.fixture(params=BOTH)
async def entropy(request: pytest.FixtureRequest) -> Entropy:
    if request.param == "simulated":
        return SimWorld(seed=1).node("node").world.entropy
    return system_entropy


@pytest.fixture(params=BOTH)
async def chance(request: pytest.FixtureRequest) -> Chance:
    if request.param == "simulated":
        return SimWorld(seed=1).node("node").world.chance
    return system_chance()


async def test_a_clock_tells_a_time_of_this_century(clock: WallClock) -> None:
    assert isinstance(clock.now(), float)
    assert 1_600_000_000 < clock.now() < 4_200_000_000


async def test_local_time_is_within_a_day_of_utc_by_whole_quarters(clock: WallClock) -> None:
    assert abs(clock.utc_offset_s()) <= 14 * 3600
    assert clock.utc_offset_s() % 900 == 0


async def test_a_clock_goes_on_with_the_time_of_the_run(clock: WallClock) -> None:
    before = clock.now()
    await trio.sleep(0.05)
    assert 0.04 < clock.now() - before < 30


def test_a_simulated_clock_goes_wrong_as_it_is_told_and_not_its_neighbours() -> None:
    async def main() -> list[float]:
        swarm = SimWorld(seed=1)
        wrong, right = swarm.node("wrong"), swarm.node("right")
        wrong.clock_offset_s, wrong.clock_drift = 3600.0, 0.5
        await trio.sleep(100)
        return [wrong.world.clock.now() - right.world.clock.now()]

    assert run_seeded(1, main) == [pytest.approx(3650.0)]


async def test_entropy_gives_as_much_as_asked_and_never_the_same(entropy: Entropy) -> None:
    assert entropy(0) == b""
    assert len({entropy(16) for _ in range(100)}) == 100
    assert all(len(entropy(size)) == size for size in (1, 16, 32, 1000))


async def test_no_bit_of_entropy_stands_still(entropy: Entropy) -> None:
    ones = zeros = 0
    for _ in range(100):
        number = int.from_bytes(entropy(32))
        ones, zeros = ones | number, zeros | ~number
    assert ones.bit_count() == 256
    assert (zeros & (1 << 256) - 1).bit_count() == 256


async def test_chance_stays_in_its_ranges(chance: Chance) -> None:
    assert all(0 <= chance.random() < 1 for _ in range(100))
    assert {chance.randrange(3) for _ in range(200)} == {0, 1, 2}
    assert all(2.0 <= chance.uniform(2.0, 3.0) <= 3.0 for _ in range(100))


async def test_chance_shuffles_in_place_and_loses_nothing(chance: Chance) -> None:
    orders = set()
    for _ in range(50):
        items = list(range(20))
        chance.shuffle(items)
        assert sorted(items) == list(range(20))
        orders.add(tuple(items))
    assert len(orders) > 40


async def test_chance_and_entropy_of_a_node_are_streams_of_their_own() -> None:
    """So that a draw for a choice never shifts a key, and none tells of the other."""
    world = SimWorld(seed=1).node("node").world
    again = SimWorld(seed=1).node("node").world
    for _ in range(10):
        again.chance.random()
    assert world.entropy(32) == again.entropy(32)
    assert world.entropy(32) != SimWorld(seed=2).node("node").world.entropy(32)
    assert world.entropy(32) != SimWorld(seed=1).node("other").world.entropy(32)


async def test_two_generators_of_the_machine_are_strangers() -> None:
    first, second = system_chance(), system_chance()
    assert [first.random() for _ in range(4)] != [second.random() for _ in range(4)]
