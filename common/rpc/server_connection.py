"""One connection of a server, from the handshake to the goodbye.

Source: docs/protocol.md, "Answering".
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final, Generic

import trio

from common import limits
from common.errors import AlvearyError, PeerViolation, Unavailable
from common.ports import Stream
from common.reasons import Outage
from common.rpc.answering import GOODBYE_TIMEOUT_S, Answering, Service
from common.rpc.caller import Caller, S
from common.rpc.outbox import Outbox, Turnstile
from common.rpc.protocol.connection import AnswererConnection
from common.rpc.protocol.events import GoingAway, Proved, Unproved
from common.rpc.receiving import Receiving
from common.tasks import log_fault

CLOSE_TIMEOUT_S: Final = 5.0
"""Time limit for cleaning up after a connection."""


class ServerConnection(Generic[S]):
    """One connection of a :class:`common.rpc.server.PeerServer`: one task reads, one sends, and a
    few carry out calls.

    Args:
        on_better_known: called when the caller has proved a key, and when it is introduced.
    """

    def __init__(
        self,
        service: Service[S],
        stream: Stream,
        on_better_known: Callable[[ServerConnection[S]], None],
    ) -> None:
        self._service = service
        self._stream = stream
        self._core = AnswererConnection(service.identity.public_key, service.entropy(32))
        self._room = Turnstile(self._has_room)
        self._outbox = Outbox(stream, self._room.nudge, self._is_quiet)
        self._handshake = trio.CancelScope()
        self._calls = trio.CancelScope()
        self._caller: Caller[S] | None = None
        self._receiving: Receiving[S] | None = None
        self._ended: AlvearyError | None = None
        self._on_better_known = on_better_known

    @property
    def has_proved(self) -> bool:
        """Return whether the caller has proved a key, be it any."""
        return self._caller is not None

    @property
    def is_stranger(self) -> bool:
        """Return whether the caller may be evicted: no service has introduced it."""
        return self._caller is None or self._caller.account is None

    def evict(self) -> None:
        """End the connection, to give its place to another."""
        self._end(Unavailable(Outage.CONNECTION_LOST, cause="evicted"))
        self._handshake.cancel()

    def look_after(self, now: float) -> float:
        """End the connection if it has broken a limit of time.

        Returns:
            When to look again; what begins in the meantime has SHORTEST_LIMIT_S at least.
        """
        if self._receiving is None:
            return math.inf
        idle_at = math.inf
        if not self._core.calls_in_flight:
            idle_at = self._receiving.last_received + limits.IDLE_CONNECTION_TIMEOUT_S
        frame_late_at = self._receiving.frame_since + limits.FRAME_TIMEOUT_S
        stuck_at = self._outbox.stuck_at
        if stuck_at <= now:
            self._end(Unavailable(Outage.CONNECTION_LOST, cause="caller does not read"))
        elif frame_late_at <= now:
            self._end(Unavailable(Outage.CONNECTION_LOST, cause="caller does not finish a frame"))
        elif idle_at <= now:
            self._end(Unavailable(Outage.CONNECTION_LOST, cause="idle"))
        else:
            return min(stuck_at, frame_late_at, idle_at)
        return math.inf

    async def run(self) -> None:
        """Shake hands and answer calls until the connection ends.

        Raises:
            AlvearyError: the reason of an end that was not clean.
        """
        self._handshake.deadline = trio.current_time() + limits.HANDSHAKE_TIMEOUT_S
        with self._handshake:
            self._caller = await self._shake_hands()
        if self._caller is not None:
            self._better_known()
        if self._handshake.cancelled_caught or self._caller is None:
            raise self._ended or Unavailable(Outage.CONNECTION_LOST, cause="no handshake")
        await self._take_calls(self._caller)
        if self._ended is not None:
            raise self._ended

    async def _shake_hands(self) -> Caller[S] | None:
        core, stream, service = self._core, self._stream, self._service
        charters = service.charters
        await stream.send(core.hello(b"" if charters is None else charters.shown))
        try:
            while (event := core.next_event()) is None:
                count = await stream.receive_into(core.get_buffer())
                if not count:
                    core.end_of_stream()
                    return None
                core.bytes_received(count)
        except PeerViolation as error:
            await stream.send(core.go_away(error))
            raise
        if isinstance(event, Proved):
            try:
                if charters is not None:
                    await charters.take(event.charter)
            except PeerViolation as error:
                await stream.send(core.refuse(error))
                raise
            await stream.send(core.ready())
            caller = Caller(
                event.peer_id,
                stream.remote,
                core.channel,
                service.new_session(),
                self._better_known,
            )
            if service.recognise is None:
                caller.introduce(event.peer_id)
            return caller
        if isinstance(event, Unproved):
            await stream.send(core.refuse(event.error))
            raise event.error
        assert isinstance(event, GoingAway)
        return None

    async def _take_calls(self, caller: Caller[S]) -> None:
        receiving = Receiving(self._service, caller, self._core, self._stream, self._outbox)
        answering = Answering(
            self._service,
            caller,
            self._core,
            self._outbox,
            self._room,
            on_answered=receiving.on_answered,
            end=self._end,
        )
        self._receiving = receiving
        try:
            with self._calls:
                async with trio.open_nursery() as nursery:
                    answering.begin(nursery)
                    nursery.start_soon(self._until_ended, self._outbox.run)
                    await self._until_ended(lambda: receiving.run(answering))
        finally:
            with trio.move_on_after(CLOSE_TIMEOUT_S, shield=True):
                await self._say_goodbye()
                answering.give_memory_back()
                receiving.give_memory_back()
                await self._end_session(caller)

    def _better_known(self) -> None:
        self._on_better_known(self)

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
        self._calls.cancel()

    async def _say_goodbye(self) -> None:
        nothing_half_sent = not self._outbox.unsent_bytes
        self._outbox.give_up()
        goodbye = self._core.go_away(self._ended or Unavailable(Outage.GOING_AWAY))
        if goodbye and nothing_half_sent:
            with trio.move_on_after(GOODBYE_TIMEOUT_S), suppress(Unavailable):
                await self._stream.send(goodbye)
        await self._stream.close()

    async def _end_session(self, caller: Caller[S]) -> None:
        if self._service.end_session is None:
            return
        log = self._service.log
        try:
            await self._service.end_session(caller)
        except AlvearyError as error:
            log.warning("session_end_failed", remote=caller.remote, error=str(error))
        except Exception as error:
            log_fault(log, "session_end_broke", error, remote=caller.remote)
