"""A real cell process and, in the test's process, whom it talks to: a coordinator's stand-in that
answers its calls from a ledger, and a caller with orders of its own making."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import tomli_w
import trio
from e2e_swarm import BIN, clean_environment
from power_ledger import NOBODY, Key, Ledger, Shard
from power_zygote import Life, Zygote

from common.crypto.identity import KeyPair
from common.crypto.orders import Order, OrderAction, cell_order_key, issue
from common.errors import NotFound, Unavailable
from common.format.token import TOKEN_VERSION, JoinToken, TokenAddress, encode_token
from common.ids import PeerId
from common.limits import MAX_STRIPES_PER_SEGMENT
from common.ports import Address
from common.rpc.caller import Answer, Caller
from common.rpc.peer_connection import PeerConnection
from common.rpc.peers import PeerPool
from common.rpc.server import PeerServer
from common.system.clock import system_chance, system_entropy
from common.system.log import LineLog
from common.system.network import RealNetwork
from common.wire.messages.base import CellFacts, Done, Request, ShardName
from common.wire.messages.cell import (
    CellFactsGet,
    ShardAppend,
    ShardFinish,
    ShardOpen,
    ShardPut,
    ShardRead,
    ShardUnits,
)
from common.wire.messages.membership import (
    CellJoin,
    CellJoined,
    Heartbeat,
    HeartbeatReply,
    Settle,
    SettleReply,
    ShardsLost,
)

READY_TIMEOUT_S: Final = 30.0
CALL_TIMEOUT_S: Final = 20.0
ORDER_LIFETIME_S: Final = 3600
DELETES_AT_ONCE: Final = 100
_SECRET: Final = b"swarm secret of the tests, no use"


def quiet_log() -> LineLog:
    """The stand-in's own log goes nowhere."""
    return LineLog("test", write=lambda line: None)


class StandIn:
    """A coordinator for one cell, as far as the cell can tell."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.identity = KeyPair.generate(system_entropy)
        self.address = Address("127.0.0.1", 0)
        self.heartbeats = 0
        self.facts: CellFacts | None = None
        """What the cell said of itself last."""
        self._beat = trio.Event()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled."""
        server = PeerServer(
            self.identity,
            {
                CellJoin: self._join,
                Heartbeat: self._heartbeat,
                Settle: self._settle,
                ShardsLost: self._lost,
            },
            entropy=system_entropy,
            log=quiet_log(),
            buffer_budget_bytes=16 * 1024 * 1024,
            new_session=lambda: None,
        )
        listener = await RealNetwork().listen(self.address, identity=self.identity)
        self.address = listener.address
        try:
            task_status.started()
            await server.serve(listener)
        finally:
            with trio.CancelScope(shield=True):
                await listener.close()

    def token(self) -> str:
        """What a cell joins with."""
        here = TokenAddress(self.address.host, self.address.port)
        return encode_token(
            JoinToken(TOKEN_VERSION, "cell", "test", (here,), self.identity.peer_id, bytes(16))
        )

    async def wait_heartbeat(self) -> None:
        """Wait for the next heartbeat to be answered."""
        await self._beat.wait()

    async def _join(self, caller: Caller[None], request: CellJoin, _: memoryview) -> Answer:
        return CellJoined("test", bytes(16))

    async def _heartbeat(self, caller: Caller[None], request: Heartbeat, _: memoryview) -> Answer:
        self.ledger.confirmed(request.deleted)
        self.facts = request.facts
        self.heartbeats += 1
        self._beat.set()
        self._beat = trio.Event()
        deletes = sorted(self.ledger.to_delete)[:DELETES_AT_ONCE]
        key = cell_order_key(_SECRET, caller.peer_id)
        now = time.time()
        names = tuple(ShardName(*each) for each in deletes)
        return HeartbeatReply(key, 1, names, int(now), int(now * 1000))

    async def _settle(self, caller: Caller[None], request: Settle, _: memoryview) -> Answer:
        asked = [((each.segment_id, each.slot), each.root) for each in request.shards]
        return SettleReply(bytes(self.ledger.verdict(*each) for each in asked))

    async def _lost(self, caller: Caller[None], request: ShardsLost, _: memoryview) -> Answer:
        self.ledger.lost(request.shards)
        return Done()


class CellProcess:
    """`alveary cell` in a process of its own, one life after another in one directory.

    Args:
        zygote: begins its lives.
        data: its directory.
        place: for its configuration and its log.
        settings: of its configuration.
    """

    def __init__(
        self, zygote: Zygote, data: Path, place: Path, settings: Mapping[str, object]
    ) -> None:
        self._zygote = zygote
        self.peer_id: PeerId | None = None
        """Who it is, once it has said so; it must be the same in every life."""
        self.address: Address | None = None
        self.log = place / "cell.log"
        self._config = place / "cell.toml"
        self._config.write_text(
            tomli_w.dumps({"data": str(data), "listen": "127.0.0.1:0", **settings})
        )
        self._home = place
        self._process: subprocess.Popen[bytes] | Life | None = None
        self._said: trio.lowlevel.FdStream | None = None

    def start(self, wrapper: Sequence[str] = ()) -> None:
        """Start it; :meth:`wait_ready` follows.

        Args:
            wrapper: a command that runs the command behind it; then it is no fork but a start
                from the beginning.
        """
        assert self._process is None
        arguments = ["cell", "--config", str(self._config)]
        output, theirs = os.pipe()
        self._said = trio.lowlevel.FdStream(output)
        with self.log.open("ab") as log, open(theirs, "wb") as pipe:
            if not wrapper:
                self._process = self._zygote.start(arguments, pipe.fileno(), log.fileno())
                return
            command = [*wrapper, str(BIN / "alveary"), *arguments, "--parent-pid", str(os.getpid())]
            # In this thread: the kernel's parent death signal goes by the thread.
            self._process = subprocess.Popen(
                command, stdout=pipe, stderr=log, env=clean_environment(self._home)
            )

    async def wait_ready(self) -> bool:
        """Wait for the ready line; False if the process ended before."""
        assert self._said is not None
        line = b""
        with trio.move_on_after(READY_TIMEOUT_S) as scope:
            while not line.endswith(b"\n"):
                more = await self._said.receive_some()
                if not more:
                    return False
                line += more
        assert not scope.cancelled_caught, f"not ready within {READY_TIMEOUT_S} s: {self.tail()}"
        ready = json.loads(line)
        peer_id = PeerId(bytes.fromhex(ready["peer_id"]))
        assert self.peer_id in {None, peer_id}, "another identity than before"
        self.peer_id = peer_id
        host, _, port = ready["native"].rpartition(":")
        self.address = Address(host, int(port))
        return True

    @property
    def pid(self) -> int:
        """Of the life that runs."""
        assert self._process is not None
        return self._process.pid

    @property
    def has_ended(self) -> bool:
        """Whether there is no process, or a dead one."""
        return self._process is None or self._process.poll() is not None

    def kill(self, number: int = signal.SIGKILL) -> None:
        """End it; :meth:`wait_end` follows."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)

    async def wait_end(self) -> int:
        """Wait until it is gone, and return its exit code; 0 if there was none."""
        if self._process is None:
            return 0
        assert self._said is not None
        process, self._process = self._process, None
        code = await trio.to_thread.run_sync(process.wait)
        await self._said.aclose()
        return code

    def tail(self) -> str:
        """The last of what it logged."""
        return self.log.read_text(errors="replace")[-3000:] if self.log.exists() else ""


class CellCaller:
    """Uploads and reads shards of one life of a cell, over one connection.

    Args:
        cell: ready.
    """

    def __init__(self, cell: CellProcess) -> None:
        assert cell.peer_id is not None
        assert cell.address is not None
        self._identity = KeyPair.generate(system_entropy)
        self._cell, self._address = cell.peer_id, cell.address
        self._order_key = cell_order_key(_SECRET, cell.peer_id)
        self._pool = PeerPool(
            RealNetwork(),
            self._identity,
            connections_per_peer=1,
            chance=system_chance(),
            log=quiet_log(),
        )
        self._uploads = 0

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep the connection until cancelled."""
        await self._pool.run(task_status=task_status)

    async def wait_accepting(self) -> None:
        """Wait until the cell knows its order key: it serves nobody before its first heartbeat."""
        while True:
            try:
                await self.read(NOBODY)
            except Unavailable as error:
                if error.reason != "not_ready":
                    raise
                await trio.sleep(0.01)
            else:
                return

    def _order(self, action: OrderAction, key: Key, shard_bytes: int) -> bytes:
        expires = int(time.time()) + ORDER_LIFETIME_S
        order = Order(action, *key, self._identity.peer_id, shard_bytes, expires, 0)
        return issue(self._order_key, order)

    async def _connection(self) -> PeerConnection:
        with trio.fail_after(CALL_TIMEOUT_S):
            return await self._pool.connection(self._address, self._cell)

    async def put(self, key: Key, shard: Shard) -> None:
        """Upload a shard in one request. Durable on return; raises what the cell answers."""
        order = self._order(OrderAction.PUT, key, len(shard.data))
        request = ShardPut(order, shard.unit_bytes, shard.root())
        connection = await self._connection()
        await connection.call(request, [shard.data], timeout_s=CALL_TIMEOUT_S)

    async def upload(self, key: Key, shard: Shard, *, finish: bool = True) -> None:
        """Upload a shard unit by unit; without ``finish`` the last request is left out."""
        self._uploads += 1
        number, size = self._uploads, len(shard.data)
        connection = await self._connection()

        async def ask(request: Request, payload: Sequence[bytes] = ()) -> None:
            await connection.call(request, payload, timeout_s=CALL_TIMEOUT_S)

        order = self._order(OrderAction.PUT, key, size)
        await ask(ShardOpen(order, number, shard.unit_bytes, size))
        for unit, at in enumerate(range(0, size, shard.unit_bytes)):
            piece = shard.data[at : at + shard.unit_bytes]
            await ask(ShardAppend(number, unit), [piece])
        if finish:
            await ask(ShardFinish(number, shard.root()))

    async def read(self, key: Key) -> bytes | None:
        """A whole shard, checked against the leaves that come with it; None if there is none."""
        request = ShardRead(self._order(OrderAction.GET, key, 0), 0, MAX_STRIPES_PER_SEGMENT, True)
        connection = await self._connection()
        try:
            reply, payload = await connection.call(request, timeout_s=CALL_TIMEOUT_S)
        except NotFound:
            return None
        assert isinstance(reply, ShardUnits)
        data = bytes(payload)
        assert len(data) == reply.shard_bytes
        assert Shard(reply.unit_bytes, data).leaves() == reply.leaves
        return data

    async def facts(self) -> CellFacts:
        """What the cell says of itself."""
        connection = await self._connection()
        reply, _ = await connection.call(CellFactsGet(), timeout_s=CALL_TIMEOUT_S)
        assert isinstance(reply, CellFacts)
        return reply
