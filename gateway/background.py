"""Work that a gateway does beside its clients' requests, and that gives way to them.

Source: docs/placement.md, "Data follows its class", "Objects expire".
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import trio

from common.errors import AlvearyError

LOOK_EVERY_S: Final = 10.0
"""Pause between two looks for work."""
REST_PER_WORK: Final = 1.0
"""A gateway rests after each piece of work for as long as it took, so that clients come first."""


class Signal:
    """Wakes a task that waits for work."""

    def __init__(self) -> None:
        self._event = trio.Event()

    def tell(self) -> None:
        """There is work."""
        self._event.set()

    async def wait(self, timeout_s: float) -> None:
        """Wait until there is work, or some time has gone by."""
        with trio.move_on_after(timeout_s):
            await self._event.wait()
        self._event = trio.Event()


async def look_for_work(
    look: Callable[[], Awaitable[None]], waits: Callable[[AlvearyError], None]
) -> None:
    """Run ``look`` at an interval, until cancelled.

    Args:
        look: does all the work there is.
        waits: gets the error that ended a look; the next one is after the pause.
    """
    while True:
        await trio.sleep(LOOK_EVERY_S)
        try:
            await look()
        except AlvearyError as error:
            waits(error)


async def rest_since(begun: float) -> None:
    """Rest for as long as a piece of work took.

    Args:
        begun: when it was begun, by the monotonic clock.
    """
    await trio.sleep(REST_PER_WORK * (trio.current_time() - begun))
