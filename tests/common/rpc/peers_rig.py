"""A pool of connections and a server, each on a node of a simulated network."""

from __future__ import annotations

import itertools
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import trio

from common.crypto.identity import KeyPair
from common.limits import CALL_TIMEOUT_S, MIB
from common.ports import Address, Buffer, Listener
from common.rpc.caller import Caller, Handler
from common.rpc.peer_connection import PeerConnection
from common.rpc.peers import PeerPool
from common.rpc.server import PeerServer
from common.wire.messages.base import Done, Reply, Request
from common.wire.messages.cell import ShardAppend
from sim.world import SimWorld

SERVER = KeyPair.from_private(b"s" * 32)
CALLER = KeyPair.from_private(b"c" * 32)
_uploads = itertools.count()


class Bench:
    """A pool on one simulated node and a server on another."""

    def __init__(self, handlers: Mapping[type[Request], Handler[Any]], **options: Any) -> None:
        self.swarm = SimWorld(seed=1)
        self.near = self.swarm.node("near")
        self.far = self.swarm.node("far")
        pool_options = {
            name: options.pop(name) for name in ("connections_per_peer",) if name in options
        }
        pool_options.setdefault("connections_per_peer", 1)
        self.server = PeerServer(
            SERVER,
            handlers,
            entropy=self.far.world.entropy,
            log=self.far.world.log,
            **{"buffer_budget_bytes": 8 * MIB, "new_session": lambda: None, **options},
        )
        self.pool = PeerPool(
            self.near.world.network,
            CALLER,
            chance=random.Random(1),
            log=self.near.world.log,
            **pool_options,
        )
        self.listener: Listener
        self.serving = trio.CancelScope()

    @property
    def address(self) -> Address:
        return self.listener.address

    async def call(
        self, request: Request, payload: Sequence[Buffer] = (), timeout_s: float = CALL_TIMEOUT_S
    ) -> tuple[Reply, memoryview]:
        return await self.pool.call(
            self.address, SERVER.peer_id, request, payload, timeout_s=timeout_s
        )

    async def connection(self) -> PeerConnection:
        return await self.pool.connection(self.address, SERVER.peer_id)

    async def serve(self) -> None:
        with self.serving:
            await self.server.serve(self.listener)


@asynccontextmanager
async def bench(
    handlers: Mapping[type[Request], Handler[Any]] | None = None, **options: Any
) -> AsyncIterator[Bench]:
    made = Bench(handlers or {}, **options)
    made.listener = await made.far.world.network.listen(Address("far", 0), identity=SERVER)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(made.serve)
        await nursery.start(made.pool.run)
        yield made
        nursery.cancel_scope.cancel()


async def answers_done(caller: Caller[None], request: Request, payload: memoryview) -> Reply:
    return Done()


def ping_like() -> Request:
    """A request that has a handler in these tests, Done as its reply and a lane of its own."""
    return ShardAppend(next(_uploads), 0)
