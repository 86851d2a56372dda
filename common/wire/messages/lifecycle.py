"""Messages between gateways and coordinators about buckets with rules by which objects expire, or
get another class.

Source: docs/protocol.md, "Messages"; docs/decisions/0044-lifecycle.md.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from common import limits
from common.data_classes import dataclass
from common.wire.control import Failure
from common.wire.messages.base import (
    Bucket,
    Digest,
    Done,
    Idempotency,
    Label,
    Name,
    Reply,
    Request,
    Tenant,
    TenantRequest,
    TenantScope,
)
from common.wire.messages.notifications import Notification
from common.wire.messages.objects import JudgedVersion, NamedClass
from common.wire.records import Max, Record


@dataclass(frozen=True, slots=True)
class LifecycleTask(Record):
    """A run over the bucket ``number`` that began at ``begun_ms`` and has come to the end of the
    name ``after``; empty: of none yet. ``deleted`` and ``kept``: what it deleted until then, and
    what it was refused. ``now_ms``: the time by which expiry is to be judged from here on, the
    earlier one of the gateway's and the coordinator's."""

    number: int
    tenant_id: Tenant
    bucket: Label
    bucket_id: Bucket
    begun_ms: int
    after: Name
    deleted: int
    kept: int
    now_ms: int


@dataclass(frozen=True, slots=True)
class LifecycleTurn(Reply):
    """``is_due``: there is a bucket. ``task``: the one that is left to the caller."""

    is_due: bool
    task: LifecycleTask | None = None


@dataclass(frozen=True, slots=True)
class LifecycleTake(Request):
    """Take a bucket of the caller's tenants that is due: its rules changed, a run over it has not
    ended, or none has begun in the lifecycle day in which ``now_ms`` is. It is left to this caller
    while its lease lives, and until it asks again. Without a lease (0) none is named.

    Refused ``bad_value``: a day of no length; ``lease_ended``.
    """

    lease: int
    now_ms: int
    """The gateway's wall clock."""
    day_ms: int
    """The length of a lifecycle day, which begins at multiples of it."""
    after: int = 0
    """Of the buckets that are due, those with a greater number."""
    code: ClassVar[int] = 94
    reply: ClassVar[type[Reply]] = LifecycleTurn
    idempotency: ClassVar[Idempotency] = Idempotency.REPEATABLE
    tenant_scope: ClassVar[TenantScope] = TenantScope.ALL


@dataclass(frozen=True, slots=True)
class LifecycleNote(TenantRequest):
    """Note how far a run has come: to the end of the name ``after``, or of the bucket
    (``has_ended``). ``deleted`` and ``kept`` are of the whole run. Nothing is noted of a run that
    is not the bucket's present one. NotFound ``no_such_bucket``."""

    bucket: Label
    bucket_id: Bucket
    begun_ms: int
    after: Name
    deleted: int
    kept: int
    has_ended: bool
    code: ClassVar[int] = 95
    reply: ClassVar[type[Reply]] = Done
    idempotency: ClassVar[Idempotency] = Idempotency.REPEATABLE


@dataclass(frozen=True, slots=True)
class ClassChange(Record):
    """A version that is to get another class. ``judged``: as it was found to be due; ``former``:
    SHA-256 of the sealed class name that it had then; ``named_class``: the new one."""

    name: Name
    judged: JudgedVersion
    former: Digest
    named_class: NamedClass
    notification: Notification | None = None


@dataclass(frozen=True, slots=True)
class ClassResult(Record):
    """``failure``: why a version did not get its class (``condition_failed``); None: it has it."""

    failure: Failure | None = None


@dataclass(frozen=True, slots=True)
class ClassesChanged(Reply):
    """One result for each version, in order. Durable."""

    results: Annotated[tuple[ClassResult, ...], Max(limits.MAX_DELETE_BATCH)]


@dataclass(frozen=True, slots=True)
class ClassesChange(TenantRequest):
    """Give versions other classes, each if all is still so that it was judged by. Nothing else of
    a version is changed, and no data is moved: that follows. The same request again has the same
    results. NotFound ``no_such_bucket``, also where it is no longer the one with this id."""

    bucket: Label
    bucket_id: Bucket
    items: Annotated[tuple[ClassChange, ...], Max(limits.MAX_DELETE_BATCH)]
    code: ClassVar[int] = 114
    reply: ClassVar[type[Reply]] = ClassesChanged
    idempotency: ClassVar[Idempotency] = Idempotency.REPEATABLE
