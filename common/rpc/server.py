"""Answers native calls: one task that reads, one that sends and a few that work per connection.

Source: docs/protocol.md, "Answering".
"""

from __future__ import annotations

import math
import traceback
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeAlias

import trio

from common import limits
from common.errors import AlvearyError, PeerViolation, Refused, Unavailable
from common.ids import PeerId
from common.ports import Buffer, Entropy, Identity, Listener, Log, Stream
from common.rpc.admission import (
    CALL_OVERHEAD_BYTES,
    SMALL_FRAME_BYTES,
    Account,
    JointShare,
    Memory,
)
from common.rpc.outbox import Outbox, Turnstile
from common.rpc.protocol.connection import AnswererConnection
from common.rpc.protocol.events import (
    Called,
    CalledUnknown,
    Cancelled,
    Event,
    GoingAway,
    Proved,
    Unproved,
)
from common.rpc.protocol.states import State
from common.tasks import go_on, log_fault
from common.wire.messages.base import Done, Ping, Reply, Request

CLOSE_TIMEOUT_S = 5.0
"""How long the cleaning up after a connection may take."""
GOODBYE_TIMEOUT_S = 1.0
ACCEPT_RETRY_S = 0.1
"""Out of descriptors, say: time for some connections to end."""
SHORTEST_LIMIT_S = min(
    limits.FRAME_TIMEOUT_S, limits.SEND_TIMEOUT_S, limits.IDLE_CONNECTION_TIMEOUT_S
)
"""Nothing that begins from now on can be overdue sooner."""
EVICTIONS_TOLD_EVERY_S = 10.0
"""A flood of strangers must not flood the log too."""
IDLE_WORKERS = 4
"""Tasks that a connection keeps waiting for work."""


class Caller:
    """Who calls, as handlers see it: one per connection."""

    def __init__(self, peer_id: PeerId, remote: str, channel: bytes) -> None:
        self.peer_id = peer_id
        """Proven by signature."""
        self.remote = remote
        """For logs."""
        self.channel = channel
        """What names this connection to both its ends: for signatures bound to it."""
        self.account: Hashable | None = None
        """Whose share of the server's memory its requests take; None: a stranger."""
        self.state: dict[str, Any] = {}
        """What handlers remember for this connection."""
        self._on_close: list[Callable[[], Awaitable[None]]] = []

    def introduce(self, account: Hashable) -> None:
        """The caller has shown more than a key that anyone can make: it is no stranger any more.

        Args:
            account: what it shares its part of the memory with: its peer id, or its tenant.
                The first one stays.
        """
        if self.account is None:
            self.account = account

    def on_close(self, action: Callable[[], Awaitable[None]]) -> None:
        """Run ``action`` when the connection has ended and no handler of it runs any more."""
        self._on_close.append(action)

    def forget(self, action: Callable[[], Awaitable[None]]) -> None:
        """Take back an :meth:`on_close`."""
        self._on_close.remove(action)

    async def closed(self, log: Log) -> None:
        """Run the actions, newest first; for the server alone."""
        while self._on_close:
            action = self._on_close.pop()
            try:
                await action()
            except AlvearyError as error:
                log.warning("close_action_failed", remote=self.remote, error=str(error))
            except Exception as error:
                # The other actions give back what others wait for: they are run all the same.
                log_fault(log, "close_action_broke", error, remote=self.remote)


Answer: TypeAlias = Reply | tuple[Reply, Sequence[Buffer]]
Handler: TypeAlias = Callable[[Caller, Any, memoryview], Awaitable[Answer]]
Recognise: TypeAlias = Callable[[Caller, Request], None]


class PeerServer:
    """Answers calls on any number of connections.

    Args:
        identity: what it listens with.
        handlers: who carries out which request. Ping is answered without one. A handler raises
            errors of common.errors to fail the call; a PeerViolation also ends the connection;
            any other exception is logged and fails the call as Unavailable ``internal_error``.
        entropy: nonces.
        log: where connections and bugs are told.
        buffer_budget_bytes: memory for requests being received and carried out, and for replies
            being made and sent, of all connections together (half for each). Over it, nothing
            more is read from the sockets.
        recognise: looks at each request of a stranger before it is carried out, of a large one
            before its payload is received, and introduces the caller if the request shows that it
            is known. Handlers may do so, too. Without it, whoever proved a key is known.
        reply_payload_bytes: the longest payload of the reply to a request, set aside before its
            handler runs; for requests not named here it is counted only once it is there.
    """

    def __init__(
        self,
        identity: Identity,
        handlers: Mapping[type[Request], Handler],
        *,
        entropy: Entropy,
        log: Log,
        buffer_budget_bytes: int,
        recognise: Recognise | None = None,
        reply_payload_bytes: Mapping[type[Request], int] | None = None,
    ) -> None:
        self.identity = identity
        self.handlers: Mapping[type[Request], Handler] = {Ping: _pong, **handlers}
        self.entropy = entropy
        self.log = log
        self.memory = Memory(buffer_budget_bytes)
        self.recognise = recognise
        self.reply_payload_bytes = reply_payload_bytes or {}
        self._open: dict[_ServerConnection, None] = {}
        """In the order in which they came."""
        self._evicted = 0
        self._evictions_told_at = -math.inf

    @property
    def connections(self) -> int:
        """How many are open now."""
        return len(self._open)

    async def serve(self, listener: Listener) -> None:
        """Take connections until cancelled; then say goodbye to all and drop them.

        Raises:
            Unavailable: ``listener_closed``, in an exception group: somebody else closed it.
        """
        async with trio.open_nursery() as nursery:
            nursery.start_soon(go_on, "look_after_connections", self._look_after, self.log)
            while True:
                try:
                    stream = await listener.accept()
                except Unavailable as error:
                    if error.reason == "listener_closed":
                        raise
                    self.log.warning("accept_failed", error=str(error))
                    await trio.sleep(ACCEPT_RETRY_S)
                    continue
                is_full = self.connections >= limits.MAX_CONNECTIONS_PER_LISTENER
                if is_full and not self._evict_a_stranger(stream.remote):
                    self.log.warning("too_many_connections", remote=stream.remote)
                    await stream.close()
                    continue
                connection = _ServerConnection(self, stream)
                self._open[connection] = None
                nursery.start_soon(self._serve_one, connection, stream)

    def _evict_a_stranger(self, newcomer: str) -> bool:
        """Free the place of the stranger that came first, one that proved no key before others."""
        strangers = [each for each in self._open if each.is_stranger]
        if not strangers:
            return False
        victim = next((each for each in strangers if not each.has_proved), strangers[0])
        del self._open[victim]
        victim.evict()
        self._evicted += 1
        now = trio.current_time()
        if now >= self._evictions_told_at + EVICTIONS_TOLD_EVERY_S:
            self.log.warning("strangers_evicted", count=self._evicted, newcomer=newcomer)
            self._evicted, self._evictions_told_at = 0, now
        return True

    async def _look_after(self) -> None:
        """Time limits, in one place: a timer per receive and send would cost more than they do."""
        while True:
            now = trio.current_time()
            due = [connection.look_after(now) for connection in self._open]
            await trio.sleep_until(min([now + SHORTEST_LIMIT_S, *due]))

    async def _serve_one(self, connection: _ServerConnection, stream: Stream) -> None:
        try:
            await connection.run()
        except AlvearyError as error:
            self.log.info("connection_ended", remote=stream.remote, error=str(error))
        except Exception as error:
            # A fault of ours ends the connection in which it showed, and no other.
            log_fault(self.log, "connection_broke", error, remote=stream.remote)
        finally:
            self._open.pop(connection, None)  # an evicted one is out already
            with trio.CancelScope(shield=True):
                await stream.close()


async def _pong(caller: Caller, request: Ping, payload: memoryview) -> Answer:
    return Done()


class _Call:
    """A request on its way through the workers."""

    __slots__ = (
        "call_id",
        "cancelled",
        "held_bytes",
        "lane",
        "payload",
        "replies",
        "reply_bytes",
        "request",
        "share",
    )

    def __init__(
        self,
        call_id: int,
        request: Request,
        payload: memoryview,
        share: JointShare,
        held_bytes: int,
        replies: JointShare,
    ) -> None:
        self.call_id = call_id
        self.request = request
        self.payload = payload
        self.share = share
        self.held_bytes = held_bytes
        """Of that share of the memory for requests."""
        self.replies = replies
        self.reply_bytes = 0
        """Of that share of the memory for replies."""
        self.lane = request.lane
        self.cancelled = False


class _ServerConnection:
    """One connection of a server."""

    def __init__(self, server: PeerServer, stream: Stream) -> None:
        self._server = server
        self._stream = stream
        own_key = server.identity.public_key
        self._core = AnswererConnection(own_key, server.entropy(32))
        self._room = Turnstile(self._has_room)
        self._outbox = Outbox(stream, self._room.nudge, self._is_quiet)
        self._queue: deque[_Call] = deque()
        self._lanes: dict[Hashable, deque[_Call]] = {}
        self._calls: dict[int, _Call] = {}
        self._idle: list[trio.lowlevel.Task] = []
        self._workers = 0
        self._waking = False
        self._charged: tuple[JointShare, int] | None = None
        self._account: Account | None = None
        self._call_ended: trio.Event | None = None
        self._handshake = trio.CancelScope()
        self._caller: Caller | None = None
        self._nursery: trio.Nursery | None = None
        self._ended: AlvearyError | None = None
        self._last_received = trio.current_time()
        self._frame_since = math.inf
        """When the frame being received could begin to come; infinite between frames."""

    @property
    def has_proved(self) -> bool:
        """Whether the caller has proved a key, be it any."""
        return self._caller is not None

    @property
    def is_stranger(self) -> bool:
        """Whether the caller may be evicted: nobody has introduced it."""
        return self._caller is None or self._caller.account is None

    def evict(self) -> None:
        """End the connection, to give its place to another."""
        error = Unavailable("connection_lost", cause="evicted")
        if self._nursery is not None:
            self._end(error)
        else:
            self._ended = error
            self._handshake.cancel()

    def look_after(self, now: float) -> float:
        """End the connection if it has broken a limit of time.

        Returns:
            When to look again; what begins in the meantime has SHORTEST_LIMIT_S at least.
        """
        if self._nursery is None:
            return math.inf
        idle_at = math.inf
        if not self._core.calls_in_flight:
            idle_at = self._last_received + limits.IDLE_CONNECTION_TIMEOUT_S
        frame_late_at = self._frame_since + limits.FRAME_TIMEOUT_S
        stuck_at = self._outbox.stuck_at
        if stuck_at <= now:
            self._end(Unavailable("connection_lost", cause="caller does not read"))
        elif frame_late_at <= now:
            self._end(Unavailable("connection_lost", cause="caller does not finish a frame"))
        elif idle_at <= now:
            self._end(Unavailable("connection_lost", cause="idle"))
        else:
            return min(stuck_at, frame_late_at, idle_at)
        return math.inf

    async def run(self) -> None:
        """Shake hands and answer calls until the connection ends.

        Raises:
            AlvearyError: why it ended, where it did not end in peace.
        """
        self._handshake.deadline = trio.current_time() + limits.HANDSHAKE_TIMEOUT_S
        with self._handshake:
            self._caller = await self._shake_hands()
        if self._handshake.cancelled_caught or self._caller is None:
            raise self._ended or Unavailable("connection_lost", cause="no handshake")
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                nursery.start_soon(self._until_ended, self._outbox.run)
                await self._until_ended(self._receive)
        finally:
            with trio.move_on_after(CLOSE_TIMEOUT_S, shield=True):
                await self._clean_up()
        if self._ended is not None:
            raise self._ended

    def _is_quiet(self) -> bool:
        return not self._core.calls_in_flight

    def _has_room(self) -> bool:
        return self._outbox.has_room

    async def _until_ended(self, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except AlvearyError as error:
            self._end(error)

    def _end(self, error: AlvearyError) -> None:
        if self._ended is None:
            self._ended = error
        assert self._nursery is not None
        self._nursery.cancel_scope.cancel()

    async def _clean_up(self) -> None:
        """Say goodbye, give back all memory, let handlers' leftovers go."""
        server = self._server
        ended = self._ended or Unavailable("going_away")
        nothing_half_sent = not self._outbox.unsent_bytes
        self._outbox.give_up()
        goodbye = self._core.go_away(ended)
        if goodbye and nothing_half_sent:
            with trio.move_on_after(GOODBYE_TIMEOUT_S), suppress(Unavailable):
                await self._stream.send(goodbye)
        await self._stream.close()
        self._give_charge_back()
        for call in self._calls.values():
            call.share.give(call.held_bytes)
            call.held_bytes = 0
        if self._account is not None:
            server.memory.close(self._account)
        assert self._caller is not None
        await self._caller.closed(server.log)

    async def _shake_hands(self) -> Caller | None:
        core, stream = self._core, self._stream
        await stream.send(core.hello())
        try:
            while (event := core.next_event()) is None:
                if not await self._receive_some():
                    return None
        except PeerViolation as error:
            await stream.send(core.go_away(error))
            raise
        if isinstance(event, Proved):
            await stream.send(core.ready())
            caller = Caller(event.peer_id, stream.remote, core.channel)
            if self._server.recognise is None:
                caller.introduce(event.peer_id)
            return caller
        if isinstance(event, Unproved):
            await stream.send(core.refuse(event.error))
            raise event.error
        assert isinstance(event, GoingAway)
        return None

    async def _receive_some(self) -> bool:
        count = await self._stream.receive_into(self._core.get_buffer())
        if count:
            self._core.bytes_received(count)
            self._last_received = trio.current_time()
            return True
        self._core.end_of_stream()
        return False

    async def _receive(self) -> None:
        """Read frames and queue what they ask for, as long as there is memory for them."""
        core = self._core
        while True:
            while True:
                if self._account is None:
                    self._find_account()
                    if self._account is None and len(self._calls) >= limits.MAX_CALLS_OF_A_STRANGER:
                        await self._until_a_call_ended()
                        continue
                event = core.next_event()
                if event is None:
                    break
                self._frame_since = math.inf
                if isinstance(event, Called):
                    await self._called(event)
                else:
                    self._happened(event)
                    self._give_charge_back()
            if self._queue and not self._waking:
                self._wake_worker()
            if core.state is State.DRAINING and not core.calls_in_flight:
                raise Unavailable("connection_lost", cause="caller went away")
            wanted = core.wanted_bytes
            if wanted > SMALL_FRAME_BYTES and self._charged is None:
                await self._begin_large_frame(wanted)
            if wanted and self._frame_since == math.inf:
                self._frame_since = trio.current_time()
            if not await self._receive_some():
                raise Unavailable("connection_lost", cause="closed by peer")

    async def _begin_large_frame(self, size: int) -> None:
        """Take the memory that the rest of a frame needs, unless a stranger sends it.

        Raises:
            Refused: ``stranger``: nothing that the caller has sent shows who it is.
        """
        core = self._core
        if self._account is None and core.unfinished_bytes[0] <= SMALL_FRAME_BYTES:
            if not core.header_is_whole:
                return  # it fits the receive buffer; once it is here, it may show who calls
            request = core.unfinished_request()
            if request is not None:
                self._recognise(request)
        while self._account is None:
            if not self._calls:
                raise Refused("stranger", frame_bytes=size)
            await self._until_a_call_ended()
            self._find_account()
        await self._charge(size)

    async def _until_a_call_ended(self) -> None:
        self._frame_since = math.inf
        self._call_ended = trio.Event()
        if self._queue and not self._waking:
            self._wake_worker()
        await self._call_ended.wait()

    def _recognise(self, request: Request) -> None:
        """Let the server look at a request of a stranger."""
        assert self._caller is not None
        if self._server.recognise is not None:
            self._server.recognise(self._caller, request)
        self._find_account()

    def _find_account(self) -> None:
        """Use the memory of the caller's account from when on it is introduced.

        Raises:
            Refused: ``too_many_connections`` of this caller.
        """
        assert self._caller is not None
        if self._account is not None or self._caller.account is None:
            return
        self._account = self._server.memory.open(self._caller.account)
        if self._account.connections > limits.MAX_CONNECTIONS_PER_CALLER:
            raise Refused("too_many_connections")

    async def _charge(self, size: int) -> None:
        """Take the memory of the next call; wait for it, if need be."""
        size += CALL_OVERHEAD_BYTES
        if self._account is None:
            share = self._server.memory.strangers_share
        elif size <= SMALL_FRAME_BYTES + CALL_OVERHEAD_BYTES:
            share = self._account.small
        else:
            share = self._account.large
        if not share.take_nowait(size):
            self._frame_since = math.inf
            if self._queue and not self._waking:
                self._wake_worker()
            await share.take(size)
        self._charged = share, size

    def _give_charge_back(self) -> None:
        """The frame that was paid for is no call that would hold its memory."""
        if self._charged is not None:
            share, size = self._charged
            share.give(size)
            self._charged = None

    async def _called(self, event: Called) -> None:
        if self._account is None:
            self._recognise(event.request)
        if self._charged is None:
            await self._charge(event.size)
        assert self._charged is not None
        share, size = self._charged
        account = self._account
        replies = self._server.memory.strangers_replies if account is None else account.replies
        call = _Call(event.call_id, event.request, event.payload, share, size, replies)
        self._charged = None
        self._calls[event.call_id] = call
        if call.lane is not None:
            behind = self._lanes.get(call.lane)
            if behind is not None:
                behind.append(call)
                return
            self._lanes[call.lane] = deque()
        self._queue.append(call)

    def _happened(self, event: Event) -> None:
        if isinstance(event, Cancelled):
            call = self._calls.get(event.call_id)
            if call is not None:
                call.cancelled = True
        elif isinstance(event, CalledUnknown):
            self._outbox.put(
                self._core.fail(event.call_id, Refused("unknown_request", code=event.code))
            )
        else:
            assert isinstance(event, GoingAway)

    def _wake_worker(self) -> None:
        """Let one more worker look at the queue. Each wakes the next, so that a burst of requests
        whose handlers do not block is done by one of them, without a task switch for each."""
        if self._idle:
            trio.lowlevel.reschedule(self._idle.pop())
        elif self._workers < limits.MAX_CALLS_IN_FLIGHT_PER_CONNECTION:
            self._workers += 1
            assert self._nursery is not None
            self._nursery.start_soon(self._work)
        else:
            return
        self._waking = True

    async def _work(self) -> None:
        queue, idle = self._queue, self._idle

        def abort(_: object) -> trio.lowlevel.Abort:
            idle.remove(task)
            return trio.lowlevel.Abort.SUCCEEDED

        task = trio.lowlevel.current_task()
        while True:
            self._waking = False
            while queue:
                call = queue.popleft()
                if queue and not self._waking:
                    self._wake_worker()
                await self._carry_out_lane(call)
            if len(idle) >= IDLE_WORKERS:
                self._workers -= 1
                return
            idle.append(task)
            await trio.lowlevel.wait_task_rescheduled(abort)

    async def _carry_out_lane(self, call: _Call) -> None:
        """Carry out a call, and after it those that came behind it in its lane."""
        if call.lane is None:
            await self._carry_out(call)
            return
        behind = self._lanes[call.lane]
        while True:
            await self._carry_out(call)
            if not behind:
                del self._lanes[call.lane]
                return
            call = behind.popleft()

    async def _carry_out(self, call: _Call) -> None:
        server = self._server
        reserved = 0
        if self._account is not None:  # a stranger's request comes to no payload
            reserved = server.reply_payload_bytes.get(type(call.request), 0)
        try:
            if reserved:
                if not call.replies.take_nowait(reserved):
                    await call.replies.take(reserved)
                call.reply_bytes = reserved
            answer = await self._handle(call)
            call.share.give(call.held_bytes)
            call.held_bytes = 0
            await self._answer(call, answer)
        finally:
            call.share.give(call.held_bytes)
            call.replies.give(call.reply_bytes)
            del self._calls[call.call_id]
            if self._call_ended is not None:
                self._call_ended.set()

    async def _handle(self, call: _Call) -> Answer | AlvearyError:
        """Run the handler; whatever goes wrong in it becomes an error to answer with."""
        if call.cancelled:
            return Refused("cancelled")
        handler = self._server.handlers.get(type(call.request))
        if handler is None:
            return Refused("unknown_request", code=call.request.code)
        assert self._caller is not None
        try:
            return await handler(self._caller, call.request, call.payload)
        except AlvearyError as error:
            return error
        except Exception as error:
            return self._bug(call, error)

    async def _keep_reply_bytes(self, call: _Call, size: int) -> None:
        """Have exactly ``size`` bytes of the budget for the reply."""
        budget = call.replies
        if size <= call.reply_bytes:
            budget.give(call.reply_bytes - size)
        else:
            budget.give(call.reply_bytes)
            call.reply_bytes = 0
            if not budget.take_nowait(size):
                await budget.take(size)
        call.reply_bytes = size

    def _bug(self, call: _Call, error: Exception) -> AlvearyError:
        name = type(call.request).__name__
        self._server.log.error(
            "handler_failed", request=name, traceback="".join(traceback.format_exception(error))
        )
        return Unavailable("internal_error")

    async def _answer(self, call: _Call, answer: Answer | AlvearyError) -> None:
        budget = call.replies
        payload: Sequence[Buffer] = ()
        if call.cancelled:
            answer = Refused("cancelled")
        elif type(answer) is tuple:
            answer, payload = answer
        size = sum(map(len, payload))
        if size != call.reply_bytes:
            await self._keep_reply_bytes(call, size)
        if not self._outbox.has_room:
            await self._room.enter()
        try:
            if isinstance(answer, Reply):
                parts = self._core.reply(call.call_id, answer, payload)
            else:
                assert isinstance(answer, AlvearyError)
                parts = self._core.fail(call.call_id, answer)
        except Exception as error:
            parts = self._core.fail(call.call_id, self._bug(call, error))
            await self._keep_reply_bytes(call, 0)
        self._outbox.put(parts, budget.give if call.reply_bytes else None)
        call.reply_bytes = 0
        self._room.nudge()
        if isinstance(answer, PeerViolation):
            with trio.move_on_after(GOODBYE_TIMEOUT_S):
                await self._outbox.wait_idle()
            self._end(answer)
