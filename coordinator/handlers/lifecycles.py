"""Handlers of requests about buckets with rules by which objects expire, or get another class.

Source: docs/placement.md, "Objects expire".
"""

from __future__ import annotations

from common.errors import Refused
from common.ports import Store
from common.reasons import Refusal
from common.rpc.caller import Answer
from common.wire.messages.base import Done
from common.wire.messages.lifecycle import (
    ClassesChange,
    ClassesChanged,
    LifecycleNote,
    LifecycleTake,
    LifecycleTurn,
)
from coordinator.handlers.given_work import GivenWork
from coordinator.handlers.tenant_store import TenantStore
from coordinator.session import ByRequest, Caller
from coordinator.store import lifecycles, reclassing
from coordinator.store.leases import LeaseBook


class LifecycleHandlers:
    """Gives gateways the buckets that they are to run over, and notes how far they come.

    Args:
        store: for what belongs to several tenants.
        lease_book: a bucket is left to a gateway while its lease lives.
    """

    def __init__(self, store: Store, tenant_store: TenantStore, lease_book: LeaseBook) -> None:
        self._store = store
        self._tenant_store = tenant_store
        self._given = GivenWork[int](lease_book)

    def by_request(self) -> ByRequest:
        """Return the handler of each request."""
        return {
            LifecycleTake: self.take,
            LifecycleNote: self.note,
            ClassesChange: self.change_classes,
        }

    async def take(self, caller: Caller, request: LifecycleTake, _: memoryview) -> Answer:
        """Give the caller a bucket that is due, and that nobody else is at.

        Time is the earlier one of two clocks: one that is ahead alone deletes nothing.
        """
        if request.day_ms < 1:
            raise Refused(Refusal.BAD_VALUE, day_ms=request.day_ms)
        tenants = frozenset(caller.session.tenants.values())
        now_ms = min(request.now_ms, self._tenant_store.now_ms())
        day_ms = request.day_ms
        if not request.lease:
            is_due = await self._store.read(
                lambda sql: lifecycles.has_due(sql, tenants, now_ms, day_ms)
            )
            return LifecycleTurn(is_due)
        async with self._given.choosing:
            taken = self._given.taken_by_others(request.lease, caller.peer_id)
            task = await self._store.transact(
                lambda sql: lifecycles.take(sql, tenants, now_ms, day_ms, request.after, taken)
            )
            self._given.give(request.lease, () if task is None else (task.number,))
        return LifecycleTurn(task is not None, task)

    async def note(self, caller: Caller, request: LifecycleNote, _: memoryview) -> Answer:
        """Note how far a run has come."""
        await self._tenant_store.transact(
            caller,
            request,
            lambda sql, tenant, asked, _now_ms: lifecycles.note(sql, tenant, asked),
            grows=None,
        )
        return Done()

    async def change_classes(self, caller: Caller, request: ClassesChange, _: memoryview) -> Answer:
        """Give versions other classes, each if it is as it was judged."""
        results = await self._tenant_store.transact(caller, request, reclassing.change, grows=None)
        return ClassesChanged(tuple(results))
