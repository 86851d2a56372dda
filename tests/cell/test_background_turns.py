"""Background work keeps to its bandwidth, and leaves most of it to readers and writers."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from cell.background_pace_policy import BUSY_S, BUSY_SHARE, BackgroundPace
from cell.background_turns import READ_WAIT_S, BackgroundTurns
from common.errors import Unavailable
from common.limits import MAX_BACKGROUND_READS

RATE = 1000


def run(
    pace: BackgroundPace, seconds: float, size: int, *, is_urgent: bool, is_busy: bool, start: float
) -> float:
    """Bytes that one worker moves in a time; with ``is_busy`` somebody is served all the time."""
    now, moved = start, 0
    while now < start + seconds:
        if is_busy:
            pace.served(now)
        wait_s = pace.wait_s(now, is_urgent=is_urgent)
        if wait_s:
            now += min(wait_s, BUSY_S / 2)
            continue
        pace.began(size, now)
        moved += size
    return moved / seconds


SIZES = [10, 777, 5000]


@pytest.mark.parametrize("size", SIZES)
def test_an_idle_cell_gives_its_whole_bandwidth(size: int) -> None:
    rate = run(BackgroundPace(RATE), 100, size, is_urgent=False, is_busy=False, start=1e5)
    assert rate == pytest.approx(RATE, abs=1.01 * size / 100)


@pytest.mark.parametrize("size", SIZES)
def test_a_busy_cell_gives_a_share_of_it(size: int) -> None:
    rate = run(BackgroundPace(RATE), 400, size, is_urgent=False, is_busy=True, start=7.0)
    assert rate == pytest.approx(RATE * BUSY_SHARE, abs=1.01 * size / 400)


@pytest.mark.parametrize("size", SIZES)
def test_urgent_work_does_not_give_way(size: int) -> None:
    rate = run(BackgroundPace(RATE), 400, size, is_urgent=True, is_busy=True, start=7.0)
    assert rate == pytest.approx(RATE, abs=1.01 * size / 400)


def test_a_cell_is_busy_for_a_second_after_it_served_somebody() -> None:
    pace = BackgroundPace(RATE)
    pace.served(10.0)
    pace.began(100, 10.0 + BUSY_S - 0.01)
    busy_s = pace.wait_s(10.0 + BUSY_S - 0.01, is_urgent=False)
    pace.began(100, 100.0)
    assert pace.wait_s(100.0, is_urgent=False) == pytest.approx(100 / RATE)
    assert busy_s == pytest.approx(100 / RATE / BUSY_SHARE)


def test_urgent_and_other_work_share_one_bandwidth() -> None:
    pace = BackgroundPace(RATE)
    pace.began(500, 0.0)
    assert pace.wait_s(0.0, is_urgent=True) == pytest.approx(0.5)
    assert pace.wait_s(0.0, is_urgent=False) == pytest.approx(0.5)


def test_what_was_not_used_is_not_saved_up() -> None:
    pace = BackgroundPace(RATE)
    pace.began(1, 0.0)
    pace.began(1000, 1e6)
    assert pace.wait_s(1e6, is_urgent=False) == pytest.approx(1.0)


# --- turns --------------------------------------------------------------------------------------


async def test_turns_come_in_the_order_in_which_they_were_asked_for(
    autojump_clock: MockClock,
) -> None:
    background, order = BackgroundTurns(RATE), []

    async def work(name: int) -> None:
        await background.turn(1000)
        order.append((name, round(trio.current_time() - start)))

    start = trio.current_time()
    async with trio.open_nursery() as nursery:
        for name in range(4):
            nursery.start_soon(work, name)
            await trio.sleep(0.01)
    assert order == [(0, 0), (1, 1), (2, 2), (3, 3)]


async def test_urgent_work_does_not_wait_in_line(autojump_clock: MockClock) -> None:
    background, order = BackgroundTurns(RATE), []

    async def work(name: str, is_urgent: bool) -> None:
        await background.turn(1000, is_urgent=is_urgent)
        order.append(name)

    async with trio.open_nursery() as nursery:
        for name in "abcdef":
            nursery.start_soon(work, name, False)
            await trio.sleep(0.01)
        nursery.start_soon(work, "urgent", True)
        await trio.sleep(6)
    assert order.index("urgent") < order.index("c"), "only the one that waited first may be before"


async def test_reads_for_rebuilds_that_would_wait_for_long_are_sent_elsewhere(
    autojump_clock: MockClock,
) -> None:
    background = BackgroundTurns(RATE)
    await background.turn(int(2 * READ_WAIT_S * RATE))
    start = trio.current_time()
    with pytest.raises(Unavailable, match="too_busy"):
        await background.turn_to_read(1)
    assert trio.current_time() - start == pytest.approx(READ_WAIT_S)


async def test_few_reads_for_rebuilds_wait(autojump_clock: MockClock) -> None:
    background = BackgroundTurns(RATE)
    await background.turn(3 * RATE)
    async with trio.open_nursery() as nursery:
        for _ in range(MAX_BACKGROUND_READS):
            nursery.start_soon(background.turn_to_read, 100)
        await trio.sleep(0.1)
        start = trio.current_time()
        with pytest.raises(Unavailable, match="too_busy"):
            await background.turn_to_read(100)
        assert trio.current_time() == start
        await trio.sleep(10)
        await background.turn_to_read(100)
