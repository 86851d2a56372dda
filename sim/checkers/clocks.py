"""The wall clocks of a run, as the checkers know them: from outside, all at once.

A gateway stamps what it writes with its own clock, and rules of a lifecycle are judged by the
earlier one of the clocks of a gateway and the coordinator. Faults step these clocks.
"""

from __future__ import annotations

from collections.abc import Sequence

import trio

from sim.world import EPOCH_S, SimNode


class ClockBook:
    """The clocks of gateways and coordinators, with all their steps so far."""

    def __init__(self, gateways: Sequence[SimNode], coordinators: Sequence[SimNode]) -> None:
        self._gateways = gateways
        self._coordinators = coordinators
        self._start_s = gateways[0].swarm.start_s

    def _true_ms(self, at_s: float) -> int:
        return int((EPOCH_S + at_s - self._start_s) * 1000)

    def earliest_ms(self, gateway: int, since_s: float) -> int:
        """Return a time by the clock of a gateway that is not after any that it has shown since a
        virtual time, unix milliseconds."""
        return self._true_ms(since_s) + int(1000 * self._gateways[gateway].least_offset_s(since_s))

    def swing_ms(self) -> int:
        """Return how far a clock of a gateway may have been set back."""
        offsets = [offset for node in self._gateways for _, offset in node.clock_steps]
        return int(1000 * (max(offsets) - min(offsets)))

    def judged_ms(self) -> int:
        """Return the latest time by which a lifecycle may have been judged so far, unix
        milliseconds."""
        now_s = trio.current_time()
        steps = [at_s for node in self._nodes for at_s, _ in node.clock_steps]
        moments = sorted({each for each in steps if each < now_s})
        ends = [*moments[1:], now_s]
        return max(self._both_ms(begin, end) for begin, end in zip(moments, ends, strict=True))

    def now_ms(self) -> int:
        """Return the time by which a lifecycle is judged at least, unix milliseconds."""
        now_s = trio.current_time()
        return self._true_ms(now_s) + int(1000 * min(node.clock_offset_s for node in self._nodes))

    @property
    def _nodes(self) -> list[SimNode]:
        return [*self._gateways, *self._coordinators]

    def _both_ms(self, begin_s: float, end_s: float) -> int:
        """The latest of such a time in a span in which no clock is set."""

        def most(nodes: Sequence[SimNode]) -> float:
            return max(node.offset_at(begin_s) for node in nodes)

        offset_s = min(most(self._gateways), most(self._coordinators))
        return self._true_ms(end_s) + int(1000 * offset_s)
