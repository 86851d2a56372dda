"""Memory limits for requests: little for strangers, a share for each known caller.

Three budgets lie apart, so that what fills one leaves the others free: frames of strangers, small
frames of known callers (heartbeats, look-ups, every control call) and large ones. A frame that fits
the receive buffer of its connection costs nothing before it is whole, so nobody holds any budget by
a small frame that is not finished; and a stranger may send no other.

Source: docs/protocol.md, "Answering".
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final

from common import limits
from common.rpc.budget import ByteBudget, Share

CALL_OVERHEAD_BYTES: Final = 1024
"""Approximate cost of a call in flight beside its header and payload."""
SMALL_FRAME_BYTES: Final = limits.FRAME_STAGING_BYTES
"""Header and payload of a frame for which a connection needs no other memory than it has."""
LARGEST_REQUEST_BYTES: Final = (
    limits.MAX_FRAME_HEADER_BYTES + limits.MAX_FRAME_PAYLOAD_BYTES + CALL_OVERHEAD_BYTES
)
_SMALL_DIVISOR: Final = 8
"""An eighth of the memory for requests is for small frames ..."""
_STRANGERS_DIVISOR: Final = 16
"""... and a sixteenth for those of strangers."""


class Account:
    """The memory that one known caller uses, over all its connections. Made by :class:`Memory`.

    Attributes:
        small, large: its shares for requests, by the size of the frame.
        replies: its share for payloads of replies.
        connections: how many it has open.
    """

    def __init__(self, name: Hashable, memory: Memory) -> None:
        self.name = name
        self.connections = 0
        small = memory.small.total_bytes // 2
        large = max(LARGEST_REQUEST_BYTES, memory.large.total_bytes // 2)
        replies = max(limits.MAX_FRAME_PAYLOAD_BYTES, memory.replies.total_bytes * 3 // 4)
        self.small = memory.small.limited_share(small)
        self.large = memory.large.limited_share(large)
        self.replies = memory.replies.limited_share(replies)


class Memory:
    """The memory of one server for requests and replies of all its connections.

    Args:
        total_bytes: half for requests (received or carried out), half for payloads of replies.
    """

    def __init__(self, total_bytes: int) -> None:
        half = total_bytes // 2
        small, strangers = half // _SMALL_DIVISOR, half // _STRANGERS_DIVISOR
        assert half - small - strangers >= LARGEST_REQUEST_BYTES
        assert min(small // 2, strangers) >= SMALL_FRAME_BYTES + CALL_OVERHEAD_BYTES
        self.small = ByteBudget(small)
        self.large = ByteBudget(half - small - strangers)
        self.strangers = ByteBudget(strangers)
        self.replies = ByteBudget(half)
        self._strangers_requests = self.strangers.limited_share(strangers)
        self._strangers_replies = self.replies.limited_share(half)
        self._accounts: dict[Hashable, Account] = {}

    @property
    def requests_free_bytes(self) -> int:
        """The bytes that are free of the memory for requests."""
        return self.small.free_bytes + self.large.free_bytes + self.strangers.free_bytes

    def for_requests(self, account: Account | None, size: int) -> Share:
        """Return the share that a request of ``size`` bytes, CALL_OVERHEAD_BYTES among them, is
        taken from.

        Args:
            account: its caller's; None: a stranger's request.
        """
        if account is None:
            return self._strangers_requests
        is_small = size <= SMALL_FRAME_BYTES + CALL_OVERHEAD_BYTES
        return account.small if is_small else account.large

    def for_replies(self, account: Account | None) -> Share:
        """Return the share that the payload of a reply is taken from."""
        return self._strangers_replies if account is None else account.replies

    def open(self, name: Hashable) -> Account:
        """The account of a caller, for one more connection of it."""
        account = self._accounts.get(name)
        if account is None:
            account = self._accounts[name] = Account(name, self)
        account.connections += 1
        return account

    def close(self, account: Account) -> None:
        """Note that a connection of an account has ended, and has returned everything."""
        account.connections -= 1
        if not account.connections:
            del self._accounts[account.name]
