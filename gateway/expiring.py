"""Objects expire, or get another class, by the rules of their buckets: what is due is deleted or
changed, a page of versions at a time.

A run over a bucket goes from its first name to its last, and then over its uploads; how far it has
come is noted with a coordinator after each page, so that another gateway goes on where one died. A
run may be repeated, or run twice at once: each deletion, and each change, is carried out only while
the version is as it was judged. The data of what got another class follows later
(:mod:`gateway.following`).

Source: docs/placement.md, "Objects expire"; docs/decisions/0044-lifecycle.md.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from itertools import zip_longest
from typing import Final, Protocol, TypeAlias

import trio

from common import limits
from common.crypto.keys import TenantKey
from common.data_classes import dataclass
from common.errors import AlvearyError, Corrupt, NotFound, Refused
from common.format.configurations import unpack_tags
from common.format.manifest import open_tags
from common.format.objects import ObjectSummary
from common.ids import BucketId, TenantId
from common.reasons import Absence, Refusal
from common.wire.messages.buckets import UNVERSIONED
from common.wire.messages.lifecycle import (
    ClassChange,
    ClassesChange,
    ClassesChanged,
    LifecycleNote,
    LifecycleTake,
    LifecycleTask,
    LifecycleTurn,
)
from common.wire.messages.objects import (
    JudgedVersion,
    ListedVersion,
    VersionListing,
    VersionsList,
)
from gateway.background import look_for_work, rest_since
from gateway.deletion import Deletion, delete_objects
from gateway.events import notification_of
from gateway.lifecycle import (
    NO_TAGS,
    NOTHING,
    Expiry,
    Judgement,
    Lifecycle,
    NameJudge,
    SeenVersion,
)
from gateway.listing import list_uploads, open_version
from gateway.multipart import abort_upload
from gateway.notifications import Cause, EventKind
from gateway.object_service import ObjectService
from gateway.principals import Bucket
from gateway.sealed_class import named_class
from gateway.versions import VersionName

EXPIRY: Final = "s3.amazonaws.com"
"""The cause of an expiry, as events name it."""


class ExpiryCounts(Protocol):
    """Counts what lifecycles do."""

    def expired(self, what: str) -> None:
        """Count a deletion. ``what``: of :class:`gateway.lifecycle.Expiry`, or ``upload``."""

    def kept(self) -> None:
        """Count a version that is due and could not be deleted."""

    def led(self, class_name: str) -> None:
        """Count a version that got another class."""

    def ran(self, *, has_ended: bool) -> None:
        """Count a run over a bucket that has ended, or failed and is to go on later."""


class Expirer:
    """Runs over the buckets of this gateway's tenants that have rules by which objects expire.

    Args:
        tenants: the keys at hand; may grow.
        day_ms: the length of a lifecycle day.
    """

    def __init__(
        self,
        service: ObjectService,
        tenants: Mapping[TenantId, TenantKey],
        day_ms: int,
        counts: ExpiryCounts,
    ) -> None:
        self._service = service
        self._tenants = tenants
        self._day_ms = day_ms
        self._counts = counts

    async def run(self) -> None:
        """Look for buckets that are due at an interval, until cancelled."""
        await look_for_work(self._look, self._waits)

    def _waits(self, error: AlvearyError) -> None:
        self._service.log.warning("lifecycle_waits", error=str(error))

    async def _look(self) -> None:
        """Run over each bucket that is due, once."""
        service, day_ms = self._service, self._day_ms
        call = service.coordinators.call
        turn: LifecycleTurn = await call(LifecycleTake(0, service.now_ms(), day_ms))
        after, is_due = 0, turn.is_due
        while is_due:
            lease = await service.coordinators.lease.number()
            turn = await call(LifecycleTake(lease, service.now_ms(), day_ms, after))
            if turn.task is None:
                return
            after = turn.task.number
            await self._attempt(turn.task)

    async def _attempt(self, task: LifecycleTask) -> None:
        owner = self._tenants.get(task.tenant_id)
        if owner is None:
            return
        run = _Run(self._service, owner, task, self._day_ms, self._counts)
        try:
            await run.to_the_end()
        except AlvearyError as error:
            if isinstance(error, NotFound) and error.reason == Absence.NO_SUCH_BUCKET:
                return
            # Other buckets do not wait for this one: it goes on at the next look.
            self._counts.ran(has_ended=False)
            self._service.log.warning("lifecycle_run_waits", bucket=task.bucket, error=str(error))
        else:
            self._counts.ran(has_ended=True)


@dataclass(frozen=True, slots=True)
class _Row:
    """A row of a listing. ``seen``, ``summary``: None where it could not be opened."""

    listed: ListedVersion
    seen: SeenVersion | None
    version: VersionName
    summary: ObjectSummary | None = None


_Due: TypeAlias = tuple[Judgement, Deletion]


@dataclass(slots=True)
class _Page:
    """The work that a page of versions asks for. ``changes``: each with the name of its class.
    ``last``: the deletion of the latest version of the name that is looked at, which comes behind
    those of its older ones: a delete marker over it would be another latest version than they were
    judged by."""

    deletions: list[_Due]
    changes: list[tuple[str, ClassChange]]
    last: _Due | None = None


class _Run:
    """A run over one bucket, from where it has come."""

    def __init__(
        self,
        service: ObjectService,
        owner: TenantKey,
        task: LifecycleTask,
        day_ms: int,
        counts: ExpiryCounts,
    ) -> None:
        self._service = service
        self._owner = owner
        self._task = task
        self._day_ms = day_ms
        self._counts = counts
        self._after = task.after
        self._deleted = task.deleted
        self._kept = task.kept
        self._has_warned = False

    async def to_the_end(self) -> None:
        """Look through the bucket and delete what is due.

        Raises:
            NotFound: ``no_such_bucket``.
            AlvearyError: what was noted is done; the rest is not.
        """
        # Those that the run is noted under, or later ones: nothing that is remembered from before.
        bucket = await self._service.buckets.read(self._owner, self._task.bucket)
        rules = bucket.lifecycle or NOTHING
        for prefix in rules.prefixes():
            await self._look_through(prefix)
        if rules.aborts_uploads:
            await self._abort_uploads()
        await self._note(has_ended=True)

    async def _rules(self) -> tuple[Bucket, Lifecycle]:
        """The bucket, and the rules that it has now: no older than seconds."""
        bucket = await self._service.buckets.find(self._owner, self._task.bucket)
        return bucket, bucket.lifecycle or NOTHING

    async def _note(self, *, has_ended: bool = False) -> None:
        task = self._task
        await self._service.coordinators.call(
            LifecycleNote(
                task.tenant_id,
                task.bucket,
                task.bucket_id,
                task.begun_ms,
                self._after,
                self._deleted,
                self._kept,
                has_ended,
            )
        )

    # --- versions -------------------------------------------------------------------------

    async def _look_through(self, prefix: bytes) -> None:
        """Delete what is due of all names that begin with a prefix and come after those that are
        done with."""
        last: VersionListing | None = None
        held: list[_Row] = []
        judge: NameJudge | None = None
        latest: ListedVersion | None = None
        at_last: _Due | None = None
        before = 0
        has_more = True
        while has_more:
            begun = trio.current_time()
            bucket, rules = await self._rules()
            last = await self._page(bucket, prefix, last, with_tags=rules.asks_tags)
            has_more = last.truncated and bool(last.versions)
            rows = held + [self._opened(last.bucket_id, each) for each in last.versions]
            # Whether it is the last of its name is known with the one behind it.
            held = [rows.pop()] if rows and has_more else []
            names = [each.listed.name for each in (*rows[1:], *held)]
            due = _Page([], [], at_last)
            for row, behind in zip_longest(rows, names[: len(rows)]):
                listed, name = row.listed, row.listed.name
                # Where the version is gone after which a listing was to go on, the versions of its
                # name come again, from the latest on.
                is_older = latest is not None and latest.name == name and listed.sequence < before
                before = listed.sequence
                if judge is None or latest is None or not is_older:
                    judge, latest = NameJudge(rules, self._task.now_ms, self._day_ms), listed
                is_last = behind != name
                if listed is latest:
                    due.last = None
                self._judge(judge, row, latest, bucket, due, is_last=is_last)
                if is_last:
                    self._after = name
                    if due.last is not None:
                        due.deletions.append(due.last)
            at_last = due.last
            await self._change(bucket, due.changes)
            await self._delete(bucket, due.deletions)
            await self._note()
            await rest_since(begun)

    async def _page(
        self, bucket: Bucket, prefix: bytes, last: VersionListing | None, *, with_tags: bool
    ) -> VersionListing:
        """The next page of versions."""
        stored = self._service.names.encode(prefix)
        after, version, is_null = self._after, b"", False
        if last is not None:
            after, version = last.last, last.last_version
            is_null = bool(last.versions) and last.versions[-1].is_null
        reply: VersionListing = await self._service.buckets.ask(
            bucket,
            VersionsList(
                self._owner.tenant_id,
                bucket.name,
                stored,
                b"",
                after,
                b"" if is_null else version,
                is_null,
                limits.LIFECYCLE_PAGE,
                with_tags,
            ),
        )
        return reply

    def _opened(self, bucket_id: BucketId, row: ListedVersion) -> _Row:
        version = VersionName(None if row.is_null else row.version_id)
        try:
            entry = open_version(self._service, self._owner, bucket_id, row)
            tags = NO_TAGS
            if row.tags:
                place = (self._owner, bucket_id, row.name, row.version_id)
                tags = unpack_tags(open_tags(*place, row.tags)).as_mapping()
        except Corrupt as error:
            self._warn("lifecycle_version_unreadable", error)
            return _Row(row, None, version)
        seen = SeenVersion(
            entry.key,
            row.version_id,
            entry.summary.modified_ms,
            entry.summary.size,
            entry.is_marker,
            tags,
            entry.class_name,
        )
        return _Row(row, seen, version, entry.summary)

    def _judge(
        self,
        judge: NameJudge,
        row: _Row,
        latest: ListedVersion,
        bucket: Bucket,
        due: _Page,
        *,
        is_last: bool,
    ) -> None:
        """Judge the next version of a name, and add what is due of it."""
        if row.seen is None:
            judge.pass_over()
            return
        judgement = judge.judge(row.seen, is_last=is_last)
        if judgement is None:
            return
        tags = hashlib.sha256(row.listed.tags).digest() if judgement.by_tags else b""
        judged = JudgedVersion(row.listed.version_id, latest.version_id, tags)
        if judgement.expiry is Expiry.TRANSITION:
            change = self._class_change(bucket, row, judged, judgement.class_name)
            due.changes.append((judgement.class_name, change))
            return
        named = None if judgement.expiry is Expiry.CURRENT else row.version
        cause = Cause(EventKind.EXPIRE, EXPIRY, request_id="")
        deletion = Deletion(row.listed.name, named, judged=judged, cause=cause)
        if row.listed is latest:
            due.last = judgement, deletion
        else:
            due.deletions.append((judgement, deletion))

    def _class_change(
        self, bucket: Bucket, row: _Row, judged: JudgedVersion, class_name: str
    ) -> ClassChange:
        service, listed, summary = self._service, row.listed, row.summary
        assert summary is not None, "what was judged was opened"
        named = named_class(bucket, listed.name, listed.version_id, class_name, service.entropy)
        assert named is not None, "no rule leads back to where no name is"
        told = notification_of(
            service,
            bucket,
            listed.name,
            Cause(EventKind.TRANSITION, EXPIRY, request_id=""),
            size=summary.size,
            etag=summary.etag,
            version_id=b"" if listed.is_null else listed.version_id,
            named=bucket.versioning != UNVERSIONED,
            class_name=class_name,
        )
        former = hashlib.sha256(listed.class_name).digest()
        return ClassChange(listed.name, judged, former, named, told)

    async def _change(self, bucket: Bucket, changes: list[tuple[str, ClassChange]]) -> None:
        """Give versions the classes that they are due to get; they are the same otherwise."""
        if not changes:
            return
        items = tuple([each for _, each in changes])
        reply: ClassesChanged = await self._service.coordinators.call(
            ClassesChange(bucket.owner.tenant_id, bucket.name, bucket.bucket_id, items)
        )
        if any(each.notification is not None for each in items):
            self._service.notified.tell()
        for (name, _), result in zip(changes, reply.results, strict=True):
            if result.failure is None:
                self._counts.led(name)

    async def _delete(self, bucket: Bucket, due: list[_Due]) -> None:
        if not due:
            return
        results = await delete_objects(self._service, bucket, [each for _, each in due])
        for (judgement, _), result in zip(due, results, strict=True):
            if not isinstance(result, AlvearyError):
                self._deleted += 1
                self._counts.expired(judgement.expiry.value)
            elif not _has_changed(result):
                self._kept += 1
                self._counts.kept()
                self._warn("lifecycle_deletion_refused", result)

    def _warn(self, event: str, error: AlvearyError) -> None:
        """Log a version that stays, the first one of this run."""
        if not self._has_warned:
            self._has_warned = True
            self._service.log.warning(event, bucket=self._task.bucket, error=str(error))

    # --- uploads --------------------------------------------------------------------------

    async def _abort_uploads(self) -> None:
        """Abort the uploads in parts that are due."""
        after, after_upload, has_more = b"", b"", True
        while has_more:
            begun = trio.current_time()
            bucket, rules = await self._rules()
            page = await list_uploads(
                self._service,
                bucket,
                prefix=b"",
                delimiter=b"",
                after=after,
                after_upload=after_upload,
                limit=limits.LIFECYCLE_PAGE,
            )
            for entry in page.rows:
                end = rules.abort_of(entry.key, entry.begun_ms, self._day_ms)
                if end is None or end[0] > self._task.now_ms:
                    continue
                name = self._service.names.encode(entry.key)
                try:
                    await abort_upload(self._service, bucket, name, entry.upload_id)
                except NotFound as error:
                    if error.reason != Absence.NO_SUCH_UPLOAD:
                        raise
                else:
                    self._deleted += 1
                    self._counts.expired("upload")
            after, after_upload, has_more = page.last, page.last_upload, page.truncated
            await rest_since(begun)


def _has_changed(error: AlvearyError) -> bool:
    return isinstance(error, Refused) and error.reason == Refusal.CONDITION_FAILED
