"""Messages between gateways and coordinators about buckets.

Source: docs/protocol.md, "Messages".
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Final

from common import limits
from common.data_classes import dataclass
from common.wire.messages.base import (
    STANDARD_CLASS,
    Bucket,
    Done,
    Idempotency,
    Label,
    Reply,
    Request,
    Sealed,
    Tenant,
    TenantRequest,
    TenantScope,
)
from common.wire.messages.locks import DefaultRetention
from common.wire.records import Max, Record

FIRST_REVISION: Final = 1
"""Of the settings that a bucket is made with; each change counts one up."""
UNVERSIONED: Final = 0
"""Versioning of a bucket where it was never enabled or suspended: a commit replaces the version
that is there. Its versions, and those from before it was enabled, are null versions."""
VERSIONED: Final = 1
"""Versioning that is enabled: a commit replaces nothing, and its version is known by its id."""
SUSPENDED: Final = 2
"""Versioning that is suspended: a commit replaces the null version, and is the null version."""


@dataclass(frozen=True, slots=True)
class ClassName(Record):
    """A name of a class that clients ask for, and the storage class that it leads to."""

    name: Label
    storage_class: Label


@dataclass(frozen=True, slots=True)
class BucketRecord(Reply):
    """A bucket. ``settings`` is sealed by the gateway, with its ``revision``."""

    bucket_id: Bucket
    name: Label
    created_ms: int
    settings: Sealed
    revision: int
    storage_class: Label = STANDARD_CLASS
    """The name of the class that its new objects are written in."""
    versioning: int = UNVERSIONED
    default_retention: DefaultRetention | None = None
    """None: its versions cannot be locked."""
    class_names: Annotated[tuple[ClassName, ...], Max(limits.MAX_CLASS_NAMES)] = ()
    """Those that lead to another class than its own, within its fence. All others lead to its
    own."""


@dataclass(frozen=True, slots=True)
class BucketCreate(TenantRequest):
    """Bucket names are unique in the swarm. Refused ``bucket_exists`` (another tenant's) or
    ``bucket_owned`` (this tenant's)."""

    bucket_id: Bucket
    name: Label
    settings: Sealed
    has_locks: bool = False
    """Its versions can be locked: versioning is enabled for good."""
    code: ClassVar[int] = 57
    reply: ClassVar[type[Reply]] = BucketRecord
    idempotency: ClassVar[Idempotency] = Idempotency.ONCE


@dataclass(frozen=True, slots=True)
class BucketGet(TenantRequest):
    """NotFound ``no_such_bucket``; Refused ``not_owner``."""

    name: Label
    code: ClassVar[int] = 58
    reply: ClassVar[type[Reply]] = BucketRecord
    idempotency: ClassVar[Idempotency] = Idempotency.ASKS


@dataclass(frozen=True, slots=True)
class BucketOwner(Reply):
    """The tenant that owns a bucket."""

    tenant_id: Tenant


@dataclass(frozen=True, slots=True)
class BucketOwnerGet(Request):
    """Name the owner of a bucket, one of the tenants that the connection is open for: a caller that
    proved nothing names no tenant. NotFound ``no_such_bucket``, also when it is another's."""

    name: Label
    code: ClassVar[int] = 80
    reply: ClassVar[type[Reply]] = BucketOwner
    idempotency: ClassVar[Idempotency] = Idempotency.ASKS
    tenant_scope: ClassVar[TenantScope] = TenantScope.ALL


@dataclass(frozen=True, slots=True)
class BucketDelete(TenantRequest):
    """Uploads in progress are dropped with it. Refused ``bucket_not_empty`` while it has objects,
    versions, or more parts in progress than one upload may have."""

    name: Label
    code: ClassVar[int] = 59
    reply: ClassVar[type[Reply]] = Done
    idempotency: ClassVar[Idempotency] = Idempotency.ONCE


@dataclass(frozen=True, slots=True)
class BucketRow(Record):
    """A row of a list of buckets. ``settings`` and ``revision`` as in BucketRecord."""

    bucket_id: Bucket
    name: Label
    created_ms: int
    settings: Sealed
    revision: int


@dataclass(frozen=True, slots=True)
class Buckets(Reply):
    """Sorted by name. Cut short by MAX_LIST_REPLY_BYTES like listings."""

    buckets: Annotated[tuple[BucketRow, ...], Max(limits.MAX_LIST_ENTRIES)]
    truncated: bool


@dataclass(frozen=True, slots=True)
class BucketsList(TenantRequest):
    """The tenant's buckets with names > ``after`` and this prefix."""

    prefix: Label
    after: Label
    limit: int
    code: ClassVar[int] = 60
    reply: ClassVar[type[Reply]] = Buckets
    idempotency: ClassVar[Idempotency] = Idempotency.ASKS


@dataclass(frozen=True, slots=True)
class BucketSettingsSet(TenantRequest):
    """Replace a bucket's settings by compare-and-set: done only if their revision is
    ``expected_revision`` and the bucket is still the one with this id. The new ones have the next
    revision. Refused ``settings_changed`` otherwise; NotFound ``no_such_bucket``. The same request
    again gives the same answer until the settings are set once more."""

    bucket: Label
    bucket_id: Bucket
    expected_revision: int
    settings: Sealed
    has_lifecycle: bool = False
    """They have rules by which objects expire: a gateway has to look at the bucket every day."""
    code: ClassVar[int] = 70
    reply: ClassVar[type[Reply]] = BucketRecord
    idempotency: ClassVar[Idempotency] = Idempotency.REPEATABLE


@dataclass(frozen=True, slots=True)
class BucketVersioningSet(TenantRequest):
    """Enable or suspend the versioning of a bucket that is still the one with this id: VERSIONED or
    SUSPENDED. Refused ``bad_value`` for any other, ``bucket_has_locks``: it stays enabled; NotFound
    ``no_such_bucket``."""

    bucket: Label
    bucket_id: Bucket
    versioning: int
    code: ClassVar[int] = 71
    reply: ClassVar[type[Reply]] = BucketRecord
    idempotency: ClassVar[Idempotency] = Idempotency.REPEATABLE


@dataclass(frozen=True, slots=True)
class BucketLocksSet(TenantRequest):
    """Let the versions of a bucket be locked, for good, and set the retention that new ones get.
    Refused ``not_versioned``: its versioning is not enabled; ``bad_value``; NotFound
    ``no_such_bucket``, also when it is no longer the one with this id."""

    bucket: Label
    bucket_id: Bucket
    default_retention: DefaultRetention
    code: ClassVar[int] = 90
    reply: ClassVar[type[Reply]] = BucketRecord
    idempotency: ClassVar[Idempotency] = Idempotency.REPEATABLE
