"""Uploads in parts: begun, filled, completed, aborted."""

import dataclasses

import pytest
import trio
from coordinator_rig import BUCKET, bare, page, running

from common.errors import NotFound, Refused
from common.wire import messages as m

NAME = b"big"


async def begin(gateway, upload_id=None):
    request = m.UploadCreate(
        gateway.tenant_id, BUCKET, NAME, upload_id or gateway.new_id(), b"sealed upload"
    )
    return (await gateway.call(request)).upload_id


async def part_of(gateway, upload_id, number, sizes=(100,)):
    segments = [await gateway.segment(size) for size in sizes]
    pages = tuple(page((s.segment_id, 0, s.segment_bytes)) for s in segments)
    return m.PartCommit(
        gateway.tenant_id,
        BUCKET,
        NAME,
        upload_id,
        number,
        gateway.new_id(),
        sum(sizes),
        b"sealed part",
        pages,
        tuple(segments),
    )


async def put_part(gateway, upload_id, number, sizes=(100,)):
    request = await part_of(gateway, upload_id, number, sizes)
    await gateway.call(request)
    return request


def completion(gateway, upload_id, parts, **fields):
    given = {
        "tenant_id": gateway.tenant_id,
        "bucket": BUCKET,
        "name": NAME,
        "upload_id": upload_id,
        "parts": tuple(m.ChosenPart(each.part_number, each.part_id) for each in parts),
        "size": sum(each.size for each in parts),
        "sealed": b"sealed object",
        "summary": b"summary",
        "condition": m.Condition(),
        **fields,
    }
    return m.UploadComplete(**given)


async def test_a_completed_upload_is_one_object_of_its_parts_in_order(autojump_clock):
    async with running() as rig:
        gateway = await rig.add_gateway()
        await gateway.make_bucket()
        upload_id = await begin(gateway)
        third = await put_part(gateway, upload_id, 3, (7,))
        first = await put_part(gateway, upload_id, 1, (100, 50, 30))
        second = await put_part(gateway, upload_id, 2, ())
        request = completion(gateway, upload_id, [first, second, third])
        committed = await gateway.call(request)
        assert bare(await gateway.call(request)) == bare(committed)
        record = await gateway.get(NAME)
        assert (record.version_id, record.size, record.sealed) == (upload_id, 187, b"sealed object")
        assert [(each.number, each.start, each.page) for each in record.pages] == [
            (0, 0, first.pages[0]),
            (1, 100, first.pages[1]),
            (2, 150, first.pages[2]),
            (3, 180, third.pages[0]),
        ]
        with pytest.raises(NotFound, match="no_such_upload"):
            await gateway.call(m.UploadGet(gateway.tenant_id, BUCKET, NAME, upload_id))
        assert rig.sql("SELECT objects, logical_bytes FROM bucket_usage") == [(1, 187)]
        assert rig.one("SELECT count(*) FROM dropped") == 0


@pytest.mark.fault("B10")
async def test_a_completion_is_idempotent_and_another_one_is_refused(autojump_clock):
    async with running() as rig:
        gateway = await rig.add_gateway()
        await gateway.make_bucket()
        upload_id = await begin(gateway)
        parts = [await put_part(gateway, upload_id, number) for number in (1, 2)]
        request = completion(gateway, upload_id, parts)
        committed = await gateway.call(request)
        assert bare(await gateway.call(request)) == bare(committed)
        with pytest.raises(Refused, match="version_exists"):
            await gateway.call(completion(gateway, upload_id, parts[:1], sealed=b"of one part"))


async def test_parts_not_chosen_and_parts_replaced_are_dropped(autojump_clock):
    async with running(delete_grace_s=0) as rig:
        gateway = await rig.add_gateway()
        await gateway.make_bucket()
        upload_id = await begin(gateway)
        await put_part(gateway, upload_id, 1)
        replacing = await put_part(gateway, upload_id, 1)
        await put_part(gateway, upload_id, 2)
        await gateway.call(completion(gateway, upload_id, [replacing]))
        await trio.sleep(10)
        assert rig.one("SELECT count(*) FROM segments") == 1
        assert rig.one("SELECT count(*) FROM deletes") == 12
        assert rig.one("SELECT count(*) FROM dropped") == 0
        assert len((await gateway.get(NAME)).places) == 1


async def test_a_part_is_idempotent_by_its_id(autojump_clock):
    async with running() as rig:
        gateway = await rig.add_gateway()
        await gateway.make_bucket()
        upload_id = await begin(gateway)
        request = await part_of(gateway, upload_id, 1)
        assert bare(await gateway.call(request)) == bare(await gateway.call(request))
        assert rig.one("SELECT count(*) FROM dropped") == 0
        assert rig.one("SELECT refs FROM segments") == 1


async def test_completion_refuses_parts_that_are_not_there(autojump_clock):
    async with running() as rig:
        gateway = await rig.add_gateway()
        await gateway.make_bucket()
        upload_id = await begin(gateway)
        part = await put_part(gateway, upload_id, 1)
        for wrong in (
            [dataclasses.replace(part, part_number=2)],
            [dataclasses.replace(part, part_id=gateway.new_id())],
            [part, part],
        ):
            with pytest.raises(NotFound, match="no_such_part"):
                await gateway.call(completion(gateway, upload_id, wrong))
        with pytest.raises(Refused, match="bad_pages"):
            await gateway.call(completion(gateway, upload_id, [part], size=99))
        await gateway.call(completion(gateway, upload_id, [part]))


async def test_a_failed_condition_leaves_the_upload_as_it_was(autojump_clock):
    async with running() as rig:
        gateway = await rig.add_gateway()
        await gateway.make_bucket()
        await gateway.put(NAME, 10)
        upload_id = await begin(gateway)
        part = await put_part(gateway, upload_id, 1)
        absent = m.Condition(absent=True)
        with pytest.raises(Refused, match="condition_failed"):
            await gateway.call(completion(gateway, upload_id, [part], condition=absent))
        assert (await gateway.get(NAME)).size == 10
        await gateway.call(completion(gateway, upload_id, [part]))
        assert (await gateway.get(NAME)).size == 100


async def test_an_aborted_upload_leaves_nothing(autojump_clock):
    async with running(delete_grace_s=0) as rig:
        gateway = await rig.add_gateway()
        await gateway.make_bucket()
        upload_id = await begin(gateway)
        part = await put_part(gateway, upload_id, 1)
        await gateway.call(m.UploadAbort(gateway.tenant_id, BUCKET, NAME, upload_id))
        for request in (
            m.UploadAbort(gateway.tenant_id, BUCKET, NAME, upload_id),
            completion(gateway, upload_id, [part]),
            part,
            m.PartsList(gateway.tenant_id, BUCKET, NAME, upload_id, 0, 10),
        ):
            with pytest.raises(NotFound, match="no_such_upload"):
                await gateway.call(request)
        await trio.sleep(10)
        assert rig.one("SELECT count(*) FROM segments") == 0
        await gateway.call(m.BucketDelete(gateway.tenant_id, BUCKET))


async def test_an_upload_belongs_to_its_name(autojump_clock):
    async with running() as rig:
        gateway = await rig.add_gateway()
        await gateway.make_bucket()
        upload_id = await begin(gateway)
        assert await begin(gateway, upload_id) == upload_id
        with pytest.raises(NotFound, match="no_such_upload"):
            await gateway.call(m.UploadGet(gateway.tenant_id, BUCKET, b"other", upload_id))
        with pytest.raises(Refused, match="upload_exists"):
            await gateway.call(
                m.UploadCreate(gateway.tenant_id, BUCKET, b"other", upload_id, b"sealed")
            )


async def test_parts_are_listed_in_pages(autojump_clock):
    async with running(cells=0) as rig:
        gateway = await rig.add_gateway()
        await gateway.make_bucket()
        upload_id = await begin(gateway)
        for number in (5, 1, 10_000, 77):
            await gateway.call(
                m.PartCommit(
                    gateway.tenant_id,
                    BUCKET,
                    NAME,
                    upload_id,
                    number,
                    gateway.new_id(),
                    0,
                    b"s" * 400_000,
                    (),
                    (),
                )
            )

        async def numbers(after, limit):
            reply = await gateway.call(
                m.PartsList(gateway.tenant_id, BUCKET, NAME, upload_id, after, limit)
            )
            return [row.part_number for row in reply.parts], reply.truncated

        assert await numbers(0, 1) == ([1], True)
        assert await numbers(1, 1) == ([5], True)
        assert await numbers(77, 1) == ([10_000], False)
        assert await numbers(10_000, 1) == ([], False)
        assert await numbers(0, 0) == ([], False)
        assert await numbers(0, 1000) == ([1], True)  # cut by the bytes of a reply


@pytest.mark.parametrize("number", [0, 10_001])
async def test_part_numbers_have_bounds(autojump_clock, number):
    async with running() as rig:
        gateway = await rig.add_gateway()
        await gateway.make_bucket()
        upload_id = await begin(gateway)
        with pytest.raises(Refused, match="bad_part_number"):
            await put_part(gateway, upload_id, number)


async def test_a_bucket_takes_its_uploads_with_it(autojump_clock):
    async with running(delete_grace_s=0) as rig:
        gateway = await rig.add_gateway()
        await gateway.make_bucket()
        upload_id = await begin(gateway)
        part = await put_part(gateway, upload_id, 1)
        await begin(gateway)
        await gateway.call(m.BucketDelete(gateway.tenant_id, BUCKET))
        await gateway.make_bucket()
        with pytest.raises(NotFound, match="no_such_upload"):
            await gateway.call(part)
        await trio.sleep(10)
        for table in ("uploads", "parts", "segments"):
            assert rig.one(f"SELECT count(*) FROM {table}") == 0


async def test_a_bucket_that_is_not_empty_keeps_its_uploads(autojump_clock):
    async with running() as rig:
        gateway = await rig.add_gateway()
        await gateway.make_bucket()
        await gateway.put(NAME)
        part = await put_part(gateway, await begin(gateway), 1)
        with pytest.raises(Refused, match="bucket_not_empty"):
            await gateway.call(m.BucketDelete(gateway.tenant_id, BUCKET))
        await gateway.call(part)


@pytest.mark.fault("L")
async def test_a_tenant_has_no_more_uploads_in_progress_than_it_may(autojump_clock):
    async with running(max_uploads_per_tenant=3) as rig:
        gateway, other = await rig.add_gateway(), await rig.add_gateway("other")
        await gateway.make_bucket()
        await gateway.make_bucket("second")
        await other.make_bucket("others")
        begun = [await begin(gateway) for _ in range(3)]
        for bucket in (BUCKET, "second"):
            request = m.UploadCreate(gateway.tenant_id, bucket, NAME, gateway.new_id(), b"sealed")
            with pytest.raises(Refused, match="too_many_uploads"):
                await gateway.call(request)
        # What is repeated because its answer was lost is answered as before.
        assert await begin(gateway, begun[0]) == begun[0]
        await other.call(m.UploadCreate(other.tenant_id, "others", NAME, other.new_id(), b"sealed"))
        part = await put_part(gateway, begun[0], 1)
        await gateway.call(completion(gateway, begun[0], [part]))
        await gateway.call(m.UploadAbort(gateway.tenant_id, BUCKET, NAME, begun[1]))
        await begin(gateway)
        await begin(gateway)
        with pytest.raises(Refused, match="too_many_uploads"):
            await begin(gateway)


@pytest.mark.fault("L")
async def test_uploads_that_go_with_their_bucket_are_not_counted_any_more(autojump_clock):
    async with running(max_uploads_per_tenant=2) as rig:
        gateway = await rig.add_gateway()
        for _ in range(2):
            await gateway.make_bucket()
            for _ in range(2):
                await begin(gateway)
            await gateway.call(m.BucketDelete(gateway.tenant_id, BUCKET))
        assert rig.one("SELECT uploads FROM tenants WHERE name = 'tenant'") == 0


@pytest.mark.fault("L")
async def test_records_of_uploads_and_buckets_are_bounded(autojump_clock):
    async with running() as rig:
        gateway = await rig.add_gateway()
        await gateway.make_bucket()
        for request in (
            m.UploadCreate(gateway.tenant_id, BUCKET, NAME, gateway.new_id(), bytes(32 * 1024 + 1)),
            m.BucketCreate(gateway.tenant_id, gateway.new_id(), "b", bytes(256 * 1024 + 1)),
        ):
            with pytest.raises(Refused, match="too_large"):
                await gateway.call(request)


@pytest.mark.fault("L")
async def test_a_tenant_has_no_more_buckets_than_it_may(autojump_clock):
    async with running(max_buckets_per_tenant=2) as rig:
        gateway, other = await rig.add_gateway(), await rig.add_gateway("other")
        await gateway.make_bucket("one")
        request = m.BucketCreate(gateway.tenant_id, gateway.new_id(), "two", b"")
        await gateway.call(request)
        with pytest.raises(Refused, match="too_many_buckets"):
            await gateway.make_bucket("three")
        await gateway.call(request)
        await other.make_bucket("three")
        await gateway.call(m.BucketDelete(gateway.tenant_id, "one"))
        await gateway.make_bucket("four")
