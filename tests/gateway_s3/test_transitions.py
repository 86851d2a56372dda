"""Objects get other classes by their rules: just what is due, the same otherwise, moved once, and
wherever a gateway dies on the way."""

from __future__ import annotations

import base64
import hashlib
import random
from contextlib import suppress
from typing import Any

import pytest
import trio
import versions_client as v
from class_client import HEADER, follow, lies_in, with_classes
from gateway_rig import Answer, Rig
from lifecycle_client import days, expirer, pass_days, rule, run, set_rules
from notifications_client import deliver, listen
from notifications_client import rule as told
from notifications_client import set_rules as tell
from test_expiring import TAG, between, expired
from thoroughness import quick_or
from trio.testing import MockClock

from common import limits
from common.errors import Unavailable
from common.reasons import Outage
from common.wire import messages as m

BIG = bytes(limits.LEAST_TRANSITION_BYTES)
SMALL = "<ObjectSizeGreaterThan>0</ObjectSizeGreaterThan>"


@pytest.fixture
async def rig() -> Rig:
    made = with_classes(Rig())
    await made.put("/bucket", b"")
    return made


def to(class_name: str, number: int, name: str = "Days") -> str:
    return f"<{name}>{number}</{name}><StorageClass>{class_name}</StorageClass>"


def of_all_sizes(class_name: str, number: int, **parts: str) -> str:
    """A rule that is about the size, and so for small objects, too."""
    return rule(Filter=SMALL, Transition=to(class_name, number), **parts)


async def classes_of(rig: Rig) -> dict[str, str]:
    answer = await rig.ask("GET", "/bucket", "list-type=2")
    return dict(
        zip(answer.texts("Contents/Key"), answer.texts("Contents/StorageClass"), strict=True)
    )


def led(rig: Rig, class_name: str) -> float:
    value = rig.backend.metrics.registry.get_sample_value(
        "alveary_gateway_transitions_total", {"storage_class": class_name}
    )
    return value or 0.0


async def head(rig: Rig, key: str = "key") -> Answer:
    return await rig.ask("HEAD", f"/bucket/{key}")


async def test_what_is_due_gets_its_class_and_nothing_else(rig: Rig) -> None:
    await set_rules(
        rig,
        rule(prefix="logs/", Transition=to("STANDARD_IA", 30)),
        rule(Filter=TAG.format("cold", "yes"), Transition=to("GLACIER_IR", 0)),
        rule(status="Disabled", Transition=to("GLACIER_IR", 0)),
    )
    for key in ("logs/a", "data/a"):
        await rig.put(f"/bucket/{key}", BIG)
    await rig.put("/bucket/logs/small", b"content")
    await rig.put("/bucket/data/tagged", BIG, {"x-amz-tagging": "cold=yes"})
    standard = dict.fromkeys(("data/a", "data/tagged", "logs/a", "logs/small"), "STANDARD")
    await run(rig)
    assert await classes_of(rig) == standard
    pass_days(rig, 1)
    await run(rig)
    assert await classes_of(rig) == {**standard, "data/tagged": "GLACIER_IR"}
    pass_days(rig, 30)
    await run(rig)
    assert await classes_of(rig) == {
        **standard,
        "data/tagged": "GLACIER_IR",
        "logs/a": "STANDARD_IA",
    }
    assert [led(rig, each) for each in ("GLACIER_IR", "STANDARD_IA")] == [1, 1]
    assert expired(rig, "current") == 0


async def test_a_version_is_the_same_and_its_data_moves_once(rig: Rig) -> None:
    headers = {"x-amz-meta-a": "b", "content-type": "text/plain", "x-amz-tagging": "k=v"}
    await rig.put("/bucket/key", BIG, headers)
    await set_rules(rig, rule(Transition=to("STANDARD_IA", 30)))
    before, record = await head(rig), rig.coordinators.current["bucket", b"key"]
    pass_days(rig, 32)
    await run(rig)
    assert lies_in(rig, "key") == {"STANDARD"}, "only its class is another one yet"
    assert (await rig.ask("GET", "/bucket/key")).body == BIG
    assert await follow(rig) == 1
    assert lies_in(rig, "key") == {"COLD"}
    after = await head(rig)
    assert after.headers.pop(HEADER) == "STANDARD_IA"
    for name in set(before.headers) | set(after.headers):
        if name not in {"x-amz-request-id", "x-amz-id-2", "date"}:
            assert after.headers.get(name) == before.headers.get(name), name
    now = rig.coordinators.current["bucket", b"key"]
    assert (now.version_id, now.sequence, now.created_ms) == (
        record.version_id,
        record.sequence,
        record.created_ms,
    )
    assert (await rig.ask("GET", "/bucket/key")).body == BIG
    pass_days(rig, 2)
    await run(rig)
    assert (await follow(rig), led(rig, "STANDARD_IA")) == (0, 1)
    counted = rig.coordinators.sql.execute("SELECT objects, logical_bytes FROM bucket_usage")
    assert counted.fetchall() == [(1, len(BIG))]


async def test_names_that_lead_nowhere_move_nothing(rig: Rig) -> None:
    await rig.put("/bucket/key", b"content")
    await set_rules(rig, of_all_sizes("GLACIER_IR", 0))
    pass_days(rig, 2)
    await run(rig)
    assert (await head(rig)).headers[HEADER] == "GLACIER_IR"
    assert rig.coordinators.sql.execute("SELECT * FROM misplaced_pages").fetchall() == []
    assert await follow(rig) == 0


async def test_an_object_goes_down_from_class_to_class(rig: Rig) -> None:
    await rig.put("/bucket/key", b"content", {HEADER: "REDUCED_REDUNDANCY"})
    await set_rules(
        rig,
        of_all_sizes("STANDARD_IA", 30),
        of_all_sizes("GLACIER_IR", 60, Expiration=days(90)),
    )
    seen = []
    for _ in range(4):
        answer = await head(rig)
        seen.append(answer.headers.get(HEADER) if answer.status == 200 else answer.status)
        pass_days(rig, 31)
        await run(rig)
        await follow(rig)
    assert seen == ["REDUCED_REDUNDANCY", "STANDARD_IA", "GLACIER_IR", 404]
    assert expired(rig, "current") == 1


async def test_what_expires_is_not_moved_before(rig: Rig) -> None:
    await rig.put("/bucket/key", b"content")
    await set_rules(rig, of_all_sizes("GLACIER_IR", 1), rule(Expiration=days(1)))
    pass_days(rig, 3)
    await run(rig)
    assert await v.live(rig) == []
    assert led(rig, "GLACIER_IR") == 0
    assert rig.coordinators.calls.count("ClassesChange") == 0


@pytest.mark.parametrize("rows", [1, 2, limits.MAX_LIST_ENTRIES])
async def test_versions_get_classes_of_their_own_across_pages(rig: Rig, rows: int) -> None:
    rig.coordinators.reply_rows = rows
    await v.set_versioning(rig, "Enabled")
    ids = [await v.put(rig, "key", b"%d" % number) for number in range(5)]
    await v.delete(rig, "gone")
    await set_rules(
        rig,
        rule(
            Filter=SMALL,
            NoncurrentVersionTransition="<NewerNoncurrentVersions>2</NewerNoncurrentVersions>"
            + to("GLACIER_IR", 1, "NoncurrentDays"),
        ),
    )
    pass_days(rig, 3)
    await run(rig)
    shown = [(await v.get(rig, "key", each, "HEAD")).headers.get(HEADER) for each in ids]
    assert shown == ["GLACIER_IR", "GLACIER_IR", None, None, None]
    assert await v.ids(rig, "key") == ids[::-1]


async def test_an_object_that_expires_and_its_older_version_that_moves(rig: Rig) -> None:
    await v.set_versioning(rig, "Enabled")
    first, second = await v.put(rig, "key", b"1"), await v.put(rig, "key", b"2")
    await set_rules(
        rig,
        rule(
            Filter=SMALL,
            Expiration=days(1),
            NoncurrentVersionTransition=to("GLACIER_IR", 0, "NoncurrentDays"),
        ),
    )
    pass_days(rig, 2)
    await run(rig)
    assert (await v.ids(rig, "key"))[1:] == [second, first]
    shown = [
        (await v.get(rig, "key", each, "HEAD")).headers.get(HEADER) for each in (first, second)
    ]
    assert shown == ["GLACIER_IR", None]


async def test_a_locked_version_gets_its_class_and_keeps_its_lock(rig: Rig) -> None:
    answer = await rig.ask("PUT", "/locked", headers={"x-amz-bucket-object-lock-enabled": "true"})
    assert answer.status == 200
    until = "2099-01-01T00:00:00Z"
    lock = {
        "x-amz-object-lock-mode": "COMPLIANCE",
        "x-amz-object-lock-retain-until-date": until,
        "x-amz-object-lock-legal-hold": "ON",
    }
    vouched = {"content-md5": base64.b64encode(hashlib.md5(BIG).digest()).decode()}
    assert (await rig.ask("PUT", "/locked/key", "", BIG, {**lock, **vouched})).status == 200
    before = (await rig.ask("HEAD", "/locked/key")).headers
    await set_rules(rig, rule(Transition=to("STANDARD_IA", 30)), bucket="locked")
    pass_days(rig, 32)
    await run(rig)
    after = (await rig.ask("HEAD", "/locked/key")).headers
    assert after[HEADER] == "STANDARD_IA"
    for name in before:
        if "lock" in name or name in {"etag", "last-modified", "x-amz-version-id"}:
            assert after[name] == before[name], name
    assert await follow(rig) == 0, "its bytes lie where they are until the lock ends"
    assert (await rig.ask("GET", "/locked/key")).body == BIG
    assert rig.coordinators.sql.execute("SELECT count(*) FROM misplaced_pages").fetchone() == (1,)
    version = after["x-amz-version-id"]
    assert (await rig.ask("DELETE", "/locked/key", f"versionId={version}")).status == 403


async def test_an_object_that_is_changed_meanwhile_keeps_its_class(rig: Rig) -> None:
    await set_rules(
        rig,
        rule(
            Filter=f"<And>{SMALL}{TAG.format('cold', 'yes')}</And>", Transition=to("GLACIER_IR", 1)
        ),
    )
    for key in "abcd":
        await rig.put(f"/bucket/{key}", b"content", {"x-amz-tagging": "cold=yes"})
    pass_days(rig, 3)

    async def change() -> None:
        await rig.put("/bucket/a", b"new", {"x-amz-tagging": "cold=yes"})
        tags = f"<Tagging><TagSet>{TAG.format('cold', 'no')}</TagSet></Tagging>".encode()
        assert (await rig.ask("PUT", "/bucket/b", "tagging=", tags)).status == 200
        itself = {"x-amz-copy-source": "/bucket/c", HEADER: "STANDARD_IA"}
        assert (await rig.ask("PUT", "/bucket/c", "", b"", itself)).status == 200

    await between(rig, m.ClassesChange, change)
    await run(rig)
    assert await classes_of(rig) == {
        "a": "STANDARD",
        "b": "STANDARD",
        "c": "STANDARD_IA",
        "d": "GLACIER_IR",
    }
    assert led(rig, "GLACIER_IR") == 1


async def test_a_class_that_was_given_meanwhile_is_not_taken_back(rig: Rig) -> None:
    other = Rig(beside=rig)
    await rig.put("/bucket/key", b"content")
    await set_rules(rig, of_all_sizes("STANDARD_IA", 30), of_all_sizes("GLACIER_IR", 60))
    pass_days(rig, 32)

    async def pass_by() -> None:
        pass_days(rig, 60)
        await run(other)

    await between(rig, m.ClassesChange, pass_by)
    await run(rig)
    assert (await head(rig)).headers[HEADER] in {"GLACIER_IR", "STANDARD_IA"}
    await run(rig)
    pass_days(rig, 1)
    await run(rig)
    assert (await head(rig)).headers[HEADER] == "GLACIER_IR"


async def test_a_webhook_is_told_of_the_class(rig: Rig) -> None:
    receiver = listen(rig)
    await tell(rig, told("s3:LifecycleTransition"))
    await v.set_versioning(rig, "Enabled")
    version = await v.put(rig, "key", b"content")
    await set_rules(rig, of_all_sizes("GLACIER_IR", 0))
    pass_days(rig, 2)
    await run(rig)
    await run(rig)
    await deliver(rig)
    (record,) = receiver.records
    assert record["eventName"] == "LifecycleTransition"
    assert record["lifecycleEventData"] == {
        "transitionEventData": {"destinationStorageClass": "GLACIER_IR"}
    }
    assert (record["s3"]["object"]["key"], record["s3"]["object"]["versionId"]) == ("key", version)
    assert record["s3"]["object"]["size"] == 7


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", quick_or(range(4), range(60)))
async def test_a_gateway_that_dies_at_any_request_moves_nothing_twice(
    seed: int, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("common.limits.LIFECYCLE_PAGE", 2)
    rig, chance = with_classes(Rig(seed)), random.Random(seed)
    await rig.put("/bucket", b"")
    keys = [f"{number}" for number in range(7)]
    for key in keys:
        await rig.put(f"/bucket/{key}", key.encode())
    await set_rules(rig, of_all_sizes("STANDARD_IA", 30))
    pass_days(rig, 32)
    moved: list[bytes] = []
    kinds = (m.ClassesChange, m.LifecycleNote, m.PageReplace, m.VersionsList)
    honest = rig.coordinators.answer

    async def answer(caller: Any, request: Any) -> Any:
        reply = await honest(caller, request)
        if isinstance(request, m.PageReplace):
            moved.append(request.name)
        if type(request) in kinds and chance.random() < 0.3:
            raise Unavailable(Outage.CONNECTION_LOST)  # it was carried out, and nobody knows
        return reply

    async def refuse(_: Any) -> None:
        if chance.random() < 0.3:
            raise Unavailable(Outage.CONNECTION_LOST)

    monkeypatch.setattr(rig.coordinators, "answer", answer)
    rig.coordinators.faults.update(dict.fromkeys(kinds, refuse))
    for _ in range(40):
        gateway = Rig(beside=rig)
        with suppress(Unavailable):
            await expirer(gateway)._look()
        with suppress(Unavailable):
            await follow(gateway)
        await trio.sleep(20)
    rig.coordinators.faults.clear()
    monkeypatch.setattr(rig.coordinators, "answer", honest)
    await run(rig)
    await follow(rig)
    assert set((await classes_of(rig)).values()) == {"STANDARD_IA"}
    for key in keys:
        assert lies_in(rig, key) == {"COLD"}
        assert (await rig.ask("GET", f"/bucket/{key}")).body == key.encode()
    assert sorted(moved) == sorted(set(moved)), "a page was moved twice"
