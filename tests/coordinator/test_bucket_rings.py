"""Segments are counted by bucket and ring as they come, are shared, move and go; and what that says
of each bucket is told."""

from __future__ import annotations

import trio
from coordinator_rig import BUCKET, Gateway, Rig, page, running, written
from trio.testing import MockClock

from common.wire import messages as m

SITES = ("bologna", "roma", "torino")


def counted(rig: Rig) -> dict[str, int]:
    """The segments that are counted for each bucket, on all rings."""
    return dict(
        rig.sql(
            "SELECT b.name, sum(r.segments) FROM bucket_rings r JOIN buckets b"
            " ON b.bucket = r.bucket GROUP BY b.name"
        )
    )


def check(rig: Rig) -> None:
    """Check every count against the segments."""
    found = set(rig.sql("SELECT bucket, ring, segments FROM bucket_rings"))
    wanted = set(
        rig.sql(
            "SELECT bucket, ring, count(*) FROM (SELECT segment_id, bucket, ring FROM segments"
            " UNION SELECT h.segment_id, h.bucket, s.ring FROM shared_segments h"
            " JOIN segments s ON s.segment_id = h.segment_id) GROUP BY bucket, ring"
        )
    )
    assert found == wanted


async def copy(gateway: Gateway, source: m.ObjectCommit, bucket: str, name: bytes) -> None:
    (extent,) = source.pages[0].extents
    shared = page((extent.segment_id, 0, extent.length))
    await gateway.call(gateway.commit_of(name, [], bucket=bucket, pages=(shared,)))


async def test_a_segment_is_counted_for_each_bucket_that_has_some_of_it(
    autojump_clock: MockClock,
) -> None:
    async with running(delete_grace_s=1, write_lease_ttl_s=20) as rig:
        await trio.sleep(30)
        gateway = await rig.add_gateway()
        for bucket in (BUCKET, "second", "third"):
            await gateway.make_bucket(bucket)
        source, _ = await gateway.put(b"one")
        await gateway.put(b"two")
        assert counted(rig) == {BUCKET: 2}
        await copy(gateway, source, "second", b"copy")
        await copy(gateway, source, "second", b"again")
        await copy(gateway, source, "third", b"copy")
        assert counted(rig) == {BUCKET: 2, "second": 1, "third": 1}
        check(rig)
        for names, bucket, wanted in (
            ((b"again",), "second", {BUCKET: 2, "second": 1, "third": 1}),
            ((b"one",), BUCKET, {BUCKET: 1, "second": 1, "third": 1}),
            ((b"copy",), "third", {BUCKET: 1, "second": 1}),
            ((b"copy",), "second", {BUCKET: 1}),
            ((b"two",), BUCKET, {}),
        ):
            await gateway.delete(*names, bucket=bucket)
            await trio.sleep(10)
            assert counted(rig) == wanted
            check(rig)
        assert rig.one("SELECT count(*) FROM shared_segments") == 0


async def test_parts_count_for_their_bucket_until_they_are_gone(autojump_clock: MockClock) -> None:
    async with running(delete_grace_s=1, write_lease_ttl_s=20) as rig:
        await trio.sleep(30)
        gateway = await rig.add_gateway()
        await gateway.make_bucket()
        upload = gateway.new_id()
        await gateway.call(m.UploadCreate(gateway.tenant_id, BUCKET, b"key", upload, b"sealed"))
        for _ in range(2):  # the second replaces the first
            segment = await gateway.segment(100)
            whole = page((segment.segment_id, 0, 100))
            await gateway.call(
                m.PartCommit(
                    gateway.tenant_id,
                    BUCKET,
                    b"key",
                    upload,
                    1,
                    gateway.new_id(),
                    100,
                    b"sealed",
                    (whole,),
                    (segment,),
                )
            )
        assert counted(rig) == {BUCKET: 2}
        await trio.sleep(10)
        assert counted(rig) == {BUCKET: 1}
        await gateway.call(m.UploadAbort(gateway.tenant_id, BUCKET, b"key", upload))
        await trio.sleep(10)
        assert counted(rig) == {}


async def test_the_margin_of_each_bucket_is_told_in_status_and_metrics(
    autojump_clock: MockClock,
) -> None:
    async with running(cells=0) as rig:
        for number in range(9):
            await rig.add_cell(site=SITES[number % 3])
        gateway = await rig.add_gateway()
        for bucket in (BUCKET, "cold", "empty"):
            await gateway.make_bucket(bucket)
        await rig.operate(
            "POST",
            "/v1/classes",
            {"name": "ONE", "redundancy": "2/3", "sites": ["bologna"]},
        )
        await trio.sleep(2)
        await gateway.put(b"one")
        await rig.operate("POST", "/v1/buckets/cold/class", {"storage_class": "ONE"})
        if not gateway.lease:
            await gateway.open_lease()
        grants = await gateway.call(m.WriteStart(gateway.tenant_id, gateway.lease, 1, 100, "ONE"))
        segment = written(grants.grants[0], 100, gateway.chance)
        await gateway.call(gateway.commit_of(b"cold", [segment], bucket="cold"))
        await trio.sleep(40)
        cold, plain = (await rig.operate("GET", "/v1/status"))["buckets"]
        assert (cold["bucket"], cold["margin"], cold["site"], cold["after"]) == (
            "cold",
            1,
            "bologna",
            -2,
        )
        assert (cold["segments"], cold["unreadable"], cold["unreadable_after"]) == (1, 0, 1)
        assert (plain["bucket"], plain["margin"], plain["after"]) == (BUCKET, 2, 0)
        metrics = (await rig.http("GET", "/metrics")).text
        assert 'alveary_bucket_margin{after="site",bucket="cold"} -2.0' in metrics
        assert f'alveary_bucket_margin{{after="nothing",bucket="{BUCKET}"}} 2.0' in metrics
        assert 'alveary_bucket_segments_unreadable{after="site",bucket="cold"} 1.0' in metrics
