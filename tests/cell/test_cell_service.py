"""A whole cell on a simulated node: orders, uploads, heartbeats, settling, joining."""

import httpx
import pytest
import trio
from cell_rig import root_of, shard_data, shard_key

from cell.config import CellConfig
from cell.service import serve
from cell.storage.held import GROWN_AFTER_S
from common.crypto.identity import KeyPair
from common.crypto.orders import Order, OrderAction, cell_order_key, issue
from common.crypto.positions import Position
from common.crypto.positions import issue as issue_position
from common.errors import (
    AlvearyError,
    BadConfig,
    Corrupt,
    NotFound,
    OutcomeUnknown,
    Refused,
    Unavailable,
)
from common.format.token import JoinToken, TokenAddress, encode_token
from common.limits import CELL_BUFFER_BUDGET_BYTES, CELL_LEAST_FREE_BYTES
from common.ports import Address
from common.rpc.peers import PeerPool
from common.rpc.server import PeerServer
from common.wire.messages.base import Done, ShardName
from common.wire.messages.cell import (
    CellFactsGet,
    ShardAbort,
    ShardAppend,
    ShardFinish,
    ShardOpen,
    ShardPut,
    ShardRead,
)
from common.wire.messages.membership import (
    COMMITTED,
    GARBAGE,
    PENDING,
    CellJoin,
    CellJoined,
    Heartbeat,
    HeartbeatReply,
    Settle,
    SettleReply,
    ShardsLost,
)
from sim.http import SimTransport
from sim.stores import SimStore
from sim.world import SimWorld

SECRET = b"swarm secret that nobody else has"


def count_transactions(monkeypatch):
    """A list that grows with every transaction, also of those that only read, of any store."""
    asked = []

    def count(name):
        plain = getattr(SimStore, name)

        async def counted(store, work):
            asked.append(name)
            return await plain(store, work)

        monkeypatch.setattr(SimStore, name, counted)

    count("read")
    count("transact")
    return asked


class Rig:
    """A coordinator, a cell and a caller, each on its node."""

    def __init__(self, **config):
        self.swarm = SimWorld(1)
        self.coordinator = self.swarm.node("coordinator")
        self.cell = self.swarm.node("cell")
        self.client = self.swarm.node("client")
        self.identity = KeyPair.generate(self.coordinator.world.entropy)
        self.caller = KeyPair.generate(self.client.world.entropy)
        self.config = config
        self.doomed = []
        self.deleted = []
        self.verdicts = {}
        self.settled = []
        self.lost = []
        self.joins = []
        self.facts = None
        self.order_key = None
        self.is_silent = False
        self.seen = ()
        self.history = {}

    def cell_config(self, **changes):
        token = JoinToken(
            1, "cell", "sim", (TokenAddress("coordinator", 7000),), self.identity.peer_id, b"s" * 16
        )
        given = {
            "data": ".",
            "listen": "cell:7000",
            "http": "cell:7001",
            "token": encode_token(token),
            "site": "attic",
            "owner": "ann",
            "reserve_bytes": 0,
            "volume_bytes": 1 << 20,
        }
        return CellConfig.parse({**given, **self.config, **changes})

    async def run(self, *, task_status):
        world = self.coordinator.world
        server = PeerServer(
            self.identity,
            {
                CellJoin: self._join,
                Heartbeat: self._heartbeat,
                Settle: self._settle,
                ShardsLost: self._lost,
            },
            entropy=world.entropy,
            log=world.log,
            buffer_budget_bytes=CELL_BUFFER_BUDGET_BYTES,
            new_session=lambda: None,
        )
        listener = await world.network.listen(Address("coordinator", 7000), identity=self.identity)
        client = self.client.world
        self.pool = PeerPool(
            client.network,
            self.caller,
            connections_per_peer=1,
            chance=client.chance,
            log=client.log,
        )
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.serve, listener)
            await nursery.start(self.pool.run)
            self.nursery = nursery
            task_status.started()
            await trio.sleep_forever()

    async def start_cell(self, **changes):
        self.serving = await self.nursery.start(serve, self.cell.world, self.cell_config(**changes))
        self.cell_id = self.serving.peer_id

    async def _join(self, caller, request, payload):
        self.joins.append((caller.peer_id, request))
        return CellJoined("sim", b"i" * 16)

    async def _heartbeat(self, caller, request, payload):
        if self.is_silent:
            raise Unavailable.received("overloaded")
        self.facts = request.facts
        self.heard_at = trio.current_time()
        self.deleted += [(each.segment_id, each.slot) for each in request.deleted]
        self.doomed = [key for key in self.doomed if key not in self.deleted]
        self.order_key = cell_order_key(SECRET, caller.peer_id)
        self.seen = request.seen
        deletes = tuple(ShardName(*key) for key in self.doomed)
        clock_ms = int(self.coordinator.world.clock.now() * 1000)
        return HeartbeatReply(
            self.order_key, 5, deletes, self.order_time(), clock_ms, **self.history
        )

    def order_time(self):
        return 1_000_000 + int(trio.current_time())

    async def _settle(self, caller, request, payload):
        keys = [(each.segment_id, each.slot) for each in request.shards]
        self.settled += keys
        verdicts = bytes(self.verdicts.get(key, PENDING) for key in keys)
        return SettleReply(verdicts, self.history.get("run_id", b""))

    async def _lost(self, caller, request, payload):
        self.lost += [(each.segment_id, each.slot) for each in request.shards]
        return Done()

    def order(self, action, key, size=0, *, caller=None, age_s=0, cell_id=None, epoch=0):
        expires = self.order_time() + 900 - age_s
        order = Order(action, key[0], key[1], caller or self.caller.peer_id, size, expires, epoch)
        return issue(cell_order_key(SECRET, cell_id or self.cell_id), order)

    async def call(self, request, payload=()):
        return await self.pool.call(Address("cell", 7000), self.cell_id, request, payload)

    async def put(self, key, data, *, order=None, root=None):
        order = order or self.order(OrderAction.PUT, key, len(data))
        await self.call(ShardPut(order, len(data), root or root_of(data, len(data))), [data])

    async def read(self, key, *, order=None):
        order = order or self.order(OrderAction.GET, key)
        _, data = await self.call(ShardRead(order, 0, 1, want_leaves=False))
        return bytes(data)


@pytest.fixture
async def rig(autojump_clock, nursery):
    made = Rig()
    await nursery.start(made.run)
    await made.start_cell()
    await trio.sleep(1)
    return made


async def test_a_cell_joins_once_and_tells_of_itself(rig, autojump_clock):
    ((peer, request),) = rig.joins
    assert peer == rig.cell_id
    assert (request.token, request.site, request.owner) == (b"s" * 16, "attic", "ann")
    await rig.put(shard_key(1), b"data")
    await trio.sleep(6)
    assert rig.facts.shards == 1
    assert rig.facts.used_bytes > 0
    facts, _ = await rig.call(CellFactsGet())
    assert facts.shards == 1


async def test_a_cell_that_joined_needs_no_token(rig, autojump_clock):
    await rig.put(shard_key(1), b"data")
    rig.cell.crash(power=True)
    identity = rig.identity.peer_id.hex()
    await rig.start_cell(
        token=None, coordinator="coordinator:7000", coordinator_id=identity, listen="cell:7000"
    )
    await trio.sleep(1)
    assert len(rig.joins) == 1
    assert await rig.read(shard_key(1)) == b"data"


async def test_a_first_start_needs_a_token(autojump_clock):
    rig = Rig(token=None, coordinator="coordinator:7000", coordinator_id="ab" * 32)
    with pytest.raises(BaseExceptionGroup) as raised:
        await serve(rig.cell.world, rig.cell_config())
    assert raised.group_contains(BadConfig, match="not_joined")


async def test_before_the_first_heartbeat_nothing_is_served(autojump_clock, nursery):
    rig = Rig()
    rig.is_silent = True
    await nursery.start(rig.run)
    await rig.start_cell()
    await trio.sleep(1)
    with pytest.raises(Unavailable, match="not_ready"):
        await rig.put(shard_key(1), b"data")
    rig.is_silent = False
    await trio.sleep(6)
    await rig.put(shard_key(1), b"data")


async def test_a_put_needs_its_own_order(rig, autojump_clock):
    key, data = shard_key(1), b"data"
    bad = [
        (rig.order(OrderAction.PUT, key, 4, cell_id=rig.identity.peer_id), "order_invalid"),
        (rig.order(OrderAction.PUT, key, 4, caller=rig.identity.peer_id), "order_not_yours"),
        (rig.order(OrderAction.GET, key), "order_wrong_action"),
        (rig.order(OrderAction.PUT, key, 4, age_s=3000), "order_expired"),
        (rig.order(OrderAction.PUT, key, 3), "order_exceeded"),
        (b"", "order_invalid"),
        (bytes(128), "order_invalid"),
    ]
    for order, reason in bad:
        with pytest.raises(Refused, match=reason):
            await rig.call(ShardPut(order, 4, root_of(data, 4)), [data])
        with pytest.raises(Refused, match=reason):
            await rig.call(ShardOpen(order, 1, 4, 4))
    with pytest.raises(Refused, match="order_wrong_action"):
        await rig.read(key, order=rig.order(OrderAction.PUT, key, 4))
    with pytest.raises(NotFound):
        await rig.read(key)


@pytest.mark.fault("H3")
async def test_a_cell_receives_large_frames_from_holders_of_its_orders_only(rig, autojump_clock):
    data = shard_data(1, 200_000)
    for order in (
        rig.order(OrderAction.PUT, shard_key(1), len(data), cell_id=rig.identity.peer_id),
        rig.order(OrderAction.PUT, shard_key(1), len(data), caller=rig.identity.peer_id),
        bytes(100),
    ):
        with pytest.raises((Unavailable, OutcomeUnknown), match="connection_lost"):
            await rig.put(shard_key(1), data, order=order)
    with pytest.raises(Refused, match="order_expired"):  # once given, so worth an answer
        await rig.put(
            shard_key(1),
            data,
            order=rig.order(OrderAction.PUT, shard_key(1), len(data), age_s=3000),
        )
    await rig.put(shard_key(1), data)
    assert await rig.read(shard_key(1)) == data


@pytest.mark.fault("F9")
@pytest.mark.parametrize("step_s", [-3600, 3600, -86400 * 365])
async def test_orders_are_good_whatever_the_cells_clock_says(rig, autojump_clock, step_s):
    before = rig.order(OrderAction.PUT, shard_key(1), 4)
    rig.cell.clock_offset_s += step_s
    await rig.put(shard_key(1), b"data", order=before)
    await trio.sleep(6)
    await rig.put(shard_key(2), b"data")
    logged = [e for e in rig.swarm.trace.events if e.event == "warning: clock_off"]
    assert len(logged) == 1


@pytest.mark.fault("F9")
async def test_an_order_expires_by_the_cells_own_reckoning_when_no_coordinator_answers(
    rig, autojump_clock
):
    order = rig.order(OrderAction.PUT, shard_key(1), 4)
    rig.is_silent = True
    await trio.sleep(800)
    rig.cell.clock_offset_s -= 3600
    await rig.put(shard_key(1), b"data", order=order)
    await trio.sleep(200)
    with pytest.raises(Refused, match="order_expired"):
        await rig.put(shard_key(1), b"data", order=order)


@pytest.mark.fault("F12")
@pytest.mark.parametrize("more_s", [step / 4 for step in range(24)])
async def test_a_cell_is_heard_within_five_seconds_of_healing(rig, autojump_clock, more_s):
    rig.swarm.internet.block("cell", "coordinator")
    rig.swarm.internet.block("coordinator", "cell")
    await trio.sleep(40 + more_s)
    rig.swarm.internet.heal()
    healed = trio.current_time()
    await trio.sleep(5)
    assert rig.heard_at >= healed


@pytest.mark.fault("L")
async def test_a_caller_cannot_reserve_a_cell_with_uploads_that_it_does_not_fill(
    rig, autojump_clock
):
    connection = await rig.pool.connection(Address("cell", 7000), rig.cell_id)
    size = 16 << 20

    async def open_upload(number):
        order = rig.order(OrderAction.PUT, shard_key(number), size)
        await connection.call(ShardOpen(order, number, 1 << 20, size))

    opened = 0
    refused = None
    while refused is None:
        try:
            await open_upload(opened + 1)
            opened += 1
        except Unavailable as error:
            refused = error
    assert refused.reason == "too_much_reserved"
    await trio.sleep(6)
    assert opened * size <= rig.facts.free_bytes + opened * size // 2 + size
    assert rig.facts.free_bytes >= opened * size - size
    await rig.put(shard_key(999), b"data")
    await connection.call(ShardAbort(1))
    await open_upload(opened + 1)


async def test_a_lie_about_the_root_is_told_and_nothing_kept(rig, autojump_clock):
    with pytest.raises(Corrupt, match="root_mismatch"):
        await rig.put(shard_key(1), b"data", root=bytes(32))
    with pytest.raises(NotFound, match="no_such_shard"):
        await rig.read(shard_key(1))


async def test_an_upload_in_many_units_with_calls_in_flight(rig, autojump_clock):
    data = shard_data(1, 100_000)
    connection = await rig.pool.connection(Address("cell", 7000), rig.cell_id)
    await connection.call(
        ShardOpen(rig.order(OrderAction.PUT, shard_key(1), len(data)), 7, 10_000, len(data))
    )
    async with trio.open_nursery() as nursery:
        for unit in range(10):
            part = data[unit * 10_000 : unit * 10_000 + 10_000]
            nursery.start_soon(connection.call, ShardAppend(7, unit), [part])
            await trio.testing.wait_all_tasks_blocked()
    await connection.call(ShardFinish(7, root_of(data, 10_000)))
    reply, units = await rig.call(
        ShardRead(rig.order(OrderAction.GET, shard_key(1)), 3, 4, want_leaves=True)
    )
    assert bytes(units) == data[30_000:70_000]
    assert len(reply.leaves) == 320
    with pytest.raises(NotFound, match="no_such_upload"):
        await connection.call(ShardAppend(7, 10), [b"x"])


async def test_hostile_uploads_are_refused_and_leave_nothing(rig, autojump_clock):
    order = rig.order(OrderAction.PUT, shard_key(1), 3000)
    connection = await rig.pool.connection(Address("cell", 7000), rig.cell_id)
    used = rig.serving.store.volumes.used_bytes

    async def refused(reason, request, payload=()):
        with pytest.raises(AlvearyError, match=reason):
            await connection.call(request, payload)

    await connection.call(ShardOpen(order, 1, 1000, 3000))
    await refused("upload_number_taken", ShardOpen(order, 1, 1000, 3000))
    await refused("unit_out_of_order", ShardAppend(1, 2), [bytes(1000)])
    await refused("no_such_upload", ShardAppend(1, 0), [bytes(1000)])
    await connection.call(ShardOpen(order, 1, 1000, 3000))
    await refused("bad_unit_length", ShardAppend(1, 0), [bytes(1001)])
    await connection.call(ShardOpen(order, 2, 1000, 3000))
    await connection.call(ShardAppend(2, 0), [bytes(1000)])
    await refused("upload_incomplete", ShardFinish(2, bytes(32)))
    await refused("order_exceeded", ShardOpen(order, 3, 1000, 3001))
    await refused("bad_shape", ShardOpen(order, 3, 1, 3000))
    await refused("bad_shape", ShardOpen(order, 3, 0, 3000))
    await connection.call(ShardOpen(order, 3, 1000, 3000))
    await connection.call(ShardAbort(3))
    await connection.call(ShardAbort(3))
    await trio.sleep(1)
    assert rig.serving.store.volumes.used_bytes <= used + 8192
    with pytest.raises(NotFound):
        await rig.read(shard_key(1))


async def test_an_upload_dies_with_its_connection(rig, autojump_clock):
    order = rig.order(OrderAction.PUT, shard_key(1), 30_000)
    connection = await rig.pool.connection(Address("cell", 7000), rig.cell_id)
    await connection.call(ShardOpen(order, 1, 10_000, 30_000))
    await connection.call(ShardAppend(1, 0), [bytes(10_000)])
    before = rig.serving.store.volumes.used_bytes
    await connection.close()
    await trio.sleep(2)
    assert rig.serving.store.volumes.used_bytes < before


async def test_a_forgotten_upload_is_dropped(rig, autojump_clock):
    order = rig.order(OrderAction.PUT, shard_key(1), 30_000)
    connection = await rig.pool.connection(Address("cell", 7000), rig.cell_id)
    await connection.call(ShardOpen(order, 1, 10_000, 30_000))
    for _ in range(10):
        await trio.sleep(20)
        await connection.call(CellFactsGet())
    with pytest.raises(NotFound, match="no_such_upload"):
        await connection.call(ShardAppend(1, 0), [bytes(10_000)])


async def test_the_number_of_open_uploads_is_bounded(rig, autojump_clock):
    order = rig.order(OrderAction.PUT, shard_key(1), 1000)
    connection = await rig.pool.connection(Address("cell", 7000), rig.cell_id)
    for number in range(256):
        await connection.call(ShardOpen(order, number, 1000, 1000))
    with pytest.raises(Unavailable, match="too_many_uploads"):
        await connection.call(ShardOpen(order, 256, 1000, 1000))


async def test_deletes_come_and_are_confirmed_with_heartbeats(rig, autojump_clock):
    for number in range(5):
        await rig.put(shard_key(number), b"data")
    rig.doomed = [shard_key(1), shard_key(3), shard_key(77)]
    await trio.sleep(12)
    assert sorted(rig.deleted) == [shard_key(1), shard_key(3), shard_key(77)]
    with pytest.raises(NotFound):
        await rig.read(shard_key(1))
    assert await rig.read(shard_key(2)) == b"data"


async def test_unclaimed_shards_are_settled_when_they_are_old_enough(rig, autojump_clock):
    for number in range(3):
        await rig.put(shard_key(number), b"data")
    rig.verdicts = {shard_key(0): COMMITTED, shard_key(1): GARBAGE}
    await trio.sleep(50)
    assert rig.settled == []
    await trio.sleep(60)
    assert set(rig.settled) == {shard_key(0), shard_key(1), shard_key(2)}
    assert rig.settled.count(shard_key(0)) == 1
    assert rig.settled.count(shard_key(2)) > 1
    with pytest.raises(NotFound):
        await rig.read(shard_key(1))
    assert await rig.read(shard_key(0)) == b"data"
    assert await rig.read(shard_key(2)) == b"data"


async def test_shards_are_settled_although_the_clock_was_set_back_since(rig, autojump_clock):
    rig.cell.clock_offset_s = 86_400.0
    await rig.put(shard_key(1), b"data")
    rig.cell.clock_offset_s = 0.0
    rig.verdicts = {shard_key(1): GARBAGE}
    await trio.sleep(120)
    assert rig.settled == [shard_key(1)]
    with pytest.raises(NotFound):
        await rig.read(shard_key(1))


async def test_a_bad_shard_is_reported_as_lost(rig, autojump_clock):
    await rig.put(shard_key(1), b"data")
    entry = await rig.serving.store.index.find(shard_key(1))
    rig.cell.platter.rot(f"volumes/{entry.volume:08d}.vol", entry.data_offset)
    with pytest.raises(Corrupt, match="leaf_mismatch"):
        await rig.read(shard_key(1))
    await trio.sleep(15)
    assert rig.lost == [shard_key(1)]


async def test_an_idle_cell_leaves_its_index_alone(rig, autojump_clock, monkeypatch):
    await rig.put(shard_key(1), b"data")
    rig.verdicts = {shard_key(1): COMMITTED}
    await trio.sleep(120)
    assert rig.settled == [shard_key(1)]
    asked = count_transactions(monkeypatch)
    await trio.sleep(600)
    assert asked == []
    await rig.put(shard_key(2), b"more")
    await trio.sleep(120)
    assert rig.settled[1] == shard_key(2)


async def test_failed_reads_do_not_wear_the_cell_out(rig, autojump_clock):
    for _ in range(100):
        with pytest.raises(NotFound):
            await rig.read(shard_key(1))
    await rig.put(shard_key(1), b"data")
    assert await rig.read(shard_key(1)) == b"data"


def position(run, commit):
    return issue_position(bytes(32), Position(run, bytes([run]) * 16, 1, commit))


@pytest.mark.fault("M1", "F4")
async def test_a_cell_deletes_nothing_for_a_coordinator_that_lacks_what_the_cell_has_seen(
    rig, autojump_clock
):
    first, second = shard_key(1), shard_key(2)
    await rig.put(first, b"data")
    await rig.put(second, b"data")
    rig.history = {"position": position(1, 100), "run_id": b"1"}
    await trio.sleep(6)
    rig.doomed = [first]
    rig.verdicts = {second: GARBAGE}
    rig.history = {"position": position(2, 90), "ends": (89,), "run_id": b"2"}
    await trio.sleep(100)
    assert rig.seen[0] == position(1, 100)
    assert second in rig.settled
    assert await rig.read(first) == await rig.read(second) == b"data"
    rig.history = {"position": position(3, 101), "ends": (100, 99, 101), "run_id": b"3"}
    await trio.sleep(100)
    for key in (first, second):
        with pytest.raises(NotFound):
            await rig.read(key)


@pytest.mark.fault("M1", "F4")
async def test_a_cell_knows_after_a_power_cut_what_it_has_seen(rig, autojump_clock):
    rig.history = {"position": position(1, 100), "run_id": b"1"}
    await trio.sleep(6)
    rig.cell.crash(power=True)
    rig.is_silent = True
    await rig.start_cell()
    await trio.sleep(20)
    rig.is_silent = False
    await trio.sleep(6)
    assert rig.seen == (position(1, 100),)


@pytest.mark.fault("M1", "F4")
async def test_a_run_that_its_coordinator_withdraws_is_forgotten(rig, autojump_clock):
    rig.history = {"position": position(1, 100), "run_id": b"1"}
    await trio.sleep(6)
    rig.history = {"position": position(2, 90), "ends": (100,), "run_id": bytes([2]) * 16}
    await trio.sleep(6)
    assert len(rig.seen) == 1
    rig.history = {"withdrawn": True, "ends": (100, 0), "run_id": bytes([2]) * 16}
    await trio.sleep(12)
    assert rig.seen == (position(1, 100),)


@pytest.mark.fault("M1", "F4")
async def test_a_damaged_record_of_positions_is_reported_and_learned_again(rig, autojump_clock):
    rig.history = {"position": position(1, 100), "run_id": b"1"}
    await trio.sleep(6)
    content = rig.cell.platter.inodes["positions"].content
    content[5] ^= 1
    rig.cell.crash(power=False)
    await rig.start_cell()
    await trio.sleep(6)
    assert rig.seen in ((), (position(1, 100),))
    await trio.sleep(12)
    assert rig.seen == (position(1, 100),)


async def ask_cell(rig, path):
    network = rig.swarm.node("watcher").world.network
    async with httpx.AsyncClient(transport=SimTransport(network), timeout=60) as client:
        return await client.get(f"http://cell:7001{path}")


@pytest.mark.fault("F7", "F8")
async def test_a_cell_that_cannot_write_is_alive_and_not_ready(rig, autojump_clock):
    await trio.sleep(5)
    ready = await ask_cell(rig, "/readyz")
    assert (ready.status_code, ready.json()["writable"]) == (200, True)
    rig.cell.platter.faults.refuses = "write_error"
    for number in (1, 2):
        with pytest.raises(Unavailable):
            await rig.put(shard_key(number), shard_data(number, 1000))
    ready = await ask_cell(rig, "/readyz")
    assert (ready.status_code, ready.json()["reason"]) == (503, "write_error")
    assert (await ask_cell(rig, "/healthz")).status_code == 200
    assert "alveary_cell_read_only 1.0" in (await ask_cell(rig, "/metrics")).text
    await trio.sleep(10)
    assert (rig.facts.read_only, rig.facts.read_only_reason) == (True, "write_error")


@pytest.mark.fault("F7")
async def test_a_full_cell_is_not_ready(rig, autojump_clock):
    await trio.sleep(5)
    rig.cell.platter.capacity_bytes = rig.cell.platter.used_bytes() + CELL_LEAST_FREE_BYTES // 2
    ready = await ask_cell(rig, "/readyz")
    assert (ready.status_code, ready.json()["reason"]) == (503, "full")


@pytest.mark.fault("F10")
async def test_a_whole_cell_starts_and_serves_on_a_disk_that_cannot_be_written(
    autojump_clock, nursery
):
    rig = Rig()
    await nursery.start(rig.run)
    async with trio.open_nursery() as life:
        rig.nursery = life
        await rig.start_cell()
        await trio.sleep(5)
        await rig.put(shard_key(1), shard_data(1, 1000))
        await trio.sleep(60)
        life.cancel_scope.cancel()
    rig.cell.crash(power=False)
    rig.cell.platter.faults.refuses = "write_error"
    rig.nursery = nursery
    await rig.start_cell()
    await trio.sleep(5)
    assert await rig.read(shard_key(1)) == shard_data(1, 1000)
    assert rig.facts.read_only


@pytest.mark.fault("F2")
async def test_a_cell_that_lost_its_volumes_tells_the_coordinator(autojump_clock, nursery):
    rig = Rig()
    await nursery.start(rig.run)
    async with trio.open_nursery() as life:
        rig.nursery = life
        await rig.start_cell()
        await trio.sleep(5)
        for number in range(3):
            await rig.put(shard_key(number), shard_data(number, 1000))
        await trio.sleep(GROWN_AFTER_S + 6)
        assert rig.facts.lost_shards == 0
        life.cancel_scope.cancel()
    rig.cell.crash(power=False)
    for path in list(rig.cell.platter.inodes):
        if path.startswith("volumes/"):
            del rig.cell.platter.inodes[path]
    rig.cell.databases.clear()
    rig.nursery = nursery
    await rig.start_cell()
    await trio.sleep(5)
    assert rig.facts.lost_shards == 3
