"""The pace of clients, and a pulse by which faults strike when something is under way.

A run of nothing but work costs much and finds little more than one in which clients rest for
minutes and then work fast, all at the same time, so that they meet.
"""

from __future__ import annotations

import math
import random
from typing import Final

import trio

from common.data_classes import dataclass

LEAST_SPELL: Final = 5
MOST_SPELL: Final = 60
"""Operations of one client in a spell of work."""


def draw_log_uniform(chance: random.Random, least: float, most: float) -> float:
    """A number of any magnitude between two, each magnitude as likely as the other."""
    return least * math.pow(most / least, chance.random())


@dataclass(frozen=True, slots=True)
class WorkloadPace:
    """Spells of work between rests, from the start of the run on.

    Args:
        pause_s: mean pause between two operations of one client at work.
        spell_s: how long all clients work.
        rest_s: how long all rest then.
    """

    pause_s: float
    spell_s: float = 1.0
    rest_s: float = 0.0

    def next_turn_s(self, now_s: float, draw: float) -> float:
        """Return the time at which a client begins its next operation.

        Args:
            now_s: since the start of the run.
            draw: uniform in [0, 1), the client's own.
        """
        pause_s = 2 * self.pause_s * draw
        turn_s = now_s + pause_s
        period_s = self.spell_s + self.rest_s
        if turn_s % period_s < self.spell_s:
            return turn_s
        return (turn_s // period_s + 1) * period_s + min(pause_s, self.spell_s)


def draw_pace(chance: random.Random, *, is_dense: bool) -> WorkloadPace:
    """Draw how busy the clients of a run are.

    Args:
        is_dense: for runs of a few minutes: no client rests, and pauses are short.
    """
    if is_dense:
        return WorkloadPace(draw_log_uniform(chance, 0.3, 3.0))
    pause_s = draw_log_uniform(chance, 2.0, 60.0)
    spell_s = pause_s * draw_log_uniform(chance, LEAST_SPELL, MOST_SPELL)
    share = draw_log_uniform(chance, 0.05, 0.7)
    return WorkloadPace(pause_s, spell_s, spell_s * (1 / share - 1))


class Pulse:
    """Notifies waiting tasks that an operation of a client begins, or has just been answered."""

    def __init__(self) -> None:
        self._begun = trio.lowlevel.ParkingLot()
        self._answered = trio.lowlevel.ParkingLot()

    def begin(self) -> None:
        """Notify that a client begins an operation."""
        self._begun.unpark_all()

    def answer(self) -> None:
        """Notify that a client was answered."""
        self._answered.unpark_all()

    async def wait_begin(self) -> None:
        """Wait until a client begins an operation."""
        await self._begun.park()

    async def wait_answer(self) -> None:
        """Wait until a client has its answer."""
        await self._answered.park()
