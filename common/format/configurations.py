"""Configurations of buckets and tags of objects: records that are sealed, so that no coordinator or
cell ever reads them.

Source: docs/object-format.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final, TypeAlias

from common import limits
from common.data_classes import dataclass
from common.format.versioned import unpack_versioned
from common.wire.records import Max, Record

CONFIGURATION_VERSION: Final = 1
Text: TypeAlias = Annotated[str, Max(limits.MAX_CORS_TEXT_BYTES)]


@dataclass(frozen=True, slots=True)
class Tag(Record):
    """A tag: its key and its value."""

    key: Annotated[str, Max(4 * limits.MAX_TAG_KEY_UNITS)]
    value: Annotated[str, Max(4 * limits.MAX_TAG_VALUE_UNITS)]


@dataclass(frozen=True, slots=True)
class Tags(Record):
    """The tags of a bucket or of a version, in the order in which they were given; no key twice."""

    version: int
    tags: Annotated[tuple[Tag, ...], Max(limits.MAX_BUCKET_TAGS)]

    def as_mapping(self) -> Mapping[str, str]:
        """Return the values by their keys."""
        return {tag.key: tag.value for tag in self.tags}


@dataclass(frozen=True, slots=True)
class OriginRule(Record):
    """A rule for requests that pages of other origins make (CORS). ``rule_id``: or empty.
    ``headers``: that such a request may have; ``exposed``: of answers, that pages may read.
    ``max_age_s``: how long a browser may remember the rule; None: not said. In ``origins`` and
    ``headers`` one ``*`` stands for any characters."""

    rule_id: Text
    methods: Annotated[tuple[Text, ...], Max(5)]
    origins: Annotated[tuple[Text, ...], Max(limits.MAX_CORS_ELEMENTS)]
    headers: Annotated[tuple[Text, ...], Max(limits.MAX_CORS_ELEMENTS)]
    exposed: Annotated[tuple[Text, ...], Max(limits.MAX_CORS_ELEMENTS)]
    max_age_s: int | None


@dataclass(frozen=True, slots=True)
class OriginRules(Record):
    """The rules of a bucket, the first that fits counts."""

    version: int
    rules: Annotated[tuple[OriginRule, ...], Max(limits.MAX_CORS_RULES)]


@dataclass(frozen=True, slots=True)
class PolicyText(Record):
    """The policy of a bucket: its JSON document, as it was set."""

    version: int
    text: Annotated[bytes, Max(limits.MAX_POLICY_BYTES)]


@dataclass(frozen=True, slots=True)
class PublicAccess(Record):
    """Limits of public access to a bucket. ``is_set``: False where they were removed.
    ``block_acls``, ``block_policy``: none that is public can be set. ``ignore_acls``: those that
    are count for nothing. ``restrict_buckets``: while the policy is public, the owner alone is
    served."""

    version: int
    is_set: bool
    block_acls: bool
    ignore_acls: bool
    block_policy: bool
    restrict_buckets: bool


KEEPS_KEY: Final = 0
REPLACES_PREFIX: Final = 1
REPLACES_KEY: Final = 2


@dataclass(frozen=True, slots=True)
class WebsiteRedirect(Record):
    """A redirect of a website. ``prefix``: of keys; ``error``: an HTTP status that would be
    answered, or 0; both must fit. The rest is of the URL that is answered, and empty where the
    request's is kept. ``replaces``: KEEPS_KEY, REPLACES_PREFIX or REPLACES_KEY, with ``key``."""

    prefix: Text
    error: int
    protocol: Text
    host: Text
    replaces: int
    key: Text
    status: int


@dataclass(frozen=True, slots=True)
class Website(Record):
    """A bucket as a website. ``index``: the name that is put behind a directory's; ``error``: the
    key of what is shown for errors, or empty. ``all_host``: where all requests are sent, or empty:
    then ``all_protocol`` is the request's where it is empty."""

    version: int
    index: Text
    error: Text
    all_host: Text
    all_protocol: Text
    redirects: Annotated[tuple[WebsiteRedirect, ...], Max(limits.MAX_WEBSITE_RULES)]


@dataclass(frozen=True, slots=True)
class LifecycleTransition(Record):
    """A change of class of objects. ``days``: after a version was made or, of one that is
    noncurrent, after another one took its place; None: from ``at_ms`` (unix milliseconds) on.
    ``class_name``: of the class. ``newer``: the noncurrent versions that have to be newer."""

    days: int | None
    at_ms: int | None
    class_name: Annotated[str, Max(limits.CLASS_NAME_BYTES)]
    newer: int = 0


Transitions: TypeAlias = Annotated[tuple[LifecycleTransition, ...], Max(limits.MAX_TRANSITIONS)]


@dataclass(frozen=True, slots=True)
class LifecycleRule(Record):
    """A rule by which objects of a bucket expire, or get another class. What is 0 or None is not
    asked for.

    What it is for: keys that begin with ``prefix``, with all of ``tags``, of more bytes than
    ``larger_than`` and fewer than ``smaller_than``. ``prefix``: None where none was given.
    ``is_filter``: it was given as a filter, ``is_joined``: of several conditions; else as a prefix
    alone, in the older form.

    What it does: ``expire_days`` after a version was made, or from ``expire_ms`` (unix
    milliseconds) on, the current version expires. ``removes_markers``: a delete marker without
    versions is removed. A version expires ``noncurrent_days`` after another one took its place, if
    at least ``newer_noncurrent`` stay that are newer and noncurrent, too. An upload is aborted
    ``abort_days`` after it was begun. ``transitions``: of a current version;
    ``noncurrent_transitions``: of one that is not.
    """

    rule_id: Annotated[str, Max(limits.MAX_LIFECYCLE_ID_CHARACTERS)]
    is_enabled: bool
    is_filter: bool
    is_joined: bool
    prefix: Annotated[str, Max(limits.MAX_LIFECYCLE_PREFIX_BYTES)] | None
    tags: Annotated[tuple[Tag, ...], Max(limits.MAX_OBJECT_TAGS)]
    larger_than: int | None
    smaller_than: int | None
    expire_days: int
    expire_ms: int | None
    removes_markers: bool | None
    noncurrent_days: int
    newer_noncurrent: int
    abort_days: int
    transitions: Transitions = ()
    noncurrent_transitions: Transitions = ()


@dataclass(frozen=True, slots=True)
class LifecycleRules(Record):
    """The rules of a bucket, each for itself. ``smallest``: which objects transitions pass over,
    as it was set."""

    version: int
    smallest: Text
    rules: Annotated[tuple[LifecycleRule, ...], Max(limits.MAX_LIFECYCLE_RULES)]


@dataclass(frozen=True, slots=True)
class BucketEncryption(Record):
    """The named key that protects new objects of a bucket which name none. ``key``: its name, or
    empty: the tenant's default one. ``given``: how the client named it, or empty. ``bucket_key``:
    as it was set."""

    version: int
    key: Annotated[str, Max(limits.MAX_KEY_NAME_CHARACTERS)]
    given: Annotated[str, Max(limits.MAX_KEY_ID_CHARACTERS)]
    bucket_key: bool


def unpack_encryption(data: bytes) -> BucketEncryption:
    """Read how objects of a bucket are protected. Raises Corrupt ``bad_metadata``."""
    return unpack_versioned(BucketEncryption, CONFIGURATION_VERSION, "encryption", data)


@dataclass(frozen=True, slots=True)
class NotificationRule(Record):
    """A rule by which a webhook is notified of events. ``rule_id``: its name. ``target``: the
    receiver, as it was named; ``webhook``: the receiver that this is. ``element``: that of the
    protocol's document which names it. ``kinds``: of events, each with
    its ``*``. ``prefix``, ``suffix``: of
    keys."""

    rule_id: Annotated[str, Max(limits.MAX_LIFECYCLE_ID_CHARACTERS)]
    target: Text
    webhook: Annotated[str, Max(limits.MAX_WEBHOOK_NAME_CHARACTERS)]
    element: Annotated[str, Max(64)]
    kinds: Annotated[tuple[Text, ...], Max(limits.MAX_EVENT_KINDS)]
    prefix: Annotated[str, Max(limits.MAX_LIFECYCLE_PREFIX_BYTES)]
    suffix: Annotated[str, Max(limits.MAX_LIFECYCLE_PREFIX_BYTES)]


@dataclass(frozen=True, slots=True)
class NotificationRules(Record):
    """The rules of a bucket; at most one of them is for any event."""

    version: int
    rules: Annotated[tuple[NotificationRule, ...], Max(limits.MAX_NOTIFICATION_RULES)]


LOG_BY_EVENT_TIME: Final = "event"
LOG_BY_DELIVERY_TIME: Final = "delivery"


@dataclass(frozen=True, slots=True)
class AccessLogging(Record):
    """The target of the access log of a bucket. ``bucket``: of the same owner. ``prefix``: of
    the keys. ``partition``: the time by which keys are partitioned, LOG_BY_EVENT_TIME or
    LOG_BY_DELIVERY_TIME; empty: they are not."""

    version: int
    bucket: Annotated[str, Max(limits.MAX_LABEL_CHARACTERS)]
    prefix: Annotated[str, Max(limits.MAX_LOG_PREFIX_BYTES)]
    partition: Text


@dataclass(frozen=True, slots=True)
class Event(Record):
    """An event in a bucket, as it is known before it comes about. ``kind``: of
    :class:`gateway.notifications.Kind`. ``rule_id``: of the rule that is for it;
    ``webhook``: the receiver.
    ``caller``, ``address``, ``request_id``: of the request. ``size``, ``etag``: of an object that
    was made. ``version_id``: of the version that it makes or that a client names (``named``; empty:
    the null version), or empty. ``class_name``: that a version got."""

    version: int
    kind: Text
    bucket: Annotated[str, Max(limits.MAX_LABEL_CHARACTERS)]
    key: Annotated[bytes, Max(limits.MAX_NAME_BYTES)]
    rule_id: Annotated[str, Max(limits.MAX_LIFECYCLE_ID_CHARACTERS)]
    webhook: Annotated[str, Max(limits.MAX_WEBHOOK_NAME_CHARACTERS)]
    at_ms: int
    caller: Annotated[str, Max(limits.MAX_LABEL_CHARACTERS)]
    address: Annotated[str, Max(64)]
    request_id: Annotated[str, Max(32)]
    size: int
    etag: Annotated[str, Max(64)]
    version_id: Annotated[bytes, Max(16)]
    named: bool
    class_name: Annotated[str, Max(limits.CLASS_NAME_BYTES)] = ""


def unpack_tags(data: bytes) -> Tags:
    """Read tags. Raises Corrupt ``bad_metadata``: authentic bytes that this version cannot read."""
    return unpack_versioned(Tags, CONFIGURATION_VERSION, "tags", data)


def unpack_origin_rules(data: bytes) -> OriginRules:
    """Read the rules for other origins. Raises Corrupt ``bad_metadata``."""
    return unpack_versioned(OriginRules, CONFIGURATION_VERSION, "origin rules", data)


def unpack_policy(data: bytes) -> PolicyText:
    """Read the policy of a bucket. Raises Corrupt ``bad_metadata``."""
    return unpack_versioned(PolicyText, CONFIGURATION_VERSION, "policy", data)


def unpack_public_access(data: bytes) -> PublicAccess:
    """Read the limits of public access. Raises Corrupt ``bad_metadata``."""
    return unpack_versioned(PublicAccess, CONFIGURATION_VERSION, "public access", data)


def unpack_website(data: bytes) -> Website:
    """Read a website's configuration. Raises Corrupt ``bad_metadata``."""
    return unpack_versioned(Website, CONFIGURATION_VERSION, "website", data)


def unpack_lifecycle(data: bytes) -> LifecycleRules:
    """Read the rules by which objects expire. Raises Corrupt ``bad_metadata``."""
    return unpack_versioned(LifecycleRules, CONFIGURATION_VERSION, "lifecycle", data)


def unpack_notification_rules(data: bytes) -> NotificationRules:
    """Read the rules by which webhooks are notified of events. Raises Corrupt ``bad_metadata``."""
    return unpack_versioned(NotificationRules, CONFIGURATION_VERSION, "notification rules", data)


def unpack_event(data: bytes) -> Event:
    """Read an event. Raises Corrupt ``bad_metadata``."""
    return unpack_versioned(Event, CONFIGURATION_VERSION, "event", data)


def unpack_access_logging(data: bytes) -> AccessLogging:
    """Read where an access log is written. Raises Corrupt ``bad_metadata``."""
    return unpack_versioned(AccessLogging, CONFIGURATION_VERSION, "access logging", data)
