"""Handlers of requests about data that is not in the storage class of its bucket.

Source: docs/placement.md, "Data follows its class".
"""

from __future__ import annotations

from common.ports import Sql, Store
from common.rpc.caller import Answer
from common.wire.messages.misplaced import MisplacedList, MisplacedPages, PageReplace
from coordinator.handlers.given_work import GivenWork
from coordinator.handlers.tenant_store import TenantStore
from coordinator.placement import Placement
from coordinator.session import ByRequest, Caller
from coordinator.store import misplaced, segments
from coordinator.store.leases import LeaseBook
from coordinator.store.misplaced import Found, PageKey


class MisplacedHandlers:
    """Gives gateways the pages that they are to write again, and takes the new ones.

    Args:
        store: for what belongs to several tenants.
        placement: knows which storage classes can be written.
        lease_book: what is given to a gateway is left to it while its lease lives.
    """

    def __init__(
        self, store: Store, placement: Placement, tenant_store: TenantStore, lease_book: LeaseBook
    ) -> None:
        self._store = store
        self._placement = placement
        self._tenant_store = tenant_store
        self._given = GivenWork[PageKey](lease_book)

    def by_request(self) -> ByRequest:
        """Return the handler of each request."""
        return {MisplacedList: self.list_pages, PageReplace: self.replace_page}

    async def list_pages(self, caller: Caller, request: MisplacedList, _: memoryview) -> Answer:
        """Find pages of the caller's tenants that nobody else is at."""
        tenants = frozenset(caller.session.tenants.values())
        after = request.after, request.after_number
        if not request.lease:
            may_be = await self._store.read(lambda sql: misplaced.has_any(sql, tenants))
            return MisplacedPages((), *after, may_be)
        waiting = {
            each.storage_class.name for each in self._placement.classes if not each.can_be_written
        }
        now_ms = self._tenant_store.now_ms()
        async with self._given.choosing:
            taken = self._given.taken_by_others(request.lease, caller.peer_id)

            def work(sql: Sql) -> Found:
                return misplaced.next_pages(sql, tenants, after, taken, waiting, now_ms=now_ms)

            found = await self._store.transact(work)
            self._given.give(request.lease, found.keys)
        return MisplacedPages(found.pages, *found.last, found.more)

    async def replace_page(self, caller: Caller, request: PageReplace, _: memoryview) -> Answer:
        """Replace a page of a version by one whose data lies elsewhere."""
        tenant = self._tenant_store.tenant(caller, request)
        size = sum(extent.length for extent in request.page.extents)
        content = segments.check_content((request.page,), request.segments, size)
        now_ms = self._tenant_store.now_ms()
        replaced = await self._tenant_store.grow(
            self._tenant_store.dropped,
            lambda sql: misplaced.replace_page(
                sql, tenant, caller.peer_id, request, content, now_ms
            ),
        )
        if not content.is_whole:
            self._tenant_store.missing.tell()
        if content.has_homes:
            self._tenant_store.homes.tell()
        return replaced
