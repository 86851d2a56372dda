"""The caller of a request, as handlers see it.

Source: docs/protocol.md, "Answering".
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Any, Generic, TypeAlias, TypeVar

from common.ids import PeerId
from common.ports import Buffer
from common.wire.messages.base import Reply, Request

S = TypeVar("S")
"""The session that a service keeps for each connection."""


class Caller(Generic[S]):
    """The other end of one connection.

    Args:
        peer_id: proven by signature.
        remote: for logs.
        channel: what names this connection to both its ends: for signatures bound to it.
        session: what the service keeps of this connection.
        on_introduced: called once the caller is not a stranger any more.
    """

    def __init__(
        self,
        peer_id: PeerId,
        remote: str,
        channel: bytes,
        session: S,
        on_introduced: Callable[[], None] = lambda: None,
    ) -> None:
        self.peer_id = peer_id
        self.remote = remote
        self.channel = channel
        self.session = session
        self._on_introduced = on_introduced
        self.account: Hashable | None = None
        """The account whose share of the server's memory its requests take; None: a stranger."""

    def introduce(self, account: Hashable) -> None:
        """Give the caller, which has shown more than a key that anyone can make, an account: it is
        not a stranger any more.

        Args:
            account: what it shares its part of the memory with: its peer id, or its tenant.
                The first one stays.
        """
        if self.account is None:
            self.account = account
            self._on_introduced()


Answer: TypeAlias = Reply | tuple[Reply, Sequence[Buffer]]
Handler: TypeAlias = Callable[[Caller[S], Any, memoryview], Awaitable[Answer]]
Recognise: TypeAlias = Callable[[Caller[S], Request], None]
Turn: TypeAlias = Callable[[Caller[S], Any], Awaitable[None] | None]
"""Returns what a request has to wait for, which may raise as a handler; None: nothing."""
EndSession: TypeAlias = Callable[[Caller[S]], Awaitable[None]]
