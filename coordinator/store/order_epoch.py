"""The epoch that orders and answers name, so that cells obey no earlier coordinator.

The store holds the epoch. Each run of a coordinator on it begins a later one with the transaction
that notes the run; where a journal is kept, that transaction is durable on most of its cells, so
only a coordinator that nobody has replaced gets a later epoch. A coordinator that hears of a later
one than its own has an older copy of the store, or a copy was run beside it: it goes beyond that.

Steps are drawn, so that two copies of one store do not count alike.

Source: docs/protocol.md, "Order epochs"; docs/decisions/0051-order-epochs.md.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from common.crypto import epochs
from common.ports import Log, Sql
from coordinator.store.schema import counter_value

STEP_BYTES: Final = 3
"""Epochs are 63 bits: enough for 2**39 steps of the largest size."""


def load(sql: Sql) -> int:
    """Return the store's epoch; 0: no run was begun on it."""
    return counter_value(sql, "order_epoch")


def begin(sql: Sql, step: int, *, is_shared: bool) -> int:
    """Begin the epoch of a run, and return it.

    Args:
        step: how much later it is, drawn.
        is_shared: other coordinators may be active on this store: all have one epoch.
    """
    known = load(sql)
    if is_shared and known:
        return known
    return _move(sql, known + step)


def go_beyond(sql: Sql, told: int, step: int) -> int:
    """Go beyond an epoch of another history, and return the store's epoch. Where the store has this
    epoch, or a later one, another process that shares it has begun that: it is this one's, too.

    Args:
        told: the epoch to go beyond, later than this process's own.
        step: how much further, drawn.
    """
    known = load(sql)
    return known if known >= told else _move(sql, told + step)


def _move(sql: Sql, epoch: int) -> int:
    sql.execute("UPDATE counters SET value = ? WHERE name = 'order_epoch'", (epoch,))
    return epoch


class OrderEpoch:
    """The order epoch of one life of a coordinator.

    Args:
        epoch: the store's, before the run of this life is begun.
        swarm_secret: vouches for marks.
        draw: random bytes.
        is_shared: as of :func:`begin`.
    """

    def __init__(
        self,
        epoch: int,
        swarm_secret: bytes,
        draw: Callable[[int], bytes],
        log: Log,
        *,
        is_shared: bool,
    ) -> None:
        self.epoch = epoch
        self.is_shared = is_shared
        self._key = epochs.epoch_key(swarm_secret)
        self._draw = draw
        self._log = log
        self._told = 0

    def step(self) -> int:
        """Draw how much later the next epoch is."""
        return 1 + int.from_bytes(self._draw(STEP_BYTES))

    def moved(self, epoch: int) -> None:
        """Note the epoch that the store has, durably."""
        self.epoch = max(self.epoch, epoch)

    def mark(self) -> bytes:
        """Return the mark of the epoch, for cells to remember; empty before the first run."""
        return epochs.issue(self._key, self.epoch) if self.epoch else b""

    def hear(self, mark: bytes) -> None:
        """Take in the latest mark that a cell has seen.

        Raises:
            PeerViolation: ``bad_epoch_mark``.
        """
        told = epochs.read(mark)
        if told <= max(self.epoch, self._told):
            return
        if epochs.is_genuine(self._key, mark):
            self._told = told
            self._log.warning("order_epoch_passed", own=self.epoch, seen=told)
        else:
            self._log.warning("order_epoch_not_ours", own=self.epoch, seen=told)

    @property
    def passed_by(self) -> int | None:
        """Return a later epoch that a cell has seen: nothing of this one is obeyed there; None:
        none is known."""
        return self._told if self._told > self.epoch else None
