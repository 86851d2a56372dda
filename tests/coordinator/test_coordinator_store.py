"""The coordinator's tables on the real store: made, kept over restarts, shared by many writers."""

import dataclasses

import pytest
import trio
from coordinator_rig import page

from common.erasure.geometry import Geometry
from common.errors import BadConfig, Refused
from common.ids import BucketId, PeerId, SegmentId, TenantId, VersionId, segment_id
from common.reasons import ConfigFault
from common.system.sqlite import SqliteStores
from common.wire import messages as m
from coordinator.journaled_store import STORE_NAME
from coordinator.policy.placement import Redundancy, RingPlan
from coordinator.store import buckets, leases, objects, rings, segments, tenants
from coordinator.store.dialect import set_version
from coordinator.store.schema import SCHEMA_DIGEST, SCHEMA_VERSION, migrate, next_number

TENANT_ID = TenantId(bytes(16))
WRITER = PeerId(bytes(32))
CLASS = Redundancy(4, 6, 5)
GEOMETRY = Geometry.plan(4, 6, 4096)


def prepare(sql):
    migrate(sql)
    tenants.create(sql, "tenant", TENANT_ID, bytes(32), 0)
    buckets.create(
        sql, 1, m.BucketCreate(TENANT_ID, BucketId(bytes(16)), "bucket", b""), 0, most_buckets=1
    )
    rings.apply(sql, RingPlan(((1, 2, 3, 4, 5, 6),), (), ()), CLASS, 0)
    return leases.open_lease(sql, WRITER, 1, 0)


def commit_of(number, lease, name=None, condition=None):
    segment = m.NewSegment(
        segment_id(lease, number.to_bytes(10, "big")),
        1,
        0,
        4096,
        GEOMETRY.unit_bytes,
        GEOMETRY.shard_bytes,
        bytes(32 * 6),
        0b111111,
    )
    return m.ObjectCommit(
        TENANT_ID,
        "bucket",
        b"name-%d" % number if name is None else name,
        VersionId(number.to_bytes(16, "big")),
        4096,
        b"s" * 300,
        b"u" * 100,
        (page((segment.segment_id, 0, 4096)),),
        (segment,),
        condition or m.Condition(),
    )


def work_of(request):
    content = segments.check_content(request.pages, request.segments, request.size)
    return lambda sql: objects.commit(sql, 1, WRITER, request, content, 0)


def get_of(name):
    request = m.ObjectGet(TENANT_ID, "bucket", name, None, True, 0, 1 << 40)
    return lambda sql: objects.get(sql, 1, request)


async def test_what_was_committed_is_there_after_reopening(tmp_path):
    stores = SqliteStores(tmp_path)
    store = await stores.open(STORE_NAME)
    lease = await store.transact(prepare)
    committed = await store.transact(work_of(commit_of(1, lease)))
    await store.close()
    store = await stores.open(STORE_NAME)
    assert await store.transact(migrate) == SCHEMA_VERSION
    assert await store.transact(work_of(commit_of(1, lease))) == committed
    found = await store.read(get_of(b"name-1"))
    assert found.sequence == committed.sequence
    assert [each.segment_id for each in found.stored] == [
        commit_of(1, lease).segments[0].segment_id
    ]
    assert await store.read(leases.alive) == [leases.LivingLease(lease, WRITER, 1)]
    await store.close()


async def test_of_many_conditional_commits_at_once_one_wins(tmp_path):
    store = await SqliteStores(tmp_path).open(STORE_NAME)
    lease = await store.transact(prepare)
    won, lost = [], []

    async def create(number):
        request = commit_of(number, lease, b"same", m.Condition(absent=True))
        try:
            won.append(await store.transact(work_of(request)))
        except Refused as error:
            lost.append(error.reason)

    async with trio.open_nursery() as nursery:
        for number in range(50):
            nursery.start_soon(create, number)
    assert len(won) == 1
    assert lost == ["condition_failed"] * 49
    count = await store.read(lambda sql: sql.execute("SELECT count(*) FROM segments").fetchone())
    assert count == (1,)
    await store.close()


async def test_a_refused_commit_takes_no_segment_in(tmp_path):
    store = await SqliteStores(tmp_path).open(STORE_NAME)
    lease = await store.transact(prepare)
    good, bad = commit_of(1, lease), commit_of(2, lease)
    request = dataclasses.replace(
        good,
        size=8192,
        segments=(good.segments[0], dataclasses.replace(bad.segments[0], durable=0b11)),
        pages=(*good.pages, *bad.pages),
    )
    with pytest.raises(Refused, match="below_quorum"):
        await store.transact(work_of(request))
    for table in ("segments", "versions", "pages", "current"):
        query = f"SELECT count(*) FROM {table}"
        assert await store.read(lambda sql, q=query: sql.execute(q).fetchone()) == (0,)
    sequence = await store.transact(lambda sql: next_number(sql, "sequence"))
    assert sequence == 1  # the number was given back with the rest
    await store.close()


async def test_a_store_of_a_newer_version_is_not_touched(tmp_path):
    store = await SqliteStores(tmp_path).open(STORE_NAME)
    await store.transact(migrate)

    def contract(sql):
        sql.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
        least = (SCHEMA_VERSION + 1,)
        sql.execute("UPDATE counters SET value = ? WHERE name = 'least_version'", least)

    await store.transact(contract)
    with pytest.raises(BadConfig, match="upgrade this coordinator"):
        await store.transact(migrate)
    await store.close()


@pytest.mark.parametrize("digest", [0, SCHEMA_DIGEST ^ 1])
async def test_a_store_of_this_version_with_other_tables_is_not_touched(tmp_path, digest):
    store = await SqliteStores(tmp_path).open(STORE_NAME)
    await store.transact(migrate)
    assert await store.transact(migrate) == SCHEMA_VERSION
    await store.transact(lambda sql: set_version(sql, SCHEMA_VERSION, digest))
    with pytest.raises(BadConfig, match="other tables") as refused:
        await store.transact(migrate)
    assert refused.value.reason == ConfigFault.STORE_UNRELEASED
    await store.close()


def test_a_segments_id_begins_with_its_lease():
    assert segment_id(1, bytes(10)) == SegmentId(b"\0\0\0\0\0\1" + bytes(10))
