"""A caller that takes what it can get: slow bodies, stalled readers, frames without an end.

It is a tenant like any other, and a peer with keys that it makes itself. It breaks no rule that is
checked at a door; it only never comes to an end. What it holds is bounded by what it may open, and
all of it is let go when it is cancelled. What it may not do is make others wait
(:mod:`sim.checkers.waits`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import trio

from common import limits
from common.crypto.identity import KeyPair
from common.errors import AlvearyError
from common.ids import PeerId
from common.ports import Address, Stream
from common.rpc.peers import PeerPool
from common.rpc.protocol.connection import CallerConnection
from common.rpc.protocol.events import Accepted, Greeted
from common.wire.control import tenant_message
from common.wire.frame import FrameKind, encode_frame
from common.wire.messages.writing import LeaseRenew, TenantOpen
from sim.cluster import NATIVE_PORT, S3_PORT, Cluster, read_file
from sim.s3_client import S3Client
from sim.world import SimWorld

BUCKET: Final = "glutton"
BODY_BYTES: Final = 1 << 20
LARGE_BYTES: Final = 6 << 20
"""Size of the object that stalled readers ask for: more than the buffers of a connection hold."""
SLOW_BODIES: Final = 40
STALLED_READERS: Final = 24
UNFINISHED_FRAMES: Final = 16
IDLE_CONNECTIONS: Final = 300
LEASES: Final = 200
BYTE_EVERY_S: Final = 5.0
AGAIN_S: Final = 1.0
SIP_BYTES: Final = 4096


class Glutton:
    """Takes in spans, until cancelled. Call :meth:`prepare` first."""

    def __init__(self, swarm: SimWorld, cluster: Cluster) -> None:
        self.taken: dict[str, int] = {}
        """Number of times that each kind of request was begun."""
        self.spans: list[tuple[float, float]] = []
        """From when to when it was at work."""
        self._swarm = swarm
        self._cluster = cluster
        self._chance = swarm.random("glutton")
        self._node = swarm.node("glutton")
        self._ways: Mapping[str, tuple[int, Callable[[], Awaitable[None]]]] = {
            "slow body": (SLOW_BODIES, self._slow_body),
            "stalled reader": (STALLED_READERS, self._stalled_reader),
            "unfinished frame to the coordinator": (UNFINISHED_FRAMES, self._frame_to_coordinator),
            "unfinished frame to a cell": (UNFINISHED_FRAMES, self._frame_to_cell),
            "leases": (1, self._leases),
            "idle connection": (IDLE_CONNECTIONS, self._idle_connection),
        }
        self._clients: list[S3Client] = []
        self._coordinator_id = PeerId(b"")

    async def prepare(self) -> None:
        """Come to have a tenant, and an object that is long to read. Retried forever, should a
        gateway not serve the tenant."""
        self._tenant, credentials = await self._cluster.add_tenant("glutton", "glutton tenant")
        self._clients = [
            self._cluster.client("glutton", number, credentials)
            for number in range(len(self._cluster.gateways))
        ]
        client = self._clients[0]
        for path, body in ((f"/{BUCKET}", b""), (f"/{BUCKET}/large", bytes(LARGE_BYTES))):
            while True:
                answer = await client.request("PUT", path, body=body)
                if answer.status_code == 200:
                    break
                await trio.sleep(AGAIN_S)  # the gateway has yet to find the tenant's key file
        disk = self._cluster.store_node.world.disk
        identity = bytes.fromhex((await read_file(disk, "identity.key")).decode().strip())
        self._coordinator_id = KeyPair.from_private(identity).peer_id

    async def run(self, seconds: float) -> None:
        """Take in some ways at once, for so long."""
        names = sorted(self._ways)
        chosen = self._chance.sample(names, self._chance.randrange(1, len(names) + 1))
        began_s = trio.current_time()
        self._node.note("greedy", {"ways": chosen})
        with trio.move_on_after(seconds):
            async with trio.open_nursery() as nursery:
                for name in sorted(chosen):
                    count, take = self._ways[name]
                    for _ in range(count):
                        nursery.start_soon(self._again_and_again, name, take)
        self.spans.append((began_s, trio.current_time()))

    async def _again_and_again(self, name: str, take: Callable[[], Awaitable[None]]) -> None:
        while True:
            self.taken[name] = self.taken.get(name, 0) + 1
            try:
                await take()
            except AlvearyError as error:
                self._node.note("greedy caller lost", {"what": name, "error": str(error)})
            await trio.sleep(self._chance.uniform(0, 2 * AGAIN_S))

    async def _connect(self, host: str, port: int, pin: PeerId | None) -> Stream:
        return await self._node.world.network.connect(Address(host, port), pin=pin)

    # --- over S3 ----------------------------------------------------------------------------

    async def _ask(self, method: str, key: str, length: int) -> Stream:
        """Send the head of a request on a connection of its own."""
        number = self._chance.randrange(len(self._clients))
        path = f"/{BUCKET}/{key}"
        headers = self._clients[number].sign(method, path, "", "UNSIGNED-PAYLOAD")
        lines = [f"{method} {path} HTTP/1.1", *(f"{k}: {v}" for k, v in headers.items())]
        if length:
            lines.append(f"content-length: {length}")
        stream = await self._connect(f"gateway-{number}", S3_PORT, None)
        await stream.send(["\r\n".join([*lines, "", ""]).encode()])
        return stream

    async def _slow_body(self) -> None:
        stream = await self._ask("PUT", f"slow-{self._chance.randrange(1000)}", BODY_BYTES)
        try:
            while True:
                await trio.sleep(BYTE_EVERY_S * self._chance.uniform(0.5, 1.5))
                await stream.send([b"x"])
        finally:
            await _close(stream)

    async def _stalled_reader(self) -> None:
        """Read the head of an answer, and a little more now and then."""
        stream = await self._ask("GET", "large", 0)
        buffer = memoryview(bytearray(SIP_BYTES))
        try:
            while True:
                if not await stream.receive_into(buffer):
                    return
                await trio.sleep(BYTE_EVERY_S * self._chance.uniform(0.5, 1.5))
        finally:
            await _close(stream)

    # --- over the native protocol -------------------------------------------------------------

    async def _frame_to_coordinator(self) -> None:
        await self._unfinished("coordinator", self._coordinator_id)

    async def _frame_to_cell(self) -> None:
        daemon = self._chance.choice(self._cluster.cells)
        if daemon.serving is not None:
            await self._unfinished(daemon.node.name, daemon.serving.peer_id)

    async def _unfinished(self, host: str, peer: PeerId) -> None:
        """Prove a key that nobody knows, announce the longest request, and send no more of it."""
        stream = await self._connect(host, NATIVE_PORT, peer)
        try:
            core = CallerConnection(stream.server_key or b"")
            await self._shake_hands(stream, core)
            header = bytes(limits.MAX_FRAME_HEADER_BYTES)
            payload = [bytes(limits.MAX_FRAME_PAYLOAD_BYTES)]
            whole = encode_frame(FrameKind.REQUEST, 1, header, payload)[0]
            await stream.send([memoryview(whole)[:20]])
            await stream.receive_into(memoryview(bytearray(SIP_BYTES)))
        finally:
            await _close(stream)

    async def _shake_hands(self, stream: Stream, core: CallerConnection) -> None:
        identity = KeyPair.generate(self._node.world.entropy)
        while True:
            event = core.next_event()
            if isinstance(event, Greeted):
                await stream.send(core.prove(identity.public_key, identity.sign(event.message)))
            elif isinstance(event, Accepted):
                return
            elif event is None:
                count = await stream.receive_into(core.get_buffer())
                if not count:
                    return
                core.bytes_received(count)
            else:
                return

    async def _leases(self) -> None:
        """Open leases, one after another, and use none."""
        world = self._node.world
        identity = KeyPair.generate(world.entropy)
        pool = PeerPool(
            world.network, identity, connections_per_peer=1, chance=world.chance, log=world.log
        )
        async with trio.open_nursery() as nursery:
            await nursery.start(pool.run)
            try:
                where = Address("coordinator", NATIVE_PORT)
                connection = await pool.connection(
                    where, self._coordinator_id, timeout_s=limits.CALL_TIMEOUT_S
                )
                tenant_id = self._tenant.tenant_id
                message = tenant_message(connection.channel, identity.peer_id, tenant_id)
                await connection.call(TenantOpen(tenant_id, self._tenant.prove(message)))
                for _ in range(LEASES):
                    await connection.call(LeaseRenew(0))
            except AlvearyError as error:
                self._node.note("greedy caller lost", {"what": "leases", "error": str(error)})
            finally:
                nursery.cancel_scope.cancel()

    async def _idle_connection(self) -> None:
        """A connection on which nothing is ever said."""
        if self._chance.random() < 0.5:
            number = self._chance.randrange(len(self._clients))
            stream = await self._connect(f"gateway-{number}", S3_PORT, None)
        else:
            stream = await self._connect("coordinator", NATIVE_PORT, self._coordinator_id)
        try:
            while await stream.receive_into(memoryview(bytearray(SIP_BYTES))):
                pass
        finally:
            await _close(stream)


async def _close(stream: Stream) -> None:
    with trio.CancelScope(shield=True):
        await stream.close()
