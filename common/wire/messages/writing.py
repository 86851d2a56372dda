"""Messages between gateways and coordinators before a commit: tenants, leases, grants, reports.

Source: docs/protocol.md, "Messages".
"""

from __future__ import annotations

from typing import Annotated, ClassVar, TypeAlias

from common import limits
from common.data_classes import dataclass
from common.wire.messages.base import (
    STANDARD_CLASS,
    Digest,
    Done,
    Endpoint,
    Idempotency,
    Label,
    OrderBytes,
    Peer,
    PositionBytes,
    Positions,
    Reply,
    Request,
    Sealed,
    Segment,
    Tenant,
    TenantRequest,
    TenantScope,
    Version,
)
from common.wire.records import Max, Record, Size


@dataclass(frozen=True, slots=True)
class TenantOpen(Request):
    """Let this connection act for a tenant. ``signature``: by the key derived from the tenant key,
    of this connection (docs/protocol.md, "Tenants"); Refused ``bad_proof`` if it does not hold."""

    tenant_id: Tenant
    signature: Annotated[bytes, Size(64)]
    seen: Positions = ()
    code: ClassVar[int] = 48
    reply: ClassVar[type[Reply]] = Done
    idempotency: ClassVar[Idempotency] = Idempotency.REPEATABLE
    tenant_scope: ClassVar[TenantScope] = TenantScope.NONE


@dataclass(frozen=True, slots=True)
class AccessKey(Reply):
    """A sealed access-key record: only a holder of the tenant key can open it.
    ``roster_revision``: of the roster that the tenant has now; 0: it has none."""

    tenant_id: Tenant
    sealed: Sealed
    roster_revision: int = 0


@dataclass(frozen=True, slots=True)
class AccessKeyGet(Request):
    """NotFound ``no_such_access_key`` when unknown or revoked."""

    access_key_id: Annotated[str, Max(128)]
    code: ClassVar[int] = 49
    reply: ClassVar[type[Reply]] = AccessKey
    idempotency: ClassVar[Idempotency] = Idempotency.ASKS
    tenant_scope: ClassVar[TenantScope] = TenantScope.ALL


@dataclass(frozen=True, slots=True)
class RosterRecord(Reply):
    """The sealed roster of a tenant."""

    revision: int
    sealed: Annotated[bytes, Max(limits.MAX_SEALED_ROSTER_BYTES)]


@dataclass(frozen=True, slots=True)
class RosterGet(TenantRequest):
    """NotFound ``no_such_roster``: the tenant has no users."""

    code: ClassVar[int] = 96
    reply: ClassVar[type[Reply]] = RosterRecord
    idempotency: ClassVar[Idempotency] = Idempotency.ASKS


@dataclass(frozen=True, slots=True)
class Lease(Reply):
    """A write lease: segments granted under it may be committed while it lives."""

    lease: int
    ttl_s: int
    position: PositionBytes = b""
    reading_every_s: int = 0
    """Interval at which to report the versions being read, so that none is deleted under its
    reader; 0: they are not kept for readers."""


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
    idempotency: ClassVar[Idempotency] = Idempotency.REPEATABLE
    tenant_scope: ClassVar[TenantScope] = TenantScope.ANY


@dataclass(frozen=True, slots=True)
class SegmentGrant(Record):
    """A place for one segment: slot i is on ``cells[i]`` of the reply's table, by ``orders[i]``; an
    empty order: its cell was removed, and the slot will miss its shard."""

    segment_id: Segment
    ring: int
    revision: int
    """Of the ring, when this was granted; to be returned with the commit."""
    k: int
    n: int
    quorum: int
    home_k: int
    """Of the segment's home class. A multiple of k: it is k while there are enough cells."""
    home_n: int
    cells: Annotated[tuple[int, ...], Max(limits.MAX_SLOTS)]
    orders: Annotated[tuple[OrderBytes, ...], Max(limits.MAX_SLOTS)]


@dataclass(frozen=True, slots=True)
class Grants(Reply):
    """Places for segments. ``expires_in_s``: the orders' remaining life."""

    endpoints: Annotated[tuple[Endpoint, ...], Max(4096)]
    grants: Annotated[tuple[SegmentGrant, ...], Max(limits.MAX_SEGMENTS_PER_GRANT)]
    expires_in_s: int


@dataclass(frozen=True, slots=True)
class WriteStart(TenantRequest):
    """Grant ``count`` segments with orders to write shards of up to ``max_segment_bytes`` of
    plaintext, in a storage class: that of the bucket. Writes nothing to the store.

    Raises over the wire: Unavailable ``no_ring`` (fewer cells alive than the write quorum, or no
    space; with ``storage_class``, on the sites of that class); Refused ``lease_ended``.
    """

    lease: int
    count: int
    max_segment_bytes: int
    storage_class: Label = STANDARD_CLASS
    code: ClassVar[int] = 51
    reply: ClassVar[type[Reply]] = Grants
    idempotency: ClassVar[Idempotency] = Idempotency.ASKS


@dataclass(frozen=True, slots=True)
class WriteAbandon(TenantRequest):
    """These segments will never be committed: delete what the cells have of them. Committed ones
    are left alone. Refused ``not_granted`` when an order is not for its segment."""

    segments: Annotated[tuple[Segment, ...], Max(limits.MAX_DELETE_BATCH)]
    rings: Annotated[tuple[int, ...], Max(limits.MAX_DELETE_BATCH)] = ()
    """The ring of each, as granted: coordinators do not remember grants."""
    orders: Annotated[tuple[OrderBytes, ...], Max(limits.MAX_DELETE_BATCH)] = ()
    """An order of each grant, for any slot: it shows that the segment was granted."""
    cells: Annotated[tuple[Peer, ...], Max(limits.MAX_DELETE_BATCH)] = ()
    """The cell that each order is for: its slot may have moved to another since."""
    code: ClassVar[int] = 52
    reply: ClassVar[type[Reply]] = Done
    idempotency: ClassVar[Idempotency] = Idempotency.REPEATABLE


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
    revision: int
    """Of the ring, as granted: slots that moved since are filled by their new holders."""
    segment_bytes: int
    """Plaintext bytes (a stripe's padding and tag are not in it)."""
    unit_bytes: int
    shard_bytes: int
    roots: Annotated[bytes, Max(32 * limits.MAX_SLOTS)]
    """n roots of 32 bytes, slot order; also of the slots that are not durable."""
    durable: int
    home_k: int = 0
    """Of the home class, where that is not the class that it was written in."""
    home_roots: Annotated[bytes, Max(32 * limits.MAX_SLOTS)] = b""
    """The roots of the shards that it will have in its home class."""


NewSegments: TypeAlias = Annotated[tuple[NewSegment, ...], Max(8192)]

Pages: TypeAlias = Annotated[tuple[Page, ...], Max(limits.MAX_PAGES_PER_OBJECT)]


@dataclass(frozen=True, slots=True)
class SegmentPlace(Record):
    """The place of a segment, with orders to read it. A slot known to miss its shard has no order
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
class BadShard(Record):
    """A shard that failed its check or is not where it should be, as a reader saw it."""

    segment_id: Segment
    slot: int
    reason: Label


@dataclass(frozen=True, slots=True)
class ShardsReport(TenantRequest):
    """A gateway saw bad or missing shards. The coordinator remembers them as missing only after
    its own check, or when the cell says so itself; a report alone deletes nothing."""

    shards: Annotated[tuple[BadShard, ...], Max(limits.MAX_DELETE_BATCH)]
    code: ClassVar[int] = 68
    reply: ClassVar[type[Reply]] = Done
    idempotency: ClassVar[Idempotency] = Idempotency.REPEATABLE
