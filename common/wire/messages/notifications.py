"""Messages between gateways and coordinators about notifications of events, which wait until a
gateway has delivered them.

Source: docs/protocol.md, "Messages"; docs/decisions/0055-event-notifications.md.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, TypeAlias

from common import limits
from common.data_classes import dataclass
from common.wire.messages.base import (
    Bucket,
    Done,
    Id16,
    Idempotency,
    Reply,
    Request,
    Tenant,
    TenantRequest,
    TenantScope,
)
from common.wire.records import Max, Record

SealedEvent: TypeAlias = Annotated[bytes, Max(limits.MAX_SEALED_EVENT_BYTES)]
Numbers: TypeAlias = Annotated[tuple[int, ...], Max(limits.NOTIFICATIONS_PAGE)]


@dataclass(frozen=True, slots=True)
class Notification(Record):
    """A notification of what a request does: it waits from the moment at which that is done, in the
    same transaction. ``lane``: an id of the receiver, that says nothing of it; those of one bucket
    and lane are delivered in order. ``sealed``: the event."""

    notification_id: Id16
    lane: Id16
    sealed: SealedEvent


@dataclass(frozen=True, slots=True)
class NotificationLane(Record):
    """The notifications of one bucket that wait for one receiver. ``number``: of the lane.
    ``bucket_id``: that the events are bound to; the bucket may have been deleted."""

    number: int
    tenant_id: Tenant
    bucket_id: Bucket


@dataclass(frozen=True, slots=True)
class NotificationsTurn(Reply):
    """``is_due``: some wait. ``lane``: the one that is left to the caller."""

    is_due: bool
    lane: NotificationLane | None = None


@dataclass(frozen=True, slots=True)
class NotificationsTake(Request):
    """Take a lane of the caller's tenants in which notifications wait. It is left to this caller
    while its lease lives, until it asks again, and for
    NOTIFICATION_LANE_PATIENCE_S. Without a lease (0) none is named.

    Refused ``lease_ended``.
    """

    lease: int
    after: int = 0
    """Of the lanes in which some wait, those with a greater number."""
    code: ClassVar[int] = 110
    reply: ClassVar[type[Reply]] = NotificationsTurn
    idempotency: ClassVar[Idempotency] = Idempotency.REPEATABLE
    tenant_scope: ClassVar[TenantScope] = TenantScope.ALL


@dataclass(frozen=True, slots=True)
class WaitingNotification(Record):
    """A notification that waits. ``number`` orders all of the swarm by the transactions in which
    the events came about. ``versioning``: of its bucket then."""

    number: int
    notification_id: Id16
    versioning: int
    created_ms: int
    sealed: SealedEvent


@dataclass(frozen=True, slots=True)
class NotificationsPage(Reply):
    """In the order of their numbers. ``more``: there are more behind these. ``now_ms``: the
    coordinator's wall clock."""

    waiting: Annotated[tuple[WaitingNotification, ...], Max(limits.NOTIFICATIONS_PAGE)]
    more: bool
    now_ms: int


@dataclass(frozen=True, slots=True)
class NotificationsList(TenantRequest):
    """The notifications of a lane with greater numbers than ``after``, a page of them. None of a
    lane that there is not. The caller, who has the lane under ``lease``, is left it for as long
    again."""

    lease: int
    lane_number: int
    after: int
    code: ClassVar[int] = 111
    reply: ClassVar[type[Reply]] = NotificationsPage
    idempotency: ClassVar[Idempotency] = Idempotency.ASKS


@dataclass(frozen=True, slots=True)
class NotificationsEnd(TenantRequest):
    """Drop notifications of a lane that were delivered, and those that are too old to be."""

    lane_number: int
    delivered: Numbers
    given_up: Numbers
    code: ClassVar[int] = 112
    reply: ClassVar[type[Reply]] = Done
    idempotency: ClassVar[Idempotency] = Idempotency.REPEATABLE
