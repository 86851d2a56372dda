"""One connection to a peer, and the calls on it.

Source: docs/protocol.md, "Calls", "Time limits".
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final, NamedTuple, TypeAlias

import outcome
import trio

from common import limits
from common.charter_book import CharterBook
from common.crypto.identity import peer_id_of
from common.errors import AlvearyError, OutcomeUnknown, PeerViolation, Unavailable
from common.ports import Buffer, Identity, Stream
from common.reasons import Outage, Uncertainty
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
from common.rpc.protocol.pool_policy import Load
from common.rpc.protocol.states import State
from common.wire.messages.base import Ping, Reply, Request

IDLE_AFTER_S: Final = limits.IDLE_CONNECTION_TIMEOUT_S / 2
"""The answerer must not be the one who closes an idle connection: under a new call, perhaps."""
LOOK_PAUSE_S: Final = 1.0
"""Between two looks at a connection that is in trouble."""

OnAnswer: TypeAlias = Callable[[outcome.Outcome[tuple[Reply, memoryview]]], None]
"""Is given what a call came to: the reply and its payload, or an AlvearyError. It must not wait,
nor begin calls, nor give any up."""


class _Waiting(NamedTuple):
    """A call that waits for its answer."""

    answer: OnAnswer
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
        self._probe_after_s = limits.PROBE_AFTER_S
        self._dead_after_s = limits.DEAD_AFTER_S
        self.fell_silent = False
        """True once it was closed because nothing came from the peer any more."""
        self._scope = trio.CancelScope()
        self.server_id = peer_id_of(server_key)
        """The peer id that the answerer has proved."""

    def be_impatient(self) -> None:
        """Give a silent peer up sooner from now on: there is another one to ask."""
        self._probe_after_s = limits.IMPATIENT_PROBE_AFTER_S
        self._dead_after_s = limits.FAILOVER_S

    def is_open(self) -> bool:
        """True while new calls can be made on it."""
        return self._lost is None and self._core.state is State.OPEN

    @property
    def load(self) -> Load:
        """Return the load of the connection."""
        return Load(self._core.calls_in_flight, self._outbox.unsent_bytes)

    @property
    def channel(self) -> bytes:
        """Return the name of this connection for both its ends, 64 bytes: for signatures bound to
        it."""
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
                raise Unavailable(Outage.CALL_TIMEOUT, timeout_s=timeout_s)
        reschedule = partial(trio.lowlevel.reschedule, trio.lowlevel.current_task())
        call_id = self._send_call(request, payload, reschedule, deadline, timeout_s)

        def abort(_: object) -> trio.lowlevel.Abort:
            self.give_up(call_id)
            return trio.lowlevel.Abort.SUCCEEDED

        answer: tuple[Reply, memoryview] = await trio.lowlevel.wait_task_rescheduled(abort)
        return answer

    def begin(
        self, request: Request, payload: Sequence[Buffer], answer: OnAnswer, *, timeout_s: float
    ) -> int | None:
        """Make a call without waiting for its answer. Arguments are those of :meth:`call`.

        Args:
            answer: called once, later, unless the call is cancelled before.

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
        answer: OnAnswer,
        deadline: float,
        timeout_s: float,
    ) -> int:
        """Send the call whose turn it is, and let the next have its turn."""
        try:
            if self._lost is not None or self._core.state is not State.OPEN:
                raise self._unavailable()
            due = deadline
            if not self._core.calls_in_flight:
                self._busy_since = now = trio.current_time()
                due = min(deadline, now + self._probe_after_s)
            if due < self._alarm.deadline:  # noqa: PLR1730  # setting it is what costs
                self._alarm.deadline = due
            call_id, parts = self._core.call(request, payload)
            number = self._outbox.put(parts)
        finally:
            self._gate.nudge()
        self._waiting[call_id] = _Waiting(answer, number, deadline, timeout_s)
        return call_id

    def give_up(self, call_id: int) -> None:
        """Cancel a call that the caller does not wait for any more; nothing happens if it has
        ended."""
        if self._waiting.pop(call_id, None) is not None and self._lost is None:
            parts = self._core.cancel(call_id)
            if parts:
                self._outbox.put(parts)

    async def _keep_time(self) -> None:
        """One alarm for all that can become due: a cancel scope for each call would be a tenth of
        what a small request costs. Moving it costs nearly as much, so it is moved only to be
        earlier: when it rings for what is not due any more, it is set again.

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
                call.answer(
                    outcome.Error(
                        OutcomeUnknown(Uncertainty.CALL_TIMEOUT, timeout_s=call.timeout_s)
                    )
                )

    def _look_after(self, now: float) -> None:
        """Probe a silent peer, close the connection to a dead or an idle one."""
        if self._is_idle():
            if now >= self._last_received + IDLE_AFTER_S:
                raise Unavailable(Outage.CONNECTION_LOST, cause="idle")
            return
        silent_s = now - max(self._last_received, self._busy_since)
        # A peer that is going away takes no probe: it gets as long as a call.
        limit_s = self._dead_after_s if self.is_open() else limits.CALL_TIMEOUT_S
        if silent_s >= limit_s:
            self.fell_silent = True
            raise Unavailable(Outage.CONNECTION_LOST, cause="peer is silent")
        if self._outbox.stuck_at <= now:
            raise Unavailable(Outage.CONNECTION_LOST, cause="peer does not read")
        if silent_s >= self._probe_after_s and now - self._last_probe >= self._probe_after_s:
            self._probe(now)

    def _next_look(self, now: float) -> float:
        """Return when something can be due next, if nothing happens until then."""
        if self._is_idle():
            return self._last_received + IDLE_AFTER_S
        heard = max(self._last_received, self._busy_since)
        look = min(max(heard, self._last_probe) + self._probe_after_s, heard + self._dead_after_s)
        late = min((call.deadline for call in self._waiting.values()), default=math.inf)
        return min(late, look if look > now else now + LOOK_PAUSE_S)

    def _is_idle(self) -> bool:
        return not self._core.calls_in_flight and not self._outbox.unsent_bytes

    async def shake_hands(
        self,
        identity: Identity,
        charters: CharterBook | None = None,
        *,
        is_coordinator: bool = False,
    ) -> None:
        """Check who answers and prove who calls; first of all, and once.

        Args:
            charters: gets the charter that the answerer shows, and has the one that is shown to it.
            is_coordinator: whether the answerer must be one that the charter names.

        Raises:
            PeerViolation: ``bad_charter``; ``wrong_server_key``: it is not a coordinator.
            AlvearyError: close it: nothing can be carried out on it.
        """
        with trio.move_on_after(limits.HANDSHAKE_TIMEOUT_S):
            while True:
                event = await self._next_event()
                if isinstance(event, Greeted):
                    shown = b""
                    if charters is not None:
                        await charters.take(event.charter)
                        if is_coordinator:
                            charters.check(self.server_id)
                        shown = charters.shown
                    signature = identity.sign(event.message)
                    proof = self._core.prove(identity.public_key, signature, shown)
                    await self._stream.send(proof)
                elif isinstance(event, Rejected):
                    raise event.error
                else:
                    assert isinstance(event, Accepted)
                    return
        raise Unavailable(Outage.CONNECT_FAILED, cause="handshake timed out")

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
        self._lose(Unavailable(Outage.CONNECTION_LOST, cause="closed here"))
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
        return Unavailable(Outage.CONNECTION_LOST, cause=cause)

    async def _next_event(self) -> Event:
        while True:
            event = self._core.next_event()
            if event is not None:
                return event
            count = await self._stream.receive_into(self._core.get_buffer())
            if not count:
                self._core.end_of_stream()
                raise Unavailable(Outage.CONNECTION_LOST, cause="closed by peer")
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
                if core.state is State.DRAINING and not core.calls_in_flight:
                    raise Unavailable(Outage.CONNECTION_LOST, cause="peer went away")
                count = await stream.receive_into(core.get_buffer())
                if not count:
                    core.end_of_stream()
                    raise Unavailable(Outage.CONNECTION_LOST, cause="closed by peer")
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
        """Fail every waiting call: the connection is of no more use."""
        if self._lost is not None:
            return
        self._lost = error
        facts = {"cause": str(error), "remote": self._stream.remote}
        for call in self._waiting.values():
            lost: AlvearyError = Unavailable(Outage.CONNECTION_LOST, **facts)
            if self._outbox.was_taken(call.number):
                lost = OutcomeUnknown(Uncertainty.CONNECTION_LOST, **facts)
            call.answer(outcome.Error(lost))
        self._waiting.clear()
        self._outbox.give_up()
        self._gate.nudge()
