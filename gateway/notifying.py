"""Notifications are delivered: those of one bucket for one receiver in order for each key, each
until the receiver has said that it has it.

A gateway that dies, or that loses its lease, leaves what it had to another, which may deliver
again what was delivered: at least once, and in order but for such repetitions, which have the same
id.

Source: docs/placement.md, "Notifications wait"; docs/decisions/0055-event-notifications.md.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from typing import Final, Protocol

import trio

from common import limits
from common.crypto.keys import TenantKey
from common.data_classes import dataclass
from common.errors import AlvearyError, Corrupt
from common.format.configurations import Event, unpack_event
from common.format.manifest import open_event
from common.ids import TenantId
from common.ports import WebhookSender
from common.wire.messages.notifications import (
    NotificationLane,
    NotificationsEnd,
    NotificationsList,
    NotificationsPage,
    NotificationsTake,
    NotificationsTurn,
    WaitingNotification,
)
from gateway.background import LOOK_EVERY_S
from gateway.object_service import ObjectService
from gateway.webhooks import Webhook, Webhooks

REST_AFTER_LOOK_S: Final = 0.05
"""At least so long is between two looks: events that come meanwhile are delivered together."""
REST_AFTER_TROUBLE_S: Final = 1.0
"""The same where something could not be delivered."""
_NOT_OF_THE_EVENT: Final = frozenset({401, 403, 404, 408, 410, 425, 429})
"""Refusals that have nothing to do with the event: the receiver takes none at present."""


class DeliveryCounts(Protocol):
    """Counts what becomes of notifications."""

    def told(self, outcome: str) -> None:
        """Count a notification ``delivered`` or ``given_up``, or a try that was ``refused`` by its
        receiver or ``failed`` to reach it."""


Render = Callable[[Event, WaitingNotification, TenantKey], bytes]
"""The text that a receiver gets of an event."""


@dataclass(slots=True)
class _Retry:
    """The next try at something that failed. ``at``: by the monotonic clock."""

    at: float
    pause_s: float

    @classmethod
    def after(cls, before: _Retry | None, chance: Callable[[], float]) -> _Retry:
        """Return the try after a failure; ``before``: the one that failed, if it was no first."""
        pause_s = limits.WEBHOOK_RETRY_MIN_S
        if before is not None:
            pause_s = min(2 * before.pause_s, limits.WEBHOOK_RETRY_MAX_S)
        # Half of it by chance: gateways do not all come back at once.
        return cls(trio.current_time() + pause_s * (0.5 + chance() / 2), pause_s)


@dataclass(frozen=True, slots=True)
class _Opened:
    """A notification of a page. ``event``: None: it cannot be read."""

    waiting: WaitingNotification
    event: Event | None


class Notifier:
    """Delivers the notifications of this gateway's tenants to receivers that it knows.

    Args:
        tenants: the keys at hand; may grow.
        render: makes the text of an event.
        chance: 0 to 1, for jitter.
    """

    def __init__(
        self,
        service: ObjectService,
        tenants: Mapping[TenantId, TenantKey],
        webhooks: Webhooks,
        sender: WebhookSender,
        render: Render,
        counts: DeliveryCounts,
        chance: Callable[[], float],
    ) -> None:
        self._service = service
        self._tenants = tenants
        self._webhooks = webhooks
        self._sender = sender
        self._render = render
        self._counts = counts
        self._chance = chance
        self._receivers: dict[str, _Retry] = {}
        """Receivers that took nothing when last tried."""
        self._held: OrderedDict[int, _Retry] = OrderedDict()
        """Notifications that their receiver refused, or whose delivery failed when it was last
        tried: those may be what it fails at."""
        self._start = 0
        """The next look begins behind this lane, whose receiver failed: where it takes what is in
        another one, it is an event that is at fault."""
        self._unknown: set[str] = set()
        """Receivers that this gateway does not know, as it has said."""

    async def run(self) -> None:
        """Deliver when something was committed here, and at an interval, until cancelled."""
        while True:
            await self._service.notified.wait(self._pause_s())
            rest_s = REST_AFTER_LOOK_S
            try:
                await self._webhooks.reload()
                if len(self._webhooks):
                    await self._look()
                else:
                    self._receivers.clear()
                    self._held.clear()
            except AlvearyError as error:
                self._service.log.warning("notifications_wait", error=str(error))
                rest_s = REST_AFTER_TROUBLE_S
            if self._receivers or self._held:
                rest_s = REST_AFTER_TROUBLE_S
            await trio.sleep(rest_s)

    def _pause_s(self) -> float:
        """Return the time until the next look without cause: the next try, or the interval."""
        tries = [*self._receivers.values(), *self._held.values()]
        next_s = min((each.at for each in tries), default=math.inf) - trio.current_time()
        return min(LOOK_EVERY_S, max(next_s, 0.0))

    async def _look(self) -> None:
        """Deliver all that waits and is due."""
        service = self._service
        begun = trio.current_time()
        turn: NotificationsTurn = await service.coordinators.call(NotificationsTake(0))
        if turn.is_due:
            start, self._start = self._start, 0
            if start:
                await self._look_behind(start)
            await self._look_behind(0)
        # What was due and not tried was delivered by others meanwhile, or is theirs to try.
        self._receivers = {name: each for name, each in self._receivers.items() if each.at > begun}
        for number in [number for number, each in self._held.items() if each.at <= begun]:
            del self._held[number]

    async def _look_behind(self, after: int) -> None:
        """Deliver what waits and is due in all lanes with greater numbers."""
        service = self._service
        while True:
            lease = await service.coordinators.lease.number()
            turn: NotificationsTurn = await service.coordinators.call(
                NotificationsTake(lease, after)
            )
            if turn.lane is None:
                return
            after = turn.lane.number
            owner = self._tenants.get(turn.lane.tenant_id)
            if owner is not None and not await self._walk(owner, turn.lane, lease):
                self._start = self._start or after

    async def _walk(self, owner: TenantKey, lane: NotificationLane, lease: int) -> bool:
        """Go through a lane, until its receiver takes no more or the lane has had its turn.

        Returns:
            Whether its receiver took what was tried.
        """
        blocked: set[bytes] = set()
        after, has_more = 0, True
        begun, has_delivered = trio.current_time(), False
        while has_more and len(blocked) < limits.MAX_EVENTS_HELD:
            page: NotificationsPage = await self._service.coordinators.call(
                NotificationsList(owner.tenant_id, lease, lane.number, after)
            )
            if not page.waiting:
                return True
            after, has_more = page.waiting[-1].number, page.more
            opened = [self._opened(owner, lane, each) for each in page.waiting]
            now_ms = min(page.now_ms, self._service.now_ms())
            given_up = [
                each.waiting.number
                for each in opened
                if each.event is None
                or each.waiting.created_ms + limits.NOTIFICATION_LIFE_MS <= now_ms
            ]
            left = [each for each in opened if each.waiting.number not in given_up]
            delivered: list[int] = []
            try:
                goes_on = await self._deliver(owner, left, blocked, delivered)
            finally:
                # What was delivered is said even where this ends: it is delivered again otherwise.
                with trio.CancelScope(shield=True) as scope:
                    scope.deadline = trio.current_time() + limits.WEBHOOK_TIMEOUT_S
                    await self._end(owner, lane, delivered, given_up)
            if not goes_on:
                return False
            has_delivered = has_delivered or bool(delivered)
            if has_delivered and trio.current_time() >= begun + limits.NOTIFICATION_TURN_S:
                self._service.notified.tell()  # the rest is looked at after all other lanes
                return True
        return True

    def _opened(
        self, owner: TenantKey, lane: NotificationLane, waiting: WaitingNotification
    ) -> _Opened:
        try:
            sealed = open_event(owner, lane.bucket_id, waiting.notification_id, waiting.sealed)
            return _Opened(waiting, unpack_event(sealed))
        except Corrupt as error:
            self._service.log.error("notification_unreadable", error=str(error))
            return _Opened(waiting, None)

    async def _end(
        self,
        owner: TenantKey,
        lane: NotificationLane,
        delivered: Iterable[int],
        given_up: Iterable[int],
    ) -> None:
        done, lost = tuple(delivered), tuple(given_up)
        if not done and not lost:
            return
        await self._service.coordinators.call(
            NotificationsEnd(owner.tenant_id, lane.number, done, lost)
        )
        for number in (*done, *lost):
            self._held.pop(number, None)
        for _ in lost:
            self._counts.told("given_up")
        if lost:
            self._service.log.warning("notifications_given_up", notifications=len(lost))

    async def _deliver(
        self, owner: TenantKey, page: list[_Opened], blocked: set[bytes], delivered: list[int]
    ) -> bool:
        """Deliver the notifications of a page, of several keys at once, in order for each key.

        Args:
            blocked: keys of which an earlier notification was not delivered; grows. Those that are
                left when the turn is over are among them.
            delivered: gets the numbers of those that were.

        Returns:
            Whether the receiver takes more.
        """
        by_key: dict[bytes, list[_Opened]] = {}
        for each in page:
            assert each.event is not None
            by_key.setdefault(each.event.key, []).append(each)
        places = trio.CapacityLimiter(limits.WEBHOOK_DELIVERIES)
        until = trio.current_time() + limits.NOTIFICATION_TURN_S
        takes = True

        async def of_key(key: bytes, opened: list[_Opened]) -> None:
            nonlocal takes
            for each in opened:
                if key in blocked:
                    return
                async with places:
                    if not takes:
                        return
                    is_over = trio.current_time() >= until
                    outcome = False if is_over else await self._try(owner, each)
                if outcome is None:
                    takes = False
                if outcome:
                    delivered.append(each.waiting.number)
                else:
                    blocked.add(key)

        # Those that failed come last: where others are taken, it is the event that is at fault.
        failed = {key for key, opened in by_key.items() if opened[0].waiting.number in self._held}
        for has_failed in (False, True):
            async with trio.open_nursery() as nursery:
                for key, opened in by_key.items():
                    if (key in failed) is has_failed:
                        nursery.start_soon(of_key, key, opened)
        return takes

    async def _try(self, owner: TenantKey, opened: _Opened) -> bool | None:
        """Try to deliver a notification that is due.

        Returns:
            Whether it was delivered; None: its receiver takes none at present.
        """
        event, waiting = opened.event, opened.waiting
        assert event is not None
        webhook = self._webhooks.get(event.webhook, owner.tenant_id)
        if webhook is None:
            if event.webhook not in self._unknown:
                self._unknown.add(event.webhook)
                self._service.log.warning("webhook_not_known", webhook=event.webhook)
            return None
        self._unknown.discard(event.webhook)
        now = trio.current_time()
        receiver, held = self._receivers.get(webhook.name), self._held.get(waiting.number)
        if receiver is not None and now < receiver.at:
            return None
        if held is not None and now < held.at:
            return False
        status = await self._post(webhook, owner, event, waiting)
        if status is not None and 200 <= status < 300:
            self._receivers.pop(webhook.name, None)
            self._counts.told("delivered")
            return True
        self._counts.told("failed" if status is None else "refused")
        is_refusal = status is not None and 400 <= status < 500 and status not in _NOT_OF_THE_EVENT
        is_news = webhook.name not in self._receivers
        if is_refusal or (held is not None and is_news):  # it took others since this one failed
            self._receivers.pop(webhook.name, None)
            self._hold(waiting.number, _Retry.after(held, self._chance))
            return False
        retry = self._receivers[webhook.name] = _Retry.after(receiver, self._chance)
        self._hold(waiting.number, retry)
        if is_news:
            self._service.log.warning(
                "webhook_takes_nothing", webhook=webhook.name, status=status or 0
            )
        return None

    def _hold(self, number: int, retry: _Retry) -> None:
        """Remember the next try at a notification."""
        self._held[number] = retry
        self._held.move_to_end(number)
        while len(self._held) > limits.MAX_EVENTS_HELD:
            self._held.popitem(last=False)

    async def _post(
        self, webhook: Webhook, owner: TenantKey, event: Event, waiting: WaitingNotification
    ) -> int | None:
        """Return the receiver's status; None where it could not be reached."""
        body = self._render(event, waiting, owner)
        return await post(
            self._sender, webhook, waiting.notification_id.hex(), self._service.now_ms(), body
        )


async def post(
    sender: WebhookSender, webhook: Webhook, message_id: str, now_ms: int, body: bytes
) -> int | None:
    """Make one try at delivering a message.

    Returns:
        The receiver's status; None where it could not be reached in time.
    """
    headers = webhook.headers(message_id, now_ms // 1000, body)
    with trio.move_on_after(limits.WEBHOOK_TIMEOUT_S):
        try:
            return await sender.post(webhook.url, headers, body)
        except AlvearyError:
            return None
    return None
