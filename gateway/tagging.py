"""Tags of objects, replaced without a new version.

Source: docs/object-format.md; docs/decisions/0036-tags-of-versions.md.
"""

from __future__ import annotations

from collections.abc import Mapping

from common.errors import NotFound
from common.format.configurations import Tags
from common.wire.messages.objects import ObjectTagsSet
from gateway.events import notification_about
from gateway.notifications import Cause
from gateway.object_service import ObjectService
from gateway.objects import FoundObject, change_version, find_object
from gateway.principals import Bucket
from gateway.versions import VersionName
from gateway.writing import sealed_tags


async def tags_by_name(
    service: ObjectService, bucket: Bucket, name: bytes, named: VersionName | None = None
) -> Mapping[str, str]:
    """Return the tags of the current version of a name; none where there is no such object.

    Args:
        name: as stored.
        named: that version instead.
    """
    try:
        found = await find_object(service, bucket, name, named=named)
    except NotFound:
        return {}
    return {} if found.tags is None else found.tags.as_mapping()


async def set_tags(
    service: ObjectService,
    bucket: Bucket,
    name: bytes,
    tags: Tags | None,
    named: VersionName | None = None,
    cause: Cause | None = None,
) -> FoundObject:
    """Replace the tags of the current version of a name; None: it has none then.

    Args:
        name: as stored.
        named: that version instead.
        cause: of the event.

    Returns:
        The version that has them.

    Raises:
        NotFound: no such bucket, object or version.
        Refused: ``write_conflict``: it was replaced at every try.
        Unavailable: they may have been set all the same.
    """
    packed = tags.pack() if tags is not None and tags.tags else b""

    async def change(found: FoundObject) -> None:
        version_id = found.record.version_id
        place = (found.record.bucket_id, name, version_id)
        sealed = sealed_tags(service, bucket.owner, place, packed)
        notification = notification_about(service, bucket, name, cause, found)
        await service.coordinators.call(
            ObjectTagsSet(
                bucket.owner.tenant_id, bucket.name, name, version_id, sealed, notification
            )
        )
        if notification is not None:
            service.notified.tell()

    return await change_version(service, bucket, name, change, named)
