"""The turns of a cell's background work: filling, checking, and reads for the rebuilds of others.

Source: docs/repair.md, "Budget".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import trio

from cell.background_pace_policy import BackgroundPace
from common import limits
from common.errors import Unavailable
from common.reasons import Outage

READ_WAIT_S: Final = 10.0
"""Time that a read for a rebuild waits for its turn: below the caller's patience, so that the
caller hears that the cell is busy instead of nothing."""
QUIET_LOOK_S: Final = 60.0
"""Pause between looks whether the quiet hours are over: the clock may have been set."""


class BackgroundTurns:
    """Gives turns to background work, in the order in which it asks; urgent work goes first.

    Args:
        bytes_per_s: the most that all of it may read or write.
        check_quiet: raises Unavailable ``quiet_hours`` while no work may be done.
    """

    def __init__(self, bytes_per_s: int, check_quiet: Callable[[], None] = lambda: None) -> None:
        self._pace = BackgroundPace(bytes_per_s)
        self._check_quiet = check_quiet
        self._line = trio.Lock()
        self._urgent = 0
        """Urgent turns that are waited for; the others let them go first."""
        self._none_urgent = trio.Event()
        self._none_urgent.set()
        self._reads = 0

    def served(self) -> None:
        """Note that a reader or writer was served."""
        self._pace.served(trio.current_time())

    async def turn(self, size: int, *, is_urgent: bool = False) -> None:
        """Wait until so many bytes may be read or written.

        Args:
            is_urgent: more is at stake than the speed of readers and writers.

        Raises:
            Unavailable: ``quiet_hours``: also for urgent work.
        """
        if not is_urgent:
            async with self._line:
                await self._wait(size, is_urgent=False)
            return
        if not self._urgent:
            self._none_urgent = trio.Event()
        self._urgent += 1
        try:
            await self._wait(size, is_urgent=True)
        finally:
            self._urgent -= 1
            if not self._urgent:
                self._none_urgent.set()

    async def _wait(self, size: int, *, is_urgent: bool) -> None:
        while True:
            if not is_urgent:
                await self._none_urgent.wait()
            self._check_quiet()
            now = trio.current_time()
            wait_s = self._pace.wait_s(now, is_urgent=is_urgent)
            if not wait_s:
                break
            await trio.sleep(wait_s)
        self._pace.began(size, now)

    async def patient_turn(self, size: int) -> None:
        """Wait as :meth:`turn`, and until quiet hours are over: for work that holds nothing."""
        while True:
            try:
                await self.turn(size)
            except Unavailable:
                await trio.sleep(QUIET_LOOK_S)
            else:
                return

    async def turn_to_read(self, size: int) -> None:
        """Wait until a read for the rebuild of another cell may be served.

        Raises:
            Unavailable: ``too_busy``, ``quiet_hours``: the caller had better ask elsewhere, or
                later.
        """
        if self._reads >= limits.MAX_BACKGROUND_READS:
            raise Unavailable(Outage.TOO_BUSY)
        self._reads += 1
        try:
            with trio.move_on_after(READ_WAIT_S) as scope:
                await self.turn(size)
            if scope.cancelled_caught:
                raise Unavailable(Outage.TOO_BUSY)
        finally:
            self._reads -= 1
