"""Availability of cells: counted in watched time, durable, without announced maintenance."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from coordinator_rig import Rig, running
from trio.testing import MockClock

from coordinator.policy.availability import (
    DAY_S,
    DAYS,
    TARGET,
    Availability,
    countable,
    day_of,
    first_day,
    of_cell,
    of_owners,
    together,
)
from coordinator.store import availability, cells
from coordinator.store.availability import AwayTime
from coordinator.store.schema import migrate
from sim.world import SimWorld

# --- pure -----------------------------------------------------------------------------------------


def test_the_target_is_missed_by_silence_of_more_than_21_6_minutes_in_30_days() -> None:
    allowed_s = round(DAYS * DAY_S * (1 - TARGET))
    assert allowed_s == 21.6 * 60
    assert not Availability(DAYS * DAY_S, allowed_s).is_below_target
    assert Availability(DAYS * DAY_S, allowed_s + 1).is_below_target
    assert Availability(0, 0).ratio == 1.0


def test_a_day_is_a_day_of_watched_time() -> None:
    assert [day_of(each) for each in (0, 1, DAY_S, DAY_S + 1)] == [0, 0, 0, 1]
    assert [first_day(each * DAY_S) for each in (0, 1, 30, 31, 40)] == [0, 0, 0, 1, 10]


@pytest.mark.parametrize(
    ("joined_at_s", "silent_s", "excused_s", "watched_s", "counted_s"),
    [
        (0, 100, 0, 2_592_000 - DAY_S // 2, 100),  # half of today is still to come
        (40 * DAY_S - DAY_S // 2 - 1000, 10, 0, 1000, 10),  # joined lately
        (0, 100, 3600, 2_592_000 - DAY_S // 2 - 3600, 100),
        (40 * DAY_S, 100, 0, 0, 0),  # joined after the last count
    ],
)
def test_a_cell_is_watched_since_it_joined_or_for_30_days_but_not_in_maintenance(
    joined_at_s: int, silent_s: int, excused_s: int, watched_s: int, counted_s: int
) -> None:
    found = of_cell(40 * DAY_S - DAY_S // 2, joined_at_s, silent_s, excused_s)
    assert found == Availability(watched_s, counted_s)


def test_an_owner_is_as_available_as_all_the_cells_together() -> None:
    one, other, third = Availability(100, 10), Availability(300, 0), Availability(50, 1)
    assert together([one, other]) == Availability(400, 10)
    found = of_owners([("a", other), ("b", third), ("a", one), ("", third), ("c", other)])
    assert list(found.items()) == [("a", together([one, other])), ("b", third), ("c", other)]


def test_silence_is_counted_in_whole_seconds_and_no_more_than_has_passed() -> None:
    assert countable(10.9, 0, 60) == 10
    assert countable(70.9, 10, 60) == 60
    assert countable(70.9, 70, 60) == 0
    assert countable(0.0, 70, 60) == 0


# --- the store ------------------------------------------------------------------------------------


async def test_silence_of_more_than_30_days_ago_counts_no_more_and_leaves_no_row() -> None:
    store = await SimWorld(1).node("coordinator").world.stores.open("store")
    await store.transact(migrate)

    def work(sql: Any) -> tuple[int, list[Availability]]:
        cells.invite(sql, b"secret", "", "", 2, 10, 0)
        first, _, _ = cells.join(sql, b"1" * 32, b"secret", "", "", 0)
        availability.count(sql, DAY_S, [AwayTime(first, 50, 0)])
        cells.join(sql, b"2" * 32, b"secret", "", "", 0)
        found = [availability.load(sql).of(first, 0)]
        for _ in range(DAYS):
            availability.count(sql, DAY_S, [AwayTime(first, 1, 2)])
            availability.count(sql, 0, [AwayTime(first, 1, 0)])
            found.append(availability.load(sql).of(first, 0))
        rows = sql.execute("SELECT count(*) FROM absences").fetchone()[0]
        return rows, [*found, availability.load(sql).of(first + 1, DAY_S)]

    rows, (begun, *later, other) = await store.transact(work)
    assert begun == Availability(DAY_S, 50)
    assert later[-2] == Availability(DAYS * DAY_S - 58, 50 + 2 * 29)
    assert later[-1] == Availability(DAYS * DAY_S - 60, 2 * 30), "the first day is gone"
    assert rows == DAYS
    assert other == Availability(DAYS * DAY_S, 0)


# --- a coordinator --------------------------------------------------------------------------------


async def figure(rig: Rig, number: int) -> dict[str, Any]:
    listed = (await rig.operate("GET", "/v1/status"))["cells"]
    found = next(each for each in listed if each["owner"] == f"owner-{number}")
    answer: dict[str, Any] = found["availability"]
    return answer


async def test_silence_is_counted_once_and_survives_a_restart(autojump_clock: MockClock) -> None:
    async with running(cells=6) as rig:
        await trio.sleep(300)
        assert (await figure(rig, 0))["silent_s"] == 0
        rig.cells[0].beating = False
        await trio.sleep(600)
        rig.cells[0].beating = True
        await trio.sleep(120)
        found = await figure(rig, 0)
        assert 590 <= found["silent_s"] <= 610
        assert 950 <= found["watched_s"] <= 1025
        assert found["below_target"]
        await rig.restart()
        await trio.sleep(300)
        after = await figure(rig, 0)
        assert after["silent_s"] == found["silent_s"]
        assert found["watched_s"] + 180 <= after["watched_s"] <= found["watched_s"] + 360
        other = await figure(rig, 1)
        assert (other["silent_s"], other["below_target"], other["ratio"]) == (0, False, 1.0)


async def test_a_cell_that_stays_away_over_a_restart_is_silent_all_the_while(
    autojump_clock: MockClock,
) -> None:
    async with running(cells=6) as rig:
        rig.cells[0].beating = False
        await trio.sleep(600)
        await rig.restart()
        await trio.sleep(605)
        found = await figure(rig, 0)
        assert found["watched_s"] >= 1080
        assert found["silent_s"] >= found["watched_s"] - 20


async def test_blips_of_a_connection_are_no_silence(autojump_clock: MockClock) -> None:
    async with running(cells=6) as rig:
        cell = rig.cells[0]
        cell.beating = False
        for _ in range(30):
            cell.scope.cancel()
            await cell.connect()
            await cell.beat()
            await trio.sleep(9)
        await trio.sleep(3)
        assert (await figure(rig, 0))["silent_s"] == 0


async def test_announced_maintenance_counts_neither_way(autojump_clock: MockClock) -> None:
    async with running(cells=6) as rig:
        await trio.sleep(240)
        path = f"/v1/cells/{rig.cells[0].identity.peer_id.hex()}/maintenance"
        await rig.operate("POST", path, {"window_s": 1800})
        rig.cells[0].beating = False
        await trio.sleep(1700)
        rig.cells[0].beating = True
        await trio.sleep(300)
        found, other = await figure(rig, 0), await figure(rig, 1)
        assert found["silent_s"] == 0
        assert 1740 <= other["watched_s"] - found["watched_s"] <= 1920


async def test_time_in_which_the_coordinator_was_cut_off_or_stood_still_is_not_watched(
    autojump_clock: MockClock,
) -> None:
    async with running(cells=6) as rig:
        await trio.sleep(300)
        before = await figure(rig, 5)
        for cell in rig.cells:
            cell.beating = False
        await trio.sleep(7200)
        for cell in rig.cells:
            cell.beating = True
        await trio.sleep(180)
        for number in range(6):
            found = await figure(rig, number)
            assert found["silent_s"] <= 15, "until it was clear"
            assert found["watched_s"] <= before["watched_s"] + 300


async def test_who_is_below_the_target_is_counted_in_metrics_and_named_in_status(
    autojump_clock: MockClock,
) -> None:
    async with running(cells=6) as rig:
        await trio.sleep(120)
        rig.cells[2].beating = False
        await trio.sleep(300)
        text = (await rig.http("GET", "/metrics")).text
        assert "alveary_cells_below_availability_target 1.0" in text
        assert "alveary_owners_below_availability_target 1.0" in text
        assert "owner-2" not in text, "labels are bounded"
        owners = (await rig.operate("GET", "/v1/status"))["owners"]
        assert (owners[0]["owner"], owners[0]["below_target"]) == ("owner-2", True)
        assert not any(each["below_target"] for each in owners[1:])
        line = next(line for line in text.splitlines() if line.startswith("alveary_cell_avail"))
        assert float(line.split()[1]) == pytest.approx(owners[0]["ratio"], abs=1e-5)


async def test_a_healthy_swarm_costs_one_row_a_minute(autojump_clock: MockClock) -> None:
    async with running(cells=6) as rig:
        await trio.sleep(1200)
        assert rig.one("SELECT count(*) FROM absences") == 0
        assert 1080 <= rig.one("SELECT value FROM counters WHERE name = 'watched_s'") <= 1210
