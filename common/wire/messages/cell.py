"""Messages that cells answer: shards are written and read.

Source: docs/protocol.md, "Messages".
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from common import limits
from common.data_classes import dataclass
from common.wire.messages.base import (
    CellFacts,
    Digest,
    Done,
    Idempotency,
    OrderBytes,
    Reply,
    Request,
    TenantScope,
)
from common.wire.records import Max


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
    idempotency: ClassVar[Idempotency] = Idempotency.REPEATABLE
    tenant_scope: ClassVar[TenantScope] = TenantScope.NONE


class ShardUploadRequest(Request):
    """Base of requests about one upload of a shard: carried out in the order sent."""

    __slots__ = ()
    upload: int
    tenant_scope: ClassVar[TenantScope] = TenantScope.NONE

    @property
    def lane(self) -> int:
        """The upload, by the caller's number."""
        return self.upload


@dataclass(frozen=True, slots=True)
class ShardOpen(ShardUploadRequest):
    """Begin to upload a shard of exactly ``shard_bytes`` in units of ``unit_bytes`` (the last
    may be shorter). ``upload`` is the caller's number for it, unique on its connection; the upload
    dies with the connection."""

    order: OrderBytes
    upload: int
    unit_bytes: int
    shard_bytes: int
    code: ClassVar[int] = 17
    reply: ClassVar[type[Reply]] = Done
    idempotency: ClassVar[Idempotency] = Idempotency.ONCE


@dataclass(frozen=True, slots=True)
class ShardAppend(ShardUploadRequest):
    """The next unit of an upload. Payload: the unit. ``unit`` counts from 0, without gaps.
    Requests of one upload are carried out in the order sent."""

    upload: int
    unit: int
    code: ClassVar[int] = 18
    reply: ClassVar[type[Reply]] = Done
    idempotency: ClassVar[Idempotency] = Idempotency.ONCE


@dataclass(frozen=True, slots=True)
class ShardFinish(ShardUploadRequest):
    """All units are sent; the caller's root. Durable when answered. A root that differs from the
    cell's own: Corrupt ``root_mismatch``, and nothing is kept."""

    upload: int
    root: Digest
    code: ClassVar[int] = 19
    reply: ClassVar[type[Reply]] = Done
    idempotency: ClassVar[Idempotency] = Idempotency.ONCE


@dataclass(frozen=True, slots=True)
class ShardAbort(ShardUploadRequest):
    """Drop an unfinished upload."""

    upload: int
    code: ClassVar[int] = 20
    reply: ClassVar[type[Reply]] = Done
    idempotency: ClassVar[Idempotency] = Idempotency.REPEATABLE


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
    idempotency: ClassVar[Idempotency] = Idempotency.ASKS
    tenant_scope: ClassVar[TenantScope] = TenantScope.NONE


@dataclass(frozen=True, slots=True)
class CellFactsGet(Request):
    """Ask a cell for its facts (operators' tools)."""

    code: ClassVar[int] = 22
    reply: ClassVar[type[Reply]] = CellFacts
    idempotency: ClassVar[Idempotency] = Idempotency.ASKS
    tenant_scope: ClassVar[TenantScope] = TenantScope.NONE
