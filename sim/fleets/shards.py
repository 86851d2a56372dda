"""The shards of a simulated fleet: which cell holds each slot of each ring, and what is left of it.

Source: docs/durability.md, "Simulated fleets".
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Final

from sim.fleets.report import FleetReport

_NOTHING: Final[set[int]] = set()
"""Of cells that are gone; nothing is ever put into it."""


class Shards:
    """The slots of all rings; slot s of ring r is number r * n + s.

    A slot's shard is *there* while its holder has it, or a former holder that lives still does; it
    is *reachable* while such a cell is up. A ring with fewer than k shards there is lost.
    """

    def __init__(
        self, k: int, n: int, rings: Sequence[tuple[int, ...]], report: FleetReport
    ) -> None:
        slots = len(rings) * n
        self.k, self.n = k, n
        self.now = 0.0
        self.holder = array("l", (cell for ring in rings for cell in ring))
        self.source = array("l", (-1,)) * slots
        self.has = bytearray(b"\1") * slots
        self.there = bytearray(b"\1") * slots
        self.reachable = bytearray(b"\1") * slots
        self.there_of = bytearray((n,)) * len(rings)
        self.reachable_of = bytearray((n,)) * len(rings)
        self.lost_rings: list[int] = []
        """Rings that came down below k, to be begun again."""
        self._since = array("d", (0.0,)) * len(rings)
        self._dark_since = array("d", (0.0,)) * len(rings)
        self._report = report
        report.clear()
        # Of each cell.
        self.alive = bytearray()
        self.up = bytearray()
        self.held: list[set[int]] = []
        self.feeds: list[set[int]] = []
        self.load: list[int] = []
        self.unfilled: list[int] = []
        """Slots that it holds and lacks the shard of."""

    def add_cell(self) -> int:
        """Add an empty cell that is up. Return its number."""
        self.alive.append(1)
        self.up.append(1)
        self.held.append(set())
        self.feeds.append(set())
        self.load.append(0)
        self.unfilled.append(0)
        return len(self.alive) - 1

    def fill(self) -> None:
        """Note what each of the first cells holds."""
        for slot, cell in enumerate(self.holder):
            self.held[cell].add(slot)
            self.load[cell] += 1

    def cells_of(self, slot: int) -> array[int]:
        """Return the holders of the ring of a slot."""
        first = slot - slot % self.n
        return self.holder[first : first + self.n]

    def refresh(self, slot: int) -> None:
        """Count a slot again, after its cells or its shard changed."""
        holder, source = self.holder[slot], self.source[slot]
        has = self.has[slot]
        there = (has and self.alive[holder]) or (source >= 0 and self.alive[source])
        if there != self.there[slot]:
            self._counts_there(slot, bool(there))
        reachable = (has and self.up[holder]) or (source >= 0 and self.up[source])
        if reachable != self.reachable[slot]:
            self._counts_reachable(slot, bool(reachable))

    def _counts_there(self, slot: int, there: bool) -> None:
        self.there[slot] = there
        ring = slot // self.n
        count = self.there_of[ring]
        report = self._report
        margin = count - self.k
        if margin >= 0:
            report.at_margin_h[margin] += self.now - self._since[ring]
        self._since[ring] = self.now
        if there:
            self.there_of[ring] = count + 1
            return
        self.there_of[ring] = count - 1
        if margin > 0:
            report.entered[margin - 1] += 1
        elif margin == 0:
            self.lost_rings.append(ring)

    def _counts_reachable(self, slot: int, reachable: bool) -> None:
        self.reachable[slot] = reachable
        ring = slot // self.n
        count = self.reachable_of[ring]
        if reachable:
            self.reachable_of[ring] = count + 1
            if count + 1 == self.k:
                self._report.unreadable_h += self.now - self._dark_since[ring]
        else:
            self.reachable_of[ring] = count - 1
            if count == self.k:
                self._dark_since[ring] = self.now
                self._report.unreadable += 1

    def refresh_cell(self, cell: int) -> None:
        """Count again all slots that a cell holds or feeds."""
        for slot in self.held[cell]:
            self.refresh(slot)
        for slot in self.feeds[cell]:
            self.refresh(slot)

    def refresh_reach(self, cell: int) -> None:
        """The same of a cell that went down or came up, and neither died nor lost anything: nearly
        all that happens in a fleet. So it is one loop over locals, without a call for each slot."""
        has, source_of, up, reachable = self.has, self.source, self.up, self.reachable
        is_up = up[cell]
        for slot in self.held[cell]:
            if has[slot] and reachable[slot] != is_up:
                source = source_of[slot]
                if is_up or source < 0 or not up[source]:
                    self._counts_reachable(slot, bool(is_up))
        holder_of = self.holder
        for slot in self.feeds[cell]:
            if reachable[slot] != is_up and (is_up or not (has[slot] and up[holder_of[slot]])):
                self._counts_reachable(slot, bool(is_up))

    def forget_cell(self, cell: int) -> bool:
        """Give back the memory of a cell if it has died, and holds and feeds nothing any more.
        Return whether it has."""
        if self.alive[cell] or self.held[cell] or self.feeds[cell]:
            return False
        self.held[cell] = self.feeds[cell] = _NOTHING
        return True

    def move(self, slot: int, target: int) -> None:
        """Give a slot to a cell that lacks its shard; who holds it becomes its source."""
        holder = self.holder[slot]
        if self.has[slot]:
            self.drop_source(slot)
            if self.alive[holder]:
                self.source[slot] = holder
                self.feeds[holder].add(slot)
            self.has[slot] = 0
        else:
            self.unfilled[holder] -= 1
        self.holder[slot] = target
        self.unfilled[target] += 1
        self.held[holder].discard(slot)
        self.load[holder] -= 1
        self.held[target].add(slot)
        self.load[target] += 1
        self.refresh(slot)

    def take_back(self, slot: int) -> None:
        """Give a slot that its holder lacks back to its source."""
        holder, source = self.holder[slot], self.source[slot]
        self.held[holder].discard(slot)
        self.load[holder] -= 1
        self.holder[slot] = source
        self.held[source].add(slot)
        self.load[source] += 1
        self.has[slot] = 1
        self.unfilled[holder] -= 1
        self.drop_source(slot)
        self.refresh(slot)

    def filled(self, slot: int) -> None:
        """Note that a slot's holder has its shard now."""
        if not self.has[slot]:
            self.has[slot] = 1
            self.unfilled[self.holder[slot]] -= 1
        self.drop_source(slot)
        self.refresh(slot)

    def drop_source(self, slot: int) -> None:
        """Forget the former holder of a slot."""
        source = self.source[slot]
        if source >= 0:
            self.feeds[source].discard(slot)
            self.source[slot] = -1

    def begin(self, now: float) -> None:
        """Count from now on."""
        self.now = now
        self._report.clear()
        rings = len(self.there_of)
        self._since = array("d", (now,)) * rings
        self._dark_since = array("d", (now,)) * rings

    def finish(self, now: float) -> None:
        """Count the time up to the end of the run."""
        self.now = now
        for ring, count in enumerate(self.there_of):
            if count >= self.k:
                self._report.at_margin_h[count - self.k] += now - self._since[ring]
            if self.reachable_of[ring] < self.k:
                self._report.unreadable_h += now - self._dark_since[ring]
