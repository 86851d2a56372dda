"""A look at the whole store, twice a minute at most: margins, and the pace of repair.

Source: docs/operations.md, "What is wrong, in words".
"""

from __future__ import annotations

from collections import Counter
from functools import partial
from itertools import islice
from typing import Final

import trio

from common import limits
from common.ports import Sql, Store, Workers
from coordinator.membership import Membership
from coordinator.policy.bucket_margins import OnRing, bucket_margins, worst_of
from coordinator.policy.health import READABLE, CellState
from coordinator.policy.margins import LackingKind, margins_of
from coordinator.policy.outlook import Look, Work
from coordinator.policy.pace import WATCHED_S, Pace
from coordinator.rounds.repair import RepairRound
from coordinator.store import bucket_rings, misplaced, missing, rings
from coordinator.store.departures import left_of

OUTLOOK_S: Final = 30.0
SAMPLES: Final = int(WATCHED_S / OUTLOOK_S)
LOOKING_SHARE: Final = 0.02
"""At most so much of the time goes into looking: where much is missing, a look is rarer."""


class OutlookRound:
    """Keeps what is known of margins and repair up to date.

    Args:
        repair: of this process. Where another one leads, nothing is known of slots that have
            nowhere to go.
    """

    def __init__(
        self, store: Store, workers: Workers, membership: Membership, repair: RepairRound
    ) -> None:
        self._store = store
        self._workers = workers
        self._membership = membership
        self._repair = repair
        self._missing = Pace(SAMPLES)
        self._following = Pace(SAMPLES)
        self._lost: dict[int, Pace] = {}
        self._took_s = 0.0

    def pause_s(self) -> float:
        """Return the seconds until the next look."""
        return max(OUTLOOK_S, self._took_s / LOOKING_SHARE)

    async def run(self) -> None:
        """Look once."""
        begun = trio.current_time()
        members = self._membership
        states = members.states(begun)
        lost = [number for number, state in states.items() if state is CellState.LOST]
        shown = list(islice(lost, limits.MAX_DRAINS_SHOWN))
        kinds, used, count, left, following, on_rings = await self._store.read(
            partial(_read, lost=shown)
        )
        now = trio.current_time()
        self._missing.note(now, count)
        self._following.note(now, following)
        self._lost = {number: self._lost.get(number) or Pace(SAMPLES) for number in shown}
        for number, pace in self._lost.items():
            pace.note(now, left[number])
        held = {number: ring.held for number, ring in members.rings.items()}
        readable = {number for number, state in states.items() if state in READABLE}
        sites = {number: members.cells[number].site for number in readable}
        # Both look at all rings, which are many in a large swarm.
        margins = await self._workers.run(partial(margins_of, held, used, kinds, readable))
        buckets = await self._workers.run(partial(bucket_margins, on_rings, held, sites))
        self._took_s = trio.current_time() - begun
        members.look = Look(
            margins,
            _work(self._missing, count),
            {
                number: _work(pace, left[number], members.cells[number].facts.shards)
                for number, pace in self._lost.items()
            },
            Counter(
                members.rings[each.ring].cells[each.slot]
                for each in self._repair.nowhere
                if each.ring in members.rings
            ),
            sum(len(ring.sources) for ring in members.rings.values()),
            _work(self._following, following),
            worst_of(buckets, limits.MAX_BUCKETS_MEASURED),
        )


def _read(
    sql: Sql, lost: list[int]
) -> tuple[list[LackingKind], set[int], int, dict[int, int], int, list[OnRing]]:
    return (
        missing.lacking_kinds(sql, limits.MAX_LACKING_KINDS),
        rings.used(sql),
        missing.count_all(sql),
        {number: left_of(sql, number).shards for number in lost},
        misplaced.count(sql)[0],
        bucket_rings.load(sql),
    )


def _work(pace: Pace, left: int, total: int = 0) -> Work:
    return Work(left, pace.per_s(), total, pace.is_stuck)
