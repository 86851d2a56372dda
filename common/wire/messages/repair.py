"""Messages by which a cell fills the slots that miss their shards, and compares what it holds with
what it should hold.

Source: docs/protocol.md, "Messages"; docs/decisions/0031-repair.md.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from common import limits
from common.data_classes import dataclass
from common.wire.messages.base import (
    Endpoint,
    EpochMark,
    Idempotency,
    Reply,
    Request,
    Segment,
    ShardName,
    TenantScope,
)
from common.wire.messages.membership import HeldShard
from common.wire.messages.writing import SegmentPlace
from common.wire.records import Max, Record


@dataclass(frozen=True, slots=True)
class MissingShard(Record):
    """A slot of the asking cell that misses its shard.

    ``place``: the segment, with orders to read it. The order for ``slot`` itself, where it is not
    empty, is one for the slot's former holder, which may still have the shard.
    ``spare``: shards of the segment that can be read now, beyond k.
    ``former``: where the segment is to be read, in the class that it was written in, when ``place``
    is in its home class, where it is not yet; else nothing.
    """

    place: SegmentPlace
    slot: int
    spare: int
    former: Annotated[tuple[SegmentPlace, ...], Max(1)] = ()


@dataclass(frozen=True, slots=True)
class MissingShards(Reply):
    """The next missing shards of a cell, those of segments with the fewest spares first.

    ``suspects``: shards that readers complained of, to be read whole and compared with their
    roots. ``waiting``: missing shards that are not in this reply.
    """

    endpoints: Annotated[tuple[Endpoint, ...], Max(4096)]
    shards: Annotated[tuple[MissingShard, ...], Max(limits.MAX_SEGMENTS_PER_GRANT)]
    suspects: Annotated[tuple[ShardName, ...], Max(limits.MAX_DELETE_BATCH)]
    waiting: int
    order_epoch: EpochMark = b""


@dataclass(frozen=True, slots=True)
class MissingGet(Request):
    """Ask for missing shards of the calling cell.

    ``limit``: at most so many. ``passed``: those that the cell could not fill lately; they are not
    named again. ``whole``: suspects of earlier replies that it has found whole: the complaints are
    struck.
    """

    limit: int
    passed: Annotated[tuple[ShardName, ...], Max(limits.MAX_DELETE_BATCH)] = ()
    whole: Annotated[tuple[ShardName, ...], Max(limits.MAX_DELETE_BATCH)] = ()
    code: ClassVar[int] = 36
    reply: ClassVar[type[Reply]] = MissingShards
    idempotency: ClassVar[Idempotency] = Idempotency.REPEATABLE
    tenant_scope: ClassVar[TenantScope] = TenantScope.NONE


@dataclass(frozen=True, slots=True)
class ExpectedShards(Reply):
    """Shards that the calling cell should hold, by ring and segment; those known to be missing are
    left out. ``next_ring``: where to go on; 0: that was the last."""

    shards: Annotated[tuple[HeldShard, ...], Max(limits.MAX_SETTLE_BATCH)]
    next_ring: int
    next_segment: Segment
    order_epoch: EpochMark = b""


@dataclass(frozen=True, slots=True)
class ExpectedGet(Request):
    """Ask what the calling cell should hold, from a ring and behind a segment on (all zeros: from
    the ring's first)."""

    ring: int
    after: Segment
    code: ClassVar[int] = 37
    reply: ClassVar[type[Reply]] = ExpectedShards
    idempotency: ClassVar[Idempotency] = Idempotency.ASKS
    tenant_scope: ClassVar[TenantScope] = TenantScope.NONE
