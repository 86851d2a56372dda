"""Versions in the coordinator's store: what is current, null, latest, listed, locked and kept,
against a model of it."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, field

import pytest
import trio
from coordinator_rig import running
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    rule,
)
from trio.testing import MockClock

from common.client.policy.answers import check_answer, rolled_up
from common.errors import NotFound, Refused
from common.ids import BucketId, PeerId, TenantId, VersionId
from common.wire import messages as m
from coordinator.store import buckets, listing, objects, purge, tenants, usage
from coordinator.store.schema import migrate
from coordinator.store.segments import check_content
from sim.stores import connect_in_memory

TENANT = TenantId(bytes(16))
BUCKET = BucketId(b"b" * 16)
NAMES = (b"a", b"a/", b"a/b", b"a/c", b"b")
ANY = m.Condition()


@dataclass
class Version:
    """A version of the model. ``null``: it is the null version of its name."""

    version_id: VersionId
    null: bool
    marker: bool = False
    lock: m.Lock = m.NO_LOCK

    def is_governed(self, now_ms: int) -> bool:
        return self.lock.mode == m.GOVERNANCE and now_ms < self.lock.until_ms

    def is_compliant(self, now_ms: int) -> bool:
        return self.lock.mode == m.COMPLIANCE and now_ms < self.lock.until_ms

    def must_stay(self, now_ms: int, *, bypass: bool) -> bool:
        """Whether it is locked, as S3's documentation says it."""
        held = self.lock.hold == m.HOLD_ON
        return held or self.is_compliant(now_ms) or (self.is_governed(now_ms) and not bypass)


@dataclass
class Names:
    """Versions of each name, the latest first: what S3 has."""

    versioning: int = m.UNVERSIONED
    default: m.DefaultRetention | None = None
    held: dict[bytes, list[Version]] = field(default_factory=dict)

    def of(self, name: bytes) -> list[Version]:
        return self.held.setdefault(name, [])

    def current(self, name: bytes) -> Version | None:
        versions = self.of(name)
        return versions[0] if versions and not versions[0].marker else None

    def named(self, name: bytes, version_id: VersionId | None) -> Version | None:
        return next(
            (
                each
                for each in self.of(name)
                if (each.null if version_id is None else each.version_id == version_id)
                and (version_id is None or not each.null)
            ),
            None,
        )

    def add(self, name: bytes, version: Version) -> None:
        versions = self.of(name)
        if self.versioning != m.VERSIONED:
            versions[:] = [each for each in versions if not each.null]
        versions.insert(0, version)

    def delete(self, name: bytes, marker_id: VersionId) -> None:
        if self.versioning == m.UNVERSIONED:
            self.of(name).clear()
        else:
            self.add(name, Version(marker_id, self.versioning != m.VERSIONED, marker=True))

    def rows(self, prefix: bytes, delimiter: bytes) -> list[tuple[bytes, Version | None]]:
        """All rows of a listing; (prefix, None) where names are rolled up."""
        rows: list[tuple[bytes, Version | None]] = []
        for name in sorted(name for name in self.held if self.held[name]):
            if not name.startswith(prefix):
                continue
            roll = rolled_up(name, prefix, delimiter)
            if roll is None:
                rows += [(name, version) for version in self.held[name]]
            elif not rows or rows[-1] != (roll, None):
                rows.append((roll, None))
        return rows


def store() -> sqlite3.Connection:
    sql: sqlite3.Connection = connect_in_memory()
    migrate(sql)
    tenants.create(sql, "tenant", TENANT, bytes(32), 0)
    buckets.create(sql, 1, m.BucketCreate(TENANT, BUCKET, "bucket", b""), 0, most_buckets=5)
    return sql


def set_versioning(sql: sqlite3.Connection, versioning: int) -> m.BucketRecord:
    request = m.BucketVersioningSet(TENANT, "bucket", BUCKET, versioning)
    record = buckets.set_versioning(sql, 1, request)
    check_answer(request, record)
    return record


def put(
    sql: sqlite3.Connection,
    name: bytes,
    version_id: VersionId,
    condition: m.Condition = ANY,
    sealed: bytes = b"sealed",
    lock: m.Lock = m.NO_LOCK,
    now_ms: int = 0,
) -> m.Committed:
    request = m.ObjectCommit(
        *(TENANT, "bucket", name, version_id, 0, sealed, b"", (), (), condition, BUCKET),
        lock=lock,
    )
    content = check_content((), (), 0)
    return objects.commit(sql, 1, PeerId(bytes(32)), request, content, now_ms)


def get(
    sql: sqlite3.Connection,
    name: bytes,
    version_id: VersionId | None = None,
    *,
    named: bool = False,
) -> objects.FoundVersion:
    return objects.get(sql, 1, m.ObjectGet(TENANT, "bucket", name, version_id, False, 0, 0, named))


def delete(sql: sqlite3.Connection, *items: m.DeleteItem, now_ms: int = 0) -> list[m.DeleteResult]:
    request = m.ObjectsDelete(TENANT, "bucket", items, BUCKET)
    results = objects.delete(sql, 1, request, now_ms)
    check_answer(request, m.Deleted(tuple(results)))
    return results


def set_locks(sql: sqlite3.Connection, default: m.DefaultRetention) -> m.BucketRecord:
    request = m.BucketLocksSet(TENANT, "bucket", BUCKET, default)
    record = buckets.set_locks(sql, 1, request)
    check_answer(request, record)
    return record


def versions_list(
    sql: sqlite3.Connection,
    prefix: bytes = b"",
    delimiter: bytes = b"",
    after: bytes = b"",
    after_version: bytes = b"",
    limit: int = 1000,
    *,
    after_null: bool = False,
) -> m.VersionListing:
    request = m.VersionsList(
        TENANT, "bucket", prefix, delimiter, after, after_version, after_null, limit
    )
    reply = listing.list_versions(sql, 1, request)
    check_answer(request, reply)
    return m.VersionListing.unpack(reply.pack())


def ident(number: int) -> VersionId:
    return VersionId(number.to_bytes(16, "big"))


def marker(name: bytes, number: int, condition: m.Condition = ANY) -> m.DeleteItem:
    return m.DeleteItem(name, condition=condition, marker=b"marker", marker_id=ident(number))


def named(name: bytes, version_id: VersionId | None, *, bypass: bool = False) -> m.DeleteItem:
    return m.DeleteItem(name, version_id, named=True, bypass=bypass)


DAY_MS = 86_400_000
retentions = st.sampled_from(
    [
        (m.NO_RETENTION, 0),
        *((mode, days) for mode in (m.GOVERNANCE, m.COMPLIANCE) for days in (1, 3)),
    ]
)
"""Modes, and days from now on."""


def sweep(sql: sqlite3.Connection) -> None:
    while purge.purge(sql, purge.last_dropped(sql)).more:
        pass


class VersionsMachine(RuleBasedStateMachine):
    """Commits, deletes and restores, in any order, with the garbage collected between."""

    ids = Bundle("ids")

    @initialize()
    def begin(self) -> None:
        self.sql = store()
        self.model = Names()
        self.last = 0
        self.now_ms = DAY_MS

    def _new(self) -> VersionId:
        self.last += 1
        return ident(self.last)

    def _condition(self, name: bytes, kind: str) -> tuple[m.Condition, bool]:
        """A condition, and whether it holds."""
        now = self.model.current(name)
        if kind == "absent":
            return m.Condition(absent=True), now is None
        if kind == "current" and now is not None:
            return m.Condition(version_id=now.version_id), True
        if kind == "other":
            return m.Condition(version_id=ident(1 << 90)), False
        return m.Condition(), True

    kinds = st.sampled_from(["", "", "", "absent", "current", "other"])

    @rule(state=st.sampled_from([m.VERSIONED, m.VERSIONED, m.SUSPENDED]))
    def version(self, state: int) -> None:
        if state == m.SUSPENDED and self.model.default is not None:
            with pytest.raises(Refused, match="bucket_has_locks"):
                set_versioning(self.sql, state)
            return
        assert set_versioning(self.sql, state).versioning == state
        self.model.versioning = state

    @rule(retention=retentions, yearly=st.booleans())
    def lock_bucket(self, retention: tuple[int, int], yearly: bool) -> None:
        mode, days = retention
        default = m.DefaultRetention(mode, 0, days) if yearly else m.DefaultRetention(mode, days)
        if self.model.versioning != m.VERSIONED:
            with pytest.raises(Refused, match="not_versioned"):
                set_locks(self.sql, default)
            return
        set_locks(self.sql, default)
        self.model.default = default

    @rule(days=st.sampled_from([0.5, 1, 2, 400]))
    def wait(self, days: float) -> None:
        self.now_ms += int(days * DAY_MS)

    @rule(
        target=ids,
        name=st.sampled_from(NAMES),
        kind=kinds,
        retention=retentions,
        hold=st.sampled_from([m.HOLD_NEVER_SET, m.HOLD_NEVER_SET, m.HOLD_OFF, m.HOLD_ON]),
    )
    def put(self, name: bytes, kind: str, retention: tuple[int, int], hold: int) -> object:
        condition, holds = self._condition(name, kind)
        version_id = self._new()
        mode, days = retention
        lock = m.NO_LOCK
        if self.model.default is not None:
            lock = m.Lock(mode, self.now_ms + days * DAY_MS if days else 0, hold)
        elif mode:
            with pytest.raises(Refused, match=r"no_locks|condition_failed"):
                put(self.sql, name, version_id, condition, lock=m.Lock(mode, self.now_ms + DAY_MS))
            return multiple()
        if not holds:
            with pytest.raises(Refused, match="condition_failed"):
                put(self.sql, name, version_id, condition, lock=lock, now_ms=self.now_ms)
            return multiple()
        committed = put(self.sql, name, version_id, condition, lock=lock, now_ms=self.now_ms)
        assert committed.versioning == self.model.versioning
        again = put(self.sql, name, version_id, condition, lock=lock, now_ms=self.now_ms)
        assert again == committed
        default = self.model.default
        if default is not None and default.mode and not mode:
            end = self.now_ms + (default.days + 365 * default.years) * DAY_MS
            lock = m.Lock(default.mode, end, hold)
        made = Version(version_id, self.model.versioning != m.VERSIONED, lock=lock)
        self.model.add(name, made)
        return name, version_id

    @rule(place=ids, retention=retentions, bypass=st.booleans())
    def retain(
        self, place: tuple[bytes, VersionId], retention: tuple[int, int], bypass: bool
    ) -> None:
        name, version_id = place
        mode, days = retention
        until_ms = self.now_ms + days * DAY_MS if days else 0
        request = m.RetentionSet(TENANT, "bucket", name, version_id, mode, until_ms, bypass)

        def work() -> None:
            objects.set_retention(self.sql, 1, request, self.now_ms)

        found = next((v for v in self.model.of(name) if v.version_id == version_id), None)
        if self.model.default is None:
            with pytest.raises(Refused, match="no_locks"):
                work()
        elif found is None or found.marker:
            with pytest.raises(NotFound, match="no_such_version"):
                work()
        else:
            extends = mode == found.lock.mode and until_ms >= found.lock.until_ms
            is_free = bypass or not found.is_governed(self.now_ms)
            if extends or (is_free and not found.is_compliant(self.now_ms)):
                work()
                found.lock = m.Lock(mode, until_ms, found.lock.hold)
            else:
                with pytest.raises(Refused, match="version_locked"):
                    work()

    @rule(place=ids, hold=st.sampled_from([m.HOLD_OFF, m.HOLD_ON]))
    def hold(self, place: tuple[bytes, VersionId], hold: int) -> None:
        name, version_id = place
        found = next((v for v in self.model.of(name) if v.version_id == version_id), None)
        request = m.HoldSet(TENANT, "bucket", name, version_id, hold)
        if self.model.default is None or found is None or found.marker:
            with pytest.raises((Refused, NotFound), match=r"no_locks|no_such_version"):
                objects.set_hold(self.sql, 1, request)
            return
        objects.set_hold(self.sql, 1, request)
        found.lock = m.Lock(found.lock.mode, found.lock.until_ms, hold)

    @rule(target=ids, name=st.sampled_from(NAMES), kind=kinds)
    def delete(self, name: bytes, kind: str) -> object:
        condition, holds = self._condition(name, kind)
        marker_id = self._new()
        item = m.DeleteItem(name, None, condition, False, b"marker", marker_id)
        (result,) = delete(self.sql, item)
        assert (result.failure is None) == holds
        assert result.versioning == self.model.versioning
        if holds:
            self.model.delete(name, marker_id)
            assert result.delete_marker == (self.model.versioning != m.UNVERSIONED)
        return name, marker_id

    @rule(place=ids, bypass=st.booleans())
    def delete_version(self, place: tuple[bytes, VersionId], bypass: bool) -> None:
        name, version_id = place
        self._delete_named(name, version_id, bypass)

    @rule(name=st.sampled_from(NAMES), bypass=st.booleans())
    def delete_null(self, name: bytes, bypass: bool) -> None:
        self._delete_named(name, None, bypass)

    def _delete_named(self, name: bytes, version_id: VersionId | None, bypass: bool) -> None:
        gone = self.model.named(name, version_id)
        item = named(name, version_id, bypass=bypass)
        (result,) = delete(self.sql, item, now_ms=self.now_ms)
        if gone is not None and gone.must_stay(self.now_ms, bypass=bypass):
            assert result.failure is not None
            assert result.failure.reason == "version_locked"
            return
        assert result.failure is None
        assert result.delete_marker == (gone is not None and gone.marker)
        if gone is not None:
            self.model.of(name).remove(gone)

    @rule(place=ids)
    def look(self, place: tuple[bytes, VersionId]) -> None:
        name, version_id = place
        self._same(name, version_id, self.model.named(name, version_id))

    @rule(name=st.sampled_from(NAMES))
    def look_null(self, name: bytes) -> None:
        self._same(name, None, self.model.named(name, None))

    def _same(self, name: bytes, version_id: VersionId | None, wanted: Version | None) -> None:
        if wanted is None:
            with pytest.raises(NotFound, match="no_such_version"):
                get(self.sql, name, version_id, named=True)
            return
        found = get(self.sql, name, version_id, named=True)
        assert (found.version_id, found.is_null) == (wanted.version_id, wanted.null)
        assert (found.delete_marker, found.versioning) == (wanted.marker, self.model.versioning)
        assert found.sealed == (b"marker" if wanted.marker else b"sealed")
        assert found.lock == wanted.lock

    @rule()
    def collect_garbage(self) -> None:
        sweep(self.sql)

    @rule(
        prefix=st.sampled_from([b"", b"a", b"a/", b"b"]),
        delimiter=st.sampled_from([b"", b"/"]),
        limit=st.integers(1, 4),
        by_null=st.booleans(),
    )
    def pages(self, prefix: bytes, delimiter: bytes, limit: int, by_null: bool) -> None:
        wanted = self.model.rows(prefix, delimiter)
        seen: list[tuple[bytes, VersionId | None]] = []
        after = after_version = b""
        after_null = False
        for _ in range(100):
            page = versions_list(
                self.sql,
                prefix,
                delimiter,
                after,
                b"" if after_null else after_version,
                limit,
                after_null=after_null,
            )
            rows = [(row.name, row.version_id) for row in page.versions]
            seen += sorted(
                [*rows, *((each, None) for each in page.prefixes)], key=lambda row: row[0]
            )
            assert len(page.versions) + len(page.prefixes) <= limit
            after, after_version = page.last, page.last_version
            last = page.versions[-1:]
            after_null = bool(by_null and last and last[0].is_null and page.last_version)
            if not page.truncated:
                break
        assert seen == [(name, each and each.version_id) for name, each in wanted]

    @invariant()
    def listings_are_the_models(self) -> None:
        rows = versions_list(self.sql).versions
        assert [
            (row.name, row.version_id, row.is_null, row.delete_marker, row.is_latest)
            for row in rows
        ] == [
            (name, each.version_id, each.null, each.marker, each is self.model.held[name][0])
            for name, each in self.model.rows(b"", b"")
            if each is not None
        ]
        request = m.ObjectsList(TENANT, "bucket", b"", b"", b"", 1000)
        live = listing.list_objects(self.sql, 1, request).objects
        wanted = {name: self.model.current(name) for name in sorted(NAMES)}
        assert [(row.name, row.version_id) for row in live] == [
            (name, each.version_id) for name, each in wanted.items() if each is not None
        ]

    @invariant()
    def the_current_version_is_what_is_found(self) -> None:
        for name in NAMES:
            versions = self.model.of(name)
            if not versions:
                with pytest.raises(NotFound, match="no_such_object"):
                    get(self.sql, name)
                continue
            found = get(self.sql, name)
            assert found.version_id == versions[0].version_id
            assert found.delete_marker == versions[0].marker

    @invariant()
    def the_account_is_right_and_a_bucket_with_versions_stays(self) -> None:
        kept = [each for versions in self.model.held.values() for each in versions]
        assert usage.total(self.sql).objects == sum(not each.marker for each in kept)
        if kept:
            with pytest.raises(Refused, match="bucket_not_empty"):
                buckets.delete(self.sql, 1, "bucket")


VersionsMachine.TestCase.settings = settings(
    deadline=None, max_examples=100, stateful_step_count=40
)
TestVersions = VersionsMachine.TestCase


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
