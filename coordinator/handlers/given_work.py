"""Work of gateways that is given to one at a time.

Source: docs/placement.md, "Data follows its class".
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable
from typing import Generic, TypeVar

import trio

from common.ids import PeerId
from coordinator.store.leases import LeaseBook

K = TypeVar("K", bound=Hashable)


class GivenWork(Generic[K]):
    """The pieces of work that each gateway was given last: they are left to it while its write
    lease lives, and until it asks again.

    It is memory, and nothing durable: after a restart of the coordinator two gateways may have the
    same piece, so what they do with it has to be safe then, too.

    Args:
        lease_book: the living leases.
        patience_s: for so long at most a gateway is left what it has without being heard.
    """

    def __init__(self, lease_book: LeaseBook, patience_s: float = math.inf) -> None:
        self._leases = lease_book
        self._patience_s = patience_s
        self._given: dict[int, tuple[frozenset[K], float]] = {}
        """By lease: what its gateway has, and until when."""
        self.choosing = trio.Lock()
        """Held from :meth:`taken_by_others` to :meth:`give`, so that no two choose the same."""

    def taken_by_others(self, lease: int, caller: PeerId) -> frozenset[K]:
        """Return the pieces that others are at; what this gateway had is free again.

        Raises:
            Refused: ``lease_ended``: it is not a living lease of the caller.
        """
        self._leases.check(lease, caller)
        now = trio.current_time()
        self._given = {
            each: (keys, until)
            for each, (keys, until) in self._given.items()
            if each in self._leases and each != lease and now < until
        }
        return frozenset[K]().union(*(keys for keys, _ in self._given.values()))

    def give(self, lease: int, keys: Iterable[K]) -> None:
        """Leave pieces to a gateway."""
        self._given[lease] = (frozenset(keys), trio.current_time() + self._patience_s)

    def heard(self, lease: int, piece: K) -> None:
        """Take in that a gateway is at a piece that it was given."""
        keys, until = self._given.get(lease, (frozenset[K](), 0.0))
        if piece in keys and trio.current_time() < until:
            self.give(lease, keys)
