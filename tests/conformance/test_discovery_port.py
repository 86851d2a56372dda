"""What Discovery promises, asked of multicast DNS on this machine and of the simulated one."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from common.errors import Unavailable
from common.ports import Address, Advertisement, Discovery
from common.system.discovery import ZeroconfDiscovery
from sim.world import SimWorld

HERE = Address("127.0.0.1", 7411)


@pytest.fixture(params=["real", "simulated"])
async def pair(request: pytest.FixtureRequest) -> tuple[Discovery, Discovery]:
    """The Discovery ports of two daemons."""
    if request.param == "simulated":
        swarm = SimWorld(seed=1)
        return swarm.node("a").world.discovery, swarm.node("b").world.discovery
    discovery = ZeroconfDiscovery()
    await skip_without_multicast(discovery)
    return discovery, discovery


async def skip_without_multicast(discovery: Discovery) -> None:
    try:
        async with announced(discovery, HERE, "conformance-probe"):
            if not await discovery.find("conformance-probe", 5):
                pytest.skip("multicast does not come back to its sender here")
    except* Unavailable:
        pytest.skip("no interface for multicast here")


@asynccontextmanager
async def announced(discovery: Discovery, address: Address, swarm: str) -> AsyncIterator[None]:
    """Announce for the length of the block."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(discovery.advertise, address, swarm)
        await trio.testing.wait_all_tasks_blocked()
        yield
        nursery.cancel_scope.cancel()


async def test_who_announces_is_found_by_its_swarm(pair: tuple[Discovery, Discovery]) -> None:
    async with announced(pair[0], HERE, "conformance-one"):
        found = await pair[1].find("conformance-one", 5)
    assert found == [Advertisement(HERE, "conformance-one")]


async def test_another_swarm_is_not_found(pair: tuple[Discovery, Discovery]) -> None:
    async with announced(pair[0], HERE, "conformance-two"):
        assert await pair[1].find("conformance-three", 0.5) == []


async def test_without_a_name_any_swarm_is_found(pair: tuple[Discovery, Discovery]) -> None:
    async with announced(pair[0], HERE, "conformance-four"):
        assert await pair[1].find("", 5)


async def test_who_stopped_announcing_is_not_found(pair: tuple[Discovery, Discovery]) -> None:
    async with announced(pair[0], HERE, "conformance-five"):
        assert await pair[1].find("conformance-five", 5)
    assert await pair[1].find("conformance-five", 0.5) == []
