"""What a coordinator has cells keep: the segments of versions under COMPLIANCE, and no others."""

from __future__ import annotations

from typing import Any

import pytest
from coordinator_rig import BUCKET, Gateway, Rig, page, running
from test_coordinator_multipart import NAME, completion, put_part
from test_coordinator_segments import root_of
from test_misplaced import ask, change, replacement, swarm
from trio.testing import MockClock

from common.errors import Refused
from common.ids import SegmentId
from common.wire import messages as m
from common.wire.messages.membership import COMMITTED, GARBAGE

YEAR_MS = 365 * 86_400_000


async def lockable(gateway: Gateway, bucket: m.BucketRecord, default: Any = None) -> None:
    """Let the versions of a bucket be locked."""
    place = (gateway.tenant_id, BUCKET, bucket.bucket_id)
    await gateway.call(m.BucketVersioningSet(*place, m.VERSIONED))
    await gateway.call(m.BucketLocksSet(*place, default or m.DefaultRetention()))


def in_years(rig: Rig, years: float) -> int:
    return int(rig.node.world.clock.now() * 1000 + years * YEAR_MS)


def kept_until(rig: Rig, segment_id: SegmentId) -> int:
    found: int = rig.one("SELECT retain_until_s FROM segments WHERE segment_id = ?", segment_id)
    return found


async def told(rig: Rig, segment: m.NewSegment, slot: int = 0, root: bytes | None = None) -> Any:
    """The verdict that the holder of a slot gets, and until when it is to keep the shard."""
    held = m.HeldShard(segment.segment_id, slot, root or root_of(segment, slot), 100)
    reply = await rig.holders(segment.segment_id)[slot].call(m.Settle((held,)))
    return reply.verdicts[0], reply.retain


async def test_holders_hear_until_when_a_committed_version_is_kept(
    autojump_clock: MockClock,
) -> None:
    async with running() as rig:
        gateway = await rig.add_gateway()
        await lockable(gateway, await gateway.make_bucket())
        until_ms = in_years(rig, 1) | 1  # No whole second: the end is rounded up.
        for lock, kept in (
            (m.Lock(m.COMPLIANCE, until_ms), until_ms // 1000 + 1),
            (m.Lock(m.GOVERNANCE, until_ms), 0),
            (m.Lock(hold=m.HOLD_ON), 0),
            (m.NO_LOCK, 0),
        ):
            segment = await gateway.segment(100)
            await gateway.call(gateway.commit_of(b"name", [segment], lock=lock))
            assert kept_until(rig, segment.segment_id) == kept
            assert await told(rig, segment) == (COMMITTED, (kept,) if kept else ())
            assert await told(rig, segment, 1, bytes(32)) == (GARBAGE, ())


async def test_a_retention_that_is_set_or_extended_later_counts_and_none_is_shorter(
    autojump_clock: MockClock,
) -> None:
    async with running() as rig:
        gateway = await rig.add_gateway()
        await lockable(gateway, await gateway.make_bucket())
        segment = await gateway.segment(100)
        request = gateway.commit_of(b"name", [segment])
        await gateway.call(request)
        place = (gateway.tenant_id, BUCKET, b"name", request.version_id)
        for mode, years, kept in (
            (m.GOVERNANCE, 1, 0),
            (m.COMPLIANCE, 2, 2),
            (m.COMPLIANCE, 3, 3),
        ):
            until_ms = in_years(rig, years) // 1000 * 1000
            await gateway.call(m.RetentionSet(*place, mode, until_ms, True))
            assert kept_until(rig, segment.segment_id) == (until_ms // 1000 if kept else 0)
        shared = page((segment.segment_id, 0, 100))
        for years in (1, 4):
            lock = m.Lock(m.COMPLIANCE, in_years(rig, years))
            copy = gateway.commit_of(b"copy", (), pages=(shared,), lock=lock)
            await gateway.call(copy)
            kept = kept_until(rig, segment.segment_id)
            assert kept >= until_ms // 1000
        assert kept == -(-lock.until_ms // 1000)


async def test_all_segments_of_an_upload_in_parts_are_kept(autojump_clock: MockClock) -> None:
    async with running() as rig:
        gateway = await rig.add_gateway()
        default = m.DefaultRetention(m.COMPLIANCE, years=1)
        await lockable(gateway, await gateway.make_bucket(), default)
        upload_id = gateway.new_id()
        await gateway.call(
            m.UploadCreate(gateway.tenant_id, BUCKET, NAME, upload_id, b"sealed upload")
        )
        parts = [await put_part(gateway, upload_id, number, (100, 200)) for number in (1, 2)]
        left_out = await put_part(gateway, upload_id, 3)
        assert rig.one("SELECT max(retain_until_s) FROM segments") == 0
        await gateway.call(completion(gateway, upload_id, parts))
        end = rig.one("SELECT retain_until_ms FROM versions")
        assert abs(end - in_years(rig, 1)) < 60_000
        for part in parts:
            for segment in part.segments:
                assert kept_until(rig, segment.segment_id) == -(-end // 1000)
        assert kept_until(rig, left_out.segments[0].segment_id) == 0


@pytest.mark.parametrize("kind", ["compliance", "governance", "hold"])
async def test_data_of_a_locked_version_is_not_exchanged_and_follows_later(
    autojump_clock: MockClock, kind: str
) -> None:
    async with running() as rig:
        gateway = await swarm(rig)
        bucket = await gateway.call(m.BucketGet(gateway.tenant_id, BUCKET))
        await lockable(gateway, bucket)
        mode = {"compliance": m.COMPLIANCE, "governance": m.GOVERNANCE}.get(kind, 0)
        request, _ = await gateway.put(b"locked")
        await gateway.put(b"free")
        await change(rig)
        free, page_of_it = sorted((await ask(gateway)).pages, key=lambda each: each.name)
        place = (gateway.tenant_id, BUCKET, b"locked", request.version_id)
        if mode:
            await gateway.call(m.RetentionSet(*place, mode, in_years(rig, 1)))
        else:
            await gateway.call(m.HoldSet(*place, m.HOLD_ON))
        assert (await ask(gateway)).pages == (free,)
        exchange = await replacement(gateway, page_of_it)
        with pytest.raises(Refused, match="version_locked"):
            await gateway.call(exchange)
        assert (await gateway.get(b"locked")).sealed == request.sealed
        if mode:
            rig.node.clock_offset_s += YEAR_MS / 1000
        else:
            await gateway.call(m.HoldSet(*place, m.HOLD_OFF))
        assert page_of_it in (await ask(gateway)).pages
        await gateway.call(exchange)


async def test_no_call_deletes_what_a_lock_keeps(autojump_clock: MockClock) -> None:
    async with running() as rig:
        gateway = await rig.add_gateway()
        bucket = await gateway.make_bucket()
        await lockable(gateway, bucket)
        lock = m.Lock(m.COMPLIANCE, in_years(rig, 1))
        request, _ = await gateway.put(b"name", lock=lock)
        await rig.restart()
        await gateway.connect()
        await gateway.open()
        named = m.DeleteItem(b"name", request.version_id, named=True, bypass=True)
        free = m.DeleteItem(b"name", marker=b"marker", marker_id=gateway.new_id())
        reply = await gateway.call(
            m.ObjectsDelete(gateway.tenant_id, BUCKET, (named, free), bucket.bucket_id)
        )
        reasons = [each.failure.reason if each.failure else "" for each in reply.results]
        assert reasons == ["version_locked", ""]
        for refused in (
            m.BucketDelete(gateway.tenant_id, BUCKET),
            m.BucketVersioningSet(gateway.tenant_id, BUCKET, bucket.bucket_id, m.SUSPENDED),
            m.RetentionSet(gateway.tenant_id, BUCKET, b"name", request.version_id, 0, 0, True),
        ):
            with pytest.raises(Exception, match=r"bucket_not_empty|bucket_has_locks|version_lock"):
                await gateway.call(refused)
        found = await gateway.call(
            m.ObjectGet(gateway.tenant_id, BUCKET, b"name", request.version_id, True, 0, 99, True)
        )
        assert found.lock == lock
        assert len(found.pages) == 1
