"""The life of a segment: granted, committed, shared, dropped, deleted; or never committed."""

import pytest
import trio
from coordinator_rig import bare, page, running

from common.errors import Refused, Unavailable
from common.ids import PeerId, lease_of, segment_id
from common.limits import MAX_LEASES_PER_CALLER, MAX_LEASES_PER_TENANT, SEGMENT_BYTES
from common.wire import messages as m
from common.wire.messages.membership import COMMITTED, GARBAGE, PENDING
from coordinator.journaled_store import STORE_NAME
from coordinator.store.leases import LeaseBook, LivingLease
from coordinator.store.purge import Grace


def root_of(segment, slot):
    return segment.roots[32 * slot : 32 * slot + 32]


async def test_deleted_objects_shards_are_deleted_on_their_cells(autojump_clock):
    async with running(delete_grace_s=30) as rig:
        gateway = await rig.add_gateway()
        await gateway.make_bucket()
        request, _ = await gateway.put(b"name")
        segment = request.segments[0]
        holders = rig.holders(segment.segment_id)
        await gateway.delete(b"name")
        await trio.sleep(25)
        for cell in rig.cells:
            assert (await cell.beat()).deletes == ()
        await trio.sleep(10)
        for slot, cell in enumerate(holders):
            wanted = (m.ShardName(segment.segment_id, slot),)
            assert (await cell.beat()).deletes == wanted
            assert (await cell.beat()).deletes == wanted  # repeated until confirmed
            assert (await cell.beat(deleted=wanted)).deletes == ()
        assert rig.one("SELECT count(*) FROM deletes") == 0
        assert rig.one("SELECT count(*) FROM versions") == 0
        assert rig.one("SELECT count(*) FROM pages") == 0


async def test_a_large_object_is_worked_off_in_many_small_transactions(autojump_clock):
    async with running(delete_grace_s=0) as rig:
        gateway = await rig.add_gateway()
        await gateway.make_bucket()
        segment = await gateway.segment(1000)
        pages = tuple(
            page(*[(segment.segment_id, offset % 1000, 1) for offset in range(256)])
            for _ in range(9)
        )
        await gateway.call(gateway.commit_of(b"name", [segment], pages=pages))
        assert rig.one("SELECT refs FROM segments") == 9 * 256
        await gateway.delete(b"name")
        await trio.sleep(5)
        assert rig.one("SELECT count(*) FROM pages") == 0
        assert rig.one("SELECT count(*) FROM segments") == 0


async def test_a_step_of_the_clock_shortens_no_grace_and_ends_no_lease(autojump_clock):
    async with running(delete_grace_s=60, write_lease_ttl_s=60) as rig:
        gateway = await rig.add_gateway()
        await gateway.make_bucket()
        old, _ = await gateway.put(b"name")
        waiting = await gateway.segment()
        await gateway.delete(b"name")
        rig.node.clock_offset_s += 10 * 86400
        await trio.sleep(30)
        await gateway.get(b"name", version_id=old.version_id)
        await gateway.call(gateway.commit_of(b"other", [waiting]))


async def test_settling_says_what_is_owned(autojump_clock):
    async with running() as rig:
        gateway = await rig.add_gateway()
        await gateway.make_bucket()
        request, _ = await gateway.put(b"name")
        segment = request.segments[0]
        holders = rig.holders(segment.segment_id)
        cell = holders[2]
        await gateway.open_lease()
        unknown = segment_id(gateway.lease, bytes(10))
        assert await cell.settle(
            (segment.segment_id, 2, root_of(segment, 2)),
            (segment.segment_id, 3, root_of(segment, 3)),  # another cell's slot
            (segment.segment_id, 60, bytes(32)),
            (unknown, 0, bytes(32)),
            (segment_id(gateway.lease - 1, bytes(10)), 0, bytes(32)),
        ) == [COMMITTED, GARBAGE, GARBAGE, PENDING, PENDING]


async def test_a_shard_of_a_lease_that_was_never_opened_is_kept(autojump_clock):
    """A store restored from an older copy must not have newer shards thrown away."""
    async with running() as rig:
        future = segment_id(1000, bytes(10))
        assert await rig.cells[0].settle((future, 0, bytes(32))) == [PENDING]


async def test_settling_finds_a_shard_that_was_missing(autojump_clock):
    async with running() as rig:
        gateway = await rig.add_gateway()
        await gateway.make_bucket()
        segment = await gateway.segment(durable=0b011111)
        await gateway.call(gateway.commit_of(b"name", [segment]))
        holder = rig.holders(segment.segment_id)[5]
        assert await holder.settle((segment.segment_id, 5, bytes(32))) == [GARBAGE]
        assert rig.one("SELECT count(*) FROM missing_shards") == 1
        assert await holder.settle((segment.segment_id, 5, root_of(segment, 5))) == [COMMITTED]
        assert rig.one("SELECT count(*) FROM missing_shards") == 0


async def test_a_shard_with_another_root_is_garbage_and_its_slot_is_missing(autojump_clock):
    async with running() as rig:
        gateway = await rig.add_gateway()
        await gateway.make_bucket()
        request, _ = await gateway.put(b"name")
        segment = request.segments[0].segment_id
        assert await rig.holders(segment)[1].settle((segment, 1, bytes(32))) == [GARBAGE]
        assert rig.sql("SELECT segment_id, slot FROM missing_shards") == [(segment, 1)]


async def test_only_the_cell_itself_may_lose_a_shard(autojump_clock):
    async with running() as rig:
        gateway = await rig.add_gateway()
        await gateway.make_bucket()
        request, _ = await gateway.put(b"name")
        segment = request.segments[0].segment_id
        holders = rig.holders(segment)
        await holders[0].call(m.ShardsLost((m.ShardName(segment, 1), m.ShardName(bytes(16), 0))))
        assert rig.one("SELECT count(*) FROM missing_shards") == 0
        await holders[1].call(m.ShardsLost((m.ShardName(segment, 1),)))
        assert rig.sql("SELECT segment_id, slot FROM missing_shards") == [(segment, 1)]
        assert (await gateway.get(b"name")).places[0].orders[1] == b""


async def test_a_readers_report_alone_marks_nothing_missing(autojump_clock):
    async with running() as rig:
        gateway = await rig.add_gateway()
        other = await rig.add_gateway("other")
        await gateway.make_bucket()
        request, _ = await gateway.put(b"name")
        segment = request.segments[0].segment_id
        bad = (m.BadShard(segment, 1, "leaf_mismatch"), m.BadShard(segment, 9, "no_such_slot"))
        await other.call(m.ShardsReport(other.tenant_id, bad))
        assert rig.sql("SELECT * FROM suspect_shards") == []
        await gateway.call(m.ShardsReport(gateway.tenant_id, bad))
        assert rig.sql("SELECT slot, reason FROM suspect_shards") == [(1, "leaf_mismatch")]
        assert rig.one("SELECT count(*) FROM missing_shards") == 0
        assert all((await gateway.get(b"name")).places[0].orders)


async def test_abandoned_segments_are_deleted_and_cannot_be_committed(autojump_clock):
    async with running() as rig:
        gateway = await rig.add_gateway()
        await gateway.make_bucket()
        committed, _ = await gateway.put(b"kept")
        segment = await gateway.segment()
        kept = committed.segments[0].segment_id
        await gateway.call(gateway.abandon_of(segment.segment_id, kept))
        assert rig.one("SELECT count(*) FROM deletes") == 6
        with pytest.raises(Refused, match="segment_abandoned"):
            await gateway.call(gateway.commit_of(b"name", [segment]))
        cell = rig.cells[0]
        assert await cell.settle((segment.segment_id, 0, bytes(32))) == [GARBAGE]
        assert (await gateway.get(b"kept")).places[0].segment_id == kept


async def test_nobody_abandons_anothers_segments(autojump_clock):
    async with running() as rig:
        gateway = await rig.add_gateway()
        other = await rig.add_gateway("other")
        await gateway.make_bucket()
        segment = await gateway.segment()
        with pytest.raises(Refused, match="not_lease_owner"):
            await other.call(gateway.abandon_of(segment.segment_id, tenant_id=other.tenant_id))
        for missing in ({"rings": ()}, {"orders": ()}):
            with pytest.raises(Refused, match="bad_rings"):
                await gateway.call(gateway.abandon_of(segment.segment_id, **missing))
        assert rig.one("SELECT count(*) FROM deletes") == 0
        await gateway.call(gateway.commit_of(b"name", [segment]))


@pytest.mark.fault("M6")
async def test_only_what_was_granted_under_a_lease_can_be_abandoned(autojump_clock):
    async with running() as rig:
        gateway = await rig.add_gateway()
        first, second = [(await gateway.segment()).segment_id for _ in range(2)]
        orders = gateway.granted[first].orders
        invented = segment_id(gateway.lease, bytes(10))
        for wrong in (
            gateway.abandon_of(first, segments=(invented,)),
            gateway.abandon_of(first, segments=(second,)),
            gateway.abandon_of(first, rings=(999,)),
            gateway.abandon_of(first, orders=(bytes(100),)),
            gateway.abandon_of(first, orders=(b"",)),
            gateway.abandon_of(first, orders=(orders[0][:-1] + b"x",)),
            gateway.abandon_of(first, second, orders=(orders[0], orders[1])),
            gateway.abandon_of(first, cells=(gateway.cells_of[first][1],)),
            gateway.abandon_of(first, cells=(PeerId(bytes(32)),)),
        ):
            with pytest.raises(Refused, match="not_granted"):
                await gateway.call(wrong)
        assert rig.one("SELECT count(*) FROM deletes") == 0
        assert rig.one("SELECT count(*) FROM abandoned") == 0
        await gateway.call(
            gateway.abandon_of(first, orders=(orders[3],), cells=(gateway.cells_of[first][3],))
        )
        assert rig.sql("SELECT segment_id FROM abandoned") == [(first,)]


@pytest.mark.fault("M6")
async def test_leases_are_limited_for_each_caller(autojump_clock):
    async with running() as rig:
        gateway = await rig.add_gateway()
        for _ in range(MAX_LEASES_PER_CALLER):
            await gateway.open_lease()
        with pytest.raises(Refused, match="too_many_leases"):
            await gateway.open_lease()
        await rig.restart()
        await gateway.open()
        with pytest.raises(Refused, match="too_many_leases"):
            await gateway.open_lease()
        await trio.sleep(310)  # those that nobody renewed have ended
        await gateway.open()
        await gateway.open_lease()


@pytest.mark.fault("M6")
def test_leases_are_limited_for_each_tenant_and_count_for_the_one_that_has_the_fewest():
    book = LeaseBook(10)
    callers = [PeerId(number.to_bytes(32, "big")) for number in range(MAX_LEASES_PER_TENANT + 2)]
    for caller in callers[2:]:
        assert book.begin(caller, [1]) == 1
    with pytest.raises(Refused, match="too_many_leases"):
        book.begin(callers[0], [1])
    assert book.begin(callers[0], [1, 2]) == 2
    book.not_opened(callers[2], 1)
    assert book.begin(callers[1], [1]) == 1


async def test_nobody_writes_under_anothers_lease(autojump_clock):
    async with running() as rig:
        gateway = await rig.add_gateway()
        other = await rig.add_gateway("other")
        await gateway.make_bucket()
        await other.make_bucket("other-bucket")
        segment = await gateway.segment()
        for request in (
            other.commit_of(b"name", [segment], bucket="other-bucket"),
            m.LeaseRenew(gateway.lease),
            m.WriteStart(other.tenant_id, gateway.lease, 1, 100),
        ):
            with pytest.raises(Refused, match="not_lease_owner"):
                await other.call(request)
        await rig.restart()
        await other.open()
        with pytest.raises(Refused, match="not_lease_owner"):
            await other.call(m.LeaseRenew(gateway.lease))
        await gateway.open()
        await gateway.call(gateway.commit_of(b"name", [segment]))


async def test_a_repeated_commit_is_answered_even_when_its_lease_has_ended(autojump_clock):
    async with running(write_lease_ttl_s=60) as rig:
        gateway = await rig.add_gateway()
        await gateway.make_bucket()
        request, committed = await gateway.put(b"name")
        await trio.sleep(100)
        assert rig.one("SELECT count(*) FROM leases") == 0
        await gateway.open()  # the idle connection was closed meanwhile
        assert bare(await gateway.call(request)) == bare(committed)


async def test_a_late_repeat_brings_no_deleted_object_back(autojump_clock):
    async with running(delete_grace_s=0) as rig:
        gateway = await rig.add_gateway()
        await gateway.make_bucket()
        request, _ = await gateway.put(b"name")
        await gateway.delete(b"name")
        await trio.sleep(10)
        with pytest.raises(Refused, match="segment_abandoned"):
            await gateway.call(request)


async def test_a_gateway_that_is_gone_loses_what_it_had_not_committed(autojump_clock):
    async with running(write_lease_ttl_s=60) as rig:
        gateway = await rig.add_gateway()
        await gateway.make_bucket()
        kept, _ = await gateway.put(b"kept")
        segment = await gateway.segment()
        cell = rig.cells[0]
        await trio.sleep(50)
        assert await cell.settle((segment.segment_id, 0, bytes(32))) == [PENDING]
        await trio.sleep(20)
        assert rig.one("SELECT count(*) FROM leases") == 0
        await gateway.open()  # the idle connection was closed meanwhile
        for request in (
            gateway.commit_of(b"late", [segment]),
            m.LeaseRenew(gateway.lease),
            m.WriteStart(gateway.tenant_id, gateway.lease, 1, 100),
        ):
            with pytest.raises(Refused, match="lease_ended"):
                await gateway.call(request)
        assert await cell.settle((segment.segment_id, 0, bytes(32))) == [GARBAGE]
        held = kept.segments[0]
        holder = rig.holders(held.segment_id)[0]
        assert await holder.settle((held.segment_id, 0, root_of(held, 0))) == [COMMITTED]


async def test_a_renewed_lease_lives_on(autojump_clock):
    async with running(write_lease_ttl_s=60) as rig:
        gateway = await rig.add_gateway()
        await gateway.make_bucket()
        segment = await gateway.segment()
        for _ in range(5):
            await trio.sleep(50)
            reply = await gateway.call(m.LeaseRenew(gateway.lease))
            assert (reply.lease, reply.ttl_s) == (gateway.lease, 60)
        await gateway.call(gateway.commit_of(b"name", [segment]))


async def test_the_end_of_a_lease_outlives_a_restart(autojump_clock):
    async with running(write_lease_ttl_s=60) as rig:
        gateway = await rig.add_gateway()
        await gateway.make_bucket()
        segment = await gateway.segment()
        await trio.sleep(70)
        await rig.restart()
        await gateway.open()
        with pytest.raises(Refused, match="lease_ended"):
            await gateway.call(gateway.commit_of(b"late", [segment]))
        await gateway.open_lease()
        assert gateway.lease > lease_of(segment.segment_id)


async def test_a_commit_that_fails_in_the_store_leaves_nothing(autojump_clock):
    async with running() as rig:
        gateway = await rig.add_gateway()
        await gateway.make_bucket()
        segment = await gateway.segment()
        database = rig.node.databases[STORE_NAME]
        database.fail_commits = 1.0
        request = gateway.commit_of(b"name", [segment])
        with pytest.raises(Unavailable, match="store_failed"):
            await gateway.call(request)
        database.fail_commits = 0.0
        assert rig.one("SELECT count(*) FROM segments") == 0
        await gateway.call(request)


async def test_grants_are_spread_and_name_the_cells_of_their_ring(autojump_clock):
    async with running(cells=8) as rig:
        gateway = await rig.add_gateway()
        await gateway.open_lease()
        reply = await gateway.call(
            m.WriteStart(gateway.tenant_id, gateway.lease, 32, SEGMENT_BYTES)
        )
        rings = dict(rig.sql("SELECT ring, 0 FROM rings"))
        assert len(reply.grants) == 32
        assert len({grant.segment_id for grant in reply.grants}) == 32
        for grant in reply.grants:
            assert (grant.k, grant.n, grant.quorum) == (4, 6, 5)
            assert len(set(grant.cells)) == 6
            assert lease_of(grant.segment_id) == gateway.lease
            rings[grant.ring] += 1
        assert sum(count > 0 for count in rings.values()) > len(rings) // 2


@pytest.mark.parametrize(
    ("count", "size", "reason"),
    [(0, 1, "bad_count"), (33, 1, "bad_count"), (1, 0, "bad_seg"), (1, SEGMENT_BYTES + 1, "bad_s")],
)
async def test_grants_have_bounds(autojump_clock, count, size, reason):
    async with running() as rig:
        gateway = await rig.add_gateway()
        await gateway.open_lease()
        with pytest.raises(Refused, match=reason):
            await gateway.call(m.WriteStart(gateway.tenant_id, gateway.lease, count, size))


def test_grace_counts_from_when_a_row_was_first_seen():
    grace = Grace(10)
    assert grace.due(0, 0) == 0
    assert grace.due(1, 5) == 0
    assert grace.due(6, 7) == 0
    assert grace.due(11, 7) == 5
    assert grace.due(15.9, 9) == 5
    assert grace.due(16, 9) == 7
    assert grace.due(100, 9) == 9
    assert grace.due(200, 0) == 9


def test_an_expired_lease_is_given_to_be_ended_until_that_is_done():
    owner = PeerId(bytes(32))
    book = LeaseBook(10)
    book.load([LivingLease(1, owner, 1), LivingLease(2, owner, 1)], 0)
    book.renew(2, owner, 5)
    assert book.take_expired(10) == []
    assert book.take_expired(11) == [1]
    assert book.take_expired(12) == [1]
    with pytest.raises(Refused, match="lease_ended"):
        book.renew(1, owner, 12)
    book.ended([1])
    assert book.take_expired(13) == []
    assert 2 in book
