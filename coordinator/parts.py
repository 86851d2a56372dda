"""The parts of a coordinator over one store, taken up before it takes calls.

Source: docs/architecture.md, "Where things are".
"""

from __future__ import annotations

import trio

from common.crypto.positions import RUN_ID_BYTES
from common.data_classes import dataclass
from common.errors import Unavailable
from common.ports import Sql, World
from coordinator.config import CoordinatorConfig
from coordinator.hints import Queues
from coordinator.membership import Membership
from coordinator.orders import CellOrders
from coordinator.placement import Placement
from coordinator.readers import Readers
from coordinator.secrets import Keys, check_store_is_there, note_store_begun
from coordinator.store import (
    cells,
    classes,
    coordinators,
    leases,
    order_epoch,
    order_time,
    rings,
)
from coordinator.store.charters import take_stored
from coordinator.store.history import Kept, NumberedStore, StoreHistory
from coordinator.store.leadership import Leadership
from coordinator.store.leases import LeaseBook
from coordinator.store.order_epoch import OrderEpoch
from coordinator.store.order_time import OrderTime
from coordinator.store.schema import migrate
from coordinator.store_health import WatchedStore


@dataclass(frozen=True, slots=True)
class CoordinatorParts:
    """The parts of a coordinator, for what is composed of them: handlers, rounds, operations.

    ``watched``: the store; ``store``: the same, each transaction numbered in the history.
    """

    keys: Keys
    watched: WatchedStore
    store: NumberedStore
    history: StoreHistory
    leadership: Leadership
    membership: Membership
    placement: Placement
    orders: CellOrders
    order_time: OrderTime
    order_epoch: OrderEpoch
    lease_book: LeaseBook
    readers: Readers
    queues: Queues


async def load_parts(
    world: World, config: CoordinatorConfig, keys: Keys, watched: WatchedStore
) -> CoordinatorParts:
    """Take up what the store holds, and begin a run on it.

    Raises:
        BadConfig: ``store_too_new``, ``store_unreleased``, ``store_missing``.
        Corrupt: ``store_corrupt``.
        Unavailable: the store can be neither written nor read.
    """
    # A store of this version is not written by that: one that can only be read is served, too.
    await watched.transact(migrate)
    await watched.probe()
    await watched.look()
    now = trio.current_time()

    def load(sql: Sql) -> tuple[list[cells.Cell], list[rings.Ring], list[leases.LivingLease]]:
        return cells.load(sql, now), rings.load(sql), leases.alive(sql)

    await take_stored(watched, keys.charters, world.log)
    kept = await watched.read(Kept)
    await check_store_is_there(world.disk, is_empty=not kept.runs)
    known_cells, known_rings, living = await watched.read(load)
    membership = Membership(
        known_cells,
        known_rings,
        config.heartbeat_interval_s,
        config.cell_timeout_s,
        config.lost_after_s,
    )
    made = await watched.read(classes.load)
    placement = Placement(membership, config.redundancy_class(), made)
    placement.refresh(now)
    wall_s = world.clock.now()
    started_s = await watched.read(lambda sql: order_time.start(sql, wall_s))
    past = StoreHistory(
        kept,
        world.entropy(RUN_ID_BYTES),
        keys.swarm_secret,
        world.log,
        settled_at=now + max(membership.timeout_s, config.write_lease_ttl_s),
        inherited_until=now + config.inherited_lease_grace_s,
        is_shared=world.stores.is_shared,
    )
    epoch = OrderEpoch(
        await watched.read(order_epoch.load),
        keys.swarm_secret,
        world.entropy,
        world.log,
        is_shared=world.stores.is_shared,
    )
    store = NumberedStore(watched, past, world.clock, epoch)
    if not watched.read_only_reason:
        await store.begin_run()
        if world.stores.is_shared:
            place = config.place
            await store.transact(
                lambda sql: coordinators.begin(sql, past.run_id, keys.swarm_id, place)
            )
        await store.transact(lambda sql: order_time.keep(sql, started_s))
        await _note_store_begun(world)
    book = LeaseBook(config.write_lease_ttl_s)
    book.load(living, now)
    return CoordinatorParts(
        keys=keys,
        watched=watched,
        store=store,
        history=past,
        leadership=Leadership(store, past.run_id, world.log, is_shared=world.stores.is_shared),
        membership=membership,
        placement=placement,
        orders=CellOrders(membership, keys.swarm_secret, epoch),
        order_time=OrderTime(started_s, trio.current_time()),
        order_epoch=epoch,
        lease_book=book,
        readers=Readers(book, store if world.stores.is_shared else None),
        queues=Queues(),
    )


async def _note_store_begun(world: World) -> None:
    """Remember that there is a store. Where that cannot be written, it is tried at the next start:
    the cells know, too."""
    try:
        await note_store_begun(world.disk)
    except Unavailable as error:
        world.log.error("store_mark_not_written", error=str(error))
