"""The store as requests on behalf of tenants use it.

Source: docs/protocol.md, "Tenants".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from common.errors import Refused
from common.ports import Sql, Store, WallClock
from common.reasons import Refusal
from common.wire.messages.base import TenantRequest
from coordinator.hints import Queue, Queues
from coordinator.session import Caller

T = TypeVar("T")


class TenantStore:
    """The store on behalf of the tenants that a connection is open for. Each request is decided
    inside one transaction.

    Args:
        queues: notified after transactions that may have put something in.
    """

    def __init__(self, store: Store, queues: Queues, clock: WallClock) -> None:
        self._store = store
        self._clock = clock
        self.dropped = queues.dropped
        self.deletes = queues.deletes
        self.missing = queues.missing
        self.homes = queues.homes

    def now_ms(self) -> int:
        """Return the wall clock's time, for what is stored."""
        return int(self._clock.now() * 1000)

    def tenant(self, caller: Caller, request: TenantRequest) -> int:
        """Return the number of the tenant that a request names.

        Raises:
            Refused: ``tenant_not_open``: the connection does not act for it.
        """
        number = caller.session.tenants.get(request.tenant_id)
        if number is None:
            raise Refused(Refusal.TENANT_NOT_OPEN)
        return number

    async def read(
        self, caller: Caller, request: TenantRequest, work: Callable[[Sql, int, Any], T]
    ) -> T:
        """Run ``work(sql, tenant, request)``, which changes nothing."""
        tenant = self.tenant(caller, request)
        return await self._store.read(lambda sql: work(sql, tenant, request))

    async def look(self, work: Callable[[Sql], T]) -> T:
        """Run ``work(sql)``, which changes nothing and is on behalf of no one tenant."""
        return await self._store.read(work)

    async def transact(
        self,
        caller: Caller,
        request: TenantRequest,
        work: Callable[[Sql, int, Any, int], T],
        *,
        grows: Queue | None,
    ) -> T:
        """Run a transaction: ``work(sql, tenant, request, now_ms)``.

        Args:
            grows: the queue that it may put something into.
        """
        tenant = self.tenant(caller, request)
        now_ms = self.now_ms()

        def bound(sql: Sql) -> T:
            return work(sql, tenant, request, now_ms)

        if grows is None:
            return await self._store.transact(bound)
        return await self.grow(grows, bound)

    async def grow(self, queue: Queue, work: Callable[[Sql], T]) -> T:
        """Run a transaction that may put something into a queue."""
        try:
            return await self._store.transact(work)
        finally:
            queue.tell()
