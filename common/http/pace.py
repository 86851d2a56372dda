"""The least speed of a client that holds buffers, and the timeouts that follow from it. Pure.

Source: docs/architecture.md, "HTTP".
"""

from __future__ import annotations


class ClientPace:
    """The patience that is left with a client: it shrinks while the client is waited for, and
    grows again with what it moves, so that pauses are forgiven and slowness without end is not.

    Args:
        patience_s: how long a client that moves nothing is waited for; the most that is left ever.
        least_bytes_per_s: what a client must move, on the long run.
    """

    __slots__ = ("_left_s", "_patience_s", "_s_per_byte")

    def __init__(self, patience_s: float, least_bytes_per_s: float) -> None:
        self._patience_s = patience_s
        self._left_s = patience_s
        self._s_per_byte = 1 / least_bytes_per_s

    def allowance_s(self, size: int = 0) -> float:
        """Return the time to wait from now on.

        Args:
            size: bytes that the client has to move meanwhile; 0: any.
        """
        return self._left_s + size * self._s_per_byte

    def moved(self, size: int, waited_s: float) -> None:
        """The client moved ``size`` bytes while it was waited for ``waited_s``."""
        left_s = self._left_s + size * self._s_per_byte - waited_s
        self._left_s = min(self._patience_s, left_s)
