"""Callers that nobody knows, and greedy ones, beside those that the server is there for."""

from __future__ import annotations

import random
from typing import Any

import pytest
import trio
from peers_rig import SERVER, Bench, answers_done, bench, ping_like
from trio.testing import MockClock

from common.crypto.identity import KeyPair
from common.errors import PeerViolation, Unavailable
from common.limits import (
    MAX_CALLS_OF_A_STRANGER,
    MAX_CONNECTIONS_PER_CALLER,
    MAX_CONNECTIONS_PER_LISTENER,
    MAX_FRAME_HEADER_BYTES,
    MAX_FRAME_PAYLOAD_BYTES,
    MAX_STRANGERS,
    MIB,
    STRANGER_GRACE_S,
)
from common.ports import Stream
from common.reasons import Outage
from common.rpc.caller import Caller
from common.rpc.peers import PeerPool
from common.rpc.protocol.connection import CallerConnection
from common.rpc.protocol.events import Accepted, Greeted
from common.wire.frame import FrameKind, encode_frame
from common.wire.messages.base import Done, Ping, Reply, Request
from common.wire.messages.cell import ShardAppend, ShardPut, ShardRead, ShardUnits
from common.wire.records import pack_value

FRIEND = KeyPair.from_private(b"f" * 32)
ORDER = b"an order of this cell"


def recognise(caller: Caller[None], request: Request) -> None:
    """Know whoever shows the order, and the friend."""
    if caller.peer_id == FRIEND.peer_id or getattr(request, "order", b"") == ORDER:
        caller.introduce(caller.peer_id)


async def connect(it: Bench, identity: KeyPair) -> Stream:
    """A raw connection on which a key was proved."""
    stream = await it.near.world.network.connect(it.address, pin=SERVER.peer_id)
    core = CallerConnection(SERVER.public_key)
    while True:
        event = core.next_event()
        if isinstance(event, Greeted):
            await stream.send(core.prove(identity.public_key, identity.sign(event.message)))
        elif isinstance(event, Accepted):
            return stream
        else:
            assert event is None
            count = await stream.receive_into(core.get_buffer())
            if not count:
                raise Unavailable(Outage.CONNECTION_LOST)
            core.bytes_received(count)


def prefix(header_bytes: int, payload_bytes: int) -> bytes:
    """The first bytes of a request that is not finished."""
    begin = payload_bytes.to_bytes(4, "big") + header_bytes.to_bytes(4, "big")
    return begin + b"\0\0\0\1" + bytes([FrameKind.REQUEST, 0]) + b"\xa1\x7e"


def put_frame(order: bytes, payload_bytes: int) -> list[Any]:
    request = ShardPut(order, payload_bytes, bytes(32))
    header = pack_value([request.code, request.to_fields()])
    return encode_frame(FrameKind.REQUEST, 1, header, [bytes(payload_bytes)])


class Friend:
    """A known caller with a pool of its own."""

    def __init__(self, it: Bench) -> None:
        self._bench = it
        world = it.swarm.node("friend").world
        self.pool = PeerPool(
            world.network, FRIEND, connections_per_peer=1, chance=random.Random(2), log=world.log
        )

    async def call(self, request: Request, payload_bytes: int = 0) -> float:
        """Make a call and return how long it took, in seconds."""
        began = trio.current_time()
        payload = [bytes(payload_bytes)] if payload_bytes else []
        await self.pool.call(self._bench.address, SERVER.peer_id, request, payload)
        return trio.current_time() - began


@pytest.mark.fault("H3")
async def test_strangers_hold_no_memory_by_frames_that_they_do_not_finish(
    autojump_clock: MockClock,
) -> None:
    async with bench({ShardAppend: answers_done}, recognise=recognise) as it:
        free = it.server.memory.requests_free_bytes
        async with trio.open_nursery() as nursery:
            friend = Friend(it)
            await nursery.start(friend.pool.run)
            await friend.call(Ping())
            for number in range(12):
                stream = await connect(it, KeyPair.from_private(bytes([number]) * 32))
                await stream.send([prefix(MAX_FRAME_HEADER_BYTES, MAX_FRAME_PAYLOAD_BYTES), b"x"])
                small = await connect(it, KeyPair.from_private(bytes([number]) * 32))
                await small.send([prefix(1000, 1000), b"x"])
            await trio.sleep(1)
            assert it.server.memory.requests_free_bytes == free
            assert await friend.call(ping_like()) < 0.1
            assert await friend.call(ping_like(), MAX_FRAME_PAYLOAD_BYTES) < 0.1
            nursery.cancel_scope.cancel()


@pytest.mark.fault("H3")
async def test_a_large_frame_is_received_from_whom_its_header_shows_to_be_known(
    autojump_clock: MockClock,
) -> None:
    got: list[int] = []

    async def put(caller: Caller[None], request: Request, payload: memoryview) -> Reply:
        got.append(len(payload))
        return Done()

    async with bench({ShardPut: put}, recognise=recognise) as it:
        known = await connect(it, KeyPair.from_private(b"k" * 32))
        await known.send(put_frame(ORDER, MIB))
        unknown = await connect(it, KeyPair.from_private(b"u" * 32))
        await unknown.send(put_frame(b"none", MIB))
        await trio.sleep(1)
        assert got == [MIB]
        assert it.server.connections == 1


@pytest.mark.fault("H3")
async def test_an_introduction_under_way_is_waited_for_before_a_large_frame_is_refused(
    autojump_clock: MockClock,
) -> None:
    got: list[int] = []

    async def introduce(caller: Caller[None], request: Request, payload: memoryview) -> Reply:
        await trio.sleep(0.5)
        caller.introduce("tenant")
        return Done()

    async def put(caller: Caller[None], request: Request, payload: memoryview) -> Reply:
        got.append(len(payload))
        return Done()

    handlers = {ShardAppend: introduce, ShardPut: put}
    async with bench(handlers, recognise=lambda caller, request: None) as it:
        stream = await connect(it, KeyPair.from_private(b"k" * 32))
        append = ping_like()
        header = pack_value([append.code, append.to_fields()])
        await stream.send(encode_frame(FrameKind.REQUEST, 9, header))
        await stream.send(put_frame(b"none", MIB))
        await trio.sleep(1)
        assert got == [MIB]


@pytest.mark.fault("H3")
async def test_one_known_caller_leaves_others_memory_for_large_frames(
    autojump_clock: MockClock,
) -> None:
    options = {"recognise": recognise, "buffer_budget_bytes": 64 * MIB}
    async with bench({ShardAppend: answers_done, ShardPut: answers_done}, **options) as it:
        greedy = KeyPair.from_private(b"g" * 32)
        async with trio.open_nursery() as nursery:
            friend = Friend(it)
            await nursery.start(friend.pool.run)
            await friend.call(Ping())
            for _ in range(40):
                stream = await connect(it, greedy)
                await stream.send(put_frame(ORDER, 1))
                await stream.send([prefix(MAX_FRAME_HEADER_BYTES, MAX_FRAME_PAYLOAD_BYTES), b"x"])
            await trio.sleep(1)
            assert await friend.call(ping_like(), MAX_FRAME_PAYLOAD_BYTES) < 0.1
            nursery.cancel_scope.cancel()


@pytest.mark.fault("H3")
async def test_small_calls_are_answered_while_all_memory_for_large_ones_is_held(
    autojump_clock: MockClock,
) -> None:
    async with bench({ShardPut: answers_done}, recognise=recognise) as it:
        async with trio.open_nursery() as nursery:
            friend = Friend(it)
            await nursery.start(friend.pool.run)
            await friend.call(Ping())
            for number in range(12):
                stream = await connect(it, KeyPair.from_private(bytes([number]) * 32))
                await stream.send(put_frame(ORDER, 1))
                await stream.send([prefix(MAX_FRAME_HEADER_BYTES, MAX_FRAME_PAYLOAD_BYTES), b"x"])
            await trio.sleep(1)
            assert it.server.memory.large.waiting
            assert await friend.call(Ping()) < 0.1
            nursery.cancel_scope.cancel()


@pytest.mark.fault("H3")
async def test_a_known_caller_that_does_not_read_leaves_others_memory_for_replies(
    autojump_clock: MockClock,
) -> None:
    async def read(caller: Caller[None], request: Request, payload: memoryview) -> Any:
        return ShardUnits(1, 1), [bytes(MIB)]

    options = {"recognise": recognise, "reply_payload_bytes": {ShardRead: MIB}}
    async with bench({ShardRead: read}, **options) as it:
        request = ShardRead(ORDER, 0, 1, False)
        header = pack_value([request.code, request.to_fields()])
        async with trio.open_nursery() as nursery:
            friend = Friend(it)
            await nursery.start(friend.pool.run)
            await friend.call(Ping())
            deaf = await connect(it, KeyPair.from_private(b"d" * 32))
            for call_id in range(1, 20):
                await deaf.send(encode_frame(FrameKind.REQUEST, call_id, header))
            await trio.sleep(1)
            held = it.server.memory.replies.total_bytes - it.server.memory.replies.free_bytes
            assert 0 < held <= it.server.memory.replies.total_bytes * 3 // 4
            assert await friend.call(request) < 0.1
            nursery.cancel_scope.cancel()


@pytest.mark.fault("H3")
async def test_a_stranger_has_few_calls_in_flight(autojump_clock: MockClock) -> None:
    running = most = 0

    async def slow(caller: Caller[None], request: Request, payload: memoryview) -> Reply:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await trio.sleep(0.1)
        running -= 1
        return Done()

    async with bench({ShardAppend: slow}, recognise=lambda caller, request: None) as it:
        async with trio.open_nursery() as nursery:
            for _ in range(50):
                nursery.start_soon(it.call, ping_like())
    assert most == MAX_CALLS_OF_A_STRANGER


@pytest.mark.fault("H3")
async def test_strangers_give_their_places_to_newcomers_the_unproved_first(
    autojump_clock: MockClock,
) -> None:
    async with bench({ShardAppend: answers_done}, recognise=recognise) as it:
        network = it.near.world.network
        async with trio.open_nursery() as nursery:
            friend = Friend(it)
            await nursery.start(friend.pool.run)
            await friend.call(Ping())
            proved = [
                await connect(it, KeyPair.from_private(bytes([number]) * 32)) for number in range(3)
            ]
            silent = [
                await network.connect(it.address, pin=SERVER.peer_id)
                for _ in range(MAX_CONNECTIONS_PER_LISTENER - 4)
            ]
            await trio.sleep(1)
            assert it.server.connections == MAX_CONNECTIONS_PER_LISTENER
            kinds = [(each.is_stranger, each.has_proved) for each in it.server._open]
            assert kinds[:5] == [(False, True), *[(True, True)] * 3, (True, False)]
            await it.call(Ping())
            assert it.server.connections == MAX_CONNECTIONS_PER_LISTENER
            kinds = [each.has_proved for each in it.server._open]
            assert kinds.count(False) == MAX_CONNECTIONS_PER_LISTENER - 5
            assert await friend.call(Ping()) < 0.1
            await trio.sleep(11)  # the unproved are dropped for that alone
            assert it.server.connections == 5
            del proved, silent
            nursery.cancel_scope.cancel()


def key_of(number: int) -> KeyPair:
    return KeyPair.from_private(number.to_bytes(32, "big"))


def knows_all(caller: Caller[None], request: Request) -> None:
    """Know whoever makes a request."""
    caller.introduce(caller.peer_id)


async def make_known(stream: Stream) -> None:
    request = ping_like()
    header = pack_value([request.code, request.to_fields()])
    await stream.send(encode_frame(FrameKind.REQUEST, 1, header))


@pytest.mark.fault("H3")
async def test_strangers_have_few_of_many_places(autojump_clock: MockClock) -> None:
    known = 20
    options = {"recognise": knows_all, "max_connections": 10 * MAX_STRANGERS}
    async with bench({ShardAppend: answers_done}, **options) as it:
        network = it.near.world.network
        silent = []
        for number in range(MAX_STRANGERS + known):
            if number % (MAX_STRANGERS // known) == 0:
                stream = await connect(it, key_of(number))
                await make_known(stream)
                silent.append(stream)
            silent.append(await network.connect(it.address, pin=SERVER.peer_id))
        await trio.sleep(2 * STRANGER_GRACE_S)
        among = [each.is_stranger for each in it.server._open]
        assert among.count(True) == it.server.strangers == MAX_STRANGERS
        assert among.count(False) >= known
        for stream in silent:
            await stream.close()


@pytest.mark.fault("H3")
async def test_a_storm_of_honest_callers_evicts_none_of_them(autojump_clock: MockClock) -> None:
    callers = MAX_STRANGERS + 200
    options = {"recognise": knows_all, "max_connections": 2 * callers}
    async with bench({ShardAppend: answers_done}, **options) as it:
        streams: list[Stream] = []

        async def come(number: int) -> None:
            while True:
                try:
                    stream = await connect(it, key_of(number))
                except Unavailable:  # no place among those that wait to be accepted
                    await trio.sleep(0.1)
                else:
                    await make_known(stream)
                    streams.append(stream)
                    return

        async with trio.open_nursery() as nursery:
            for number in range(callers):
                nursery.start_soon(come, number)
        await trio.sleep(1)
        assert it.server.connections == callers
        assert it.server.strangers == 0
        assert it.server._evicted == 0
        for stream in streams:
            await stream.close()


@pytest.mark.fault("H3")
async def test_a_newcomer_waits_until_the_first_stranger_has_had_its_time(
    autojump_clock: MockClock,
) -> None:
    async with bench({ShardAppend: answers_done}, recognise=recognise) as it:
        network = it.near.world.network
        silent = [
            await network.connect(it.address, pin=SERVER.peer_id) for _ in range(MAX_STRANGERS)
        ]
        assert it.server._evicted == 0
        newcomer = await connect(it, key_of(1))
        assert it.server.strangers == MAX_STRANGERS
        assert sum(not each.has_proved for each in it.server._open) == MAX_STRANGERS - 1
        for stream in (newcomer, *silent):
            await stream.close()


@pytest.mark.fault("H3")
async def test_known_callers_that_have_all_places_are_not_evicted(
    autojump_clock: MockClock,
) -> None:
    options = {"recognise": knows_all, "max_connections": 5}
    async with bench({ShardAppend: answers_done}, **options) as it:
        streams = [await connect(it, key_of(number)) for number in range(5)]
        for stream in streams:
            await make_known(stream)
        await trio.sleep(1)
        assert it.server.strangers == 0
        with pytest.raises((Unavailable, PeerViolation)):
            await connect(it, key_of(9))
        assert it.server.connections == 5
        await streams[0].close()
        await trio.sleep(1)
        streams.append(await connect(it, key_of(9)))
        assert it.server.connections == 5
        for stream in streams:
            await stream.close()


@pytest.mark.fault("H3")
async def test_a_known_caller_has_not_all_places(autojump_clock: MockClock) -> None:
    async with bench({ShardAppend: answers_done}, recognise=recognise) as it:
        many = [await connect(it, FRIEND) for _ in range(MAX_CONNECTIONS_PER_CALLER + 5)]
        for stream in many:
            request = ping_like()
            header = pack_value([request.code, request.to_fields()])
            await stream.send(encode_frame(FrameKind.REQUEST, 1, header))
        await trio.sleep(1)
        assert it.server.connections == MAX_CONNECTIONS_PER_CALLER
        assert not it.server.memory._accounts.keys() - {FRIEND.peer_id}
        for stream in many:
            await stream.close()
        await trio.sleep(1)
        assert it.server.memory._accounts == {}
