"""The store's history: what a coordinator tells of it, hears of it, and then refuses to do."""

import pytest
import trio
from coordinator_rig import BUCKET, running
from test_retained_segments import lockable

from common.crypto.positions import Position, issue, position_key, read
from common.errors import Unavailable
from common.wire import messages as m
from common.wire.messages.membership import GARBAGE, PENDING
from coordinator.policy.history import CoordinatorRun, Past, Standing, judge, lacking

A, B, C = (letter * 16 for letter in (b"a", b"b", b"c"))


def past(*runs, accepted=()):
    return Past([CoordinatorRun(number + 1, *run) for number, run in enumerate(runs)], accepted)


@pytest.mark.parametrize(
    ("history", "commit", "told", "standing"),
    [
        (past((A, 1)), 10, [], Standing.CURRENT),
        (past((A, 1)), 10, [Position(1, A, 1, 10)], Standing.CURRENT),
        (past((A, 1)), 10, [Position(1, A, 1, 11)], Standing.BEHIND),
        (past((A, 1), (B, 11)), 50, [Position(1, A, 1, 10)], Standing.CURRENT),
        (past((A, 1), (B, 11)), 50, [Position(1, A, 1, 11)], Standing.BEHIND),
        # The other history began its second run later: it has more of what both had in common.
        (past((A, 1), (B, 11)), 50, [Position(2, C, 12, 13)], Standing.BEHIND),
        (past((A, 1), (B, 11)), 50, [Position(2, C, 9, 90)], Standing.FORKED),
        (past((A, 1)), 10, [Position(2, C, 9, 90)], Standing.FORKED),
        (past((A, 1)), 10, [Position(2, C, 11, 12)], Standing.BEHIND),
        # Stopped, copied, and both copies started: the one with more transactions.
        (past((A, 1), (B, 11)), 50, [Position(2, C, 11, 49)], Standing.FORKED),
        (past((A, 1), (B, 11)), 50, [Position(2, C, 11, 50)], Standing.BEHIND),
        # Only the earliest start that is lacking says where they parted.
        (past((A, 1)), 10, [Position(2, C, 9, 9), Position(3, B, 40, 41)], Standing.FORKED),
        (past((A, 1)), 10, [Position(2, C, 9, 9), Position(1, A, 1, 11)], Standing.BEHIND),
        (past((A, 1), accepted=(C,)), 10, [Position(2, C, 11, 99)], Standing.CURRENT),
        (past((A, 1), (B, 11), accepted=(A,)), 50, [Position(1, A, 1, 99)], Standing.CURRENT),
    ],
)
def test_a_store_is_judged_by_what_its_swarm_has_seen(history, commit, told, standing):
    assert judge(history, commit, told) is standing


@pytest.mark.parametrize(
    ("history", "commit", "told", "number"),
    [
        (past((A, 1)), 10, [], 0),
        (past((A, 1)), 10, [Position(1, A, 1, 10)], 0),
        (past((A, 1)), 10, [Position(1, A, 1, 17)], 7),
        (past((A, 1), (B, 11)), 50, [Position(1, A, 1, 90)], 80),
        (past((A, 1)), 10, [Position(2, C, 11, 30)], 20),
        (past((A, 1), (B, 11)), 50, [Position(2, C, 9, 90)], 82),
        (past((A, 1)), 10, [Position(1, A, 1, 12), Position(2, C, 13, 99)], 89),
    ],
)
def test_transactions_that_a_store_lacks_are_counted(history, commit, told, number):
    assert lacking(history, commit, told) == number


@pytest.mark.fault("M1", "F4")
async def test_replies_tell_a_position_that_grows_with_every_transaction(autojump_clock):
    async with running() as rig:
        gateway = await rig.add_gateway()
        await gateway.make_bucket()
        _, first = await gateway.put(b"name")
        _, second = await gateway.put(b"name")
        assert read(first.position).run_id == read(second.position).run_id
        assert read(first.position).commit < read(second.position).commit
        reply = await rig.cells[0].beat()
        assert read(reply.position).commit >= read(second.position).commit
        await rig.restart()
        again = await rig.cells[0].beat()
        assert read(again.position).run == read(second.position).run + 1
        assert again.run_id != reply.run_id


@pytest.mark.fault("M1", "F4")
async def test_one_gateway_that_has_seen_more_stops_an_older_store(autojump_clock):
    async with running() as rig:
        gateway = await rig.add_gateway()
        await gateway.make_bucket()
        older = rig.copy()
        _, committed = await gateway.put(b"name")
        await rig.restart_with(older)
        await gateway.connect()
        with pytest.raises(Unavailable, match="store_behind"):
            await gateway.open((committed.position,))
        assert rig.one("SELECT count(*) FROM told_positions") == 1
        await rig.restart()  # it knows without being told again
        await gateway.connect()
        with pytest.raises(Unavailable, match="store_behind"):
            await gateway.open()
        reply = await rig.cells[0].beat()
        assert (reply.position, reply.withdrawn) == (b"", True)


@pytest.mark.fault("M1", "F4")
@pytest.mark.parametrize(
    "change",
    [
        lambda place, bucket: m.ObjectTagsSet(*place, b"tags"),
        lambda place, bucket: m.ObjectAclSet(*place, b"acl"),
        lambda place, bucket: m.RetentionSet(*place, m.COMPLIANCE, 1 << 43),
        lambda place, bucket: m.HoldSet(*place, m.HOLD_ON),
        lambda place, bucket: m.BucketLocksSet(*place[:2], bucket, m.DefaultRetention()),
    ],
    ids=["tags", "acl", "retention", "hold", "locks"],
)
async def test_a_run_that_has_acknowledged_a_change_is_not_withdrawn(autojump_clock, change):
    async with running() as rig:
        gateway = await rig.add_gateway()
        bucket = await gateway.make_bucket()
        await lockable(gateway, bucket)
        request, _ = await gateway.put(b"name")
        older = rig.copy()
        _, committed = await gateway.put(b"another")
        await rig.restart_with(older)
        await gateway.connect()
        await gateway.open()
        place = (gateway.tenant_id, BUCKET, b"name", request.version_id)
        await gateway.call(change(place, bucket.bucket_id))
        cell = rig.cells[0]
        cell.seen = (committed.position,)
        reply = await cell.beat()
        assert (reply.position, reply.withdrawn) == (b"", False)


@pytest.mark.fault("M1", "F4")
async def test_a_position_that_no_coordinator_issued_changes_nothing(autojump_clock):
    async with running() as rig:
        gateway = await rig.add_gateway()
        forged = issue(position_key(bytes(32)), Position(99, b"z" * 16, 1 << 40, 1 << 41))
        await gateway.open((forged,))
        reply = await rig.cells[0].beat()
        assert read(reply.position).run == 1
        assert (await rig.http("GET", "/healthz")).status_code == 200


@pytest.mark.fault("M1", "F4")
async def test_a_store_that_is_behind_deletes_nothing_and_calls_nothing_garbage(autojump_clock):
    async with running(delete_grace_s=0, write_lease_ttl_s=20) as rig:
        gateway = await rig.add_gateway()
        await gateway.make_bucket()
        await gateway.put(b"old")
        segment = await gateway.segment()
        await gateway.delete(b"old")
        older = rig.copy()
        _, committed = await gateway.put(b"new")
        cell = rig.cells[0]
        await rig.restart_with(older)
        cell.seen = (committed.position,)
        await trio.sleep(100)
        assert (await cell.beat()).deletes == ()
        held = (segment.segment_id, 0, bytes(32))
        assert await cell.settle(held) == [PENDING]
        assert rig.one("SELECT count(*) FROM dropped") == 1
        assert rig.one("SELECT count(*) FROM leases") == 1
        assert (await rig.http("GET", "/readyz")).status_code == 503
        with pytest.raises(Unavailable, match="store_behind"):
            await cell.call(m.ShardsLost((m.ShardName(segment.segment_id, 0),)))
        assert (await rig.http("POST", "/v1/invites", {})).status_code == 503
        assert (await rig.operate("POST", "/v1/store/accept"))["standing"] == "current"
        await trio.sleep(100)
        assert rig.one("SELECT count(*) FROM dropped") == 0
        assert await cell.settle(held) == [PENDING]  # of a lease of an earlier start


@pytest.mark.fault("M1", "F4")
async def test_leases_of_earlier_starts_make_no_garbage_until_a_grace_is_over(autojump_clock):
    async with running(write_lease_ttl_s=20, inherited_lease_grace_s=200) as rig:
        gateway = await rig.add_gateway()
        await gateway.make_bucket()
        segment = await gateway.segment()
        held = (segment.segment_id, 0, bytes(32))
        await rig.restart()
        await trio.sleep(100)
        assert rig.one("SELECT count(*) FROM leases") == 0
        assert await rig.cells[0].settle(held) == [PENDING]
        await trio.sleep(110)
        assert await rig.cells[0].settle(held) == [GARBAGE]


@pytest.mark.fault("M1", "F4")
async def test_nothing_is_deleted_before_every_peer_could_tell_of_a_newer_store(autojump_clock):
    async with running(delete_grace_s=0, write_lease_ttl_s=60) as rig:
        gateway = await rig.add_gateway()
        await gateway.make_bucket()
        await gateway.put(b"name")
        await gateway.delete(b"name")
        await rig.restart()
        await trio.sleep(50)
        assert rig.one("SELECT count(*) FROM dropped") == 1
        await trio.sleep(20)
        assert rig.one("SELECT count(*) FROM dropped") == 0
        assert (await rig.cells[0].beat()).deletes or (await rig.cells[1].beat()).deletes
