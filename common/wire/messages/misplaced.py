"""Messages between gateways and coordinators about data that is not in the storage class of its
bucket.

Source: docs/protocol.md, "Messages"; docs/placement.md, "Data follows its class".
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from common import limits
from common.data_classes import dataclass
from common.wire.messages.base import (
    Bucket,
    Digest,
    Idempotency,
    Label,
    Name,
    Reply,
    Request,
    Sealed,
    Tenant,
    TenantRequest,
    TenantScope,
    Version,
)
from common.wire.messages.objects import Committed
from common.wire.messages.writing import NewSegments, Page
from common.wire.records import Max, Record


@dataclass(frozen=True, slots=True)
class MisplacedPage(Record):
    """Page ``number`` of a version, to be written again in ``storage_class``."""

    tenant_id: Tenant
    bucket: Label
    name: Name
    version_id: Version
    number: int
    storage_class: Label


@dataclass(frozen=True, slots=True)
class MisplacedPages(Reply):
    """Some pages. ``more``: ask on after ``last`` and ``last_number``."""

    pages: Annotated[tuple[MisplacedPage, ...], Max(limits.MAX_MISPLACED_PER_REPLY)]
    last: int
    last_number: int
    more: bool


@dataclass(frozen=True, slots=True)
class MisplacedList(Request):
    """Pages of the caller's tenants that are not in the storage class of their buckets, after
    ``after`` (a sequence) and ``after_number``. What is named is left to this caller while its
    lease lives, and until it asks again. Without a lease (0) none is named: ``more`` is whether
    there may be some."""

    lease: int
    after: int
    after_number: int
    code: ClassVar[int] = 76
    reply: ClassVar[type[Reply]] = MisplacedPages
    idempotency: ClassVar[Idempotency] = Idempotency.REPEATABLE
    tenant_scope: ClassVar[TenantScope] = TenantScope.ALL


@dataclass(frozen=True, slots=True)
class PageReplace(TenantRequest):
    """Replace page ``number`` of a version by one of the same bytes elsewhere, in one transaction,
    if the version is live and its sealed record is the one with this digest (SHA-256). It stays the
    same version: its id, sequence, time and summary.

    Raises over the wire: NotFound ``no_such_version``, ``no_such_bucket``; Refused
    ``condition_failed``, ``bad_pages``, ``lease_ended``, ``below_quorum``.
    """

    bucket: Label
    bucket_id: Bucket
    name: Name
    version_id: Version
    number: int
    former: Digest
    sealed: Sealed
    page: Page
    segments: NewSegments
    code: ClassVar[int] = 77
    reply: ClassVar[type[Reply]] = Committed
    idempotency: ClassVar[Idempotency] = Idempotency.REPEATABLE
