"""Messages between cells and coordinators: joining, heartbeats, settling, reports of loss.

Source: docs/protocol.md, "Messages".
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Final

from common import limits
from common.data_classes import dataclass
from common.wire.messages.base import (
    CellFacts,
    CharterBytes,
    Digest,
    Done,
    EpochMark,
    Id16,
    Idempotency,
    Label,
    PositionBytes,
    Positions,
    Reply,
    Request,
    Segment,
    ShardName,
    TenantScope,
    Token,
)
from common.wire.records import Max, Record


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
    owner: Label
    """The owner's name."""
    code: ClassVar[int] = 32
    reply: ClassVar[type[Reply]] = CellJoined
    idempotency: ClassVar[Idempotency] = Idempotency.REPEATABLE
    tenant_scope: ClassVar[TenantScope] = TenantScope.NONE


@dataclass(frozen=True, slots=True)
class CoordinatorAddress(Record):
    """A place where a coordinator of the swarm takes calls, or will once it is active."""

    host: Label
    port: int


CoordinatorAddresses = Annotated[
    tuple[CoordinatorAddress, ...], Max(limits.MAX_COORDINATOR_ADDRESSES)
]


@dataclass(frozen=True, slots=True)
class HeartbeatReply(Reply):
    """The state and the work that a coordinator sends to a cell."""

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
    has_missing: bool = False
    """Shards that the cell should hold are missing, or suspected: see ``MissingGet``."""
    is_audit_due: bool = False
    """See ``AuditGet``."""
    trust: Label = ""
    """By the cell's audits, or an operator: good, warned or suspended; empty: not known."""
    trust_reason: Label = ""
    """In words, for the owner; empty: nothing is wrong."""
    coordinators: CoordinatorAddresses = ()
    """All of the swarm, the active one first; none: it does not say."""
    order_epoch: EpochMark = b""
    """Of the coordinator that answers."""
    charter: CharterBytes = b""
    """A later one than the cell's; empty: it has the latest."""


@dataclass(frozen=True, slots=True)
class Heartbeat(Request):
    """A cell is alive. ``deleted``: shards of earlier replies that are durably gone, or that the
    cell keeps until their retention ends and then asks about."""

    address_host: Label
    address_port: int
    facts: CellFacts
    deleted: Annotated[tuple[ShardName, ...], Max(limits.MAX_DELETE_BATCH)]
    seen: Positions = ()
    clock_ms: int = 0
    """The cell's wall clock, unix milliseconds; 0: not reported."""
    order_epoch: EpochMark = b""
    """The latest that the cell has seen."""
    charter_revision: int = 0
    """The revision of the charter that the cell has; 0: none."""
    code: ClassVar[int] = 33
    reply: ClassVar[type[Reply]] = HeartbeatReply
    idempotency: ClassVar[Idempotency] = Idempotency.REPEATABLE
    tenant_scope: ClassVar[TenantScope] = TenantScope.NONE


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
    retain: Annotated[tuple[int, ...], Max(limits.MAX_SETTLE_BATCH)] = ()
    """For each shard asked, the unix second until which the cell deletes it for nobody, by its own
    clock, or 0; empty: none of them. A later answer can make it later, and never earlier."""
    order_epoch: EpochMark = b""


@dataclass(frozen=True, slots=True)
class Settle(Request):
    """Compare what a cell holds with what the coordinator owns, a batch at a time."""

    shards: Annotated[tuple[HeldShard, ...], Max(limits.MAX_SETTLE_BATCH)]
    code: ClassVar[int] = 34
    reply: ClassVar[type[Reply]] = SettleReply
    idempotency: ClassVar[Idempotency] = Idempotency.REPEATABLE
    tenant_scope: ClassVar[TenantScope] = TenantScope.NONE


@dataclass(frozen=True, slots=True)
class ShardsLost(Request):
    """The cell held these and no longer has them whole (bad disk, failed sync)."""

    shards: Annotated[tuple[ShardName, ...], Max(limits.MAX_DELETE_BATCH)]
    code: ClassVar[int] = 35
    reply: ClassVar[type[Reply]] = Done
    idempotency: ClassVar[Idempotency] = Idempotency.REPEATABLE
    tenant_scope: ClassVar[TenantScope] = TenantScope.NONE


@dataclass(frozen=True, slots=True)
class StandbyHeard(Reply):
    """The active coordinator knows of the standby."""

    coordinators: CoordinatorAddresses = ()
    """All of the swarm, the active one first."""
    charter: CharterBytes = b""
    """A later one than the standby's; empty: it has the latest."""


@dataclass(frozen=True, slots=True)
class StandbyPresence(Request):
    """A standby follows the journal, up to the record ``sequence``. Only the swarm's coordinators
    may send it: Refused ``not_a_coordinator``."""

    host: Label
    port: int
    """The place where it will take calls once it is active; port 0: it does not say."""
    sequence: int
    charter_revision: int = 0
    """The revision of the charter that it has; 0: none."""
    code: ClassVar[int] = 41
    reply: ClassVar[type[Reply]] = StandbyHeard
    idempotency: ClassVar[Idempotency] = Idempotency.REPEATABLE
    tenant_scope: ClassVar[TenantScope] = TenantScope.NONE
