"""Counts of requests, the turns of tenants, the history of the store, and the order epoch, around
every handler of a coordinator.

Source: docs/decisions/0005-store-generation.md; docs/decisions/0049-fair-shares.md;
docs/decisions/0051-order-epochs.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import trio

from common.errors import AlvearyError, Unavailable
from common.reasons import Outage
from common.rpc.caller import Answer
from common.rpc.fair_queue import FairQueue
from common.wire.messages import Directions
from common.wire.messages.base import Idempotency, Request, TenantRequest
from common.wire.messages.lifecycle import LifecycleNote
from common.wire.messages.membership import Heartbeat, Settle
from common.wire.messages.notifications import NotificationsEnd
from common.wire.messages.objects import Committed, Deleted, GatewayPresence
from common.wire.messages.writing import Lease, ShardsReport, WriteAbandon
from coordinator.metrics import CoordinatorMetrics
from coordinator.policy.history import Standing
from coordinator.session import ByRequest, Caller, Handler
from coordinator.store import history, order_epoch
from coordinator.store.history import NumberedStore, StoreHistory
from coordinator.store.order_epoch import OrderEpoch
from coordinator.store_health import WatchedStore

_ANSWERED_WHEN_BEHIND: Final = frozenset({Heartbeat, Settle, GatewayPresence})
"""Cells are answered, so that they go on serving what they were ordered to; nothing else is said
by a store that lacks what its swarm has seen acknowledged."""
_ANSWERED_WITHOUT_LEASE: Final = frozenset({Heartbeat})
"""By heartbeats a coordinator learns where the cells are that would confirm its lease."""
_POSITIONED: Final = (Committed, Deleted, Lease)
_NOT_RELIED_ON: Final = frozenset({LifecycleNote, NotificationsEnd, ShardsReport, WriteAbandon})
"""Changes of a tenant's that spare work where they are known; no caller is promised anything."""


def guarded(
    handlers: ByRequest,
    metrics: CoordinatorMetrics,
    watched: WatchedStore,
    store: NumberedStore,
    past: StoreHistory,
    epoch: OrderEpoch,
    check_lease: Callable[[], None],
    queue: FairQueue,
) -> ByRequest:
    """Return handlers that are counted, and that answer only what the state of the store allows;
    requests of tenants in their turn.

    Args:
        check_lease: raises Unavailable where another coordinator may have taken over.
        queue: shares the coordinator between tenants.
    """

    def whole(kind: type[Request], handler: Handler) -> Handler:
        known = _of_history(
            watched, store, past, kind, _of_epoch(store, past, epoch, kind, handler)
        )
        allowed = _leased(check_lease, kind, known)
        return _counted(metrics, kind, _in_turn(queue, kind, allowed))

    return {kind: whole(kind, handler) for kind, handler in handlers.items()}


def _leased(check_lease: Callable[[], None], kind: type[Request], handler: Handler) -> Handler:
    if kind in _ANSWERED_WITHOUT_LEASE:
        return handler

    async def handle(caller: Caller, request: Any, payload: memoryview) -> Answer:
        # What is read from now on was current when the request came: that is enough.
        check_lease()
        return await handler(caller, request, payload)

    return handle


def _in_turn(queue: FairQueue, kind: type[Request], handler: Handler) -> Handler:
    """Carry out requests of tenants within the shares of those that their connections are open for:
    a name that nobody proved has no share."""
    if not issubclass(kind, TenantRequest):
        return handler

    async def handle(caller: Caller, request: Any, payload: memoryview) -> Answer:
        tenant = caller.session.tenants.get(request.tenant_id)
        if tenant is None:
            return await handler(caller, request, payload)
        visit = queue.visit()
        try:
            await visit.enter(tenant)
            return await handler(caller, request, payload)
        finally:
            visit.leave()

    return handle


def _counted(metrics: CoordinatorMetrics, kind: type[Request], handler: Handler) -> Handler:
    async def handle(caller: Caller, request: Any, payload: memoryview) -> Answer:
        began = trio.current_time()
        outcome = "bug"
        try:
            answer = await handler(caller, request, payload)
            outcome = "done"
            return answer
        except AlvearyError as error:
            outcome = type(error).__name__
            raise
        except trio.Cancelled:
            outcome = "cancelled"
            raise
        finally:
            metrics.count(kind, outcome, trio.current_time() - began)

    return handle


def _of_epoch(
    store: NumberedStore,
    past: StoreHistory,
    epoch: OrderEpoch,
    kind: type[Request],
    handler: Handler,
) -> Handler:
    """Go beyond a later epoch that a cell has seen, unless the store is behind: then the later one
    counts. Name the epoch with what directs a cell."""
    if not issubclass(kind.reply, Directions):
        return handler

    async def handle(caller: Caller, request: Any, payload: memoryview) -> Answer:
        told = getattr(request, "order_epoch", b"")
        if told:
            epoch.hear(told)
        later = epoch.passed_by
        if later is not None and past.standing is not Standing.BEHIND:
            step = epoch.step()
            epoch.moved(await store.transact(lambda sql: order_epoch.go_beyond(sql, later, step)))
        answer = await handler(caller, request, payload)
        assert isinstance(answer, Directions)
        return replace(answer, order_epoch=epoch.mark())

    return handle


def _of_history(
    watched: WatchedStore,
    store: NumberedStore,
    past: StoreHistory,
    kind: type[Request],
    handler: Handler,
) -> Handler:
    """Take in the positions that a request brings; answer it unless the store is behind or damaged;
    return the store's position with the answer."""
    is_change = (
        issubclass(kind, TenantRequest)
        and kind.idempotency is not Idempotency.ASKS
        and kind not in _NOT_RELIED_ON
    )

    async def handle(caller: Caller, request: Any, payload: memoryview) -> Answer:
        watched.check_whole()
        seen = getattr(request, "seen", ())
        if seen:
            if past.lacks(seen):
                await store.refresh()
            news = past.hear(seen)
            if news:
                await store.transact(lambda sql: history.keep(sql, news))
        if past.standing is Standing.BEHIND and kind not in _ANSWERED_WHEN_BEHIND:
            raise Unavailable(Outage.STORE_BEHIND)
        answer = await handler(caller, request, payload)
        if is_change:
            past.has_acknowledged = True
        if isinstance(answer, _POSITIONED):
            return replace(answer, position=past.position())
        return answer

    return handle
