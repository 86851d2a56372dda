"""The calls of one connection, from when they are received until their replies wait to be sent.

Source: docs/protocol.md, "Answering".
"""

from __future__ import annotations

import math
import traceback
from collections import deque
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Final, Generic

import trio

from common import limits
from common.charter_book import CharterBook
from common.data_classes import dataclass
from common.errors import AlvearyError, PeerViolation, Refused, Unavailable
from common.ports import Buffer, Entropy, Identity, Log
from common.reasons import Outage, Refusal
from common.rpc.admission import Memory
from common.rpc.budget import Share
from common.rpc.caller import Answer, Caller, EndSession, Handler, Recognise, S, Turn
from common.rpc.outbox import Outbox, Turnstile
from common.rpc.protocol.connection import AnswererConnection
from common.wire.messages.base import Reply, Request

GOODBYE_TIMEOUT_S: Final = 1.0
IDLE_WORKERS: Final = 4
"""Tasks that a connection keeps waiting for work."""


@dataclass(frozen=True, slots=True)
class Service(Generic[S]):
    """The fixed parts of a server, the same on all its connections; see
    :class:`common.rpc.server.PeerServer`."""

    identity: Identity
    handlers: Mapping[type[Request], Handler[S]]
    new_session: Callable[[], S]
    end_session: EndSession[S] | None
    recognise: Recognise[S] | None
    reply_payload_bytes: Mapping[type[Request], int]
    turns: Mapping[type[Request], Turn[S]]
    memory: Memory
    entropy: Entropy
    log: Log
    charters: CharterBook | None


class InboundCall:
    """A request on its way through the workers.

    Args:
        requests: the part of the memory for requests that ``held_bytes`` are taken from.
        replies: the part that the reply's payload will be taken from.
    """

    __slots__ = (
        "call_id",
        "cancelled",
        "held_bytes",
        "lane",
        "payload",
        "replies",
        "reply_bytes",
        "request",
        "requests",
    )

    def __init__(
        self,
        call_id: int,
        request: Request,
        payload: memoryview,
        requests: Share,
        held_bytes: int,
        replies: Share,
    ) -> None:
        self.call_id = call_id
        self.request = request
        self.payload = payload
        self.requests = requests
        self.held_bytes = held_bytes
        self.replies = replies
        self.reply_bytes = 0
        """Taken of ``replies``."""
        self.lane: Hashable = request.lane
        self.cancelled = False


class Answering(Generic[S]):
    """Carries out the calls of one connection: those of one lane one after another, all others at
    the same time.

    Args:
        room: lets replies into the outbox.
        on_answered: called when a call has left.
        end: ends the connection, for what a caller did.
    """

    def __init__(
        self,
        service: Service[S],
        caller: Caller[S],
        core: AnswererConnection,
        outbox: Outbox,
        room: Turnstile,
        *,
        on_answered: Callable[[], None],
        end: Callable[[AlvearyError], None],
    ) -> None:
        self._service = service
        self._caller = caller
        self._core = core
        self._outbox = outbox
        self._room = room
        self._nursery: trio.Nursery | None = None
        self._on_answered = on_answered
        self._end = end
        self._calls: dict[int, InboundCall] = {}
        self._queue: deque[InboundCall] = deque()
        self._lanes: dict[Hashable, deque[InboundCall]] = {}
        self._idle: list[trio.lowlevel.Task] = []
        self._workers = 0
        self._waking = False

    @property
    def calls(self) -> int:
        """The number of calls that have not been answered."""
        return len(self._calls)

    def begin(self, nursery: trio.Nursery) -> None:
        """Have the workers run there."""
        self._nursery = nursery

    def add(self, call: InboundCall) -> None:
        """Take a call in; it is begun at the next :meth:`wake`, or behind others of its lane."""
        self._calls[call.call_id] = call
        if call.lane is not None:
            behind = self._lanes.get(call.lane)
            if behind is not None:
                behind.append(call)
                return
            self._lanes[call.lane] = deque()
        self._queue.append(call)

    def cancel(self, call_id: int) -> None:
        """Do not carry out this call, if it is not begun, and spare its reply."""
        call = self._calls.get(call_id)
        if call is not None:
            call.cancelled = True

    def wake(self) -> None:
        """Begin the calls that were added."""
        if self._queue and not self._waking:
            self._wake_worker()

    def give_memory_back(self) -> None:
        """Return all memory that calls took for requests, after the connection has ended."""
        for call in self._calls.values():
            call.requests.give(call.held_bytes)
            call.held_bytes = 0

    # --- workers --------------------------------------------------------------------------

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

    async def _carry_out_lane(self, call: InboundCall) -> None:
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

    # --- one call ---------------------------------------------------------------------------

    async def _carry_out(self, call: InboundCall) -> None:
        answer: Answer | AlvearyError | None = None
        turn = self._service.turns.get(type(call.request))
        reserved = 0
        if self._caller.account is not None:  # a stranger's request comes to no payload
            reserved = self._service.reply_payload_bytes.get(type(call.request), 0)
        try:
            if turn is not None:
                answer = await self._wait_turn(call, turn)
            if answer is None:
                if reserved:
                    if not call.replies.take_nowait(reserved):
                        await call.replies.take(reserved, wait_s=math.inf)
                    call.reply_bytes = reserved
                answer = await self._handle(call)
            call.requests.give(call.held_bytes)
            call.held_bytes = 0
            await self._answer(call, answer)
        finally:
            # Nearly always given back by now: giving nothing costs, too.
            if call.held_bytes:
                call.requests.give(call.held_bytes)
            if call.reply_bytes:
                call.replies.give(call.reply_bytes)
            del self._calls[call.call_id]
            self._on_answered()

    async def _wait_turn(self, call: InboundCall, turn: Turn[S]) -> AlvearyError | None:
        """Wait for the turn of a call; None: it has come."""
        try:
            waiting = turn(self._caller, call.request)
            if waiting is not None:
                await waiting
        except AlvearyError as error:
            return error
        except Exception as error:
            return self._bug(call, error)
        return None

    async def _handle(self, call: InboundCall) -> Answer | AlvearyError:
        """Run the handler; whatever goes wrong in it becomes an error to answer with."""
        if call.cancelled:
            return Refused(Refusal.CANCELLED)
        handler = self._service.handlers.get(type(call.request))
        if handler is None:
            return Refused(Refusal.UNKNOWN_REQUEST, code=call.request.code)
        try:
            return await handler(self._caller, call.request, call.payload)
        except AlvearyError as error:
            return error
        except Exception as error:
            return self._bug(call, error)

    def _bug(self, call: InboundCall, error: Exception) -> AlvearyError:
        name = type(call.request).__name__
        self._service.log.error(
            "handler_failed", request=name, traceback="".join(traceback.format_exception(error))
        )
        return Unavailable(Outage.INTERNAL_ERROR)

    async def _answer(self, call: InboundCall, answer: Answer | AlvearyError) -> None:
        payload: Sequence[Buffer] = ()
        if call.cancelled:
            answer = Refused(Refusal.CANCELLED)
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
        self._outbox.put(parts, call.replies.give if call.reply_bytes else None)
        call.reply_bytes = 0
        self._room.nudge()
        if isinstance(answer, PeerViolation):
            with trio.move_on_after(GOODBYE_TIMEOUT_S):
                await self._outbox.wait_idle()
            self._end(answer)

    async def _keep_reply_bytes(self, call: InboundCall, size: int) -> None:
        """Have exactly ``size`` bytes of the memory for replies."""
        replies = call.replies
        if size <= call.reply_bytes:
            replies.give(call.reply_bytes - size)
        else:
            replies.give(call.reply_bytes)
            call.reply_bytes = 0
            if not replies.take_nowait(size):
                await replies.take(size, wait_s=math.inf)
        call.reply_bytes = size
