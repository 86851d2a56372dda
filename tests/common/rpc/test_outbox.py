from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import trio

from common.errors import Unavailable
from common.limits import OUTBOX_BYTES, SEND_BATCH_BYTES, SEND_TIMEOUT_S
from common.ports import Buffer
from common.reasons import Outage
from common.rpc.outbox import SEND_NOW_BYTES, Outbox, Turnstile


class Pipe:
    """A stream that takes a batch whenever it is told to."""

    server_key = None
    remote = "pipe"

    def __init__(self, takes_now: int = 0) -> None:
        self.sent: list[bytes] = []
        self.takes_now = takes_now
        self.open = trio.Event()
        self.open.set()

    async def send(self, parts: Sequence[Buffer]) -> None:
        await self.open.wait()
        self.sent.append(b"".join(parts))

    def send_nowait(self, parts: Sequence[Buffer]) -> int:
        taken = b"".join(parts)[: self.takes_now]
        if taken:
            self.sent.append(taken)
        return len(taken)

    async def receive_into(self, buffer: memoryview) -> int:
        raise Unavailable(Outage.CONNECTION_LOST)

    async def close(self) -> None:
        pass


def ignore() -> None:
    pass


async def test_frames_that_gather_leave_together_and_in_order(
    autojump_clock: trio.testing.MockClock,
) -> None:
    pipe = Pipe()
    outbox = Outbox(pipe, ignore, lambda: True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(outbox.run)
        for number in range(10):
            outbox.put([bytes([number])])
        await outbox.wait_idle()
        nursery.cancel_scope.cancel()
    assert pipe.sent == [bytes(range(10))]


async def test_a_batch_is_bounded_and_room_comes_back_after_each(
    autojump_clock: trio.testing.MockClock,
) -> None:
    pipe = Pipe()
    rooms: list[bool] = []
    outbox = Outbox(pipe, lambda: rooms.append(outbox.has_room), lambda: True)
    frame = bytes(SEND_BATCH_BYTES // 2)
    while outbox.has_room:
        outbox.put([frame])
    assert outbox.unsent_bytes == OUTBOX_BYTES
    async with trio.open_nursery() as nursery:
        nursery.start_soon(outbox.run)
        await outbox.wait_idle()
        nursery.cancel_scope.cancel()
    assert [len(batch) for batch in pipe.sent] == [SEND_BATCH_BYTES, SEND_BATCH_BYTES]
    assert rooms == [True, True]


async def test_it_is_known_what_was_never_taken(autojump_clock: trio.testing.MockClock) -> None:
    pipe = Pipe()
    pipe.open = trio.Event()
    outbox = Outbox(pipe, ignore, lambda: True)
    given: list[int] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(outbox.run)
        first = outbox.put([b"head", b"payload"], given.append)
        await trio.testing.wait_all_tasks_blocked()
        second = outbox.put([b"head", b"load"], given.append)
        nursery.cancel_scope.cancel()
    assert outbox.was_taken(first)
    assert not outbox.was_taken(second)
    assert given == [7]
    outbox.give_up()
    assert given == [7, 4]


async def test_a_peer_that_takes_nothing_is_seen(autojump_clock: trio.testing.MockClock) -> None:
    pipe = Pipe()
    pipe.open = trio.Event()
    outbox = Outbox(pipe, ignore, lambda: True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(outbox.run)
        outbox.put([b"x"])
        await trio.sleep(SEND_TIMEOUT_S - 1)
        assert outbox.stuck_at > trio.current_time()
        await trio.sleep(2)
        assert outbox.stuck_at <= trio.current_time()
        pipe.open.set()
        await outbox.wait_idle()
        assert outbox.stuck_at == math.inf
        nursery.cancel_scope.cancel()


async def test_on_a_quiet_connection_frames_leave_at_once_and_on_a_busy_one_together(
    autojump_clock: trio.testing.MockClock,
) -> None:
    pipe = Pipe(takes_now=100)
    is_quiet = True
    outbox = Outbox(pipe, ignore, lambda: is_quiet)
    given: list[int] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(outbox.run)
        await trio.testing.wait_all_tasks_blocked()
        first = outbox.put([b"one", b"payload"], given.append)
        assert pipe.sent == [b"onepayload"]
        assert given == [7]
        assert outbox.was_taken(first)
        assert not outbox.unsent_bytes
        is_quiet = False
        second = outbox.put([b"two"])
        is_quiet = True
        outbox.put([b"three"])  # behind what is queued
        assert not outbox.was_taken(second)
        await outbox.wait_idle()
        await trio.testing.wait_all_tasks_blocked()
        outbox.put([b"four"])
        outbox.put([b"five"])
        assert pipe.sent == [b"onepayload", b"twothree", b"four", b"five"]
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("takes_now", [0, 1, 4, 10])
async def test_what_the_stream_does_not_take_at_once_follows_in_order(
    autojump_clock: trio.testing.MockClock, takes_now: int
) -> None:
    pipe = Pipe(takes_now)
    outbox = Outbox(pipe, ignore, lambda: True)
    given: list[int] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(outbox.run)
        await trio.testing.wait_all_tasks_blocked()
        first = outbox.put([b"head", b"payload"], given.append)
        assert outbox.was_taken(first), "some of it may have left"
        assert outbox.unsent_bytes == 11 - takes_now
        second = outbox.put([b"next"], given.append)
        assert not outbox.was_taken(second)
        assert not given
        await outbox.wait_idle()
        assert outbox.was_taken(second)
        nursery.cancel_scope.cancel()
    assert b"".join(pipe.sent) == b"headpayloadnext"
    assert given == [7, 0]
    assert not outbox.unsent_bytes


async def test_a_long_frame_is_left_to_the_writer(autojump_clock: trio.testing.MockClock) -> None:
    pipe = Pipe(takes_now=1 << 30)
    outbox = Outbox(pipe, ignore, lambda: True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(outbox.run)
        await trio.testing.wait_all_tasks_blocked()
        outbox.put([bytes(SEND_NOW_BYTES + 1)])
        outbox.put([b"behind"])
        assert not pipe.sent
        await outbox.wait_idle()
        nursery.cancel_scope.cancel()
    assert pipe.sent == [bytes(SEND_NOW_BYTES + 1) + b"behind"]


@pytest.mark.parametrize("cancelled", [None, 0, 3])
async def test_a_turnstile_keeps_the_order_of_arrival(
    autojump_clock: trio.testing.MockClock, cancelled: int | None
) -> None:
    room = 0
    passed: list[int] = []
    gate = Turnstile(lambda: room > 0)

    async def one(number: int) -> None:
        nonlocal room
        with trio.move_on_after(0.5 if number == cancelled else 100):
            await gate.enter()
            room -= 1
            passed.append(number)
            gate.nudge()

    async with trio.open_nursery() as nursery:
        for number in range(6):
            nursery.start_soon(one, number)
            await trio.testing.wait_all_tasks_blocked()
        await trio.sleep(1)
        for _ in range(3):
            room += 2
            gate.nudge()
            await trio.sleep(1)
    assert passed == [number for number in range(6) if number != cancelled]
