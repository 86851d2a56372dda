"""What every Network port must do; run against the real and the simulated one."""

from __future__ import annotations

import hashlib
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import pytest
import trio

from common.crypto.identity import KeyPair
from common.errors import BadConfig, PeerViolation, Unavailable
from common.ports import Address, Listener, Network, Stream
from common.system.network import RealNetwork
from sim.world import SimWorld

LOCAL = Address("127.0.0.1", 0)
SERVER = KeyPair.from_private(b"s" * 32)
OTHER = KeyPair.from_private(b"o" * 32)
MIB = 1 << 20


def _simulated() -> Network:
    return SimWorld(seed=1).node("a").world.network


@pytest.fixture(params=[RealNetwork, _simulated], ids=["real", "simulated"])
async def network(request: pytest.FixtureRequest) -> Network:
    make: Callable[[], Network] = request.param
    return make()


@pytest.fixture(params=[None, SERVER], ids=["plain", "secure"])
def identity(request: pytest.FixtureRequest) -> KeyPair | None:
    chosen: KeyPair | None = request.param
    return chosen


@asynccontextmanager
async def listening(network: Network, identity: KeyPair | None) -> AsyncIterator[Listener]:
    listener = await network.listen(LOCAL, identity=identity)
    try:
        yield listener
    finally:
        await listener.close()


@asynccontextmanager
async def joined(
    network: Network, identity: KeyPair | None
) -> AsyncIterator[tuple[Stream, Stream]]:
    """A connected pair: who called, and who answered."""
    pin = identity.peer_id if identity is not None else None
    async with listening(network, identity) as listener:
        near: list[Stream] = []

        async def call() -> None:
            near.append(await network.connect(listener.address, pin=pin))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(call)
            far = await listener.accept()
            # The far side's first receive is what does its half of a TLS handshake.
            greeting = bytearray(1)
            nursery.start_soon(far.send, [b"!"])
        assert await near[0].receive_into(memoryview(greeting)) == 1
        assert greeting == b"!"
        try:
            yield near[0], far
        finally:
            await near[0].close()
            await far.close()


async def receive_exactly(stream: Stream, count: int) -> bytes:
    buffer = bytearray(count)
    filled = 0
    while filled < count:
        got = await stream.receive_into(memoryview(buffer)[filled:])
        assert got, "the stream ended too early"
        filled += got
    return bytes(buffer)


async def test_bytes_arrive_in_order_both_ways(network: Network, identity: KeyPair | None) -> None:
    async with joined(network, identity) as (near, far):
        await near.send([b"one ", b"", bytearray(b"two "), memoryview(b"three")])
        assert await receive_exactly(far, 13) == b"one two three"
        await far.send([b"back"])
        assert await receive_exactly(near, 4) == b"back"


async def test_nothing_to_send_is_fine(network: Network, identity: KeyPair | None) -> None:
    async with joined(network, identity) as (near, far):
        await near.send([])
        await near.send([b""])
        await near.send([b"x"])
        assert await receive_exactly(far, 1) == b"x"


async def test_what_is_sent_without_waiting_keeps_its_place(
    network: Network, identity: KeyPair | None
) -> None:
    async with joined(network, identity) as (near, far):
        assert near.send_nowait([b"one ", b"", bytearray(b"two "), memoryview(b"three")]) == 13
        assert near.send_nowait([]) == 0
        await near.send([b" four"])
        assert near.send_nowait([b" five"]) == 5
        assert await receive_exactly(far, 23) == b"one two three four five"


async def test_a_full_stream_takes_nothing_without_waiting_and_loses_nothing(
    network: Network, identity: KeyPair | None
) -> None:
    sent = bytearray()
    async with joined(network, identity) as (near, far):
        for number in range(100_000):
            block = bytes([number % 251]) * 5000
            taken = near.send_nowait([block[:10], block[10:]])
            sent += block
            if taken < len(block):
                break
        left = block[taken:]
        async with trio.open_nursery() as nursery:
            # What is left over goes first; more may follow it in the same send.
            nursery.start_soon(near.send, [left, b"the ", b"end"])
            with trio.fail_after(20):
                assert await receive_exactly(far, len(sent) + 7) == sent + b"the end"


async def test_nothing_is_sent_without_waiting_while_a_send_waits(
    network: Network, identity: KeyPair | None
) -> None:
    block = bytes(8 * MIB)
    async with joined(network, identity) as (near, _far):
        while near.send_nowait([block[:5000]]) == 5000:
            pass
        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(near.send, [block])
                await trio.testing.wait_all_tasks_blocked(0.01)
                assert near.send_nowait([b"x"]) == 0
                nursery.cancel_scope.cancel()


async def test_a_lost_stream_takes_nothing_and_the_next_send_tells(
    network: Network, identity: KeyPair | None
) -> None:
    async with joined(network, identity) as (near, far):

        async def send_until_lost() -> None:
            while True:
                if not near.send_nowait([b"x"]):
                    await near.send([b"x"])
                await trio.lowlevel.checkpoint()

        await far.close()
        with trio.fail_after(5), pytest.raises(Unavailable, match="connection_lost"):
            await send_until_lost()
    async with joined(network, identity) as (near, far):
        await near.close()
        assert near.send_nowait([b"x"]) == 0


async def test_both_ends_know_the_servers_key(network: Network) -> None:
    async with joined(network, SERVER) as (near, far):
        assert near.server_key == SERVER.public_key
        assert far.server_key == SERVER.public_key
        assert near.remote
        assert far.remote
    async with joined(network, None) as (near, far):
        assert near.server_key is None
        assert far.server_key is None


async def test_much_data_of_odd_sizes_crosses_both_ways_at_once(
    network: Network, identity: KeyPair | None
) -> None:
    block = os.urandom(300_001)
    parts = [block[:1], block[1:17_000], memoryview(block)[17_000:17_001], block[17_001:]]
    rounds = 12
    expected = hashlib.sha256(block * rounds).digest()
    digests: list[bytes] = []

    async def send(stream: Stream) -> None:
        for _ in range(rounds):
            await stream.send(parts)

    async def receive(stream: Stream) -> None:
        digest = hashlib.sha256()
        buffer = bytearray(100_003)
        left = len(block) * rounds
        while left:
            count = await stream.receive_into(memoryview(buffer))
            assert count
            digest.update(memoryview(buffer)[:count])
            left -= count
        digests.append(digest.digest())

    async with joined(network, identity) as (near, far):
        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                for stream in (near, far):
                    nursery.start_soon(send, stream)
                    nursery.start_soon(receive, stream)
    assert digests == [expected, expected]


async def test_many_short_parts_are_sent_whole(network: Network, identity: KeyPair | None) -> None:
    parts = [bytes([i % 251]) * (i % 7 + 1) for i in range(5000)] + [b"y" * 2000] * 1500
    async with joined(network, identity) as (near, far):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(near.send, parts)
            assert await receive_exactly(far, sum(map(len, parts))) == b"".join(parts)


async def test_the_end_of_the_stream_comes_after_what_was_sent(
    network: Network, identity: KeyPair | None
) -> None:
    async with joined(network, identity) as (near, far):
        await near.send([b"last words"])
        await near.close()
        assert await receive_exactly(far, 10) == b"last words"
        with trio.fail_after(5):
            assert await far.receive_into(memoryview(bytearray(1))) == 0


async def test_a_slow_peer_stops_the_sender(network: Network, identity: KeyPair | None) -> None:
    sent = 0
    async with joined(network, identity) as (near, _far):
        with trio.move_on_after(0.3):
            while sent < 256 * MIB:
                await near.send([bytes(MIB)])
                sent += MIB
    assert sent < 64 * MIB


async def test_closing_wakes_the_receiver_at_the_other_end(
    network: Network, identity: KeyPair | None
) -> None:
    async with joined(network, identity) as (near, far):
        with trio.fail_after(5):
            async with trio.open_nursery() as nursery:

                async def wait() -> None:
                    assert await far.receive_into(memoryview(bytearray(9))) == 0

                nursery.start_soon(wait)
                await trio.testing.wait_all_tasks_blocked(0.01)
                await near.close()


async def test_closing_wakes_the_receiver_at_this_end(
    network: Network, identity: KeyPair | None
) -> None:
    async with joined(network, identity) as (near, _far):
        with trio.fail_after(5):
            async with trio.open_nursery() as nursery:

                async def wait() -> None:
                    with pytest.raises(Unavailable, match="connection_lost"):
                        await near.receive_into(memoryview(bytearray(9)))

                nursery.start_soon(wait)
                await trio.testing.wait_all_tasks_blocked(0.01)
                await near.close()


async def test_a_closed_stream_is_unavailable_and_may_be_closed_again(
    network: Network, identity: KeyPair | None
) -> None:
    async with joined(network, identity) as (near, _far):
        await near.close()
        await near.close()
        with pytest.raises(Unavailable, match="connection_lost"):
            await near.send([b"x"])
        with pytest.raises(Unavailable, match="connection_lost"):
            await near.receive_into(memoryview(bytearray(1)))


async def test_sending_to_a_closed_peer_fails(network: Network, identity: KeyPair | None) -> None:
    async with joined(network, identity) as (near, far):
        await far.close()

        async def send_on() -> None:
            while True:
                await near.send([bytes(65536)])

        with trio.fail_after(5), pytest.raises(Unavailable, match="connection_lost"):
            await send_on()


async def test_a_cancelled_send_closes_the_stream(
    network: Network, identity: KeyPair | None
) -> None:
    async with joined(network, identity) as (near, far):
        with trio.move_on_after(0.2) as scope:
            while True:
                await near.send([bytes(MIB)])
        assert scope.cancelled_caught
        with pytest.raises(Unavailable, match="connection_lost"):
            await near.send([b"x"])
        with trio.fail_after(5), suppress(Unavailable):
            while await far.receive_into(memoryview(bytearray(MIB))):
                pass


async def test_a_cancelled_receive_loses_nothing(
    network: Network, identity: KeyPair | None
) -> None:
    async with joined(network, identity) as (near, far):
        with trio.move_on_after(0.05) as scope:
            await far.receive_into(memoryview(bytearray(100)))
        assert scope.cancelled_caught
        await near.send([b"still here"])
        assert await receive_exactly(far, 10) == b"still here"


async def test_nobody_there_is_unavailable(network: Network, identity: KeyPair | None) -> None:
    async with listening(network, identity) as listener:
        address = listener.address
    pin = identity.peer_id if identity is not None else None
    with pytest.raises(Unavailable, match="connect_failed"):
        await network.connect(address, pin=pin)


@pytest.mark.parametrize("host", ["a..b", "x" * 64, "nul\0", "\x1b[2J", ""])
async def test_a_host_that_cannot_be_is_unavailable(
    network: Network, identity: KeyPair | None, host: str
) -> None:
    pin = identity.peer_id if identity is not None else None
    with pytest.raises(Unavailable, match="connect_failed"):
        await network.connect(Address(host, 7000), pin=pin)


async def test_another_key_than_the_pinned_one_is_a_violation(network: Network) -> None:
    async with listening(network, SERVER) as listener:
        async with trio.open_nursery() as nursery:

            async def serve() -> None:
                stream = await listener.accept()
                try:
                    with suppress(Unavailable):
                        assert not await stream.receive_into(memoryview(bytearray(1)))
                finally:
                    await stream.close()

            nursery.start_soon(serve)
            with pytest.raises(PeerViolation, match="wrong_server_key"):
                await network.connect(listener.address, pin=OTHER.peer_id)
            nursery.cancel_scope.cancel()


async def test_port_zero_becomes_a_free_port(network: Network, identity: KeyPair | None) -> None:
    async with listening(network, identity) as first, listening(network, identity) as second:
        assert first.address.port
        assert second.address.port
        assert first.address.port != second.address.port


async def test_a_port_in_use_cannot_be_listened_on(network: Network) -> None:
    async with listening(network, None) as listener:
        with pytest.raises(BadConfig, match="cannot_listen"):
            await network.listen(listener.address, identity=None)


async def test_a_closed_listener_stops_who_waits_for_it(network: Network) -> None:
    async with listening(network, None) as listener:
        with trio.fail_after(5):
            async with trio.open_nursery() as nursery:

                async def wait() -> None:
                    with pytest.raises(Unavailable, match="listener_closed"):
                        await listener.accept()

                nursery.start_soon(wait)
                await trio.testing.wait_all_tasks_blocked(0.01)
                await listener.close()
