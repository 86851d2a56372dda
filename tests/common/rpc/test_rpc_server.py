"""What a PeerServer bears: its memory, silent and hostile callers, and its end."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import pytest
import trio
from peers_rig import SERVER, bench, ping_like

from common.errors import NotFound, OutcomeUnknown, Unavailable
from common.limits import MIB
from common.ports import Buffer
from common.reasons import Absence, Outage
from common.rpc.caller import Caller
from common.wire.frame import FrameKind, encode_frame
from common.wire.messages.base import Done, Ping, Reply, Request
from common.wire.messages.cell import ShardAppend, ShardRead, ShardUnits
from common.wire.records import pack_value


async def test_what_a_connection_leaves_behind_is_cleaned_up_when_no_handler_of_it_runs(
    autojump_clock: trio.testing.MockClock,
) -> None:
    ended: list[list[str]] = []

    async def append(caller: Caller[list[str]], request: ShardAppend, payload: memoryview) -> Reply:
        caller.session.append(f"upload {request.upload}")
        if request.upload == 2:
            try:
                await trio.sleep_forever()
            finally:
                caller.session.append("stopped")
        return Done()

    async def end(caller: Caller[list[str]]) -> None:
        await trio.sleep(0.1)
        ended.append(caller.session)
        raise Unavailable.received("disk_full")

    options: dict[str, Any] = {"new_session": list[str], "end_session": end}
    async with bench({ShardAppend: append}, **options) as it:
        connection = await it.connection()
        await connection.call(ShardAppend(1, 0))
        with pytest.raises(OutcomeUnknown):
            await connection.call(ShardAppend(2, 0), timeout_s=1)
        assert ended == []
        await connection.close()
        await trio.sleep(1)
        assert ended == [["upload 1", "upload 2", "stopped"]]
        await it.call(ShardAppend(3, 0))
        assert ended == [["upload 1", "upload 2", "stopped"]], "each connection has its own"


async def test_the_servers_memory_is_bounded_and_given_back(
    autojump_clock: trio.testing.MockClock,
) -> None:
    held = most = 0

    async def append(caller: Caller[None], request: Request, payload: memoryview) -> Reply:
        nonlocal held, most
        held += len(payload)
        most = max(most, held)
        await trio.sleep(0.1)
        held -= len(payload)
        return Done()

    async def read(caller: Caller[None], request: Request, payload: memoryview) -> Any:
        await trio.sleep(0.01)
        return ShardUnits(1, 1), [bytes(MIB // 2)]

    async with bench(
        {ShardAppend: append, ShardRead: read},
        connections_per_peer=4,
        reply_payload_bytes={ShardRead: MIB},
    ) as it:
        async with trio.open_nursery() as nursery:
            for _ in range(60):
                nursery.start_soon(it.call, ping_like(), [bytes(MIB)])
                nursery.start_soon(it.call, ShardRead(b"", 0, 1, False))
        assert 2 * MIB < most <= 4 * MIB
        await trio.sleep(1)
        assert it.server.memory.requests_free_bytes == 4 * MIB
        assert it.server.memory.replies.free_bytes == 4 * MIB


async def test_failed_calls_give_their_reservation_back(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def read(caller: Caller[None], request: ShardRead, payload: memoryview) -> Any:
        if request.first == 1:
            return object(), [bytes(MIB)]  # cannot be encoded: a bug of the handler
        raise NotFound(Absence.NO_SUCH_SHARD)

    async with bench({ShardRead: read}, reply_payload_bytes={ShardRead: MIB}) as it:
        for number in range(20):
            with pytest.raises((NotFound, Unavailable)):
                await it.call(ShardRead(b"", number % 2, 1, False))
        await trio.sleep(1)
        assert it.server.memory.replies.free_bytes == 4 * MIB


async def test_requests_that_wait_for_their_turn_hold_no_memory_for_replies(
    autojump_clock: trio.testing.MockClock,
) -> None:
    may_go = trio.Event()
    answered: list[int] = []

    async def wait(first: int) -> None:
        if first == 2:
            raise Unavailable(Outage.TOO_BUSY)
        if first == 3:
            raise LookupError("a bug")
        await may_go.wait()

    def turn(caller: Caller[None], request: ShardRead) -> Any:
        return wait(request.first) if request.first else None

    async def read(caller: Caller[None], request: ShardRead, payload: memoryview) -> Any:
        answered.append(request.first)
        return ShardUnits(1, 1), [bytes(MIB)]

    async with bench(
        {ShardRead: read}, reply_payload_bytes={ShardRead: MIB}, turns={ShardRead: turn}
    ) as it:
        async with trio.open_nursery() as nursery:
            for _ in range(20):  # more than there is memory for
                nursery.start_soon(it.call, ShardRead(b"", 1, 1, False))
            await trio.sleep(1)
            assert it.server.memory.replies.free_bytes == 4 * MIB
            await it.call(ShardRead(b"", 0, 1, False))
            with pytest.raises(Unavailable, match="too_busy"):
                await it.call(ShardRead(b"", 2, 1, False))
            with pytest.raises(Unavailable, match="internal_error"):
                await it.call(ShardRead(b"", 3, 1, False))
            assert answered == [0]
            may_go.set()
        assert answered == [0] + 20 * [1]
        await trio.sleep(1)
        assert it.server.memory.replies.free_bytes == 4 * MIB


async def test_memory_is_given_back_when_connections_are_cut(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def append(caller: Caller[None], request: Request, payload: memoryview) -> Reply:
        await trio.sleep(1)
        return Done()

    async def read(caller: Caller[None], request: Request, payload: memoryview) -> Any:
        return ShardUnits(1, 1), [bytes(MIB)]

    async with bench(
        {ShardAppend: append, ShardRead: read},
        connections_per_peer=2,
        reply_payload_bytes={ShardRead: MIB},
    ) as it:

        async def lost(request: Request, payload: Sequence[Buffer]) -> None:
            with suppress(OutcomeUnknown, Unavailable):  # some are answered before the cut
                await it.call(request, payload)

        it.swarm.internet.model.bytes_per_s = 10 * MIB
        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(lost, ShardAppend(0, 0), [bytes(MIB)])
                nursery.start_soon(lost, ShardRead(b"", 0, 1, False), [])
            await trio.sleep(0.5)
            assert it.server.memory.requests_free_bytes < 4 * MIB
            it.swarm.internet.cut("near", "far")
        await trio.sleep(10)
        assert it.server.connections == 0
        assert it.server.memory.requests_free_bytes == 4 * MIB
        assert it.server.memory.replies.free_bytes == 4 * MIB


async def test_connections_are_bounded_and_a_silent_caller_is_dropped(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with bench() as it:
        network = it.near.world.network
        silent = await network.connect(it.address, pin=SERVER.peer_id)
        await trio.sleep(1)
        assert it.server.connections == 1
        await trio.sleep(10)
        assert it.server.connections == 0
        await silent.close()


async def test_a_caller_that_does_not_finish_its_frame_is_dropped(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with bench() as it:
        connection = await it.connection()
        stream = connection._stream
        await stream.send([MIB.to_bytes(4, "big"), bytes(4), b"\0\0\0\1\4\0\xa1\x7e", b"x"])
        await trio.sleep(20)
        assert it.server.connections == 1
        assert it.server.memory.requests_free_bytes < 4 * MIB
        await trio.sleep(12)
        assert it.server.connections == 0
        assert it.server.memory.requests_free_bytes == 4 * MIB


async def test_a_long_request_of_unknown_code_is_refused_and_holds_no_memory(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with bench() as it:
        connection = await it.connection()
        frame = encode_frame(FrameKind.REQUEST, 99, pack_value([9999, []]), [bytes(MIB)])
        connection._core._replies[99] = Done
        await connection._stream.send(frame)
        await trio.sleep(1)
        assert 99 not in connection._core._replies, "it was answered"
        assert it.server.memory.requests_free_bytes == 4 * MIB
        for _ in range(5):
            await trio.sleep(9)
            await it.call(Ping())
        assert it.server.connections == 1


async def test_what_was_begun_before_a_goodbye_is_answered_and_new_calls_go_elsewhere(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def slow(caller: Caller[None], request: Request, payload: memoryview) -> Reply:
        await trio.sleep(20)
        return Done()

    async with bench({ShardAppend: slow}) as it:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(it.call, ping_like())
            await trio.sleep(0.1)
            connection = await it.connection()
            (ours,) = it.server._open
            ours._outbox.put(ours._core.go_away(Unavailable(Outage.GOING_AWAY)))
            await trio.sleep(0.1)
            assert not connection.is_open()
            await it.call(Ping())
            assert it.server.connections == 2
        await trio.sleep(2)
        assert it.server.connections == 1


async def test_a_caller_that_does_not_read_is_dropped(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def read(caller: Caller[None], request: Request, payload: memoryview) -> Any:
        return ShardUnits(1, 1), [bytes(MIB)]

    async with bench({ShardRead: read}) as it:
        connection = await it.connection()
        it.swarm.internet.block("far", "near")
        async with trio.open_nursery() as nursery:

            async def lost() -> None:
                with pytest.raises((OutcomeUnknown, Unavailable)):
                    await connection.call(ShardRead(b"", 0, 1, False))

            for _ in range(10):
                nursery.start_soon(lost)
            await trio.sleep(45)
        assert it.server.connections == 0
        assert it.server.memory.replies.free_bytes == 4 * MIB


async def test_garbage_from_a_caller_closes_its_connection_alone(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with bench(connections_per_peer=2) as it:
        await it.call(Ping())
        stream = await it.near.world.network.connect(it.address, pin=SERVER.peer_id)
        await stream.send([b"GET / HTTP/1.1\r\nHost: nobody\r\n\r\n"])
        with trio.fail_after(5):
            buffer = memoryview(bytearray(4096))
            while await stream.receive_into(buffer):
                pass
        await stream.close()
        assert it.server.connections == 1
        await it.call(Ping())


async def test_a_stopping_server_says_goodbye(autojump_clock: trio.testing.MockClock) -> None:
    async with bench() as it:
        connection = await it.connection()
        it.serving.cancel()
        await trio.sleep(0.1)
        assert not connection.is_open()
        with pytest.raises(Unavailable, match="connection_lost"):
            await connection.call(Ping())
