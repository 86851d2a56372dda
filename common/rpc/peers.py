"""Calls to other peers over pooled native connections.

Source: docs/protocol.md, "Calls" and "Connections of a pool".
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Final, NamedTuple, TypeAlias

import outcome
import trio

from common import limits
from common.errors import AlvearyError, OutcomeUnknown, PeerViolation, Unavailable
from common.ids import PeerId
from common.ports import Address, Buffer, Chance, Identity, Log, Network, Stream
from common.rpc.outbox import Outbox, Turnstile
from common.rpc.protocol.connection import CallerConnection
from common.rpc.protocol.events import (
    Accepted,
    Answered,
    Event,
    Failed,
    GoingAway,
    Greeted,
    Rejected,
)
from common.rpc.protocol.pool_policy import Load, choose, retry_delay_s
from common.rpc.protocol.states import State
from common.tasks import log_fault
from common.wire.messages.base import Ping, Reply, Request

IDLE_AFTER_S: Final = limits.IDLE_CONNECTION_TIMEOUT_S / 2
"""The answerer must not be the one who closes an idle connection: under a new call, perhaps."""
LOOK_PAUSE_S: Final = 1.0
"""Between two looks at a connection that is in trouble."""
FORGET_AFTER_S: Final = 60.0
"""How long the back-off of a peer without connections is remembered beyond its end."""


Answer: TypeAlias = Callable[[outcome.Outcome[tuple[Reply, memoryview]]], None]
"""Is given what a call came to: the reply and its payload, or an AlvearyError. It must not wait,
nor begin calls, nor give any up."""


class _Waiting(NamedTuple):
    """Who waits for the answer to a call."""

    answer: Answer
    number: int
    """Of its frame in the outbox."""
    deadline: float
    timeout_s: float


class PeerConnection:
    """One connection to a peer. Made by :class:`PeerPool`."""

    def __init__(self, stream: Stream, server_key: bytes) -> None:
        self._stream = stream
        self._core = CallerConnection(server_key)
        self._gate = Turnstile(self._may_enter)
        self._outbox = Outbox(stream, self._gate.nudge)
        self._waiting: dict[int, _Waiting] = {}
        self._lost: AlvearyError | None = None
        self._last_received = self._busy_since = trio.current_time()
        self._alarm = trio.CancelScope(deadline=self._last_received + IDLE_AFTER_S)
        self._last_probe = 0.0
        self.fell_silent = False
        """Whether it was given up since nothing came from the peer any more."""
        self._scope = trio.CancelScope()
        self.state: dict[str, Any] = {}
        """For the owner's use: what was agreed on this connection."""

    def is_open(self) -> bool:
        """True while new calls can be made on it."""
        return self._lost is None and self._core.state is State.OPEN

    @property
    def load(self) -> Load:
        """What it is busy with."""
        return Load(self._core.calls_in_flight, self._outbox.unsent_bytes)

    @property
    def channel(self) -> bytes:
        """What names this connection to both its ends, 64 bytes: for signatures bound to it."""
        return self._core.channel

    @property
    def remote(self) -> str:
        """The other end, for logs."""
        return self._stream.remote

    async def call(
        self,
        request: Request,
        payload: Sequence[Buffer] = (),
        *,
        timeout_s: float = limits.CALL_TIMEOUT_S,
    ) -> tuple[Reply, memoryview]:
        """Make a call and wait for its answer. Requests leave in the order the calls began.

        Args:
            request: what to do.
            payload: flat byte buffers sent beside it, not copied. They are given away: they must
                not be changed even after the call, which may end before they are sent.
            timeout_s: for everything together.

        Returns:
            The reply, of type ``request.reply``, and its payload.

        Raises:
            Unavailable: surely not carried out (``connection_lost``, ``call_timeout``), or the
                peer says so.
            OutcomeUnknown: ``connection_lost`` or ``call_timeout``: perhaps carried out.
            AlvearyError: any other that the peer answers with.
        """
        deadline = trio.current_time() + timeout_s
        if not self._gate.enter_nowait():
            with trio.move_on_at(deadline) as scope:
                await self._gate.enter()
            if scope.cancelled_caught:
                raise Unavailable("call_timeout", timeout_s=timeout_s)
        reschedule = partial(trio.lowlevel.reschedule, trio.lowlevel.current_task())
        call_id = self._send_call(request, payload, reschedule, deadline, timeout_s)

        def abort(_: object) -> trio.lowlevel.Abort:
            self.give_up(call_id)
            return trio.lowlevel.Abort.SUCCEEDED

        answer: tuple[Reply, memoryview] = await trio.lowlevel.wait_task_rescheduled(abort)
        return answer

    def begin(
        self, request: Request, payload: Sequence[Buffer], answer: Answer, *, timeout_s: float
    ) -> int | None:
        """Make a call without waiting for its answer. Arguments are those of :meth:`call`.

        Args:
            answer: called once, later, unless the call is given up before.

        Returns:
            A number for :meth:`give_up`; None, and nothing was begun: it has to wait its turn.

        Raises:
            Unavailable: ``connection_lost``: surely not carried out.
        """
        if not self._gate.enter_nowait():
            return None
        deadline = trio.current_time() + timeout_s
        return self._send_call(request, payload, answer, deadline, timeout_s)

    def _send_call(
        self,
        request: Request,
        payload: Sequence[Buffer],
        answer: Answer,
        deadline: float,
        timeout_s: float,
    ) -> int:
        """Send the call whose turn it is, and let the next have its turn."""
        try:
            if self._lost is not None or self._core.state is not State.OPEN:
                raise self._unavailable()
            if not self._core.calls_in_flight:
                self._busy_since = now = trio.current_time()
                self._alarm.deadline = min(deadline, now + limits.PROBE_AFTER_S)
            elif deadline < self._alarm.deadline:  # setting it is dear
                self._alarm.deadline = deadline
            call_id, parts = self._core.call(request, payload)
            number = self._outbox.put(parts)
        finally:
            self._gate.nudge()
        self._waiting[call_id] = _Waiting(answer, number, deadline, timeout_s)
        return call_id

    def give_up(self, call_id: int) -> None:
        """The caller does not wait any more; nothing happens if the call has ended."""
        if self._waiting.pop(call_id, None) is not None and self._lost is None:
            parts = self._core.cancel(call_id)
            if parts:
                self._outbox.put(parts)

    async def _keep_time(self) -> None:
        """One alarm for all that can become due: a cancel scope for each call would be a tenth of
        what a small request costs.

        Raises:
            Unavailable: ``connection_lost``: the peer is dead, or the connection idle.
        """
        while True:
            with self._alarm:
                await trio.sleep_forever()
            now = trio.current_time()
            self._end_late_calls(now)
            self._look_after(now)
            self._alarm = trio.CancelScope(deadline=self._next_look(now))

    def _end_late_calls(self, now: float) -> None:
        for call_id, call in list(self._waiting.items()):
            if call.deadline <= now:
                self.give_up(call_id)
                call.answer(outcome.Error(OutcomeUnknown("call_timeout", timeout_s=call.timeout_s)))

    def _look_after(self, now: float) -> None:
        """Probe a silent peer, give up a dead or an idle one."""
        if self._is_idle():
            if now >= self._last_received + IDLE_AFTER_S:
                raise Unavailable("connection_lost", cause="idle")
            return
        silent_s = now - max(self._last_received, self._busy_since)
        # A peer that is going away takes no probe: it gets as long as a call.
        limit_s = limits.DEAD_AFTER_S if self.is_open() else limits.CALL_TIMEOUT_S
        if silent_s >= limit_s:
            self.fell_silent = True
            raise Unavailable("connection_lost", cause="peer is silent")
        if self._outbox.stuck_at <= now:
            raise Unavailable("connection_lost", cause="peer does not read")
        if silent_s >= limits.PROBE_AFTER_S and now - self._last_probe >= limits.PROBE_AFTER_S:
            self._probe(now)

    def _next_look(self, now: float) -> float:
        """When something can be due next, if nothing happens until then."""
        if self._is_idle():
            return self._last_received + IDLE_AFTER_S
        heard = max(self._last_received, self._busy_since)
        look = min(max(heard, self._last_probe) + limits.PROBE_AFTER_S, heard + limits.DEAD_AFTER_S)
        late = min((call.deadline for call in self._waiting.values()), default=math.inf)
        return min(late, max(look, now + LOOK_PAUSE_S))

    def _is_idle(self) -> bool:
        return not self._core.calls_in_flight and not self._outbox.unsent_bytes

    async def shake_hands(self, identity: Identity) -> None:
        """Check who answers and prove who calls; first of all, and once.

        Raises:
            AlvearyError: close it: nothing can be carried out on it.
        """
        with trio.move_on_after(limits.HANDSHAKE_TIMEOUT_S):
            while True:
                event = await self._next_event()
                if isinstance(event, Greeted):
                    signature = identity.sign(event.message)
                    await self._stream.send(self._core.prove(identity.public_key, signature))
                elif isinstance(event, Rejected):
                    raise event.error
                else:
                    assert isinstance(event, Accepted)
                    return
        raise Unavailable("connect_failed", cause="handshake timed out")

    async def run(self) -> None:
        """Carry calls until the connection ends or is cancelled; the calls get the error."""
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._until_lost, self._outbox.run)
                    nursery.start_soon(self._until_lost, self._keep_time)
                    await self._until_lost(self._receive)
        finally:
            await self.close()

    def reject(self, error: PeerViolation) -> None:
        """Drop the connection for what the peer answered on it and the protocol core cannot judge.
        Calls in flight end as when it is lost, and no call begins on it any more."""
        self._lose(error)
        self._scope.cancel()

    async def close(self) -> None:
        """Drop the connection; calls in flight end with OutcomeUnknown ``connection_lost``."""
        self._lose(Unavailable("connection_lost", cause="closed here"))
        with trio.CancelScope(shield=True):
            await self._stream.close()

    def _probe(self, now: float) -> None:
        if self.is_open() and self._may_enter():
            self._last_probe = now
            call_id, parts = self._core.call(Ping())
            self._outbox.put(parts)
            self._outbox.put(self._core.cancel(call_id))

    def _may_enter(self) -> bool:
        core = self._core
        if core.state is not State.OPEN or self._lost is not None:
            return True  # to be turned away
        return self._outbox.has_room and core.calls_in_flight < core.max_calls

    def _unavailable(self) -> Unavailable:
        cause = str(self._lost) if self._lost is not None else "peer is going away"
        return Unavailable("connection_lost", cause=cause)

    async def _next_event(self) -> Event:
        while True:
            event = self._core.next_event()
            if event is not None:
                return event
            count = await self._stream.receive_into(self._core.get_buffer())
            if not count:
                self._core.end_of_stream()
                raise Unavailable("connection_lost", cause="closed by peer")
            self._core.bytes_received(count)

    async def _until_lost(self, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except AlvearyError as error:
            self._lose(error)
            self._scope.cancel()

    async def _receive(self) -> None:
        core, stream, waiting = self._core, self._stream, self._waiting
        try:
            while True:
                while (event := core.next_event()) is not None:
                    if isinstance(event, Answered):
                        found = waiting.pop(event.call_id, None)
                        if found is not None:
                            found.answer(outcome.Value((event.reply, event.payload)))
                    elif isinstance(event, Failed):
                        found = waiting.pop(event.call_id, None)
                        if found is not None:
                            found.answer(outcome.Error(event.error))
                    else:
                        assert isinstance(event, GoingAway)
                        if isinstance(event.error, PeerViolation):
                            raise event.error
                self._gate.nudge()
                if not core.calls_in_flight:
                    if core.state is State.DRAINING:
                        raise Unavailable("connection_lost", cause="peer went away")
                    self._alarm.deadline = self._last_received + IDLE_AFTER_S
                count = await stream.receive_into(core.get_buffer())
                if not count:
                    core.end_of_stream()
                    raise Unavailable("connection_lost", cause="closed by peer")
                core.bytes_received(count)
                self._last_received = trio.current_time()
        except PeerViolation as error:
            await self._say_goodbye(error)
            raise

    async def _say_goodbye(self, error: AlvearyError) -> None:
        parts = self._core.go_away(error)
        if parts:
            self._outbox.put(parts)
            with trio.move_on_after(1):
                await self._outbox.wait_idle()

    def _lose(self, error: AlvearyError) -> None:
        """The connection is of no more use: tell everybody who waits."""
        if self._lost is not None:
            return
        self._lost = error
        facts = {"cause": str(error), "remote": self._stream.remote}
        for call in self._waiting.values():
            kind = OutcomeUnknown if self._outbox.was_taken(call.number) else Unavailable
            call.answer(outcome.Error(kind("connection_lost", **facts)))
        self._waiting.clear()
        self._outbox.give_up()
        self._gate.nudge()


Greeting = Callable[[PeerConnection], Awaitable[None]]


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
        identity: who we prove to be.
        connections_per_peer: the most to one peer.
        chance: jitter of retries.
        log: connections made and lost.
        greeting: runs on each new connection before others use it (to open tenants, say). If it
            raises, the connection is dropped and its callers get the error.
    """

    def __init__(
        self,
        network: Network,
        identity: Identity,
        *,
        connections_per_peer: int,
        chance: Chance,
        log: Log,
        greeting: Greeting | None = None,
    ) -> None:
        assert connections_per_peer >= 1
        self._network = network
        self._identity = identity
        self._most = connections_per_peer
        self._chance = chance
        self._log = log
        self._greeting = greeting
        self._peers: dict[tuple[Address, PeerId], _Peer] = {}
        self._nursery: trio.Nursery | None = None

    @property
    def peer_id(self) -> PeerId:
        """Who we prove to be."""
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
        answer: Answer,
        *,
        bulk: bool = False,
    ) -> Callable[[], None]:
        """Make a call as :meth:`call` does, without waiting for its answer: who makes several at
        once needs no task for each, which would cost more than the call.

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
            raise Unavailable("pool_stopped")
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
                    result = outcome.Error(Unavailable("internal_error"))
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
                # It is tried again beside us; whoever calls need not wait as long as that takes.
                timeout_s = min(timeout_s, limits.UNREACHABLE_PATIENCE_S)
            with trio.move_on_after(timeout_s):
                while connection is None:
                    await self._peers[address, pin].changed.wait()
                    connection = self._ready(address, pin, bulk)
            if connection is None:
                if known_down is not None:
                    raise type(known_down)(known_down.reason, **known_down.fields)
                raise Unavailable("call_timeout", timeout_s=timeout_s)
        return connection

    @property
    def unreachable(self) -> int:
        """How many peers could not be reached when last tried, not long ago."""
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
                raise Unavailable("pool_stopped")
            peer.connecting += 1
            self._nursery.start_soon(self._connect, address, pin, peer)
        if choice.use is not None:
            return usable[choice.use]
        if not may_connect and not peer.connecting:
            assert peer.error is not None
            raise type(peer.error)(peer.error.reason, **peer.error.fields)
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
                self._failed(peer, address, Unavailable("connect_failed", cause="peer is silent"))

    async def _carry(self, connection: PeerConnection, address: Address, peer: _Peer) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(connection.run)
            try:
                if self._greeting is not None:
                    await self._greeting(connection)
                if peer.error is not None:
                    self._log.info("peer_reached_again", address=str(address))
                peer.failures, peer.retry_at, peer.error = 0, 0.0, None
                peer.connections.append(connection)
            except AlvearyError as error:
                self._failed(peer, address, error)
                nursery.cancel_scope.cancel()
            finally:
                peer.connecting -= 1
                self._tell(peer)

    def _broke(self, peer: _Peer, address: Address, error: Exception) -> None:
        """A fault of ours ended this connection. The pool and its other connections go on."""
        log_fault(self._log, "connection_broke", error, address=str(address))
        self._failed(peer, address, Unavailable("connect_failed", cause="internal_error"))

    async def _open(self, address: Address, pin: PeerId) -> PeerConnection:
        stream = await self._network.connect(address, pin=pin)
        assert stream.server_key is not None, "a pinned stream is secure"
        connection = PeerConnection(stream, stream.server_key)
        try:
            await connection.shake_hands(self._identity)
        except BaseException:
            await connection.close()
            raise
        return connection

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
