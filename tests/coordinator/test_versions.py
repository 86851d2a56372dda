"""Versions in the coordinator's store, case by case."""

from __future__ import annotations

import pytest
import trio
from coordinator_rig import running
from trio.testing import MockClock
from versions_store import (
    ANY,
    BUCKET,
    TENANT,
    delete,
    get,
    ident,
    marker,
    named,
    put,
    set_versioning,
    store,
    sweep,
    versions_list,
)

from common.errors import NotFound, Refused
from common.ids import BucketId, PeerId
from common.wire import messages as m
from coordinator.store import buckets, listing, objects
from coordinator.store.segments import check_content


def test_versioning_is_enabled_and_suspended_and_nothing_else() -> None:
    sql = store()
    for state in (m.UNVERSIONED, 3):
        with pytest.raises(Refused, match="bad_value"):
            set_versioning(sql, state)
    assert set_versioning(sql, m.SUSPENDED).versioning == m.SUSPENDED
    assert set_versioning(sql, m.VERSIONED).versioning == m.VERSIONED
    assert buckets.get(sql, 1, "bucket").versioning == m.VERSIONED
    with pytest.raises(NotFound, match="no_such_bucket"):
        buckets.set_versioning(
            sql, 1, m.BucketVersioningSet(TENANT, "bucket", BucketId(b"c" * 16), m.VERSIONED)
        )


def test_versions_are_ordered_by_their_commits_and_not_by_a_clock() -> None:
    sql = store()
    set_versioning(sql, m.VERSIONED)
    request = m.ObjectCommit(TENANT, "bucket", b"a", ident(1), 0, b"s", b"", (), (), ANY, BUCKET)
    content = check_content((), (), 0)
    objects.commit(sql, 1, PeerId(bytes(32)), request, content, 1_000_000)
    put(sql, b"a", ident(2))
    assert [row.created_ms for row in versions_list(sql).versions] == [0, 1_000_000]
    assert get(sql, b"a").version_id == ident(2)


def test_a_delete_without_a_marker_is_refused_whole_where_one_is_needed() -> None:
    sql = store()
    put(sql, b"a", ident(1))
    set_versioning(sql, m.VERSIONED)
    with pytest.raises(Refused, match="marker_missing"):
        delete(sql, m.DeleteItem(b"a"))
    assert get(sql, b"a").version_id == ident(1)


def test_a_marker_takes_no_id_that_is_taken() -> None:
    sql = store()
    set_versioning(sql, m.VERSIONED)
    put(sql, b"a", ident(1))
    for name in (b"a", b"b"):
        with pytest.raises(Refused, match="version_exists"):
            delete(sql, marker(name, 1))


def test_a_marker_of_another_bucket_of_that_name_is_not_made() -> None:
    sql = store()
    set_versioning(sql, m.VERSIONED)
    request = m.ObjectsDelete(TENANT, "bucket", (marker(b"a", 1),), BucketId(b"c" * 16))
    with pytest.raises(NotFound, match="no_such_bucket"):
        objects.delete(sql, 1, request, 0)


def test_what_a_bucket_held_before_it_had_versions_is_its_null_version() -> None:
    sql = store()
    put(sql, b"a", ident(1))
    set_versioning(sql, m.VERSIONED)
    put(sql, b"a", ident(2))
    assert get(sql, b"a", named=True).version_id == ident(1)
    with pytest.raises(NotFound, match="no_such_version"):
        get(sql, b"a", ident(1), named=True)  # It is not known by its id.
    set_versioning(sql, m.SUSPENDED)
    put(sql, b"a", ident(3))
    assert [row.version_id for row in versions_list(sql).versions] == [ident(3), ident(2)]
    assert get(sql, b"a", ident(1)).version_id == ident(1)  # Its readers may go on.
    sweep(sql)
    with pytest.raises(NotFound, match="no_such_version"):
        get(sql, b"a", ident(1))


def test_garbage_collection_takes_dropped_versions_only() -> None:
    sql = store()
    set_versioning(sql, m.VERSIONED)
    for number in (1, 2, 3):
        put(sql, b"a", ident(number))
    delete(sql, marker(b"a", 4))
    sweep(sql)
    assert len(versions_list(sql).versions) == 4
    delete(sql, named(b"a", ident(2)), named(b"a", ident(4)))
    assert get(sql, b"a").version_id == ident(3)
    sweep(sql)
    left = sql.execute("SELECT version_id FROM versions ORDER BY sequence").fetchall()
    assert [row[0] for row in left] == [ident(1), ident(3)]


def test_a_listing_goes_on_after_a_version_that_was_deleted_meanwhile() -> None:
    sql = store()
    set_versioning(sql, m.VERSIONED)
    for number in range(1, 6):
        put(sql, b"a", ident(number))
    put(sql, b"b", ident(9))
    page = versions_list(sql, limit=2)
    assert [row.version_id for row in page.versions] == [ident(5), ident(4)]
    delete(sql, named(b"a", ident(5)), named(b"a", ident(4)))
    for collected in (False, True):
        if collected:
            sweep(sql)
        rest = versions_list(sql, after=page.last, after_version=page.last_version)
        ids = [row.version_id for row in rest.versions]
        assert ids == [ident(3), ident(2), ident(1), ident(9)]
        assert [row.is_latest for row in rest.versions] == [True, False, False, True]


def test_no_listing_sorts_and_no_look_up_scans() -> None:
    """However many versions a name has, the rows that are asked for are read in their order."""
    sql = store()
    set_versioning(sql, m.SUSPENDED)
    put(sql, b"a", ident(1))
    statements: list[str] = []
    sql.set_trace_callback(statements.append)
    versions_list(sql, after=b"a", after_version=ident(1))
    versions_list(sql, b"a", b"/")
    get(sql, b"a", named=True)
    get(sql, b"a", ident(1))
    put(sql, b"a", ident(2))
    delete(sql, marker(b"a", 3), named(b"a", None))
    put(sql, b"a", ident(4))
    sql.set_trace_callback(None)
    looked = [each for each in statements if each.startswith("SELECT") and "versions" in each]
    assert looked
    for statement in looked:
        plan = [row[3] for row in sql.execute("EXPLAIN QUERY PLAN " + statement)]
        assert all("USE TEMP B-TREE" not in step for step in plan), (statement, plan)
        assert all(not step.startswith("SCAN") for step in plan), (statement, plan)


@pytest.mark.parametrize("versioning", [m.UNVERSIONED, m.VERSIONED])
def test_statements_of_a_bucket_without_versions_are_as_few_as_ever(versioning: int) -> None:
    sql = store()
    if versioning:
        set_versioning(sql, versioning)
    counts: dict[str, int] = {}
    statements: list[str] = []
    sql.set_trace_callback(statements.append)

    def count(what: str) -> None:
        counts[what] = len(statements)
        statements.clear()

    put(sql, b"a", ident(1))
    count("put")
    put(sql, b"a", ident(2))
    count("replace")
    get(sql, b"a")
    count("get")
    listing.list_objects(sql, 1, m.ObjectsList(TENANT, "bucket", b"", b"", b"", 1000))
    count("list")
    delete(sql, m.DeleteItem(b"a") if not versioning else marker(b"a", 3))
    count("delete")
    if not versioning:
        # bucket, repeated?, current, sequence, version, name, account; and dropped twice.
        assert counts == {"put": 7, "replace": 9, "get": 2, "list": 2, "delete": 6}
    else:
        assert counts == {"put": 7, "replace": 7, "get": 2, "list": 2, "delete": 7}


def test_no_marker_is_made_of_a_name_that_cannot_be() -> None:
    sql = store()
    set_versioning(sql, m.VERSIONED)
    with pytest.raises(Refused, match="bad_name"):
        delete(sql, marker(b"", 1))


async def test_segments_of_versions_that_are_not_current_are_kept_filled_and_deleted_in_their_time(
    autojump_clock: MockClock,
) -> None:
    async with running(delete_grace_s=5) as rig:
        gateway = await rig.add_gateway()
        record = await gateway.make_bucket()
        await gateway.call(
            m.BucketVersioningSet(gateway.tenant_id, "bucket", record.bucket_id, m.VERSIONED)
        )
        # The first lacks a shard that its holder is to fill, whoever replaces the version.
        lacking = await gateway.segment(100, 0b011111)
        first = gateway.commit_of(b"a", [lacking])
        await gateway.call(first)
        second, _ = await gateway.put(b"a")
        third, _ = await gateway.put(b"a")
        await gateway.delete(
            m.DeleteItem(b"a", marker=b"marker", marker_id=gateway.new_id()),
        )
        await trio.sleep(30)
        held = {each.segments[0].segment_id for each in (first, second, third)}
        assert {row[0] for row in rig.sql("SELECT segment_id FROM segments")} == held
        assert rig.sql("SELECT segment_id, slot FROM missing_shards") == [(lacking.segment_id, 5)]
        assert not rig.sql("SELECT 1 FROM deletes")
        for each in (first, second, third):
            found = await gateway.get(b"a", version_id=each.version_id)
            assert [place.segment_id for place in found.places] == [
                segment.segment_id for segment in each.segments
            ]
        # A copy holds what it shares beyond the end of the version.
        copy = gateway.commit_of(b"copy", [], pages=second.pages)
        await gateway.call(copy)
        await gateway.delete(
            *(m.DeleteItem(b"a", each.version_id, named=True) for each in (first, second))
        )
        await trio.sleep(30)
        left = {each.segments[0].segment_id for each in (second, third)}
        assert {row[0] for row in rig.sql("SELECT segment_id FROM segments")} == left
        queued = rig.sql("SELECT DISTINCT segment_id FROM deletes")
        assert queued == [(lacking.segment_id,)]
