"""The simulated network: reliable ordered streams over links that delay, stall, cut and partition.

It models TCP as the services see it: bytes arrive in order or not at all. Loss and reordering of
packets show as delay (a retransmission time-out each); a partition shows as silence; a killed
process as a reset. TLS is modelled by what it gives: the server's key, checked against the pin.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Sequence
from typing import Final

import trio

from common import limits
from common.crypto.identity import peer_id_of
from common.data_classes import dataclass
from common.errors import BadConfig, PeerViolation, Unavailable
from common.ids import PeerId
from common.ports import ANY_KEY, Address, Buffer, Certificate, Identity
from common.reasons import ConfigFault, Outage, Violation
from sim.life import Life
from sim.replay import Timer, call_at

PIPE_BYTES: Final = 512 * 1024
"""Bytes that one direction holds before a sender waits (socket buffers of both ends)."""
FIRST_PORT: Final = 20_000
ACCEPT_BACKLOG: Final = 128
SYN_SENT_AT_S: Final = (0.0, 1.0, 3.0)
"""TCP sends its first packet again after a second and after two more; then the product times
out."""
RETRANSMIT_S: Final = 0.2
MAX_RETRANSMISSIONS: Final = 8
WILDCARD_HOSTS: Final = frozenset({"", "0.0.0.0", "::", "127.0.0.1", "localhost"})  # noqa: S104  # simulated hosts
"""Hosts that mean the node itself in a simulated world."""


@dataclass(slots=True)
class LinkModel:
    """The behaviour of links. All zero: bytes arrive at once."""

    latency_s: float = 0.0
    jitter_s: float = 0.0
    loss: float = 0.0
    """Probability that a sent run of bytes needs a retransmission (repeatedly)."""
    bytes_per_s: float = 0.0
    """Of each direction of each connection; 0: no limit."""


class Internet:
    """The switchboard of one simulated world."""

    def __init__(self, chance: random.Random) -> None:
        self.model = LinkModel()
        self.chance = chance
        self.listeners: dict[tuple[str, int], SimListener] = {}
        self.slow_nodes: dict[str, float] = {}
        """Extra seconds for everything a node sends."""
        self.paused: set[str] = set()
        """Nodes that do nothing now: what they sent, and what was sent to them, arrives later."""
        self._blocked: set[tuple[str, str]] = set()
        self._pipes: dict[int, SimPipe] = {}
        self._next_pipe = 0
        self._next_port: dict[str, int] = {}

    def free_port(self, host: str) -> int:
        """A port nobody listens on at this host."""
        port = self._next_port.get(host, FIRST_PORT)
        while (host, port) in self.listeners:
            port += 1
        self._next_port[host] = port + 1
        return port

    def block(self, source: str, target: str) -> None:
        """From now on nothing that source sends reaches target (one way)."""
        self._blocked.add((source, target))

    def unblock(self, source: str, target: str) -> None:
        """Undo :meth:`block`; what was held back is delivered."""
        self._blocked.discard((source, target))
        self._wake_all()

    def pause(self, node: str) -> None:
        """From now on nothing reaches a node, and nothing leaves it."""
        self.paused.add(node)

    def resume(self, node: str) -> None:
        """Undo :meth:`pause`."""
        self.paused.discard(node)
        self._wake_all()

    def heal(self) -> None:
        """No partition, no slow node, perfect links."""
        self._blocked.clear()
        self.slow_nodes.clear()
        self.model = LinkModel(latency_s=self.model.latency_s)
        self._wake_all()

    def is_blocked(self, source: str, target: str) -> bool:
        if self.paused and (source in self.paused or target in self.paused):
            return True
        return (source, target) in self._blocked

    def delay_s(self, source: str) -> float:
        """Draw how long a run of bytes is under way (beside its transmission)."""
        model = self.model
        delay = model.latency_s + self.slow_nodes.get(source, 0.0)
        if model.jitter_s:
            delay += self.chance.random() * model.jitter_s
        if model.loss:
            timeout = RETRANSMIT_S
            for _ in range(MAX_RETRANSMISSIONS):
                if self.chance.random() >= model.loss:
                    break
                delay += timeout
                timeout *= 2
        return delay

    def balks(self) -> bool:
        """Return whether a send would have to wait: sometimes true, on links that lose."""
        return bool(self.model.loss) and self.chance.random() < self.model.loss

    def register(self, pipe: SimPipe) -> None:
        self._pipes[self._next_pipe] = pipe
        pipe.number = self._next_pipe
        self._next_pipe += 1

    def forget(self, pipe: SimPipe) -> None:
        self._pipes.pop(pipe.number, None)

    def pipes_of(self, node: str) -> list[SimPipe]:
        """All directions that start or end at a node."""
        return [pipe for pipe in self._pipes.values() if node in (pipe.source, pipe.target)]

    def cut(self, first: str, second: str) -> None:
        """Reset every connection between two nodes."""
        for pipe in list(self._pipes.values()):
            if {pipe.source, pipe.target} == {first, second}:
                pipe.reset()

    def queued_bytes(self) -> int:
        """Bytes sent and not yet received, over all pipes."""
        return sum(pipe.held for pipe in self._pipes.values())

    def _wake_all(self) -> None:
        for pipe in self._pipes.values():
            pipe.wake()


class SimPipe:
    """One direction of a connection."""

    def __init__(self, internet: Internet, source: str, target: str) -> None:
        self.internet = internet
        self.source = source
        self.target = target
        self.number = -1
        self.held = 0
        self.is_reset = False
        self._runs: deque[tuple[float, memoryview]] = deque()
        self._is_finished = False
        self._sent_at = 0.0
        self._last_arrival = 0.0
        self._alarm: Timer | None = None
        self._reader = trio.lowlevel.ParkingLot()
        self._writer = trio.lowlevel.ParkingLot()
        internet.register(self)

    def wake(self) -> None:
        """Wake the tasks that wait at either end, to look again."""
        self._reader.unpark_all()
        self._writer.unpark_all()

    def reset(self) -> None:
        """Lose the connection, as both ends see it."""
        self.is_reset = True
        self._runs.clear()
        self.held = 0
        self.internet.forget(self)
        self.wake()

    def finish(self) -> None:
        """End the direction: no more bytes will be sent."""
        if not self._is_finished:
            self._is_finished = True
            self.wake()

    def is_readable(self) -> bool:
        """Return whether :meth:`take_into` would return or raise at once."""
        if self.is_reset:
            return True
        if self.internet.is_blocked(self.source, self.target):
            return False
        if self._runs:
            return self._runs[0][0] <= trio.current_time()
        return self._is_finished

    async def put(self, data: bytes) -> None:
        while not self.put_nowait(data):
            if self.is_reset or self._is_finished:
                raise Unavailable(Outage.CONNECTION_LOST)
            await self._writer.park()

    def put_nowait(self, data: bytes) -> bool:
        """Put all of it on its way, or nothing: it is full, or of no more use."""
        if self.held >= PIPE_BYTES or self.is_reset or self._is_finished:
            return False
        self._sent_at = max(self._sent_at, trio.current_time())
        if self.internet.model.bytes_per_s:
            self._sent_at += len(data) / self.internet.model.bytes_per_s
        arrival = self._sent_at + self.internet.delay_s(self.source)
        self._last_arrival = max(self._last_arrival, arrival)
        self._runs.append((self._last_arrival, memoryview(data)))
        self.held += len(data)
        if len(self._runs) == 1:
            if self._last_arrival <= trio.current_time():
                self._reader.unpark_all()
            elif self._reader:
                self._set_alarm()
        return True

    async def take_into(self, buffer: memoryview) -> int:
        while not self.is_readable():
            if self._runs and not self.internet.is_blocked(self.source, self.target):
                self._set_alarm()
            await self._reader.park()
        if self.is_reset:
            raise Unavailable(Outage.CONNECTION_LOST)
        if self._runs:
            return self._deliver(self._runs[0][1], buffer)
        self.internet.forget(self)
        return 0

    def _set_alarm(self) -> None:
        """Wake the reader when the first run arrives."""
        if self._alarm is None:
            self._alarm = call_at(self._runs[0][0], self._ring)

    def _ring(self) -> None:
        self._alarm = None
        self._reader.unpark_all()

    def _deliver(self, data: memoryview, buffer: memoryview) -> int:
        count = min(len(data), len(buffer))
        buffer[:count] = data[:count]
        if count == len(data):
            self._runs.popleft()
        else:
            self._runs[0] = (self._runs[0][0], data[count:])
        self.held -= count
        self._writer.unpark_all()
        return count


class SimStream:
    """One end of a connection: a :class:`common.ports.Stream`."""

    def __init__(
        self,
        node: Life,
        out: SimPipe,
        into: SimPipe,
        server_key: bytes | None,
        remote: str,
        *,
        is_served: bool = False,
    ) -> None:
        self._node = node
        self._life = node.life
        self._out = out
        self._into = into
        self._server_key = server_key
        self._remote = remote
        self._is_served = is_served
        self._is_closed = False

    @property
    def server_key(self) -> bytes | None:
        return self._server_key

    @property
    def remote(self) -> str:
        return self._remote

    def is_readable(self) -> bool:
        """Return whether a receive would not wait."""
        return self._is_closed or self._into.is_readable()

    async def send(self, parts: Sequence[Buffer]) -> None:
        await self._node.alive(self._life)
        if self._is_closed:
            raise Unavailable(Outage.CONNECTION_LOST)
        if self._is_served and self._node.lies:
            parts = self._node.lie(parts)
        data = b"".join(parts)
        if data:
            try:
                await self._out.put(data)
            except trio.Cancelled:
                self._drop()
                raise
            self._node.mark("send", len(data))

    def send_nowait(self, parts: Sequence[Buffer]) -> int:
        node = self._node
        if self._is_closed or self._life != node.life or self._out.internet.balks():
            return 0
        if self._is_served and node.lies:
            parts = node.lie(parts)
        data = b"".join(parts)
        if not data or not self._out.put_nowait(data):
            return 0
        node.mark("send", len(data))
        return len(data)

    async def receive_into(self, buffer: memoryview) -> int:
        await self._node.alive(self._life)
        if self._is_closed:
            raise Unavailable(Outage.CONNECTION_LOST)
        count = await self._into.take_into(buffer)
        self._node.mark("receive", count)
        return count

    async def close(self) -> None:
        if not self._is_closed and self._life == self._node.life:
            self._drop()
        await trio.lowlevel.checkpoint()

    def _drop(self) -> None:
        self._is_closed = True
        self._out.finish()
        self._into.reset()


class SimListener:
    """A bound simulated socket: a :class:`common.ports.Listener`."""

    def __init__(
        self, node: Life, internet: Internet, address: Address, identity: Identity | None
    ) -> None:
        self.node = node
        self._internet = internet
        self.identity = identity
        self.certificate: Certificate | None = None
        self._life = node.life
        self._address = address
        self._send, self._receive = trio.open_memory_channel[SimStream](ACCEPT_BACKLOG)

    @property
    def address(self) -> Address:
        return self._address

    def offer(self, stream: SimStream) -> bool:
        """Put a new connection into the backlog; False when it is full or closed."""
        try:
            self._send.send_nowait(stream)
        except (trio.WouldBlock, trio.ClosedResourceError, trio.BrokenResourceError):
            return False
        return True

    async def accept(self) -> SimStream:
        await self.node.alive(self._life)
        try:
            return await self._receive.receive()
        except (trio.ClosedResourceError, trio.EndOfChannel) as error:
            await self.node.alive(self._life)
            raise Unavailable(Outage.LISTENER_CLOSED) from error

    def renew(self, certificate: Certificate) -> None:
        assert self.certificate is not None, "it listens with a certificate"
        self.certificate = _checked(certificate)

    async def close(self) -> None:
        self.shut()
        await trio.lowlevel.checkpoint()

    def shut(self) -> None:
        """Close without waiting (also when the node dies)."""
        listeners = self._internet.listeners
        key = (self._address.host, self._address.port)
        if listeners.get(key) is self:
            del listeners[key]
        self._send.close()
        self._receive.close()


def _checked(certificate: Certificate) -> Certificate:
    """The certificate, if it has what a real listener would look for first."""
    if b"BEGIN CERTIFICATE" not in certificate.chain or b"PRIVATE KEY" not in certificate.key:
        raise BadConfig(ConfigFault.BAD_CERTIFICATE, cause="no certificate or no key")
    return certificate


class SimNetwork:
    """The Network port of one life of a node."""

    def __init__(self, node: Life, internet: Internet) -> None:
        self._node = node
        self._internet = internet
        self._life = node.life

    async def connect(self, address: Address, *, pin: PeerId | None) -> SimStream:
        node, internet = self._node, self._internet
        await node.alive(self._life)
        host = node.name if address.host in WILDCARD_HOSTS else address.host
        began = trio.current_time()
        for sent_at_s in SYN_SENT_AT_S:
            await trio.sleep_until(began + sent_at_s)
            if not (internet.is_blocked(node.name, host) or internet.is_blocked(host, node.name)):
                break
        else:
            await trio.sleep_until(began + limits.CONNECT_TIMEOUT_S)
            raise Unavailable(Outage.CONNECT_FAILED, address=str(address), why="timed out")
        await trio.sleep(2 * internet.delay_s(node.name))
        listener = internet.listeners.get((host, address.port))
        if listener is None:
            raise Unavailable(Outage.CONNECT_FAILED, address=str(address), why="refused")
        key = listener.identity.public_key if listener.identity is not None else None
        if pin is not None:
            if key is None:
                raise PeerViolation(Violation.NO_TLS, address=str(address))
            if pin != ANY_KEY and peer_id_of(key) != pin:
                raise PeerViolation(Violation.WRONG_SERVER_KEY, address=str(address))
        elif key is not None or listener.certificate is not None:
            raise Unavailable(Outage.CONNECT_FAILED, address=str(address), why="server speaks TLS")
        out = SimPipe(internet, node.name, host)
        into = SimPipe(internet, host, node.name)
        near = SimStream(node, out, into, key, str(address))
        far = SimStream(listener.node, into, out, key, node.name, is_served=True)
        if not listener.offer(far):
            out.reset()
            into.reset()
            raise Unavailable(Outage.CONNECT_FAILED, address=str(address), why="backlog full")
        return near

    async def listen(
        self,
        address: Address,
        *,
        identity: Identity | None,
        certificate: Certificate | None = None,
    ) -> SimListener:
        assert identity is None or certificate is None, "for peers or for strangers"
        node, internet = self._node, self._internet
        await node.alive(self._life)
        host = node.name if address.host in WILDCARD_HOSTS else address.host
        port = address.port or internet.free_port(host)
        if host != node.name or (host, port) in internet.listeners:
            raise BadConfig(ConfigFault.CANNOT_LISTEN, address=str(address))
        listener = SimListener(node, internet, Address(host, port), identity)
        if certificate is not None:
            listener.certificate = _checked(certificate)
        internet.listeners[host, port] = listener
        return listener
