"""Handlers of requests about notifications of events that wait to be delivered.

Source: docs/placement.md, "Notifications wait".
"""

from __future__ import annotations

from common import limits
from common.ports import Store
from common.rpc.caller import Answer
from common.wire.messages.base import Done
from common.wire.messages.notifications import (
    NotificationsEnd,
    NotificationsList,
    NotificationsTake,
    NotificationsTurn,
)
from coordinator.handlers.given_work import GivenWork
from coordinator.handlers.tenant_store import TenantStore
from coordinator.session import ByRequest, Caller
from coordinator.store import notifications
from coordinator.store.leases import LeaseBook


class NotificationHandlers:
    """Gives gateways the lanes whose notifications they are to deliver.

    Args:
        store: for what belongs to several tenants.
        lease_book: a lane is left to a gateway while its lease lives.
    """

    def __init__(self, store: Store, tenant_store: TenantStore, lease_book: LeaseBook) -> None:
        self._store = store
        self._tenant_store = tenant_store
        self._given = GivenWork[int](lease_book, limits.NOTIFICATION_LANE_PATIENCE_S)

    def by_request(self) -> ByRequest:
        """Return the handler of each request."""
        return {
            NotificationsTake: self.take,
            NotificationsList: self.list_waiting,
            NotificationsEnd: self.end,
        }

    async def take(self, caller: Caller, request: NotificationsTake, _: memoryview) -> Answer:
        """Give the caller a lane in which notifications wait, and that nobody else is at."""
        tenants = frozenset(caller.session.tenants.values())
        if not request.lease:
            is_due = await self._store.read(lambda sql: notifications.has_due(sql, tenants))
            return NotificationsTurn(is_due)
        async with self._given.choosing:
            taken = self._given.taken_by_others(request.lease, caller.peer_id)
            lane = await self._store.read(
                lambda sql: notifications.take(sql, tenants, request.after, taken)
            )
            self._given.give(request.lease, () if lane is None else (lane.number,))
        return NotificationsTurn(lane is not None, lane)

    async def list_waiting(
        self, caller: Caller, request: NotificationsList, _: memoryview
    ) -> Answer:
        """A page of a lane."""
        self._given.heard(request.lease, request.lane_number)
        now_ms = self._tenant_store.now_ms()
        return await self._tenant_store.read(
            caller,
            request,
            lambda sql, tenant, asked: notifications.page(sql, tenant, asked, now_ms),
        )

    async def end(self, caller: Caller, request: NotificationsEnd, _: memoryview) -> Answer:
        """Drop what was delivered, or is too old."""
        await self._tenant_store.transact(
            caller,
            request,
            lambda sql, tenant, asked, _now_ms: notifications.end(sql, tenant, asked),
            grows=None,
        )
        return Done()
