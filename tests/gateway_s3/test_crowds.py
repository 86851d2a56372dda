"""Slow and greedy clients of one tenant leave the others their gateway. In virtual time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
import trio
from town import Town, content, town
from trio.testing import MockClock

from common import limits
from common.http.server import RELIEVED_AT_ONCE
from common.limits import MIB
from gateway_s3.turns import REFUSAL_PAUSE_S

MOST_SLOWER = 2.0
"""What a backlog of another tenant may cost."""


async def _holds_up(place: Town, begin: Callable[[], Awaitable[None]], backlog: int) -> None:
    calm = await place.works()
    for _ in range(backlog):
        place.nursery.start_soon(begin)
    for _ in range(4):
        await trio.sleep(1.5)
        for beside, alone in zip(await place.works(), calm, strict=True):
            assert beside <= MOST_SLOWER * alone


@pytest.mark.incident(35)
@pytest.mark.fault("H2")
async def test_slow_bodies_of_a_tenant_leave_others_their_speed(autojump_clock: MockClock) -> None:
    async with town() as place:
        await _holds_up(place, lambda: place.drip(MIB), 26)
        waiting_s = limits.HTTP_BODY_TIMEOUT_S + limits.HTTP_LINGER_S
        await trio.sleep(waiting_s)
        assert "alveary_gateway_slow_bodies_total 26.0" in await place.metrics()


@pytest.mark.fault("H2")
@pytest.mark.parametrize("size", [MIB, 8 * MIB])
async def test_bodies_that_stop_late_leave_others_their_speed(
    size: int, autojump_clock: MockClock
) -> None:
    """Each of the backlog has nearly a stripe, or two stripes and some, in the gateway."""
    begin = content(min(size - 1000, 2 * MIB + 100_000))
    async with town() as place:
        await _holds_up(place, lambda: place.drip(size, begin), 60)


@pytest.mark.incident(35)
@pytest.mark.fault("H2")
async def test_readers_that_stall_leave_others_their_speed(autojump_clock: MockClock) -> None:
    async with town() as place:
        answer = await place.backlog.request("PUT", "/backlog/large", body=content(24 * MIB))
        assert answer.status_code == 200
        await _holds_up(place, lambda: place.stall("/backlog/large"), 70)
        piece_s = limits.HTTP_SEND_BYTES / limits.HTTP_LEAST_BYTES_PER_S
        await trio.sleep(limits.HTTP_SEND_TIMEOUT_S + piece_s + limits.BUDGET_WAIT_S)
        await trio.sleep(limits.HTTP_SEND_TIMEOUT_S + piece_s)
        text = await place.metrics()
        free = f"alveary_gateway_buffer_free_bytes {float(limits.GATEWAY_BUFFER_BUDGET_BYTES)}"
        assert free in text.replace("6.7108864e+07", "67108864.0")


@pytest.mark.fault("H2")
async def test_both_kinds_at_once_leave_others_their_speed(autojump_clock: MockClock) -> None:
    async with town() as place:
        answer = await place.backlog.request("PUT", "/backlog/large", body=content(24 * MIB))
        assert answer.status_code == 200
        for _ in range(40):
            place.nursery.start_soon(place.stall, "/backlog/large")
        begin = content(2 * MIB + 100_000)
        await _holds_up(place, lambda: place.drip(8 * MIB, begin), 40)


@pytest.mark.fault("H2")
async def test_who_gets_no_room_in_time_is_asked_to_come_later(autojump_clock: MockClock) -> None:
    async with town() as place:
        budget = place.cluster.gateways[0].serving.app._backend.budget
        held = budget.free_bytes
        assert budget.take_nowait(held)
        began = trio.current_time()
        answers = [
            await place.bystander.request("PUT", "/bystander/key", body=b"x"),
            await place.bystander.request("GET", "/bystander/key"),
        ]
        assert trio.current_time() - began < 2 * limits.BUDGET_WAIT_S + 1
        for answer in answers:
            assert answer.status_code == 503
            assert "<Code>SlowDown</Code>" in answer.text
            assert answer.headers["retry-after"] == "2"
        assert "alveary_gateway_buffer_refused_total 2.0" in await place.metrics()
        budget.give(held)
        await place.works()


@pytest.mark.fault("H2")
async def test_readers_that_stall_are_cut_when_their_own_tenant_needs_the_room(
    autojump_clock: MockClock,
) -> None:
    async with town() as place:
        for key, size in (("large", 24 * MIB), ("key", MIB)):
            answer = await place.backlog.request("PUT", f"/backlog/{key}", body=content(size))
            assert answer.status_code == 200
        for _ in range(70):
            place.nursery.start_soon(place.stall, "/backlog/large")
        await trio.sleep(1.5)
        began = trio.current_time()
        got = await place.backlog.request("GET", "/backlog/key")
        assert got.content == content(MIB)
        # Those that came before it have their turn first, in two rounds of half the budget.
        assert trio.current_time() - began < 2.5 * limits.HTTP_PRESSED_SEND_TIMEOUT_S


async def test_readers_that_stall_are_not_cut_early_while_nobody_waits(
    autojump_clock: MockClock,
) -> None:
    async with town() as place:
        answer = await place.backlog.request("PUT", "/backlog/large", body=content(24 * MIB))
        assert answer.status_code == 200
        for _ in range(5):
            place.nursery.start_soon(place.stall, "/backlog/large")
        await trio.sleep(4 * limits.HTTP_PRESSED_SEND_TIMEOUT_S)
        assert "alveary_gateway_slow_readers_total 0.0" in await place.metrics()


async def test_a_tenant_that_takes_all_connections_leaves_others_theirs(
    autojump_clock: MockClock,
) -> None:
    async with town() as place:
        answer = await place.backlog.request("PUT", "/backlog/large", body=content(2 * MIB))
        assert answer.status_code == 200
        calm = await place.works()
        for _ in range(limits.MAX_HTTP_CONNECTIONS + 50):
            place.nursery.start_soon(place.stall, "/backlog/large")
            await trio.sleep(0.01)
        place.bystander = place.connect()
        for beside, alone in zip(await place.works(), calm, strict=True):
            assert beside <= MOST_SLOWER * alone


async def test_who_used_its_share_is_not_read_from_for_a_second(
    autojump_clock: MockClock,
) -> None:
    async with town() as place:
        app = place.cluster.gateways[0].serving.app
        app._queue._most_of_one = 0
        began = trio.current_time()
        codes = [(await place.backlog.request("GET", "/backlog/none")).status_code for _ in "12345"]
        assert codes == [503] * 5
        assert trio.current_time() - began == pytest.approx(4 * REFUSAL_PAUSE_S, abs=0.1)
        app._queue._most_of_one = 10
        assert (await place.backlog.request("GET", "/backlog/none")).status_code == 404


async def test_readers_that_stall_are_cut_a_few_at_a_time(autojump_clock: MockClock) -> None:
    """As many others begin in their place: all at once they would hold up everybody."""
    async with town() as place:
        answer = await place.backlog.request("PUT", "/backlog/large", body=content(24 * MIB))
        assert answer.status_code == 200
        for _ in range(70):
            place.nursery.start_soon(place.stall, "/backlog/large")
        await trio.sleep(limits.HTTP_PRESSED_SEND_TIMEOUT_S + 3.5)
        line = next(
            each
            for each in (await place.metrics()).splitlines()
            if each.startswith("alveary_gateway_slow_readers_total ")
        )
        assert 2 * RELIEVED_AT_ONCE <= float(line.split()[1]) <= 5 * RELIEVED_AT_ONCE
