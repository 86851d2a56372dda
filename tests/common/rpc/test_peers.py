"""PeerPool and PeerServer together, over the simulated network."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import outcome
import pytest
import trio
from peers_rig import CALLER, SERVER, Bench, bench, ping_like

from common.errors import (
    AlvearyError,
    NotFound,
    OutcomeUnknown,
    PeerViolation,
    Refused,
    Unavailable,
)
from common.limits import (
    IDLE_CONNECTION_TIMEOUT_S,
    MAX_CALLS_IN_FLIGHT_PER_CONNECTION,
    MAX_FRAME_PAYLOAD_BYTES,
    MIB,
)
from common.ports import Address, Buffer, Listener
from common.reasons import Outage, Refusal, Violation
from common.rpc.caller import Caller
from common.rpc.peer_connection import PeerConnection
from common.rpc.peers import PeerPool
from common.rpc.protocol.pool_policy import GATHER_CALLS
from common.wire.messages.base import Done, Ping, Reply, Request
from common.wire.messages.cell import CellFactsGet, ShardAppend, ShardFinish, ShardRead, ShardUnits


async def test_a_ping_needs_no_handler(autojump_clock: trio.testing.MockClock) -> None:
    async with bench() as it:
        assert (await it.call(Ping()))[0] == Done()


async def echo_read(
    caller: Caller[None], request: ShardRead, payload: memoryview
) -> tuple[Reply, Sequence[Buffer]]:
    assert caller.peer_id == CALLER.peer_id
    return ShardUnits(request.first, request.count), [payload[:3], payload[3:]]


async def test_payloads_go_both_ways(autojump_clock: trio.testing.MockClock) -> None:
    async with bench({ShardRead: echo_read}) as it:
        payload = random.Random(3).randbytes(MAX_FRAME_PAYLOAD_BYTES)
        reply, got = await it.call(ShardRead(b"", 5, 6, True), [payload[:10], payload[10:]])
        assert reply == ShardUnits(5, 6)
        assert got == payload


async def test_calls_before_any_connection_share_the_one_that_is_made(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with bench() as it:
        async with trio.open_nursery() as nursery:
            for _ in range(50):
                nursery.start_soon(it.call, Ping())
        assert it.server.connections == 1


async def test_more_connections_are_made_while_all_are_busy(
    autojump_clock: trio.testing.MockClock,
) -> None:
    seen: set[int] = set()

    async def slow(caller: Caller[None], request: Request, payload: memoryview) -> Reply:
        seen.add(id(caller))
        await trio.sleep(1)
        return Done()

    async with bench({ShardAppend: slow}, connections_per_peer=3) as it:
        async with trio.open_nursery() as nursery:
            for _ in range(9):
                nursery.start_soon(
                    lambda: it.pool.call(it.address, SERVER.peer_id, ping_like(), bulk=True)
                )
                await trio.sleep(0.01)
        assert it.server.connections == 3
        assert len(seen) == 3


async def test_small_calls_share_a_connection(autojump_clock: trio.testing.MockClock) -> None:
    async def slow(caller: Caller[None], request: Request, payload: memoryview) -> Reply:
        await trio.sleep(1)
        return Done()

    async with bench({ShardAppend: slow}, connections_per_peer=3) as it:
        async with trio.open_nursery() as nursery:
            for _ in range(GATHER_CALLS):
                nursery.start_soon(it.call, ping_like())
        assert it.server.connections == 1


@pytest.mark.parametrize("connected", [False, True])
async def test_calls_begun_by_one_task_are_answered_once_unless_given_up(
    autojump_clock: trio.testing.MockClock, connected: bool
) -> None:
    async def slow(caller: Caller[None], request: Request, payload: memoryview) -> Reply:
        await trio.sleep(1)
        if isinstance(request, ShardFinish):
            raise Refused.received("no_such_upload")
        return Done()

    answers: list[tuple[str, outcome.Outcome[tuple[Reply, memoryview]]]] = []
    async with bench({ShardAppend: slow, ShardFinish: slow}) as it:

        def begin(name: str, request: Request) -> Callable[[], None]:
            return it.pool.begin(
                it.address,
                SERVER.peer_id,
                request,
                (),
                lambda result: answers.append((name, result)),
            )

        if connected:
            await it.connection()
        kept = begin("kept", ping_like())
        dropped = begin("dropped", ping_like())
        begin("refused", ShardFinish(1, bytes(32)))
        assert not answers
        dropped()
        await trio.sleep(1.5)
        assert sorted(name for name, _ in answers) == ["kept", "refused"]
        found = dict(answers)
        assert isinstance(found["kept"].unwrap()[0], Done)
        with pytest.raises(Refused):
            found["refused"].unwrap()
        kept()  # harmless
        dropped()
        answers.clear()
        begin("cut", ping_like())
        await trio.sleep(0.1)  # it has left
        it.swarm.internet.cut("near", "far")
        await trio.sleep(30)
        ((_, lost),) = answers
        with pytest.raises(OutcomeUnknown):
            lost.unwrap()


async def test_a_call_begun_at_a_peer_that_is_down_fails_at_once(
    autojump_clock: trio.testing.MockClock,
) -> None:
    answers: list[outcome.Outcome[tuple[Reply, memoryview]]] = []
    async with bench() as it:
        it.far.crash(power=False)
        it.serving.cancel()
        await trio.sleep(0.1)
        it.pool.begin(it.address, SERVER.peer_id, Ping(), (), answers.append)
        await trio.sleep(0.1)
        (found,) = answers
        with pytest.raises(Unavailable, match="connect_failed"):
            found.unwrap()
        with pytest.raises(Unavailable, match="connect_failed"):
            it.pool.begin(it.address, SERVER.peer_id, Ping(), (), answers.append)
    with pytest.raises(Unavailable, match="pool_stopped"):
        it.pool.begin(it.address, CALLER.peer_id, Ping(), (), answers.append)


@pytest.mark.parametrize(
    "error",
    [Refused(Refusal.CONDITION_FAILED), NotFound.received("gone"), Unavailable(Outage.NO_SPACE)],
)
async def test_a_handlers_error_reaches_the_caller(
    autojump_clock: trio.testing.MockClock, error: AlvearyError
) -> None:
    async def fails(caller: Caller[None], request: Request, payload: memoryview) -> Reply:
        raise error

    async with bench({ShardAppend: fails}) as it:
        with pytest.raises(type(error)) as caught:
            await it.call(ping_like())
        assert caught.value.reason == error.reason
        await it.call(Ping())
        assert it.server.connections == 1


async def test_a_bug_in_a_handler_is_logged_and_fails_only_its_call(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def buggy(caller: Caller[None], request: Request, payload: memoryview) -> Reply:
        raise ZeroDivisionError("a bug")

    async def too_long(caller: Caller[None], request: Request, payload: memoryview) -> Any:
        return ShardUnits(1, 1), [bytes(MAX_FRAME_PAYLOAD_BYTES + 1)]

    async with bench({ShardAppend: buggy, ShardRead: too_long}) as it:
        for request in (ping_like(), ShardRead(b"", 0, 1, False)):
            with pytest.raises(Unavailable, match="internal_error"):
                await it.call(request)
        await it.call(Ping())
        assert it.server.connections == 1
        told = "\n".join(map(str, it.swarm.trace.events))
        assert "ZeroDivisionError: a bug" in told


async def test_a_request_without_a_handler_is_refused(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with bench() as it:
        with pytest.raises(Refused, match="unknown_request"):
            await it.call(CellFactsGet())


async def test_a_violation_in_a_handler_ends_the_connection_after_telling(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def violated(caller: Caller[None], request: Request, payload: memoryview) -> Reply:
        raise PeerViolation(Violation.BAD_GEOMETRY)

    async with bench({ShardAppend: violated}) as it:
        with pytest.raises(PeerViolation, match="bad_geometry"):
            await it.call(ping_like())
        await trio.sleep(1)
        assert it.server.connections == 0
        await it.call(Ping())


async def test_requests_run_at_the_same_time(autojump_clock: trio.testing.MockClock) -> None:
    async def slow(caller: Caller[None], request: Request, payload: memoryview) -> Reply:
        await trio.sleep(1)
        return Done()

    async with bench({ShardAppend: slow}) as it:
        start = trio.current_time()
        async with trio.open_nursery() as nursery:
            for _ in range(100):
                nursery.start_soon(it.call, ping_like())
        assert trio.current_time() - start < 1.5


async def test_ordered_requests_run_one_by_one_in_order_in_their_lane(
    autojump_clock: trio.testing.MockClock,
) -> None:
    running = {1: 0, 2: 0}
    done: dict[int, list[int]] = {1: [], 2: []}

    async def append(caller: Caller[None], request: ShardAppend, payload: memoryview) -> Reply:
        running[request.upload] += 1
        assert running[request.upload] == 1
        await trio.sleep(0.1 if request.unit % 2 else 0)
        running[request.upload] -= 1
        done[request.upload].append(request.unit)
        return Done()

    async with bench({ShardAppend: append}) as it:
        connection = await it.connection()
        start = trio.current_time()
        async with trio.open_nursery() as nursery:
            for unit in range(20):
                for upload in (1, 2):
                    nursery.start_soon(in_order, connection, ShardAppend(upload, unit))
                    await trio.testing.wait_all_tasks_blocked()
        assert done == {1: list(range(20)), 2: list(range(20))}
        assert trio.current_time() - start < 1.5, "lanes do not wait for one another"


async def in_order(connection: PeerConnection, request: Request) -> None:
    await connection.call(request)


async def test_requests_are_sent_in_the_order_their_calls_began(
    autojump_clock: trio.testing.MockClock,
) -> None:
    got: list[int] = []

    async def append(caller: Caller[None], request: ShardAppend, payload: memoryview) -> Reply:
        got.append(request.unit)
        await trio.sleep(0.01)
        return Done()

    async with bench({ShardAppend: append}, buffer_budget_bytes=64 * MIB) as it:
        connection = await it.connection()
        count = 3 * MAX_CALLS_IN_FLIGHT_PER_CONNECTION
        began: list[int] = []

        async def one(unit: int) -> None:
            began.append(unit)
            await connection.call(ShardAppend(unit, unit), [bytes(100_000)])

        async with trio.open_nursery() as nursery:
            for unit in range(count):
                nursery.start_soon(one, unit)
        assert got == began
        assert len(got) == count


async def test_no_more_calls_are_in_flight_than_the_answerer_takes(
    autojump_clock: trio.testing.MockClock,
) -> None:
    most = now = 0

    async def slow(caller: Caller[None], request: Request, payload: memoryview) -> Reply:
        nonlocal most, now
        now += 1
        most = max(most, now)
        await trio.sleep(1)
        now -= 1
        return Done()

    async with bench({ShardAppend: slow}) as it:
        async with trio.open_nursery() as nursery:
            for _ in range(300):
                nursery.start_soon(it.call, ping_like())
        assert most == MAX_CALLS_IN_FLIGHT_PER_CONNECTION


async def test_a_call_that_times_out_may_have_been_carried_out(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def slow(caller: Caller[None], request: Request, payload: memoryview) -> Reply:
        await trio.sleep(5)
        return Done()

    async with bench({ShardAppend: slow}) as it:
        start = trio.current_time()
        with pytest.raises(OutcomeUnknown, match="call_timeout"):
            await it.call(ping_like(), timeout_s=2)
        assert trio.current_time() - start == pytest.approx(2, abs=0.1)
        await trio.sleep(10)  # virtual: the late answer comes and is dropped
        await it.call(Ping())
        assert it.server.connections == 1


async def test_a_cancelled_call_that_was_not_begun_is_not_carried_out(
    autojump_clock: trio.testing.MockClock,
) -> None:
    begun: list[int] = []

    async def append(caller: Caller[None], request: ShardAppend, payload: memoryview) -> Reply:
        begun.append(request.unit)
        await trio.sleep(1)
        return Done()

    async with bench({ShardAppend: append}) as it:
        connection = await it.connection()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(in_order, connection, ShardAppend(0, 0))
            await trio.sleep(0.1)
            with trio.move_on_after(0.1):
                await connection.call(ShardAppend(0, 1))
            await connection.call(ShardAppend(0, 2))
        assert begun == [0, 2]


async def test_calls_in_flight_have_an_unknown_outcome_when_the_peer_dies(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def never(caller: Caller[None], request: Request, payload: memoryview) -> Reply:
        await trio.sleep_forever()
        raise AssertionError

    async with bench({ShardAppend: never}) as it:
        async with trio.open_nursery() as nursery:

            async def lost() -> None:
                with pytest.raises(OutcomeUnknown, match="connection_lost"):
                    await it.call(ping_like())

            for _ in range(3):
                nursery.start_soon(lost)
            await trio.sleep(0.1)
            it.far.crash(power=False)
            it.serving.cancel()


async def test_a_dead_peer_fails_at_once_until_its_back_off_ends(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with bench() as it:
        await it.call(Ping())
        it.far.crash(power=False)
        it.serving.cancel()
        await trio.sleep(0.01)
        with pytest.raises(Unavailable, match="connect_failed"):
            await it.call(Ping())
        it.swarm.internet.model.latency_s = 1.0
        start = trio.current_time()
        for _ in range(100):
            with pytest.raises(Unavailable, match="connect_failed"):
                await it.call(Ping())
        assert trio.current_time() == start, "no connect was tried"
        it.swarm.internet.model.latency_s = 0.0
        await trio.sleep(6)
        it.listener = await it.far.world.network.listen(it.address, identity=SERVER)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(it.server.serve, it.listener)
            await it.call(Ping())
            nursery.cancel_scope.cancel()


async def test_silence_under_a_call_is_found_out(autojump_clock: trio.testing.MockClock) -> None:
    async def slow(caller: Caller[None], request: Request, payload: memoryview) -> Reply:
        await trio.sleep(20)
        return Done()

    async with bench({ShardAppend: slow}) as it:
        await it.call(ping_like())  # long, but the peer answers the probes
        it.swarm.internet.block("far", "near")
        start = trio.current_time()
        with pytest.raises(OutcomeUnknown, match="connection_lost"):
            await it.call(ping_like())
        assert 9 < trio.current_time() - start < 13


async def test_another_key_at_the_address_is_a_violation(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with bench() as it:
        for _ in range(2):
            with pytest.raises(PeerViolation, match="wrong_server_key"):
                await it.pool.call(it.address, CALLER.peer_id, Ping())


async def test_an_idle_connection_is_closed_by_the_caller(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with bench() as it:
        await it.call(Ping())
        assert it.server.connections == 1
        await trio.sleep(IDLE_CONNECTION_TIMEOUT_S)
        assert it.server.connections == 0
        await it.call(Ping())


async def test_a_call_made_while_the_pool_is_being_cancelled_is_turned_away(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """In the same step, and in each that follows, whatever the order of the tasks."""
    async with bench() as it:
        swarm, listener = it.swarm, it.listener
    for seed in range(20):
        pool = PeerPool(
            swarm.node("third").world.network,
            CALLER,
            chance=random.Random(seed),
            log=swarm.node("third").world.log,
            connections_per_peer=1,
        )
        errors: list[str] = []

        async def ask(pool: PeerPool = pool, errors: list[str] = errors) -> None:
            with trio.CancelScope(shield=True):
                for _ in range(5):
                    try:
                        await pool.call(listener.address, SERVER.peer_id, Ping(), timeout_s=1)
                    except Unavailable as error:
                        errors.append(error.reason)

        async with trio.open_nursery() as nursery:
            await nursery.start(pool.run)
            nursery.start_soon(ask)
            nursery.cancel_scope.cancel()
        assert "pool_stopped" in errors


class BrokenStream:
    """A stream whose receiving has a bug after some calls."""

    def __init__(self, stream: Any, good_calls: int) -> None:
        self._stream = stream
        self._left = good_calls

    async def receive_into(self, buffer: memoryview) -> int:
        self._left -= 1
        if self._left < 0:
            raise LookupError("a bug")
        count: int = await self._stream.receive_into(buffer)
        return count

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class BreakingListener:
    """The first connection that it gives breaks."""

    def __init__(self, listener: Listener, good_calls: int) -> None:
        self._listener = listener
        self._good_calls: int | None = good_calls

    async def accept(self) -> Any:
        stream = await self._listener.accept()
        good_calls, self._good_calls = self._good_calls, None
        return stream if good_calls is None else BrokenStream(stream, good_calls)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._listener, name)


class BreakingNetwork:
    """The first connection that it makes breaks."""

    def __init__(self, network: Any, good_calls: int) -> None:
        self._network = network
        self._good_calls: int | None = good_calls

    async def connect(self, address: Address, *, pin: Any) -> Any:
        stream = await self._network.connect(address, pin=pin)
        good_calls, self._good_calls = self._good_calls, None
        return stream if good_calls is None else BrokenStream(stream, good_calls)


@pytest.mark.fault("T")
@pytest.mark.parametrize("good_calls", [0, 2])
@pytest.mark.parametrize("side", ["server", "caller"])
async def test_a_bug_in_one_native_connection_ends_that_connection_only(
    side: str, good_calls: int, autojump_clock: trio.testing.MockClock
) -> None:
    made = Bench({})
    listener = await made.far.world.network.listen(Address("far", 0), identity=SERVER)
    made.listener = listener
    if side == "server":
        made.listener = BreakingListener(listener, good_calls)
    else:
        made.pool._network = BreakingNetwork(made.near.world.network, good_calls)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(made.serve)
        await nursery.start(made.pool.run)
        with suppress(AlvearyError):
            for _ in range(3):
                await made.call(Ping())
        await trio.sleep(10)
        assert (await made.call(Ping()))[0] == Done()
        assert any("a bug" in each for each in made.swarm.faults)
        nursery.cancel_scope.cancel()


@pytest.mark.fault("T")
async def test_a_bug_in_a_callback_ends_no_other_call(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with bench() as it:

        def answer(_result: Any) -> None:
            raise LookupError("a bug")

        it.pool.begin(it.address, SERVER.peer_id, Ping(), (), answer)
        await trio.sleep(1)
        it.pool.begin(it.address, SERVER.peer_id, Ping(), (), answer)
        await trio.sleep(10)
        assert (await it.call(Ping()))[0] == Done()
