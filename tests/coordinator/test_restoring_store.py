"""What a rescue looks up in a store: a tenant's own, as it is, and where its shards are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from common.ids import SegmentId, TenantId
from coordinator.store import restoring
from coordinator.store.schema import migrate
from sim.stores import connect_in_memory

OURS, THEIRS = TenantId(bytes([1]) * 16), TenantId(bytes([2]) * 16)
SEGMENT = SegmentId(b"s" * 16)


@pytest.fixture
def sql() -> Iterator[Any]:
    with closing(connect_in_memory()) as connection:
        migrate(connection)
        for number, tenant in enumerate((OURS, THEIRS), start=1):
            connection.execute(
                "INSERT INTO tenants (tenant_id, name, proof_key, created_ms) VALUES (?, ?, ?, 0)",
                (tenant, f"tenant-{number}", bytes(32)),
            )
            connection.execute(
                "INSERT INTO buckets (bucket_id, name, tenant, created_ms, settings)"
                " VALUES (?, ?, ?, 0, x'00')",
                (bytes([number]) * 16, f"bucket-{number}", number),
            )
        yield connection


def add(sql: Any, sequence: int, name: bytes, *, bucket: int = 1, dropped: int = 0) -> None:
    sql.execute(
        "INSERT INTO versions (sequence, bucket, name, version_id, dropped, size, created_ms,"
        " summary, sealed, tags, acl, class_name)"
        " VALUES (?, ?, ?, ?, ?, 10, 0, x'', x'', x'', x'', x'')",
        (sequence, bucket, name, bytes([sequence]) * 16, dropped),
    )


def make_current(sql: Any, sequence: int, name: bytes, bucket: int = 1) -> None:
    sql.execute("INSERT OR REPLACE INTO current VALUES (?, ?, ?)", (bucket, name, sequence))


def in_pages(sql: Any, bucket: int, *, all_versions: bool) -> list[int]:
    """The versions of a bucket, one at a time: the same as all at once."""
    found: list[restoring.PlaceInBucket] = []
    while page := restoring.listed(
        sql, bucket, found[-1] if found else None, 1, all_versions=all_versions
    ):
        found += page
    assert found == restoring.listed(sql, bucket, None, 9, all_versions=all_versions)
    return [each.sequence for each in found]


def test_pages_are_read_from_an_index_and_nothing_is_sorted(sql: Any) -> None:
    plans: list[str] = []

    class Explaining:
        def execute(self, query: str, parameters: Any) -> Any:
            plan = sql.execute(f"EXPLAIN QUERY PLAN {query}", parameters)
            plans.extend(detail for *_, detail in plan)
            return sql.execute(query, parameters)

    for all_versions in (False, True):
        for after in (None, restoring.PlaceInBucket(b"a", 7)):
            restoring.listed(Explaining(), 1, after, 9, all_versions=all_versions)
    # Behind a version the others of its name come first: they are not gone through from its latest.
    (of_one_name,) = (each for each in plans if "bucket=? AND name=? AND sequence<?" in each)
    assert len(plans) == 5
    for plan in plans:
        assert plan.startswith("SEARCH")
        assert plan is of_one_name or "bucket=? AND name>?" in plan


def test_versions_are_those_of_the_tenant_that_were_not_dropped(sql: Any) -> None:
    for sequence, name, bucket, dropped in (
        (1, b"a", 1, 0),
        (2, b"a", 1, 0),
        (3, b"b", 1, 1),
        (4, b"c", 2, 0),
        (5, b"d", 1, 0),
    ):
        add(sql, sequence, name, bucket=bucket, dropped=dropped)
    for sequence, name, bucket in ((2, b"a", 1), (5, b"d", 1), (4, b"c", 2)):
        make_current(sql, sequence, name, bucket)
    assert in_pages(sql, 1, all_versions=False) == [2, 5]
    assert in_pages(sql, 1, all_versions=True) == [2, 1, 5]
    assert in_pages(sql, 2, all_versions=True) == [4]
    assert restoring.total(sql, OURS, all_versions=False) == (2, 20)
    assert restoring.total(sql, OURS, all_versions=True) == (3, 30)
    assert [restoring.version(sql, each).is_latest for each in (1, 2, 5)] == [False, True, True]
    assert [each.name for each in restoring.buckets(sql, OURS)] == ["bucket-1"]


@pytest.mark.parametrize(("other", "begins"), [(b"a/", True), (b"a/b", True), (b"a0", False)])
def test_a_name_begins_others_that_go_on_with_a_slash(sql: Any, other: bytes, begins: bool) -> None:
    make_current(sql, 1, b"a")
    make_current(sql, 2, other)
    assert restoring.begins_others(sql, 1, b"a") is begins


def test_a_shard_is_where_its_holder_or_the_slots_source_has_it(sql: Any) -> None:
    for number in range(1, 6):
        sql.execute(
            "INSERT INTO cells (cell_id, site, owner, joined_ms, joined_at_s, address_host,"
            " address_port, facts) VALUES (?, '', '', 0, 0, ?, ?, x'')",
            (bytes([number]) * 32, f"cell-{number}", 0 if number == 4 else 7000),
        )
    sql.execute(
        "INSERT INTO rings (ring, k, n, quorum, is_open, created_ms) VALUES (1, 2, 4, 3, 1, 0)"
    )
    for slot in range(4):
        sql.execute("INSERT INTO ring_slots (ring, slot, cell) VALUES (1, ?, ?)", (slot, slot + 1))
    sql.execute(
        "INSERT INTO segments VALUES (?, 1, 1, 100, 60, 60, 1, ?, 1, 0)", (SEGMENT, bytes(4 * 32))
    )
    for slot, source_lacks in ((0, 0), (1, 1)):
        sql.execute(
            "INSERT INTO missing_shards VALUES (?, ?, 1, ?, 0)", (SEGMENT, slot, source_lacks)
        )
        sql.execute("INSERT INTO sources VALUES (1, ?, 5, 0, 1, 'lost')", (slot,))
    found = restoring.segment(sql, SEGMENT)
    assert found is not None
    # The source has the first; nobody is known to have the second; the fourth has no address.
    assert [each and each.host for each in found.cells] == ["cell-5", "cell-2", "cell-3", None]
    assert restoring.segment(sql, SegmentId(bytes(16))) is None
    # Two shards are needed: those of the source and the third are there, but for the holders.
    for numbers, unreadable in (
        ({3, 5}, 0),
        ({1, 2, 3, 5}, 0),
        ({1, 2, 3}, 1),
        ({2, 3}, 1),
        ({3}, 1),
        ({3, 4}, 0),
    ):
        ids = {bytes([number]) * 32 for number in numbers}
        assert restoring.unreadable(sql, ids) == unreadable, numbers
    sql.execute("DELETE FROM missing_shards")
    reachable = {bytes([number]) * 32 for number in (2, 3)}
    assert restoring.unreadable(sql, reachable) == 0
    assert restoring.unreadable(sql, reachable - {bytes([2]) * 32}) == 1
    assert [each.host for each in restoring.endpoints(sql)] == [
        "cell-1",
        "cell-2",
        "cell-3",
        "cell-5",
    ]
