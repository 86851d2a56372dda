"""Data that is not in the class of its bucket is found, given to one gateway at a time, and
replaced page by page, in a version that stays the same."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest
import trio
from coordinator_rig import BUCKET, Gateway, Rig, running, written
from trio.testing import MockClock

from common.errors import NotFound, Refused
from common.ids import BucketId
from common.wire import messages as m

COLD = {"name": "COLD", "redundancy": "2/4"}
DEAD_S = 400


async def swarm(rig: Rig) -> Gateway:
    """A gateway with a bucket, of a swarm that has another class."""
    gateway = await rig.add_gateway()
    await gateway.make_bucket()
    await rig.operate("POST", "/v1/classes", COLD)
    await trio.sleep(2)
    return gateway


async def change(rig: Rig, storage_class: str = "COLD") -> None:
    await rig.operate("POST", f"/v1/buckets/{BUCKET}/class", {"storage_class": storage_class})
    await trio.sleep(2)


async def ask(
    gateway: Gateway, after: tuple[int, int] = (0, 0), lease: int | None = None
) -> m.MisplacedPages:
    if not gateway.lease:
        await gateway.open_lease()
    reply: m.MisplacedPages = await gateway.call(
        m.MisplacedList(gateway.lease if lease is None else lease, *after)
    )
    return reply


async def cold_segment(gateway: Gateway, storage_class: str = "COLD") -> m.NewSegment:
    """A segment that was written in a class."""
    reply: m.Grants = await gateway.call(
        m.WriteStart(gateway.tenant_id, gateway.lease, 1, 100, storage_class)
    )
    return written(reply.grants[0], 100, gateway.chance)


async def replacement(
    gateway: Gateway, page: m.MisplacedPage, storage_class: str = "COLD"
) -> m.PageReplace:
    """The request by which a page of one segment is replaced."""
    record = await gateway.get(page.name)
    segment = await cold_segment(gateway, storage_class)
    new = m.Page((m.Extent(segment.segment_id, 0, 100, bytes(32), 0),))
    return m.PageReplace(
        gateway.tenant_id,
        BUCKET,
        record.bucket_id,
        page.name,
        page.version_id,
        page.number,
        hashlib.sha256(record.sealed).digest(),
        b"sealed again" + page.number.to_bytes(1, "big"),
        new,
        (segment,),
    )


async def test_a_swarm_without_classes_notes_nothing(autojump_clock: MockClock) -> None:
    async with running() as rig:
        gateway = await rig.add_gateway()
        await gateway.make_bucket()
        await gateway.put(b"one")
        assert rig.one("SELECT count(*) FROM misplaced_pages") == 0
        assert not (await ask(gateway, lease=0)).more


async def test_objects_are_named_after_a_change_and_no_more_when_they_have_followed(
    autojump_clock: MockClock,
) -> None:
    async with running() as rig:
        gateway = await swarm(rig)
        versions = [(await gateway.put(name))[0].version_id for name in (b"one", b"two")]
        assert not (await ask(gateway)).pages
        await change(rig)
        assert (await ask(gateway, lease=0)) == m.MisplacedPages((), 0, 0, True)
        found = await ask(gateway)
        assert [(each.name, each.version_id, each.number) for each in found.pages] == [
            (b"one", versions[0], 0),
            (b"two", versions[1], 0),
        ]
        assert {(each.bucket, each.storage_class) for each in found.pages} == {(BUCKET, "COLD")}
        told = await rig.operate("GET", "/v1/status")
        assert told["following"] == {"pages": 2, "buckets_to_look_through": 0, "left_s": None}
        assert "alveary_misplaced_pages 2.0" in (await rig.http("GET", "/metrics")).text
        assert any(
            each["what"].startswith("2 pieces of objects may not be in the storage class")
            for each in told["outlook"]["concerns"]
        )

        before = await gateway.get(b"one")
        request = await replacement(gateway, found.pages[0])
        done = await gateway.call(request)
        assert (done.sequence, done.created_ms) == (before.sequence, before.created_ms)
        again = await gateway.call(request)
        assert (again.sequence, again.created_ms) == (done.sequence, done.created_ms)
        after = await gateway.get(b"one")
        assert after == replace(
            before,
            sealed=request.sealed,
            pages=after.pages,
            places=after.places,
            endpoints=after.endpoints,
        )
        assert after.pages == (m.PlacedPage(0, 0, request.page),)
        assert [(each.k, each.n) for each in after.places] == [(2, 4)]
        assert [each.name for each in (await ask(gateway)).pages] == [b"two"]

        await change(rig, "STANDARD")
        assert [each.name for each in (await ask(gateway)).pages] == [b"one"]


async def test_a_page_is_replaced_only_in_the_version_and_record_that_were_read(
    autojump_clock: MockClock,
) -> None:
    async with running() as rig:
        gateway = await swarm(rig)
        await gateway.put(b"one")
        await change(rig)
        (page,) = (await ask(gateway)).pages
        request = await replacement(gateway, page)
        other = replace(request, former=bytes(32))
        with pytest.raises(Refused, match="condition_failed"):
            await gateway.call(other)
        longer = m.Page((replace(request.page.extents[0], length=99),))
        with pytest.raises(Refused, match="bad_pages"):
            await gateway.call(replace(request, page=longer))
        with pytest.raises(NotFound, match="no_such_version"):
            await gateway.call(replace(request, number=1))
        with pytest.raises(NotFound, match="no_such_bucket"):
            await gateway.call(replace(request, bucket_id=BucketId(bytes(16))))
        await gateway.put(b"one")
        with pytest.raises(NotFound, match="no_such_version"):
            await gateway.call(request)
        assert (
            rig.one(
                "SELECT count(*) FROM segments s JOIN rings r ON r.ring = s.ring"
                " WHERE r.storage_class = 1"
            )
            == 0
        )


async def test_the_commit_of_a_version_that_has_followed_may_be_sent_again(
    autojump_clock: MockClock,
) -> None:
    async with running() as rig:
        gateway = await swarm(rig)
        commit, done = await gateway.put(b"one")
        await change(rig)
        (page,) = (await ask(gateway)).pages
        await gateway.call(await replacement(gateway, page))
        assert (await gateway.call(commit)).sequence == done.sequence
        with pytest.raises(Refused, match="version_exists"):
            await gateway.call(replace(commit, sealed=b"another"))


async def test_the_former_segment_is_deleted_and_the_new_one_with_its_object(
    autojump_clock: MockClock,
) -> None:
    async with running(delete_grace_s=5, write_lease_ttl_s=30) as rig:
        await trio.sleep(40)
        gateway = await swarm(rig)
        await gateway.put(b"one")
        await change(rig)
        (page,) = (await ask(gateway)).pages
        await gateway.call(await replacement(gateway, page))
        assert rig.one("SELECT count(*) FROM segments") == 2
        await trio.sleep(15)
        assert rig.one("SELECT count(*) FROM segments") == 1
        assert rig.one("SELECT count(*) FROM pages") == 1
        await gateway.delete(b"one")
        await trio.sleep(15)
        for table in ("segments", "pages", "misplaced_pages", "dropped"):
            assert rig.one(f"SELECT count(*) FROM {table}") == 0, table


async def test_pages_are_left_to_the_gateway_that_has_them_while_its_lease_lives(
    autojump_clock: MockClock,
) -> None:
    async with running(write_lease_ttl_s=30) as rig:
        gateway = await swarm(rig)
        await gateway.put(b"one")
        await change(rig)
        assert (await ask(gateway)).pages
        second = await rig.add_gateway("other")
        await second.prove(gateway.key, tenant_id=gateway.tenant_id)
        assert (await ask(second)).pages == ()
        assert (await ask(gateway)).pages, "it is asked for again"
        await trio.sleep(DEAD_S)
        second.lease = 0
        await second.connect()
        await second.prove(gateway.key, tenant_id=gateway.tenant_id)
        assert (await ask(second)).pages, "the first one is gone"


async def test_a_class_that_cannot_be_written_holds_up_no_other(autojump_clock: MockClock) -> None:
    async with running() as rig:
        gateway = await swarm(rig)
        every = {"name": "EVERY", "redundancy": "1/6", "write_quorum": 6}
        await rig.operate("POST", "/v1/classes", every)
        await gateway.make_bucket("second")
        await gateway.put(b"first")
        await gateway.put(b"second", bucket="second")
        await trio.sleep(2)
        await change(rig, "EVERY")
        await rig.operate("POST", "/v1/buckets/second/class", {"storage_class": "COLD"})
        await trio.sleep(2)
        assert [each.name for each in (await ask(gateway)).pages] == [b"first", b"second"]
        rig.cells[0].beating = False
        await trio.sleep(45)  # an idle connection, with what was proven on it, would end after 60 s
        reply = await ask(gateway)
        assert [each.name for each in reply.pages] == [b"second"]
        assert not reply.more
        rig.cells[0].beating = True
        await trio.sleep(20)
        assert [each.name for each in (await ask(gateway)).pages] == [b"first", b"second"]


async def test_other_tenants_are_told_nothing(autojump_clock: MockClock) -> None:
    async with running() as rig:
        gateway = await swarm(rig)
        await gateway.put(b"one")
        await change(rig)
        other = await rig.add_gateway("other")
        assert not (await ask(other, lease=0)).more
        assert (await ask(other)).pages == ()
        (page,) = (await ask(gateway)).pages
        request = await replacement(gateway, page)
        with pytest.raises(Refused, match="tenant_not_open"):
            await other.call(request)
        with pytest.raises(Refused, match="not_owner"):
            await other.call(replace(request, tenant_id=other.tenant_id))


async def test_a_version_that_comes_late_is_noted(autojump_clock: MockClock) -> None:
    async with running() as rig:
        gateway = await swarm(rig)
        await change(rig)
        await gateway.put(b"late")
        assert [each.name for each in (await ask(gateway)).pages] == [b"late"]


async def test_a_large_bucket_is_looked_through_in_small_transactions(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("common.limits.MAX_CLASS_SCANNED", 2)
    monkeypatch.setattr("common.limits.MAX_MISPLACED_PER_REPLY", 3)
    monkeypatch.setattr("common.limits.MAX_MISPLACED_LOOKED_AT", 4)
    async with running() as rig:
        gateway = await swarm(rig)
        names = [b"%d" % number for number in range(7)]
        for name in names:
            await gateway.put(name)
        await change(rig)
        await trio.sleep(10)
        assert rig.one("SELECT count(*) FROM class_scans") == 0
        found: list[bytes] = []
        reply = m.MisplacedPages((), 0, 0, True)
        while reply.more:
            reply = await ask(gateway, (reply.last, reply.last_number))
            found += [each.name for each in reply.pages]
        assert found == names


async def test_one_look_reads_few_extents_however_many_pages_are_where_they_should_be(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("common.limits.MAX_MISPLACED_EXTENTS", 3)
    async with running() as rig:
        gateway = await swarm(rig)
        for number in range(7):
            await gateway.put(b"%d" % number)
        await change(rig)
        await change(rig, "STANDARD")
        left = []
        reply = m.MisplacedPages((), 0, 0, True)
        while reply.more:
            reply = await ask(gateway, (reply.last, reply.last_number))
            assert reply.pages == ()
            left.append(rig.one("SELECT count(*) FROM misplaced_pages"))
        assert left == [4, 1, 0]
