"""Notifications are delivered at least once and in order for each key, wherever a gateway dies and
whatever a receiver does."""

from __future__ import annotations

import random
from collections import defaultdict
from itertools import pairwise
from typing import Any

import pytest
import trio
import versions_client as v
from gateway_rig import Rig
from notifications_client import (
    deliver,
    listen,
    notifier,
    put_rules,
    rule,
    set_rules,
    waiting,
)
from thoroughness import quick_or
from trio.testing import MockClock

from common import limits
from common.wire import messages as m
from gateway.notifying import post

ALL = ("s3:ObjectCreated:*", "s3:ObjectRemoved:*")
DAY_MS = 86_400_000


@pytest.fixture
async def rig() -> Rig:
    made = Rig()
    await made.put("/bucket", b"")
    return made


def count(rig: Rig, outcome: str) -> float:
    value = rig.backend.metrics.registry.get_sample_value(
        "alveary_gateway_notifications_total", {"outcome": outcome}
    )
    return value or 0.0


def lane(rig: Rig) -> dict[str, int]:
    """What the store counts of the one lane there is."""
    (row,) = rig.coordinators.sql.execute(
        "SELECT waiting, dropped, given_up FROM notification_lanes"
    ).fetchall()
    return dict(zip(("waiting", "dropped", "given_up"), row, strict=True))


class Died(Exception):
    """The gateway did."""


@pytest.mark.parametrize("seed", quick_or(range(3), range(60)))
async def test_gateways_that_die_anywhere_lose_no_event_and_keep_the_order(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(seed)
    monkeypatch.setattr(limits, "NOTIFICATIONS_PAGE", chance.choice((1, 3, 100)))
    rig = Rig(seed)
    await rig.put("/bucket", b"")
    beside = Rig(beside=rig)
    receiver = listen(rig)
    listen(beside, receiver)
    await set_rules(rig, rule(*ALL))
    happened: list[tuple[str, str]] = []
    answer = rig.coordinators.handle
    left = 0

    def may_die() -> None:
        nonlocal left
        left -= 1
        if not left:
            raise Died

    async def before() -> None:
        await trio.lowlevel.checkpoint()
        may_die()

    def answers(document: dict[str, Any]) -> int | None:
        return chance.choice((200, 200, 204, 500, 429, 400, None))

    async def handle(caller: Any, request: Any, payload: memoryview) -> Any:
        if type(request).__name__.startswith("Notifications"):
            may_die()
            reply = await answer(caller, request, payload)
            may_die()
            return reply
        return await answer(caller, request, payload)

    monkeypatch.setattr(rig.coordinators, "handle", handle)
    receiver.before, receiver.answers = before, answers
    deaths = 0
    for _ in range(60):
        key = f"key{chance.randrange(4)}"
        if chance.random() < 0.7:
            await rig.put(f"/bucket/{key}", b"x")
            happened.append(("ObjectCreated:Put", key))
        elif any(key == other for _, other in happened):
            there = (await v.live(rig)).count(key)
            await v.delete(rig, key)
            happened += [("ObjectRemoved:Delete", key)] * there
        left = chance.randrange(1, 12)
        try:
            await deliver(chance.choice((rig, beside)))
        except* Died:
            deaths += 1
            rig.coordinators.end_leases()
            rig.coordinators.lease.held = 0
    assert deaths
    left = 0
    receiver.answers = lambda _: 200
    await deliver(rig)
    assert waiting(rig) == 0
    first: dict[str, list[str]] = defaultdict(list)
    last: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for record in receiver.records:
        key, at = record["s3"]["object"]["key"], record["s3"]["object"]["sequencer"]
        if at not in first[key]:
            first[key].append(at)
            last[key].append((record["eventName"], key))
    for key, seen in first.items():
        assert seen == sorted(seen), "but for repetitions they come in order"
        assert last[key] == [each for each in happened if each[1] == key], "each of them"
    assert sum(map(len, first.values())) == len(happened)


async def test_a_repetition_has_the_same_id(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    receiver = listen(rig)
    await set_rules(rig, rule(*ALL))
    receiver.seen.clear()
    await rig.put("/bucket/key", b"")
    receiver.answers = lambda _: 503
    await deliver(rig)
    receiver.answers = lambda _: 200
    await deliver(rig)
    await deliver(rig)
    one, other = receiver.seen
    assert one == other
    assert (count(rig, "refused"), count(rig, "delivered")) == (1, 1)


async def test_a_commit_that_is_sent_again_tells_once(rig: Rig) -> None:
    receiver = listen(rig)
    await set_rules(rig, rule(*ALL))
    await rig.put("/bucket/key", b"")
    (commit,) = [each for each in rig.coordinators.requests if isinstance(each, m.ObjectCommit)]
    await rig.coordinators.ask(commit)
    await deliver(rig)
    assert receiver.told == [("ObjectCreated:Put", "key")]


async def test_a_key_whose_event_is_refused_waits_and_others_do_not(
    rig: Rig, autojump_clock: MockClock
) -> None:
    receiver = listen(rig)
    await set_rules(rig, rule(*ALL))
    for key in ("bad", "good", "bad", "good"):
        await rig.put(f"/bucket/{key}", b"")

    refused: list[str] = []

    def answers(document: dict[str, Any]) -> int:
        told = document["Records"][0]["s3"]["object"]
        if told["key"] == "good" or (refused and told["sequencer"] not in refused):
            return 200
        refused.append(told["sequencer"])
        return 422

    receiver.answers = answers
    delivering = notifier(rig)
    await delivering._look()
    assert receiver.told == [("ObjectCreated:Put", "good")] * 2
    tried = len(receiver.seen)
    await delivering._look()
    assert len(receiver.seen) == tried, "not before its time"
    await trio.sleep(limits.WEBHOOK_RETRY_MIN_S)
    receiver.answers = lambda _: 200
    await delivering._look()
    assert receiver.told[2:] == [("ObjectCreated:Put", "bad")] * 2


async def test_a_receiver_that_is_gone_is_asked_ever_more_rarely_and_holds_up_no_other(
    rig: Rig, autojump_clock: MockClock
) -> None:
    receiver = listen(rig, None, "hook", "other")
    await set_rules(
        rig,
        rule("s3:ObjectCreated:*", prefix="a"),
        rule("s3:ObjectCreated:*", prefix="b", arn="arn:aws:sqs:::other"),
    )
    moments: list[float] = []

    def answers(document: dict[str, Any]) -> int | None:
        if document["Records"][0]["s3"]["object"]["key"].startswith("b"):
            return 200
        moments.append(trio.current_time())
        return None

    receiver.answers = answers
    receiver.taken.clear()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(notifier(rig).run)
        await trio.sleep(0.5)
        for number in range(200):
            await rig.put(f"/bucket/a{number % 3}", b"")
            await rig.put(f"/bucket/b{number}", b"")
            await trio.sleep(10)
        assert len(receiver.records) == 200
        pauses = [after - before for before, after in pairwise(moments)]
        assert all(after >= before / 2 for before, after in pairwise(pauses))
        assert 100 <= pauses[-1] <= limits.WEBHOOK_RETRY_MAX_S + 15
        assert 8 <= len(moments) <= 20
        receiver.answers = lambda _: 200
        await trio.sleep(limits.WEBHOOK_RETRY_MAX_S + 15)
        nursery.cancel_scope.cancel()
    assert len(receiver.records) == 400
    assert waiting(rig) == 0


async def test_what_is_committed_is_delivered_at_once(rig: Rig, autojump_clock: MockClock) -> None:
    receiver = listen(rig)
    await set_rules(rig, rule(*ALL))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(notifier(rig).run)
        await trio.sleep(25)
        await rig.put("/bucket/key", b"")
        await trio.sleep(0.5)
        assert receiver.told == [("ObjectCreated:Put", "key")]
        nursery.cancel_scope.cancel()


async def test_a_receiver_that_never_answers_is_left_in_time(
    rig: Rig, autojump_clock: MockClock
) -> None:
    receiver = listen(rig)
    await set_rules(rig, rule(*ALL))
    await rig.put("/bucket/key", b"")
    receiver.before = trio.sleep_forever
    begun = trio.current_time()
    await deliver(rig)
    assert trio.current_time() - begun == pytest.approx(limits.WEBHOOK_TIMEOUT_S)
    assert waiting(rig) == 1
    assert (await put_rules(rig, rule(*ALL))).code == "InvalidArgument"
    webhook = rig.backend.webhooks and rig.backend.webhooks.get("hook", rig.tenant.tenant_id)
    assert webhook is not None
    assert await post(receiver, webhook, "id", 0, b"") is None


async def test_a_tenant_has_so_many_waiting_at_most_and_what_is_dropped_is_counted(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MAX_NOTIFICATIONS_PER_TENANT", 3)
    receiver = listen(rig)
    await set_rules(rig, rule(*ALL))
    for number in range(5):
        await rig.put(f"/bucket/{number}", b"")
    assert lane(rig) == {"waiting": 3, "dropped": 2, "given_up": 0}
    assert waiting(rig) == 3
    assert len(await v.live(rig)) == 5, "no request fails for it"
    await deliver(rig)
    assert sorted(key for _, key in receiver.told) == ["0", "1", "2"]
    await rig.put("/bucket/6", b"")
    assert lane(rig) == {"waiting": 1, "dropped": 2, "given_up": 0}


async def test_what_was_not_delivered_in_time_is_given_up_and_counted(rig: Rig) -> None:
    receiver = listen(rig)
    await set_rules(rig, rule(*ALL))
    await rig.put("/bucket/old", b"")
    rig.coordinators.node.clock_offset_s += limits.NOTIFICATION_LIFE_MS / 1000 + 1
    await deliver(rig)
    assert receiver.told, "a clock that is ahead alone gives nothing up"
    await rig.put("/bucket/old", b"")
    receiver.answers = lambda _: 500
    for node in (rig.node, rig.coordinators.node):
        node.clock_offset_s += 3 * limits.NOTIFICATION_LIFE_MS / 1000
    await rig.put("/bucket/new", b"")
    await deliver(rig)
    assert lane(rig) == {"waiting": 1, "dropped": 0, "given_up": 1}
    assert count(rig, "given_up") == 1


async def test_notifications_outlive_their_bucket(rig: Rig) -> None:
    receiver = listen(rig)
    await set_rules(rig, rule(*ALL))
    await rig.put("/bucket/key", b"")
    await v.delete(rig, "key")
    assert (await rig.ask("DELETE", "/bucket")).status == 204
    assert waiting(rig) == 2
    await rig.put("/bucket", b"")
    await deliver(rig)
    assert len(receiver.told) == 2
    rows = rig.coordinators.sql.execute("SELECT count(*) FROM notification_lanes").fetchone()
    assert rows == (0,)


async def test_a_receiver_that_this_gateway_does_not_know_is_left_to_others(rig: Rig) -> None:
    receiver = listen(rig)
    await set_rules(rig, rule(*ALL))
    await rig.put("/bucket/key", b"")
    other = Rig(beside=rig)
    listen(other, receiver, "another")
    await deliver(other)
    assert waiting(rig) == 1
    await deliver(rig)
    assert receiver.told == [("ObjectCreated:Put", "key")]


@pytest.mark.parametrize("status", [500, None])
async def test_an_event_at_which_its_receiver_fails_holds_up_no_other(
    rig: Rig, autojump_clock: MockClock, status: int | None
) -> None:
    receiver = listen(rig)
    await rig.put("/second", b"")
    for bucket in ("bucket", "second"):
        await set_rules(rig, rule(*ALL), bucket=bucket)
    for key in ("bad", *map(str, range(50)), "bad"):
        await rig.put(f"/bucket/{key}", b"")
    await rig.put("/second/other", b"")
    receiver.taken.clear()
    tried: list[str] = []

    def answers(document: dict[str, Any]) -> int | None:
        told = document["Records"][0]["s3"]["object"]
        if told["key"] != "bad":
            return 200
        tried.append(told["sequencer"])
        return status

    receiver.answers = answers
    async with trio.open_nursery() as nursery:
        nursery.start_soon(notifier(rig).run)
        await trio.sleep(5)
        assert sorted(key for _, key in receiver.told) == sorted([*map(str, range(50)), "other"])
        await trio.sleep(1200)
        assert len(set(tried)) == 1, "what comes behind it waits"
        assert 4 <= len(tried) <= 16, "it is tried ever more rarely"
        receiver.answers = lambda _: 200
        await trio.sleep(limits.WEBHOOK_RETRY_MAX_S + 15)
        nursery.cancel_scope.cancel()
    assert receiver.told[51:] == [("ObjectCreated:Put", "bad")] * 2


@pytest.mark.parametrize("keys", [1, 500])
async def test_a_receiver_that_is_slow_holds_up_no_other(
    rig: Rig, autojump_clock: MockClock, keys: int
) -> None:
    receiver = listen(rig)
    await rig.put("/second", b"")
    for bucket in ("bucket", "second"):
        await set_rules(rig, rule(*ALL), bucket=bucket)
    for number in range(500):
        await rig.put(f"/bucket/{number % keys}", b"")
    await rig.put("/second/other", b"")
    receiver.taken.clear()

    def answers(document: dict[str, Any]) -> int:
        if document["Records"][0]["s3"]["object"]["key"] == "other":
            moments.append(trio.current_time())
        return 200

    async def slow() -> None:
        await trio.sleep(0.9 * limits.WEBHOOK_TIMEOUT_S)

    moments: list[float] = []
    receiver.answers, receiver.before = answers, slow
    begun = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(notifier(rig).run)
        await trio.sleep(3 * limits.NOTIFICATION_TURN_S + limits.WEBHOOK_TIMEOUT_S)
        assert moments, "lanes take turns"
        await trio.sleep(600 * limits.WEBHOOK_TIMEOUT_S)
        nursery.cancel_scope.cancel()
    assert len(receiver.records) == 501
    by_key = defaultdict(list)
    for record in receiver.records:
        told = record["s3"]["object"]
        by_key[told["key"]].append(told["sequencer"])
    assert all(seen == sorted(seen) for seen in by_key.values())
    assert trio.current_time() - begun < 7000
    assert waiting(rig) == 0


async def test_a_gateway_whose_last_receiver_was_taken_away_rests(
    rig: Rig, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver = listen(rig)
    await set_rules(rig, rule(*ALL))
    await rig.put("/bucket/key", b"")
    receiver.answers = lambda _: 503
    webhooks, looks = rig.backend.webhooks, 0
    assert webhooks is not None

    async def reload() -> None:
        nonlocal looks
        looks += 1
        assert looks < 1000, "without a pause no time goes by"

    monkeypatch.setattr(webhooks, "reload", reload)
    with trio.move_on_after(100):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(notifier(rig).run)
            await trio.sleep(20)
            webhooks._known = {}
    assert looks < 100


async def test_a_lane_is_at_one_gateway_while_its_lease_lives(rig: Rig) -> None:
    listen(rig)
    await set_rules(rig, rule(*ALL))
    await rig.put("/bucket/key", b"")
    held = await rig.coordinators.lease.number()
    taken: m.NotificationsTurn = await rig.coordinators.ask(m.NotificationsTake(held))
    assert taken.lane is not None
    # The same caller with another lease is another gateway to the coordinator.
    second = await rig.coordinators.ask(m.LeaseRenew(0))
    turn: m.NotificationsTurn = await rig.coordinators.ask(m.NotificationsTake(second.lease))
    assert turn == m.NotificationsTurn(False)
    rig.coordinators.end_leases()
    third = await rig.coordinators.ask(m.LeaseRenew(0))
    turn = await rig.coordinators.ask(m.NotificationsTake(third.lease))
    assert turn.lane == taken.lane


async def test_a_gateway_that_is_not_heard_any_more_is_left_no_lane(
    rig: Rig, autojump_clock: MockClock
) -> None:
    listen(rig)
    await set_rules(rig, rule(*ALL))
    await rig.put("/bucket/key", b"")
    first = (await rig.coordinators.ask(m.LeaseRenew(0))).lease
    second = (await rig.coordinators.ask(m.LeaseRenew(0))).lease
    taken: m.NotificationsTurn = await rig.coordinators.ask(m.NotificationsTake(first))
    assert taken.lane is not None
    ask = m.NotificationsList(rig.tenant.tenant_id, first, taken.lane.number, 0)
    for _ in range(3):
        await trio.sleep(0.9 * limits.NOTIFICATION_LANE_PATIENCE_S)
        await rig.coordinators.ask(m.LeaseRenew(first))
        await rig.coordinators.ask(m.LeaseRenew(second))
        assert (await rig.coordinators.ask(m.NotificationsTake(second))).lane is None
        await rig.coordinators.ask(ask)
    await trio.sleep(1.1 * limits.NOTIFICATION_LANE_PATIENCE_S)
    assert (await rig.coordinators.ask(m.NotificationsTake(second))).lane == taken.lane
    await rig.coordinators.ask(ask)
    assert (await rig.coordinators.ask(m.NotificationsTake(first))).lane is None


async def test_nothing_of_another_tenant_is_shown_or_dropped(rig: Rig) -> None:
    listen(rig)
    await set_rules(rig, rule(*ALL))
    await rig.put("/bucket/key", b"")
    other = next(each for each in rig.tenants if each != rig.tenant.tenant_id)
    (number,) = rig.coordinators.sql.execute("SELECT lane FROM notification_lanes").fetchone()
    page = await rig.coordinators.ask(m.NotificationsList(other, 0, number, 0))
    assert page.waiting == ()
    own = await rig.coordinators.ask(m.NotificationsList(rig.tenant.tenant_id, 0, number, 0))
    numbers = tuple(each.number for each in own.waiting)
    await rig.coordinators.ask(m.NotificationsEnd(other, number, numbers, ()))
    assert waiting(rig) == 1
    await rig.coordinators.ask(m.NotificationsEnd(rig.tenant.tenant_id, number, numbers, numbers))
    await rig.coordinators.ask(m.NotificationsEnd(rig.tenant.tenant_id, number, numbers, ()))
    assert waiting(rig) == 0
    assert lane(rig) == {"waiting": 0, "dropped": 0, "given_up": 0}
