"""Events as S3 reports them: JSON documents, each with one record.

Source: Amazon S3 User Guide, "Event message structure"; docs/s3-compatibility.md, "Event
notifications".
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote_plus

from common.crypto.keys import TenantKey
from common.format.configurations import Event
from common.ids import VersionId
from common.wire.messages.buckets import UNVERSIONED, VERSIONED
from common.wire.messages.notifications import WaitingNotification
from gateway.notifications import EventKind
from gateway.principals import account_of
from gateway.versions import VersionName
from gateway_s3.request.version_ids import version_text

_EVENT_VERSION: Final = "2.3"
_SCHEMA_VERSION: Final = "1.0"
_SEQUENCER_DIGITS: Final = 18


def _time(at_ms: int) -> str:
    moment = datetime.fromtimestamp(at_ms / 1000, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at_ms % 1000:03d}Z"


def _version(event: Event, versioning: int) -> str | None:
    """The id of the version that an event is about; None where its bucket never had any."""
    version_id = VersionId(event.version_id) if event.version_id else None
    if event.named:
        return version_text(VersionName(version_id))
    if versioning == UNVERSIONED or version_id is None:
        return None
    return version_text(VersionName(version_id if versioning == VERSIONED else None))


def event_record(
    event: Event, waiting: WaitingNotification, owner: TenantKey, region: str
) -> bytes:
    """The document that reports an event.

    Args:
        owner: of the bucket.
    """
    told: dict[str, Any] = {"key": quote_plus(event.key, safe="/")}
    if event.etag:
        told |= {"size": event.size, "eTag": event.etag}
    version = _version(event, waiting.versioning)
    if version is not None:
        told["versionId"] = version
    # Of events of one key, the later one has the greater: text of one length, compared as text.
    told["sequencer"] = f"{waiting.number:0{_SEQUENCER_DIGITS}X}"
    record: dict[str, Any] = {
        "eventVersion": _EVENT_VERSION,
        "eventSource": "aws:s3",
        "awsRegion": region,
        "eventTime": _time(event.at_ms),
        "eventName": event.kind,
        "userIdentity": {"principalId": event.caller},
        "requestParameters": {"sourceIPAddress": event.address},
        "responseElements": {"x-amz-request-id": event.request_id, "x-amz-id-2": ""},
        "s3": {
            "s3SchemaVersion": _SCHEMA_VERSION,
            "configurationId": event.rule_id,
            "bucket": {
                "name": event.bucket,
                "ownerIdentity": {"principalId": account_of(owner)},
                "arn": f"arn:aws:s3:::{event.bucket}",
            },
            "object": told,
        },
    }
    if event.kind.startswith("LifecycleExpiration:"):
        record["lifecycleEventData"] = {"expirationEventData": {}}
    if event.kind == EventKind.TRANSITION.value:
        told_class = {"destinationStorageClass": event.class_name}
        record["lifecycleEventData"] = {"transitionEventData": told_class}
    return json.dumps({"Records": [record]}, separators=(",", ":")).encode()


def trial_event(bucket: str, at_ms: int, request_id: str, host_id: str) -> bytes:
    """The document that is sent to a receiver when a rule that names it is set."""
    return json.dumps(
        {
            "Service": "Amazon S3",
            "Event": "s3:TestEvent",
            "Time": _time(at_ms),
            "Bucket": bucket,
            "RequestId": request_id,
            "HostId": host_id,
        },
        separators=(",", ":"),
    ).encode()
