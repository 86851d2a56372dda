"""The simulation of a fleet: one heap of events over virtual hours, from one seed.

Source: docs/durability.md, "Simulated fleets".
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterable
from enum import IntEnum
from heapq import heappop, heappush
from math import comb, gamma

from coordinator.policy.durability import HOURS_PER_YEAR
from sim.fleets.options import FleetOptions
from sim.fleets.planning import DrawnTargets, Planner, first_rings, place_segments
from sim.fleets.report import FleetReport
from sim.fleets.shards import Shards

RETRY_H = 1.0
"""Time after which a slot that found no cell, or no k peers, is tried again."""
CHUNK_H = 6.0
"""Time after which a cell with several slots to fill looks again which of them comes first."""
SPREAD_FIRST_H = 1.0
SPREAD_LAST_H = 1000.0
"""Times after a cell has joined at which crowded rings are looked at: each is twice the one
before."""
MANY_RINGS = 100
"""A fleet with more looks at none: with so many cells rings are hardly ever crowded."""
DAY_H = 24.0
NIGHT_JITTER_H = 1.0


class Happening(IntEnum):
    """The kinds of events. The numbers are ``subject`` of an event: a cell, a ring, a site or a
    series; ``token`` says whether the event still counts."""

    DIES = 0
    JOINS = 1
    GOES_DOWN = 2
    COMES_UP = 3
    NIGHT = 4
    DECLARED = 5
    PLAN = 6
    TRANSFERRED = 7
    MENDED = 8
    SITE_LOST = 9
    SITE_DARK = 10
    SITE_LIT = 11
    BATCH_FAILS = 12
    BEGINS = 13
    SPREADS = 14


class Fleet:
    """One run.

    Args:
        options: of the fleet.
        seed: decides everything.
    """

    def __init__(self, options: FleetOptions, seed: int) -> None:
        self.options = options
        self._chance = random.Random(seed)
        self._begin_h = options.warm_up_years * HOURS_PER_YEAR
        self._end_h = self._begin_h + options.years * HOURS_PER_YEAR
        self._scale = options.mttf_h / gamma(1 + 1 / options.shape)
        self._rate = 3600 * options.mending.rate_bytes_per_s
        redundancy = options.redundancy
        sites = [cell % options.sites for cell in range(options.cells)]
        rings = first_rings(sites, redundancy, seed)
        self.report = FleetReport(options, len(rings))
        self._segments = place_segments(rings, redundancy, options.segments, seed)
        # A slot's bytes follow its ring's segments; cells keep ``cell_bytes`` on average.
        bytes_per_segment = options.cells * options.cell_bytes / (options.n * sum(self._segments))
        self._slot_bytes = [count * bytes_per_segment for count in self._segments]
        self.shards = Shards(options.k, options.n, rings, self.report)
        self.site_of: list[int] = []
        self._batch_of: list[int] = []
        self.died_h: dict[int, float] = {}
        self._events: list[tuple[float, int, int, int]] = []
        # By cell: causes why it is down; counts of its times down; declared as lost.
        self._causes: list[int] = []
        self._downs: list[int] = []
        self._declared = bytearray()
        planner = DrawnTargets if options.draws_targets else Planner
        self._planner = planner(self.shards, self.site_of, self._declared, self._chance)
        self._has_nights = bytearray()
        self._pending: set[int] = set()
        self._homeless: set[int] = set()
        self._seen_homeless = -1, -1
        """Cells that were added, and slots filled, when the homeless were last planned for: while
        there is no more of either, there is no place for them."""
        self._has_plan = False
        # By cell: slots to fill, since when; the one that is being filled, since when, and the
        # bytes to read for all of it; a count of such.
        self._queues: defaultdict[int, dict[int, float]] = defaultdict(dict)
        self._filling: dict[int, tuple[int, float, float]] = {}
        self._tokens: list[int] = []
        # By slot: the share of its segments that its holder has filled.
        self._progress: dict[int, float] = {}
        self._mending: dict[int, int] = {}
        # By the number of a power cut: the cells that it took down.
        self._dark: dict[int, list[int]] = {}
        self._cuts = 0
        self._joined = 0
        self._spread_after_h = SPREAD_FIRST_H
        self._mendings = 0
        for site in sites:
            self._add_cell(site, is_new=False)
        self.shards.fill()
        self._begin_shocks()

    # --- the loop ---------------------------------------------------------------------------

    def run(self) -> FleetReport:
        """Simulate all years."""
        handlers = {
            Happening.DIES: self._dies,
            Happening.JOINS: self._joins,
            Happening.GOES_DOWN: self._has_outage,
            Happening.COMES_UP: self._comes_up,
            Happening.NIGHT: self._night,
            Happening.DECLARED: self._is_declared,
            Happening.PLAN: self._plans,
            Happening.TRANSFERRED: self._transferred,
            Happening.MENDED: self._mended,
            Happening.SITE_LOST: self._site_lost,
            Happening.SITE_DARK: self._site_dark,
            Happening.SITE_LIT: self._site_lit,
            Happening.BATCH_FAILS: self._batch_fails,
            Happening.BEGINS: self._begins,
            Happening.SPREADS: self._spreads,
        }
        by_kind = [handlers[kind] for kind in Happening]
        events, shards = self._events, self.shards
        for end_h in (self._begin_h, self._end_h):
            while events and events[0][0] < end_h:
                at, kind, subject, token = heappop(events)
                shards.now = at
                by_kind[kind](subject, token)
                while shards.lost_rings:
                    self._loses(shards.lost_rings.pop())
            if end_h < self._end_h:
                shards.begin(end_h)
        shards.finish(self._end_h)
        # In the long run cells die at 1 / mttf on average, whatever the shape of their lives.
        per_hour = self.options.k / self.options.mttf_h
        self.report.expected_lost += self.report.at_margin_h[0] * per_hour
        return self.report

    def _at(self, after_h: float, kind: Happening, subject: int, token: int = 0) -> None:
        heappush(self._events, (self.shards.now + after_h, kind, subject, token))

    def _after(self, mean_h: float) -> float:
        return self._chance.expovariate(1 / mean_h)

    # --- lives of cells ---------------------------------------------------------------------

    def _add_cell(self, site: int, *, is_new: bool) -> int:
        options, chance = self.options, self._chance
        cell = self.shards.add_cell()
        self.site_of.append(site)
        self._batch_of.append(chance.randrange(options.shocks.batches))
        self._causes.append(0)
        self._downs.append(0)
        self._tokens.append(0)
        self._declared.append(0)
        self._has_nights.append(chance.random() < options.diurnal)
        self._planner.add(cell)
        self._at(self._life_h(is_new=is_new), Happening.DIES, cell)
        if options.outages:
            self._at(self._after(HOURS_PER_YEAR / options.outages), Happening.GOES_DOWN, cell)
        if self._has_nights[cell]:
            now = self.shards.now
            evening = (int(now / DAY_H) + 1) * DAY_H
            self._at(evening - now + self._jitter_h(), Happening.NIGHT, cell)
        return cell

    def _life_h(self, *, is_new: bool) -> float:
        """Draw the life of a cell, or what is left of it where the fleet is as old as it gets."""
        shape = self.options.shape
        if is_new or shape == 1:
            return self._chance.weibullvariate(self._scale, shape)
        whole = self._scale * self._chance.gammavariate(1 + 1 / shape, 1) ** (1 / shape)
        return float(whole * self._chance.random())

    def _jitter_h(self) -> float:
        return self._chance.random() * NIGHT_JITTER_H

    def _dies(self, cell: int, _token: int) -> None:
        shards = self.shards
        if not shards.alive[cell]:
            return
        self.report.cells_died += 1
        self.died_h[cell] = shards.now
        was_up = shards.up[cell]
        shards.alive[cell] = 0
        self._stops(cell)
        if not was_up:
            shards.refresh_cell(cell)
        for slot in tuple(shards.feeds[cell]):
            shards.drop_source(slot)
        if self.options.mending.together:
            # The ring's own clock stands for detection: the slots get their new cells now.
            self._declared[cell] = 1
            self._pending.add(cell)
            self._plans(0, 0)
        self._at(self.options.replace_h, Happening.JOINS, cell)

    def _joins(self, dead: int, _token: int) -> None:
        self._add_cell(self.site_of[dead], is_new=True)
        self._joined += 1
        if len(self.shards.there_of) <= MANY_RINGS and not self.options.mending.together:
            self._spreads_after(SPREAD_FIRST_H)

    def _spreads_after(self, after_h: float) -> None:
        self._spread_after_h = after_h
        self._at(after_h, Happening.SPREADS, 0, self._joined)

    def _spreads(self, _subject: int, token: int) -> None:
        """Move slots of rings that are crowded, which may be since there were too few cells."""
        if token != self._joined:
            return
        for slot, target in self._planner.spread():
            self.shards.move(slot, target)
            self.report.slots_moved += 1
            self._queue(slot, target)
        if self._spread_after_h < SPREAD_LAST_H:
            self._spreads_after(2 * self._spread_after_h)

    def _stops(self, cell: int) -> None:
        """Note one more cause for which a cell is down."""
        self._causes[cell] += 1
        shards = self.shards
        if not shards.up[cell]:
            return
        shards.up[cell] = 0
        self._downs[cell] += 1
        self._planner.remove(cell)
        self._pauses(cell)
        if shards.alive[cell]:
            shards.refresh_reach(cell)
        else:
            shards.refresh_cell(cell)
        mending = self.options.mending
        if not mending.together:
            self._at(mending.lost_h, Happening.DECLARED, cell, self._downs[cell])

    def _has_outage(self, cell: int, _token: int) -> None:
        if self.shards.alive[cell]:
            self._stops(cell)
            self._at(self._after(self.options.outage_h), Happening.COMES_UP, cell)
            mean_h = HOURS_PER_YEAR / self.options.outages
            self._at(self._after(mean_h), Happening.GOES_DOWN, cell)

    def _night(self, cell: int, _token: int) -> None:
        if self.shards.alive[cell]:
            self._stops(cell)
            self._at(self.options.night_h + self._jitter_h(), Happening.COMES_UP, cell)
            now = self.shards.now
            evening = (int(now / DAY_H) + 1) * DAY_H
            self._at(evening - now + self._jitter_h(), Happening.NIGHT, cell)

    def _comes_up(self, cell: int, _token: int) -> None:
        self._causes[cell] -= 1
        shards = self.shards
        if self._causes[cell] or not shards.alive[cell]:
            return
        shards.up[cell] = 1
        self._declared[cell] = 0
        self._pending.discard(cell)
        self._planner.add(cell)
        shards.refresh_reach(cell)
        if shards.feeds[cell]:
            self._gives_back(cell)
        self._fills(cell)

    # --- shocks -----------------------------------------------------------------------------

    def _begin_shocks(self) -> None:
        shocks, options = self.options.shocks, self.options
        for rate, kind, count in (
            (shocks.site_lost, Happening.SITE_LOST, options.sites),
            (shocks.site_dark, Happening.SITE_DARK, options.sites),
            (shocks.batch_fails, Happening.BATCH_FAILS, shocks.batches),
        ):
            for subject in range(count if rate else 0):
                self._at(self._after(HOURS_PER_YEAR / rate), kind, subject)

    def _living(self, domain: list[int], subject: int) -> list[int]:
        alive = self.shards.alive
        return [cell for cell, of in enumerate(domain) if of == subject and alive[cell]]

    def _site_lost(self, site: int, _token: int) -> None:
        cells = self._living(self.site_of, site)
        self._expects(cells, 1.0)
        for cell in cells:
            self._dies(cell, 0)
        rate = self.options.shocks.site_lost
        self._at(self._after(HOURS_PER_YEAR / rate), Happening.SITE_LOST, site)

    def _site_dark(self, site: int, _token: int) -> None:
        shocks = self.options.shocks
        cells = self._living(self.site_of, site)
        # The cells that stay dead are dead from now on; what they are does not show before.
        self._expects(cells, shocks.stays_dead)
        for cell in cells:
            if self._chance.random() < shocks.stays_dead:
                self._dies(cell, 0)
            else:
                self._stops(cell)
        alive = self.shards.alive
        self._cuts += 1
        self._dark[self._cuts] = [cell for cell in cells if alive[cell]]
        self._at(self._after(shocks.dark_h), Happening.SITE_LIT, site, self._cuts)
        rate = shocks.site_dark
        self._at(self._after(HOURS_PER_YEAR / rate), Happening.SITE_DARK, site)

    def _site_lit(self, _site: int, token: int) -> None:
        for cell in self._dark.pop(token):
            self._comes_up(cell, 0)

    def _batch_fails(self, batch: int, _token: int) -> None:
        shocks = self.options.shocks
        cells = self._living(self._batch_of, batch)
        if not shocks.batch_spread_h:
            self._expects(cells, shocks.batch_dies)
        for cell in cells:
            if self._chance.random() < shocks.batch_dies:
                if shocks.batch_spread_h:
                    after_h = self._chance.random() * shocks.batch_spread_h
                    self._at(after_h, Happening.DIES, cell)
                else:
                    self._dies(cell, 0)
        rate = shocks.batch_fails
        self._at(self._after(HOURS_PER_YEAR / rate), Happening.BATCH_FAILS, batch)

    def _expects(self, cells: Iterable[int], dies: float) -> None:
        """Count the rings that are expected to be lost if each of these cells dies with this
        probability; those that are lost already wait to begin again."""
        shards = self.shards
        touched: Counter[int] = Counter()
        for cell in cells:
            for slot in (*shards.held[cell], *shards.feeds[cell]):
                keeper = shards.holder[slot] if shards.has[slot] else shards.source[slot]
                if keeper == cell and shards.there[slot]:
                    touched[slot // shards.n] += 1
        for ring, count in touched.items():
            if shards.there_of[ring] < shards.k:
                continue
            least = shards.there_of[ring] - shards.k + 1
            self.report.expected_lost += sum(
                comb(count, died) * dies**died * (1 - dies) ** (count - died)
                for died in range(least, count + 1)
            )

    # --- repair -----------------------------------------------------------------------------

    def _is_declared(self, cell: int, token: int) -> None:
        if token != self._downs[cell] or self.shards.up[cell] or self._declared[cell]:
            return
        self._declared[cell] = 1
        self.report.cells_declared += 1
        self._pending.add(cell)
        self._asks_for_plan(self.options.mending.round_h)

    def _asks_for_plan(self, after_h: float) -> None:
        if not self._has_plan:
            self._has_plan = True
            self._at(after_h, Happening.PLAN, 0)

    def _plans(self, _subject: int, _token: int) -> None:
        """Move the slots of cells that count as lost."""
        self._has_plan = False
        shards = self.shards
        seen = self._planner.added, self.report.filled
        if not self._pending and seen == self._seen_homeless:
            if self._homeless:
                self._asks_for_plan(RETRY_H)
            return
        slots = self._homeless
        self._homeless = set()
        for cell in self._pending:
            slots |= shards.held[cell]
        self._pending.clear()
        if not slots:
            return
        due = {slot for slot in slots if self._declared[shards.holder[slot]]}
        for slot, target in self._planner.moves(due) if due else ():
            due.discard(slot)
            holder = shards.holder[slot]
            self._forget(holder, slot)
            shards.move(slot, target)
            if shards.forget_cell(holder):
                self._planner.forget(holder)
            self.report.slots_moved += 1
            self._queue(slot, target)
        if due:
            self._homeless = due
            self._seen_homeless = seen
            self._asks_for_plan(RETRY_H)

    def _gives_back(self, cell: int) -> None:
        """Return slots to a cell that is up again; it feeds the others."""
        shards = self.shards
        for slot in shards.feeds[cell]:
            self._pauses_slot(slot)
        feeds = [(slot, self._progress.get(slot, 0.0)) for slot in sorted(shards.feeds[cell])]
        holders = [shards.holder[slot] for slot, _ in feeds]
        back = self._planner.returns(feeds)
        for slot in back:
            self._forget(shards.holder[slot], slot)
            shards.take_back(slot)
        self.report.taken_back += len(back)
        for holder in holders:
            self._fills(holder)

    def _pauses_slot(self, slot: int) -> None:
        cell = self.shards.holder[slot]
        if cell in self._filling and self._filling[cell][0] == slot:
            self._pauses(cell)

    def _queue(self, slot: int, cell: int) -> None:
        if self.options.mending.together:
            self._starts_clock(slot // self.options.n)
        else:
            self._queues[cell][slot] = self.shards.now
            self._fills(cell)

    def _starts_clock(self, ring: int) -> None:
        mending = self.options.mending
        if ring not in self._mending and self.shards.there_of[ring] < mending.threshold:
            self._mendings += 1
            self._mending[ring] = self._mendings
            self._at(self._after(mending.repair_h), Happening.MENDED, ring, self._mendings)

    def _mended(self, ring: int, token: int) -> None:
        """Bring back all shards of a ring, as the exact chain has it."""
        if self._mending.get(ring) != token:
            return
        del self._mending[ring]
        shards = self.shards
        n = shards.n
        missing = [slot for slot in range(ring * n, ring * n + n) if not shards.has[slot]]
        self.report.moved_bytes += self._slot_bytes[ring] * (shards.k + len(missing))
        for slot in missing:
            shards.filled(slot)

    def _fills(self, cell: int) -> None:
        """Begin with the slot of a cell's queue whose ring has the least margin."""
        queue = self._queues.get(cell)
        shards = self.shards
        if not queue or cell in self._filling or not shards.up[cell]:
            return
        k, n = shards.k, shards.n
        there_of, reachable_of = shards.there_of, shards.reachable_of
        readable = [
            slot for slot in queue if shards.reachable[slot] or reachable_of[slot // n] >= k
        ]
        self._tokens[cell] += 1
        if not readable:
            self._at(RETRY_H, Happening.TRANSFERRED, cell, -self._tokens[cell])
            return
        slot = min(readable, key=lambda each: there_of[each // n])
        whole = self._read_bytes(slot)
        hours = (1 - self._progress.get(slot, 0.0)) * whole / self._rate
        if len(queue) > 1:
            hours = min(hours, CHUNK_H)
        self._filling[cell] = slot, shards.now, whole
        self._at(hours, Happening.TRANSFERRED, cell, self._tokens[cell])

    def _read_bytes(self, slot: int) -> float:
        shards = self.shards
        source = shards.source[slot]
        copies = source >= 0 and shards.up[source]
        return max(1.0, self._slot_bytes[slot // shards.n]) * (1 if copies else shards.k)

    def _transferred(self, cell: int, token: int) -> None:
        if abs(token) != self._tokens[cell]:
            return
        if token > 0:
            slot = self._filling[cell][0]
            self._pauses(cell)
            if self._progress[slot] > 1 - 1e-9:
                shards, report = self.shards, self.report
                del self._progress[slot]
                queued = self._queues[cell].pop(slot)
                report.filled += 1
                report.filled_h += shards.now - queued
                report.longest_queue_h = max(report.longest_queue_h, shards.now - queued)
                shards.filled(slot)
        self._fills(cell)

    def _pauses(self, cell: int) -> None:
        """Stop filling, and note what was filled: segments that are there stay there."""
        self._tokens[cell] += 1
        under_way = self._filling.pop(cell, None)
        if under_way is not None:
            slot, began, whole = under_way
            read = (self.shards.now - began) * self._rate
            self._progress[slot] = self._progress.get(slot, 0.0) + read / whole
            written = read / whole * self._slot_bytes[slot // self.shards.n]
            self.report.moved_bytes += read + written

    def _forget(self, cell: int, slot: int) -> None:
        """Take a slot out of the queue of a cell that is no longer to fill it."""
        queue = self._queues.get(cell)
        if queue is None or queue.pop(slot, None) is None:
            return
        if cell in self._filling and self._filling[cell][0] == slot:
            self._pauses(cell)
            self._fills(cell)
        self._progress.pop(slot, None)
        if not queue:
            self._queues.pop(cell, None)

    def _loses(self, ring: int) -> None:
        """Count a lost ring, and begin it again."""
        self.report.rings_lost += 1
        self.report.segments_lost += self._segments[ring]
        self._mending.pop(ring, None)
        self._begins(ring, 0)

    def _begins(self, ring: int, _token: int) -> None:
        """Begin a lost ring again, with new segments on the cells that live, once k of them do."""
        shards = self.shards
        if shards.there_of[ring] >= shards.k:
            return
        slots = range(ring * shards.n, (ring + 1) * shards.n)
        dead = {slot for slot in slots if not shards.alive[shards.holder[slot]]}
        # The planner moves slots of lost cells only; these are about to be declared so.
        early = {shards.holder[slot] for slot in dead}
        early = {cell for cell in early if not self._declared[cell]}
        for cell in early:
            self._declared[cell] = 1
        for slot in slots:
            self._forget(shards.holder[slot], slot)
        for slot, target in self._planner.moves(dead, is_lost=True) if dead else ():
            shards.move(slot, target)
        for cell in early:
            self._declared[cell] = 0
        for slot in slots:
            if shards.alive[shards.holder[slot]]:
                shards.filled(slot)
        if shards.there_of[ring] < shards.k:
            self._at(RETRY_H, Happening.BEGINS, ring)


def simulate(options: FleetOptions, seed: int) -> FleetReport:
    """Run a fleet from one seed."""
    return Fleet(options, seed).run()
