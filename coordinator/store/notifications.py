"""Notifications of events, from the transaction in which the event came about until a gateway has
delivered them. Functions of a transaction.

Those of one bucket for one receiver are a lane. What they say, and to whom, is sealed.

Source: docs/placement.md, "Notifications wait"; docs/decisions/0055-event-notifications.md.
"""

from __future__ import annotations

from collections.abc import Collection

from common import limits
from common.data_classes import dataclass
from common.ids import BucketId, TenantId
from common.ports import Sql
from common.wire.messages.notifications import (
    Notification,
    NotificationLane,
    NotificationsEnd,
    NotificationsList,
    NotificationsPage,
    WaitingNotification,
)
from coordinator.store.buckets import StoredBucket


@dataclass(frozen=True, slots=True)
class NotificationCounts:
    """Numbers for operators. ``waiting``: notifications. ``full``: tenants of which as many wait as
    may. ``dropped``: events without notification, since so many waited; ``given_up``: those that
    were not delivered in time. ``oldest_ms``: when the one that waits longest came about; 0: none
    waits."""

    waiting: int
    full: int
    dropped: int
    given_up: int
    oldest_ms: int


def add(
    sql: Sql, tenant: int, bucket: StoredBucket, notification: Notification | None, now_ms: int
) -> None:
    """Let a notification of what this transaction does wait; where as many of the tenant wait as
    may, it is dropped, and counted."""
    if notification is None:
        return
    has_room = sql.execute(
        "UPDATE tenants SET notifications = notifications + 1"
        " WHERE tenant = ? AND notifications < ? RETURNING notifications",
        (tenant, limits.MAX_NOTIFICATIONS_PER_TENANT),
    ).fetchone()
    kept = int(has_room is not None)
    (lane,) = sql.execute(
        "INSERT INTO notification_lanes (tenant, bucket_id, lane_id, waiting, dropped)"
        " VALUES (?, ?, ?, ?, ?) ON CONFLICT (bucket_id, lane_id) DO UPDATE SET"
        " waiting = notification_lanes.waiting + excluded.waiting,"
        " dropped = notification_lanes.dropped + excluded.dropped RETURNING lane",
        (tenant, bucket.bucket_id, notification.lane, kept, 1 - kept),
    ).fetchone()
    if kept:
        sql.execute(
            "INSERT INTO notifications (lane, notification_id, versioning, created_ms, sealed)"
            " VALUES (?, ?, ?, ?, ?)",
            (
                lane,
                notification.notification_id,
                bucket.versioning,
                now_ms,
                notification.sealed,
            ),
        )


def _next(sql: Sql, tenants: Collection[int], after: int, taken: Collection[int]) -> int | None:
    """The next lane in which some wait, by its number."""
    found: list[int] = []
    for tenant in tenants:
        rows = sql.execute(
            "SELECT lane FROM notification_lanes WHERE tenant = ? AND waiting > 0 AND lane > ?"
            " ORDER BY lane LIMIT ?",
            (tenant, after, len(taken) + 1),
        )
        found += [lane for (lane,) in rows if lane not in taken][:1]
    return min(found, default=None)


def has_due(sql: Sql, tenants: Collection[int]) -> bool:
    """Return whether notifications of some tenants wait."""
    return _next(sql, tenants, 0, ()) is not None


def take(
    sql: Sql, tenants: Collection[int], after: int, taken: Collection[int]
) -> NotificationLane | None:
    """Find a lane of some tenants in which notifications wait.

    Args:
        after: the number of a lane: those with greater ones are looked at.
        taken: lanes that others are at.
    """
    number = _next(sql, tenants, after, taken)
    if number is None:
        return None
    tenant_id, bucket_id = sql.execute(
        "SELECT t.tenant_id, l.bucket_id FROM notification_lanes l"
        " JOIN tenants t ON t.tenant = l.tenant WHERE l.lane = ?",
        (number,),
    ).fetchone()
    return NotificationLane(number, TenantId(tenant_id), BucketId(bucket_id))


def page(sql: Sql, tenant: int, request: NotificationsList, now_ms: int) -> NotificationsPage:
    """A page of a lane of the tenant."""
    most = limits.NOTIFICATIONS_PAGE
    rows = sql.execute(
        "SELECT n.number, n.notification_id, n.versioning, n.created_ms, n.sealed"
        " FROM notifications n JOIN notification_lanes l ON l.lane = n.lane"
        " WHERE n.lane = ? AND l.tenant = ? AND n.number > ? ORDER BY n.number LIMIT ?",
        (request.lane_number, tenant, request.after, most + 1),
    ).fetchall()
    return NotificationsPage(
        tuple([WaitingNotification(*row) for row in rows[:most]]), len(rows) > most, now_ms
    )


def end(sql: Sql, tenant: int, request: NotificationsEnd) -> None:
    """Drop notifications of a lane of the tenant; those that are not there any more were dropped
    before."""
    lane = request.lane_number
    is_own = sql.execute(
        "SELECT 1 FROM notification_lanes WHERE lane = ? AND tenant = ?", (lane, tenant)
    ).fetchone()
    if is_own is None:
        return
    ended = [
        sum(
            sql.execute(
                "DELETE FROM notifications WHERE number = ? AND lane = ? RETURNING number",
                (number, lane),
            ).fetchone()
            is not None
            for number in numbers
        )
        for numbers in (request.delivered, request.given_up)
    ]
    sql.execute(
        "UPDATE tenants SET notifications = notifications - ? WHERE tenant = ?",
        (sum(ended), tenant),
    )
    sql.execute(
        "UPDATE notification_lanes SET waiting = waiting - ?, given_up = given_up + ?"
        " WHERE lane = ?",
        (sum(ended), ended[1], lane),
    )
    # Of a bucket that there is no more, nothing will come.
    sql.execute(
        "DELETE FROM notification_lanes WHERE lane = ? AND waiting = 0 AND NOT EXISTS"
        " (SELECT 1 FROM buckets b WHERE b.bucket_id = notification_lanes.bucket_id)",
        (lane,),
    )


def forget(sql: Sql, bucket_id: BucketId) -> None:
    """Forget the lanes of a bucket that is deleted, but for those in which some wait."""
    sql.execute("DELETE FROM notification_lanes WHERE bucket_id = ? AND waiting = 0", (bucket_id,))


def count(sql: Sql) -> NotificationCounts:
    """Read the numbers."""
    waiting, full = sql.execute(
        "SELECT coalesce(sum(notifications), 0), count(*) FILTER (WHERE notifications >= ?)"
        " FROM tenants",
        (limits.MAX_NOTIFICATIONS_PER_TENANT,),
    ).fetchone()
    dropped, given_up = sql.execute(
        "SELECT coalesce(sum(dropped), 0), coalesce(sum(given_up), 0) FROM notification_lanes"
    ).fetchone()
    oldest = sql.execute("SELECT created_ms FROM notifications ORDER BY number LIMIT 1").fetchone()
    return NotificationCounts(waiting, full, dropped, given_up, oldest[0] if oldest else 0)
