"""Objects expire by their rules: just what is due, whatever comes between, and wherever a gateway
dies on the way."""

from __future__ import annotations

import base64
import hashlib
import random
from collections.abc import Mapping
from typing import Any

import pytest
import trio
import versions_client as v
from gateway_rig import Rig
from lifecycle_client import DAY_S, days, expirer, pass_days, rule, run, set_rules
from thoroughness import quick_or
from trio.testing import MockClock

from common import limits
from common.errors import Unavailable
from common.reasons import Outage
from common.wire import messages as m

TAG = "<Tag><Key>{}</Key><Value>{}</Value></Tag>"
NONCURRENT = "<NoncurrentDays>{}</NoncurrentDays>"
ABORT = "<DaysAfterInitiation>{}</DaysAfterInitiation>"
MARKERS = "<ExpiredObjectDeleteMarker>true</ExpiredObjectDeleteMarker>"


@pytest.fixture
async def rig() -> Rig:
    made = Rig()
    await made.put("/bucket", b"")
    return made


async def put_all(rig: Rig, *keys: str, headers: Mapping[str, str] | None = None) -> None:
    for key in keys:
        await rig.put(f"/bucket/{key}", b"content", headers)


def expired(rig: Rig, what: str) -> float:
    value = rig.backend.metrics.registry.get_sample_value(
        "alveary_gateway_expired_total", {"what": what}
    )
    return value or 0.0


async def test_what_is_due_is_deleted_and_nothing_else(rig: Rig) -> None:
    await set_rules(
        rig,
        rule(prefix="logs/", Expiration=days(2)),
        rule(Filter=TAG.format("keep", "no"), Expiration=days(2)),
        rule(status="Disabled", Expiration=days(1)),
    )
    await put_all(rig, "logs/a", "logs/b", "data/a")
    await put_all(rig, "data/tagged", headers={"x-amz-tagging": "keep=no"})
    await put_all(rig, "data/other", headers={"x-amz-tagging": "keep=yes"})
    await run(rig)
    assert len(await v.live(rig)) == 5
    pass_days(rig, 1.7)
    await put_all(rig, "logs/b", "logs/c")
    pass_days(rig, 1.0)
    await run(rig)
    assert await v.live(rig) == ["data/a", "data/other", "logs/b", "logs/c"]
    assert expired(rig, "current") == 2
    pass_days(rig, 2)
    await run(rig)
    assert await v.live(rig) == ["data/a", "data/other"]
    assert rig.coordinators.sql.execute("SELECT last_deleted FROM lifecycles").fetchall() == [(2,)]


async def test_a_run_costs_one_question_until_it_is_due_again(rig: Rig) -> None:
    tags = f"<Tagging><TagSet>{TAG.format('a', 'b')}</TagSet></Tagging>".encode()
    given = {"content-md5": base64.b64encode(hashlib.md5(tags).digest()).decode()}
    assert (await rig.ask("PUT", "/bucket", "tagging=", tags, given)).status == 204
    await run(rig)
    assert rig.coordinators.calls.count("LifecycleTake") == 1, "no rules, though other settings"
    await set_rules(rig, rule(Expiration=days(1)))
    await run(rig)
    before = len(rig.coordinators.calls)
    await run(rig)
    assert rig.coordinators.calls[before:] == ["LifecycleTake"]
    pass_days(rig, 1)
    await run(rig)
    assert rig.coordinators.calls[before + 1 :].count("VersionsList") == 1


async def test_versions_expire_under_markers_and_markers_when_nothing_is_left(rig: Rig) -> None:
    await v.set_versioning(rig, "Enabled")
    await set_rules(
        rig,
        rule(Expiration=days(1)),
        rule(NoncurrentVersionExpiration=NONCURRENT.format(2)),
        rule(Expiration=MARKERS),
    )
    first, second = await v.put(rig, "key", b"1"), await v.put(rig, "key", b"2")
    pass_days(rig, 2)
    await run(rig)
    (marker, *rest) = await v.ids(rig, "key")
    assert marker.startswith("-")
    assert rest == [second, first]
    pass_days(rig, 1)
    await run(rig)
    assert (await v.ids(rig, "key"))[1:] == [second], "replaced two days before the other"
    pass_days(rig, 2)
    await run(rig)
    assert await v.ids(rig, "key") == [marker]
    pass_days(rig, 1)
    await run(rig)
    assert await v.ids(rig, "key") == []
    assert [expired(rig, what) for what in ("current", "noncurrent", "marker")] == [1, 2, 1]


@pytest.mark.parametrize("rows", [1, 2, limits.MAX_LIST_ENTRIES])
async def test_null_versions_expire_as_others_do_and_pages_change_nothing(
    rig: Rig, rows: int
) -> None:
    rig.coordinators.reply_rows = rows
    await put_all(rig, "a", "b")
    await v.set_versioning(rig, "Enabled")
    middle = await v.put(rig, "a", b"2")
    await v.set_versioning(rig, "Suspended")
    await v.put(rig, "c", b"3")
    await v.delete(rig, "b")
    retained = "<NewerNoncurrentVersions>1</NewerNoncurrentVersions>"
    await set_rules(
        rig,
        rule(prefix="a", NoncurrentVersionExpiration=NONCURRENT.format(1)),
        rule(prefix="b", Expiration=MARKERS),
        rule(prefix="c", NoncurrentVersionExpiration=NONCURRENT.format(1) + retained),
    )
    assert await v.ids(rig, "a") == [middle, "null"]
    assert await v.ids(rig, "b") == ["-null"]
    pass_days(rig, 2)
    await run(rig)
    assert await v.ids(rig, "a") == [middle]
    assert await v.ids(rig, "b") == []
    assert await v.ids(rig, "c") == ["null"]


@pytest.mark.parametrize("rows", [3, limits.MAX_LIST_ENTRIES])
async def test_the_newest_versions_are_retained_across_pages(rig: Rig, rows: int) -> None:
    rig.coordinators.reply_rows = rows
    await v.set_versioning(rig, "Enabled")
    made = [await v.put(rig, "key", b"%d" % number) for number in range(9)]
    alone = await v.put(rig, "l", b"")
    await set_rules(
        rig,
        rule(
            NoncurrentVersionExpiration=NONCURRENT.format(1)
            + "<NewerNoncurrentVersions>2</NewerNoncurrentVersions>"
        ),
    )
    pass_days(rig, 2)
    await run(rig)
    assert await v.ids(rig, "key") == [made[8], made[7], made[6]]
    assert await v.ids(rig, "l") == [alone]


async def test_uploads_that_are_due_are_aborted(rig: Rig) -> None:
    await set_rules(rig, rule(prefix="up", AbortIncompleteMultipartUpload=ABORT.format(1)))
    for key in ("up/a", "up/b", "other"):
        await rig.ask("POST", f"/bucket/{key}", "uploads=")
    await rig.put("/bucket/up/object", b"")
    pass_days(rig, 1)
    await rig.ask("POST", "/bucket/up/c", "uploads=")
    pass_days(rig, 1)
    await run(rig)
    listed = await rig.ask("GET", "/bucket", "uploads=")
    assert listed.texts("Upload/Key") == ["other", "up/c"]
    assert await v.live(rig) == ["up/object"]
    assert expired(rig, "upload") == 2


# --- what comes between -------------------------------------------------------------------------


async def between(rig: Rig, kind: type[m.Request], act: Any) -> None:
    """Do something before the next request of a kind is answered."""

    async def once(_: Any) -> None:
        rig.coordinators.faults.pop(kind)
        await act()

    rig.coordinators.faults[kind] = once


async def test_an_object_that_is_replaced_or_tagged_meanwhile_stays(rig: Rig) -> None:
    await set_rules(rig, rule(Filter=TAG.format("keep", "no"), Expiration=days(1)))
    await put_all(rig, "a", "b", "c", headers={"x-amz-tagging": "keep=no"})
    pass_days(rig, 2)

    async def change() -> None:
        await rig.put("/bucket/a", b"new", {"x-amz-tagging": "keep=no"})
        tags = f"<Tagging><TagSet>{TAG.format('keep', 'yes')}</TagSet></Tagging>".encode()
        assert (await rig.ask("PUT", "/bucket/b", "tagging=", tags)).status == 200

    await between(rig, m.ObjectsDelete, change)
    await run(rig)
    assert await v.live(rig) == ["a", "b"]
    assert (await rig.ask("GET", "/bucket/a")).body == b"new"
    assert expired(rig, "current") == 1


async def test_versioning_that_is_enabled_meanwhile_keeps_what_expires(rig: Rig) -> None:
    await set_rules(rig, rule(Expiration=days(1)))
    await put_all(rig, "key")
    pass_days(rig, 2)

    async def enable() -> None:
        beside = Rig(beside=rig)
        await v.set_versioning(beside, "Enabled")

    await between(rig, m.ObjectsDelete, enable)
    await run(rig)
    marker, kept = await v.ids(rig, "key")
    assert (marker[0], kept) == ("-", "null")


async def test_rules_that_are_removed_meanwhile_delete_no_more(rig: Rig) -> None:
    await set_rules(rig, rule(Expiration=days(1)))
    rig.coordinators.reply_rows = 3
    await put_all(rig, *"abcdefghi")
    pass_days(rig, 2)

    async def remove() -> None:
        assert (await rig.ask("DELETE", "/bucket", "lifecycle=")).status == 204

    await between(rig, m.LifecycleNote, remove)
    await run(rig)
    assert len(await v.live(rig)) == 7, "those of the first page, whose last waits for the next"


async def test_a_run_goes_by_rules_that_another_gateway_set_just_before(rig: Rig) -> None:
    await set_rules(rig, rule(prefix="old/", Expiration=days(1)))
    await put_all(rig, "new/a", "old/a")
    pass_days(rig, 2)
    assert (await rig.ask("GET", "/bucket", "lifecycle=")).status == 200
    await set_rules(Rig(beside=rig), rule(prefix="new/", Expiration=days(1)))
    await run(rig)
    assert await v.live(rig) == ["old/a"]


async def test_a_version_that_is_listed_again_is_not_taken_for_an_older_one(rig: Rig) -> None:
    rig.coordinators.reply_rows = 2
    await put_all(rig, "key", "other")
    pass_days(rig, 5)
    await v.set_versioning(rig, "Enabled")
    latest = await v.put(rig, "key", b"latest")
    await set_rules(rig, rule(NoncurrentVersionExpiration=NONCURRENT.format(1)))

    async def remove() -> None:
        await v.delete(rig, "key", "null")

    async def before_the_second_page() -> None:
        await between(rig, m.VersionsList, remove)

    await between(rig, m.VersionsList, before_the_second_page)
    await run(rig)
    assert await v.ids(rig, "key") == [latest]
    assert expired(rig, "noncurrent") == 0


async def test_a_bucket_that_is_made_again_meanwhile_loses_nothing(rig: Rig) -> None:
    await set_rules(rig, rule(Expiration=days(1)))
    await put_all(rig, "key")
    pass_days(rig, 2)

    async def make_again() -> None:
        beside = Rig(beside=rig)
        await beside.ask("DELETE", "/bucket/key")
        await beside.ask("DELETE", "/bucket")
        await beside.put("/bucket", b"")
        await beside.put("/bucket/key", b"new")

    await between(rig, m.ObjectsDelete, make_again)
    await run(rig)
    assert (await rig.ask("GET", "/bucket/key")).body == b"new"


async def test_what_is_locked_stays_until_its_lock_ends_and_is_counted(rig: Rig) -> None:
    lock = {"x-amz-bucket-object-lock-enabled": "true"}
    assert (await rig.ask("PUT", "/locked", "", b"", lock)).status == 200
    await set_rules(rig, rule(NoncurrentVersionExpiration=NONCURRENT.format(1)), bucket="locked")
    until = {
        "content-md5": base64.b64encode(hashlib.md5(b"1").digest()).decode(),
        "x-amz-object-lock-mode": "COMPLIANCE",
        "x-amz-object-lock-retain-until-date": "2027-01-25T00:00:00Z",
    }
    first = await rig.put("/locked/key", b"1", until)
    for _ in range(2):
        last = await rig.put("/locked/key", b"2")

    async def left() -> set[str]:
        answer = await rig.ask("GET", "/locked", "versions=")
        return set(answer.texts("Version/VersionId"))

    pass_days(rig, 3)
    await run(rig)
    assert await left() == {v.version_of(first), v.version_of(last)}
    assert rig.coordinators.sql.execute(
        "SELECT last_deleted, last_kept FROM lifecycles"
    ).fetchall() == [(1, 1)]
    registry = rig.backend.metrics.registry
    assert registry.get_sample_value("alveary_gateway_expiry_refused_total") == 1
    pass_days(rig, 8)
    await run(rig)
    assert await left() == {v.version_of(last)}


async def test_a_version_that_cannot_be_opened_holds_nothing_up(rig: Rig) -> None:
    await set_rules(rig, rule(Expiration=days(1)))
    await put_all(rig, "a", "b", "c")
    pass_days(rig, 2)
    rig.coordinators.sql.execute("UPDATE versions SET summary = ? WHERE name = ?", (b"?", b"b"))
    await run(rig)
    names = rig.coordinators.sql.execute("SELECT name FROM current").fetchall()
    assert names == [(b"b",)]


# --- gateways that die, and several -------------------------------------------------------------


async def test_a_bucket_that_fails_holds_up_no_other(rig: Rig) -> None:
    for bucket in ("bucket", "second"):
        await rig.put(f"/{bucket}", b"")
        await set_rules(rig, rule(Expiration=days(1)), bucket=bucket)
        await rig.put(f"/{bucket}/key", b"")
    pass_days(rig, 2)

    async def fail(request: m.ObjectsDelete) -> None:
        if request.bucket == "bucket":
            raise Unavailable(Outage.TOO_BUSY)

    def runs(outcome: str) -> float | None:
        return rig.backend.metrics.registry.get_sample_value(
            "alveary_gateway_lifecycle_runs_total", {"outcome": outcome}
        )

    rig.coordinators.faults[m.ObjectsDelete] = fail
    await run(rig)
    assert (runs("ended"), runs("failed")) == (1, 1)
    assert await v.live(rig) == ["key"]
    assert (await rig.ask("GET", "/second", "list-type=2")).texts("Contents/Key") == []
    rig.coordinators.faults.clear()
    await run(rig)
    assert await v.live(rig) == []


class Died(Exception):
    """The gateway did."""


@pytest.mark.parametrize("seed", quick_or(range(2), range(40)))
async def test_gateways_that_die_anywhere_leave_a_run_that_others_end(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(seed)
    monkeypatch.setattr(limits, "LIFECYCLE_PAGE", 3)
    rig = Rig(seed)
    await rig.put("/bucket", b"")
    await v.set_versioning(rig, "Enabled")
    await set_rules(
        rig,
        rule(prefix="due/", Expiration=days(2)),
        rule(prefix="due/", NoncurrentVersionExpiration=NONCURRENT.format(1)),
        rule(prefix="due/", AbortIncompleteMultipartUpload=ABORT.format(1)),
    )
    for number in range(8):
        for kind in ("due", "kept"):
            for _ in range(chance.randrange(1, 4)):
                await v.put(rig, f"{kind}/{number}", b"1")
    for kind in ("due", "kept"):
        await rig.ask("POST", f"/bucket/{kind}/upload", "uploads=")
    pass_days(rig, 4)
    before = await v.versions(rig, "&prefix=kept")
    gateways = [rig, Rig(beside=rig)]
    answer = rig.coordinators.handle
    deaths = 0
    for _ in range(200):
        left = chance.randrange(1, 9)

        async def die(_: Any) -> None:
            nonlocal left
            left -= 1
            if not left:
                raise Died

        faults = rig.coordinators.faults
        for kind in (m.LifecycleTake, m.LifecycleNote, m.VersionsList, m.ObjectsDelete):
            faults[kind] = die

        async def handle(caller: Any, request: Any, payload: memoryview) -> Any:
            reply = await answer(caller, request, payload)
            if isinstance(request, m.ObjectsDelete | m.UploadAbort) and chance.random() < 0.3:
                raise Died  # what it asked for is done
            return reply

        monkeypatch.setattr(rig.coordinators, "handle", handle)
        try:
            await run(chance.choice(gateways))
        except Died:
            deaths += 1
            rig.coordinators.end_leases()
            rig.coordinators.lease.held = 0
        else:
            if not rig.coordinators.sql.execute(
                "SELECT 1 FROM lifecycles WHERE ran_ms = 0"
            ).fetchone():
                break
        finally:
            monkeypatch.setattr(rig.coordinators, "handle", answer)
            faults.clear()
    else:
        pytest.fail("it came to no end")
    assert deaths
    rows = await v.versions(rig, "&prefix=due")
    assert [row.key for row in rows] == [f"due/{number // 2}" for number in range(16)]
    assert [row.is_marker for row in rows] == [True, False] * 8, "one for each, though asked twice"
    assert await v.versions(rig, "&prefix=kept") == before
    assert (await rig.ask("GET", "/bucket", "uploads=")).texts("Upload/Key") == ["kept/upload"]


async def test_two_gateways_at_one_bucket_do_no_more_than_one(rig: Rig) -> None:
    await v.set_versioning(rig, "Enabled")
    await set_rules(rig, rule(Expiration=days(1)))
    await put_all(rig, *"abcdefgh")
    pass_days(rig, 2)
    beside = Rig(beside=rig)
    taken: m.LifecycleTurn = await rig.coordinators.ask(
        m.LifecycleTake(await rig.coordinators.lease.number(), rig.backend.now_ms(), 1000 * DAY_S)
    )
    assert taken.task is not None
    async with trio.open_nursery() as nursery:
        for each in (rig, beside):
            nursery.start_soon(expirer(each)._attempt, taken.task)
    rows = await v.versions(rig)
    assert len(rows) == 16
    assert sum(row.is_marker for row in rows) == 8


async def test_a_gateway_rests_as_long_as_it_worked_and_looks_again(
    rig: Rig, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "LIFECYCLE_PAGE", 4)
    await set_rules(rig, rule(Expiration=days(1)))
    await put_all(rig, *"abcdefgh")
    pass_days(rig, 2)
    moments = []

    async def slow(_: Any) -> None:
        moments.append(trio.current_time())
        await trio.sleep(3)

    rig.coordinators.faults[m.ObjectsDelete] = slow
    async with trio.open_nursery() as nursery:
        nursery.start_soon(expirer(rig).run)
        await trio.sleep(60)
        nursery.cancel_scope.cancel()
    assert await v.live(rig) == []
    first, second, *_ = moments
    assert second - first == pytest.approx(6)
