"""Locks of versions and of buckets: set, by requests that coordinators decide about.

Source: docs/decisions/0043-locks.md; docs/s3-compatibility.md, "Locks".
"""

from __future__ import annotations

from common.errors import Refused
from common.reasons import Refusal
from common.wire.messages.locks import HOLD_OFF, HOLD_ON, DefaultRetention
from common.wire.messages.objects import HoldSet, RetentionSet
from gateway.object_service import ObjectService
from gateway.objects import FoundObject, change_version
from gateway.principals import Bucket
from gateway.versions import VersionName


async def with_locks(service: ObjectService, bucket: Bucket) -> Bucket:
    """Return a bucket whose versions can be locked; it is read again where it was remembered as
    another.

    Raises:
        NotFound: ``no_such_bucket``.
        Refused: ``no_locks``.
    """
    if bucket.default_retention is None:
        bucket = await service.buckets.read(bucket.owner, bucket.name)
    if bucket.default_retention is None:
        raise Refused(Refusal.NO_LOCKS)
    return bucket


async def set_default_retention(
    service: ObjectService, bucket: Bucket, default: DefaultRetention
) -> None:
    """Let the versions of a bucket be locked, for good, and set the retention that new ones get.

    Raises:
        NotFound: ``no_such_bucket``.
        Refused: ``not_versioned``.
    """
    await service.buckets.set_locks(bucket, default)


async def set_retention(
    service: ObjectService,
    bucket: Bucket,
    name: bytes,
    mode: int,
    until_ms: int,
    *,
    named: VersionName | None = None,
    bypass: bool = False,
) -> FoundObject:
    """Set the retention of the current version of a name, or remove it.

    Args:
        name: as stored.
        mode: NO_RETENTION, GOVERNANCE or COMPLIANCE.
        until_ms: its end, unix milliseconds; 0 with NO_RETENTION.
        named: that version instead.
        bypass: the caller may bypass GOVERNANCE, and asks for it.

    Returns:
        The version.

    Raises:
        NotFound: no such bucket, object or version.
        Refused: ``version_locked``, ``retention_over``, ``no_locks``, ``write_conflict``.
    """

    async def change(found: FoundObject) -> None:
        version_id = found.record.version_id
        await service.coordinators.call(
            RetentionSet(
                bucket.owner.tenant_id, bucket.name, name, version_id, mode, until_ms, bypass
            )
        )

    return await change_version(service, bucket, name, change, named)


async def set_hold(
    service: ObjectService,
    bucket: Bucket,
    name: bytes,
    *,
    on: bool,
    named: VersionName | None = None,
) -> FoundObject:
    """Set the legal hold of the current version of a name.

    Args:
        name: as stored.
        named: that version instead.

    Returns:
        The version.

    Raises:
        NotFound: no such bucket, object or version.
        Refused: ``no_locks``, ``write_conflict``.
    """

    async def change(found: FoundObject) -> None:
        version_id, hold = found.record.version_id, HOLD_ON if on else HOLD_OFF
        await service.coordinators.call(
            HoldSet(bucket.owner.tenant_id, bucket.name, name, version_id, hold)
        )

    return await change_version(service, bucket, name, change, named)
