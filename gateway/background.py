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
