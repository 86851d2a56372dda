"""One budget of bytes for all streams of a process, shared fairly between those who use it.

Source: docs/data-path.md, "Memory".
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Hashable
from typing import Final
from weakref import WeakValueDictionary

import trio

from common import limits
from common.errors import Unavailable
from common.reasons import Outage

_RECLAIM_EVERY_S: Final = 0.5
"""Interval at which a waiting taker asks again for memory that others hold only as a cache."""


def may_take(amount: int, *, held: int, free: int) -> bool:
    """Return whether a share may take more: afterwards it must hold no more than is left free.

    So a share that is alone gets half, the next a quarter, and so on: every newcomer finds room,
    and what one share leaves unused the others may have. A share that holds nothing may take
    whatever is free.

    Args:
        amount: bytes wanted.
        held: bytes that the share has already.
        free: bytes that nobody has.

    Source: Choudhury and Hahne, "Dynamic queue length thresholds for shared-memory packet
    switches", 1998, with alpha = 1.
    """
    return amount <= free and (not held or held + amount <= free - amount)


class Share:
    """The part of a budget that one user holds. From :meth:`ByteBudget.share` or
    :meth:`ByteBudget.limited_share`."""

    __slots__ = ("__weakref__", "_budget", "_limit_bytes", "held_bytes")

    def __init__(self, budget: ByteBudget, limit_bytes: int | None) -> None:
        self._budget = budget
        self._limit_bytes = limit_bytes
        """The most it may hold; None: as :func:`may_take` says."""
        self.held_bytes = 0

    @property
    def is_scarce(self) -> bool:
        """Return whether streams should make do with little."""
        return self._budget.is_scarce

    def fits(self, amount: int, free: int) -> bool:
        """Return whether this share may have ``amount`` more bytes while ``free`` are free."""
        if self._limit_bytes is None:
            return may_take(amount, held=self.held_bytes, free=free)
        return amount <= free and self.held_bytes + amount <= self._limit_bytes

    def waits_for_room(self, amount: int) -> bool:
        """Return whether ``amount`` more bytes need nothing but room: then nobody may overtake.
        Else the share holds so much that others may have room before it."""
        if self._limit_bytes is None:
            return not self.held_bytes
        return self.held_bytes + amount <= self._limit_bytes

    def take_nowait(self, amount: int) -> bool:
        """Take ``amount`` bytes if this share may have them now and overtakes nobody by it."""
        return self._budget.take_nowait(amount, self)

    async def take(self, amount: int, *, wait_s: float = limits.BUDGET_WAIT_S) -> None:
        """Take ``amount`` bytes; wait in line for them. Cancellable.

        Args:
            wait_s: at most so long.

        Raises:
            Unavailable: ``too_busy``: they could not be had in time. Nothing was taken.
        """
        await self._budget.take(amount, self, wait_s=wait_s)

    def give(self, amount: int) -> None:
        """Give bytes back and wake who was waiting for them."""
        self._budget.give(amount, self)

    def keep_spare(self, reclaim: Callable[[], None]) -> Callable[[], None]:
        """Say that bytes are held that can be given back at once; see
        :meth:`ByteBudget.keep_spare`."""
        return self._budget.keep_spare(reclaim)


class _Waiter:
    __slots__ = ("amount", "share", "turn")

    def __init__(self, amount: int, share: Share) -> None:
        self.amount = amount
        self.share = share
        self.turn = trio.Event()


class ByteBudget:
    """Bytes that all streams together may hold.

    Holders cannot deadlock as long as none waits for more while it holds something that only it
    can give back: everything that one step needs (a stripe's plaintext, sealed and parity
    bytes) is taken at once, and what is held is given back without taking anything first.
    ``write_object.py`` and ``read_object.py`` keep to that.

    Each user has a share, bounded by :func:`may_take` or by a limit of its own. Inside a share the
    first come is the first served. Between shares, nobody overtakes a taker that waits for room
    only: whose share holds nothing, or stays below its limit. Any other may be overtaken until its
    share holds little enough. So when all holders end, every taker is served.

    Without a share, takers use all of the budget in common, strictly first come, first served.

    Args:
        total_bytes: at least as much as the largest single taking.
    """

    def __init__(self, total_bytes: int) -> None:
        self._total_bytes = total_bytes
        self._free_bytes = total_bytes
        self._waiting: deque[_Waiter] = deque()
        self._common = Share(self, total_bytes)
        self._shares: WeakValueDictionary[Hashable, Share] = WeakValueDictionary()
        self._spare: dict[object, Callable[[], None]] = {}
        self._pressed = trio.Event()
        self.refused = 0
        """The number of takers whose wait timed out."""

    @property
    def total_bytes(self) -> int:
        """The size of the budget."""
        return self._total_bytes

    @property
    def free_bytes(self) -> int:
        """The bytes that nobody holds."""
        return self._free_bytes

    @property
    def held_bytes(self) -> int:
        """The bytes that all shares hold together."""
        return self._total_bytes - self._free_bytes

    @property
    def is_scarce(self) -> bool:
        """Return whether streams should make do with little."""
        return self._free_bytes < self._total_bytes // 2 or bool(self._waiting)

    @property
    def waiting(self) -> int:
        """The number of streams that wait for room."""
        return len(self._waiting)

    async def wait_pressed(self) -> None:
        """Wait until somebody waits for room."""
        while not self._waiting:
            self._pressed = trio.Event()
            await self._pressed.wait()

    def share(self, user: Hashable) -> Share:
        """The share of a user: one object as long as anybody has it."""
        share = self._shares.get(user)
        if share is None:
            share = self._shares[user] = Share(self, None)
        return share

    def limited_share(self, limit_bytes: int) -> Share:
        """A share that may hold ``limit_bytes``, at least as much as its largest single taking,
        however little of the budget is left to others by it."""
        return Share(self, limit_bytes)

    def keep_spare(self, reclaim: Callable[[], None]) -> Callable[[], None]:
        """Say that bytes are held that can be given back at once, at a price.

        Args:
            reclaim: called while others wait for room, perhaps many times; gives bytes back or
                not. Must neither wait nor take.

        Returns:
            What to call when nothing is to be reclaimed any more. May be called again.
        """
        token = object()
        self._spare[token] = reclaim

        def forget() -> None:
            self._spare.pop(token, None)

        return forget

    def take_nowait(self, amount: int, share: Share | None = None) -> bool:
        """Take ``amount`` bytes if the share may have them now and overtakes nobody by it."""
        share = share or self._common
        assert 0 <= amount <= self._total_bytes, f"{amount} of a budget of {self._total_bytes}"
        if self._waiting and any(
            each.share is share or each.share.waits_for_room(each.amount) for each in self._waiting
        ):
            return False
        if not share.fits(amount, self._free_bytes):
            return False
        self._hand_out(amount, share)
        return True

    async def take(
        self, amount: int, share: Share | None = None, *, wait_s: float = math.inf
    ) -> None:
        """Take ``amount`` bytes; wait in line for them. Cancellable.

        Raises:
            Unavailable: ``too_busy``: they could not be had within ``wait_s``. Nothing was taken.
        """
        share = share or self._common
        if self.take_nowait(amount, share):
            return
        waiter = _Waiter(amount, share)
        self._waiting.append(waiter)
        self._pressed.set()
        try:
            await self._wait_turn(waiter, trio.current_time() + wait_s)
        except BaseException:
            if waiter.turn.is_set():
                self.give(amount, share)
            else:
                self._waiting.remove(waiter)
                self._serve()
            raise

    async def _wait_turn(self, waiter: _Waiter, deadline: float) -> None:
        looks = True
        while True:
            if looks:
                for reclaim in list(self._spare.values()):
                    reclaim()
                    if waiter.turn.is_set():
                        break
            with trio.move_on_at(min(trio.current_time() + _RECLAIM_EVERY_S, deadline)):
                await waiter.turn.wait()
            if waiter.turn.is_set():
                return
            if trio.current_time() >= deadline:
                self.refused += 1
                raise Unavailable(Outage.TOO_BUSY, waited_for=waiter.amount)
            # One of those who wait is enough to look again.
            looks = self._waiting[0] is waiter

    def give(self, amount: int, share: Share | None = None) -> None:
        """Give bytes back and wake who was waiting for them."""
        share = share or self._common
        assert amount >= 0
        self._free_bytes += amount
        share.held_bytes -= amount
        assert share.held_bytes >= 0, "gave back more than was taken"
        if self._waiting:
            self._serve()

    def _hand_out(self, amount: int, share: Share) -> None:
        self._free_bytes -= amount
        share.held_bytes += amount

    def _serve(self) -> None:
        """Give room to those who wait, in the order they came."""
        passed: set[Share] = set()
        for waiter in list(self._waiting):
            share = waiter.share
            if share in passed:
                continue
            if share.fits(waiter.amount, self._free_bytes):
                self._waiting.remove(waiter)
                self._hand_out(waiter.amount, share)
                waiter.turn.set()
            elif share.waits_for_room(waiter.amount):
                return
            else:
                passed.add(share)
