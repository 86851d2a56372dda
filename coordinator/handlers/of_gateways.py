"""All handlers of gateways' requests over one store.

Source: docs/protocol.md, "Messages".
"""

from __future__ import annotations

from common.ports import Chance, Entropy, Store, WallClock
from coordinator.handlers.buckets import BucketHandlers
from coordinator.handlers.lifecycles import LifecycleHandlers
from coordinator.handlers.misplaced import MisplacedHandlers
from coordinator.handlers.multipart import MultipartHandlers
from coordinator.handlers.notifications import NotificationHandlers
from coordinator.handlers.objects import ObjectHandlers
from coordinator.handlers.places import Places
from coordinator.handlers.requests import merged
from coordinator.handlers.tenant_store import TenantStore
from coordinator.handlers.writing import WritingHandlers
from coordinator.hints import Queues
from coordinator.membership import Membership
from coordinator.orders import CellOrders
from coordinator.placement import Placement
from coordinator.readers import Readers
from coordinator.session import ByRequest
from coordinator.store.leases import LeaseBook
from coordinator.store.order_time import OrderTime


def gateway_handlers(
    store: Store,
    membership: Membership,
    placement: Placement,
    orders: CellOrders,
    order_time: OrderTime,
    lease_book: LeaseBook,
    readers: Readers,
    queues: Queues,
    clock: WallClock,
    chance: Chance,
    entropy: Entropy,
    *,
    lease_ttl_s: int,
    reading_every_s: int,
    max_buckets_per_tenant: int,
    max_uploads_per_tenant: int,
) -> ByRequest:
    """Return the handler of each request that gateways make of a coordinator about tenants' data.

    Args:
        readers: learn which versions gateways read.
        reading_every_s: how often a gateway is to report them; 0: not at all.
    """
    tenant_store = TenantStore(store, queues, clock)
    places = Places(membership, orders, order_time)
    writing = WritingHandlers(
        store,
        tenant_store,
        places,
        placement,
        orders,
        lease_book,
        readers,
        chance,
        entropy,
        lease_ttl_s=lease_ttl_s,
        reading_every_s=reading_every_s,
    )
    buckets = BucketHandlers(tenant_store, max_buckets_per_tenant=max_buckets_per_tenant)
    multipart = MultipartHandlers(tenant_store, max_uploads_per_tenant=max_uploads_per_tenant)
    return merged(
        writing.by_request(),
        ObjectHandlers(tenant_store, places).by_request(),
        buckets.by_request(),
        multipart.by_request(),
        MisplacedHandlers(store, placement, tenant_store, lease_book).by_request(),
        LifecycleHandlers(store, tenant_store, lease_book).by_request(),
        NotificationHandlers(store, tenant_store, lease_book).by_request(),
    )
