"""A version gets another class only while it is as it was judged, and only once."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
import trio
from coordinator_rig import BUCKET, Gateway, Rig, running
from test_lifecycles import rows, versioned
from test_misplaced import ask
from trio.testing import MockClock

from common.client.policy.answers import check_answer
from common.errors import NotFound, PeerViolation
from common.ids import BucketId, VersionId
from common.wire import messages as m
from common.wire.messages.locks import COMPLIANCE, Lock

COLD = {"name": "COLD", "redundancy": "2/4"}
NEW = m.NamedClass(b"the new name, sealed", "COLD")


async def swarm(rig: Rig, versioning: int = m.UNVERSIONED) -> Gateway:
    gateway = await versioned(rig, versioning)
    await rig.operate("POST", "/v1/classes", COLD)
    await trio.sleep(2)
    return gateway


def change(
    version: VersionId, latest: VersionId, *, tags: bytes = b"", former: bytes = b"", **more: Any
) -> m.ClassChange:
    judged = m.JudgedVersion(version, latest, tags)
    given = {"named_class": NEW, **more}
    return m.ClassChange(b"name", judged, hashlib.sha256(former).digest(), **given)


async def ask_for(gateway: Gateway, *changes: m.ClassChange) -> list[str]:
    """Why each version did not get its class; empty: it has it."""
    record = await gateway.call(m.BucketGet(gateway.tenant_id, BUCKET))
    request = m.ClassesChange(gateway.tenant_id, BUCKET, record.bucket_id, changes)
    reply: m.ClassesChanged = await gateway.call(request)
    check_answer(request, reply)
    return ["" if each.failure is None else each.failure.reason for each in reply.results]


async def follows(gateway: Gateway) -> list[str]:
    return [each.storage_class for each in (await ask(gateway)).pages]


async def test_a_version_gets_its_class_and_its_data_is_to_follow(
    autojump_clock: MockClock,
) -> None:
    async with running() as rig:
        gateway = await swarm(rig)
        version = (await gateway.put(b"name", tags=b"tags", acl=b"list"))[0].version_id
        before = await gateway.get(b"name")
        assert await follows(gateway) == []
        asked = change(version, version)
        for _ in range(2):  # an answer may be lost
            assert await ask_for(gateway, asked) == [""]
            assert await follows(gateway) == ["COLD"]
        after = await gateway.get(b"name")
        assert after.class_name == NEW.sealed
        for name in ("version_id", "sequence", "created_ms", "sealed", "tags", "acl", "lock"):
            assert getattr(after, name) == getattr(before, name), name
        (row,) = await rows(gateway)
        assert row.class_name == NEW.sealed
        assert await ask_for(gateway, change(version, version, named_class=m.NamedClass(b"x"))) == [
            "condition_failed"
        ]
        back = change(version, version, former=NEW.sealed, named_class=m.NamedClass(b"x"))
        assert await ask_for(gateway, back) == [""]
        assert await follows(gateway) == []


@pytest.mark.parametrize("versioning", [m.UNVERSIONED, m.VERSIONED, m.SUSPENDED])
async def test_a_version_that_was_replaced_keeps_its_class(
    versioning: int, autojump_clock: MockClock
) -> None:
    async with running() as rig:
        gateway = await swarm(rig, versioning)
        first = (await gateway.put(b"name"))[0].version_id
        second = (await gateway.put(b"name"))[0].version_id
        assert await ask_for(gateway, change(first, first)) == ["condition_failed"]
        older = await ask_for(gateway, change(first, second))
        assert older == ["" if versioning == m.VERSIONED else "condition_failed"]
        assert await ask_for(gateway, change(second, second)) == [""]
        assert {row.version_id for row in await rows(gateway) if row.class_name} == (
            {first, second} if versioning == m.VERSIONED else {second}
        )


async def test_what_was_judged_by_tags_keeps_its_class_when_they_change(
    autojump_clock: MockClock,
) -> None:
    async with running() as rig:
        gateway = await swarm(rig)
        version = (await gateway.put(b"name", tags=b"sealed tags"))[0].version_id
        asked = change(version, version, tags=hashlib.sha256(b"sealed tags").digest())
        await gateway.call(m.ObjectTagsSet(gateway.tenant_id, BUCKET, b"name", version, b"other"))
        assert await ask_for(gateway, asked) == ["condition_failed"]
        assert await ask_for(gateway, change(version, version)) == [""]


async def test_a_lock_stays_and_keeps_the_data_where_it_is(autojump_clock: MockClock) -> None:
    async with running() as rig:
        gateway = await rig.add_gateway()
        await gateway.call(
            m.BucketCreate(gateway.tenant_id, BucketId(bytes(16)), BUCKET, b"settings", True)
        )
        await rig.operate("POST", "/v1/classes", COLD)
        await trio.sleep(2)
        lock = Lock(COMPLIANCE, int(rig.node.world.clock.now() * 1000) + 10_000_000, 1)
        version = (await gateway.put(b"name", lock=lock))[0].version_id
        assert await ask_for(gateway, change(version, version)) == [""]
        after = await gateway.get(b"name")
        assert (after.class_name, after.lock) == (NEW.sealed, lock)
        assert await follows(gateway) == []
        assert rig.one("SELECT count(*) FROM misplaced_pages") == 1


async def test_markers_and_buckets_that_are_made_again_have_no_classes(
    autojump_clock: MockClock,
) -> None:
    async with running() as rig:
        gateway = await swarm(rig, m.VERSIONED)
        marker = m.DeleteItem(b"name", marker=b"marker", marker_id=gateway.new_id())
        assert await gateway.delete(marker) == [""]
        assert marker.marker_id is not None
        assert await ask_for(gateway, change(marker.marker_id, marker.marker_id)) == [
            "condition_failed"
        ]
        with pytest.raises(NotFound, match="no_such_bucket"):
            await gateway.call(m.ClassesChange(gateway.tenant_id, BUCKET, BucketId(bytes(16)), ()))


def test_an_answer_of_another_length_is_refused() -> None:
    asked = change(VersionId(bytes(16)), VersionId(bytes(16)))
    request = m.ClassesChange(bytes(16), "b", bytes(16), (asked,))
    with pytest.raises(PeerViolation):
        check_answer(request, m.ClassesChanged(()))
