"""The tables, and how a store of an older version becomes one of this version.

Conventions: ``*_ms`` are milliseconds of the wall clock, for people only: nothing is decided by
them, because clocks step (the exceptions: the ends of invitations and of retentions, and when
objects of a bucket are to expire). Numbers such as ``tenant``, ``bucket``, ``cell``, ``upload`` are
internal and short; ``*_id`` are the ids of the wire. One counter, ``sequence``, orders all
versions, parts and uploads, so their rows are appended, never scattered.

Source: docs/placement.md, "What the store holds"; docs/decisions/0060-rolling-upgrades.md.
"""

from __future__ import annotations

import zlib
from itertools import chain
from typing import Final

from common.errors import BadConfig
from common.ports import Sql
from common.reasons import ConfigFault
from coordinator.store import dialect
from coordinator.store.dialect import BY_KEY, NO_BYTES, NO_DIGEST, NUMBERED
from coordinator.store.steps import Step, StepKind, expand

_VERSION_1: Final = (
    f"CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) {BY_KEY}",
    "INSERT INTO counters VALUES"
    " ('sequence', 0), ('lease', 0), ('commit', 0), ('order_time', 0), ('order_epoch', 0),"
    " ('plans', 0), ('watched_s', 0), ('least_version', 0)",
    # --- the store's own history ------------------------------------------------------------
    # A run is a start of a coordinator; begun: the number of the transaction that noted it.
    # reached: the number of its last transaction, where several runs go on beside each other.
    f"""CREATE TABLE runs (
        run {NUMBERED}, run_id BLOB NOT NULL UNIQUE, begun INTEGER NOT NULL,
        started_ms INTEGER NOT NULL, reached INTEGER NOT NULL DEFAULT 0)""",
    # Coordinators on a shared store. swarm_id: of the secret that all have. beats: signs of life.
    # version: of the store, the newest that it knows.
    f"""CREATE TABLE coordinators (
        run_id BLOB PRIMARY KEY, swarm_id BLOB NOT NULL, host TEXT NOT NULL, port INTEGER NOT NULL,
        version INTEGER NOT NULL, beats INTEGER NOT NULL DEFAULT 0) {BY_KEY}""",
    # What peers have seen of other histories. accepted: an operator has given that run up.
    f"""CREATE TABLE told_positions (
        run_id BLOB PRIMARY KEY, position BLOB NOT NULL,
        accepted INTEGER NOT NULL DEFAULT 0) {BY_KEY}""",
    # One row: the process that plans rings, ends leases and purges. beats: signs of life.
    "CREATE TABLE leadership ("
    "epoch INTEGER NOT NULL, beats INTEGER NOT NULL, run_id TEXT NOT NULL)",
    "INSERT INTO leadership VALUES (0, 0, '')",
    # --- the journal on cells -----------------------------------------------------------------
    # One row. sequence, epoch, digest: of the last record that is in this store. key_id: of the key
    # that it is sealed under. members: a packed JournalMembers, or empty while none is kept.
    """CREATE TABLE journal (
        sequence INTEGER NOT NULL, epoch INTEGER NOT NULL, digest BLOB NOT NULL,
        key_id BLOB NOT NULL, members BLOB NOT NULL)""",
    f"INSERT INTO journal VALUES (0, 0, {NO_DIGEST}, {NO_BYTES}, {NO_BYTES})",
    # Texts that its records name by number.
    f"CREATE TABLE journal_statements (number INTEGER PRIMARY KEY, text TEXT NOT NULL) {BY_KEY}",
    # --- who --------------------------------------------------------------------------------
    f"""CREATE TABLE tenants (
        tenant {NUMBERED}, tenant_id BLOB NOT NULL UNIQUE,
        name TEXT NOT NULL UNIQUE, proof_key BLOB NOT NULL, created_ms INTEGER NOT NULL,
        uploads INTEGER NOT NULL DEFAULT 0, notifications INTEGER NOT NULL DEFAULT 0)""",
    f"""CREATE TABLE access_keys (
        access_key_id TEXT PRIMARY KEY, tenant INTEGER NOT NULL, sealed BLOB NOT NULL,
        created_ms INTEGER NOT NULL) {BY_KEY}""",
    # sealed: its named keys. revision: counts the changes of them.
    # One row at most: which keys the swarm's coordinators prove.
    "CREATE TABLE charters (charter BLOB NOT NULL)",
    f"""CREATE TABLE key_rings (
        tenant INTEGER PRIMARY KEY, revision INTEGER NOT NULL, sealed BLOB NOT NULL) {BY_KEY}""",
    "CREATE INDEX access_keys_by_tenant ON access_keys (tenant, access_key_id)",
    # Of tenants with users. revision: only ever grows.
    f"""CREATE TABLE rosters (
        tenant INTEGER PRIMARY KEY, revision INTEGER NOT NULL, sealed BLOB NOT NULL) {BY_KEY}""",
    # --- names ------------------------------------------------------------------------------
    # versioning: 0 never enabled, 1 enabled, 2 suspended. revision: of settings.
    # has_locks: its versions can be locked, and versioning stays enabled. retention_*: of new ones.
    f"""CREATE TABLE buckets (
        bucket {NUMBERED}, bucket_id BLOB NOT NULL UNIQUE,
        name TEXT NOT NULL UNIQUE, tenant INTEGER NOT NULL, created_ms INTEGER NOT NULL,
        versioning INTEGER NOT NULL DEFAULT 0, settings BLOB NOT NULL,
        revision INTEGER NOT NULL DEFAULT 1, storage_class INTEGER NOT NULL DEFAULT 0,
        has_locks INTEGER NOT NULL DEFAULT 0, retention_mode INTEGER NOT NULL DEFAULT 0,
        retention_days INTEGER NOT NULL DEFAULT 0, retention_years INTEGER NOT NULL DEFAULT 0)""",
    "CREATE INDEX buckets_by_tenant ON buckets (tenant, name)",
    "CREATE INDEX buckets_by_class ON buckets (storage_class)",
    # Versions that are kept, delete markers aside. most_*: its quota; NULL: none.
    f"""CREATE TABLE bucket_usage (
        bucket INTEGER PRIMARY KEY, tenant INTEGER NOT NULL,
        objects INTEGER NOT NULL DEFAULT 0, logical_bytes INTEGER NOT NULL DEFAULT 0,
        most_objects INTEGER, most_bytes INTEGER) {BY_KEY}""",
    # versioning: of the bucket at the commit: those of 0 and 2 are null versions.
    # dropped: 1 = deleted or replaced; it can be read by its id until its grace is over.
    # tags, acl, class_name: sealed apart, so that they change without the version; empty: none.
    # storage_class: in which its data is to be, where its bucket's fence admits that; NULL: in that
    # of its bucket.
    # summary: of a delete marker, its record.
    # committed_as: SHA-256 of the manifest that it was committed with, if it has another now.
    # retention, retain_until_ms, hold: its lock (common/wire/messages/locks.py).
    """CREATE TABLE versions (
        sequence INTEGER PRIMARY KEY, bucket INTEGER NOT NULL, name BLOB NOT NULL,
        version_id BLOB NOT NULL UNIQUE, delete_marker INTEGER NOT NULL DEFAULT 0,
        dropped INTEGER NOT NULL DEFAULT 0, versioning INTEGER NOT NULL DEFAULT 0,
        size INTEGER NOT NULL, created_ms INTEGER NOT NULL,
        summary BLOB NOT NULL, sealed BLOB NOT NULL, tags BLOB NOT NULL,
        acl BLOB NOT NULL, class_name BLOB NOT NULL, storage_class INTEGER,
        committed_as BLOB, retention INTEGER NOT NULL DEFAULT 0,
        retain_until_ms INTEGER NOT NULL DEFAULT 0, hold INTEGER NOT NULL DEFAULT 0)""",
    "CREATE INDEX versions_by_name ON versions (bucket, name, sequence DESC) WHERE dropped = 0",
    # No row of a bucket without versions is in it: there the null version is the only one.
    "CREATE UNIQUE INDEX null_versions ON versions (bucket, name)"
    " WHERE dropped = 0 AND versioning = 2",
    "CREATE INDEX versions_by_class ON versions (storage_class, bucket)"
    " WHERE storage_class IS NOT NULL",
    # Live names: those whose latest version is an object, and which version that is.
    f"""CREATE TABLE current (
        bucket INTEGER NOT NULL, name BLOB NOT NULL, sequence INTEGER NOT NULL,
        PRIMARY KEY (bucket, name)) {BY_KEY}""",
    # class_name, storage_class, retention, retain_until_ms, hold: of the object that it becomes.
    """CREATE TABLE uploads (
        upload INTEGER PRIMARY KEY, bucket INTEGER NOT NULL, name BLOB NOT NULL,
        upload_id BLOB NOT NULL UNIQUE, created_ms INTEGER NOT NULL, sealed BLOB NOT NULL,
        class_name BLOB NOT NULL, storage_class INTEGER,
        retention INTEGER NOT NULL DEFAULT 0, retain_until_ms INTEGER NOT NULL DEFAULT 0,
        hold INTEGER NOT NULL DEFAULT 0)""",
    "CREATE UNIQUE INDEX uploads_by_name ON uploads (bucket, name, upload_id)",
    # sequence owns the part's pages.
    f"""CREATE TABLE parts (
        upload INTEGER NOT NULL, part_number INTEGER NOT NULL, part_id BLOB NOT NULL,
        sequence INTEGER NOT NULL, size INTEGER NOT NULL, pages INTEGER NOT NULL,
        created_ms INTEGER NOT NULL, sealed BLOB NOT NULL,
        PRIMARY KEY (upload, part_number)) {BY_KEY}""",
    # Pages that may not be in the storage class of their bucket. owner: the sequence of a version.
    f"""CREATE TABLE misplaced_pages (
        owner INTEGER NOT NULL, number INTEGER NOT NULL, tenant INTEGER NOT NULL,
        PRIMARY KEY (owner, number)) {BY_KEY}""",
    "CREATE INDEX misplaced_by_tenant ON misplaced_pages (tenant)",
    # Buckets whose class was changed, and the version up to which their pages are noted there.
    f"""CREATE TABLE class_scans (
        bucket INTEGER PRIMARY KEY, name BLOB NOT NULL, sequence INTEGER NOT NULL) {BY_KEY}""",
    # Buckets with rules by which objects expire. ran_ms: when the last run began that has ended and
    # was by the rules that there are; 0: none. Of a run that has not ended: begun_ms, or 0;
    # revision: of the settings when it began; after: the name up to which it has come; deleted,
    # kept: what it deleted, and was refused. last_deleted, last_kept: of the last that ended.
    f"""CREATE TABLE lifecycles (
        bucket INTEGER PRIMARY KEY, tenant INTEGER NOT NULL,
        ran_ms INTEGER NOT NULL DEFAULT 0, begun_ms INTEGER NOT NULL DEFAULT 0,
        revision INTEGER NOT NULL DEFAULT 0, after BLOB NOT NULL,
        deleted INTEGER NOT NULL DEFAULT 0, kept INTEGER NOT NULL DEFAULT 0,
        last_deleted INTEGER NOT NULL DEFAULT 0, last_kept INTEGER NOT NULL DEFAULT 0) {BY_KEY}""",
    "CREATE INDEX lifecycles_by_tenant ON lifecycles (tenant, bucket)",
    # Notifications of events that no gateway has delivered yet. versioning: of the bucket when the
    # event came about. sealed: the event.
    f"""CREATE TABLE notifications (
        number {NUMBERED}, lane INTEGER NOT NULL, notification_id BLOB NOT NULL,
        versioning INTEGER NOT NULL, created_ms INTEGER NOT NULL, sealed BLOB NOT NULL)""",
    "CREATE INDEX notifications_by_lane ON notifications (lane, number)",
    # Those of one bucket for one receiver, whom lane_id stands for. dropped: for want of room;
    # given_up: after too long a time.
    f"""CREATE TABLE notification_lanes (
        lane {NUMBERED}, tenant INTEGER NOT NULL, bucket_id BLOB NOT NULL, lane_id BLOB NOT NULL,
        waiting INTEGER NOT NULL, dropped INTEGER NOT NULL, given_up INTEGER NOT NULL DEFAULT 0)""",
    "CREATE UNIQUE INDEX lanes_by_bucket ON notification_lanes (bucket_id, lane_id)",
    "CREATE INDEX lanes_by_tenant ON notification_lanes (tenant, lane) WHERE waiting > 0",
    # --- data -------------------------------------------------------------------------------
    # owner: the sequence of a version or a part. extents: a packed Page record.
    f"""CREATE TABLE pages (
        owner INTEGER NOT NULL, number INTEGER NOT NULL, start INTEGER NOT NULL,
        size INTEGER NOT NULL, extents BLOB NOT NULL,
        PRIMARY KEY (owner, number)) {BY_KEY}""",
    # refs: extents of versions and parts (dropped ones too) that lie in the segment.
    # retain_until_s: cells keep its shards until then: the latest end of a COMPLIANCE retention.
    f"""CREATE TABLE segments (
        segment_id BLOB PRIMARY KEY, tenant INTEGER NOT NULL, ring INTEGER NOT NULL,
        segment_bytes INTEGER NOT NULL, unit_bytes INTEGER NOT NULL,
        shard_bytes INTEGER NOT NULL, refs INTEGER NOT NULL, roots BLOB NOT NULL,
        bucket INTEGER NOT NULL, retain_until_s INTEGER NOT NULL DEFAULT 0) {BY_KEY}""",
    "CREATE INDEX segments_by_ring ON segments (ring, segment_id)",
    # Other buckets with extents in a segment than the one that its row names.
    f"""CREATE TABLE shared_segments (
        segment_id BLOB NOT NULL, bucket INTEGER NOT NULL, refs INTEGER NOT NULL,
        PRIMARY KEY (segment_id, bucket)) {BY_KEY}""",
    # How many segments of a bucket lie on a ring.
    f"""CREATE TABLE bucket_rings (
        bucket INTEGER NOT NULL, ring INTEGER NOT NULL, segments INTEGER NOT NULL,
        PRIMARY KEY (bucket, ring)) {BY_KEY}""",
    # Segments that are not in their home class: its roots. ring: of that class, where the segment
    # is to go, or 0; revision: of that ring when it was chosen.
    f"""CREATE TABLE homes (
        segment_id BLOB PRIMARY KEY, k INTEGER NOT NULL, n INTEGER NOT NULL, roots BLOB NOT NULL,
        ring INTEGER NOT NULL DEFAULT 0, revision INTEGER NOT NULL DEFAULT 0,
        tries INTEGER NOT NULL DEFAULT 0) {BY_KEY}""",
    "CREATE INDEX homes_by_ring ON homes (ring, tries, segment_id)",
    # Shards of the home class that cells have made.
    f"""CREATE TABLE home_shards (
        segment_id BLOB NOT NULL, slot INTEGER NOT NULL, cell INTEGER NOT NULL,
        PRIMARY KEY (segment_id, slot, cell)) {BY_KEY}""",
    # What the holder of a slot lacks. source_lacks: 0 = the slot's source may have it.
    f"""CREATE TABLE missing_shards (
        segment_id BLOB NOT NULL, slot INTEGER NOT NULL, ring INTEGER NOT NULL,
        source_lacks INTEGER NOT NULL, since_ms INTEGER NOT NULL,
        PRIMARY KEY (segment_id, slot)) {BY_KEY}""",
    "CREATE INDEX missing_by_slot ON missing_shards (ring, slot, segment_id)",
    # What readers complained of; nobody acts on it before the cell itself was asked.
    f"""CREATE TABLE suspect_shards (
        segment_id BLOB NOT NULL, slot INTEGER NOT NULL, ring INTEGER NOT NULL,
        reason TEXT NOT NULL, since_ms INTEGER NOT NULL,
        PRIMARY KEY (segment_id, slot)) {BY_KEY}""",
    "CREATE INDEX suspects_by_slot ON suspect_shards (ring, slot, segment_id)",
    # Never to be committed (again), though their write lease is alive.
    f"""CREATE TABLE abandoned (
        number {NUMBERED}, segment_id BLOB NOT NULL UNIQUE)""",
    # Versions (kind 0) and parts (kind 1) whose pages are still to be purged.
    f"""CREATE TABLE dropped (
        number {NUMBERED}, owner INTEGER NOT NULL,
        kind INTEGER NOT NULL, bucket INTEGER NOT NULL)""",
    f"""CREATE TABLE deletes (
        cell INTEGER NOT NULL, segment_id BLOB NOT NULL, slot INTEGER NOT NULL,
        PRIMARY KEY (cell, segment_id, slot)) {BY_KEY}""",
    # Leases that are alive. A number given out that has no row has ended, for good.
    # tenant: on whose account, where its owner acts for several. renewals: how many were written.
    """CREATE TABLE leases (
        lease INTEGER PRIMARY KEY, owner BLOB NOT NULL, tenant INTEGER NOT NULL,
        opened_ms INTEGER NOT NULL, renewals INTEGER NOT NULL DEFAULT 0)""",
    # Versions that gateways read, where another coordinator than theirs may purge.
    f"""CREATE TABLE readers (
        lease INTEGER NOT NULL, version_id BLOB NOT NULL,
        PRIMARY KEY (lease, version_id)) {BY_KEY}""",
    # --- places -----------------------------------------------------------------------------
    # removed_ms: 0, or when the operator removed the cell: its key is refused from then on.
    # draining_ms: 0, or when it began to leave. suspended: the reason for it, or empty.
    # maintenance_s: how long its announced window is, or 0; maintenance_ms: when it was announced.
    # joined_at_s: the counter watched_s when it joined. heartbeats: how many were written, for
    # other processes.
    f"""CREATE TABLE invites (
        secret_digest BLOB PRIMARY KEY, site TEXT NOT NULL, owner TEXT NOT NULL,
        uses_left INTEGER NOT NULL, expires_ms INTEGER NOT NULL) {BY_KEY}""",
    f"""CREATE TABLE cells (
        cell {NUMBERED}, cell_id BLOB NOT NULL UNIQUE, site TEXT NOT NULL,
        owner TEXT NOT NULL, joined_ms INTEGER NOT NULL, joined_at_s INTEGER NOT NULL,
        address_host TEXT NOT NULL DEFAULT '', address_port INTEGER NOT NULL DEFAULT 0,
        facts BLOB NOT NULL, removed_ms INTEGER NOT NULL DEFAULT 0,
        draining_ms INTEGER NOT NULL DEFAULT 0, suspended TEXT NOT NULL DEFAULT '',
        maintenance_s INTEGER NOT NULL DEFAULT 0, maintenance_ms INTEGER NOT NULL DEFAULT 0,
        heartbeats INTEGER NOT NULL DEFAULT 0)""",
    # By day of watched time: seconds in which a cell was silent, and those that count neither way.
    f"""CREATE TABLE absences (
        cell INTEGER NOT NULL, day INTEGER NOT NULL, silent_s INTEGER NOT NULL,
        excused_s INTEGER NOT NULL, PRIMARY KEY (cell, day)) {BY_KEY}""",
    # By day of watched time: what the disk of a cell reported last. figures: as they are sent.
    f"""CREATE TABLE disk_days (
        cell INTEGER NOT NULL, day INTEGER NOT NULL, figures TEXT NOT NULL,
        lost_shards INTEGER NOT NULL, PRIMARY KEY (cell, day)) {BY_KEY}""",
    # recent: one bit for each of the latest audits, the latest the lowest; 1: failed.
    f"""CREATE TABLE reputations (
        cell INTEGER PRIMARY KEY, trust TEXT NOT NULL, recent INTEGER NOT NULL,
        audits INTEGER NOT NULL, reason TEXT NOT NULL) {BY_KEY}""",
    f"""CREATE TABLE audit_evidence (
        number {NUMBERED}, cell INTEGER NOT NULL, evidence BLOB NOT NULL,
        signature BLOB NOT NULL)""",
    "CREATE INDEX evidence_by_cell ON audit_evidence (cell, number)",
    # Beside the configured one, whose number is 0. removed: 1 = it has no open rings any more.
    # class_sites: the only ones that may hold it.
    f"""CREATE TABLE storage_classes (
        storage_class {NUMBERED}, name TEXT NOT NULL UNIQUE, k INTEGER NOT NULL,
        n INTEGER NOT NULL, quorum INTEGER NOT NULL, removed INTEGER NOT NULL DEFAULT 0)""",
    f"""CREATE TABLE class_sites (
        storage_class INTEGER NOT NULL, site TEXT NOT NULL,
        PRIMARY KEY (storage_class, site)) {BY_KEY}""",
    # Names of classes that clients ask for, and where they lead.
    f"""CREATE TABLE class_names (
        name TEXT PRIMARY KEY, storage_class INTEGER NOT NULL) {BY_KEY}""",
    # revision: how many slots of the ring were moved.
    f"""CREATE TABLE rings (
        ring {NUMBERED}, k INTEGER NOT NULL, n INTEGER NOT NULL,
        quorum INTEGER NOT NULL, is_open INTEGER NOT NULL, created_ms INTEGER NOT NULL,
        revision INTEGER NOT NULL DEFAULT 0, storage_class INTEGER NOT NULL DEFAULT 0)""",
    "CREATE INDEX rings_by_class ON rings (storage_class)",
    # cell: the holder. since: the ring's revision from which on it is.
    f"""CREATE TABLE ring_slots (
        ring INTEGER NOT NULL, slot INTEGER NOT NULL, cell INTEGER NOT NULL,
        since INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (ring, slot)) {BY_KEY}""",
    "CREATE INDEX ring_slots_by_cell ON ring_slots (cell, ring)",
    # A former holder of a slot, while the holder still lacks shards. It held the slot from the
    # ring's revision since to the one before until.
    f"""CREATE TABLE sources (
        ring INTEGER NOT NULL, slot INTEGER NOT NULL, cell INTEGER NOT NULL,
        since INTEGER NOT NULL, until INTEGER NOT NULL, reason TEXT NOT NULL,
        PRIMARY KEY (ring, slot)) {BY_KEY}""",
)

STEPS: Final = (expand(*_VERSION_1),)
"""``STEPS[v]`` makes version v + 1 of version v. Never change one that was released."""
SCHEMA_VERSION: Final = len(STEPS)
SCHEMA_DIGEST: Final = (
    zlib.crc32("\n".join(chain.from_iterable(each.statements for each in STEPS)).encode()) >> 1
)
"""Distinguishes tables of the same version from before its release, while they still changed."""


def migrate(sql: Sql) -> int:
    """Bring the store to this version, inside the caller's transaction: expand it, and contract it
    as far as :func:`contract` does. A store that has nothing to be done is not written.

    Returns:
        The version the store had before; 0 when it was empty.

    Raises:
        BadConfig: as :func:`check_version`.
    """
    found = check_version(sql)
    if not found:
        dialect.begin(sql)
    if found < SCHEMA_VERSION:
        dialect.lock_version(sql)
        for step in STEPS[found:]:
            if step.kind is StepKind.EXPAND:
                _carry_out(sql, step)
        dialect.set_version(sql, SCHEMA_VERSION, SCHEMA_DIGEST)
    contract(sql)
    return found


def contract(sql: Sql) -> int:
    """Take away what only coordinators of older versions use, if none has the store open that is
    that old, inside the caller's transaction. They are refused from then on.

    Returns:
        How many steps were carried out.
    """
    due = _contractions(sql)
    if not due:
        return 0
    dialect.lock_version(sql)
    for number in due:
        _carry_out(sql, STEPS[number - 1])
    sql.execute("UPDATE counters SET value = ? WHERE name = 'least_version'", (due[-1],))
    return len(due)


def is_to_contract(sql: Sql) -> bool:
    """Return whether :func:`contract` would carry something out."""
    return bool(_contractions(sql))


def _contractions(sql: Sql) -> list[int]:
    """The versions that steps of contraction make, which are due."""
    # Each is the least that a coordinator must know after it, so they are carried out in order.
    done = counter_value(sql, "least_version")
    left = [
        number
        for number, step in enumerate(STEPS, start=1)
        if number > done and step.kind is StepKind.CONTRACT
    ]
    if not left:
        return []
    (oldest,) = sql.execute("SELECT min(version) FROM coordinators").fetchone()
    return [number for number in left if oldest is None or number <= oldest]


def _carry_out(sql: Sql, step: Step) -> None:
    for statement in step.statements:
        sql.execute(statement)


def check_version(sql: Sql) -> int:
    """Return the version of a store: 0 of an empty one. A newer one can be served as long as
    nothing was taken away that this version uses.

    Raises:
        BadConfig: ``store_too_new``: something was; ``store_unreleased``: its tables were made
            before the release of their version, and are others.
    """
    found = dialect.version(sql)
    if found > SCHEMA_VERSION:
        least = counter_value(sql, "least_version")
        if least > SCHEMA_VERSION:
            raise BadConfig(
                ConfigFault.STORE_TOO_NEW,
                found=found,
                known=SCHEMA_VERSION,
                message="a newer coordinator has changed the store so that this one cannot use it"
                f" (it needs version {least} or later, and this one knows {SCHEMA_VERSION}):"
                " upgrade this coordinator",
            )
    if found == SCHEMA_VERSION and dialect.digest(sql) != SCHEMA_DIGEST:
        raise BadConfig(
            ConfigFault.STORE_UNRELEASED,
            message="the store was made by an unreleased version of Alveary and has other tables:"
            " run it with that version, or copy the data by S3 into a new swarm",
        )
    return found


def is_older(sql: Sql) -> bool:
    """Return whether the store is of an earlier version."""
    return 0 < dialect.version(sql) < SCHEMA_VERSION


def next_number(sql: Sql, counter: str) -> int:
    """Count a counter up and return its new value, the first of which is 1."""
    return dialect.draw(sql, counter)


def counter_value(sql: Sql, counter: str) -> int:
    """The last value that a counter gave; 0 if none."""
    return dialect.drawn(sql, counter)


def touch(sql: Sql) -> None:
    """Write, and change nothing."""
    sql.execute("UPDATE counters SET value = value WHERE name = 'sequence'")


def look(sql: Sql) -> None:
    """Read something, and nothing of interest."""
    sql.execute("SELECT 1").fetchone()
