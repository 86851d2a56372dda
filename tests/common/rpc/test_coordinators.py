"""A live coordinator is found; the patience of gateways is tested in
tests/common/client/test_coordinator_client.py."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext

import pytest
import trio
from peers_rig import CALLER, SERVER, bench
from trio.testing import MockClock

from common.errors import OutcomeUnknown, PeerViolation, Refused, Unavailable
from common.ports import Address
from common.reasons import Refusal
from common.rpc.caller import Caller
from common.rpc.coordinators import Coordinator, Coordinators
from common.wire.messages.base import Done, Ping, Reply, Request
from common.wire.messages.cell import ShardAbort, ShardAppend

NOWHERE = Coordinator(Address("nobody", 7000), SERVER.peer_id)
REPEATABLE = ShardAbort(1)
ONCE = ShardAppend(1, 0)


async def test_each_is_tried_once_without_patience(autojump_clock: MockClock) -> None:
    async with bench() as it:
        live = Coordinator(it.address, SERVER.peer_id)
        log = it.near.world.log
        both = Coordinators(it.pool, [NOWHERE, live], log, timeout_s=15, is_patient=False)
        assert await both.call(Ping()) == Done()
        began = trio.current_time()
        assert await both.call(Ping()) == Done()
        assert trio.current_time() - began < 0.1, "the one that answered last comes first"
        none = Coordinators(it.pool, [NOWHERE], log, timeout_s=15, is_patient=False)
        with pytest.raises(Unavailable, match="connect_failed"):
            await none.call(Ping())
        assert trio.current_time() - began < 2


async def test_those_found_are_looked_for_again_when_none_answers(
    autojump_clock: MockClock,
) -> None:
    async with bench() as it:
        searches: list[Sequence[Coordinator]] = [
            [],
            [NOWHERE],
            [Coordinator(it.address, SERVER.peer_id)],
        ]

        async def find() -> Sequence[Coordinator]:
            return searches.pop(0)

        found = Coordinators(
            it.pool, [], it.near.world.log, timeout_s=15, is_patient=False, find=find
        )
        with pytest.raises(Unavailable, match="no_coordinator"):
            await found.call(Ping())
        with pytest.raises(Unavailable, match="connect_failed"):
            await found.call(Ping())
        for _ in range(2):
            assert await found.call(Ping()) == Done()
        assert searches == []


async def test_one_that_has_moved_is_looked_for_though_it_named_its_place(
    autojump_clock: MockClock,
) -> None:
    async with bench() as it:
        live = Coordinator(it.address, SERVER.peer_id)

        async def find() -> Sequence[Coordinator]:
            return [live]

        found = Coordinators(
            it.pool, [], it.near.world.log, timeout_s=15, is_patient=False, find=find
        )
        found.learn([NOWHERE])  # by what an earlier life was told
        with pytest.raises(Unavailable, match="connect_failed"):
            await found.call(Ping())
        assert await found.call(Ping()) == Done()


async def test_those_that_were_named_are_tried_where_nobody_can_be_looked_for(
    autojump_clock: MockClock,
) -> None:
    async with bench() as it:

        async def find() -> Sequence[Coordinator]:
            raise Unavailable.received("discovery_failed")

        found = Coordinators(
            it.pool, [], it.near.world.log, timeout_s=15, is_patient=False, find=find
        )
        with pytest.raises(Unavailable, match="discovery_failed"):
            await found.call(Ping())
        found.learn([NOWHERE])
        for _ in range(2):
            with pytest.raises(Unavailable, match="connect_failed"):
                await found.call(Ping())


async def test_somebody_else_at_one_address_hides_no_coordinator(autojump_clock: MockClock) -> None:
    async with bench() as it:
        impostor = Coordinator(it.address, CALLER.peer_id)
        live = Coordinator(it.address, SERVER.peer_id)
        log = it.near.world.log
        both = Coordinators(it.pool, [impostor, live], log, timeout_s=15, is_patient=False)
        assert await both.call(Ping()) == Done()
        alone = Coordinators(it.pool, [impostor], log, timeout_s=15, is_patient=False)
        with pytest.raises(PeerViolation, match="wrong_server_key"):
            await alone.call(Ping())


@pytest.mark.parametrize("is_patient", [False, True])
async def test_what_a_coordinator_refuses_is_asked_of_no_other(
    autojump_clock: MockClock, is_patient: bool
) -> None:
    asked = 0

    async def refuse(caller: Caller[None], request: Request, payload: memoryview) -> Reply:
        nonlocal asked
        asked += 1
        raise Refused(Refusal.BAD_TOKEN)

    async with bench({ShardAbort: refuse}) as it:
        live = Coordinator(it.address, SERVER.peer_id)
        several = Coordinators(
            it.pool, [live, NOWHERE], it.near.world.log, timeout_s=15, is_patient=is_patient
        )
        with pytest.raises(Refused):
            await several.call(REPEATABLE)
        assert asked == 1


@pytest.mark.parametrize(("others", "least_s", "most_s"), [([], 9, 13), ([NOWHERE], 2.5, 4.5)])
async def test_a_silent_coordinator_is_given_up_sooner_where_another_one_is_known(
    autojump_clock: MockClock, others: list[Coordinator], least_s: float, most_s: float
) -> None:
    async def slow(caller: Caller[None], request: Request, payload: memoryview) -> Reply:
        await trio.sleep(20)
        return Done()

    async with bench({ShardAppend: slow}) as it:
        live = Coordinator(it.address, SERVER.peer_id)
        log = it.near.world.log
        known = Coordinators(it.pool, [live, *others], log, timeout_s=30, is_patient=False)
        assert await known.call(ONCE) == Done()  # slow, but it answers the probes
        it.swarm.internet.block("far", "near")
        began = trio.current_time()
        with pytest.raises(OutcomeUnknown, match="connection_lost"):
            await known.call(ONCE)
        assert least_s < trio.current_time() - began < most_s


@pytest.mark.parametrize(("request_", "times"), [(REPEATABLE, 2), (ONCE, 1)])
async def test_only_what_may_be_made_again_is_made_again(
    autojump_clock: MockClock, request_: Request, times: int
) -> None:
    asked = 0

    async def cut_once(caller: Caller[None], request: Request, payload: memoryview) -> Reply:
        nonlocal asked
        asked += 1
        if asked == 1:
            it.swarm.internet.cut("near", "far")
            await trio.sleep(1)
        return Done()

    async with bench({ShardAbort: cut_once, ShardAppend: cut_once}) as it:
        live = Coordinator(it.address, SERVER.peer_id)
        patient = Coordinators(it.pool, [live], it.near.world.log, timeout_s=15, is_patient=True)
        with nullcontext() if times > 1 else pytest.raises(OutcomeUnknown):
            assert await patient.call(request_) == Done()
        assert asked == times
