import pytest
import trio

from common.errors import Unavailable
from common.ports import Address, Advertisement
from common.system.discovery import SERVICE_TYPE, ZeroconfDiscovery, service_name


@pytest.mark.parametrize("swarm", ["home", "a.b", "x" * 200, "é" * 60])
def test_a_service_name_is_one_label_of_at_most_63_bytes(swarm: str) -> None:
    label, dot, rest = service_name(swarm, "host.example", 7400).partition(".")
    assert (dot, rest) == (".", SERVICE_TYPE)
    assert 0 < len(label.encode()) <= 63


async def test_a_coordinator_that_announces_itself_is_found_by_its_swarm() -> None:
    discovery = ZeroconfDiscovery()
    address = Address("127.0.0.1", 7401)
    announced = trio.CancelScope()

    async def announce() -> None:
        with announced:
            await discovery.advertise(address, "conformance")

    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(announce)
            found = await discovery.find("conformance", timeout_s=10)
            announced.cancel()
    except* Unavailable:
        pytest.skip("no interface for multicast here")
    if not found:
        pytest.skip("multicast does not come back to its sender here")
    assert found == [Advertisement(address=address, swarm="conformance")]
