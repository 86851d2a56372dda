"""Messages by which a cell is audited: it asks for a question, commits, and opens.

Source: docs/protocol.md, "Messages"; docs/repair.md, "Audits".
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from common import limits
from common.data_classes import dataclass
from common.wire.messages.base import (
    Digest,
    EpochMark,
    Id16,
    Idempotency,
    Label,
    Reply,
    Request,
    Segment,
    TenantScope,
)
from common.wire.records import Max, Record

DrawnUnits = Annotated[tuple[int, ...], Max(limits.MAX_AUDIT_UNITS)]
ShardLeaves = Annotated[bytes, Max(32 * limits.MAX_STRIPES_PER_SEGMENT)]


@dataclass(frozen=True, slots=True)
class AuditChallenge(Record):
    """A question about one shard.

    ``nonce``: that its fresh digests depend on. ``within_s``: time to commit. ``units``: to be
    opened, where the cell has committed already; empty: commit first.
    """

    audit_id: Id16
    segment_id: Segment
    slot: int
    nonce: Digest
    within_s: int
    units: DrawnUnits = ()


@dataclass(frozen=True, slots=True)
class AuditQuestion(Reply):
    """The question to the calling cell; nil: there is none now."""

    challenge: AuditChallenge | None
    order_epoch: EpochMark = b""


@dataclass(frozen=True, slots=True)
class AuditGet(Request):
    """Ask for the question that is due to the calling cell."""

    code: ClassVar[int] = 38
    reply: ClassVar[type[Reply]] = AuditQuestion
    idempotency: ClassVar[Idempotency] = Idempotency.REPEATABLE
    tenant_scope: ClassVar[TenantScope] = TenantScope.NONE


@dataclass(frozen=True, slots=True)
class AuditUnits(Reply):
    """The units that are to be opened; none: the audit is over."""

    units: DrawnUnits


@dataclass(frozen=True, slots=True)
class AuditCommit(Request):
    """Commit to the fresh root of the whole shard. Nil: the cell does not have the shard whole.

    Raises over the wire: NotFound ``no_such_audit``: not that of the last question, or it is over;
    Refused ``audit_late``, ``audit_answered``: there is another commitment.
    """

    audit_id: Id16
    root: Digest | None
    code: ClassVar[int] = 39
    reply: ClassVar[type[Reply]] = AuditUnits
    idempotency: ClassVar[Idempotency] = Idempotency.REPEATABLE
    tenant_scope: ClassVar[TenantScope] = TenantScope.NONE


@dataclass(frozen=True, slots=True)
class AuditVerdict(Reply):
    """A word of docs/repair.md, "Findings"; empty: the audit counts nothing, since the shard is no
    longer the cell's."""

    finding: Label


@dataclass(frozen=True, slots=True)
class AuditOpen(Request):
    """Open the units that were drawn. Payload: these units, in order, joined.

    Raises over the wire: NotFound ``no_such_audit``.
    """

    audit_id: Id16
    leaves: ShardLeaves
    fresh_leaves: ShardLeaves
    code: ClassVar[int] = 40
    reply: ClassVar[type[Reply]] = AuditVerdict
    idempotency: ClassVar[Idempotency] = Idempotency.REPEATABLE
    tenant_scope: ClassVar[TenantScope] = TenantScope.NONE
