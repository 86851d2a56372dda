"""Messages between gateways and coordinators about objects: commits, look-ups, deletes, listings.

Source: docs/protocol.md, "Messages".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from common import limits
from common.wire.control import Failure
from common.wire.messages.base import (
    Bucket,
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
    SealedTags,
    Summary,
    TenantRequest,
    TenantScope,
    Version,
)
from common.wire.messages.writing import NewSegments, Page, Pages, SegmentPlace
from common.wire.records import Max, Record


@dataclass(frozen=True, slots=True)
class Condition(Record):
    """Decided inside the transaction. ``absent``: the name must have no live object.
    ``version_id``: the current version must be this one."""

    absent: bool = False
    version_id: Version | None = None


@dataclass(frozen=True, slots=True)
class Committed(Reply):
    """Durable. ``sequence`` orders all versions of the swarm."""

    sequence: int
    created_ms: int
    position: PositionBytes = b""
    """Of a store that has this commit."""
    bucket_revision: Revision = 0


@dataclass(frozen=True, slots=True)
class ObjectCommit(TenantRequest):
    """Make a version of an object: all or nothing, in one transaction.

    ``segments``: those new with this commit; extents of others share segments that the tenant's
    live objects hold. Idempotent by ``version_id``.

    Raises over the wire: NotFound ``no_such_bucket``, ``no_such_segment`` (a shared one is gone:
    look the source up again); Refused ``condition_failed``, ``lease_ended``, ``below_quorum``.
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


@dataclass(frozen=True, slots=True)
class ObjectGet(TenantRequest):
    """Look up the current version of a name (or ``version_id``).

    ``want_places``: also the page(s) that hold plaintext bytes from ``first`` on and the places
    of the segments that bytes ``first..last`` need, at most MAX_SEGMENTS_PER_GRANT of them from
    ``first`` on; ask again with a later ``first`` and the ``version_id`` for the rest (a version
    that was replaced meanwhile can be read on for the delete grace, and while it is named as being
    read). ``last`` beyond the end is cut.

    Raises over the wire: NotFound ``no_such_bucket``, ``no_such_object``, ``no_such_version``,
    ``delete_marker``.
    """

    bucket: Label
    name: Name
    version_id: Version | None
    want_places: bool
    first: int
    last: int
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
    code: ClassVar[int] = 81
    reply: ClassVar[type[Reply]] = Done
    idempotency: ClassVar[Idempotency] = Idempotency.REPEATABLE


@dataclass(frozen=True, slots=True)
class DeleteItem(Record):
    """One name to delete. ``condition`` as for a commit (a version of the same name)."""

    name: Name
    version_id: Version | None = None
    condition: Condition = Condition()


@dataclass(frozen=True, slots=True)
class DeleteResult(Record):
    """``failure``: why it was not deleted; None when done, also when there was nothing."""

    failure: Failure | None = None


@dataclass(frozen=True, slots=True)
class Deleted(Reply):
    """One result per item, in order. Durable."""

    results: Annotated[tuple[DeleteResult, ...], Max(limits.MAX_DELETE_BATCH)]
    position: PositionBytes = b""


@dataclass(frozen=True, slots=True)
class ObjectsDelete(TenantRequest):
    """Delete up to 1,000 names in one transaction."""

    bucket: Label
    items: Annotated[tuple[DeleteItem, ...], Max(limits.MAX_DELETE_BATCH)]
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
class SwarmState(Reply):
    """The current ability of the swarm to serve a gateway."""

    writable: bool
    """A ring can be chosen for new segments, and commits are taken."""
    reason: Label = ""
    """The reason, when not writable."""


@dataclass(frozen=True, slots=True)
class GatewayPresence(Request):
    """A gateway is there: a line for operators, which gives it no rights."""

    s3: Label
    """The address on which it listens for clients."""
    tenants: int
    """The number of tenants that it has keys of."""
    code: ClassVar[int] = 69
    reply: ClassVar[type[Reply]] = SwarmState
    idempotency: ClassVar[Idempotency] = Idempotency.ASKS
    tenant_scope: ClassVar[TenantScope] = TenantScope.NONE
