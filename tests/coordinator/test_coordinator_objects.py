"""Objects are committed, looked up, replaced and deleted, decided inside one transaction."""

import dataclasses

import pytest
import trio
from coordinator_rig import BUCKET, bare, page, running

from common.crypto import epochs
from common.crypto.orders import OrderAction, check
from common.errors import NotFound, Refused
from common.ids import BucketId, VersionId
from common.limits import MAX_SEGMENTS_PER_GRANT
from common.wire import messages as m


async def test_a_committed_object_is_found_with_places_and_good_orders(autojump_clock):
    async with running() as rig:
        gateway = await rig.add_gateway()
        bucket = await gateway.make_bucket()
        request, committed = await gateway.put(b"name", 1000)
        record = await gateway.get(b"name")
        assert record.bucket_id == bucket.bucket_id
        assert record.version_id == request.version_id
        assert (record.sequence, record.created_ms) == (committed.sequence, committed.created_ms)
        assert (record.size, record.sealed) == (1000, b"sealed")
        assert [placed.page for placed in record.pages] == list(request.pages)
        (place,) = record.places
        segment = request.segments[0]
        assert (place.segment_id, place.roots) == (segment.segment_id, segment.roots)
        assert (place.k, place.n, place.segment_bytes) == (4, 6, 1000)
        for slot, cell in enumerate(place.cells):
            endpoint = record.endpoints[cell]
            holder = rig.cell_of(endpoint.cell_id)
            beat = await holder.beat()
            order = check(
                beat.order_key,
                place.orders[slot],
                actions=[OrderAction.GET],
                caller=gateway.identity.peer_id,
                now=rig.node.world.clock.now(),
                seen_epoch=epochs.read(beat.order_epoch),
            )
            assert order.epoch == epochs.read(beat.order_epoch) > 0
            assert (order.segment_id, order.slot) == (segment.segment_id, slot)
            assert (endpoint.host, endpoint.port) == (holder.node.name, 7000)


async def test_a_lookup_without_places_names_no_cell(autojump_clock):
    async with running() as rig:
        gateway = await rig.add_gateway()
        await gateway.make_bucket()
        await gateway.put(b"name")
        record = await gateway.get(b"name", places=False)
        assert (record.pages, record.places, record.endpoints) == ((), (), ())


async def test_what_is_not_there_is_named(autojump_clock):
    async with running() as rig:
        gateway = await rig.add_gateway()
        with pytest.raises(NotFound, match="no_such_bucket"):
            await gateway.get(b"name")
        await gateway.make_bucket()
        with pytest.raises(NotFound, match="no_such_object"):
            await gateway.get(b"name")
        request, _ = await gateway.put(b"name")
        with pytest.raises(NotFound, match="no_such_version"):
            await gateway.get(b"name", version_id=gateway.new_id())
        with pytest.raises(NotFound, match="no_such_version"):
            await gateway.get(b"other", version_id=request.version_id)


async def test_the_same_version_again_gets_the_same_answer(autojump_clock):
    async with running() as rig:
        gateway = await rig.add_gateway()
        await gateway.make_bucket()
        request, first = await gateway.put(b"name")
        assert bare(await gateway.call(request)) == bare(first)
        await gateway.put(b"name", 7)
        assert bare(await gateway.call(request)) == bare(first)
        assert (await gateway.get(b"name")).size == 7
        assert rig.one("SELECT logical_bytes FROM bucket_usage") == 7


async def test_an_empty_object_has_no_pages(autojump_clock):
    async with running() as rig:
        gateway = await rig.add_gateway()
        await gateway.make_bucket()
        await gateway.put(b"empty", 0)
        record = await gateway.get(b"empty")
        assert (record.size, record.pages, record.places) == (0, (), ())
        assert await gateway.delete(b"empty") == [""]


async def test_a_replaced_version_can_be_read_on_for_the_grace_and_not_longer(autojump_clock):
    async with running(delete_grace_s=60) as rig:
        gateway = await rig.add_gateway()
        await gateway.make_bucket()
        old, _ = await gateway.put(b"name", 1000)
        new, _ = await gateway.put(b"name", 10)
        assert (await gateway.get(b"name")).version_id == new.version_id
        await trio.sleep(50)
        record = await gateway.get(b"name", version_id=old.version_id)
        assert record.size == 1000
        assert len(record.places) == 1
        assert [row.version_id for row in (await gateway.names()).objects] == [new.version_id]
        await trio.sleep(20)
        with pytest.raises(NotFound, match="no_such_version"):
            await gateway.get(b"name", version_id=old.version_id)
        assert (await gateway.get(b"name", version_id=new.version_id)).size == 10


async def test_only_one_of_many_creates_wins(autojump_clock):
    async with running() as rig:
        gateway = await rig.add_gateway()
        await gateway.make_bucket()
        await gateway.open_lease()
        outcomes = []

        async def create():
            try:
                await gateway.put(b"name", condition=m.Condition(absent=True))
                outcomes.append("won")
            except Refused as error:
                outcomes.append(error.reason)

        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(create)
        assert sorted(outcomes) == ["condition_failed"] * 19 + ["won"]
        assert rig.one("SELECT count(*) FROM versions") == 1


async def test_only_one_of_many_compare_and_swaps_wins(autojump_clock):
    async with running() as rig:
        gateway = await rig.add_gateway()
        await gateway.make_bucket()
        base, _ = await gateway.put(b"name")
        won = []
        lost = []

        async def swap(number):
            try:
                condition = m.Condition(version_id=base.version_id)
                won.append((await gateway.put(b"name", 100 + number, condition=condition))[0])
            except Refused as error:
                lost.append(error.reason)

        async with trio.open_nursery() as nursery:
            for number in range(10):
                nursery.start_soon(swap, number)
        assert lost == ["condition_failed"] * 9
        assert len(won) == 1
        assert (await gateway.get(b"name")).version_id == won[0].version_id


async def test_a_condition_on_an_absent_name_fails(autojump_clock):
    async with running() as rig:
        gateway = await rig.add_gateway()
        await gateway.make_bucket()
        with pytest.raises(Refused, match="condition_failed"):
            await gateway.put(b"name", condition=m.Condition(version_id=gateway.new_id()))


async def test_deletes_answer_item_by_item(autojump_clock):
    async with running() as rig:
        gateway = await rig.add_gateway()
        await gateway.make_bucket()
        a, _ = await gateway.put(b"a")
        await gateway.put(b"b")
        other = gateway.new_id()
        assert await gateway.delete(
            b"nothing",
            m.DeleteItem(b"a", condition=m.Condition(version_id=other)),
            m.DeleteItem(b"b", version_id=other),
        ) == ["", "condition_failed", ""]
        assert [row.name for row in (await gateway.names()).objects] == [b"a", b"b"]
        assert await gateway.delete(
            m.DeleteItem(b"a", condition=m.Condition(version_id=a.version_id)), b"b"
        ) == ["", ""]
        assert (await gateway.names()).objects == ()
        assert rig.sql("SELECT objects, logical_bytes FROM bucket_usage") == [(0, 0)]


@pytest.mark.parametrize(
    ("beside", "request_of"), [("tags", m.ObjectTagsSet), ("acl", m.ObjectAclSet)]
)
async def test_what_lies_beside_a_version_is_replaced_and_the_version_stays(
    autojump_clock, beside, request_of
):
    async with running() as rig:
        gateway = await rig.add_gateway("tenant")
        other = await rig.add_gateway("other")
        await gateway.make_bucket()
        request, made = await gateway.put(b"name", 5, **{beside: b"given"})
        assert getattr(await gateway.get(b"name"), beside) == b"given"
        place = (gateway.tenant_id, BUCKET, b"name")
        for value in (b"new", b"", b"newest", b"newest"):
            await gateway.call(request_of(*place, request.version_id, value))
            found = await gateway.get(b"name")
            assert (getattr(found, beside), found.version_id, found.sequence, found.sealed) == (
                value,
                request.version_id,
                made.sequence,
                request.sealed,
            )
        again = await gateway.call(request)
        assert again.sequence == made.sequence, "the same commit again"
        wrong = (
            request_of(gateway.tenant_id, BUCKET, b"another", request.version_id, b"x"),
            request_of(*place, VersionId(b"v" * 16), b"x"),
        )
        for each in wrong:
            with pytest.raises(NotFound, match="no_such_version"):
                await gateway.call(each)
        with pytest.raises(NotFound, match="no_such_bucket"):
            await gateway.call(
                request_of(gateway.tenant_id, "nothing", b"name", request.version_id, b"x")
            )
        with pytest.raises(Refused, match="not_owner"):
            await other.call(request_of(other.tenant_id, BUCKET, b"name", request.version_id, b"x"))
        assert getattr(await gateway.get(b"name"), beside) == b"newest"
        await gateway.put(b"name", 5)
        assert getattr(await gateway.get(b"name"), beside) == b""
        with pytest.raises(NotFound, match="no_such_version"):  # it was replaced
            await gateway.call(request_of(*place, request.version_id, b"x"))


async def test_versions_are_ordered_by_the_sequence_and_not_by_a_clock(autojump_clock):
    async with running() as rig:
        gateway = await rig.add_gateway()
        await gateway.make_bucket()
        sequences = []
        for step in (0, 5000, -90000, 3600):
            rig.node.clock_offset_s += step
            sequences.append((await gateway.put(b"name"))[1].sequence)
        assert sequences == sorted(set(sequences))


async def test_a_commit_is_bound_to_its_bucket_and_not_to_the_buckets_name(autojump_clock):
    async with running() as rig:
        gateway = await rig.add_gateway()
        first = await gateway.make_bucket()
        await gateway.call(m.BucketDelete(gateway.tenant_id, BUCKET))
        second = await gateway.make_bucket()
        with pytest.raises(NotFound, match="no_such_bucket"):
            await gateway.put(b"name", bucket_id=first.bucket_id)
        await gateway.put(b"name", bucket_id=second.bucket_id)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"size": 99}, "bad_pages"),
        ({"pages": ()}, "bad_pages"),
        ({"pages": (m.Page(()),)}, "bad_pages"),
        ({"segments": ()}, "no_such_segment"),
        ({"name": b""}, "bad_name"),
        ({"size": 6 * 1024**4}, "too_large"),
    ],
)
async def test_malformed_commits_are_refused(autojump_clock, change, reason):
    async with running() as rig:
        gateway = await rig.add_gateway()
        await gateway.make_bucket()
        segments = [await gateway.segment()]
        request = dataclasses.replace(gateway.commit_of(b"name", segments), **change)
        with pytest.raises((Refused, NotFound), match=reason):
            await gateway.call(request)
        assert rig.one("SELECT count(*) FROM versions") == 0
        assert rig.one("SELECT count(*) FROM segments") == 0


@pytest.mark.parametrize(
    "extents",
    [
        [(0, 101)],
        [(1, 100)],
        [(0, 50), (60, 41)],
        [(0, 0), (0, 100)],
        [(1 << 62, 1)],
    ],
)
async def test_extents_lie_inside_their_segments(autojump_clock, extents):
    async with running() as rig:
        gateway = await rig.add_gateway()
        await gateway.make_bucket()
        segment = await gateway.segment(100)
        pages = (page(*[(segment.segment_id, offset, length) for offset, length in extents]),)
        with pytest.raises(Refused, match="bad_pages"):
            await gateway.call(gateway.commit_of(b"name", [segment], pages=pages))


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        (lambda s: {"durable": 0b001111}, "below_quorum"),
        (lambda s: {"durable": 1 << 6 | 0b11111}, "bad_segment"),
        (lambda s: {"roots": s.roots[:-1]}, "bad_segment"),
        (lambda s: {"roots": s.roots + bytes(32)}, "bad_segment"),
        (lambda s: {"ring": 10_000}, "bad_segment"),
        (lambda s: {"unit_bytes": s.unit_bytes + 1}, "bad_segment"),
        (lambda s: {"shard_bytes": s.shard_bytes + 1}, "bad_segment"),
        (lambda s: {"segment_id": bytes(16)}, "lease_ended"),
        (lambda s: {"segment_id": b"\xff" * 16}, "lease_ended"),
    ],
)
async def test_segments_that_cannot_be_are_refused(autojump_clock, changed, reason):
    async with running() as rig:
        gateway = await rig.add_gateway()
        await gateway.make_bucket()
        good = await gateway.segment()
        segment = dataclasses.replace(good, **changed(good))
        with pytest.raises(Refused, match=reason):
            await gateway.call(gateway.commit_of(b"name", [segment]))
        assert rig.one("SELECT count(*) FROM segments") == 0
        await gateway.call(gateway.commit_of(b"name", [good]))


async def test_a_segment_cannot_be_committed_twice(autojump_clock):
    async with running() as rig:
        gateway = await rig.add_gateway()
        await gateway.make_bucket()
        segment = await gateway.segment()
        await gateway.call(gateway.commit_of(b"a", [segment]))
        with pytest.raises(Refused, match="segment_exists"):
            await gateway.call(gateway.commit_of(b"b", [segment]))


@pytest.mark.fault("F1")
async def test_a_quorum_is_enough_and_the_rest_is_remembered_as_missing(autojump_clock):
    async with running() as rig:
        gateway = await rig.add_gateway()
        await gateway.make_bucket()
        segment = await gateway.segment(durable=0b101111)
        await gateway.call(gateway.commit_of(b"name", [segment]))
        assert rig.sql("SELECT segment_id, slot FROM missing_shards") == [(segment.segment_id, 4)]
        place = (await gateway.get(b"name")).places[0]
        assert [bool(order) for order in place.orders] == [True] * 4 + [False, True]
        status = await rig.operate("GET", "/v1/status")
        assert status["missing"] == {
            "segments_lost": 0,
            "shards": 1,
            "segments_at_risk": 1,
            "suspect_shards": 0,
            "silent_shards": 0,
            "lost_shards": 0,
        }


async def test_ranges_name_only_the_segments_they_need(autojump_clock):
    async with running() as rig:
        gateway = await rig.add_gateway()
        await gateway.make_bucket()
        segments = [await gateway.segment(100) for _ in range(70)]
        pages = tuple(
            page(*[(s.segment_id, 0, 100) for s in segments[at : at + 7]]) for at in range(0, 70, 7)
        )
        await gateway.call(gateway.commit_of(b"name", segments, pages=pages))

        async def needed(first, last):
            record = await gateway.get(b"name", first=first, last=last)
            ids = [each.segment_id for each in record.places]
            numbers = [
                next(i for i, s in enumerate(segments) if s.segment_id == each) for each in ids
            ]
            for placed in record.pages:
                assert placed.start == placed.number * 700
                assert placed.page == pages[placed.number]
            return [placed.number for placed in record.pages], numbers

        assert await needed(0, 0) == ([0], [0])
        assert await needed(99, 100) == ([0], [0, 1])
        assert await needed(650, 750) == ([0, 1], [6, 7])
        assert await needed(6999, 10**12) == ([9], [69])
        assert await needed(7000, 10**12) == ([], [])
        assert await needed(3500, 3599) == ([5], [35])
        assert await needed(0, 10**12) == ([0, 1, 2, 3], list(range(28)))
        assert len((await needed(100, 10**12))[1]) <= MAX_SEGMENTS_PER_GRANT


async def test_copies_share_segments_until_the_last_is_gone(autojump_clock):
    async with running(delete_grace_s=0) as rig:
        gateway = await rig.add_gateway()
        await gateway.make_bucket()
        source, _ = await gateway.put(b"source", 100)
        segment = source.segments[0].segment_id
        pages = (page((segment, 10, 20), (segment, 50, 50)),)
        await gateway.call(gateway.commit_of(b"copy", [], pages=pages))
        assert rig.one("SELECT refs FROM segments") == 3
        await gateway.delete(b"source")
        await trio.sleep(10)
        assert rig.one("SELECT refs FROM segments") == 2
        assert (await gateway.get(b"copy")).places[0].segment_id == segment
        await gateway.delete(b"copy")
        await trio.sleep(10)
        assert rig.one("SELECT count(*) FROM segments") == 0
        assert rig.one("SELECT count(*) FROM deletes") == 6
        with pytest.raises(NotFound, match="no_such_segment"):
            await gateway.call(gateway.commit_of(b"late", [], pages=pages))


async def test_shared_extents_lie_inside_their_segment(autojump_clock):
    async with running() as rig:
        gateway = await rig.add_gateway()
        await gateway.make_bucket()
        source, _ = await gateway.put(b"source", 100)
        pages = (page((source.segments[0].segment_id, 50, 51)),)
        with pytest.raises(Refused, match="bad_pages"):
            await gateway.call(gateway.commit_of(b"copy", [], pages=pages))
        assert rig.one("SELECT refs FROM segments") == 1


async def test_everything_is_there_after_a_crash(autojump_clock):
    async with running() as rig:
        gateway = await rig.add_gateway()
        await gateway.make_bucket()
        request, _ = await gateway.put(b"name", 1000)
        segment = await gateway.segment()
        await rig.restart()
        await gateway.open()
        record = await gateway.get(b"name")
        assert record.version_id == request.version_id
        assert [endpoint.port for endpoint in record.endpoints] == [7000] * 6
        # The lease outlives the restart, and so does what was granted under it.
        await gateway.call(gateway.commit_of(b"other", [segment]))
        await gateway.put(b"third")


async def test_bucket_ids_on_the_wire_are_the_gateways(autojump_clock):
    async with running() as rig:
        gateway = await rig.add_gateway()
        bucket_id = BucketId(gateway.new_id())
        request = m.BucketCreate(gateway.tenant_id, bucket_id, BUCKET, b"settings")
        made = await gateway.call(request)
        assert made.bucket_id == bucket_id
        assert await gateway.call(request) == made
        assert await gateway.call(m.BucketGet(gateway.tenant_id, BUCKET)) == made
