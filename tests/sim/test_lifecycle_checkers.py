"""Checkers of clients that set rules: what may be gone, must be gone, and may be answered."""

from __future__ import annotations

from dataclasses import replace

import pytest
import trio
from trio.testing import MockClock

from sim.checkers.clocks import ClockBook
from sim.checkers.lifecycle import (
    DAY_S,
    FAR_AHEAD,
    LONG_AGO,
    Aged,
    AgedVersion,
    Row,
    Rule,
    due_rows,
    end_ms,
    may_be_gone,
    rule_of,
)
from sim.checkers.settings import Setting
from sim.world import SimWorld

DAY_MS = 1000 * DAY_S
NEVER = float("inf")
OLD = Rule("old/", noncurrent_days=1, newer=1, removes_markers=True)
TURN = Rule("turn/", days=1, noncurrent_days=1)


def version(name: str, at_ms: int, size: int | None = 1, *, is_locked: bool = False) -> AgedVersion:
    return AgedVersion(name, at_ms, size, is_locked)


@pytest.mark.parametrize(
    ("rule", "size", "end"),
    [
        (Rule("", days=1), 1, 2 * DAY_MS),
        (Rule("", days=2), 1, 3 * DAY_MS),
        (Rule("", days=1, is_enabled=False), 1, NEVER),
        (Rule("", date=LONG_AGO), 1, 0),
        (Rule("", date=FAR_AHEAD), 1, NEVER),
        (Rule("", days=1, larger_than=1), 1, NEVER),
        (Rule("", days=1, larger_than=1), 2, 2 * DAY_MS),
        (Rule("", noncurrent_days=1), 1, NEVER),
    ],
)
def test_an_object_expires_when_its_rule_says_so(rule: Rule, size: int, end: float) -> None:
    assert rule.expires_ms(1, size) == end


def test_a_day_ends_at_the_next_midnight() -> None:
    assert end_ms(0, 1) == 2 * DAY_MS
    assert end_ms(DAY_MS - 1, 1) == 2 * DAY_MS
    assert end_ms(DAY_MS, 1) == 3 * DAY_MS


def test_a_key_without_a_rule_has_one_that_does_nothing() -> None:
    assert rule_of((OLD, TURN), "turn/1") is TURN
    assert rule_of((OLD, TURN), "kept/1").expires_ms(0, 1) == NEVER


# Three versions, written in days 0, 1 and 2; the latest first.
THREE = Aged([version("c", 2 * DAY_MS), version("b", DAY_MS), version("a", 0)])


@pytest.mark.parametrize(
    ("rule", "key", "day", "gone"),
    [
        # Of one noncurrent version that stays, the older one goes when its successor is old enough.
        (OLD, THREE, 2.9, []),
        (OLD, THREE, 3, ["a"]),
        (OLD, THREE, 9, ["a"]),
        # A write without an answer may be a version above, or a marker.
        (OLD, replace(THREE, loose_ms=2 * DAY_MS), 4, ["b", "a"]),
        # A lock holds whatever the rule says.
        (OLD, Aged([*THREE.versions[:2], version("a", 0, is_locked=True)]), 9, []),
        # What is current goes after it expired, under a marker that nobody saw.
        (TURN, THREE, 5.9, ["b", "a"]),
        (TURN, THREE, 6, ["c", "b", "a"]),
        # So does what had expired before something was written above it.
        (TURN, Aged([version("b", 9 * DAY_MS), version("a", 0)]), 3.9, []),
        (TURN, Aged([version("b", 9 * DAY_MS), version("a", 0)]), 4, ["a"]),
        (Rule("kept/"), THREE, 99, []),
        # A marker goes when nothing is left under it.
        (OLD, Aged([version("m", DAY_MS, None), version("a", 0)]), 9, []),
        (replace(OLD, newer=0), Aged([version("m", DAY_MS, None), version("a", 0)]), 9, ["m", "a"]),
        (Rule("kept/"), Aged([version("m", DAY_MS, None)]), 9, []),
        (OLD, Aged([version("m", DAY_MS, None)]), 1, ["m"]),
    ],
)
def test_what_a_rule_may_have_taken(rule: Rule, key: Aged, day: float, gone: list[str]) -> None:
    now_ms = int(day * DAY_MS)
    found = [
        each.version
        for number, each in enumerate(key.versions)
        if may_be_gone(rule, key, number, now_ms, 0)
    ]
    assert found == gone


def test_a_clock_that_was_set_back_lets_a_version_go_earlier() -> None:
    assert not may_be_gone(TURN, THREE, 0, 5 * DAY_MS, 0)
    assert may_be_gone(TURN, THREE, 0, 5 * DAY_MS, 2 * DAY_MS)


@pytest.mark.parametrize(
    ("rows", "day", "due"),
    [
        ([Row("kept/1", "a", 0, 1)], 99, []),
        ([Row("turn/1", "a", 0, 1)], 1.9, []),
        ([Row("turn/1", "a", 0, 1)], 2, ["a"]),
        ([Row("turn/1", "m", DAY_MS, None), Row("turn/1", "a", 0, 1)], 2.9, []),
        ([Row("turn/1", "m", DAY_MS, None), Row("turn/1", "a", 0, 1)], 3, ["a"]),
        ([Row("turn/1", "m", DAY_MS, None), Row("turn/1", "locked", 0, 1)], 3, []),
        ([Row("turn/1", "m", DAY_MS, None)], 3, ["m"]),
        ([Row("old/1", "m", DAY_MS, None)], 1, ["m"]),
        ([Row("old/1", "m", DAY_MS, None), Row("old/1", "a", 0, 1)], 99, []),
        ([Row("old/1", each, 0, 1) for each in "cba"], 2, ["a"]),
        ([Row("old/1", "a", 0, 1), Row("old/2", "a", 0, 1)], 99, []),
    ],
)
def test_what_a_rule_must_have_taken(rows: list[Row], day: float, due: list[str]) -> None:
    found = due_rows((OLD, TURN), rows, {"locked"}, int(day * DAY_MS))
    assert [each.split()[1] for each in found] == due


async def test_a_setting_counts_until_gateways_have_forgotten_it(autojump_clock: MockClock) -> None:
    setting = Setting(True, 10.0)
    spell = setting.asked(False)
    assert setting.possible(trio.current_time()) == {True, False}
    setting.answered(spell)
    asked_s = trio.current_time()
    await trio.sleep(11)
    assert setting.possible(asked_s) == {True, False}
    assert setting.possible(trio.current_time()) == {False}


async def test_a_change_without_an_answer_may_follow_any_other(autojump_clock: MockClock) -> None:
    setting = Setting("a")
    setting.asked("b")
    setting.answered(setting.asked("c"))
    await trio.sleep(1)
    assert setting.possible(trio.current_time()) == {"b", "c"}
    setting.settled("d")
    await trio.sleep(1)
    assert setting.possible(trio.current_time()) == {"d"}
    setting.refused(setting.asked("e"))
    assert setting.possible(trio.current_time()) == {"d"}


async def test_clocks_are_known_with_all_their_steps(autojump_clock: MockClock) -> None:
    swarm = SimWorld(1)
    gateways = [swarm.node("gateway-0"), swarm.node("gateway-1")]
    coordinator = swarm.node("coordinator")
    book = ClockBook(gateways, [coordinator])
    begun_ms = book.now_ms()
    await trio.sleep(10)
    gateways[1].clock_offset_s = 3600.0
    await trio.sleep(10)
    # One clock that is ahead alone judges nothing.
    assert book.judged_ms() == begun_ms + 20_000
    coordinator.clock_offset_s = 60.0
    began_s = trio.current_time()
    await trio.sleep(10)
    assert book.judged_ms() == begun_ms + 90_000
    assert book.now_ms() == begun_ms + 30_000
    coordinator.clock_offset_s = 0.0
    gateways[1].clock_offset_s = -60.0
    await trio.sleep(1)
    assert book.judged_ms() == begun_ms + 90_000
    assert book.now_ms() == begun_ms - 29_000
    assert book.earliest_ms(0, began_s) == begun_ms + 20_000
    assert book.earliest_ms(1, began_s) == begun_ms + 20_000 - 60_000
    assert book.swing_ms() == 3_660_000
