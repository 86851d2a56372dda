"""Answers native calls on any number of connections.

Source: docs/protocol.md, "Answering".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Final, Generic

import trio

from common import limits
from common.errors import AlvearyError, Unavailable
from common.ports import Entropy, Identity, Listener, Log, Stream
from common.reasons import Outage
from common.rpc.admission import Memory
from common.rpc.answering import Service
from common.rpc.caller import Answer, Caller, EndSession, Handler, Recognise, S, Turn
from common.rpc.server_connection import ServerConnection
from common.tasks import go_on, log_fault
from common.wire.messages.base import Done, Ping, Request

ACCEPT_RETRY_S: Final = 0.1
"""Out of descriptors, say: time for some connections to end."""
SHORTEST_LIMIT_S: Final = min(
    limits.FRAME_TIMEOUT_S, limits.SEND_TIMEOUT_S, limits.IDLE_CONNECTION_TIMEOUT_S
)
"""Nothing that begins from now on can be overdue sooner."""
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
    ) -> None:
        self.memory = Memory(buffer_budget_bytes)
        self._log = log
        self._service = Service(
            identity=identity,
            handlers={Ping: _pong, **handlers},
            new_session=new_session,
            end_session=end_session,
            recognise=recognise,
            reply_payload_bytes=reply_payload_bytes or {},
            turns=turns or {},
            memory=self.memory,
            entropy=entropy,
            log=log,
        )
        self._open: dict[ServerConnection[S], None] = {}
        """In the order in which they came."""
        self._evicted = 0
        self._evictions_told_at = -math.inf

    @property
    def connections(self) -> int:
        """The number of open connections."""
        return len(self._open)

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
                is_full = self.connections >= limits.MAX_CONNECTIONS_PER_LISTENER
                if is_full and not self._evict_a_stranger(stream.remote):
                    self._log.warning("too_many_connections", remote=stream.remote)
                    await stream.close()
                    continue
                connection = ServerConnection(self._service, stream)
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
            self._log.warning("strangers_evicted", count=self._evicted, newcomer=newcomer)
            self._evicted, self._evictions_told_at = 0, now
        return True

    async def _look_after(self) -> None:
        """Time limits, in one place: a timer per receive and send would cost more than they do."""
        while True:
            now = trio.current_time()
            due = [connection.look_after(now) for connection in self._open]
            await trio.sleep_until(min([now + SHORTEST_LIMIT_S, *due]))

    async def _serve_one(self, connection: ServerConnection[S], stream: Stream) -> None:
        try:
            await connection.run()
        except AlvearyError as error:
            self._log.info("connection_ended", remote=stream.remote, error=str(error))
        except Exception as error:
            # A fault of ours ends the connection in which it showed, and no other.
            log_fault(self._log, "connection_broke", error, remote=stream.remote)
        finally:
            self._open.pop(connection, None)  # an evicted one is out already
            with trio.CancelScope(shield=True):
                await stream.close()


async def _pong(caller: Caller[Any], request: Ping, payload: memoryview) -> Answer:
    return Done()
