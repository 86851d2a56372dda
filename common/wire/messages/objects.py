"""Messages between gateways and coordinators about objects: commits, look-ups, deletes, listings.

Source: docs/protocol.md, "Messages".
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from common import limits
from common.data_classes import dataclass
from common.wire.control import Failure
from common.wire.messages.base import (
    Bucket,
    CharterBytes,
    Digest,
    Done,
    Endpoint,
    Idempotency,
    Label,
    Name,
    PositionBytes,
    Reply,
    Request,
    Revision,
    Sealed,
    SealedAcl,
    SealedClass,
    SealedTags,
    Summary,
    TenantRequest,
    TenantScope,
    Version,
)
from common.wire.messages.buckets import UNVERSIONED
from common.wire.messages.locks import NO_LOCK, Lock
from common.wire.messages.membership import CoordinatorAddresses
from common.wire.messages.notifications import Notification
from common.wire.messages.writing import NewSegments, Page, Pages, SegmentPlace
from common.wire.records import Max, Record


@dataclass(frozen=True, slots=True)
class Condition(Record):
    """Decided inside the transaction. ``absent``: the name must have no live object.
    ``version_id``: the current version must be this one."""

    absent: bool = False
    version_id: Version | None = None


@dataclass(frozen=True, slots=True)
class NamedClass(Record):
    """The class that a client asked for. ``sealed``: its name. ``storage_class``: the storage class
    in which the data is to be, by its name; empty: that of the bucket."""

    sealed: SealedClass
    storage_class: Label = ""


@dataclass(frozen=True, slots=True)
class Committed(Reply):
    """Durable. ``sequence`` orders all versions of the swarm."""

    sequence: int
    created_ms: int
    position: PositionBytes = b""
    """Of a store that has this commit."""
    bucket_revision: Revision = 0
    versioning: int = UNVERSIONED
    """Of the bucket, when a version was committed: it is known by its id if that was VERSIONED,
    else it is the null version."""


@dataclass(frozen=True, slots=True)
class ObjectCommit(TenantRequest):
    """Make a version of an object: all or nothing, in one transaction.

    ``segments``: those new with this commit; extents of others share segments that the tenant's
    live objects hold. Idempotent by ``version_id``.

    Raises over the wire: NotFound ``no_such_bucket``, ``no_such_segment`` (a shared one is gone:
    look the source up again); Refused ``condition_failed``, ``lease_ended``, ``below_quorum``,
    ``no_locks`` (the bucket's versions cannot be locked).
    """

    bucket: Label
    name: Name
    version_id: Version
    size: int
    sealed: Sealed
    summary: Summary
    pages: Pages
    segments: NewSegments
    condition: Condition
    bucket_id: Bucket | None = None
    """The bucket that the sealed record is bound to: when the name now belongs to another one
    (deleted and made again), NotFound ``no_such_bucket`` and nothing is done."""
    tags: SealedTags = b""
    lock: Lock = NO_LOCK
    """Without retention: the bucket's default one."""
    acl: SealedAcl = b""
    notification: Notification | None = None
    """Of its event, where a webhook is to be notified."""
    named_class: NamedClass | None = None
    """None: its client asked for none; it is in the class of its bucket."""
    code: ClassVar[int] = 53
    reply: ClassVar[type[Reply]] = Committed
    idempotency: ClassVar[Idempotency] = Idempotency.REPEATABLE


@dataclass(frozen=True, slots=True)
class PlacedPage(Record):
    """Page ``number`` of a version, whose first byte is byte ``start`` of the object."""

    number: int
    start: int
    page: Page


@dataclass(frozen=True, slots=True)
class ObjectRecord(Reply):
    """A version. ``pages``, ``places`` and ``endpoints`` only where a range was asked for."""

    bucket_id: Bucket
    version_id: Version
    sequence: int
    created_ms: int
    size: int
    sealed: Sealed
    pages: Annotated[tuple[PlacedPage, ...], Max(4)] = ()
    places: Annotated[tuple[SegmentPlace, ...], Max(limits.MAX_SEGMENTS_PER_GRANT)] = ()
    endpoints: Annotated[tuple[Endpoint, ...], Max(4096)] = ()
    bucket_revision: Revision = 0
    tags: SealedTags = b""
    versioning: int = UNVERSIONED
    """Of the bucket, now."""
    is_null: bool = True
    """It is the null version of its name, and not known by its id."""
    delete_marker: bool = False
    """It says that there is no object. ``sealed`` is the record of a marker."""
    lock: Lock = NO_LOCK
    acl: SealedAcl = b""
    class_name: SealedClass = b""


@dataclass(frozen=True, slots=True)
class ObjectGet(TenantRequest):
    """Look up the current version of a name (or ``version_id``, or the one that a client names).

    ``want_places``: also the page(s) that hold plaintext bytes from ``first`` on and the places
    of the segments that bytes ``first..last`` need, at most MAX_SEGMENTS_PER_GRANT of them from
    ``first`` on; ask again with a later ``first`` and the ``version_id`` for the rest (a version
    that was replaced meanwhile can be read on for the delete grace, and while it is named as being
    read). ``last`` beyond the end is cut.

    A delete marker is answered like a version, without a range, where it is the latest or named.

    Raises over the wire: NotFound ``no_such_bucket``, ``no_such_object``, ``no_such_version``.
    """

    bucket: Label
    name: Name
    version_id: Version | None
    want_places: bool
    first: int
    last: int
    named: bool = False
    """The version is one that a client names: not one that was dropped. Without ``version_id`` it
    is the null version, and no null version is known by its id."""
    code: ClassVar[int] = 54
    reply: ClassVar[type[Reply]] = ObjectRecord
    idempotency: ClassVar[Idempotency] = Idempotency.ASKS


@dataclass(frozen=True, slots=True)
class ObjectTagsSet(TenantRequest):
    """Replace the tags of a version; the version stays as it is. Of two requests the one that is
    carried out last counts. NotFound ``no_such_bucket``; ``no_such_version``, also when it was
    deleted or replaced."""

    bucket: Label
    name: Name
    version_id: Version
    tags: SealedTags
    notification: Notification | None = None
    code: ClassVar[int] = 81
    reply: ClassVar[type[Reply]] = Done
    idempotency: ClassVar[Idempotency] = Idempotency.REPEATABLE


@dataclass(frozen=True, slots=True)
class ObjectAclSet(TenantRequest):
    """Replace the access control list of a version; as ObjectTagsSet."""

    bucket: Label
    name: Name
    version_id: Version
    acl: SealedAcl
    notification: Notification | None = None
    code: ClassVar[int] = 93
    reply: ClassVar[type[Reply]] = Done
    idempotency: ClassVar[Idempotency] = Idempotency.REPEATABLE


@dataclass(frozen=True, slots=True)
class RetentionSet(TenantRequest):
    """Set the retention of a version, or remove it (NO_RETENTION). While one is in force, it can be
    extended; of GOVERNANCE anything else takes ``bypass``, which gateways decide about, and of
    COMPLIANCE nothing else can be done: Refused ``version_locked``.

    Refused also ``no_locks``, ``bad_value``, ``retention_over``: it would have ended before it
    begins. NotFound ``no_such_bucket``, ``no_such_version`` as for ObjectTagsSet."""

    bucket: Label
    name: Name
    version_id: Version
    mode: int
    until_ms: int
    bypass: bool = False
    code: ClassVar[int] = 91
    reply: ClassVar[type[Reply]] = Done
    idempotency: ClassVar[Idempotency] = Idempotency.REPEATABLE


@dataclass(frozen=True, slots=True)
class HoldSet(TenantRequest):
    """Set the legal hold of a version: HOLD_ON or HOLD_OFF. Of two requests the one that is carried
    out last counts. Refused ``no_locks``, ``bad_value``; NotFound as for ObjectTagsSet."""

    bucket: Label
    name: Name
    version_id: Version
    hold: int
    code: ClassVar[int] = 92
    reply: ClassVar[type[Reply]] = Done
    idempotency: ClassVar[Idempotency] = Idempotency.REPEATABLE


@dataclass(frozen=True, slots=True)
class JudgedVersion(Record):
    """A version that something was decided about, and what it was decided by. ``version_id``: of a
    kept version of the name, of a null version or a delete marker too. ``latest``: that of the
    name's latest version; a delete marker counts. ``tags``: the SHA-256 of its sealed tags, where
    it was decided by them; empty: not by them."""

    version_id: Version
    latest: Version
    tags: Annotated[bytes, Max(32)] = b""


@dataclass(frozen=True, slots=True)
class DeleteItem(Record):
    """One name to delete, or one version of it. ``condition`` as for a commit: on the current
    version of the name, whichever is deleted."""

    name: Name
    version_id: Version | None = None
    condition: Condition = Condition()
    named: bool = False
    """A version is deleted for good, a delete marker too: ``version_id``, or without it the null
    version."""
    marker: Summary = b""
    """The sealed record of the delete marker that is made where versioning is not UNVERSIONED and
    no version is named. ``marker_id``: its version id."""
    marker_id: Version | None = None
    bypass: bool = False
    """A version that is named is deleted though GOVERNANCE protects it; who may do so is decided by
    gateways."""
    judged: JudgedVersion | None = None
    """Refused ``condition_failed`` unless all of it is still so. With ``named`` it is this version
    that is deleted, a null version too, and ``version_id`` says nothing."""
    notification: Notification | None = None
    """None is kept where nothing was there to be deleted."""


@dataclass(frozen=True, slots=True)
class DeleteResult(Record):
    """``failure``: why it was not deleted (``condition_failed``, ``version_locked``); None when
    done, also when there was nothing."""

    failure: Failure | None = None
    versioning: int = UNVERSIONED
    """Of the bucket. A marker that was made under SUSPENDED is the null version of its name."""
    delete_marker: bool = False
    """A delete marker was made or, of a version that was named, deleted."""


@dataclass(frozen=True, slots=True)
class ObjectRename(TenantRequest):
    """Make a version of ``name`` of what the current version of another name has, and delete that
    name: all or nothing, in one transaction. Idempotent by ``version_id``.

    ``source``: the name that is deleted, as in ObjectsDelete, whose condition names the version
    that is current there. ``former``: SHA-256 of that version's sealed record, tags, access control
    list and class name, one behind the other: all of them must still be as the caller read them.
    ``condition``: on ``name``, as in ObjectCommit. ``class_name``: of the new version, whose data
    is to be in the storage class in which it was to be.

    Raises over the wire: NotFound ``no_such_bucket``; Refused ``condition_failed``, of either name;
    ``version_locked``, ``version_exists``, ``bad_name`` (both are one), ``marker_missing``.
    """

    bucket: Label
    bucket_id: Bucket
    source: DeleteItem
    name: Name
    version_id: Version
    sealed: Sealed
    summary: Summary
    condition: Condition
    former: Digest
    tags: SealedTags = b""
    acl: SealedAcl = b""
    notification: Notification | None = None
    class_name: SealedClass = b""
    code: ClassVar[int] = 113
    reply: ClassVar[type[Reply]] = Committed
    idempotency: ClassVar[Idempotency] = Idempotency.REPEATABLE


@dataclass(frozen=True, slots=True)
class Deleted(Reply):
    """One result per item, in order. Durable."""

    results: Annotated[tuple[DeleteResult, ...], Max(limits.MAX_DELETE_BATCH)]
    position: PositionBytes = b""


@dataclass(frozen=True, slots=True)
class ObjectsDelete(TenantRequest):
    """Delete up to 1,000 names or versions in one transaction. Refused ``marker_missing`` where a
    delete marker is to be made and an item has none."""

    bucket: Label
    items: Annotated[tuple[DeleteItem, ...], Max(limits.MAX_DELETE_BATCH)]
    bucket_id: Bucket | None = None
    """As in ObjectCommit: what the markers are bound to."""
    code: ClassVar[int] = 55
    reply: ClassVar[type[Reply]] = Deleted
    idempotency: ClassVar[Idempotency] = Idempotency.ONCE


@dataclass(frozen=True, slots=True)
class ListedObject(Record):
    """A listing row."""

    name: Name
    version_id: Version
    sequence: int
    created_ms: int
    size: int
    summary: Summary
    class_name: SealedClass = b""


@dataclass(frozen=True, slots=True)
class Listing(Reply):
    """Names in byte order. ``prefixes`` are names rolled up at the delimiter; rows and prefixes
    together are at most ``limit``. ``truncated``: there is more after ``last`` (a name, or a
    prefix); continue with ``after=last``."""

    bucket_id: Bucket
    objects: Annotated[tuple[ListedObject, ...], Max(limits.MAX_LIST_ENTRIES)]
    prefixes: Annotated[tuple[Name, ...], Max(limits.MAX_LIST_ENTRIES)]
    truncated: bool
    last: Name
    bucket_revision: Revision = 0


@dataclass(frozen=True, slots=True)
class ObjectsList(TenantRequest):
    """List live objects with names > ``after`` that start with ``prefix``. When ``after`` is
    itself a rolled-up prefix (ends with the delimiter and starts with ``prefix``), everything
    under it is skipped. A reply may be cut short by MAX_LIST_REPLY_BYTES (then truncated)."""

    bucket: Label
    prefix: Name
    delimiter: Annotated[bytes, Max(limits.MAX_NAME_BYTES)]
    after: Name
    limit: int
    code: ClassVar[int] = 56
    reply: ClassVar[type[Reply]] = Listing
    idempotency: ClassVar[Idempotency] = Idempotency.ASKS


@dataclass(frozen=True, slots=True)
class ListedVersion(Record):
    """A row of a listing of versions. ``summary`` of a delete marker: the record of the marker."""

    name: Name
    version_id: Version
    sequence: int
    created_ms: int
    size: int
    summary: Summary
    is_null: bool
    is_latest: bool
    delete_marker: bool
    tags: SealedTags = b""
    """Empty, too, where they were not asked for."""
    class_name: SealedClass = b""


@dataclass(frozen=True, slots=True)
class VersionListing(Reply):
    """By name, and of each name the latest first. Rolled up and cut as in Listing.
    ``last_version``: of the row that it ends with; empty when it ends with a prefix."""

    bucket_id: Bucket
    versions: Annotated[tuple[ListedVersion, ...], Max(limits.MAX_LIST_ENTRIES)]
    prefixes: Annotated[tuple[Name, ...], Max(limits.MAX_LIST_ENTRIES)]
    truncated: bool
    last: Name
    last_version: Annotated[bytes, Max(16)]
    bucket_revision: Revision = 0


@dataclass(frozen=True, slots=True)
class VersionsList(TenantRequest):
    """List versions and delete markers of names > ``after`` that start with ``prefix`` and, after
    a version of ``after`` itself, those that are older than it: ``after_version``, or the null
    version (``after_null``). Where that version is gone for good, all of that name are listed:
    nothing is skipped."""

    bucket: Label
    prefix: Name
    delimiter: Annotated[bytes, Max(limits.MAX_NAME_BYTES)]
    after: Name
    after_version: Annotated[bytes, Max(16)]
    after_null: bool
    limit: int
    with_tags: bool = False
    """Also the sealed tags of each version."""
    code: ClassVar[int] = 72
    reply: ClassVar[type[Reply]] = VersionListing
    idempotency: ClassVar[Idempotency] = Idempotency.ASKS


@dataclass(frozen=True, slots=True)
class SwarmState(Reply):
    """The current ability of the swarm to serve a gateway."""

    writable: bool
    """A ring can be chosen for new segments, and commits are taken."""
    reason: Label = ""
    """The reason, when not writable."""
    capacity_bytes: int = 0
    """Bytes of objects that all cells could hold in the configured class; 0: not said."""
    free_bytes: int = 0
    """Bytes of objects that they can still take."""
    coordinators: CoordinatorAddresses = ()
    """All coordinators of the swarm, the active one first; none: it does not say."""
    charter: CharterBytes = b""
    """A later one than the gateway's; empty: it has the latest."""


@dataclass(frozen=True, slots=True)
class GatewayPresence(Request):
    """A gateway is there: a line for operators, which gives it no rights."""

    s3: Label
    """The address on which it listens for clients."""
    tenants: int
    """The number of tenants that it has keys of."""
    charter_revision: int = 0
    """The revision of the charter that it has; 0: none."""
    code: ClassVar[int] = 69
    reply: ClassVar[type[Reply]] = SwarmState
    idempotency: ClassVar[Idempotency] = Idempotency.ASKS
    tenant_scope: ClassVar[TenantScope] = TenantScope.NONE
