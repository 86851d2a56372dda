"""Order epochs: each life of a coordinator has a later one, and an older store goes beyond what
cells have seen."""

import pytest
from coordinator_rig import running

from common.crypto import epochs
from common.crypto.orders import OrderAction, opened
from common.errors import Unavailable
from common.wire import messages as m
from coordinator.store import order_epoch
from coordinator.store.order_epoch import OrderEpoch
from sim.stores import Database, SimStore
from sim.world import SimWorld

SECRET = b"s" * 32


async def epoch_of(rig):
    return epochs.read((await rig.cells[0].beat()).order_epoch)


def key_of(rig):
    secret = bytes(rig.node.platter.inodes["swarm.secret"].content)
    return epochs.epoch_key(bytes.fromhex(secret.decode().strip()))


async def order_of(rig, gateway):
    """The epoch that an order for the first cell names."""
    cell = rig.cells[0]
    beat = await cell.beat()
    grant = await gateway.grant()
    at = [each.cell_id for each in grant.endpoints].index(cell.identity.peer_id)
    order = grant.grants[0].orders[grant.grants[0].cells.index(at)]
    known = opened(beat.order_key, order, caller=gateway.identity.peer_id)
    assert known.action is OrderAction.PUT
    return known.epoch


@pytest.mark.fault("M1", "F4")
async def test_every_start_of_a_coordinator_has_a_later_epoch_and_its_orders_name_it(
    autojump_clock,
):
    async with running() as rig:
        gateway = await rig.add_gateway()
        seen = [await epoch_of(rig)]
        assert await order_of(rig, gateway) == seen[0] > 0
        for _ in range(3):
            await rig.restart()
            await gateway.connect()
            await gateway.open()
            gateway.lease = 0
            seen.append(await epoch_of(rig))
            assert await order_of(rig, gateway) == seen[-1]
        assert seen == sorted(set(seen))


async def test_everything_that_directs_a_cell_names_the_epoch(autojump_clock):
    async with running() as rig:
        cell = rig.cells[0]
        mark = (await cell.beat()).order_epoch
        for request in (
            m.Settle(()),
            m.MissingGet(1),
            m.ExpectedGet(0, bytes(16)),
            m.AuditGet(),
        ):
            assert (await cell.call(request)).order_epoch == mark, request


@pytest.mark.fault("M1", "F4")
async def test_an_older_store_goes_beyond_what_cells_have_seen(autojump_clock):
    async with running() as rig:
        older = rig.copy()
        for _ in range(3):
            await rig.restart()
        cell = rig.cells[0]
        seen = (await cell.beat()).order_epoch
        await rig.restart_with(older)
        before = await epoch_of(rig)
        cell.order_epoch = seen
        gone_beyond = await epoch_of(rig)
        assert gone_beyond > epochs.read(seen)
        assert gone_beyond > before
        assert await epoch_of(rig) == gone_beyond  # once is enough
        cell.order_epoch = b""
        await rig.restart()
        assert await epoch_of(rig) > gone_beyond  # it is durable


@pytest.mark.fault("M1", "F4")
async def test_two_copies_of_a_store_do_not_have_one_epoch(autojump_clock):
    async with running() as rig:
        older = rig.copy()
        await rig.restart()
        first = await epoch_of(rig)
        await rig.restart_with(older)
        assert await epoch_of(rig) != first


@pytest.mark.fault("M1", "F4")
async def test_a_store_that_is_behind_goes_beyond_nothing_until_it_counts(autojump_clock):
    async with running() as rig:
        gateway = await rig.add_gateway()
        await gateway.make_bucket()
        older = rig.copy()
        _, committed = await gateway.put(b"name")
        await rig.restart()
        cell = rig.cells[0]
        seen = await cell.beat()
        await rig.restart_with(older)
        own = rig.one("SELECT value FROM counters WHERE name = 'order_epoch'")
        newer = epochs.issue(key_of(rig), max(own, epochs.read(seen.order_epoch)) + 1)
        cell.seen, cell.order_epoch = (committed.position,), newer
        assert await epoch_of(rig) == own
        assert (await rig.operate("POST", "/v1/store/accept"))["standing"] == "current"
        assert await epoch_of(rig) > epochs.read(newer)


@pytest.mark.fault("H3")
async def test_a_mark_that_no_coordinator_issued_changes_nothing(autojump_clock):
    async with running() as rig:
        own = await epoch_of(rig)
        cell = rig.cells[0]
        cell.order_epoch = epochs.issue(bytes(32), (1 << 63) - 1)
        assert await epoch_of(rig) == own
        assert rig.one("SELECT value FROM counters WHERE name = 'order_epoch'") == own


async def test_a_store_that_cannot_be_written_directs_nobody_with_a_passed_epoch(autojump_clock):
    async with running() as rig:
        cell = rig.cells[0]
        cell.beating = False
        own = await epoch_of(rig)
        cell.order_epoch = epochs.issue(key_of(rig), own + 1)
        rig.node.platter.faults.refuses = "no_space"
        with pytest.raises(Unavailable):
            await cell.beat()
        rig.node.platter.faults.refuses = ""
        assert await epoch_of(rig) > own + 1


# --- the counter --------------------------------------------------------------------------------


async def made(is_shared=False):
    node = SimWorld(1).node("coordinator")
    database = Database(node.platter.chance, durable=True)
    store = SimStore(node, node.platter, database, None)

    def table(sql):
        sql.execute("CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL)")
        sql.execute("INSERT INTO counters VALUES ('order_epoch', 0)")

    await store.transact(table)
    epoch = OrderEpoch(0, SECRET, node.world.entropy, node.world.log, is_shared=is_shared)
    return store, epoch


async def test_a_beginning_that_is_made_twice_counts_once_or_twice_but_never_back(autojump_clock):
    store, _ = await made()
    first = await store.transact(lambda sql: order_epoch.begin(sql, 3, is_shared=False))
    second = await store.transact(lambda sql: order_epoch.begin(sql, 3, is_shared=False))
    assert (first, second) == (3, 6)


async def test_processes_on_one_shared_store_have_one_epoch(autojump_clock):
    store, _ = await made()
    first = await store.transact(lambda sql: order_epoch.begin(sql, 3, is_shared=True))
    second = await store.transact(lambda sql: order_epoch.begin(sql, 5, is_shared=True))
    assert first == second == 3
    # What one of them was told, both go beyond, once.
    assert await store.transact(lambda sql: order_epoch.go_beyond(sql, 10, 4)) == 14
    assert await store.transact(lambda sql: order_epoch.go_beyond(sql, 10, 9)) == 14


async def test_the_epoch_of_a_process_on_the_same_store_is_taken_and_not_passed(autojump_clock):
    """Else each would go beyond the other, and cells would obey neither for long."""
    store, mine = await made(is_shared=True)
    _, other = await made(is_shared=True)
    for each in (mine, other):
        each.moved(await store.transact(lambda sql: order_epoch.begin(sql, 3, is_shared=True)))
    key = epochs.epoch_key(SECRET)
    mine.hear(epochs.issue(key, 10))
    passed = mine.passed_by
    mine.moved(await store.transact(lambda sql: order_epoch.go_beyond(sql, passed, 4)))
    other.hear(mine.mark())
    told = other.passed_by
    assert told == 14
    other.moved(await store.transact(lambda sql: order_epoch.go_beyond(sql, told, 5)))
    assert other.mark() == mine.mark()
    mine.hear(other.mark())
    assert mine.passed_by is None


async def test_a_coordinator_knows_only_genuine_and_later_epochs_as_passing_its_own(
    autojump_clock,
):
    _, epoch = await made()
    key = epochs.epoch_key(SECRET)
    assert epoch.mark() == b""
    epoch.moved(5)
    assert epochs.read(epoch.mark()) == 5
    epoch.moved(4)
    assert epoch.epoch == 5
    for mark in (b"", epochs.issue(key, 5), epochs.issue(b"x" * 32, 9)):
        epoch.hear(mark)
        assert epoch.passed_by is None
    epoch.hear(epochs.issue(key, 9))
    epoch.hear(epochs.issue(key, 7))
    assert epoch.passed_by == 9
    epoch.moved(10)
    assert epoch.passed_by is None


async def test_steps_are_drawn_and_never_nothing(autojump_clock):
    epoch = OrderEpoch(1, SECRET, bytes, SimWorld(1).node("c").world.log, is_shared=False)
    assert epoch.step() == 1
    epoch = OrderEpoch(
        1, SECRET, lambda count: b"\xff" * count, SimWorld(1).node("c").world.log, is_shared=False
    )
    assert epoch.step() == 1 << 24
