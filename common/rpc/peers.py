"""Connections to other peers, shared by all callers and spread by load.

Source: docs/protocol.md, "Calls" and "Connections of a pool".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

import outcome
import trio

from common import limits
from common.charter_book import CharterBook
from common.errors import AlvearyError, PeerViolation, Unavailable
from common.ids import PeerId
from common.ports import ANY_KEY, Address, Buffer, Chance, Identity, Log, Network
from common.reasons import Outage, Violation
from common.rpc.peer_connection import OnAnswer, PeerConnection
from common.rpc.protocol.pool_policy import choose, retry_delay_s
from common.tasks import log_fault
from common.wire.messages.base import Reply, Request

FORGET_AFTER_S: Final = 60.0
"""Time that the back-off of a peer without connections is remembered beyond its end."""


class _Peer:
    """The connections to one peer."""

    def __init__(self) -> None:
        self.connections: list[PeerConnection] = []
        self.connecting = 0
        self.changed = trio.Event()
        self.failures = 0
        self.retry_at = 0.0
        self.error: AlvearyError | None = None


class PeerPool:
    """Connections to many peers, made when needed, shared by all callers, spread by load.

    Args:
        network: where connections come from.
        identity: the key that the pool proves.
        connections_per_peer: the most to one peer.
        chance: jitter of retries.
        log: connections made and lost.
        charters: who the coordinators are that answer where the swarm's key is pinned; exchanged
            with all peers.
    """

    def __init__(
        self,
        network: Network,
        identity: Identity,
        *,
        connections_per_peer: int,
        chance: Chance,
        log: Log,
        charters: CharterBook | None = None,
    ) -> None:
        assert connections_per_peer >= 1
        self._network = network
        self._identity = identity
        self._most = connections_per_peer
        self._chance = chance
        self._log = log
        self._peers: dict[tuple[Address, PeerId], _Peer] = {}
        self._nursery: trio.Nursery | None = None
        self.charters = charters
        if charters is not None:
            charters.watch(self._drop_revoked)

    @property
    def peer_id(self) -> PeerId:
        """The peer id that this pool proves."""
        return self._identity.peer_id

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Own the connections until cancelled; no call works before this has started."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            try:
                task_status.started()
                await trio.sleep_forever()
            finally:
                # Before the nursery closes: a task that is being cancelled too may still ask in
                # the very step in which it does.
                self._nursery = None

    async def call(
        self,
        address: Address,
        pin: PeerId,
        request: Request,
        payload: Sequence[Buffer] = (),
        *,
        timeout_s: float = limits.CALL_TIMEOUT_S,
        bulk: bool = False,
    ) -> tuple[Reply, memoryview]:
        """Make a call on the best connection to a peer; see :meth:`PeerConnection.call`.

        Args:
            bulk: a large frame goes or comes: better not on the connection of the small ones.

        Raises:
            Unavailable: also ``connect_failed`` and, while the peer is known to be down and its
                back-off lasts, at once; ``pool_stopped`` while :meth:`run` is not running.
            PeerViolation: ``wrong_server_key``: somebody else listens there.
        """
        deadline = trio.current_time() + timeout_s
        connection = await self.connection(address, pin, timeout_s=timeout_s, bulk=bulk)
        left_s = deadline - trio.current_time()
        return await connection.call(request, payload, timeout_s=left_s)

    def begin(
        self,
        address: Address,
        pin: PeerId,
        request: Request,
        payload: Sequence[Buffer],
        answer: OnAnswer,
        *,
        bulk: bool = False,
    ) -> Callable[[], None]:
        """Make a call as :meth:`call` does, without waiting for its answer: several at once need
        no task each, which would cost more than the call.

        Args:
            answer: called once, later, with what the call came to.

        Returns:
            Gives the call up: from then on ``answer`` is not called. Harmless when it has been.

        Raises:
            AlvearyError: as :meth:`call`, where it is known at once that it cannot be made.
        """
        connection = self._ready(address, pin, bulk)
        if connection is not None:
            call_id = connection.begin(request, payload, answer, timeout_s=limits.CALL_TIMEOUT_S)
            if call_id is not None:
                return partial(connection.give_up, call_id)
        if self._nursery is None:
            raise Unavailable(Outage.POOL_STOPPED)
        scope = trio.CancelScope()

        async def call_in_turn() -> None:
            result: outcome.Outcome[tuple[Reply, memoryview]]
            with scope:
                try:
                    result = outcome.Value(
                        await self.call(address, pin, request, payload, bulk=bulk)
                    )
                except AlvearyError as error:
                    result = outcome.Error(error)
                except Exception as error:
                    log_fault(self._log, "call_broke", error, address=str(address))
                    result = outcome.Error(Unavailable(Outage.INTERNAL_ERROR))
                if not scope.cancel_called:
                    try:
                        answer(result)
                    except Exception as error:
                        log_fault(self._log, "answer_broke", error, address=str(address))

        self._nursery.start_soon(call_in_turn)
        return scope.cancel

    async def connection(
        self,
        address: Address,
        pin: PeerId,
        *,
        timeout_s: float = math.inf,
        bulk: bool = False,
    ) -> PeerConnection:
        """The best connection to a peer, for requests that must share one. Waits for a new one
        only when none is open, and no longer than ``timeout_s``. Raises as :meth:`call` does."""
        connection = self._ready(address, pin, bulk)
        if connection is None:
            peer = self._peers[address, pin]
            known_down = peer.error
            if known_down is not None:
                # It is tried again beside us; the caller need not wait as long as that takes.
                timeout_s = min(timeout_s, limits.UNREACHABLE_PATIENCE_S)
            with trio.move_on_after(timeout_s):
                while connection is None:
                    await self._peers[address, pin].changed.wait()
                    connection = self._ready(address, pin, bulk)
            if connection is None:
                if known_down is not None:
                    raise known_down.again()
                raise Unavailable(Outage.CALL_TIMEOUT, timeout_s=timeout_s)
        return connection

    @property
    def unreachable(self) -> int:
        """The number of peers that could not be reached when last tried, not long ago."""
        now = trio.current_time()
        return sum(
            peer.error is not None and now < peer.retry_at + FORGET_AFTER_S
            for peer in self._peers.values()
        )

    def _ready(self, address: Address, pin: PeerId, bulk: bool) -> PeerConnection | None:
        """The best open connection, or None while one is being made; begins it if need be."""
        key = (address, pin)
        peer = self._peers.get(key)
        if peer is None:
            self._forget_peers()
            peer = self._peers[key] = _Peer()
        usable = [each for each in peer.connections if each.is_open()]
        if len(usable) == self._most == 1:
            return usable[0]
        loads = [each.load for each in usable]
        choice = choose(loads, peer.connecting, self._most, bulk=bulk)
        may_connect = trio.current_time() >= peer.retry_at
        if choice.connect and may_connect:
            if self._nursery is None:
                raise Unavailable(Outage.POOL_STOPPED)
            peer.connecting += 1
            self._nursery.start_soon(self._connect, address, pin, peer)
        if choice.use is not None:
            return usable[choice.use]
        if not may_connect and not peer.connecting:
            assert peer.error is not None
            raise peer.error.again()
        return None

    async def _connect(self, address: Address, pin: PeerId, peer: _Peer) -> None:
        """Make a connection and carry it until it ends."""
        try:
            connection = await self._open(address, pin)
        except BaseException as error:
            peer.connecting -= 1
            self._tell(peer)
            if isinstance(error, AlvearyError):
                self._failed(peer, address, error)
                return
            if not isinstance(error, Exception):
                raise
            self._broke(peer, address, error)
            return
        try:
            await self._carry(connection, address, peer)
        except Exception as error:
            self._broke(peer, address, error)
        finally:
            if connection in peer.connections:
                peer.connections.remove(connection)
            if connection.fell_silent and not peer.connections:
                self._failed(
                    peer, address, Unavailable(Outage.CONNECT_FAILED, cause="peer is silent")
                )

    async def _carry(self, connection: PeerConnection, address: Address, peer: _Peer) -> None:
        if peer.error is not None:
            self._log.info("peer_reached_again", address=str(address))
        peer.failures, peer.retry_at, peer.error = 0, 0.0, None
        peer.connections.append(connection)
        peer.connecting -= 1
        self._tell(peer)
        await connection.run()

    def _broke(self, peer: _Peer, address: Address, error: Exception) -> None:
        """A fault of ours ended this connection. The pool and its other connections go on."""
        log_fault(self._log, "connection_broke", error, address=str(address))
        self._failed(peer, address, Unavailable(Outage.CONNECT_FAILED, cause="internal_error"))

    async def _open(self, address: Address, pin: PeerId) -> PeerConnection:
        charters = self.charters
        is_coordinator = self._is_swarm_key(pin)
        stream = await self._network.connect(address, pin=ANY_KEY if is_coordinator else pin)
        assert stream.server_key is not None, "a pinned stream is secure"
        connection = PeerConnection(stream, stream.server_key)
        try:
            await connection.shake_hands(self._identity, charters, is_coordinator=is_coordinator)
            if is_coordinator:  # a later charter may have come during the handshake
                assert charters is not None
                charters.check(connection.server_id)
        except BaseException:
            await connection.close()
            raise
        return connection

    def _is_swarm_key(self, pin: PeerId) -> bool:
        """Return whether a pin is the id of the key that names coordinators, and proves nothing
        itself."""
        return self.charters is not None and pin == self.charters.swarm_key_id

    def _drop_revoked(self) -> None:
        """Drop the connections to coordinators that the charter does not name any more."""
        charters = self.charters
        assert charters is not None
        for (_, pin), peer in self._peers.items():
            for connection in peer.connections:
                if self._is_swarm_key(pin) and not charters.names(connection.server_id):
                    connection.reject(PeerViolation(Violation.WRONG_SERVER_KEY, cause="revoked"))

    def open_connections(self) -> list[PeerConnection]:
        """Return all connections on which calls can be made."""
        return [
            connection
            for peer in self._peers.values()
            for connection in peer.connections
            if connection.is_open()
        ]

    def _failed(self, peer: _Peer, address: Address, error: AlvearyError) -> None:
        peer.failures += 1
        peer.error = error
        delay_s = retry_delay_s(peer.failures, self._chance.random())
        peer.retry_at = trio.current_time() + delay_s
        if peer.failures == 1:
            self._log.warning("peer_unreachable", address=str(address), error=str(error))
        else:
            self._log.info("connect_failed", address=str(address), error=str(error))

    @staticmethod
    def _tell(peer: _Peer) -> None:
        peer.changed.set()
        peer.changed = trio.Event()

    def _forget_peers(self) -> None:
        """Those that nothing is known of any more that would matter."""
        now = trio.current_time()
        for key, peer in list(self._peers.items()):
            is_busy = peer.connections or peer.connecting
            if not is_busy and now >= peer.retry_at + FORGET_AFTER_S:
                del self._peers[key]
