"""The rules of a bucket by which webhooks are notified of events, and the rule for an event. Pure.

Source: Amazon S3 User Guide, "Amazon S3 Event Notifications", "Configuring event notifications
using object key name filtering"; docs/s3-compatibility.md, "Event notifications".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field
from enum import Enum
from typing import Final

from common.data_classes import dataclass
from common.errors import Corrupt
from common.format.configurations import NotificationRule, unpack_notification_rules
from common.format.objects import BucketSettings

NOTIFICATIONS: Final = "notifications"
"""The kind of the document with a bucket's rules."""


class EventKind(Enum):
    """The kinds of events."""

    PUT = "ObjectCreated:Put"
    POST = "ObjectCreated:Post"
    COPY = "ObjectCreated:Copy"
    COMPLETE = "ObjectCreated:CompleteMultipartUpload"
    DELETE = "ObjectRemoved:Delete"
    MARK = "ObjectRemoved:DeleteMarkerCreated"
    EXPIRE = "LifecycleExpiration:Delete"
    EXPIRE_MARK = "LifecycleExpiration:DeleteMarkerCreated"
    TRANSITION = "LifecycleTransition"
    TAG = "ObjectTagging:Put"
    UNTAG = "ObjectTagging:Delete"
    ACL = "ObjectAcl:Put"


_MARKING: Final = {EventKind.DELETE: EventKind.MARK, EventKind.EXPIRE: EventKind.EXPIRE_MARK}


@dataclass(frozen=True, slots=True)
class Cause:
    """The cause of an event. ``kind``: of a deletion, as if no delete marker was made. ``caller``:
    as events name who made the request, whose ``address`` and ``request_id`` these are."""

    kind: EventKind
    caller: str
    address: str = ""
    request_id: str = ""


def marking(kind: EventKind) -> EventKind:
    """Return the kind of event that a deletion is where it makes a delete marker."""
    return _MARKING[kind]


def is_of(pattern: str, kind: str) -> bool:
    """Return whether a kind of event is one of those that a pattern names, such as
    ``ObjectCreated:*``."""
    return kind.startswith(pattern[:-1]) if pattern.endswith(":*") else kind == pattern


def _share(one: Sequence[str], other: Sequence[str]) -> bool:
    """Return whether a kind of event may be among those of both."""
    return any(is_of(a, b) or is_of(b, a) for a in one for b in other)


def overlap(one: NotificationRule, other: NotificationRule) -> bool:
    """Return whether both rules could be for one event."""
    return (
        (one.prefix.startswith(other.prefix) or other.prefix.startswith(one.prefix))
        and (one.suffix.endswith(other.suffix) or other.suffix.endswith(one.suffix))
        and _share(one.kinds, other.kinds)
    )


@dataclass(frozen=True, slots=True)
class Notifications:
    """The rules of a bucket."""

    rules: tuple[NotificationRule, ...]
    _by_name: tuple[tuple[bytes, bytes, NotificationRule], ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        named = [(rule.prefix.encode(), rule.suffix.encode(), rule) for rule in self.rules]
        object.__setattr__(self, "_by_name", tuple(named))

    def rule_of(self, kind: EventKind, key: bytes) -> NotificationRule | None:
        """Return the rule for an event; None: there is none."""
        for prefix, suffix, rule in self._by_name:
            if (
                key.startswith(prefix)
                and key.endswith(suffix)
                and any(is_of(pattern, kind.value) for pattern in rule.kinds)
            ):
                return rule
        return None


def notifications_of(settings: BucketSettings) -> Notifications | None:
    """Return the rules that a bucket's settings have; None where there are none, or none of a
    version that this gateway can read."""
    if not settings.documents:
        return None
    body = settings.document(NOTIFICATIONS)
    if body is None:
        return None
    try:
        rules = unpack_notification_rules(body).rules
    except Corrupt:
        return None
    return Notifications(rules) if rules else None
