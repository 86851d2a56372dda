"""The receiving half of a server's connection: reads frames as long as there is memory for them.

Source: docs/protocol.md, "Answering", "Strangers and known callers".
"""

from __future__ import annotations

import math
from typing import Generic

import trio

from common import limits
from common.errors import Refused, Unavailable
from common.ports import Stream
from common.reasons import Outage, Refusal
from common.rpc.admission import CALL_OVERHEAD_BYTES, SMALL_FRAME_BYTES, Account
from common.rpc.answering import Answering, InboundCall, Service
from common.rpc.budget import Share
from common.rpc.caller import Caller, S
from common.rpc.outbox import Outbox
from common.rpc.protocol.connection import AnswererConnection
from common.rpc.protocol.events import Called, CalledUnknown, Cancelled, Event, GoingAway
from common.rpc.protocol.states import State
from common.wire.messages.base import Request


class Receiving(Generic[S]):
    """Reads the frames of one connection and hands its calls over.

    Attributes:
        last_received: when bytes came last.
        frame_since: when the frame being received could begin to come; infinite between frames.
    """

    def __init__(
        self,
        service: Service[S],
        caller: Caller[S],
        core: AnswererConnection,
        stream: Stream,
        outbox: Outbox,
    ) -> None:
        self.last_received = trio.current_time()
        self.frame_since = math.inf
        self._service = service
        self._caller = caller
        self._core = core
        self._stream = stream
        self._outbox = outbox
        self._account: Account | None = None
        self._charged: tuple[Share, int] | None = None
        self._answered: trio.Event | None = None

    def on_answered(self) -> None:
        """Note that a call has been answered: a stranger may make another."""
        if self._answered is not None:
            self._answered.set()

    def give_memory_back(self) -> None:
        """Return the connection's memory, after its calls have returned theirs."""
        self._give_charge_back()
        if self._account is not None:
            self._service.memory.close(self._account)

    async def run(self, answering: Answering[S]) -> None:
        """Read until the connection ends.

        Raises:
            AlvearyError: why it ended.
        """
        core = self._core
        while True:
            while True:
                if self._account is None:
                    self._find_account()
                    if self._account is None and answering.calls >= limits.MAX_CALLS_OF_A_STRANGER:
                        await self._wait_answered(answering)
                        continue
                event = core.next_event()
                if event is None:
                    break
                self.frame_since = math.inf
                if isinstance(event, Called):
                    await self._called(event, answering)
                else:
                    self._happened(event, answering)
                    self._give_charge_back()
            answering.wake()
            if core.state is State.DRAINING and not core.calls_in_flight:
                raise Unavailable(Outage.CONNECTION_LOST, cause="caller went away")
            wanted = core.wanted_bytes
            if wanted > SMALL_FRAME_BYTES and self._charged is None:
                await self._begin_large_frame(wanted, answering)
            if wanted and self.frame_since == math.inf:
                self.frame_since = trio.current_time()
            count = await self._stream.receive_into(core.get_buffer())
            if not count:
                core.end_of_stream()
                raise Unavailable(Outage.CONNECTION_LOST, cause="closed by peer")
            core.bytes_received(count)
            self.last_received = trio.current_time()

    async def _called(self, event: Called, answering: Answering[S]) -> None:
        if self._account is None:
            self._recognise(event.request)
        if self._charged is None:
            await self._charge(event.size, answering)
        assert self._charged is not None
        requests, size = self._charged
        self._charged = None
        replies = self._service.memory.for_replies(self._account)
        answering.add(
            InboundCall(event.call_id, event.request, event.payload, requests, size, replies)
        )

    def _happened(self, event: Event, answering: Answering[S]) -> None:
        if isinstance(event, Cancelled):
            answering.cancel(event.call_id)
        elif isinstance(event, CalledUnknown):
            self._outbox.put(
                self._core.fail(event.call_id, Refused(Refusal.UNKNOWN_REQUEST, code=event.code))
            )
        else:
            assert isinstance(event, GoingAway)

    # --- who calls --------------------------------------------------------------------------

    def _recognise(self, request: Request) -> None:
        """Let the service look at a request of a stranger."""
        if self._service.recognise is not None:
            self._service.recognise(self._caller, request)
        self._find_account()

    def _find_account(self) -> None:
        """Use the memory of the caller's account from when on it is introduced.

        Raises:
            Refused: ``too_many_connections`` of this caller.
        """
        if self._account is not None or self._caller.account is None:
            return
        self._account = self._service.memory.open(self._caller.account)
        if self._account.connections > limits.MAX_CONNECTIONS_PER_CALLER:
            raise Refused(Refusal.TOO_MANY_CONNECTIONS)

    async def _wait_answered(self, answering: Answering[S]) -> None:
        """Wait until one of the calls is answered."""
        self.frame_since = math.inf
        self._answered = trio.Event()
        answering.wake()
        await self._answered.wait()

    # --- memory -----------------------------------------------------------------------------

    async def _begin_large_frame(self, size: int, answering: Answering[S]) -> None:
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
            if not answering.calls:
                raise Refused(Refusal.STRANGER, frame_bytes=size)
            await self._wait_answered(answering)
            self._find_account()
        await self._charge(size, answering)

    async def _charge(self, size: int, answering: Answering[S]) -> None:
        """Take the memory of the next call; wait for it, if need be."""
        size += CALL_OVERHEAD_BYTES
        requests = self._service.memory.for_requests(self._account, size)
        if not requests.take_nowait(size):
            self.frame_since = math.inf
            answering.wake()
            await requests.take(size, wait_s=math.inf)
        self._charged = requests, size

    def _give_charge_back(self) -> None:
        """Return the memory of a frame that turned out not to be a call, which would hold it."""
        if self._charged is not None:
            requests, size = self._charged
            requests.give(size)
            self._charged = None
