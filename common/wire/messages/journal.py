"""Messages by which a coordinator keeps its journal on cells. Only the swarm's coordinators may
send them, and those that only read callers with a rescue pass: Refused ``not_a_coordinator``.

Source: docs/journal.md, "Messages".
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from common import limits
from common.data_classes import dataclass
from common.wire.messages.base import (
    Digest,
    Done,
    Endpoint,
    Id16,
    Idempotency,
    Label,
    Reply,
    Request,
    TenantScope,
)
from common.wire.records import Max, Record

RescuePass = Annotated[bytes, Max(128)]
"""Of a caller that is not a coordinator (docs/crypto.md, "Rescue passes"); else empty."""
SealedMembers = Annotated[bytes, Max(limits.MAX_JOURNAL_MEMBERS_BYTES)]


@dataclass(frozen=True, slots=True)
class JournalMembers(Record):
    """The cells that keep a journal; sealed where cells keep it."""

    epoch: int
    version: int
    members: Annotated[tuple[Endpoint, ...], Max(limits.MAX_JOURNAL_CELLS)]


@dataclass(frozen=True, slots=True)
class JournalPoint(Record):
    """A point of a journal: the number, the epoch and the digest of the record before it."""

    sequence: int
    epoch: int
    digest: Digest


@dataclass(frozen=True, slots=True)
class JournalState(Reply):
    """The journal of a cell."""

    epoch: int
    """The latest that it promised to: it takes nothing of an earlier one."""
    base: JournalPoint
    """The point at which its snapshot was made: its records begin after that."""
    end: JournalPoint
    is_whole: bool
    """False: records that it acknowledged are gone."""
    snapshot_id: Annotated[bytes, Max(16)] = b""
    """Empty: there is none."""
    snapshot_bytes: int = 0
    members: SealedMembers = b""
    """A sealed :class:`JournalMembers`, as last set; empty: never."""
    members_version: int = 0
    run_id: Annotated[bytes, Max(16)] = b""
    """The coordinator that the epoch was promised to; empty: to none."""
    host: Label = ""
    port: int = 0
    """The place where that coordinator takes calls; port 0: it did not say."""
    heard_ms: int = 0
    """Milliseconds since the cell heard from that coordinator, or started."""
    is_held: bool = False
    """True if the time is so short that the cell promises nothing to another coordinator."""
    has_waited: bool = False
    """Of an answer to ``JournalBegin``: the cell has heard no other coordinator for long enough,
    but for those of epochs up to ``succeeds``."""


@dataclass(frozen=True, slots=True)
class JournalLook(Request):
    """Ask for the state of a cell's journal; the cell promises nothing."""

    rescue_pass: RescuePass = b""
    code: ClassVar[int] = 23
    reply: ClassVar[type[Reply]] = JournalState
    idempotency: ClassVar[Idempotency] = Idempotency.ASKS
    tenant_scope: ClassVar[TenantScope] = TenantScope.NONE


class JournalRequest(Request):
    """Base of requests that change a cell's journal: carried out in the order sent."""

    __slots__ = ()
    tenant_scope: ClassVar[TenantScope] = TenantScope.NONE
    idempotency: ClassVar[Idempotency] = Idempotency.REPEATABLE

    @property
    def lane(self) -> str:
        """One for all of them."""
        return "journal"


@dataclass(frozen=True, slots=True)
class JournalBegin(JournalRequest):
    """Promise, durably, to take nothing of an earlier epoch. ``run_id``: of the coordinator that
    begins it.

    Raises over the wire: Refused ``journal_epoch``: a later one was promised, or the same one to
    another run (``current``); ``journal_held``: the coordinator that the last epoch was promised to
    was heard lately.
    """

    epoch: int
    run_id: Id16
    succeeds: int = 0
    """The last epoch of which the caller knows that its coordinator has ended, such as its own
    before a restart: that one is not waited for."""
    host: Label = ""
    port: int = 0
    """The place where the caller takes calls; port 0: not said."""
    code: ClassVar[int] = 24
    reply: ClassVar[type[Reply]] = JournalState


@dataclass(frozen=True, slots=True)
class JournalAppend(JournalRequest):
    """Append records after a point. Payload: the records. Durable when answered. Records after the
    point that differ from these are dropped.

    Raises over the wire: Refused ``journal_epoch``; ``journal_gap``: the cell does not have the
    point (``end``: the number of its last record).
    """

    epoch: int
    after: JournalPoint
    code: ClassVar[int] = 25
    reply: ClassVar[type[Reply]] = Done


@dataclass(frozen=True, slots=True)
class JournalRecords(Reply):
    """Payload: records, whole; none: there are none after the number."""


@dataclass(frozen=True, slots=True)
class JournalRead(Request):
    """Read records after a number.

    Raises over the wire: Refused ``journal_gap``: they were dropped for a snapshot.
    """

    after: int
    rescue_pass: RescuePass = b""
    code: ClassVar[int] = 26
    reply: ClassVar[type[Reply]] = JournalRecords
    idempotency: ClassVar[Idempotency] = Idempotency.ASKS
    tenant_scope: ClassVar[TenantScope] = TenantScope.NONE


@dataclass(frozen=True, slots=True)
class SnapshotWrite(JournalRequest):
    """Write the next bytes of a snapshot, from 0 on. Payload: the bytes.

    Raises over the wire: Refused ``journal_epoch``; ``journal_gap``: ``offset`` is not where the
    bytes before end.
    """

    epoch: int
    snapshot_id: Id16
    offset: int
    code: ClassVar[int] = 27
    reply: ClassVar[type[Reply]] = Done


@dataclass(frozen=True, slots=True)
class JournalKeep(JournalRequest):
    """Keep a snapshot that was written, in the place of the records up to the point at which it was
    made, and of the snapshot before. Durable when answered.

    Raises over the wire: Refused ``journal_epoch``; Corrupt ``root_mismatch``: they are others.
    """

    epoch: int
    snapshot_id: Id16
    snapshot_bytes: int
    snapshot_digest: Digest
    base: JournalPoint
    code: ClassVar[int] = 28
    reply: ClassVar[type[Reply]] = JournalState


@dataclass(frozen=True, slots=True)
class SnapshotPiece(Reply):
    """Payload: bytes of the snapshot; none: its end."""


@dataclass(frozen=True, slots=True)
class SnapshotRead(Request):
    """Read bytes of the snapshot. Raises over the wire: NotFound ``no_such_file``."""

    snapshot_id: Id16
    offset: int
    rescue_pass: RescuePass = b""
    code: ClassVar[int] = 29
    reply: ClassVar[type[Reply]] = SnapshotPiece
    idempotency: ClassVar[Idempotency] = Idempotency.ASKS
    tenant_scope: ClassVar[TenantScope] = TenantScope.NONE


@dataclass(frozen=True, slots=True)
class JournalConfigure(JournalRequest):
    """Remember, durably, who keeps the journal. Raises over the wire: Refused ``journal_epoch``."""

    epoch: int
    version: int
    members: SealedMembers
    code: ClassVar[int] = 30
    reply: ClassVar[type[Reply]] = Done
