"""Buckets: created, deleted, listed.

Source: docs/crypto.md, "Answers and questions".
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import trio

from common import limits
from common.crypto.keys import TenantKey
from common.data_classes import dataclass
from common.errors import NotFound, OutcomeUnknown, Refused
from common.format.manifest import open_bucket_settings, seal_bucket_settings
from common.format.objects import METADATA_VERSION, BucketSettings, unpack_bucket
from common.reasons import Refusal
from common.wire.messages.buckets import (
    FIRST_REVISION,
    BucketCreate,
    BucketDelete,
    BucketRecord,
    Buckets,
    BucketsList,
)
from gateway.object_service import ObjectService
from gateway.principals import Bucket
from gateway.versions import Versioning


@dataclass(frozen=True, slots=True)
class BucketEntry:
    """A bucket in a listing."""

    name: str
    settings: BucketSettings


async def create_bucket(
    service: ObjectService,
    owner: TenantKey,
    name: str,
    *,
    has_locks: bool = False,
    documents: Mapping[str, bytes] = MappingProxyType({}),
) -> None:
    """Create a bucket.

    Args:
        has_locks: its versions can be locked.
        documents: that its settings begin with, by their kinds.

    Raises:
        Refused: ``bucket_owned``: it is the owner's already; ``bucket_exists``: another's;
            ``too_many_buckets``.
        OutcomeUnknown: never: the bucket is looked up then.
    """
    bucket_id = service.new_bucket()
    settings = BucketSettings(METADATA_VERSION, service.now_ms())
    for kind, body in documents.items():
        settings = settings.with_document(kind, body)
    sealed = seal_bucket_settings(
        owner, bucket_id, name, FIRST_REVISION, settings.pack(), service.entropy
    )
    asked = trio.current_time()
    try:
        record: BucketRecord = await service.coordinators.call(
            BucketCreate(owner.tenant_id, bucket_id, name, sealed, has_locks)
        )
    except OutcomeUnknown:
        # It may be there by now; that it is, and as asked for, is enough.
        found = await service.buckets.read(owner, name)
        differs = any(found.settings.document(kind) != body for kind, body in documents.items())
        if differs or (has_locks and found.default_retention is None):
            raise Refused(Refusal.BUCKET_OWNED) from None
    else:
        made = Bucket(
            name,
            owner,
            bucket_id,
            settings,
            FIRST_REVISION,
            record.storage_class,
            record.versioning,
            record.default_retention,
            record.class_names,
        )
        service.buckets.remember(made, asked)


async def set_versioning(service: ObjectService, bucket: Bucket, versioning: Versioning) -> None:
    """Enable or suspend the versioning of a bucket; every commit after this is by it.

    Raises:
        NotFound: ``no_such_bucket``.
        Refused: ``bucket_has_locks``: it stays enabled.
    """
    await service.buckets.set_versioning(bucket, versioning.value)


async def delete_bucket(service: ObjectService, bucket: Bucket) -> None:
    """Delete an empty bucket.

    Raises:
        NotFound: ``no_such_bucket``.
        Refused: ``bucket_not_empty``.
        OutcomeUnknown: it was there when it was looked up again.
    """
    service.buckets.forget(bucket.owner, bucket.name)
    try:
        await service.coordinators.call(BucketDelete(bucket.owner.tenant_id, bucket.name))
    except OutcomeUnknown:
        try:
            await service.buckets.read(bucket.owner, bucket.name)
        except NotFound:
            return
        raise


async def list_buckets(
    service: ObjectService, tenant: TenantKey, *, prefix: str, after: str, limit: int
) -> tuple[list[BucketEntry], bool]:
    """Up to ``limit`` of the tenant's buckets whose names begin with ``prefix`` and come after
    ``after``.

    Returns:
        The buckets by name; and whether there are more.
    """
    entries: list[BucketEntry] = []
    more = True
    while more and len(entries) < limit:
        room = min(limit - len(entries), limits.MAX_LIST_ENTRIES)
        reply: Buckets = await service.coordinators.call(
            BucketsList(tenant.tenant_id, prefix[:255], after[:255], room)
        )
        for row in reply.buckets:
            opened = open_bucket_settings(
                tenant, row.bucket_id, row.name, row.revision, row.settings
            )
            entries.append(BucketEntry(row.name, unpack_bucket(opened)))
            after = row.name
        await trio.lowlevel.checkpoint()
        more = reply.truncated and bool(reply.buckets)
    return entries, more
