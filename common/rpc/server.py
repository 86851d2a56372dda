"""Answers native calls on any number of connections.

Source: docs/protocol.md, "Answering".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, Generic

import trio

from common import limits
from common.charter_book import CharterBook
from common.errors import AlvearyError, Unavailable
from common.ports import Entropy, Identity, Listener, Log, Stream
from common.reasons import Outage
from common.rpc.admission import Memory
from common.rpc.answering import Service
from common.rpc.caller import Answer, Caller, EndSession, Handler, Recognise, S, Turn
from common.rpc.server_connection import ServerConnection
from common.tasks import go_on, log_fault
from common.wire.messages.base import CharterExchange, CharterShown, Done, Ping, Request

ACCEPT_RETRY_S: Final = 0.1
"""Out of descriptors, say: time for some connections to end."""
SHORTEST_LIMIT_S: Final = min(
    limits.FRAME_TIMEOUT_S, limits.SEND_TIMEOUT_S, limits.IDLE_CONNECTION_TIMEOUT_S
)
"""Nothing that begins from now on can be overdue sooner."""
LOOKED_AFTER_AT_ONCE: Final = 1000
"""Connections of which time limits are looked at in one step, about a millisecond."""
EVICTIONS_TOLD_EVERY_S: Final = 10.0
"""A flood of strangers must not flood the log too."""


class PeerServer(Generic[S]):
    """Answers calls on any number of connections.

    Args:
        identity: what it listens with.
        handlers: by the request that each carries out. Ping is answered without one. A handler
            raises errors of common.errors to fail the call; a PeerViolation also ends the
            connection; any other exception is logged and fails the call as Unavailable
            ``internal_error``.
        entropy: nonces.
        log: gets connections and bugs.
        buffer_budget_bytes: memory for requests being received and carried out, and for replies
            being made and sent, of all connections together (half for each). Over it, nothing
            more is read from the sockets.
        new_session: makes what the service keeps of a connection, once the caller has proved a key.
        end_session: runs when the connection has ended and no handler of it runs any more.
        recognise: looks at each request of a stranger before it is carried out, of a large one
            before its payload is received, and introduces the caller if the request shows that it
            is known. Handlers may do so, too. Without it, every caller that proved a key is known.
        reply_payload_bytes: the longest payload of the reply to a request, set aside before its
            handler runs; for requests not named here it is counted only once it is there.
        turns: what requests wait for before memory is set aside for their replies, so that those
            which wait for long take none from others.
        max_connections: open at the same time; at most MAX_STRANGERS of them are strangers'.
        charters: exchanged with callers, in handshakes and when they ask.
    """

    def __init__(
        self,
        identity: Identity,
        handlers: Mapping[type[Request], Handler[S]],
        *,
        entropy: Entropy,
        log: Log,
        buffer_budget_bytes: int,
        new_session: Callable[[], S],
        end_session: EndSession[S] | None = None,
        recognise: Recognise[S] | None = None,
        reply_payload_bytes: Mapping[type[Request], int] | None = None,
        turns: Mapping[type[Request], Turn[S]] | None = None,
        max_connections: int = limits.MAX_CONNECTIONS_PER_LISTENER,
        charters: CharterBook | None = None,
    ) -> None:
        self.memory = Memory(buffer_budget_bytes)
        self._log = log
        self._service = Service(
            identity=identity,
            handlers={
                Ping: _pong,
                CharterExchange: partial(_exchange_charters, charters),
                **handlers,
            },
            new_session=new_session,
            end_session=end_session,
            recognise=recognise,
            reply_payload_bytes=reply_payload_bytes or {},
            turns=turns or {},
            memory=self.memory,
            entropy=entropy,
            log=log,
            charters=charters,
        )
        self._max_connections = max_connections
        self._max_strangers = min(limits.MAX_STRANGERS, max_connections)
        self._open: dict[ServerConnection[S], None] = {}
        """In the order in which they came."""
        self._unproved: dict[ServerConnection[S], float] = {}
        """Strangers that have proved no key, and when they came, in that order."""
        self._proved: dict[ServerConnection[S], float] = {}
        """The other strangers, likewise."""
        self._place_freed = trio.Event()
        self._evicted = 0
        self._evictions_told_at = -math.inf
        self._fullness_told_at = -math.inf

    @property
    def connections(self) -> int:
        """The number of open connections."""
        return len(self._open)

    @property
    def strangers(self) -> int:
        """The number of open connections whose callers are not known."""
        return len(self._unproved) + len(self._proved)

    async def serve(self, listener: Listener) -> None:
        """Take connections until cancelled; then say goodbye to all and drop them.

        Raises:
            Unavailable: ``listener_closed``, in an exception group: somebody else closed it.
        """
        async with trio.open_nursery() as nursery:
            nursery.start_soon(go_on, "look_after_connections", self._look_after, self._log)
            while True:
                try:
                    stream = await listener.accept()
                except Unavailable as error:
                    if error.reason == Outage.LISTENER_CLOSED:
                        raise
                    self._log.warning("accept_failed", error=str(error))
                    await trio.sleep(ACCEPT_RETRY_S)
                    continue
                if not await self._make_place(stream):
                    await stream.close()
                    continue
                connection = ServerConnection(self._service, stream, self._better_known)
                self._open[connection] = None
                self._unproved[connection] = trio.current_time()
                nursery.start_soon(self._serve_one, connection, stream)
                # Handshakes get on before more begin: a storm of them must end some.
                await trio.lowlevel.checkpoint()

    async def _make_place(self, newcomer: Stream) -> bool:
        """Wait until there is a place, or a stranger has had its time and loses its own.

        Returns:
            False: known callers have all places.
        """
        try:
            while self.strangers >= self._max_strangers or self._is_full:
                if not self.strangers:
                    self._tell_of_fullness(newcomer)
                    return False
                oldest, came_at = next(iter((self._unproved or self._proved).items()))
                ripe_at = came_at + limits.STRANGER_GRACE_S
                if trio.current_time() >= ripe_at:
                    self._evict(oldest, newcomer)
                    break
                self._place_freed = trio.Event()
                with trio.move_on_at(ripe_at):
                    await self._place_freed.wait()
        except trio.Cancelled:
            with trio.CancelScope(shield=True):
                await newcomer.close()
            raise
        return True

    @property
    def _is_full(self) -> bool:
        return self.connections >= self._max_connections

    def _tell_of_fullness(self, newcomer: Stream) -> None:
        now = trio.current_time()
        if now >= self._fullness_told_at + EVICTIONS_TOLD_EVERY_S:
            self._fullness_told_at = now
            self._log.warning(
                "too_many_connections", remote=newcomer.remote, places=self._max_connections
            )

    def _evict(self, victim: ServerConnection[S], newcomer: Stream) -> None:
        """Free the place of a stranger."""
        self._forget(victim)
        victim.evict()
        self._evicted += 1
        now = trio.current_time()
        if now >= self._evictions_told_at + EVICTIONS_TOLD_EVERY_S:
            self._log.warning("strangers_evicted", count=self._evicted, newcomer=newcomer.remote)
            self._evicted, self._evictions_told_at = 0, now

    def _better_known(self, connection: ServerConnection[S]) -> None:
        """Count a connection whose caller has proved a key, or was introduced."""
        if connection not in self._open:
            return  # evicted in the same moment
        came_at = self._unproved.pop(connection, None)
        if connection.is_stranger:
            if came_at is not None:
                self._proved[connection] = came_at
        else:
            self._proved.pop(connection, None)
            self._place_freed.set()

    def _forget(self, connection: ServerConnection[S]) -> None:
        self._open.pop(connection, None)
        self._unproved.pop(connection, None)
        self._proved.pop(connection, None)
        self._place_freed.set()

    async def _look_after(self) -> None:
        """Time limits, in one place: a timer per receive and send would cost more than they do."""
        while True:
            now = trio.current_time()
            look_at = now + SHORTEST_LIMIT_S
            for number, connection in enumerate(list(self._open), 1):
                look_at = min(look_at, connection.look_after(now))
                if not number % LOOKED_AFTER_AT_ONCE:
                    await trio.lowlevel.checkpoint()
            await trio.sleep_until(look_at)

    async def _serve_one(self, connection: ServerConnection[S], stream: Stream) -> None:
        try:
            await connection.run()
        except AlvearyError as error:
            self._log.info("connection_ended", remote=stream.remote, error=str(error))
        except Exception as error:
            # A fault of ours ends the connection in which it showed, and no other.
            log_fault(self._log, "connection_broke", error, remote=stream.remote)
        finally:
            self._forget(connection)  # an evicted one is forgotten already
            with trio.CancelScope(shield=True):
                await stream.close()


async def _pong(caller: Caller[Any], request: Ping, payload: memoryview) -> Answer:
    return Done()


async def _exchange_charters(
    charters: CharterBook | None, caller: Caller[Any], request: CharterExchange, _: memoryview
) -> Answer:
    if charters is None:
        return CharterShown(b"")
    await charters.take(request.charter)
    return CharterShown(charters.shown)
