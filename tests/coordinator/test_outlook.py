"""`alveary status` in words: what is wrong, what is done about it, and when it will be done."""

from dataclasses import replace

import pytest
import trio
from coordinator_rig import facts, running
from test_repair_round import MOVED_S, fill, put_some, swarm_of

from coordinator.policy.health import CellState
from coordinator.policy.margins import Margins
from coordinator.policy.outlook import Gravity, Look, Seen, SeenCell, SeenClass, Work, outlook_of
from coordinator.policy.pace import SAMPLES, Pace

CELL = SeenCell("3f2a", "bologna", "ada", silent_s=7200)
FENCED = SeenClass("COLD", "4/6", "2/4", 3, 6, ("rome",), is_writable=False)
WELL = Seen(known_cells=9, look=Look(Margins(2)))


def texts(seen: Seen) -> list[str]:
    return [each.text for each in outlook_of(seen).concerns]


def test_a_swarm_that_is_well_says_so_and_what_it_survives() -> None:
    found = outlook_of(WELL)
    assert found.is_healthy
    assert not found.concerns
    assert found.headline == (
        "healthy: 9 cells, everything can be read and written."
        " Least margin: 2 more losses are survived."
    )
    assert "not been looked at" in outlook_of(replace(WELL, look=None)).headline
    assert outlook_of(replace(WELL, look=Look())).headline == "healthy: 9 cells, no data yet"


def test_a_lost_cell_is_told_with_what_is_left_the_pace_and_the_time() -> None:
    look = Look(Margins(1))
    cell = replace(CELL, state=CellState.LOST, work=Work(1204, 12.0, 5300))
    found = outlook_of(replace(WELL, look=look, lost=[cell]))
    (concern,) = found.concerns
    assert concern.text == (
        "Cell 3f2a (site bologna, owner ada) has been lost for 2 h. 1,204 of 5,300 shards are still"
        " to be rebuilt, at 12 a second: about 1 min 40 s. Least margin: 1 more loss is survived."
    )
    assert found.headline == "WARNING: Cell 3f2a (site bologna, owner ada) has been lost for 2 h."
    assert not found.is_healthy


@pytest.mark.parametrize(
    ("work", "wanted"),
    [
        (Work(7, None, 5300), "7 of 5,300 shards are still to be rebuilt. How long that takes is"),
        (Work(7, None, 0, is_stuck=True), "Nothing of it got done in the last quarter of an hour."),
        (Work(7, 0.05), "7 shards are still to be rebuilt, at 3 a minute: about 2 min 20 s."),
        (Work(7, 0.0001), "at 8.6 a day: about 19 h 26 min."),
        (Work(1, 0.001), "1 shard is still to be rebuilt, at 4 an hour"),
    ],
)
def test_a_time_is_said_only_where_a_pace_is_known(work: Work, wanted: str) -> None:
    (text,) = texts(replace(WELL, lost=[replace(CELL, work=work)]))
    assert wanted in text


def test_a_lost_cell_that_nothing_depends_on_is_nothing_to_worry_about() -> None:
    found = outlook_of(replace(WELL, lost=[replace(CELL, work=Work(0))]))
    assert found.is_healthy
    assert "`alveary cell remove` it" in found.concerns[0].text


def test_the_gravest_comes_first_and_the_headline_counts_the_others() -> None:
    found = outlook_of(
        replace(
            WELL,
            look=Look(Margins(0, bare=3, bare_rings=1)),
            clocks_off=1,
            lost_segments=2,
            resting=[replace(CELL, left_s=60)],
        )
    )
    assert [each.name for each in found.concerns] == [
        "data_lost",
        "no_margin",
        "clock_off",
        "cell_rests",
    ]
    assert found.headline.startswith("CRITICAL: 2 segments of data are lost")
    assert found.headline.endswith("(and 2 other things)")
    assert [found.count(each) for each in Gravity] == [2, 1, 1]
    assert "3 segments and all segments of 1 ring can be read" in found.concerns[1].what


def test_many_cells_are_counted_and_not_named() -> None:
    cells = [replace(CELL, name=f"c{number}", state=CellState.OFFLINE) for number in range(50)]
    found = texts(replace(WELL, lost=cells, offline=cells, leaving=cells, read_only=cells))
    assert len(found) == 3 * 6 + 1
    assert sum("45 more cells" in each for each in found) == 4


def test_everything_that_can_be_wrong_is_said() -> None:
    cell = replace(CELL, remark="why")
    for change, name, wanted in (
        ({"standing": "do this", "is_behind": True}, "store_behind", "older copy"),
        ({"standing": "do this"}, "store_forked", "do this"),
        ({"store_fault": "low_space"}, "store_not_writable", "low_space"),
        ({"unwritable": "no_ring"}, "not_writable", "no_ring"),
        ({"is_cut_off": True}, "most_cells_offline", "cut off"),
        ({"look": Look(Margins(-1, unreadable=4))}, "unreadable", "4 segments cannot be read"),
        ({"look": Look(Margins(1), Work(1))}, "missing_shards", "1 shard is missing"),
        ({"look": Look(Margins(1), nowhere={1: 2, 2: 1})}, "slots_nowhere", "3 slots"),
        ({"leaving": [replace(cell, work=Work(0))]}, "cell_leaves", "can be removed"),
        ({"leaving": [replace(cell, work=Work(2, is_stuck=True))]}, "drain_stuck", "2 shards"),
        ({"leaving": [replace(cell, work=Work(2), without_place=1)]}, "drain_stuck", "Add cells"),
        ({"fallback": "2/4", "configured": "4/6"}, "class_fallen_back", "take class 2/4"),
        ({"fallback_segments": 3, "configured": "4/6"}, "class_fallen_back", "3 segments"),
        ({"classes": [FENCED]}, "class_not_writable", "3 can be written to on its sites (rome)"),
        (
            {"classes": [replace(FENCED, is_writable=True)]},
            "class_fallen_back",
            "written as 2/4, which tolerates as many losses as 4/6",
        ),
        ({"misplaced": 2}, "class_follows", "2 pieces of objects may not be"),
        ({"scans": 1}, "class_follows", "looked through"),
        (
            {"misplaced": 2, "look": Look(following=Work(2, 0.1))},
            "class_follows",
            "About 20 s",
        ),
        (
            {"misplaced": 2, "look": Look(following=Work(2, is_stuck=True))},
            "class_follows_not",
            "a gateway that has the keys",
        ),
        ({"read_only": [cell]}, "cell_read_only", "owner ada): why"),
        ({"host_rests": [cell]}, "host_rests", "owner ada): why"),
        ({"full": [cell]}, "cell_full", "Full: Cell 3f2a"),
        ({"failing": [cell]}, "disk_failing", "Drain"),
        ({"suspended": [cell]}, "cell_suspended", "why"),
        ({"warned": [cell]}, "cell_warned", "why"),
        ({"lost_shards": 3}, "volumes_lost", "3 shards"),
        ({"suspects": 3}, "suspect_shards", "3 shards"),
        ({"clocks_off": 1}, "clock_off", "1 cell differ"),
        ({"owners_below": ["ada"]}, "availability_low", "30 days: ada"),
        ({"resting": [replace(cell, left_s=60)]}, "cell_rests", "1 min more"),
        (
            {"offline": [replace(cell, state=CellState.OFFLINE, left_s=600)]},
            "cell_offline",
            "unless it is back within 10 min",
        ),
        ({"offline": [replace(cell, state=CellState.SUSPECT)]}, "cell_offline", "not written to"),
    ):
        seen = replace(WELL, **change)  # type: ignore[arg-type]  # fields of several types
        (concern,) = outlook_of(seen).concerns
        assert (concern.name, wanted in concern.text) == (name, True), concern.text


def test_lost_segments_are_not_said_to_come_back() -> None:
    seen = replace(WELL, look=Look(Margins(-1, unreadable=4)), lost_segments=4)
    assert [each.name for each in outlook_of(seen).concerns] == ["data_lost"]


def test_a_pace_begins_anew_when_more_is_lost_and_is_stuck_when_nothing_moves() -> None:
    pace = Pace()
    assert (pace.left, pace.per_s(), pace.is_stuck) == (None, None, False)
    for second, left in ((0, 100), (60, 40), (120, 400)):
        pace.note(second, left)
    assert pace.per_s() is None
    pace.note(180, 280)
    assert pace.per_s() == 2.0
    assert (pace.left, pace.is_stuck) == (280, False)
    for look in range(SAMPLES - 1):
        assert not pace.is_stuck
        pace.note(240 + 60 * look, 280)
    assert pace.is_stuck
    assert pace.per_s() is None
    pace.note(240 + 60 * SAMPLES, 279)
    assert not pace.is_stuck


async def outlook(rig) -> dict:
    return await rig.operate("GET", "/v1/status")


async def test_a_loss_is_told_from_the_silence_to_the_full_margin(autojump_clock: object) -> None:
    async with swarm_of(9) as rig:
        _, segments = await put_some(rig)
        await trio.sleep(40)
        told = await outlook(rig)
        assert told["outlook"]["healthy"], told["outlook"]
        assert told["margin"]["least"] == 2
        cell = rig.cells[0]
        held = rig.one(
            "SELECT count(*) FROM ring_slots r JOIN segments s ON s.ring = r.ring"
            " JOIN cells c ON c.cell = r.cell WHERE c.cell_id = ?",
            cell.identity.peer_id,
        )
        cell.beating = False
        await trio.sleep(40)
        told = await outlook(rig)
        assert told["outlook"]["concerns"][0]["name"] == "cell_offline"
        assert told["margin"]["least"] == 1
        await trio.sleep(MOVED_S)
        told = await outlook(rig)
        lost, missing = told["outlook"]["concerns"][:2]
        assert lost["name"] == "cell_lost"
        assert f"{held} " in lost["doing"]
        assert "not known yet" in lost["when"]
        assert missing["what"] == f"{held} shards are missing where they should be."
        assert told["repair"]["missing_shards"] == held
        text = (await rig.http("GET", "/metrics")).text
        assert "alveary_least_margin 1.0" in text
        assert f"alveary_missing_shards {held}.0" in text
        assert "alveary_repair_left_seconds -1.0" in text
        await fill(rig, segments)
        await trio.sleep(60)
        told = await outlook(rig)
        assert told["outlook"]["healthy"]
        assert told["outlook"]["concerns"][0]["name"] == "cell_lost"
        assert told["margin"]["least"] == 2
        text = (await rig.http("GET", "/metrics")).text
        assert "alveary_repair_left_seconds 0.0" in text
        assert 'alveary_concerns{gravity="warning"} 0.0' in text


async def test_a_coordinator_that_has_just_started_raises_no_alarm(autojump_clock: object) -> None:
    async with swarm_of(6) as rig:
        await put_some(rig, 2)
        await rig.restart()
        told = await outlook(rig)
        assert told["outlook"]["healthy"], told["outlook"]
        await trio.sleep(1)
        assert (await outlook(rig))["margin"]["least"] == 2


async def test_the_pace_of_repair_gives_its_time(autojump_clock: object) -> None:
    async with swarm_of(9) as rig:
        await put_some(rig, 30)
        rig.cells[0].beating = False
        await trio.sleep(MOVED_S + 40)
        before = (await outlook(rig))["repair"]["missing_shards"]
        struck = sorted(rig.sql("SELECT segment_id, slot FROM missing_shards"))[: before // 2]
        assert struck
        for each in struck:
            rig.node.databases["coordinator.sqlite"].connection.execute(
                "DELETE FROM missing_shards WHERE segment_id = ? AND slot = ?", each
            )
        await trio.sleep(40)
        told = await outlook(rig)
        repair = told["repair"]
        assert repair["missing_shards"] == before - len(struck)
        assert repair["per_s"] > 0
        assert repair["left_s"] == pytest.approx(
            repair["missing_shards"] / repair["per_s"], abs=0.05 * repair["left_s"] + 1
        )
        assert "about" in told["outlook"]["concerns"][0]["doing"]


async def test_slots_that_have_nowhere_to_go_are_told(autojump_clock: object) -> None:
    async with swarm_of(6) as rig:
        await put_some(rig)
        rig.cells[0].beating = False
        await trio.sleep(MOVED_S + 40)
        told = await outlook(rig)
        names = {each["name"] for each in told["outlook"]["concerns"]}
        assert {"cell_lost", "slots_nowhere"} <= names
        assert told["repair"]["slots_nowhere"] > 0
        metrics = (await rig.http("GET", "/metrics")).text
        assert f"alveary_slots_nowhere {told['repair']['slots_nowhere']}.0" in metrics


async def test_a_repair_that_stands_still_is_said_to(autojump_clock: object) -> None:
    async with swarm_of(9) as rig:
        await put_some(rig)
        rig.cells[0].beating = False
        await trio.sleep(MOVED_S + 1100)
        told = await outlook(rig)
        assert told["repair"]["is_stuck"]
        assert any("last quarter" in each["when"] for each in told["outlook"]["concerns"])
        assert "alveary_repair_stuck 1.0" in (await rig.http("GET", "/metrics")).text


@pytest.mark.parametrize("reason", ["quiet_hours", "transit_used"])
async def test_cells_that_rest_by_the_rules_of_their_hosts_are_a_notice(
    reason: str, autojump_clock: object
) -> None:
    async with running(cells=7) as rig:
        rig.cells[0].facts = replace(facts(read_only=True), read_only_reason=reason)
        await trio.sleep(20)
        (found,) = (await outlook(rig))["outlook"]["concerns"]
        assert (found["name"], found["gravity"]) == ("host_rests", "notice")
        assert reason in found["what"]


async def test_cells_that_cannot_be_written_are_named(autojump_clock: object) -> None:
    async with running(cells=7) as rig:
        rig.cells[0].facts = replace(facts(read_only=True), read_only_reason="no_space")
        await trio.sleep(20)
        found = (await outlook(rig))["outlook"]["concerns"]
        assert [each["name"] for each in found] == ["cell_read_only"]
        assert "no_space" in found[0]["what"]
        rig.cells[1].facts = replace(facts(read_only=True), read_only_reason="quiet_hours")
        await trio.sleep(20)
        text = (await rig.http("GET", "/metrics")).text
        assert 'alveary_cells{state="read_only"} 2.0' in text
        assert "alveary_cells_resting 1.0" in text
