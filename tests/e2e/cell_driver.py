"""One real cell process, with this process as its coordinator and its only caller."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from functools import partial

import trio

from common.crypto.digest import leaf, shard_root
from common.crypto.identity import KeyPair
from common.crypto.orders import Order, OrderAction, issue
from common.errors import AlvearyError, NotFound, OutcomeUnknown, Unavailable
from common.format.token import JoinToken, encode_token
from common.ids import PeerId
from common.limits import CELL_BUFFER_BUDGET_BYTES
from common.ports import Address
from common.rpc.peers import PeerPool
from common.rpc.server import PeerServer
from common.system.clock import SystemClock, system_chance, system_entropy
from common.system.log import LineLog
from common.system.network import RealNetwork
from common.wire.messages.base import Done, ShardName
from common.wire.messages.cell import ShardAppend, ShardFinish, ShardOpen, ShardPut, ShardRead
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

ORDER_KEY = b"K" * 32
LOCALHOST = "127.0.0.1"


class Book:
    """What the coordinator believes."""

    def __init__(self):
        self.must = {}
        """Acknowledged: key -> (data, unit_bytes)."""
        self.perhaps = {}
        """A put that was never answered."""
        self.doomed = {}
        """To be deleted, not confirmed yet: may be there or not."""
        self.gone = {}
        """Confirmed deletes."""
        self.lost = []
        """Acknowledged, and then said to be lost."""


class Zygote:
    """The process that forks cells."""

    def __init__(self):
        path = os.path.join(os.path.dirname(__file__), "cell_zygote.py")
        self._process = subprocess.Popen(
            [sys.executable, path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def _say(self, order):
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def start(self, config):
        pid = self._say(config)["pid"]
        return pid, json.loads(self._process.stdout.readline())

    def kill(self, pid):
        os.kill(pid, signal.SIGKILL)
        self._say({"reap": pid})

    def close(self):
        self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()


def start_process(config):
    """A cell started the way an operator does, imports and all."""
    code = (
        "import json, sys; from cell.config import CellConfig; from cell.main import run;"
        "sys.exit(run(CellConfig.parse(json.loads(sys.argv[1]))))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, json.dumps(config)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    return process, json.loads(process.stdout.readline())


class Driver:
    """The coordinator of one cell, and its caller."""

    def __init__(self, data, **config):
        self.book = Book()
        self.identity = KeyPair.generate(system_entropy)
        self.caller = KeyPair.generate(system_entropy)
        self.network = RealNetwork()
        self.log = LineLog("driver", write=lambda line: None)
        self.clock = SystemClock()
        self.pool = PeerPool(
            self.network,
            self.caller,
            connections_per_peer=2,
            chance=system_chance(),
            log=self.log,
        )
        self.config = {"data": str(data), "listen": f"{LOCALHOST}:0", **config}
        self.address = None
        self.cell_id = None
        self.heartbeats = 0

    async def run(self, *, task_status):
        server = PeerServer(
            self.identity,
            {
                CellJoin: self._join,
                Heartbeat: self._heartbeat,
                Settle: self._settle,
                ShardsLost: self._lost,
            },
            entropy=system_entropy,
            log=self.log,
            buffer_budget_bytes=CELL_BUFFER_BUDGET_BYTES,
            new_session=lambda: None,
        )
        listener = await self.network.listen(Address(LOCALHOST, 0), identity=self.identity)
        token = JoinToken(1, "cell", "test", (), self.identity.peer_id, b"s" * 16)
        self.config["coordinator"] = [str(listener.address)]
        self.config["token"] = encode_token(token)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(server.serve, listener)
                await nursery.start(self.pool.run)
                task_status.started()
                await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await listener.close()

    async def _join(self, caller, request, payload):
        return CellJoined("test", b"t" * 16)

    async def _heartbeat(self, caller, request, payload):
        self.heartbeats += 1
        for name in request.deleted:
            key = (name.segment_id, name.slot)
            if key in self.book.doomed:
                self.book.gone[key] = self.book.doomed.pop(key)
        names = tuple(ShardName(*key) for key in list(self.book.doomed)[:1000])
        now = time.time()
        return HeartbeatReply(ORDER_KEY, 1, names, int(now), int(now * 1000))

    async def _settle(self, caller, request, payload):
        verdicts = []
        for held in request.shards:
            key = (held.segment_id, held.slot)
            if key in self.book.must:
                verdicts.append(COMMITTED)
            else:
                verdicts.append(GARBAGE if key in self.book.gone else PENDING)
        return SettleReply(bytes(verdicts))

    async def _lost(self, caller, request, payload):
        # What was torn before it was acknowledged may be told, what was acknowledged must not be.
        keys = [(each.segment_id, each.slot) for each in request.shards]
        self.book.lost.extend(key for key in keys if key in self.book.must)
        return Done()

    def ready(self, line):
        """Take in a cell's ready line."""
        host, _, port = line["native"].rpartition(":")
        self.address = Address(host, int(port))
        self.cell_id = PeerId(bytes.fromhex(line["peer_id"]))

    def order(self, action, key, size=0):
        expires = int(self.clock.now()) + 900
        order = Order(action, key[0], key[1], self.caller.peer_id, size, expires, 0)
        return issue(ORDER_KEY, order)

    async def call(self, request, payload=()):
        return await self.pool.call(self.address, self.cell_id, request, payload)

    async def wait_ready(self):
        """Wait until the cell knows its order key and answers."""
        key = (b"\xff" * 16, 0)
        with trio.fail_after(20):
            while True:
                try:
                    await self.read(key)
                except NotFound:
                    return
                except (Unavailable, OutcomeUnknown):
                    await trio.sleep(0.005)

    async def put(self, key, data, unit_bytes=None):
        unit_bytes = unit_bytes or len(data)
        await self.call(
            ShardPut(
                self.order(OrderAction.PUT, key, len(data)), unit_bytes, root_of(data, unit_bytes)
            ),
            [data],
        )

    async def upload(self, key, data, unit_bytes, number):
        connection = await self.pool.connection(self.address, self.cell_id)
        order = self.order(OrderAction.PUT, key, len(data))
        await connection.call(ShardOpen(order, number, unit_bytes, len(data)))
        view = memoryview(data)
        for unit, at in enumerate(range(0, len(data), unit_bytes)):
            await connection.call(ShardAppend(number, unit), [view[at : at + unit_bytes]])
        await connection.call(ShardFinish(number, root_of(data, unit_bytes)))

    async def read(self, key, first=0, count=1):
        reply, data = await self.call(
            ShardRead(self.order(OrderAction.GET, key), first, count, want_leaves=False)
        )
        return reply, data

    async def read_all(self, key):
        """The bytes of a shard; None if it is not there."""
        try:
            reply, data = await self.read(key)
            pieces = [data]
            for unit in range(1, -(-reply.shard_bytes // reply.unit_bytes)):
                pieces.append((await self.read(key, unit))[1])
        except NotFound:
            return None
        return b"".join(pieces)


def root_of(data, unit_bytes):
    leaves = b"".join(leaf(data[at : at + unit_bytes]) for at in range(0, len(data), unit_bytes))
    return shard_root(unit_bytes, len(data), leaves)


class Workload:
    """Puts, uploads and deletes until the cell dies."""

    def __init__(self, driver, seed):
        self.driver = driver
        self.chance = random.Random(seed)
        self.number = 0

    def _fresh(self):
        self.number += 1
        return self.chance.randbytes(16), self.chance.randrange(6)

    async def run(self):
        async with trio.open_nursery() as nursery:
            for _ in range(6):
                nursery.start_soon(self._until_dead, self._small)
            for _ in range(2):
                nursery.start_soon(self._until_dead, self._large)

    async def _until_dead(self, work):
        while True:
            try:
                await work()
            except AlvearyError:
                return

    async def _put(self, key, data, unit_bytes, call):
        book = self.driver.book
        book.perhaps[key] = (data, unit_bytes)
        await call()
        del book.perhaps[key]
        book.must[key] = (data, unit_bytes)
        self._doom()

    def _doom(self):
        """Keep the number of shards bounded, and compaction busy."""
        book = self.driver.book
        if len(book.must) > 100:
            keys = list(book.must)
            for key in self.chance.sample(keys, 40):
                book.doomed[key] = book.must.pop(key)

    async def _small(self):
        key, data = self._fresh(), self.chance.randbytes(self.chance.randrange(1, 6000))
        await self._put(key, data, len(data), partial(self.driver.put, key, data))

    async def _large(self):
        key, data = self._fresh(), self.chance.randbytes(self.chance.randrange(1, 200_000))
        unit_bytes = max(2048, self.chance.randrange(len(data)) + 1)
        number = self.number
        call = partial(self.driver.upload, key, data, unit_bytes, number)
        await self._put(key, data, unit_bytes, call)


async def verify(driver):
    """Everything acknowledged is there with its bytes; what was confirmed deleted is not."""
    book = driver.book

    async def must(key, data):
        found = await driver.read_all(key)
        if key in book.must:
            assert found == data, f"acknowledged shard {key[0].hex()} is lost or wrong"
        else:
            assert found in (data, None)

    async def doomed(key, data):
        assert await driver.read_all(key) in (data, None)

    async def gone(key):
        if key in book.gone:
            assert await driver.read_all(key) is None, f"deleted shard {key[0].hex()} is back"

    async def perhaps(key, value):
        found = await driver.read_all(key)
        assert found in (value[0], None), "half a shard is visible"
        del book.perhaps[key]
        if found is not None:
            book.must[key] = value

    jobs = [partial(perhaps, key, value) for key, value in book.perhaps.items()]
    jobs += [partial(must, key, value[0]) for key, value in book.must.items()]
    jobs += [partial(doomed, key, value[0]) for key, value in book.doomed.items()]
    jobs += [partial(gone, key) for key in list(book.gone)[-60:]]
    limiter = trio.CapacityLimiter(16)

    async def run(job):
        async with limiter:
            await job()

    async with trio.open_nursery() as nursery:
        for job in jobs:
            nursery.start_soon(run, job)
