"""Cells that leave, rest, or are not trusted: decided over the operators' API, and durable."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from coordinator_rig import FakeCell, Rig, running
from trio.testing import MockClock

from common import limits
from coordinator.config import CoordinatorConfig
from coordinator.policy.pace import SAMPLES, Pace

REASON = "1 of 40 audits failed"


async def decide(rig: Rig, cell: FakeCell, decision: str, **body: Any) -> dict[str, Any]:
    path = f"/v1/cells/{cell.identity.peer_id.hex()[:16]}/{decision}"
    answer: dict[str, Any] = await rig.operate("POST", path, body)
    return answer


async def told(rig: Rig, cell: FakeCell) -> dict[str, Any]:
    answer: dict[str, Any] = await rig.operate("GET", f"/v1/cells/{cell.identity.peer_id.hex()}")
    listed = (await rig.operate("GET", "/v1/status"))["cells"]
    assert answer in listed
    return answer


async def is_written(rig: Rig, cell: FakeCell) -> bool:
    gateway = await rig.add_gateway(f"gateway-{trio.current_time()}")
    names = {each.cell_id for _ in range(20) for each in (await gateway.grant()).endpoints}
    return cell.identity.peer_id in names


async def is_logged(rig: Rig, event: str) -> bool:
    return f'event="{event}"' in (await rig.http("GET", "/metrics")).text


@pytest.mark.parametrize(
    ("begin", "body", "end", "end_body", "state"),
    [
        ("drain", {}, "drain", {"cancel": True}, "draining"),
        ("suspend", {"reason": REASON}, "resume", {}, "suspended"),
    ],
)
async def test_a_cell_that_leaves_or_is_suspended_is_read_and_not_written_also_after_a_restart(
    autojump_clock: MockClock,
    begin: str,
    body: dict[str, Any],
    end: str,
    end_body: dict[str, Any],
    state: str,
) -> None:
    async with running(cells=7) as rig:
        cell = rig.cells[0]
        gateway = await rig.add_gateway("first")
        await gateway.make_bucket()
        await gateway.put(b"name")
        answer = await decide(rig, cell, begin, **body)
        assert (answer["state"], answer["suspended"]) == (state, body.get("reason", ""))
        assert not await is_written(rig, cell)
        assert all((await gateway.get(b"name")).places[0].orders)
        await rig.restart()
        assert (await told(rig, cell))["state"] != "unheard", "it might be written to"
        await trio.sleep(7)
        assert (await told(rig, cell))["state"] == state
        assert not await is_written(rig, cell)
        assert (await decide(rig, cell, end, **end_body))["state"] == "alive"
        assert await is_written(rig, cell)
        await rig.restart()
        await trio.sleep(7)
        assert (await told(rig, cell))["state"] == "alive"


async def test_decisions_on_one_cell_do_not_undo_each_other(autojump_clock: MockClock) -> None:
    async with running(cells=7) as rig:
        cell = rig.cells[0]
        await decide(rig, cell, "suspend", reason=REASON)
        await decide(rig, cell, "drain")
        await decide(rig, cell, "maintenance", window_s=60)
        assert (await told(rig, cell))["state"] == "draining"
        assert (await decide(rig, cell, "drain", cancel=True))["state"] == "suspended"
        answer = await decide(rig, cell, "maintenance", cancel=True)
        assert (answer["suspended"], answer["maintenance_left_s"]) == (REASON, 0)
        assert (await decide(rig, cell, "resume"))["state"] == "alive"


async def test_a_cell_in_maintenance_is_not_lost_before_its_whole_time_after_the_window(
    autojump_clock: MockClock,
) -> None:
    async with running(cells=6, lost_after_s=300) as rig:
        cell = rig.cells[0]
        answer = await decide(rig, cell, "maintenance", window_s=1200)
        assert (answer["state"], answer["maintenance_left_s"]) == ("alive", 1200)
        cell.beating = False
        await trio.sleep(1190)
        assert (await told(rig, cell))["state"] == "maintenance"
        await trio.sleep(300)
        assert (await told(rig, cell))["state"] == "offline"
        await trio.sleep(20)
        assert (await told(rig, cell))["state"] == "lost"
        assert await is_logged(rig, "cell_lost")


async def test_a_window_begins_again_with_a_restart_and_not_once_it_was_over(
    autojump_clock: MockClock,
) -> None:
    async with running(cells=6, lost_after_s=300) as rig:
        cell = rig.cells[0]
        await decide(rig, cell, "maintenance", window_s=1200)
        cell.beating = False
        await trio.sleep(1100)
        await rig.restart()
        await trio.sleep(1100)
        assert (await told(rig, cell))["state"] == "maintenance"
        await trio.sleep(200)  # over, and a minute later the store knows it
        await rig.restart()
        await trio.sleep(20)
        assert (await told(rig, cell))["state"] == "offline"


async def test_a_cell_that_is_lost_says_so_and_is_alive_once_it_is_heard(
    autojump_clock: MockClock,
) -> None:
    async with running(cells=6, lost_after_s=60) as rig:
        cell = rig.cells[0]
        cell.beating = False
        await trio.sleep(50)
        assert (await told(rig, cell))["state"] == "offline"
        await trio.sleep(20)
        assert (await told(rig, cell))["state"] == "lost"
        assert 'alveary_cells{state="lost"} 1.0' in (await rig.http("GET", "/metrics")).text
        cell.beating = True
        await trio.sleep(6)
        assert (await told(rig, cell))["state"] == "alive"


async def test_most_cells_at_once_are_not_lost_and_the_operator_is_told(
    autojump_clock: MockClock,
) -> None:
    async with running(cells=6, lost_after_s=60) as rig:
        for cell in rig.cells[:4]:
            cell.beating = False
        await trio.sleep(600)
        status = await rig.operate("GET", "/v1/status")
        assert [each["state"] for each in status["cells"]] == ["offline"] * 4 + ["alive"] * 2
        assert status["most_cells_offline"]
        assert await is_logged(rig, "most_cells_offline")
        assert not await is_logged(rig, "cell_lost")
        for cell in rig.cells:
            cell.beating = True
        await trio.sleep(7)
        assert not (await rig.operate("GET", "/v1/status"))["most_cells_offline"]


@pytest.mark.parametrize(
    ("decision", "body"),
    [
        ("maintenance", {}),
        ("maintenance", {"window_s": 0}),
        ("maintenance", {"window_s": limits.MAX_MAINTENANCE_S + 1}),
        ("suspend", {"reason": "  "}),
        ("suspend", {"reason": "x" * (limits.MAX_SUSPENSION_CHARACTERS + 1)}),
        ("suspend", {}),
        ("drain", {"cancel": 1}),
    ],
)
async def test_a_decision_that_makes_no_sense_is_refused(
    autojump_clock: MockClock, decision: str, body: dict[str, Any]
) -> None:
    async with running(cells=3, redundancy="2/3") as rig:
        path = f"/v1/cells/{rig.cells[0].identity.peer_id.hex()}/{decision}"
        assert (await rig.http("POST", path, body)).status_code == 400
        assert (await told(rig, rig.cells[0]))["state"] == "alive"


async def test_nothing_is_decided_of_a_removed_cell_or_of_one_that_is_not_there(
    autojump_clock: MockClock,
) -> None:
    async with running(cells=4, redundancy="2/3") as rig:
        cell = rig.cells[0]
        await decide(rig, cell, "remove")
        path = f"/v1/cells/{cell.identity.peer_id.hex()}/drain"
        answer = await rig.http("POST", path, {})
        assert (answer.status_code, answer.json()["error"]) == (409, "cell_removed")
        assert (await rig.http("POST", f"/v1/cells/{'ff' * 32}/resume", {})).status_code == 404
        assert (await told(rig, cell))["state"] == "removed"


async def test_a_cell_that_drains_tells_what_is_left_and_where_there_is_no_place(
    autojump_clock: MockClock,
) -> None:
    async with running(cells=6) as rig:
        gateway = await rig.add_gateway()
        await gateway.make_bucket()
        for name in (b"a", b"b", b"c"):
            await gateway.put(name)
        assert (await told(rig, rig.cells[0]))["leaving"] is None
        left = (await decide(rig, rig.cells[0], "drain"))["leaving"]
        slots = len((await rig.operate("GET", "/v1/status"))["rings"])
        assert (left["held_slots"], left["moving_slots"], left["shards"]) == (slots, 0, 3)
        assert left["slots_without_place"] == slots
        assert not left["is_empty"]
        assert (await told(rig, rig.cells[0]))["leaving"] == left


async def test_a_cell_that_drains_tells_when_it_will_be_empty_at_the_pace_it_has(
    autojump_clock: MockClock,
) -> None:
    async with running(cells=6) as rig:
        gateway = await rig.add_gateway()
        await gateway.make_bucket()
        for number in range(12):
            await gateway.put(b"%d" % number)
        await decide(rig, rig.cells[0], "drain")
        await trio.sleep(90)
        assert (await told(rig, rig.cells[0]))["leaving"]["left_s"] is None, "nothing has moved"
        await gateway.open()
        await gateway.delete(b"0", b"1", b"2")  # as good as moved: it is not there to be moved
        await trio.sleep(150)
        left = (await told(rig, rig.cells[0]))["leaving"]
        assert left["shards"] == 9
        assert 300 <= left["left_s"] <= 700
        await decide(rig, rig.cells[0], "drain", cancel=True)
        assert (await told(rig, rig.cells[0]))["leaving"] is None


def test_a_pace_is_that_of_what_was_seen_lately() -> None:
    pace = Pace()
    assert pace.left_s() is None
    pace.note(0.0, 1000)
    assert pace.left_s() is None
    pace.note(60.0, 1000)
    assert pace.left_s() is None, "nothing gets less"
    pace.note(120.0, 1200)
    assert pace.left_s() is None, "it grows"
    for minute in range(1, SAMPLES + 1):
        pace.note(120.0 + 60 * minute, 1200 - 10 * minute)
    assert pace.left_s() == (1200 - 10 * SAMPLES) * 6


async def test_shards_that_slots_lack_do_not_count_where_a_removal_is_judged(
    autojump_clock: MockClock,
) -> None:
    async with running(cells=6) as rig:
        gateway = await rig.add_gateway()
        await gateway.make_bucket()
        segments = [await gateway.segment(durable=0b111111 & ~(1 << slot)) for slot in (4, 5)]
        for number, segment in enumerate(segments):
            await gateway.call(gateway.commit_of(b"%d" % number, [segment]))
        rig.cells[0].beating = False
        await trio.sleep(20)
        for cell in rig.cells[1:]:
            answer = await rig.http("POST", f"/v1/cells/{cell.identity.peer_id.hex()}/remove", {})
            assert (answer.status_code, answer.json()["error"]) == (409, "cell_is_needed")
        assert (await decide(rig, rig.cells[0], "remove"))["cell_id"], "it cannot be read anyway"


def test_the_time_until_a_cell_is_lost_is_not_shorter_than_until_it_is_offline() -> None:
    assert CoordinatorConfig.parse({"data": "x"}).lost_after_s == 900
    with pytest.raises(Exception, match="lost_after_s"):
        CoordinatorConfig.parse({"data": "x", "cell_timeout_s": 60, "lost_after_s": 59})
