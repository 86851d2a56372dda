"""Messages between gateways and coordinators about multipart uploads.

Source: docs/protocol.md, "Messages".
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from common import limits
from common.data_classes import dataclass
from common.wire.messages.base import (
    Bucket,
    Done,
    Idempotency,
    Label,
    Name,
    Reply,
    Revision,
    Sealed,
    SealedAcl,
    SealedClass,
    SealedTags,
    Summary,
    TenantRequest,
    Version,
)
from common.wire.messages.locks import NO_LOCK, Lock
from common.wire.messages.notifications import Notification
from common.wire.messages.objects import Committed, Condition, NamedClass
from common.wire.messages.writing import NewSegments, Pages
from common.wire.records import Max, Record


@dataclass(frozen=True, slots=True)
class UploadRecord(Reply):
    """A multipart upload in progress. Its id becomes the version id of the object."""

    bucket_id: Bucket
    upload_id: Version
    created_ms: int
    sealed: Sealed
    bucket_revision: Revision = 0
    lock: Lock = NO_LOCK
    class_name: SealedClass = b""


@dataclass(frozen=True, slots=True)
class UploadCreate(TenantRequest):
    """Begin an upload in parts. ``upload_id`` is drawn by the gateway. Refused ``no_locks`` as for
    ObjectCommit."""

    bucket: Label
    name: Name
    upload_id: Version
    sealed: Sealed
    bucket_id: Bucket | None = None
    """As in ObjectCommit."""
    lock: Lock = NO_LOCK
    """Of the object that it becomes."""
    named_class: NamedClass | None = None
    """Likewise."""
    code: ClassVar[int] = 61
    reply: ClassVar[type[Reply]] = UploadRecord
    idempotency: ClassVar[Idempotency] = Idempotency.REPEATABLE


@dataclass(frozen=True, slots=True)
class UploadGet(TenantRequest):
    """NotFound ``no_such_upload`` (also for another name)."""

    bucket: Label
    name: Name
    upload_id: Version
    code: ClassVar[int] = 62
    reply: ClassVar[type[Reply]] = UploadRecord
    idempotency: ClassVar[Idempotency] = Idempotency.ASKS


@dataclass(frozen=True, slots=True)
class PartCommit(TenantRequest):
    """Make (or replace) a part. ``part_id`` is drawn by the gateway for each try; idempotent by
    it. Fails like ObjectCommit, and NotFound ``no_such_upload``."""

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
    idempotency: ClassVar[Idempotency] = Idempotency.REPEATABLE


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
    bucket_revision: Revision = 0


@dataclass(frozen=True, slots=True)
class PartsList(TenantRequest):
    """Parts with numbers > ``after``."""

    bucket: Label
    name: Name
    upload_id: Version
    after: int
    limit: int
    code: ClassVar[int] = 64
    reply: ClassVar[type[Reply]] = Parts
    idempotency: ClassVar[Idempotency] = Idempotency.ASKS


@dataclass(frozen=True, slots=True)
class ChosenPart(Record):
    """A part that the finished object is made of."""

    part_number: int
    part_id: Version


@dataclass(frozen=True, slots=True)
class UploadComplete(TenantRequest):
    """Make the object of the chosen parts, in this order, in one transaction; the other parts are
    dropped. ``version_id`` of the object is the upload id. Idempotent.

    Raises over the wire: NotFound ``no_such_upload``, ``no_such_part``; Refused
    ``condition_failed``.
    """

    bucket: Label
    name: Name
    upload_id: Version
    parts: Annotated[tuple[ChosenPart, ...], Max(limits.MAX_PARTS)]
    size: int
    sealed: Sealed
    summary: Summary
    condition: Condition
    tags: SealedTags = b""
    acl: SealedAcl = b""
    notification: Notification | None = None
    code: ClassVar[int] = 65
    reply: ClassVar[type[Reply]] = Committed
    idempotency: ClassVar[Idempotency] = Idempotency.REPEATABLE


@dataclass(frozen=True, slots=True)
class UploadAbort(TenantRequest):
    """Drop an upload and its parts. NotFound ``no_such_upload``."""

    bucket: Label
    name: Name
    upload_id: Version
    code: ClassVar[int] = 66
    reply: ClassVar[type[Reply]] = Done
    idempotency: ClassVar[Idempotency] = Idempotency.ONCE


@dataclass(frozen=True, slots=True)
class UploadRow(Record):
    """An upload in progress."""

    name: Name
    upload_id: Version
    created_ms: int
    class_name: SealedClass = b""


@dataclass(frozen=True, slots=True)
class Uploads(Reply):
    """By name, then by upload id. Cut and continued like listings."""

    uploads: Annotated[tuple[UploadRow, ...], Max(limits.MAX_LIST_ENTRIES)]
    prefixes: Annotated[tuple[Name, ...], Max(limits.MAX_LIST_ENTRIES)]
    truncated: bool
    last: Name
    last_upload: Annotated[bytes, Max(16)]


@dataclass(frozen=True, slots=True)
class UploadsList(TenantRequest):
    """Uploads in progress with (name, id) > (``after``, ``after_upload``); without
    ``after_upload`` names > ``after``. Prefixes roll up as in ObjectsList."""

    bucket: Label
    prefix: Name
    delimiter: Annotated[bytes, Max(limits.MAX_NAME_BYTES)]
    after: Name
    after_upload: Annotated[bytes, Max(16)]
    limit: int
    code: ClassVar[int] = 67
    reply: ClassVar[type[Reply]] = Uploads
    idempotency: ClassVar[Idempotency] = Idempotency.ASKS
