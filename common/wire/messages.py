"""Every request and reply of the native protocol, by who answers it.

A request's payload (raw bytes beside the header) is named in its docstring; all others have none.
Codes are for ever: a request that is no longer used keeps its number.

Source: docs/protocol.md, "Messages".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, Final, TypeAlias

from common import limits
from common.ids import BucketId, PeerId, SegmentId, TenantId, VersionId
from common.wire.records import Max, Record, Size

Id16: TypeAlias = Annotated[bytes, Size(16)]
Digest: TypeAlias = Annotated[bytes, Size(32)]
Peer: TypeAlias = Annotated[PeerId, Size(32)]
Segment: TypeAlias = Annotated[SegmentId, Size(16)]
Tenant: TypeAlias = Annotated[TenantId, Size(16)]
Bucket: TypeAlias = Annotated[BucketId, Size(16)]
Version: TypeAlias = Annotated[VersionId, Size(16)]
Name: TypeAlias = Annotated[bytes, Max(limits.MAX_NAME_BYTES)]
"""An object name as the NameCodec gives it: opaque, ordered as bytes."""
Sealed: TypeAlias = Annotated[bytes, Max(1_500_000)]
"""Sealed under the tenant key; opaque to coordinator and cells."""
Summary: TypeAlias = Annotated[bytes, Max(512)]
"""A small sealed record that listings carry."""
Token: TypeAlias = Annotated[bytes, Max(256)]
Label: TypeAlias = Annotated[str, Max(255)]
OrderBytes: TypeAlias = Annotated[bytes, Max(128)]
PositionBytes: TypeAlias = Annotated[bytes, Max(128)]
"""A point of the history of the coordinator's store (docs/protocol.md, "Positions"); may be
empty."""
Positions: TypeAlias = Annotated[tuple[PositionBytes, ...], Max(limits.MAX_POSITIONS_KNOWN)]
"""The furthest that the caller was told, for each run that it remembers."""


class Reply(Record):
    """Base of replies."""

    __slots__ = ()


class Request(Record):
    """Base of requests: a code on the wire and the reply that answers it."""

    __slots__ = ()
    code: ClassVar[int]
    reply: ClassVar[type[Reply]]


@dataclass(frozen=True, slots=True)
class Done(Reply):
    """Nothing to say but that it is done (and durable, where that applies)."""


@dataclass(frozen=True, slots=True)
class Endpoint(Record):
    """Where a cell can be reached."""

    cell_id: Peer
    host: Label
    port: int


# === answered by every daemon ================================================================


@dataclass(frozen=True, slots=True)
class Ping(Request):
    """Is anyone there?"""

    code: ClassVar[int] = 1
    reply: ClassVar[type[Reply]] = Done


# === answered by a cell ======================================================================
# An order (docs/protocol.md, "Orders") names the action, the shard, the caller and a size.


@dataclass(frozen=True, slots=True)
class ShardPut(Request):
    """Store a whole small shard. Payload: all its units. Durable when answered.

    Idempotent: the same shard with the same root again is Done; with another root Refused
    ``shard_exists``.
    """

    order: OrderBytes
    unit_bytes: int
    root: Digest
    code: ClassVar[int] = 16
    reply: ClassVar[type[Reply]] = Done


@dataclass(frozen=True, slots=True)
class ShardOpen(Request):
    """Begin to upload a shard of exactly ``shard_bytes`` in units of ``unit_bytes`` (the last
    may be shorter). ``upload`` is the caller's number for it, unique on its connection; the upload
    dies with the connection."""

    order: OrderBytes
    upload: int
    unit_bytes: int
    shard_bytes: int
    code: ClassVar[int] = 17
    reply: ClassVar[type[Reply]] = Done


@dataclass(frozen=True, slots=True)
class ShardAppend(Request):
    """The next unit of an upload. Payload: the unit. ``unit`` counts from 0, without gaps.
    Requests of one upload are carried out in the order sent."""

    upload: int
    unit: int
    code: ClassVar[int] = 18
    reply: ClassVar[type[Reply]] = Done


@dataclass(frozen=True, slots=True)
class ShardFinish(Request):
    """All units are sent; the caller's root. Durable when answered. A root that differs from the
    cell's own: Corrupt ``root_mismatch``, and nothing is kept."""

    upload: int
    root: Digest
    code: ClassVar[int] = 19
    reply: ClassVar[type[Reply]] = Done


@dataclass(frozen=True, slots=True)
class ShardAbort(Request):
    """Drop an unfinished upload."""

    upload: int
    code: ClassVar[int] = 20
    reply: ClassVar[type[Reply]] = Done


@dataclass(frozen=True, slots=True)
class ShardUnits(Reply):
    """Payload: the units asked for, joined."""

    shard_bytes: int
    unit_bytes: int
    leaves: Annotated[bytes, Max(32 * limits.MAX_STRIPES_PER_SEGMENT)] = b""


@dataclass(frozen=True, slots=True)
class ShardRead(Request):
    """Read ``count`` units from ``first`` on (at most MAX_UNITS_PER_READ_BYTES together).
    ``want_leaves``: also return all leaves of the shard, 32 bytes each.

    Raises over the wire: NotFound ``no_such_shard``; Corrupt ``leaf_mismatch``, ``read_error``.
    """

    order: OrderBytes
    first: int
    count: int
    want_leaves: bool
    code: ClassVar[int] = 21
    reply: ClassVar[type[Reply]] = ShardUnits


@dataclass(frozen=True, slots=True)
class CellFacts(Reply):
    """What a cell says of itself."""

    capacity_bytes: int
    """The host's limit on what this cell may use."""
    used_bytes: int
    """Bytes of the file system in volumes and index."""
    free_bytes: int
    """What it can still take: the lesser of the limit's rest and the file system's rest."""
    shards: int
    live_bytes: int
    """Shard bytes of live shards."""
    read_only: bool
    read_only_reason: Label = ""
    medium: Annotated[bytes, Max(16)] = b""
    """Names the file system, so that what cells share of it is counted once; empty: unknown."""
    medium_total_bytes: int = 0
    medium_free_bytes: int = 0
    """Of the file system, the reserve that the cell leaves alone included."""
    lost_shards: int = 0
    """Held by volumes that were gone at a start, index and all; until an operator looked at it."""


@dataclass(frozen=True, slots=True)
class CellFactsGet(Request):
    """Ask a cell for its facts (operators' tools)."""

    code: ClassVar[int] = 22
    reply: ClassVar[type[Reply]] = CellFacts


# === answered by a coordinator, asked by cells ===============================================


@dataclass(frozen=True, slots=True)
class ShardName(Record):
    """One slot's shard of one segment."""

    segment_id: Segment
    slot: int


@dataclass(frozen=True, slots=True)
class CellJoined(Reply):
    """The swarm took the cell."""

    swarm: Label
    swarm_id: Id16


@dataclass(frozen=True, slots=True)
class CellJoin(Request):
    """Make the calling key a cell of the swarm, with a token from ``alveary invite``. Idempotent
    for the same key."""

    token: Token
    site: Label
    host: Label
    """The host's name: who owns the cell."""
    code: ClassVar[int] = 32
    reply: ClassVar[type[Reply]] = CellJoined


@dataclass(frozen=True, slots=True)
class HeartbeatReply(Reply):
    """What a cell must know and do."""

    order_key: Digest
    """Under which orders for this cell are MACed."""
    interval_s: int
    deletes: Annotated[tuple[ShardName, ...], Max(limits.MAX_DELETE_BATCH)]
    """Shards to delete; repeated until confirmed."""
    order_time: int
    """Now, in seconds: orders expire by it (docs/protocol.md, "Order time")."""
    clock_ms: int
    """The coordinator's wall clock, unix milliseconds: to show how clocks differ."""
    position: PositionBytes = b""
    """To be remembered durably; empty when the coordinator's store is behind."""
    ends: Annotated[tuple[int, ...], Max(limits.MAX_POSITIONS_KNOWN)] = ()
    """For each position of the request, the last transaction of its run in this store's history;
    0 where it does not have the run. A cell deletes nothing for a coordinator whose ends do not
    cover its positions."""
    run_id: Annotated[bytes, Max(16)] = b""
    """The coordinator's own run."""
    withdrawn: bool = False
    """The store is behind and acknowledged nothing in this run: forget the run."""


@dataclass(frozen=True, slots=True)
class Heartbeat(Request):
    """A cell is alive. ``deleted``: shards of earlier replies that are durably gone."""

    address_host: Label
    address_port: int
    facts: CellFacts
    deleted: Annotated[tuple[ShardName, ...], Max(limits.MAX_DELETE_BATCH)]
    seen: Positions = ()
    clock_ms: int = 0
    """The cell's wall clock, unix milliseconds; 0: not told."""
    code: ClassVar[int] = 33
    reply: ClassVar[type[Reply]] = HeartbeatReply


PENDING: Final = 0
COMMITTED: Final = 1
GARBAGE: Final = 2


@dataclass(frozen=True, slots=True)
class HeldShard(Record):
    """A shard a cell holds and does not know to be owned."""

    segment_id: Segment
    slot: int
    root: Digest
    shard_bytes: int


@dataclass(frozen=True, slots=True)
class SettleReply(Reply):
    """One byte per shard asked: PENDING (ask later), COMMITTED (keep), GARBAGE (delete)."""

    verdicts: Annotated[bytes, Max(limits.MAX_SETTLE_BATCH)]
    run_id: Annotated[bytes, Max(16)] = b""
    """The coordinator's run: GARBAGE counts only when the cell's positions were covered by it."""


@dataclass(frozen=True, slots=True)
class Settle(Request):
    """Compare what a cell holds with what the coordinator owns, a batch at a time."""

    shards: Annotated[tuple[HeldShard, ...], Max(limits.MAX_SETTLE_BATCH)]
    code: ClassVar[int] = 34
    reply: ClassVar[type[Reply]] = SettleReply


@dataclass(frozen=True, slots=True)
class ShardsLost(Request):
    """The cell held these and no longer has them whole (bad disk, failed sync)."""

    shards: Annotated[tuple[ShardName, ...], Max(limits.MAX_DELETE_BATCH)]
    code: ClassVar[int] = 35
    reply: ClassVar[type[Reply]] = Done


# === answered by a coordinator, asked by gateways ============================================


@dataclass(frozen=True, slots=True)
class TenantOpen(Request):
    """Let this connection act for a tenant. ``signature``: by the key derived from the tenant key,
    of this connection (docs/protocol.md, "Tenants"); Refused ``bad_proof`` if it does not hold."""

    tenant_id: Tenant
    signature: Annotated[bytes, Size(64)]
    seen: Positions = ()
    code: ClassVar[int] = 48
    reply: ClassVar[type[Reply]] = Done


@dataclass(frozen=True, slots=True)
class AccessKey(Reply):
    """A sealed access-key record: only a holder of the tenant key can open it."""

    tenant_id: Tenant
    sealed: Sealed


@dataclass(frozen=True, slots=True)
class AccessKeyGet(Request):
    """NotFound ``no_such_access_key`` when unknown or revoked."""

    access_key_id: Annotated[str, Max(128)]
    code: ClassVar[int] = 49
    reply: ClassVar[type[Reply]] = AccessKey


@dataclass(frozen=True, slots=True)
class Lease(Reply):
    """A write lease: segments granted under it may be committed while it lives."""

    lease: int
    ttl_s: int
    position: PositionBytes = b""
    reading_every_s: int = 0
    """How often to say which versions are being read, so that none is deleted under its reader; 0:
    they are not kept for readers."""


@dataclass(frozen=True, slots=True)
class LeaseRenew(Request):
    """Open a lease (0) or keep one alive. Refused ``lease_ended`` when it has ended.

    ``reading``: versions that are being read for longer; replaced or deleted ones among them are
    kept until the next call does not name them, or the lease ends."""

    lease: int
    seen: Positions = ()
    reading: Annotated[tuple[Version, ...], Max(limits.MAX_VERSIONS_READ)] = ()
    code: ClassVar[int] = 50
    reply: ClassVar[type[Reply]] = Lease


@dataclass(frozen=True, slots=True)
class SegmentGrant(Record):
    """A place for one segment: slot i is on ``cells[i]`` of the reply's table, by ``orders[i]``; an
    empty order: its cell was removed, and the slot will miss its shard."""

    segment_id: Segment
    ring: int
    k: int
    n: int
    quorum: int
    cells: Annotated[tuple[int, ...], Max(limits.MAX_SLOTS)]
    orders: Annotated[tuple[OrderBytes, ...], Max(limits.MAX_SLOTS)]


@dataclass(frozen=True, slots=True)
class Grants(Reply):
    """Places for segments. ``expires_in_s``: the orders' remaining life."""

    endpoints: Annotated[tuple[Endpoint, ...], Max(4096)]
    grants: Annotated[tuple[SegmentGrant, ...], Max(limits.MAX_SEGMENTS_PER_GRANT)]
    expires_in_s: int


@dataclass(frozen=True, slots=True)
class WriteStart(Request):
    """Grant ``count`` segments with orders to write shards of up to ``max_segment_bytes`` of
    plaintext. Writes nothing to the store.

    Raises over the wire: Unavailable ``no_ring`` (fewer cells alive than the write quorum, or no
    space); Refused ``lease_ended``.
    """

    tenant_id: Tenant
    lease: int
    count: int
    max_segment_bytes: int
    code: ClassVar[int] = 51
    reply: ClassVar[type[Reply]] = Grants


@dataclass(frozen=True, slots=True)
class WriteAbandon(Request):
    """These segments will never be committed: delete what the cells have of them. Committed ones
    are left alone. Refused ``not_granted`` when an order is not for its segment."""

    tenant_id: Tenant
    segments: Annotated[tuple[Segment, ...], Max(limits.MAX_DELETE_BATCH)]
    rings: Annotated[tuple[int, ...], Max(limits.MAX_DELETE_BATCH)] = ()
    """The ring of each, as granted: coordinators do not remember grants."""
    orders: Annotated[tuple[OrderBytes, ...], Max(limits.MAX_DELETE_BATCH)] = ()
    """An order of each grant, for any slot: it shows that the segment was granted."""
    code: ClassVar[int] = 52
    reply: ClassVar[type[Reply]] = Done


@dataclass(frozen=True, slots=True)
class Extent(Record):
    """A run of one segment: ``length`` plaintext bytes from ``offset``. ``commitment`` says which
    upload key opens it (docs/crypto.md, "Key commitment"), ``number`` which of the writer's tries
    at a segment it was: the segment key is derived from both."""

    segment_id: Segment
    offset: int
    length: int
    commitment: Digest
    number: int


@dataclass(frozen=True, slots=True)
class Page(Record):
    """Up to MAX_EXTENTS_PER_PAGE consecutive extents of one object or part, with its plaintext
    size. Its digest stands in the sealed manifest."""

    extents: Annotated[tuple[Extent, ...], Max(limits.MAX_EXTENTS_PER_PAGE)]


@dataclass(frozen=True, slots=True)
class NewSegment(Record):
    """A segment whose shards have been written. ``durable``: bit i set = slot i acknowledged."""

    segment_id: Segment
    ring: int
    segment_bytes: int
    """Plaintext bytes (a stripe's padding and tag are not in it)."""
    unit_bytes: int
    shard_bytes: int
    roots: Annotated[bytes, Max(32 * limits.MAX_SLOTS)]
    """n roots of 32 bytes, slot order; also of the slots that are not durable."""
    durable: int


NewSegments: TypeAlias = Annotated[tuple[NewSegment, ...], Max(8192)]
Pages: TypeAlias = Annotated[tuple[Page, ...], Max(limits.MAX_PAGES_PER_OBJECT)]


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


@dataclass(frozen=True, slots=True)
class ObjectCommit(Request):
    """Make a version of an object: all or nothing, in one transaction.

    ``segments``: those new with this commit; extents of others share segments that the tenant's
    live objects hold. Idempotent by ``version_id``.

    Raises over the wire: NotFound ``no_such_bucket``, ``no_such_segment`` (a shared one is gone:
    look the source up again); Refused ``condition_failed``, ``lease_ended``, ``below_quorum``.
    """

    tenant_id: Tenant
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
    code: ClassVar[int] = 53
    reply: ClassVar[type[Reply]] = Committed


@dataclass(frozen=True, slots=True)
class SegmentPlace(Record):
    """Where a segment is, with orders to read it. A slot known to miss its shard has no order
    (empty bytes)."""

    segment_id: Segment
    k: int
    n: int
    segment_bytes: int
    unit_bytes: int
    shard_bytes: int
    roots: Annotated[bytes, Max(32 * limits.MAX_SLOTS)]
    cells: Annotated[tuple[int, ...], Max(limits.MAX_SLOTS)]
    orders: Annotated[tuple[OrderBytes, ...], Max(limits.MAX_SLOTS)]


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


@dataclass(frozen=True, slots=True)
class ObjectGet(Request):
    """Look up the current version of a name (or ``version_id``).

    ``want_places``: also the page(s) that hold plaintext bytes from ``first`` on and the places
    of the segments that bytes ``first..last`` need, at most MAX_SEGMENTS_PER_GRANT of them from
    ``first`` on; ask again with a later ``first`` and the ``version_id`` for the rest (a version
    that was replaced meanwhile can be read on for the delete grace, and while it is named as being
    read). ``last`` beyond the end is cut.

    Raises over the wire: NotFound ``no_such_bucket``, ``no_such_object``, ``no_such_version``,
    ``delete_marker``.
    """

    tenant_id: Tenant
    bucket: Label
    name: Name
    version_id: Version | None
    want_places: bool
    first: int
    last: int
    code: ClassVar[int] = 54
    reply: ClassVar[type[Reply]] = ObjectRecord


@dataclass(frozen=True, slots=True)
class DeleteItem(Record):
    """One name to delete. ``condition`` as for a commit (a version of the same name)."""

    name: Name
    version_id: Version | None = None
    condition: Condition = Condition()


@dataclass(frozen=True, slots=True)
class DeleteResult(Record):
    """``reason``: empty when done (also when there was nothing), else a Refused reason."""

    reason: Label


@dataclass(frozen=True, slots=True)
class Deleted(Reply):
    """One result per item, in order. Durable."""

    results: Annotated[tuple[DeleteResult, ...], Max(limits.MAX_DELETE_BATCH)]
    position: PositionBytes = b""


@dataclass(frozen=True, slots=True)
class ObjectsDelete(Request):
    """Delete up to 1,000 names in one transaction."""

    tenant_id: Tenant
    bucket: Label
    items: Annotated[tuple[DeleteItem, ...], Max(limits.MAX_DELETE_BATCH)]
    code: ClassVar[int] = 55
    reply: ClassVar[type[Reply]] = Deleted


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


@dataclass(frozen=True, slots=True)
class ObjectsList(Request):
    """List live objects with names > ``after`` that start with ``prefix``. When ``after`` is
    itself a rolled-up prefix (ends with the delimiter and starts with ``prefix``), everything
    under it is skipped. A reply may be cut short by MAX_LIST_REPLY_BYTES (then truncated)."""

    tenant_id: Tenant
    bucket: Label
    prefix: Name
    delimiter: Annotated[bytes, Max(limits.MAX_NAME_BYTES)]
    after: Name
    limit: int
    code: ClassVar[int] = 56
    reply: ClassVar[type[Reply]] = Listing


@dataclass(frozen=True, slots=True)
class BucketRecord(Reply):
    """A bucket. ``settings`` is sealed by the gateway."""

    bucket_id: Bucket
    name: Label
    created_ms: int
    settings: Sealed


@dataclass(frozen=True, slots=True)
class BucketCreate(Request):
    """Bucket names are unique in the swarm. Refused ``bucket_exists`` (another tenant's) or
    ``bucket_owned`` (this tenant's)."""

    tenant_id: Tenant
    bucket_id: Bucket
    name: Label
    settings: Sealed
    code: ClassVar[int] = 57
    reply: ClassVar[type[Reply]] = BucketRecord


@dataclass(frozen=True, slots=True)
class BucketGet(Request):
    """NotFound ``no_such_bucket``; Refused ``not_owner``."""

    tenant_id: Tenant
    name: Label
    code: ClassVar[int] = 58
    reply: ClassVar[type[Reply]] = BucketRecord


@dataclass(frozen=True, slots=True)
class BucketDelete(Request):
    """Uploads in progress are dropped with it. Refused ``bucket_not_empty`` while it has objects,
    versions, or more parts in progress than one upload may have."""

    tenant_id: Tenant
    name: Label
    code: ClassVar[int] = 59
    reply: ClassVar[type[Reply]] = Done


@dataclass(frozen=True, slots=True)
class BucketRow(Record):
    """A row of a list of buckets. ``settings`` as in BucketRecord."""

    bucket_id: Bucket
    name: Label
    created_ms: int
    settings: Sealed


@dataclass(frozen=True, slots=True)
class Buckets(Reply):
    """Sorted by name. Cut short by MAX_LIST_REPLY_BYTES like listings."""

    buckets: Annotated[tuple[BucketRow, ...], Max(limits.MAX_LIST_ENTRIES)]
    truncated: bool


@dataclass(frozen=True, slots=True)
class BucketsList(Request):
    """The tenant's buckets with names > ``after`` and this prefix."""

    tenant_id: Tenant
    prefix: Label
    after: Label
    limit: int
    code: ClassVar[int] = 60
    reply: ClassVar[type[Reply]] = Buckets


@dataclass(frozen=True, slots=True)
class UploadRecord(Reply):
    """A multipart upload in progress. Its id becomes the version id of the object."""

    bucket_id: Bucket
    upload_id: Version
    created_ms: int
    sealed: Sealed


@dataclass(frozen=True, slots=True)
class UploadCreate(Request):
    """Begin an upload in parts. ``upload_id`` is drawn by the gateway."""

    tenant_id: Tenant
    bucket: Label
    name: Name
    upload_id: Version
    sealed: Sealed
    bucket_id: Bucket | None = None
    """As in ObjectCommit."""
    code: ClassVar[int] = 61
    reply: ClassVar[type[Reply]] = UploadRecord


@dataclass(frozen=True, slots=True)
class UploadGet(Request):
    """NotFound ``no_such_upload`` (also for another name)."""

    tenant_id: Tenant
    bucket: Label
    name: Name
    upload_id: Version
    code: ClassVar[int] = 62
    reply: ClassVar[type[Reply]] = UploadRecord


@dataclass(frozen=True, slots=True)
class PartCommit(Request):
    """Make (or replace) a part. ``part_id`` is drawn by the gateway for each try; idempotent by
    it. Fails like ObjectCommit, and NotFound ``no_such_upload``."""

    tenant_id: Tenant
    bucket: Label
    name: Name
    upload_id: Version
    part_number: int
    part_id: Version
    size: int
    sealed: Sealed
    pages: Pages
    segments: NewSegments
    code: ClassVar[int] = 63
    reply: ClassVar[type[Reply]] = Committed


@dataclass(frozen=True, slots=True)
class PartRow(Record):
    """A part of an upload in progress."""

    part_number: int
    part_id: Version
    size: int
    created_ms: int
    sealed: Sealed


@dataclass(frozen=True, slots=True)
class Parts(Reply):
    """By part number. Cut short by MAX_LIST_REPLY_BYTES like listings."""

    bucket_id: Bucket
    parts: Annotated[tuple[PartRow, ...], Max(limits.MAX_LIST_ENTRIES)]
    truncated: bool


@dataclass(frozen=True, slots=True)
class PartsList(Request):
    """Parts with numbers > ``after``."""

    tenant_id: Tenant
    bucket: Label
    name: Name
    upload_id: Version
    after: int
    limit: int
    code: ClassVar[int] = 64
    reply: ClassVar[type[Reply]] = Parts


@dataclass(frozen=True, slots=True)
class ChosenPart(Record):
    """A part that the finished object is made of."""

    part_number: int
    part_id: Version


@dataclass(frozen=True, slots=True)
class UploadComplete(Request):
    """Make the object of the chosen parts, in this order, in one transaction; the other parts are
    dropped. ``version_id`` of the object is the upload id. Idempotent.

    Raises over the wire: NotFound ``no_such_upload``, ``no_such_part``; Refused
    ``condition_failed``.
    """

    tenant_id: Tenant
    bucket: Label
    name: Name
    upload_id: Version
    parts: Annotated[tuple[ChosenPart, ...], Max(limits.MAX_PARTS)]
    size: int
    sealed: Sealed
    summary: Summary
    condition: Condition
    code: ClassVar[int] = 65
    reply: ClassVar[type[Reply]] = Committed


@dataclass(frozen=True, slots=True)
class UploadAbort(Request):
    """Drop an upload and its parts. NotFound ``no_such_upload``."""

    tenant_id: Tenant
    bucket: Label
    name: Name
    upload_id: Version
    code: ClassVar[int] = 66
    reply: ClassVar[type[Reply]] = Done


@dataclass(frozen=True, slots=True)
class UploadRow(Record):
    """An upload in progress."""

    name: Name
    upload_id: Version
    created_ms: int


@dataclass(frozen=True, slots=True)
class Uploads(Reply):
    """By name, then by upload id. Cut and continued like listings."""

    uploads: Annotated[tuple[UploadRow, ...], Max(limits.MAX_LIST_ENTRIES)]
    prefixes: Annotated[tuple[Name, ...], Max(limits.MAX_LIST_ENTRIES)]
    truncated: bool
    last: Name
    last_upload: Annotated[bytes, Max(16)]


@dataclass(frozen=True, slots=True)
class UploadsList(Request):
    """Uploads in progress with (name, id) > (``after``, ``after_upload``); without
    ``after_upload`` names > ``after``. Prefixes roll up as in ObjectsList."""

    tenant_id: Tenant
    bucket: Label
    prefix: Name
    delimiter: Annotated[bytes, Max(limits.MAX_NAME_BYTES)]
    after: Name
    after_upload: Annotated[bytes, Max(16)]
    limit: int
    code: ClassVar[int] = 67
    reply: ClassVar[type[Reply]] = Uploads


@dataclass(frozen=True, slots=True)
class BadShard(Record):
    """A shard that failed its check or is not where it should be, as a reader saw it."""

    segment_id: Segment
    slot: int
    reason: Label


@dataclass(frozen=True, slots=True)
class ShardsReport(Request):
    """A gateway saw bad or missing shards. The coordinator remembers them as missing only after
    its own check, or when the cell says so itself; a report alone deletes nothing."""

    tenant_id: Tenant
    shards: Annotated[tuple[BadShard, ...], Max(limits.MAX_DELETE_BATCH)]
    code: ClassVar[int] = 68
    reply: ClassVar[type[Reply]] = Done


@dataclass(frozen=True, slots=True)
class SwarmState(Reply):
    """What a gateway can do with the swarm now."""

    writable: bool
    """A ring can be chosen for new segments, and commits are taken."""
    reason: Label = ""
    """Why not."""


@dataclass(frozen=True, slots=True)
class GatewayPresence(Request):
    """A gateway is there: a line for operators, which gives it no rights."""

    s3: Label
    """Where it listens for clients."""
    tenants: int
    """How many it has keys of."""
    code: ClassVar[int] = 69
    reply: ClassVar[type[Reply]] = SwarmState


_ALL = [
    each
    for each in globals().values()
    if isinstance(each, type) and issubclass(each, Request) and each is not Request
]
REQUESTS: Final[Mapping[int, type[Request]]] = {request.code: request for request in _ALL}
assert len(REQUESTS) == len(_ALL), "two requests share a code"
