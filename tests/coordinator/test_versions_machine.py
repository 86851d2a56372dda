"""Versions in the coordinator's store: what is current, null, latest, listed, locked and kept,
against a model of it."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
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
from versions_store import (
    TENANT,
    delete,
    get,
    ident,
    named,
    put,
    set_locks,
    set_versioning,
    store,
    sweep,
    versions_list,
)

from common.client.policy.answers import rolled_up
from common.errors import NotFound, Refused
from common.ids import VersionId
from common.wire import messages as m
from coordinator.store import buckets, listing, objects, usage

NAMES = (b"a", b"a/", b"a/b", b"a/c", b"b")
DAY_MS = 86_400_000
retentions = st.sampled_from(
    [
        (m.NO_RETENTION, 0),
        *((mode, days) for mode in (m.GOVERNANCE, m.COMPLIANCE) for days in (1, 3)),
    ]
)
"""Modes, and days from now on."""


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
