"""A swarm that has lost too many cells for its class goes on writing, and returns to the class."""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import Any

import pytest
import trio
from coordinator_rig import Gateway, Rig, facts, running
from trio.testing import MockClock

from common.errors import Unavailable

SITES = ("Bologna", "Roma", "Torino")
FALLEN = {"storage_class": "STANDARD", "redundancy": "2/4", "segments": 1}


async def swarm_of(rig: Rig, cells: int) -> Gateway:
    """Add cells on three sites, and a gateway."""
    for number in range(cells):
        await rig.add_cell(site=SITES[number % 3])
    await trio.sleep(10)
    gateway = await rig.add_gateway()
    await gateway.make_bucket()
    return gateway


def hush(rig: Rig, *numbers: int) -> None:
    """Let cells lose their connections and stay silent."""
    for number in numbers:
        rig.cells[number].beating = False
        rig.cells[number].scope.cancel()


async def wake(rig: Rig, *numbers: int) -> None:
    for number in numbers:
        await rig.cells[number].connect()
        await rig.cells[number].beat()
        rig.cells[number].beating = True


async def granted(gateway: Gateway) -> tuple[str, set[bytes]]:
    """The class of a new segment, and its cells."""
    grants = await gateway.grant()
    (grant,) = grants.grants
    cells = {grants.endpoints[row].cell_id for row in grant.cells}
    assert len(cells) == len(grant.orders) == grant.n
    return f"{grant.k}/{grant.n} by {grant.quorum}", cells


async def status(rig: Rig) -> dict[str, Any]:
    answer: dict[str, Any] = await rig.operate("GET", "/v1/status")
    return answer


async def logged(rig: Rig, event: str) -> int:
    text = (await rig.http("GET", "/metrics")).text
    lines = [line for line in text.splitlines() if f'event="{event}"' in line]
    return sum(int(float(line.split()[-1])) for line in lines if "created" not in line)


async def metric(rig: Rig, name: str) -> float:
    text = (await rig.http("GET", "/metrics")).text
    (line,) = (line for line in text.splitlines() if line.startswith(f"{name} "))
    return float(line.split()[-1])


async def test_without_a_site_new_segments_take_half_the_data_shards_and_return(
    autojump_clock: MockClock,
) -> None:
    async with running(cells=0) as rig:
        gateway = await swarm_of(rig, 6)
        assert (await granted(gateway))[0] == "4/6 by 5"
        await gateway.put(b"before")
        hush(rig, 0, 3)
        await trio.sleep(4)
        left = {rig.cells[number].identity.peer_id for number in (1, 2, 4, 5)}
        for _ in range(20):
            assert await granted(gateway) == ("2/4 by 3", left)
        await gateway.put(b"meanwhile")
        told = await status(rig)
        assert (told["redundancy"], told["written_as"], told["writable"]) == ("4/6", "2/4", True)
        assert told["fallback_segments"] == [FALLEN]
        assert await metric(rig, "alveary_class_fallen_back") == 1
        assert await metric(rig, "alveary_fallback_segments") == 1
        assert await logged(rig, "class_fell_back") == 1

        await wake(rig, 0, 3)
        await trio.sleep(2)
        assert (await granted(gateway))[0] == "4/6 by 5"
        told = await status(rig)
        assert told["written_as"] == "4/6"
        assert told["fallback_segments"] == [FALLEN]
        assert {each["state"] for each in told["rings"] if each["k"] == 2} == {"closed, whole"}
        assert await metric(rig, "alveary_class_fallen_back") == 0
        (place,) = (await gateway.get(b"meanwhile")).places
        assert (place.k, place.n) == (2, 4)


async def test_three_boxes_become_a_mirror_of_two(autojump_clock: MockClock) -> None:
    async with running(cells=3, redundancy="2/3") as rig:
        gateway = await rig.add_gateway()
        hush(rig, 1)
        await trio.sleep(4)
        assert (await granted(gateway))[0] == "1/2 by 2"
        hush(rig, 2)
        await trio.sleep(4)
        with pytest.raises(Unavailable, match="no_ring"):
            await gateway.grant()


async def test_cells_that_are_full_are_not_enough_cells(autojump_clock: MockClock) -> None:
    async with running(cells=6) as rig:
        gateway = await rig.add_gateway()
        for cell in rig.cells[:2]:
            cell.facts = facts(free=1000)
        await trio.sleep(10)
        assert (await granted(gateway))[0] == "2/4 by 3"


async def test_it_follows_what_is_left_down_and_up(autojump_clock: MockClock) -> None:
    async with running(cells=6) as rig:
        gateway = await rig.add_gateway()
        hush(rig, 0, 1)
        await trio.sleep(4)
        assert (await granted(gateway))[0] == "2/4 by 3"
        hush(rig, 2)
        await trio.sleep(4)
        assert (await granted(gateway))[0] == "2/4 by 3", "its rings have a quorum still"
        hush(rig, 3)
        await trio.sleep(4)
        with pytest.raises(Unavailable, match="no_ring"):
            await gateway.grant()
        await wake(rig, 0)
        await trio.sleep(4)
        assert (await granted(gateway))[0] == "1/3 by 2"
        await wake(rig, 1)
        await trio.sleep(2)
        assert (await granted(gateway))[0] == "2/4 by 3"


async def test_a_swarm_that_never_had_enough_cells_waits_for_them(
    autojump_clock: MockClock,
) -> None:
    async with running(cells=5) as rig:
        await trio.sleep(60)
        gateway = await rig.add_gateway()
        with pytest.raises(Unavailable, match="no_ring"):
            await gateway.grant()
        assert (await status(rig))["rings"] == []


async def test_sites_that_come_and_go_make_the_rings_of_each_loss_once(
    autojump_clock: MockClock,
) -> None:
    async with running(cells=0) as rig:
        gateway = await swarm_of(rig, 6)
        counts = []
        for _ in range(4):
            for site in range(3):
                hush(rig, site, site + 3)
                await trio.sleep(4)
                assert (await granted(gateway))[0] == "2/4 by 3"
                await wake(rig, site, site + 3)
                await trio.sleep(2)
                assert (await granted(gateway))[0] == "4/6 by 5"
            counts.append(Counter(each["k"] for each in (await status(rig))["rings"]))
        assert counts == [counts[0]] * 4
        assert counts[0][2] == 3 * 4, "four for each loss"


async def test_a_restart_amid_an_outage_goes_on_in_the_fallback(autojump_clock: MockClock) -> None:
    """The cells that are away count as perhaps there until their time is over: not in a class that
    needs them, when there is one that does not."""
    async with running(cells=6) as rig:
        gateway = await rig.add_gateway()
        hush(rig, 0, 1)
        await trio.sleep(4)
        assert (await granted(gateway))[0] == "2/4 by 3"
        await rig.restart()
        await trio.sleep(6)
        gateway = await rig.add_gateway("another")
        left = {cell.identity.peer_id for cell in rig.cells[2:]}
        assert await granted(gateway) == ("2/4 by 3", left)
        await wake(rig, 0, 1)
        await trio.sleep(2)
        assert (await granted(gateway))[0] == "4/6 by 5"


async def test_a_restart_alone_makes_no_fallback(autojump_clock: MockClock) -> None:
    async with running(cells=6) as rig:
        await rig.restart()
        await trio.sleep(60)
        assert {each["k"] for each in (await status(rig))["rings"]} == {4}
        assert await logged(rig, "class_fell_back") == 0


async def test_a_class_that_was_made_larger_than_the_swarm_leaves_the_old_one_in_use(
    autojump_clock: MockClock,
) -> None:
    async with running(cells=4, redundancy="2/4") as rig:
        await trio.sleep(2)
        rig.config = dataclasses.replace(rig.config, redundancy="4/6")
        await rig.restart()
        await trio.sleep(8)
        gateway = await rig.add_gateway()
        assert (await granted(gateway))[0] == "2/4 by 3"
        for _ in range(2):
            await rig.add_cell()
        await trio.sleep(2)
        assert (await granted(gateway))[0] == "4/6 by 5"
