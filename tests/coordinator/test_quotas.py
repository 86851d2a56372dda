"""Quotas of buckets: decided in the transaction that would exceed them, and in no other."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from coordinator_rig import BUCKET, Gateway, Rig, page, running
from trio.testing import MockClock

from common.errors import Refused
from common.wire import messages as m


async def quota(rig: Rig, bucket: str = BUCKET, **most: int) -> dict[str, Any]:
    told: dict[str, Any] = await rig.operate("POST", f"/v1/buckets/{bucket}/quota", most)
    return told


async def refused(gateway: Gateway, name: bytes, size: int = 100, **fields: Any) -> None:
    with pytest.raises(Refused, match="quota_exceeded"):
        await gateway.put(name, size, **fields)


def held(rig: Rig) -> tuple[int, int]:
    found: tuple[int, int] = rig.sql("SELECT objects, logical_bytes FROM bucket_usage")[0]
    return found


async def test_a_write_that_would_exceed_the_quota_leaves_nothing(
    autojump_clock: MockClock,
) -> None:
    async with running() as rig:
        gateway = await rig.add_gateway()
        await gateway.make_bucket()
        told = await quota(rig, bytes=250)
        assert told == {
            "name": BUCKET,
            "objects": 0,
            "logical_bytes": 0,
            "most_objects": None,
            "most_bytes": 250,
        }
        await gateway.put(b"a")
        await gateway.put(b"b")
        rows = rig.sql("SELECT count(*) FROM segments"), rig.sql("SELECT count(*) FROM pages")
        await refused(gateway, b"c")
        assert held(rig) == (2, 200)
        assert rows == (
            rig.sql("SELECT count(*) FROM segments"),
            rig.sql("SELECT count(*) FROM pages"),
        )
        await gateway.put(b"c", 50)
        await gateway.put(b"empty", 0)
        await gateway.put(b"b")
        await refused(gateway, b"b", 101)
        assert held(rig) == (4, 250)
        assert await gateway.delete(b"a") == [""]
        await gateway.put(b"d")
        listed = (await rig.operate("GET", "/v1/buckets"))["buckets"]
        assert listed == [{**told, "storage_class": "STANDARD", "objects": 4, "logical_bytes": 250}]


async def test_objects_are_counted_and_a_quota_that_is_lowered_takes_only_less(
    autojump_clock: MockClock,
) -> None:
    async with running() as rig:
        gateway = await rig.add_gateway()
        await gateway.make_bucket()
        for name in (b"a", b"b", b"c"):
            await gateway.put(name)
        told = await quota(rig, objects=2, bytes=100)
        assert (told["objects"], told["logical_bytes"]) == (3, 300)
        await refused(gateway, b"d", 0)
        await gateway.put(b"a", 60)
        await refused(gateway, b"a", 61)
        assert await gateway.delete(b"b") == [""]
        await refused(gateway, b"d", 0)
        assert await gateway.delete(b"c") == [""]
        await gateway.put(b"d", 40)
        assert held(rig) == (2, 100)
        await quota(rig)
        await gateway.put(b"e")
        await quota(rig, objects=0)
        assert await gateway.delete(b"a", b"d", b"e") == ["", "", ""]
        await refused(gateway, b"a", 0)
        assert held(rig) == (0, 0)


async def test_versions_count_and_markers_do_not(autojump_clock: MockClock) -> None:
    async with running() as rig:
        gateway = await rig.add_gateway()
        made = await gateway.make_bucket()
        await gateway.call(
            m.BucketVersioningSet(gateway.tenant_id, BUCKET, made.bucket_id, m.VERSIONED)
        )
        await quota(rig, objects=2)
        first = (await gateway.put(b"a"))[0].version_id
        await gateway.put(b"a")
        await refused(gateway, b"a")
        marker = m.DeleteItem(b"a", marker=b"marker", marker_id=gateway.new_id())
        assert await gateway.delete(marker) == [""]
        await refused(gateway, b"b")
        assert await gateway.delete(m.DeleteItem(b"a", first, named=True)) == [""]
        await gateway.put(b"b")
        assert held(rig) == (2, 200)


async def test_copies_and_uploads_in_parts_count(autojump_clock: MockClock) -> None:
    async with running() as rig:
        gateway = await rig.add_gateway()
        made = await gateway.make_bucket()
        await quota(rig, bytes=250)
        source = (await gateway.put(b"a"))[0]
        shared = source.pages
        await gateway.call(gateway.commit_of(b"copy", [], pages=shared, size=100))
        with pytest.raises(Refused, match="quota_exceeded"):
            await gateway.call(gateway.commit_of(b"another", [], pages=shared, size=100))

        upload = gateway.new_id()
        await gateway.call(
            m.UploadCreate(gateway.tenant_id, BUCKET, b"up", upload, b"sealed", made.bucket_id)
        )

        async def part(number: int, size: int) -> m.PartCommit:
            segment = await gateway.segment(size)
            pages = (page((segment.segment_id, 0, size)),)
            request = m.PartCommit(
                gateway.tenant_id,
                BUCKET,
                b"up",
                upload,
                number,
                gateway.new_id(),
                size,
                b"sealed",
                pages,
                (segment,),
            )
            await gateway.call(request)
            return request

        first = await part(1, 30)
        with pytest.raises(Refused, match="quota_exceeded"):
            await part(2, 21)
        second = await part(2, 20)
        await gateway.put(b"between", 10)
        chosen = (m.ChosenPart(1, first.part_id), m.ChosenPart(2, second.part_id))
        complete = m.UploadComplete(
            gateway.tenant_id,
            BUCKET,
            b"up",
            upload,
            chosen,
            50,
            b"sealed",
            b"summary",
            m.Condition(),
        )
        with pytest.raises(Refused, match="quota_exceeded"):
            await gateway.call(complete)
        assert await gateway.delete(b"between") == [""]
        await gateway.call(complete)
        assert held(rig) == (3, 250)


async def test_writes_at_the_same_time_exceed_no_quota_together(autojump_clock: MockClock) -> None:
    async with running() as rig:
        gateway = await rig.add_gateway()
        await gateway.make_bucket()
        await quota(rig, objects=3)
        done = 0

        async def put(number: int) -> None:
            nonlocal done
            try:
                await gateway.put(b"%d" % number)
            except Refused:
                return
            done += 1

        async with trio.open_nursery() as nursery:
            for number in range(8):
                nursery.start_soon(put, number)
        assert done == 3
        assert held(rig) == (3, 300)


async def test_a_quota_is_of_a_bucket_that_is_there_and_goes_with_it(
    autojump_clock: MockClock,
) -> None:
    async with running() as rig:
        gateway = await rig.add_gateway()
        await gateway.make_bucket()
        await quota(rig, objects=0)
        for path, body, status in (
            ("/v1/buckets/none/quota", {"objects": 1}, 404),
            (f"/v1/buckets/{BUCKET}/quota", {"objects": -1}, 400),
        ):
            answer = await rig.http("POST", path, body)
            assert answer.status_code == status, answer.text
        await gateway.call(m.BucketDelete(gateway.tenant_id, BUCKET))
        assert rig.sql("SELECT * FROM bucket_usage") == []
        await gateway.make_bucket()
        await gateway.put(b"a")
