"""Events of which webhooks are notified: sealed before they come about, so that they can be kept in
the very transaction in which they do.

Source: docs/decisions/0055-event-notifications.md.
"""

from __future__ import annotations

from typing import Final

from common import limits
from common.format.configurations import CONFIGURATION_VERSION, Event
from common.format.manifest import seal_event
from common.ids import VersionId
from common.wire.messages.notifications import Notification
from gateway.notifications import Cause, EventKind, marking
from gateway.object_service import ObjectService
from gateway.objects import FoundObject
from gateway.principals import Bucket

_LANE: Final = "webhook"
"""The purpose of the names of lanes."""
_ID_BYTES: Final = 16
_ADDRESS_CHARACTERS: Final = 64


def notification_of(
    service: ObjectService,
    bucket: Bucket,
    name: bytes,
    cause: Cause | None,
    *,
    size: int = 0,
    etag: str = "",
    version_id: VersionId | bytes = b"",
    named: bool = False,
    marks: bool = False,
    class_name: str = "",
) -> Notification | None:
    """Return what is to be kept with the transaction that brings an event about; None where no
    webhook is notified.

    Args:
        bucket: as it is known now; the event is bound to its id.
        name: as stored.
        cause: None: it counts as none.
        size, etag, version_id, named: as of :class:`common.format.configurations.Event`.
        class_name: that a version got, likewise.
        marks: it is a deletion that makes a delete marker.
    """
    rules = bucket.notifications
    if rules is None or cause is None:
        return None
    kind: EventKind = marking(cause.kind) if marks else cause.kind
    key = service.names.decode(name)
    rule = rules.rule_of(kind, key)
    if rule is None:
        return None
    notification_id = service.entropy(_ID_BYTES)
    event = Event(
        CONFIGURATION_VERSION,
        kind.value,
        bucket.name,
        key,
        rule.rule_id,
        rule.webhook,
        service.now_ms(),
        cause.caller[: limits.MAX_LABEL_CHARACTERS],
        cause.address[:_ADDRESS_CHARACTERS],
        cause.request_id,
        size,
        etag,
        version_id,
        named,
        class_name,
    )
    place = (bucket.bucket_id, notification_id)
    return Notification(
        notification_id,
        bucket.owner.token(_LANE, (bucket.bucket_id, rule.webhook.encode())),
        seal_event(bucket.owner, *place, event.pack(), service.entropy),
    )


def notification_about(
    service: ObjectService, bucket: Bucket, name: bytes, cause: Cause | None, found: FoundObject
) -> Notification | None:
    """Return likewise what is to be kept with a change to a version that is there.

    Args:
        found: the version.
    """
    return notification_of(
        service,
        bucket,
        name,
        cause,
        size=found.manifest.size,
        etag=found.metadata.etag,
        version_id=b"" if found.record.is_null else found.record.version_id,
        named=found.version is not None,
    )
