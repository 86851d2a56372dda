"""Buckets with rules are given to one gateway at a time, until a run over each has ended; what was
judged is deleted only while it is as it was judged."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import pytest
import trio
from coordinator_rig import BUCKET, Gateway, Rig, running
from trio.testing import MockClock

from common.client.policy.answers import check_answer
from common.errors import NotFound, PeerViolation, Refused
from common.ids import VersionId
from common.wire import messages as m

DAY_S = 40
DAY_MS = 1000 * DAY_S
LONG_MS = 1000 * DAY_MS
"""As if a gateway's clock were years ahead."""


def now_ms(rig: Rig) -> int:
    return int(rig.node.world.clock.now() * 1000)


async def beside(rig: Rig, one: Gateway) -> Gateway:
    """Another gateway of the same tenant."""
    two = Gateway(rig, "beside")
    two.tenant_id, two.key = one.tenant_id, one.key
    await two.connect()
    await two.open()
    return two


async def set_rules(gateway: Gateway, has_lifecycle: bool = True, bucket: str = BUCKET) -> None:
    record = await gateway.call(m.BucketGet(gateway.tenant_id, bucket))
    settings = record.settings + b"+"
    await gateway.call(
        m.BucketSettingsSet(
            gateway.tenant_id, bucket, record.bucket_id, record.revision, settings, has_lifecycle
        )
    )


async def take(
    gateway: Gateway, now: int, *, after: int = 0, day_ms: int = DAY_MS
) -> m.LifecycleTask | None:
    if not gateway.lease:
        await gateway.open_lease()
    request = m.LifecycleTake(gateway.lease, now, day_ms, after)
    reply: m.LifecycleTurn = await gateway.call(request)
    check_answer(request, reply)
    assert reply.is_due is (reply.task is not None)
    return reply.task


async def is_due(gateway: Gateway, now: int) -> bool:
    reply: m.LifecycleTurn = await gateway.call(m.LifecycleTake(0, now, DAY_MS))
    assert reply.task is None
    return reply.is_due


async def note(gateway: Gateway, task: m.LifecycleTask, **changes: Any) -> None:
    fields = {"after": b"", "deleted": 0, "kept": 0, "has_ended": False, **changes}
    await gateway.call(
        m.LifecycleNote(gateway.tenant_id, task.bucket, task.bucket_id, task.begun_ms, **fields)
    )


async def test_a_bucket_is_due_once_a_day_and_when_its_settings_change(
    autojump_clock: MockClock,
) -> None:
    async with running() as rig:
        gateway = await rig.add_gateway()
        await gateway.make_bucket()
        await gateway.make_bucket("plain")
        now = now_ms(rig)
        assert not await is_due(gateway, now)
        await set_rules(gateway)
        assert await is_due(gateway, now)
        task = await take(gateway, now)
        assert task is not None
        assert (task.bucket, task.begun_ms, task.now_ms, task.after) == (BUCKET, now, now, b"")
        await note(gateway, task, has_ended=True)
        assert not await is_due(gateway, now)
        for moment in (now - now % DAY_MS, now - DAY_MS):
            assert not await is_due(gateway, moment), "another clock may be behind"
        await set_rules(gateway)
        assert await is_due(gateway, now), "by the new rules"
        task = await take(gateway, now)
        assert task is not None
        await set_rules(gateway)
        await note(gateway, task, has_ended=True)
        assert await is_due(gateway, now), "the rules changed while it ran"
        task = await take(gateway, now)
        assert task is not None
        await note(gateway, task, has_ended=True)
        await trio.sleep(DAY_S)
        assert await is_due(gateway, now_ms(rig))
        await set_rules(gateway, has_lifecycle=False)
        assert not await is_due(gateway, now_ms(rig))


async def test_a_clock_that_is_ahead_alone_makes_nothing_due_and_judges_nothing(
    autojump_clock: MockClock,
) -> None:
    async with running() as rig:
        gateway = await rig.add_gateway()
        await gateway.make_bucket()
        await set_rules(gateway)
        task = await take(gateway, now_ms(rig) + LONG_MS)
        assert task is not None
        assert task.now_ms <= now_ms(rig)
        await note(gateway, task, has_ended=True)
        assert not await is_due(gateway, now_ms(rig) + LONG_MS)
        with pytest.raises(Refused):
            await take(gateway, now_ms(rig), day_ms=0)


async def test_a_run_goes_on_where_it_was_and_is_left_to_one_gateway(
    autojump_clock: MockClock,
) -> None:
    async with running(write_lease_ttl_s=60) as rig:
        one = await rig.add_gateway()
        await one.make_bucket()
        await set_rules(one)
        begun = now_ms(rig)
        task = await take(one, begun)
        assert task is not None
        await note(one, task, after=b"k", deleted=7, kept=2)
        await note(one, task, after=b"c", deleted=1)
        two = await beside(rig, one)
        assert await take(two, begun) is None, "it is left to the one"
        await trio.sleep(200)
        await two.open()
        await two.open_lease()
        later = now_ms(rig)
        resumed = await take(two, later)
        assert resumed is not None, "whose lease has ended"
        assert resumed == replace(task, after=b"k", deleted=7, kept=2, now_ms=resumed.now_ms)
        assert resumed.now_ms > task.now_ms
        await rig.restart()
        await two.connect()
        await two.open()
        await two.open_lease()
        again = await take(two, later)
        assert again is not None
        assert again.after == b"k"
        await note(two, again, after=b"z", deleted=9, kept=2, has_ended=True)
        await note(two, again, after=b"z", deleted=9, kept=2, has_ended=True)
        assert not await is_due(two, begun), "of the day in which it began"
        await set_rules(two)
        fresh = await take(two, now_ms(rig))
        assert fresh is not None
        await note(two, again, after=b"y", deleted=5)
        assert fresh.after == b""
        assert rig.one("SELECT after FROM lifecycles") == b"", "an old run says nothing of it"
        told = (await rig.operate("GET", "/v1/status"))["lifecycle"]
        assert told["buckets"] == told["running"] == 1
        assert (told["deleted"], told["kept"]) == (9, 2)
        metrics = (await rig.http("GET", "/metrics")).text
        assert "alveary_lifecycle_buckets 1.0" in metrics


async def test_each_bucket_that_is_due_gets_its_turn_and_those_of_others_are_not_named(
    autojump_clock: MockClock,
) -> None:
    async with running() as rig:
        gateway, other = await rig.add_gateway(), await rig.add_gateway("other")
        for number in range(3):
            await gateway.make_bucket(f"bucket-{number}")
            await set_rules(gateway, bucket=f"bucket-{number}")
        now, after, seen = now_ms(rig), 0, []
        while (task := await take(gateway, now, after=after)) is not None:
            after = task.number
            seen.append(task.bucket)
        assert seen == ["bucket-0", "bucket-1", "bucket-2"], "though no run has ended"
        assert await take(other, now) is None
        assert not await is_due(other, now)
        await gateway.call(m.BucketDelete(gateway.tenant_id, "bucket-1"))
        assert rig.one("SELECT count(*) FROM lifecycles") == 2
        first = await take(gateway, now)
        assert first is not None
        await gateway.call(m.BucketDelete(gateway.tenant_id, "bucket-0"))
        with pytest.raises(NotFound):
            await note(gateway, first, has_ended=True)


@pytest.mark.parametrize(
    "lie", [{"number": 1, "asked": 1}, {"now_ms": 101}, {"lease": 0}], ids=repr
)
def test_an_answer_that_no_honest_coordinator_gives_is_refused(lie: dict[str, int]) -> None:
    request = m.LifecycleTake(lie.get("lease", 7), 100, DAY_MS, lie.get("asked", 0))
    task = m.LifecycleTask(
        lie.get("number", 2), bytes(16), "b", bytes(16), 1, b"", 0, 0, lie.get("now_ms", 100)
    )
    with pytest.raises(PeerViolation):
        check_answer(request, m.LifecycleTurn(True, task))


# --- a version that was judged ------------------------------------------------------------------


async def versioned(rig: Rig, versioning: int) -> Gateway:
    gateway = await rig.add_gateway()
    made = await gateway.make_bucket()
    if versioning:
        await gateway.call(
            m.BucketVersioningSet(gateway.tenant_id, BUCKET, made.bucket_id, versioning)
        )
    return gateway


async def rows(gateway: Gateway, *, with_tags: bool = False) -> list[m.ListedVersion]:
    listed: m.VersionListing = await gateway.call(
        m.VersionsList(gateway.tenant_id, BUCKET, b"", b"", b"", b"", False, 1000, with_tags)
    )
    return list(listed.versions)


def judged(
    gateway: Gateway, version: VersionId, latest: VersionId, tags: bytes = b"", *, named: bool
) -> m.DeleteItem:
    return m.DeleteItem(
        b"name",
        named=named,
        marker=b"" if named else b"marker",
        marker_id=None if named else gateway.new_id(),
        judged=m.JudgedVersion(version, latest, tags),
    )


@pytest.mark.parametrize("versioning", [m.UNVERSIONED, m.VERSIONED, m.SUSPENDED])
async def test_an_object_that_was_replaced_stays_and_one_that_was_not_expires(
    versioning: int, autojump_clock: MockClock
) -> None:
    async with running() as rig:
        gateway = await versioned(rig, versioning)
        first = (await gateway.put(b"name"))[0].version_id
        second = (await gateway.put(b"name"))[0].version_id
        stale = judged(gateway, first, first, named=False)
        assert await gateway.delete(stale) == ["condition_failed"]
        assert (await gateway.get(b"name")).version_id == second
        assert await gateway.delete(judged(gateway, second, second, named=False)) == [""]
        assert not (await gateway.names()).objects
        markers = [row for row in await rows(gateway) if row.delete_marker]
        assert len(markers) == (versioning != m.UNVERSIONED)
        again = judged(gateway, second, second, named=False)
        assert await gateway.delete(again) == ["condition_failed"], "it is done only once"
        kept = len(await rows(gateway)) - len(markers)
        assert rig.one("SELECT objects FROM bucket_usage") == kept


async def test_a_noncurrent_version_is_deleted_only_while_the_latest_is_the_same(
    autojump_clock: MockClock,
) -> None:
    async with running() as rig:
        gateway = await versioned(rig, m.UNVERSIONED)
        null = (await gateway.put(b"name"))[0].version_id
        record = await gateway.call(m.BucketGet(gateway.tenant_id, BUCKET))
        await gateway.call(
            m.BucketVersioningSet(gateway.tenant_id, BUCKET, record.bucket_id, m.VERSIONED)
        )
        old = (await gateway.put(b"name"))[0].version_id
        latest = (await gateway.put(b"name"))[0].version_id
        for version in (null, old):
            assert await gateway.delete(judged(gateway, version, old, named=True)) == [
                "condition_failed"
            ]
        gone = judged(gateway, gateway.new_id(), latest, named=True)
        assert await gateway.delete(gone) == ["condition_failed"]
        assert await gateway.delete(judged(gateway, null, latest, named=True)) == [""]
        assert [row.version_id for row in await rows(gateway)] == [latest, old]
        # The latest is deleted, so the other one is current now.
        assert await gateway.delete(m.DeleteItem(b"name", latest, named=True)) == [""]
        assert await gateway.delete(judged(gateway, old, latest, named=True)) == [
            "condition_failed"
        ]
        assert (await gateway.get(b"name")).version_id == old


async def test_a_marker_is_deleted_only_while_nothing_is_over_it(
    autojump_clock: MockClock,
) -> None:
    async with running() as rig:
        gateway = await versioned(rig, m.VERSIONED)
        marker = m.DeleteItem(b"name", marker=b"marker", marker_id=gateway.new_id())
        assert await gateway.delete(marker) == [""]
        assert marker.marker_id is not None
        over = (await gateway.put(b"name"))[0].version_id
        stale = judged(gateway, marker.marker_id, marker.marker_id, named=True)
        assert await gateway.delete(stale) == ["condition_failed"]
        assert await gateway.delete(m.DeleteItem(b"name", over, named=True)) == [""]
        assert await gateway.delete(stale) == [""]
        assert await rows(gateway) == []


async def test_what_was_judged_by_tags_stays_when_they_change(autojump_clock: MockClock) -> None:
    async with running() as rig:
        gateway = await versioned(rig, m.UNVERSIONED)
        version = (await gateway.put(b"name", tags=b"sealed tags"))[0].version_id
        assert [row.tags for row in await rows(gateway)] == [b""]
        (row,) = await rows(gateway, with_tags=True)
        assert row.tags == b"sealed tags"
        digest = hashlib.sha256(row.tags).digest()
        await gateway.call(m.ObjectTagsSet(gateway.tenant_id, BUCKET, b"name", version, b"other"))
        item = judged(gateway, version, version, digest, named=False)
        assert await gateway.delete(item) == ["condition_failed"]
        await gateway.call(
            m.ObjectTagsSet(gateway.tenant_id, BUCKET, b"name", version, b"sealed tags")
        )
        assert await gateway.delete(item) == [""]
